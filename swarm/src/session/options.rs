//! What to run and how, and why it cannot be run.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use metainfo::{InfoHashes, TorrentId};
use storage::record::StoreError;
use storage::{Allocation, LinkMode, StorageError};

use super::link::Unavailable;
use super::selection::Selection;
use crate::engine::PieceOrder;

/// When what is on disk is compared with the torrent's hashes before the torrent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Check {
    /// What is not known to be right from a record. Without a record: all, when there is anything.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never. A download counts nothing as there; a torrent that is only seeded is taken at its files' lengths, and each piece is
    /// checked before it is first served.
    Never,
}

/// Where the files of a download lie until they are complete, and what is done with them then. Recorded: the next run goes on
/// in the same way, whatever it is told, as long as files lie so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placing {
    /// What the names of files end in until every piece of them is there and durable, such as `.part`; see
    /// [`storage::is_suffix`]. Of no effect on a torrent with a name that ends so.
    pub suffix: Option<String>,
    /// The folder that the files lie in until all that is wanted is there; then they are moved to the torrent's own. Of no
    /// effect on files that are in that already.
    pub incomplete: Option<PathBuf>,
    /// A folder that files are given to as well when all that is wanted is there.
    pub link_to: Option<PathBuf>,
    /// How that is done, and how files of `reuse` are taken.
    pub link: LinkMode,
    /// Files, and folders with files, whose content is taken for files that are missing and have the same length and pieces.
    /// They are only read. Where they cannot be linked they are copied.
    pub reuse: Vec<PathBuf>,
}

/// Which choices nobody makes now: what is recorded of the torrent in its folder goes over them, and they count if nothing is.
/// [`Event::Recalled`](super::Event::Recalled) tells what that is. Of no effect on a torrent that is only seeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsBefore {
    /// Which files are wanted, and how much.
    pub files: bool,
    /// In which order pieces are fetched.
    pub order: bool,
    /// When files take room.
    pub allocation: bool,
    /// The download limit.
    pub down_limit: bool,
    /// The upload limit.
    pub up_limit: bool,
    /// Trackers that were added: those of the options come after them.
    pub trackers: bool,
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct AddOptions {
    /// Its metainfo.
    pub torrent: Arc<metainfo::Torrent>,
    /// The folder that its files lie in, or that its own folder lies in.
    pub dir: PathBuf,
    /// Whether what is there is checked.
    pub check: Check,
    /// Whether another folder may be in the place of the one that was recorded, which then is started with as it is. Else that
    /// is refused: most often a disk is missing.
    pub new_folder: bool,
    /// Whether files that are there and hold something else are overwritten. Else a download that would do so does not start.
    pub overwrite: bool,
    /// Which files are wanted.
    pub files: Selection,
    /// Paths of files beneath the torrent's folder, by their index in its layout, where they are not to be those of the torrent. Of
    /// no effect on a torrent that is recorded: [`Torrent::rename_file`](super::Torrent::rename_file) renames its files.
    pub names: Vec<(usize, String)>,
    /// In which order pieces are fetched that are wanted alike.
    pub order: PieceOrder,
    /// When files take room.
    pub allocation: Allocation,
    /// Where files lie until they are complete, and what is done with them then.
    pub placing: Placing,
    /// Addresses of peers.
    pub peers: Vec<SocketAddr>,
    /// Trackers besides those of the torrent; each is tried after those before it.
    pub trackers: Vec<String>,
    /// Download limit in bytes per second.
    pub down_limit: Option<u64>,
    /// Upload limit in bytes per second.
    pub up_limit: Option<u64>,
    /// Whether all is read back from the disk and checked once it was fetched, before it counts as complete; what does not match is fetched
    /// anew. [`Event::Verified`](super::Event::Verified) tells what came of it. Not recorded.
    pub verify: bool,
    /// Refuse to start when what is missing does not fit the disk with this many bytes left; `None` does not look.
    pub min_free: Option<u64>,
    /// Whether what is missing is fetched: folder and files are made. Else only what is there is seeded, and what was chosen
    /// for the torrent before stays recorded.
    pub create: bool,
    /// Which of these choices give way to those that are recorded.
    pub as_before: AsBefore,
}

impl AddOptions {
    /// Downloads the whole torrent into a folder and seeds it.
    pub fn download(torrent: Arc<metainfo::Torrent>, dir: impl Into<PathBuf>) -> Self {
        Self {
            torrent,
            dir: dir.into(),
            check: Check::Auto,
            new_folder: false,
            overwrite: false,
            files: Selection::All,
            names: Vec::new(),
            order: PieceOrder::Rarest,
            allocation: Allocation::default(),
            placing: Placing::default(),
            peers: Vec::new(),
            trackers: Vec::new(),
            down_limit: None,
            up_limit: None,
            verify: false,
            min_free: None,
            create: true,
            as_before: AsBefore::default(),
        }
    }

