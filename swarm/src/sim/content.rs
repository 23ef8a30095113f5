//! A torrent made up from a seed, and its bytes.

use std::sync::Arc;

use metainfo::{Builder, PieceIndex, PieceRange, Torrent};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha1::{Digest, Sha1};
use storage::Pieces;

/// A torrent with known content.
#[derive(Clone)]
pub struct Content {
    /// The metainfo.
    pub torrent: Arc<Torrent>,
    /// The piece space, zeros in the pads.
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
        Self::made(seed, len, builder, |_| {})
    }

    /// The same, with another SHA-1 for one piece: a hybrid contradicts itself then.
    ///
    /// # Panics
    /// When the builder makes no torrent with a v1 side.
    pub fn with_wrong_v1(seed: u64, len: usize, builder: Builder, piece: usize) -> Self {
        Self::made(seed, len, builder, |file| {
            let key = b"6:pieces";
            let key_end =
                file.windows(key.len()).position(|found| found == key).expect("v1 hashes") + key.len();
            let colon = file[key_end..].iter().position(|byte| *byte == b':').expect("a string");
            file[key_end + colon + 1 + piece * 20] ^= 1;
        })
    }

    fn made(seed: u64, len: usize, builder: Builder, change: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = vec![0; len];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
        let mut feed = builder.prepare().expect("sizes that make a torrent").feed();
        feed.update(&bytes);
        let mut file = feed.finish().expect("as many bytes as the files have");
        change(&mut file);
        let torrent = Torrent::parse(&file).expect("what the builder writes");
        // Of a v2 torrent there is nothing between the end of a file and its next piece.
        let end = torrent.layout().files().iter().map(metainfo::File::end).max().unwrap_or(0);
        let mut space = vec![0; end as usize];
        let mut rest = &bytes[..];
        for file in torrent.layout().files().iter().filter(|file| !file.is_pad()) {
            let (now, later) = rest.split_at(file.length as usize);
            space[file.offset as usize..file.end() as usize].copy_from_slice(now);
            rest = later;
        }
        Self { torrent: Arc::new(torrent), bytes: space.into() }
    }

    /// A v1 torrent of files of these lengths, of which some are pads (BEP 47) anywhere, and of which the hash of some piece
    /// may be `wrong`.
    ///
    /// # Panics
    /// When the sizes make no torrent.
    pub fn padded(seed: u64, piece_length: u32, files: &[(usize, bool)], wrong: Option<usize>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut bytes, mut list) = (Vec::new(), String::new());
        for (at, (len, is_pad)) in files.iter().enumerate() {
            let start = bytes.len();
            bytes.resize(start + len, 0);
            let (attribute, name) = if *is_pad {
                ("4:attr1:p", format!("{at:03}.pad"))
            } else {
                rng.fill_bytes(&mut bytes[start..]);
                ("", format!("{at:03}.bin"))
            };
            list += &format!("d{attribute}6:lengthi{len}e4:pathl7:{name}ee");
        }
        let mut hashes: Vec<u8> = bytes.chunks(piece_length as usize).flat_map(Sha1::digest).collect();
        wrong.into_iter().for_each(|piece| hashes[piece * 20] ^= 1);
        let count = hashes.len();
        let info = format!("5:filesl{list}e4:name6:padded12:piece lengthi{piece_length}e6:pieces{count}:");
        let mut file = format!("d4:infod{info}").into_bytes();
        file.extend(hashes);
        file.extend(b"ee");
        let torrent = Torrent::parse(&file).expect("a torrent with pads");
        Self { torrent: Arc::new(torrent), bytes: bytes.into() }
    }

    /// The parts of pieces that are padding.
    pub fn pads(&self) -> Vec<PieceRange> {
        let (geometry, pads) = (self.torrent.geometry(), self.torrent.pads());
        let in_piece = |piece: PieceIndex| {
            let (start, whole) = (geometry.piece_start(piece), geometry.whole(piece));
            let found: Vec<_> = pads.within(start..start + u64::from(whole.len())).collect();
            found.into_iter().map(move |pad| (piece, (pad.start - start) as u32, (pad.end - start) as u32))
        };
        let parts = geometry.pieces().flat_map(in_piece);
        parts.map(|(piece, begin, end)| self.part(piece, begin, end)).collect()
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
