//! How a torrent divides into pieces and blocks, and the types that prove that an index was checked.
//!
//! Peers, trackers and files speak raw integers. [`Geometry`] is the only place that turns them into
//! [`PieceIndex`], [`Block`] or [`PieceRange`]; whoever holds one of these need not check it again.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Bytes in a block: what is asked for in one request, and the leaf of a v2 merkle tree (BEP 52).
pub const BLOCK: u32 = 16 * 1024;

/// The longest piece that is accepted, in bytes (512 MiB less 16 KiB, as libtorrent has it).
pub const MAX_PIECE_LENGTH: u32 = 32_767 * BLOCK;

/// A piece that exists in the torrent whose geometry made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The index as peers write it.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The index for slices.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// A block on the 16 KiB grid of a piece: the unit of requests. The last block of a piece may be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    piece: PieceIndex,
    index: u32,
    len: u32,
}

impl Block {
    /// The piece it is part of.
    pub const fn piece(self) -> PieceIndex {
        self.piece
    }

    /// Which block of the piece, from 0.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Bytes from the start of the piece.
    pub const fn begin(self) -> u32 {
        self.index * BLOCK
    }

    /// Bytes in it, 1 to 16,384.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> u32 {
        self.len
    }

    /// The same bytes as a range.
    pub const fn range(self) -> PieceRange {
        PieceRange { piece: self.piece, begin: self.index * BLOCK, len: self.len }
    }
}

/// Bytes inside one piece: what a peer may ask to be served. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceRange {
    piece: PieceIndex,
    begin: u32,
    len: u32,
}

impl PieceRange {
    /// The piece it is part of.
    pub const fn piece(self) -> PieceIndex {
        self.piece
    }

    /// Bytes from the start of the piece.
    pub const fn begin(self) -> u32 {
        self.begin
    }

    /// Bytes in it, at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> u32 {
        self.len
    }

    /// The end, from the start of the piece.
    pub const fn end(self) -> u32 {
        self.begin + self.len
    }
}

/// A number from outside that is not inside the torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfBounds {
    /// No such piece.
    Piece {
        /// The index asked for.
        index: u32,
        /// Pieces in the torrent.
        count: u32,
    },
    /// The range is empty or leaves the piece.
    Range {
        /// First byte asked for.
        begin: u32,
        /// Bytes asked for.
        len: u32,
        /// Bytes in the piece.
        piece_len: u32,
    },
    /// The range is longer than is served in one message.
    TooLong {
        /// Bytes asked for.
        len: u32,
        /// Bytes served at most.
        max: u32,
    },
    /// Not a block of the 16 KiB grid.
    OffGrid {
        /// First byte named.
        begin: u32,
        /// Bytes named.
        len: u32,
    },
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Piece { index, count } => write!(f, "piece {index} of a torrent of {count} pieces"),
            Self::Range { begin, len, piece_len } => {
                write!(f, "{len} bytes at {begin} of a piece of {piece_len} bytes")
            }
            Self::TooLong { len, max } => write!(f, "{len} bytes in one request, at most {max} are served"),
            Self::OffGrid { begin, len } => {
                write!(f, "{len} bytes at {begin} are no block of the 16 KiB grid")
            }
        }
    }
}

impl core::error::Error for OutOfBounds {}

/// A geometry that cannot be: what is wrong with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryError {
    /// Piece length 0 or above [`MAX_PIECE_LENGTH`].
    PieceLength(u64),
    /// More pieces than a `u32` below 2²⁴ can count, or none.
    PieceCount(u64),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PieceLength(n) => write!(f, "piece length {n}, expected 1 to {MAX_PIECE_LENGTH}"),
            Self::PieceCount(n) => write!(f, "{n} pieces, expected 1 to {MAX_PIECES}"),
        }
    }
}

impl core::error::Error for GeometryError {}

/// Most pieces in a torrent (libtorrent: 2,097,152).
pub const MAX_PIECES: u64 = 2_097_152;

