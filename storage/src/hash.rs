//! Checking a piece while its bytes stream by, in order.

use crate::pads::Pads;
use crate::sha1::{Feed, Sha1, update_together};
use metainfo::merkle::Accumulator;
use metainfo::{BLOCK, Geometry, PieceCheck, PieceIndex, Torrent, V2Check};
use sha2::{Digest, Sha256};

/// What a store's pieces are measured and checked against. A [`Torrent`] is one.
pub trait Pieces: Send + Sync {
    /// The lengths of the pieces.
    fn geometry(&self) -> &Geometry;

    /// Hashes a piece, by all that is known of it.
    fn hasher(&self, piece: PieceIndex) -> PieceHasher;

    /// What the hashes in `digest` say. `None` when none of the right ones is known.
    fn verify(&self, piece: PieceIndex, digest: PieceDigest) -> Option<Hashes>;

    /// The ranges that are padding.
    fn pads(&self) -> Pads {
        Pads::default()
    }
}

impl Pieces for Torrent {
    fn geometry(&self) -> &Geometry {
        self.geometry()
    }

    fn hasher(&self, piece: PieceIndex) -> PieceHasher {
        PieceHasher::all(&self.piece_check(piece))
    }

    fn verify(&self, piece: PieceIndex, digest: PieceDigest) -> Option<Hashes> {
        digest.compare(&self.piece_check(piece))
    }

    fn pads(&self) -> Pads {
        let pads = self.layout().files().iter().filter(|file| file.is_pad());
        Pads::new(pads.map(|file| file.offset..file.end()))
    }
}

/// What the hashes of a piece say of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hashes {
    /// Each that is known is as it is to be.
    Match,
    /// They are not the right bytes.
    Differ,
    /// Of a hybrid torrent one matches and the other does not: no bytes match both, and whoever sent these is not to blame
    /// (BEP 52).
    Contradict,
}

impl Hashes {
    /// Whether the bytes are right.
    pub fn is_match(self) -> bool {
        self == Self::Match
    }
}

/// The running hash of one piece. Feed the bytes in order, in parts of any length.
#[derive(Clone, Debug)]
pub struct PieceHasher {
    v1: Option<Sha1>,
    v2: Option<Box<LeafHasher>>,
}

impl PieceHasher {
    /// The SHA-1 of the piece (BEP 3).
    pub fn v1() -> Self {
        Self { v1: Some(Sha1::new()), v2: None }
    }

    /// The hash tree over the first `data` bytes of the piece (BEP 52); what follows is padding.
    pub fn v2(data: u32) -> Self {
        Self { v1: None, v2: Some(Box::new(LeafHasher::new(data))) }
    }

    /// Both in one pass.
    pub fn both(data: u32) -> Self {
        Self { v1: Some(Sha1::new()), v2: Some(Box::new(LeafHasher::new(data))) }
    }

    /// All that the torrent has for the piece: of a hybrid whose piece layers are not there that is the SHA-1 alone.
    pub fn all(check: &PieceCheck<'_>) -> Self {
        match check {
            PieceCheck::V1(_) | PieceCheck::Both(_, V2Check { root: None, .. }) => Self::v1(),
            PieceCheck::V2(v2) => Self::v2(v2.data),
            PieceCheck::Both(_, v2) => Self::both(v2.data),
        }
    }

    /// Counts these bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        let Some(v2) = &mut self.v2 else {
            if let Some(v1) = &mut self.v1 {
                v1.update(bytes);
            }
            return;
        };
        // Block by block, so that the second hash finds the bytes in the nearest cache.
        for part in bytes.chunks(BLOCK as usize) {
            if let Some(v1) = &mut self.v1 {
                v1.update(part);
            }
            v2.update(part);
        }
    }

    /// Counts the parts of each message in, of as many messages at a time as [`hash_lanes`](crate::hash_lanes) says:
    /// that takes less time than one after another.
    pub fn update_together<B: AsRef<[u8]>>(messages: &mut [(&mut Self, &[B])]) {
        let feeds = messages.iter_mut().filter_map(|(hasher, parts)| {
            if let Some(v2) = &mut hasher.v2 {
                parts.iter().for_each(|part| v2.update(part.as_ref()));
            }
            hasher.v1.as_mut().map(|v1| Feed::new(v1, parts))
        });
        update_together(feeds.collect());
    }

    /// The hashes of all bytes.
    pub fn finish(self) -> PieceDigest {
        PieceDigest { v1: self.v1.map(Sha1::finish), v2: self.v2.map(|leaves| leaves.finish()) }
    }
}

/// The hashes of a whole piece.
#[derive(Clone, Debug)]
pub struct PieceDigest {
    /// SHA-1 of the piece.
    pub v1: Option<[u8; 20]>,
    /// The hash tree over its blocks.
    pub v2: Option<Accumulator>,
}

