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
        // What could not be read again would cost all of the summary.
        let trackers: Vec<_> = self.trackers.iter().filter(|(_, tracker)| is_readable(tracker)).collect();
        out.count(trackers.len());
        for (tier, tracker) in trackers {
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

/// Whether it is read again as it is written.
fn is_readable(tracker: &Tracker) -> bool {
    let mut out = Writer::default();
    tracker.write(&mut out);
    Tracker::read(&mut Reader(&out.0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_that_is_too_long_to_be_read_costs_itself_only() {
        let tracker = |len: usize| Tracker { url: "x".repeat(len), id: None, next: None, works: true };
        let trackers = vec![(0, tracker(9000)), (1, tracker(20))];
        let mut out = Writer::default();
        Outline { trackers, ..Outline::default() }.write(&mut out);
        assert_eq!(Outline::read(&mut Reader(&out.0)).unwrap().trackers, [(1, tracker(20))]);
    }
}
