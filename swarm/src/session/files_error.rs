//! Why something about the files of a running torrent cannot be changed.

use std::fmt;
use std::path::PathBuf;

use metainfo::TorrentId;
use storage::StorageError;
use storage::record::StoreError;

use super::link::Unavailable;
use super::options::AddError;

/// Why something about the files of a running torrent cannot be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum FilesError {
    /// It has fewer files than that.
    NoSuchFile {
        /// The index that was asked for.
        index: usize,
        /// How many it has.
        files: usize,
    },
    /// Another torrent has one of the paths.
    PathTaken {
        /// Which path.
        path: PathBuf,
        /// Which torrent.
        by: TorrentId,
    },
    /// A file is not wanted, and what is asked for of it is not there.
    NotWanted {
        /// Which file.
        index: usize,
    },
    /// A piece that was taken for right does not match its hash.
    Mismatch {
        /// Which piece.
        piece: u32,
    },
    /// Its files are not open yet, or it only seeds what is not its own.
    NotOpen,
    /// The file system refuses.
    Storage(StorageError),
    /// It cannot be recorded; nothing was changed unless it says so.
    Store(StoreError),
    /// It was stopped on the way.
    Cancelled,
    /// The torrent or its session is gone.
    Unavailable(Unavailable),
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchFile { index, files } => {
                write!(f, "expected the index of one of {files} files, got {index}")
            }
            Self::PathTaken { path, by } => {
                write!(f, "{} is written by another torrent, {by}", path.display())
            }
            Self::NotWanted { index } => write!(f, "file {index} is not wanted"),
            Self::Mismatch { piece } => write!(f, "piece {piece} does not match its hash"),
            Self::NotOpen => f.write_str("the torrent has no files of its own open"),
            Self::Storage(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Cancelled => f.write_str("it was given up"),
            Self::Unavailable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FilesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Unavailable(error) => Some(error),
            Self::NoSuchFile { .. }
            | Self::PathTaken { .. }
            | Self::NotWanted { .. }
            | Self::Mismatch { .. }
            | Self::NotOpen
            | Self::Cancelled => None,
        }
    }
}

impl From<StorageError> for FilesError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<StoreError> for FilesError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Unavailable> for FilesError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}

impl From<AddError> for FilesError {
    /// Of a choice that does not fit the torrent, or cannot be recorded.
    fn from(error: AddError) -> Self {
        match error {
            AddError::NoSuchFile { index, files } => Self::NoSuchFile { index, files },
            AddError::PathTaken { path, by } => Self::PathTaken { path, by },
            AddError::Storage(error) => Self::Storage(error),
            AddError::Store(error) => Self::Store(error),
            AddError::Unavailable(error) => Self::Unavailable(error),
            _ => Self::Cancelled,
        }
    }
}
