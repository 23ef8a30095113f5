//! The hash trees of v2 torrents (BEP 52): leaves are SHA-256 of 16 KiB blocks, missing leaves are zero.
//!
//! A file's tree has as many leaves as blocks, rounded up to a power of two with hashes of 32 zero bytes (not
//! the hash of zero data). The *piece layer* is the layer of that tree in which one hash covers one piece.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

pub(crate) mod crown;
mod span;

pub use self::span::{Height, MAX_LENGTH, Span};
use crate::geometry::BLOCK;
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

/// A node of a tree.
pub type Hash = [u8; 32];

/// The leaf of one block: 16 KiB, or less at the end of a file.
pub fn leaf(block: &[u8]) -> Hash {
    Sha256::digest(block).into()
}

/// The node above two others.
pub fn parent(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The root of a tree of `2^height` missing leaves.
pub fn zero_root(height: u32) -> Hash {
    (0..height).fold([0; 32], |zero, _| parent(&zero, &zero))
}

/// The root over the leaves of one piece, padded to `width` leaves.
///
/// `width` is the number of blocks in a full piece, or, when the whole file is no longer than a piece, the
/// number of its blocks rounded up to a power of two. Leaves beyond `width` are not looked at.
pub fn piece_root(leaves: &[Hash], width: u32) -> Hash {
    let mut tree = Accumulator::new();
    for leaf in leaves.iter().take(usize::try_from(width).unwrap_or(usize::MAX)) {
        tree.push(leaf);
    }
    tree.finish(u64::from(width))
}

/// The root of a file from its piece layer, for pieces of `blocks_per_piece` blocks (a power of two).
pub fn file_root<'a>(piece_layer: impl IntoIterator<Item = &'a Hash>, blocks_per_piece: u32) -> Hash {
    let mut tree = Accumulator::above(blocks_per_piece.max(1).ilog2());
    for hash in piece_layer {
        tree.push(hash);
    }
    let width = tree.count.next_power_of_two();
    tree.finish(width)
}

/// Root and piece layer of a file of these bytes; a file no longer than a piece has no piece layer, and an
/// empty file has a root of zeros. `piece_length` is a power of two of at least 16 KiB.
pub fn hash_file(bytes: &[u8], piece_length: u32) -> (Hash, Vec<Hash>) {
    let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
    let leaves: Vec<Hash> = bytes.chunks(block).map(leaf).collect();
    let per_piece = piece_length.div_ceil(BLOCK).max(1);
    if bytes.len() <= usize::try_from(piece_length).unwrap_or(usize::MAX) {
        let width = u32::try_from(leaves.len().next_power_of_two()).unwrap_or(per_piece);
        return (piece_root(&leaves, width), Vec::new());
    }
    let chunk = usize::try_from(per_piece).unwrap_or(usize::MAX);
    let layer: Vec<Hash> = leaves.chunks(chunk).map(|leaves| piece_root(leaves, per_piece)).collect();
    (file_root(&layer, per_piece), layer)
}

/// Computes a root from hashes that come one by one, holding one hash per layer.
///
/// Push the hashes in order, then ask for the root of a tree of a certain width.
#[derive(Clone, Debug)]
pub struct Accumulator {
    /// `layers[i]` is a finished left subtree of `2^i` hashes; it is there when bit `i` of `count` is set.
    layers: Vec<Hash>,
    count: u64,
    /// What stands for a missing hash.
    pad: Hash,
}

impl Default for Accumulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Accumulator {
    /// For leaves: what is missing is 32 zero bytes.
    pub fn new() -> Self {
        Self::above(0)
    }

    /// For hashes that are `height` layers above the leaves: what is missing is a tree of zero leaves.
    pub fn above(height: u32) -> Self {
        Self::padded(zero_root(height))
    }

    /// For hashes of which the missing ones are `pad`.
    fn padded(pad: Hash) -> Self {
        Self { layers: Vec::new(), count: 0, pad }
    }

    /// Hashes pushed so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next hash from the left.
    pub fn push(&mut self, hash: &Hash) {
        let mut hash = *hash;
        let mut count = self.count;
        for layer in &mut self.layers {
            if count & 1 == 0 {
                *layer = hash;
                self.count += 1;
                return;
            }
            hash = parent(layer, &hash);
            count >>= 1;
        }
        self.layers.push(hash);
        self.count += 1;
    }

    /// The root of a tree of `width` hashes (a power of two, not less than were pushed), the missing ones
    /// padded.
    pub fn finish(self, width: u64) -> Hash {
        let height = width.max(self.count).max(1).next_power_of_two().ilog2();
        let mut zero = self.pad;
        let mut right: Option<Hash> = None;
        let mut layers = self.layers.iter();
        for level in 0..height {
            let left = layers.next().filter(|_| self.count >> level & 1 == 1);
            right = match (left, right) {
                (Some(left), Some(right)) => Some(parent(left, &right)),
                (Some(left), None) => Some(parent(left, &zero)),
                (None, Some(right)) => Some(parent(&right, &zero)),
                (None, None) => None,
            };
            zero = parent(&zero, &zero);
        }
        let full = layers.next().filter(|_| self.count >> height & 1 == 1);
        full.copied().or(right).unwrap_or(zero)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layer by layer, as the definition says.
    fn plain_root(hashes: &[Hash], width: usize) -> Hash {
        let mut layer = hashes.to_vec();
        layer.resize(width, [0; 32]);
        while layer.len() > 1 {
            layer = layer.chunks(2).map(|pair| parent(&pair[0], &pair[1])).collect();
        }
        layer[0]
    }

    fn hashes(n: usize) -> Vec<Hash> {
        (0..n).map(|i| leaf(&i.to_be_bytes())).collect()
    }

    #[test]
    fn a_padded_tree_is_as_defined() {
        for n in 0..=17 {
            for width in [1usize, 2, 4, 8, 16, 32, 64] {
                if width >= n {
                    let root = piece_root(&hashes(n), width as u32);
                    assert_eq!(root, plain_root(&hashes(n), width), "{n} of {width}");
                }
            }
        }
    }

    #[test]
    fn the_root_above_the_piece_layer_is_the_root_of_the_file() {
        let bytes: Vec<u8> = (0..16384 * 13 + 100).map(|i: u32| (i / 7) as u8).collect();
        let leaves: Vec<Hash> = bytes.chunks(16384).map(leaf).collect();
        let root = plain_root(&leaves, 16);
        for (piece_length, layer_len) in [(16384, 14), (32768, 7), (65536, 4), (131_072, 2), (262_144, 0)] {
            let (found, layer) = hash_file(&bytes, piece_length);
            assert_eq!((found, layer.len()), (root, layer_len), "{piece_length}");
        }
    }

    #[test]
    fn missing_leaves_are_zero_bytes_not_hashes_of_zero() {
        assert_eq!(zero_root(0), [0; 32]);
        assert_eq!(zero_root(1), leaf(&[0; 64]));
        assert_eq!(piece_root(&[], 4), zero_root(2));
        assert_ne!(leaf(&[0; 16384]), [0; 32]);
    }
}