impl PieceDigest {
    /// What the hashes here say, beside those that `check` wants. `None` when it knows none of them.
    pub fn compare(self, check: &PieceCheck<'_>) -> Option<Hashes> {
        let v1 = self.v1.zip(check.v1()).map(|(found, expected)| found == *expected);
        let v2 = self.v2.zip(check.v2()).and_then(|(found, expected)| tree_matches(found, &expected));
        match (v1, v2) {
            (None, None) => None,
            (Some(v1), Some(v2)) if v1 != v2 => Some(Hashes::Contradict),
            (Some(false), _) | (_, Some(false)) => Some(Hashes::Differ),
            _ => Some(Hashes::Match),
        }
    }
}

fn tree_matches(found: Accumulator, expected: &V2Check<'_>) -> Option<bool> {
    let root = expected.root?;
    Some(found.count() == u64::from(expected.leaves) && found.finish(u64::from(expected.width)) == *root)
}

/// Cuts bytes into blocks and hashes each as a leaf.
#[derive(Clone, Debug)]
struct LeafHasher {
    leaf: Sha256,
    filled: usize,
    /// Bytes still to come before the padding.
    left: usize,
    leaves: Accumulator,
}

impl LeafHasher {
    fn new(data: u32) -> Self {
        Self { leaf: Sha256::new(), filled: 0, left: data as usize, leaves: Accumulator::new() }
    }

    fn update(&mut self, bytes: &[u8]) {
        let mut bytes = &bytes[..bytes.len().min(self.left)];
        self.left -= bytes.len();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK as usize - self.filled));
            self.leaf.update(now);
            self.filled += now.len();
            if self.filled == BLOCK as usize {
                self.leaves.push(&self.leaf.finalize_reset().into());
                self.filled = 0;
            }
            bytes = later;
        }
    }

    fn finish(mut self) -> Accumulator {
        if self.filled > 0 {
            self.leaves.push(&self.leaf.finalize().into());
        }
        self.leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::merkle;

    fn root(digest: PieceDigest) -> merkle::Hash {
        digest.v2.unwrap().finish(8)
    }

    #[test]
    fn the_split_of_the_bytes_does_not_matter() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 / 8) as u8).collect();
        let leaves: Vec<_> = bytes[..90_000].chunks(BLOCK as usize).map(merkle::leaf).collect();
        for step in [1, 63, 16_384, 16_385, 99_999, 100_000] {
            let mut hasher = PieceHasher::both(90_000);
            bytes.chunks(step).for_each(|part| hasher.update(part));
            let digest = hasher.finish();
            assert_eq!(digest.v1, Some(Sha1::digest(&bytes)));
            assert_eq!(root(digest), merkle::piece_root(&leaves, 8));
        }
    }

    #[test]
    fn several_pieces_together_are_hashed_like_one_by_one() {
        let bytes: Vec<u8> = (0..70_000u32).map(|i| (i * 5 / 3) as u8).collect();
        let kinds =
            [PieceHasher::v1(), PieceHasher::both(60_000), PieceHasher::v2(70_000), PieceHasher::v1()];
        let mut together = kinds.clone();
        let halves: Vec<_> = (1..5).map(|i| bytes.split_at(i * 9_999)).map(|(a, b)| [a, b]).collect();
        let mut messages: Vec<_> =
            together.iter_mut().zip(&halves).map(|(hasher, parts)| (hasher, &parts[..])).collect();
        PieceHasher::update_together(&mut messages);
        for (mut alone, together) in kinds.into_iter().zip(together) {
            alone.update(&bytes);
            let (alone, together) = (alone.finish(), together.finish());
            assert_eq!(alone.v1, together.v1);
            assert_eq!(alone.v2.map(|tree| tree.finish(8)), together.v2.map(|tree| tree.finish(8)));
        }
    }

    #[test]
    fn both_sides_of_a_hybrid_must_match() {
        let (mut hasher, bytes) = (PieceHasher::both(3), b"abc\0");
        hasher.update(bytes);
        let digest = hasher.finish();
        let (v1, leaf) = (Sha1::digest(bytes), merkle::leaf(b"abc"));
        let v2 = |root| V2Check { root, data: 3, leaves: 1, width: 1 };
        let compare = |v1: &[u8; 20], root| digest.clone().compare(&PieceCheck::Both(v1, v2(root)));
        assert_eq!(compare(&v1, Some(&leaf)), Some(Hashes::Match));
        assert_eq!(compare(&[0; 20], Some(&[0; 32])), Some(Hashes::Differ));
        assert_eq!(compare(&[0; 20], Some(&leaf)), Some(Hashes::Contradict));
        assert_eq!(compare(&v1, Some(&[0; 32])), Some(Hashes::Contradict));
        // Its piece layers are not there.
        assert_eq!(compare(&v1, None), Some(Hashes::Match));
        assert_eq!(compare(&[0; 20], None), Some(Hashes::Differ));
        assert_eq!(digest.clone().compare(&PieceCheck::V2(v2(None))), None);
    }
}
