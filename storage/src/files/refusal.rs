//! What is refused before the system is even asked, because it would harm.

use super::Foreign;
use crate::{Operation, StorageError, Trouble};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Why it is refused. It is the cause of a [`StorageError`].
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The folder is not there.
    Gone,
    /// The path of the folder leads to another one than it did.
    Elsewhere,
    /// The folder is not the one that was recorded.
    OtherPlace,
    /// The file is the same as this other one of the torrent.
    SameFile(PathBuf),
    /// The file system cannot hold the file.
    TooBig,
    /// The file is not there any more, although it was in use.
    Removed,
    /// The file in use is not the one that has its name.
    Replaced,
    /// The file in use is shorter than it was.
    Cut,
    /// The file is somebody else's.
    Foreign(Foreign),
    /// Another process uses it.
    InUse,
}

impl Refusal {
    /// The refusal behind an error, if it is one.
    pub(crate) fn of(cause: &io::Error) -> Option<&Self> {
        cause.get_ref()?.downcast_ref()
    }

    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::Gone | Self::Elsewhere | Self::OtherPlace => Trouble::Gone,
            Self::SameFile(_) => Trouble::SameFile,
            Self::TooBig => Trouble::TooBig,
            Self::Removed | Self::Replaced => Trouble::Missing,
            Self::Cut => Trouble::Short,
            Self::Foreign(_) => Trouble::Foreign,
            Self::InUse => Trouble::InUse,
        }
    }

    pub(super) fn error(self, operation: Operation, path: impl Into<PathBuf>) -> StorageError {
        StorageError::new(operation, path, None, self.into())
    }
}

impl From<Refusal> for io::Error {
    fn from(why: Refusal) -> Self {
        let kind = match why {
            Refusal::Gone | Refusal::Elsewhere | Refusal::OtherPlace => ErrorKind::NotFound,
            Refusal::SameFile(_) | Refusal::Foreign(_) => ErrorKind::AlreadyExists,
            Refusal::TooBig => ErrorKind::FileTooLarge,
            Refusal::Removed | Refusal::Replaced => ErrorKind::NotFound,
            Refusal::Cut => ErrorKind::UnexpectedEof,
            Refusal::InUse => ErrorKind::ResourceBusy,
        };
        Self::new(kind, why)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the folder is not there; its disk may not be mounted"),
            Self::Elsewhere => f.write_str("the path leads to another folder than before"),
            Self::OtherPlace => f.write_str("another folder or disk is in the place of the one recorded"),
            Self::SameFile(other) => {
                write!(f, "on this file system it is the same file as {}", other.display())
            }
            Self::TooBig => f.write_str("the file system cannot hold a file of 4 GiB or more"),
            Self::Removed => f.write_str("somebody removed or renamed the file while it was in use"),
            Self::Replaced => f.write_str("somebody put another file in its place while it was in use"),
            Self::Cut => f.write_str("somebody cut the file short while it was in use"),
            Self::Foreign(why) => why.fmt(f),
            Self::InUse => f.write_str("another program uses it, perhaps by another path"),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_and_is_told_from_what_the_system_says() {
        let gone = Refusal::Gone.error(Operation::Create, "/d");
        assert!(gone.is_gone() && !gone.is_full() && !gone.is_read_only());
        assert_eq!(
            gone.to_string(),
            "cannot create /d: the folder is not there; its disk may not be mounted"
        );
        assert_eq!(Refusal::TooBig.error(Operation::Create, "/d").trouble(), Trouble::TooBig);
        let same = Refusal::SameFile("/d/F".into()).error(Operation::Create, "/d/f");
        assert_eq!(same.trouble(), Trouble::SameFile);
        assert!(same.to_string().ends_with("the same file as /d/F"));
    }
}
