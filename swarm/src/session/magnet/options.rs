//! What to look for, and what to do with it then.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use metainfo::{Magnet, Torrent};
use storage::Allocation;

use super::Choice;
use crate::engine::PieceOrder;
use crate::session::options::{AddOptions, AsBefore, Check, Placing};
use crate::session::selection::Selection;

/// What to look for, and what to do when it is found. See [`AddOptions`] for what has the same name there.
#[derive(Clone, Debug)]
pub struct MagnetOptions {
    /// What is looked for. What the user typed: its peers may have any address.
    pub magnet: Magnet,
    /// The folder for its files; `None` to learn what it is, and no more.
    pub dir: Option<PathBuf>,
    /// Whether what is there is checked.
    pub check: Check,
    /// Whether another folder may be in the place of the one that was recorded.
    pub new_folder: bool,
    /// Whether files that are there and hold something else are overwritten.
    pub overwrite: bool,
    /// Which files are wanted.
    pub files: Choice,
    /// Paths of files that are not to be those of the torrent. If they cannot be had, the torrent is refused.
    pub names: Vec<(usize, String)>,
    /// In which order pieces are fetched that are wanted alike.
    pub order: PieceOrder,
    /// When files take room.
    pub allocation: Allocation,
    /// Where files lie until they are complete, and what is done with them then.
    pub placing: Placing,
    /// Whether all is read back from the disk once it was fetched.
    pub verify: bool,
    /// Bytes to be left on the file system.
    pub min_free: Option<u64>,
    /// Peers besides those of the magnet.
    pub peers: Vec<SocketAddr>,
    /// Trackers besides those of the magnet.
    pub trackers: Vec<String>,
    /// Download limit in bytes per second.
    pub down_limit: Option<u64>,
    /// Upload limit in bytes per second.
    pub up_limit: Option<u64>,
    /// Which of these choices give way to those that are recorded.
    pub as_before: AsBefore,
}

impl MagnetOptions {
    /// Downloads what a magnet names into a folder: the files that it hints at (`so`), or all.
    pub fn download(magnet: Magnet, dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()), ..Self::metadata(magnet) }
    }

    /// Only finds out what a magnet names.
    pub fn metadata(magnet: Magnet) -> Self {
        Self {
            files: Choice::hinted(&magnet.select),
            magnet,
            dir: None,
            check: Check::Auto,
            new_folder: false,
            names: Vec::new(),
            overwrite: false,
            order: PieceOrder::Rarest,
            allocation: Allocation::default(),
            placing: Placing::default(),
            verify: false,
            min_free: None,
            peers: Vec::new(),
            trackers: Vec::new(),
            down_limit: None,
            up_limit: None,
            as_before: AsBefore::default(),
        }
    }

    /// The trackers of the magnet, and others.
    pub(super) fn all_trackers(&self) -> impl Iterator<Item = &str> {
        self.magnet.trackers.iter().chain(&self.trackers).map(String::as_str)
    }

    /// The options of the torrent that was found; `None` if its files are not asked for.
    pub(super) fn found(&self, torrent: Arc<Torrent>, files: Selection) -> Option<AddOptions> {
        let dir = self.dir.as_ref()?;
        Some(AddOptions {
            check: self.check,
            new_folder: self.new_folder,
            overwrite: self.overwrite,
            files,
            names: self.names.clone(),
            order: self.order,
            allocation: self.allocation,
            placing: self.placing.clone(),
            verify: self.verify,
            min_free: self.min_free,
            peers: self.peers.clone(),
            trackers: self.trackers.clone(),
            down_limit: self.down_limit,
            up_limit: self.up_limit,
            as_before: self.as_before,
            ..AddOptions::download(torrent, dir)
        })
    }
}
