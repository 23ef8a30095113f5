//! What went wrong with bytes at rest: doing what, to which file, where, and why.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Operation {
    Open,
    Create,
    Read,
    Write,
    Sync,
    Allocate,
    Truncate,
    Rename,
    Remove,
    Stat,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Allocate => "allocate",
            Self::Truncate => "truncate",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Stat => "stat",
        })
    }
}

/// A failed operation on one file. Equal when operation, file, offset and kind of cause are.
#[derive(Clone, Debug)]
pub struct StorageError {
    /// What was being done.
    pub operation: Operation,
    /// The file or folder, as a person would name it.
    pub path: PathBuf,
    /// Bytes from the start of the file, where the operation has an offset.
    pub offset: Option<u64>,
    /// Why, as the system says it.
    pub cause: Arc<io::Error>,
}

impl StorageError {
    /// An error of the system on this file.
    pub fn new(
        operation: Operation,
        path: impl Into<PathBuf>,
        offset: Option<u64>,
        cause: io::Error,
    ) -> Self {
        Self { operation, path: path.into(), offset, cause: Arc::new(cause) }
    }
}

impl PartialEq for StorageError {
    fn eq(&self, other: &Self) -> bool {
        (self.operation, &self.path, self.offset) == (other.operation, &other.path, other.offset)
            && self.cause.kind() == other.cause.kind()
            && self.cause.raw_os_error() == other.cause.raw_os_error()
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.operation, self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
