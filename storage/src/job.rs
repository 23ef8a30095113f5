//! What the disk is asked to do, and what it answers.
//!
//! Jobs carry owned buffers and completions give them back, so that no buffer is shared between threads. The
//! contract of the plan that executes them (see `plan`):
//!
//! - a hash sees every earlier write; a piece gets exactly one [`Completion::Piece`] after its last block was written;
//! - reads may overtake each other, never a write to the same piece;
//! - an error is reported once per job, with file, offset and cause.

use crate::{Buf, FileChange, Hashes, StorageError};
use metainfo::{Block, PieceIndex, PieceRange};

/// A store that a disk has opened: one torrent's bytes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(pub u32);

/// The asker's own mark on a job; comes back unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// One thing to do.
#[derive(Debug)]
pub enum Job {
    /// Writes the first accepted copy of a block and counts it into its piece's hash.
    Write {
        /// Where.
        store: StoreId,
        /// Which block; `data.len()` is its length.
        block: Block,
        /// Its bytes.
        data: Buf,
    },
    /// Forgets what was written and hashed of a piece, so that its blocks may be written anew.
    Restart {
        /// Where.
        store: StoreId,
        /// Which piece.
        piece: PieceIndex,
    },
    /// Reads a range to serve it.
    Read {
        /// Where.
        store: StoreId,
        /// The asker's mark.
        token: Token,
        /// What; at most `data.capacity()` bytes.
        range: PieceRange,
        /// Read into this.
        data: Buf,
    },
    /// Takes blocks that storage holds from an earlier run for written. They are read back once, when the hash gets
    /// to them; only the verdict tells whether they were right. Blocks that came meanwhile stay as they are. Has no
    /// answer of its own.
    Adopt {
        /// Where.
        store: StoreId,
        /// Which piece.
        piece: PieceIndex,
        /// Which blocks of it.
        blocks: Vec<u32>,
    },
    /// Reads a piece back and checks it against its hash.
    Check {
        /// Where.
        store: StoreId,
        /// Which piece.
        piece: PieceIndex,
    },
    /// Reads a piece back and digests each of its blocks, to find who sent the wrong one.
    BlockDigests {
        /// Where.
        store: StoreId,
        /// Which piece.
        piece: PieceIndex,
    },
    /// Makes everything written so far durable.
    Sync {
        /// Where.
        store: StoreId,
        /// The asker's mark.
        token: Token,
    },
    /// Tries whether the store is there again, or can be written to.
    Probe {
        /// Where.
        store: StoreId,
        /// Whether something is to be written to it; if not, it need only be readable.
        write: bool,
    },
    /// Finds out what others did to files that are in use.
    Look {
        /// Where.
        store: StoreId,
    },
}

/// One answer.
#[derive(Debug)]
pub enum Completion {
    /// Blocks of one piece were handed to the file system, or could not be. The buffers come back either way.
    Written {
        /// Where.
        store: StoreId,
        /// Which piece.
        piece: PieceIndex,
        /// The blocks, in no order.
        blocks: Vec<Block>,
        /// Their buffers, in the same order: to recycle, or to write again.
        buffers: Vec<Buf>,
        /// Whether they are there now. After an error they are to be written again.
        result: Result<(), StorageError>,
    },
    /// All blocks of a piece were written and hashed, or a [`Job::Check`] ended: does it match?
    Piece {
        /// Where.
        store: StoreId,
        /// Which piece.
        piece: PieceIndex,
        /// What its hashes say.
        result: Result<Hashes, StorageError>,
    },
    /// A [`Job::Read`] ended. `data.len()` is the range's length on success.
    Read {
        /// Where.
        store: StoreId,
        /// The asker's mark.
        token: Token,
        /// What.
        range: PieceRange,
        /// The bytes.
        data: Buf,
        /// Whether they are right.
        result: Result<(), StorageError>,
    },
    /// A [`Job::BlockDigests`] ended: the SHA-1 of each block in order.
    BlockDigests {
        /// Where.
        store: StoreId,
        /// Which piece.
        piece: PieceIndex,
        /// A digest per block.
        result: Result<Vec<[u8; 20]>, StorageError>,
    },
    /// A [`Job::Sync`] ended.
    Synced {
        /// Where.
        store: StoreId,
        /// The asker's mark.
        token: Token,
        /// Whether all is durable.
        result: Result<(), StorageError>,
    },
    /// A [`Job::Probe`] ended.
    Probed {
        /// Where.
        store: StoreId,
        /// Whether it can be used as was asked, as far as a small test tells.
        result: Result<(), StorageError>,
    },
    /// A [`Job::Look`] ended.
    Looked {
        /// Where.
        store: StoreId,
        /// What was found, or why nothing can be said.
        result: Result<Vec<FileChange>, StorageError>,
    },
}
