//! What went wrong with bytes at rest: doing what, to which file, where, and why.

use std::fmt;
use std::io::{self, ErrorKind};
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
    Link,
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
            Self::Link => "link",
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

    /// What is at the root of it, so that the cure can be told.
    pub fn trouble(&self) -> Trouble {
        #[cfg(feature = "files")]
        if let Some(refusal) = crate::files::Refusal::of(&self.cause) {
            return refusal.trouble();
        }
        match self.cause.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Trouble::Full,
            ErrorKind::FileTooLarge => Trouble::TooBig,
            ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
            ErrorKind::PermissionDenied => Trouble::Denied,
            ErrorKind::InvalidFilename => Trouble::Name,
            ErrorKind::StaleNetworkFileHandle | ErrorKind::NotConnected => Trouble::Gone,
            ErrorKind::NotFound => Trouble::Missing,
            ErrorKind::UnexpectedEof => Trouble::Short,
            ErrorKind::AlreadyExists | ErrorKind::IsADirectory => Trouble::Exists,
            _ => self.by_number(),
        }
    }

    /// What has no kind of its own in the standard library.
    fn by_number(&self) -> Trouble {
        match self.cause.raw_os_error() {
            Some(5) => Trouble::Device,
            Some(6 | 19) => Trouble::Gone,
            Some(23 | 24) => Trouble::TooManyOpen,
            _ => Trouble::Other,
        }
    }

    /// Whether the disk, or what the user may have of it, is full.
    pub fn is_full(&self) -> bool {
        self.trouble() == Trouble::Full
    }

    /// Whether nothing may be written there at all.
    pub fn is_read_only(&self) -> bool {
        self.trouble() == Trouble::ReadOnly
    }

    /// Whether the folder is not there any more, or something else is in its place: a disk that was unmounted, another
    /// that was mounted. Nothing may be written until it is back.
    pub fn is_gone(&self) -> bool {
        self.trouble() == Trouble::Gone
    }

    /// What the user can do about it, if that is known.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self.trouble() {
            Trouble::Full => "free some space, or move the torrent to another disk",
            Trouble::TooBig => {
                "this file system cannot hold a file that big: move the torrent to another disk"
            }
            Trouble::ReadOnly => "mount the disk for writing, or choose another folder",
            Trouble::Denied => "give this user the right to the file or folder, or choose another folder",
            Trouble::Name => "rename the file to something shorter or plainer",
            Trouble::Gone => "connect or mount the disk, or bring the folder back",
            Trouble::Missing | Trouble::Short => "bring the file back, or check the torrent again",
            Trouble::Exists => "move the file that is in the way, or choose another name or folder",
            Trouble::SameFile => "rename one of the two files",
            Trouble::Foreign => "move it away, choose another folder, or allow that it is overwritten",
            Trouble::InUse => "end that first, or use another folder",
            Trouble::Device => "look at the system's log and at the disk's health before you go on",
            Trouble::TooManyOpen => "raise the limit of open files",
            Trouble::Other => return None,
        })
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

/// What is behind an error, whatever was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No room left on the disk or in the quota.
    Full,
    /// The file system cannot hold files of that length (4 GiB on FAT).
    TooBig,
    /// The file system is mounted read-only.
    ReadOnly,
    /// No permission.
    Denied,
    /// The name is too long or holds what the file system cannot.
    Name,
    /// The folder is not there, or is not the one it was: see [`StorageError::is_gone`].
    Gone,
    /// The file is not there.
    Missing,
    /// The file ends too early.
    Short,
    /// Something that is not ours has the name already.
    Exists,
    /// Two files of the torrent are one on this file system.
    SameFile,
    /// A file with other content, that is not the torrent's, has the name of one of its files.
    Foreign,
    /// Another process uses it.
    InUse,
    /// The device failed.
    Device,
    /// The process or the system has too many files open.
    TooManyOpen,
    /// Anything else.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: io::Error) -> StorageError {
        StorageError::new(Operation::Write, "/d/f", Some(7), cause)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_system_says_is_sorted_by_cure() {
        let table = [
            (28, Trouble::Full),
            (122, Trouble::Full),
            (27, Trouble::TooBig),
            (30, Trouble::ReadOnly),
            (13, Trouble::Denied),
            (1, Trouble::Denied),
            (36, Trouble::Name),
            (5, Trouble::Device),
            (6, Trouble::Gone),
            (19, Trouble::Gone),
            (116, Trouble::Gone),
            (107, Trouble::Gone),
            (2, Trouble::Missing),
            (17, Trouble::Exists),
            (24, Trouble::TooManyOpen),
            (22, Trouble::Other),
        ];
        for (number, trouble) in table {
            let error = error(io::Error::from_raw_os_error(number));
            assert_eq!(error.trouble(), trouble, "{error}");
            assert_eq!(error.advice().is_none(), trouble == Trouble::Other);
        }
    }
}