    /// Seeds what is there of a torrent, and writes nothing.
    pub fn seed(torrent: Arc<metainfo::Torrent>, dir: impl Into<PathBuf>) -> Self {
        Self { create: false, ..Self::download(torrent, dir) }
    }
}

/// Why a torrent was not added.
#[derive(Clone, Debug, PartialEq)]
pub enum AddError {
    /// It is v2-only, and came without the piece layers that its pieces are checked by; its name.
    LayersMissing(String),
    /// It is v2-only and came without piece layers, and there is no memory for as many hashes; its name.
    TooManyPieces(String),
    /// The v1 and the v2 hash that were looked for are of two torrents.
    TwoTorrents(InfoHashes),
    /// It runs already.
    Duplicate(TorrentId),
    /// Another torrent has one of its files.
    PathTaken {
        /// Which file.
        path: PathBuf,
        /// Which torrent.
        by: TorrentId,
    },
    /// What is there of one of its files is recorded as another torrent's.
    Recorded {
        /// Which file.
        path: PathBuf,
        /// Which torrent.
        by: TorrentId,
        /// What that one is called.
        name: String,
    },
    /// It has fewer files than that.
    NoSuchFile {
        /// The index that was asked for.
        index: usize,
        /// How many it has.
        files: usize,
    },
    /// Its files cannot be chosen as asked for; why.
    Selection(String),
    /// What peers sent has the right hash, and is no torrent that can be used.
    Metadata(metainfo::Error),
    /// No record says what it is.
    NotRecorded(TorrentId),
    /// A record says what there is of it in another folder, and would be lost: [`Session::restore`](super::Session::restore)
    /// runs it there, [`Session::forget`](super::Session::forget) forgets it.
    RecordedElsewhere {
        /// Which torrent.
        id: TorrentId,
        /// Its folder.
        dir: PathBuf,
    },
    /// Its folder or files cannot be used.
    Storage(StorageError),
    /// What is missing does not fit the disk.
    NoSpace {
        /// The folder, or where they go when they are complete.
        dir: PathBuf,
        /// Bytes that are missing.
        needed: u64,
        /// Bytes that may be written.
        free: u64,
        /// Bytes that are to be left.
        reserve: u64,
    },
    /// Its record cannot be used; most often because another process runs it.
    Store(StoreError),
    /// The check was given up because the session ends.
    Cancelled,
    /// The session cannot take it.
    Unavailable(Unavailable),
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LayersMissing(name) => write!(
                f,
                "{name:?} is a v2-only torrent without its piece layers; add it by a torrent file that has them"
            ),
            Self::TooManyPieces(name) => write!(
                f,
                "the piece layers of {name:?} take more memory than there is for them: give its torrent file, or more memory"
            ),
            Self::TwoTorrents(hashes) => {
                f.write_str("the link names two torrents, with ")?;
                hashes.v1().map_or(Ok(()), |v1| write!(f, "the v1 hash {v1}"))?;
                hashes.v2().map_or(Ok(()), |v2| write!(f, " and the v2 hash {v2}"))?;
                f.write_str("; give the one that is meant alone")
            }
            Self::Duplicate(id) => write!(f, "torrent {id} runs already"),
            Self::NotRecorded(id) => write!(f, "torrent {id} is not recorded"),
            Self::RecordedElsewhere { id, dir } => {
                write!(f, "torrent {id} is recorded in {}", dir.display())
            }
            Self::PathTaken { path, by } => {
                write!(f, "{} is written by another torrent, {by}", path.display())
            }
            Self::Recorded { path, by, name } => {
                write!(f, "{} belongs to another torrent, {name:?} ({by})", path.display())
            }
            Self::NoSuchFile { index, files } => {
                write!(f, "expected the index of one of {files} files, got {index}")
            }
            Self::Selection(why) => f.write_str(why),
            Self::Metadata(error) => write!(f, "what its peers describe cannot be used: {error}"),
            Self::Storage(error) => error.fmt(f),
            Self::NoSpace { dir, needed, free, reserve } => write!(
                f,
                "expected room for {needed} bytes with {reserve} left, got {free} on the disk of {}",
                dir.display()
            ),
            Self::Store(error) => error.fmt(f),
            Self::Cancelled => f.write_str("the check was given up"),
            Self::Unavailable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AddError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Metadata(error) => Some(error),
            Self::Unavailable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StorageError> for AddError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<StoreError> for AddError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Unavailable> for AddError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}
