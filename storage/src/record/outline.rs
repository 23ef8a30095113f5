//! The part of a summary by which a torrent runs without being opened.

use super::bytes::{Reader, Writer};
use super::error::Damage;
use super::state::{MAX_LIST, Tracker};
use std::path::PathBuf;

/// What is needed of a torrent to announce it, to answer to its name, and to show it, without its state and its source. What it says
/// of trackers and limits is newer than what the state says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Its pieces.
    pub pieces: u32,
    /// Pieces that are recorded as there.
    pub pieces_done: u32,
    /// All its trackers, each with its tier, in the order in which they are tried.
    pub trackers: Vec<(u32, Tracker)>,
    /// Most bytes a second to receive.
    pub down_limit: Option<u64>,
    /// Most bytes a second to send.
    pub up_limit: Option<u64>,
    /// Its files are yet to be moved or renamed, whether anybody needs them or not.
    pub unsettled: bool,
    /// The first parts of the paths of its files beneath its folder.
    pub names: Vec<PathBuf>,
}

impl Outline {
    pub(super) fn write(&self, out: &mut Writer) {
        out.number(self.pieces);
        out.number(self.pieces_done);
        out.count(self.trackers.len());
        for (tier, tracker) in &self.trackers {
            out.number(*tier);
            tracker.write(out);
        }
        out.optional(self.down_limit);
        out.optional(self.up_limit);
        out.flag(self.unsettled);
        out.count(self.names.len());
        self.names.iter().for_each(|name| out.path(name));
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        Ok(Self {
            pieces: from.small("pieces")?,
            pieces_done: from.small("pieces")?,
            trackers: from
                .list(MAX_LIST, "trackers", |from| Ok((from.small("a tier")?, Tracker::read(from)?)))?,
            down_limit: from.optional("a limit")?,
            up_limit: from.optional("a limit")?,
            unsettled: from.flag("what is to be done")?,
            names: from.list(MAX_LIST, "names", |from| from.path("a name"))?,
        })
    }
}
