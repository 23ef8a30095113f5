//! A torrent made up from a seed, and its bytes.

use std::sync::Arc;

use metainfo::{Builder, PieceRange, Torrent};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A torrent with known content.
#[derive(Clone)]
pub struct Content {
    /// The metainfo.
    pub torrent: Arc<Torrent>,
    bytes: Arc<[u8]>,
}

impl Content {
    /// A v1 torrent of one file of `len` random bytes.
    ///
    /// # Panics
    /// When the sizes make no torrent.
    pub fn new(seed: u64, len: usize, piece_length: u32) -> Self {
        let builder = Builder::single("content.bin", len as u64).piece_length(piece_length);
        Self::build(seed, len, builder)
    }

    /// The content of `builder`, whose files hold `len` bytes together.
    ///
    /// # Panics
    /// When the builder makes no torrent.
    pub fn build(seed: u64, len: usize, builder: Builder) -> Self {
        let mut bytes = vec![0; len];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
        let mut feed = builder.prepare().expect("sizes that make a torrent").feed();
        feed.update(&bytes);
        let file = feed.finish().expect("as many bytes as the files have");
        let torrent = Torrent::parse(&file).expect("what the builder writes");
        Self { torrent: Arc::new(torrent), bytes: bytes.into() }
    }

    /// A part of a piece as a range.
    ///
    /// # Panics
    /// When it is not inside the piece.
    pub fn part(&self, piece: metainfo::PieceIndex, begin: u32, end: u32) -> PieceRange {
        let range = self.torrent.geometry().range_at(piece.get(), begin, end - begin, u32::MAX);
        range.expect("a part of the piece")
    }

    /// The bytes of a range.
    pub fn range(&self, range: PieceRange) -> &[u8] {
        let start = self.torrent.geometry().piece_start(range.piece()) as usize + range.begin() as usize;
        &self.bytes[start..start + range.len() as usize]
    }
}