/// The pieces of a torrent and the length of each.
///
/// The piece space is a line of bytes in which piece `i` starts at `i * piece_length`. A v1 torrent fills it
/// without gaps and only the last piece is short. In a v2 torrent each file starts at a piece, so the last piece
/// of any file may be short (BEP 52); the rest of such a piece does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    piece_length: u32,
    pieces: u32,
    /// Bytes in all pieces together.
    total: u64,
    /// The pieces that are shorter than `piece_length`, in order.
    short: Arc<[(u32, u32)]>,
}

impl Geometry {
    /// Pieces of a v1 or hybrid torrent of `total` bytes (pad files counted).
    ///
    /// # Errors
    /// When the piece length is out of range or there would be no or too many pieces.
    pub fn contiguous(piece_length: u64, total: u64) -> Result<Self, GeometryError> {
        Self::file_aligned(piece_length, core::iter::once(total))
    }

    /// Pieces of a v2 torrent whose non-empty files have these lengths, in order.
    ///
    /// # Errors
    /// As [`Geometry::contiguous`].
    pub fn file_aligned(
        piece_length: u64,
        files: impl IntoIterator<Item = u64>,
    ) -> Result<Self, GeometryError> {
        let length = u32::try_from(piece_length).map_err(|_| GeometryError::PieceLength(piece_length))?;
        if length == 0 || length > MAX_PIECE_LENGTH {
            return Err(GeometryError::PieceLength(piece_length));
        }
        let mut pieces = 0u64;
        let mut total = 0u64;
        let mut short = Vec::new();
        for file in files {
            pieces = pieces.saturating_add(file.div_ceil(piece_length));
            if pieces > MAX_PIECES {
                return Err(GeometryError::PieceCount(pieces));
            }
            let tail = file % piece_length;
            if tail != 0 {
                short.push((pieces as u32 - 1, tail as u32));
            }
            total += file;
        }
        if pieces == 0 {
            return Err(GeometryError::PieceCount(0));
        }
        Ok(Self { piece_length: length, pieces: pieces as u32, total, short: short.into() })
    }

    /// No pieces at all: of a torrent that nothing is known of yet.
    pub fn empty() -> Self {
        Self { piece_length: BLOCK, pieces: 0, total: 0, short: Arc::default() }
    }

    /// Bytes in a full piece.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Number of pieces; 0 only of [`Geometry::empty`].
    pub fn piece_count(&self) -> u32 {
        self.pieces
    }

    /// Bytes in all pieces together (pad files counted).
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The piece of this index.
    ///
    /// # Errors
    /// When the torrent has no such piece.
    pub fn piece(&self, index: u32) -> Result<PieceIndex, OutOfBounds> {
        if index < self.pieces {
            Ok(PieceIndex(index))
        } else {
            Err(OutOfBounds::Piece { index, count: self.pieces })
        }
    }

    /// All pieces in order.
    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + ExactSizeIterator + use<> {
        (0..self.pieces).map(PieceIndex)
    }

    /// Bytes in this piece.
    pub fn piece_len(&self, piece: PieceIndex) -> u32 {
        match self.short.last() {
            None => self.piece_length,
            Some(&(last, len)) if last <= piece.0 => {
                if last == piece.0 {
                    len
                } else {
                    self.piece_length
                }
            }
            Some(_) => match self.short.binary_search_by_key(&piece.0, |s| s.0) {
                Ok(at) => self.short[at].1,
                Err(_) => self.piece_length,
            },
        }
    }

