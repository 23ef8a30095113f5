//! What somebody else did to the files of a storage while it was in use.

use crate::StorageError;

/// Somebody else did something to a file: its bytes are gone, or may be others.
#[derive(Clone, Debug, PartialEq)]
pub struct FileChange {
    /// Its index in the layout.
    pub file: usize,
    /// The first byte of the file that is concerned; all from there on are.
    pub from: u64,
    /// Why the bytes are not there any more. `None` when there are some, and nobody knows which: somebody wrote to the file,
    /// or put another one in its place, or brought it back.
    pub lost: Option<StorageError>,
}
