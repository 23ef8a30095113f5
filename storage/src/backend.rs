//! Where a torrent's bytes are kept.

use crate::{FileChange, StorageError};
use metainfo::PieceRange;
use std::io::{IoSlice, IoSliceMut};

/// The bytes of one torrent in one place: synchronous, positional, vectored.
///
/// All methods may be called from several threads at once. Ranges name bytes of the piece space; how they map to
/// files is the backend's business. The slices together are as long as the range. A call does all of it or
/// fails; after a failed write any part of the range may have changed. Pads (BEP 47) are not stored: they read
/// as zeros and writes to them are dropped.
pub trait Storage: Send + Sync {
    /// Fills the slices, one after another, with the bytes of the range.
    ///
    /// # Errors
    /// When bytes cannot be read. The cause is of kind `NotFound` when the file is not there, and of kind
    /// `UnexpectedEof` when it ends before the range does.
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError>;

    /// Writes the slices, one after another, over the bytes of the range.
    ///
    /// # Errors
    /// When not all bytes could be handed over.
    fn write(&self, range: PieceRange, data: &[IoSlice<'_>]) -> Result<(), StorageError>;

    /// Makes all that was written before durable.
    ///
    /// # Errors
    /// When any of it may not be durable.
    fn sync(&self) -> Result<(), StorageError>;

    /// Reads without waiting for a device. `None` when that is not possible now: use [`Storage::read`] on a
    /// thread that may wait.
    fn read_cached(&self, range: PieceRange, into: &mut [u8]) -> Option<Result<(), StorageError>> {
        let _ = (range, into);
        None
    }

    /// Whether the storage can work: a small test after a failure. With `write` it is of the folder, its device and its
    /// room; without, it is whether the folder is there with a file of the torrent, and nothing is written. It leaves
    /// nothing behind and touches nothing that was written.
    ///
    /// # Errors
    /// The reason why it cannot.
    fn probe(&self, write: bool) -> Result<(), StorageError> {
        let _ = write;
        Ok(())
    }

    /// What others did to files in use, since this was asked last; cheap enough to be asked every few seconds. It may take
    /// a number of calls to look at all files, where there are many. Until it told of it, nothing is written to a file that
    /// is not as it was.
    ///
    /// # Errors
    /// When the folder of the files is not there, so that nothing can be said of them.
    fn look(&self) -> Result<Vec<FileChange>, StorageError> {
        Ok(Vec::new())
    }

    /// The device it is on, to know what may hang with it; `None` when it has one of its own, or that is not known.
    fn device(&self) -> Option<u64> {
        None
    }

    /// Makes what needs no data, such as files of length 0. The first write does it too. Doing it again is
    /// harmless.
    ///
    /// # Errors
    /// When something could not be made.
    fn prepare(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
