//! What a piece has to hash to.

use crate::geometry::BLOCK;
use crate::layout::File;
use crate::merkle::{self, Hash};

/// The digests that a piece is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceCheck<'a> {
    /// SHA-1 of the whole piece (BEP 3).
    V1(&'a [u8; 20]),
    /// The root of the piece's hash tree (BEP 52).
    V2(V2Check<'a>),
    /// Both, and both must match (BEP 52). SHA-1 is of the whole piece, with the zeros of a pad file at its
    /// end; the tree is of the file's bytes only.
    Both(&'a [u8; 20], V2Check<'a>),
}

impl<'a> PieceCheck<'a> {
    /// The v1 side.
    pub fn v1(&self) -> Option<&'a [u8; 20]> {
        match *self {
            Self::V1(v1) | Self::Both(v1, _) => Some(v1),
            Self::V2(_) => None,
        }
    }

    /// The v2 side.
    pub fn v2(&self) -> Option<V2Check<'a>> {
        match *self {
            Self::V2(v2) | Self::Both(_, v2) => Some(v2),
            Self::V1(_) => None,
        }
    }
}

/// How a v2 piece is checked: hash each 16 KiB block of its `data` bytes with SHA-256, pad to `width` leaves
/// with zeros, and compare the root of their tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V2Check<'a> {
    /// The root expected; `None` when the torrent came without this file's piece layer, so that it is
    /// unknown.
    pub root: Option<&'a Hash>,
    /// Bytes of the piece that are part of its file; what follows is padding and not hashed.
    pub data: u32,
    /// Blocks that `data` makes: the leaves to hash.
    pub leaves: u32,
    /// Leaves of the tree, a power of two: those beyond `leaves` are 32 zero bytes.
    pub width: u32,
}

impl<'a> V2Check<'a> {
    /// A piece that is part of no file.
    pub(crate) const NONE: V2Check<'static> = V2Check { root: None, data: 0, leaves: 0, width: 1 };

    /// For the piece that starts at `start` of the piece space, in `file`.
    pub(crate) fn of(root: Option<&'a Hash>, file: &File, start: u64, piece_length: u32) -> Self {
        let data = file.end().saturating_sub(start).min(u64::from(piece_length));
        let data = u32::try_from(data).unwrap_or(piece_length);
        let leaves = data.div_ceil(BLOCK);
        let full = piece_length.div_ceil(BLOCK);
        let width = if file.length > u64::from(piece_length) { full } else { leaves.next_power_of_two() };
        V2Check { root, data, leaves, width }
    }

    /// The root over these leaves, padded.
    pub fn root_of(&self, leaves: &[Hash]) -> Hash {
        merkle::piece_root(leaves, self.width)
    }

    /// Whether these leaves are the piece expected; `None` when the root is unknown.
    pub fn matches(&self, leaves: &[Hash]) -> Option<bool> {
        self.root.map(|root| u32::try_from(leaves.len()) == Ok(self.leaves) && self.root_of(leaves) == *root)
    }
}
