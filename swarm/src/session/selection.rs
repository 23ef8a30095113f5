//! Which files of a torrent are wanted.

use metainfo::{PieceIndex, Torrent};

use crate::engine::picker::Priority;

/// Which files of a torrent are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    #[default]
    All,
    /// Those with these indices in the torrent's layout. A piece that they share with others is fetched whole.
    Files(Vec<usize>),
}

impl Selection {
    /// Whether a file is wanted.
    pub fn has(&self, file: usize) -> bool {
        match self {
            Self::All => true,
            Self::Files(files) => files.contains(&file),
        }
    }

    /// The first index that the torrent has no file for.
    pub(super) fn unknown(&self, torrent: &Torrent) -> Option<usize> {
        let count = torrent.layout().files().len();
        match self {
            Self::All => None,
            Self::Files(files) => files.iter().copied().find(|index| *index >= count),
        }
    }

    /// The pieces that are not wanted.
    pub(super) fn skipped(&self, torrent: &Torrent) -> Vec<(PieceIndex, Priority)> {
        let Self::Files(files) = self else { return Vec::new() };
        let mut wanted = vec![false; torrent.geometry().piece_count() as usize];
        for range in files.iter().filter_map(|file| torrent.layout().file_pieces(*file)) {
            for piece in range {
                if let Some(wanted) = wanted.get_mut(piece as usize) {
                    *wanted = true;
                }
            }
        }
        let pieces = torrent.geometry().pieces().zip(wanted);
        pieces.filter(|(_, wanted)| !wanted).map(|(piece, _)| (piece, Priority::Skip)).collect()
    }
}
