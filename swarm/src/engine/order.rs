//! In which order a torrent is fetched: what applications choose.

use metainfo::{PieceIndex, Torrent};

use super::picker::Priority;

/// In which order pieces of equal priority are begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PieceOrder {
    /// The rarest among the peers first.
    #[default]
    Rarest,
    /// From the first to the last.
    Sequential,
    /// The first and the last piece of each file before all others, then the rarest: players and previews need them.
    FirstLast,
}

/// What priorities of files mean for pieces: each piece has the highest of those files that it holds bytes of. `files` are in the
/// order of the torrent's layout; those that are not named are of normal priority, pads of none. O(pieces + files).
pub fn file_priorities(torrent: &Torrent, files: &[Priority]) -> Vec<(PieceIndex, Priority)> {
    let mut priorities = vec![Priority::Skip; torrent.geometry().piece_count() as usize];
    for (index, file) in torrent.layout().files().iter().enumerate().filter(|(_, file)| !file.is_pad()) {
        let priority = files.get(index).copied().unwrap_or_default();
        if file.length == 0 {
            continue;
        }
        for piece in torrent.layout().file_pieces(index).into_iter().flatten() {
            if let Some(known) = priorities.get_mut(piece as usize) {
                *known = (*known).max(priority);
            }
        }
    }
    torrent.geometry().pieces().zip(priorities).collect()
}

/// The first and the last piece of each file.
pub(crate) fn ends(torrent: &Torrent) -> Vec<PieceIndex> {
    let files = torrent.layout().files().iter().enumerate();
    let mut ends: Vec<_> = files
        .filter(|(_, file)| !file.is_pad() && file.length > 0)
        .filter_map(|(index, _)| torrent.layout().file_pieces(index))
        .flat_map(|pieces| [*pieces.start(), *pieces.end()])
        .filter_map(|index| torrent.geometry().piece(index).ok())
        .collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}
