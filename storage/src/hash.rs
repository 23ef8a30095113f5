//! Checking a piece while its bytes stream by, in order.

use metainfo::{BLOCK, Geometry, PieceIndex};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::pads::Pads;

/// Which of a torrent's hashes are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sides {
    /// SHA-1 of the piece (BEP 3).
    V1,
    /// The merkle root of its blocks (BEP 52).
    V2,
    /// Both, in one pass.
    Both,
}

impl Sides {
    fn v1(self) -> bool {
        self != Self::V2
    }

    fn v2(self) -> bool {
        self != Self::V1
    }
}

/// What a store's pieces are measured and checked against. A torrent is one.
pub trait Pieces: Send + Sync {
    /// The lengths of the pieces.
    fn geometry(&self) -> &Geometry;

    /// Which hashes are known for the pieces.
    fn sides(&self) -> Sides;

    /// Whether every hash in `digest` is the right one. `None` when none of them is known.
    fn verify(&self, piece: PieceIndex, digest: &PieceDigest) -> Option<bool>;

    /// The ranges that are padding.
    fn pads(&self) -> Pads {
        Pads::default()
    }
}

/// The running hash of one piece. Feed the bytes in order, in parts of any length.
#[derive(Clone, Debug)]
pub struct PieceHasher {
    v1: Option<Sha1>,
    v2: Option<Box<LeafHasher>>,
}

impl PieceHasher {
    /// Before the first byte.
    pub fn new(sides: Sides) -> Self {
        Self { v1: sides.v1().then(Sha1::new), v2: sides.v2().then(Box::default) }
    }

    /// Counts these bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(v1) = &mut self.v1 {
            v1.update(bytes);
        }
        if let Some(v2) = &mut self.v2 {
            v2.update(bytes);
        }
    }

    /// The hashes of all bytes.
    pub fn finish(self) -> PieceDigest {
        PieceDigest {
            v1: self.v1.map(|hash| hash.finalize().into()),
            v2: self.v2.map(|leaves| leaves.finish()),
        }
    }
}

/// The hashes of a whole piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceDigest {
    /// SHA-1 of the piece.
    pub v1: Option<[u8; 20]>,
    /// The merkle tree over its blocks.
    pub v2: Option<Leaves>,
}

/// Cuts bytes into blocks and hashes each as a leaf.
#[derive(Clone, Debug, Default)]
struct LeafHasher {
    leaf: Sha256,
    filled: usize,
    leaves: Leaves,
}

impl LeafHasher {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK as usize - self.filled));
            self.leaf.update(now);
            self.filled += now.len();
            if self.filled == BLOCK as usize {
                self.leaves.push(self.leaf.finalize_reset().into());
                self.filled = 0;
            }
            bytes = later;
        }
    }

    fn finish(mut self) -> Leaves {
        if self.filled > 0 {
            self.leaves.push(self.leaf.finalize().into());
        }
        self.leaves
    }
}

/// The leaves of a merkle tree (BEP 52), folded as they come: one node per level is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    count: u32,
    /// `nodes[k]` is the last full subtree of 2ᵏ leaves, where bit `k` of `count` is set.
    nodes: Vec<[u8; 32]>,
}

impl Leaves {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: [u8; 32]) {
        let mut node = leaf;
        let mut level = 0;
        while self.count >> level & 1 == 1 {
            node = parent(&self.nodes[level], &node);
            level += 1;
        }
        if level == self.nodes.len() {
            self.nodes.push(node);
        } else {
            self.nodes[level] = node;
        }
        self.count += 1;
    }

    /// Leaves so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The root of the tree of at least `width` leaves, rounded up to a power of two; missing leaves are zeros.
    pub fn root(&self, width: u32) -> [u8; 32] {
        let width = width.max(self.count).max(1).next_power_of_two();
        let mut pad = [0; 32];
        let mut right = None;
        for level in 0..width.trailing_zeros() {
            right = match (self.count >> level & 1 == 1, right) {
                (true, right) => Some(parent(&self.nodes[level as usize], &right.unwrap_or(pad))),
                (false, Some(right)) => Some(parent(&right, &pad)),
                (false, None) => None,
            };
            pad = parent(&pad, &pad);
        }
        if self.count == width { self.nodes[width.trailing_zeros() as usize] } else { right.unwrap_or(pad) }
    }
}

/// The node above two nodes.
pub(crate) fn parent(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, level by level.
    fn plain_root(mut level: Vec<[u8; 32]>, width: usize) -> [u8; 32] {
        level.resize(width, [0; 32]);
        while level.len() > 1 {
            level = level.chunks(2).map(|pair| parent(&pair[0], &pair[1])).collect();
        }
        level[0]
    }

    #[test]
    fn the_folded_tree_has_the_root_of_the_whole_tree() {
        for count in 0..40u32 {
            let all: Vec<_> = (0..count).map(|i| [i as u8 + 1; 32]).collect();
            let mut leaves = Leaves::default();
            all.iter().for_each(|leaf| leaves.push(*leaf));
            for width in [1u32, 2, 4, 8, 16, 32, 64, 128] {
                if width >= count {
                    let expected = plain_root(all.clone(), width as usize);
                    assert_eq!(leaves.root(width), expected, "{count} leaves in a tree of {width}");
                }
            }
        }
    }

    #[test]
    fn the_split_of_the_bytes_does_not_matter() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 >> 3) as u8).collect();
        let whole = {
            let mut hasher = PieceHasher::new(Sides::Both);
            hasher.update(&bytes);
            hasher.finish()
        };
        for step in [1, 63, 16_384, 16_385, 99_999] {
            let mut hasher = PieceHasher::new(Sides::Both);
            bytes.chunks(step).for_each(|part| hasher.update(part));
            assert_eq!(hasher.finish(), whole);
        }
        assert_eq!(whole.v1, Some(Sha1::digest(&bytes).into()));
        let leaves = bytes.chunks(BLOCK as usize).map(|b| Sha256::digest(b).into()).collect();
        assert_eq!(whole.v2.unwrap().root(8), plain_root(leaves, 8));
    }
}