    /// Where the piece starts in the piece space, in bytes.
    pub fn piece_start(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_length)
    }

    /// Blocks in this piece, at least 1.
    pub fn blocks_in(&self, piece: PieceIndex) -> u32 {
        self.piece_len(piece).div_ceil(BLOCK)
    }

    /// Blocks in a full piece.
    pub fn blocks_per_piece(&self) -> u32 {
        self.piece_length.div_ceil(BLOCK)
    }

    /// Block `index` of the piece; `None` past its end.
    pub fn block(&self, piece: PieceIndex, index: u32) -> Option<Block> {
        let piece_len = self.piece_len(piece);
        let begin = index.checked_mul(BLOCK).filter(|&b| b < piece_len)?;
        Some(Block { piece, index, len: (piece_len - begin).min(BLOCK) })
    }

    /// The block that a peer's message names.
    ///
    /// # Errors
    /// When it is not exactly a block of this torrent's 16 KiB grid.
    pub fn block_at(&self, index: u32, begin: u32, len: u32) -> Result<Block, OutOfBounds> {
        let piece = self.piece(index)?;
        if !begin.is_multiple_of(BLOCK) {
            return Err(OutOfBounds::OffGrid { begin, len });
        }
        let range = OutOfBounds::Range { begin, len, piece_len: self.piece_len(piece) };
        let block = self.block(piece, begin / BLOCK).ok_or(range)?;
        if block.len == len { Ok(block) } else { Err(OutOfBounds::OffGrid { begin, len }) }
    }

    /// The range that a peer asks to be served, of at most `max` bytes.
    ///
    /// # Errors
    /// When it is empty, too long, or not inside one piece.
    pub fn range_at(&self, index: u32, begin: u32, len: u32, max: u32) -> Result<PieceRange, OutOfBounds> {
        let piece = self.piece(index)?;
        if len > max {
            return Err(OutOfBounds::TooLong { len, max });
        }
        let piece_len = self.piece_len(piece);
        match begin.checked_add(len) {
            Some(end) if len > 0 && end <= piece_len => Ok(PieceRange { piece, begin, len }),
            _ => Err(OutOfBounds::Range { begin, len, piece_len }),
        }
    }

    /// The whole piece as a range.
    pub fn whole(&self, piece: PieceIndex) -> PieceRange {
        PieceRange { piece, begin: 0, len: self.piece_len(piece) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_is_short() {
        let g = Geometry::contiguous(32768, 100_000).unwrap();
        assert_eq!((g.piece_count(), g.total()), (4, 100_000));
        let last = g.piece(3).unwrap();
        assert_eq!(g.piece_len(last), 100_000 - 3 * 32768);
        assert_eq!(g.block(last, 0).unwrap().len(), 1696);
        assert_eq!(g.block(last, 1), None);
        assert_eq!(g.piece(4), Err(OutOfBounds::Piece { index: 4, count: 4 }));
    }

    #[test]
    fn any_piece_of_a_v2_torrent_may_be_short() {
        let g = Geometry::file_aligned(16384, [1, 16384, 16385]).unwrap();
        let lens: Vec<_> = g.pieces().map(|p| g.piece_len(p)).collect();
        assert_eq!(lens, [1, 16384, 16384, 1]);
        assert_eq!(g.total(), 32770);
    }

    #[test]
    fn absurd_lengths_are_refused() {
        for length in [0, 1 << 31, 1 << 32, (1 << 32) + 1, u64::MAX] {
            assert_eq!(Geometry::contiguous(length, 1), Err(GeometryError::PieceLength(length)));
        }
        assert!(Geometry::contiguous(1, u64::MAX).is_err());
        assert_eq!(Geometry::contiguous(16384, 0), Err(GeometryError::PieceCount(0)));
    }

    #[test]
    fn ranges_stay_inside_their_piece() {
        let g = Geometry::contiguous(65536, 200_000).unwrap();
        assert!(g.range_at(0, 3, 65533, 131_072).is_ok());
        assert!(g.range_at(0, 3, 65534, 131_072).is_err());
        assert!(g.range_at(0, u32::MAX, 2, 131_072).is_err());
        assert!(g.range_at(0, 0, 0, 131_072).is_err());
        assert!(g.range_at(4, 0, 1, 131_072).is_err());
        assert_eq!(g.range_at(0, 0, 20, 10), Err(OutOfBounds::TooLong { len: 20, max: 10 }));
        assert_eq!(g.block_at(0, 16384, 16384).unwrap().index(), 1);
        assert!(g.block_at(0, 16384, 16383).is_err());
        assert!(g.block_at(0, 16385, 16384).is_err());
        assert!(g.block_at(3, 3392, 1).is_err());
    }
}
