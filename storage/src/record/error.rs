//! What is wrong with a record, or with where it is kept.

use metainfo::TorrentId;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// They end too early: what was expected, in bytes, and what is there.
    Short {
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        got: u64,
    },
    /// They begin with something else.
    Foreign,
    /// The checksum does not fit.
    Checksum {
        /// As written.
        expected: u32,
        /// As computed.
        got: u32,
    },
    /// Another sheet was expected.
    Kind {
        /// The expected one.
        expected: u8,
        /// The one that is there.
        got: u8,
    },
    /// The checksum fits, but a value makes no sense; which.
    Value(&'static str),
    /// Something follows where the end should be; how many bytes.
    Trailing(u64),
    /// Its parts are of different saves.
    Mixed,
    /// Its parts do not fit together.
    Broken,
    /// It was there, and is not any more.
    Lost,
    /// A newer program wrote it.
    Newer {
        /// The newest version that is understood.
        known: u8,
        /// The version of it.
        got: u8,
    },
}

impl Damage {
    /// Whether it is not damaged at all, but written by a newer program.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { expected, got } => write!(f, "expected {expected} bytes, got {got}"),
            Self::Foreign => f.write_str("it does not begin as a record does"),
            Self::Checksum { expected, got } => {
                write!(f, "expected checksum {expected:08x}, got {got:08x}")
            }
            Self::Kind { expected, got } => write!(f, "expected sheet {expected}, got sheet {got}"),
            Self::Value(what) => write!(f, "the value of {what} makes no sense"),
            Self::Trailing(count) => write!(f, "{count} bytes follow its end"),
            Self::Mixed => f.write_str("its parts are of different saves"),
            Self::Broken => f.write_str("its parts do not fit together"),
            Self::Lost => f.write_str("it is not there any more"),
            Self::Newer { known, got } => {
                write!(f, "a newer program wrote it, in version {got}; this one knows up to {known}")
            }
        }
    }
}

impl std::error::Error for Damage {}

/// Why records cannot be read or kept.
#[derive(Clone, Debug)]
pub enum StoreError {
    /// Somebody else uses the record.
    Locked {
        /// The file that is locked.
        path: PathBuf,
        /// The process that holds it, if it told.
        by: Option<u32>,
        /// The torrent that it is held for, where what is held is a name of files: then `path` is theirs.
        torrent: Option<TorrentId>,
    },
    /// The record is damaged, or of a newer program.
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// How.
        damage: Damage,
        /// Where it was moved to, out of the way.
        aside: Option<PathBuf>,
        /// How many torrents are listed again by their spare sheets; what is on the disk of them is found by a check.
        relisted: usize,
    },
    /// The system refused.
    Io {
        /// What was to be done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// The database refused.
    Database {
        /// What was to be done.
        doing: &'static str,
        /// Its file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
}

impl StoreError {
    /// What is there cannot be used.
    pub fn damaged(path: impl Into<PathBuf>, damage: Damage, aside: Option<PathBuf>) -> Self {
        Self::Damaged { path: path.into(), damage, aside, relisted: 0 }
    }

    /// The system refused to do something with a file.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>, cause: io::Error) -> Self {
        Self::Io { doing, path: path.into(), cause: Arc::new(cause) }
    }

    /// Whether a newer program wrote what is there.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Damaged { damage, .. } if damage.is_newer())
    }
}

impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Locked { path: a, by: b, torrent: c }, Self::Locked { path: d, by: e, torrent: f }) => {
                (a, b, c) == (d, e, f)
            }
            (
                Self::Damaged { path: a, damage: b, aside: c, relisted: d },
                Self::Damaged { path: e, damage: f, aside: g, relisted: h },
            ) => (a, b, c, d) == (e, f, g, h),
            (Self::Io { doing: a, path: b, cause: c }, Self::Io { doing: d, path: e, cause: f }) => {
                (a, b, c.kind()) == (d, e, f.kind())
            }
            (
                Self::Database { doing: a, path: b, cause: c },
                Self::Database { doing: d, path: e, cause: f },
            ) => (a, b, c) == (d, e, f),
            _ => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path, by, torrent } => {
                write!(f, "{} is in use by ", path.display())?;
                match by {
                    Some(pid) => write!(f, "process {pid}")?,
                    None => f.write_str("another process")?,
                }
                torrent.map_or(Ok(()), |torrent| write!(f, ", for torrent {torrent}"))
            }
            Self::Damaged { path, damage, aside, relisted } => {
                let is = if damage.is_newer() { "cannot be used" } else { "is damaged" };
                write!(f, "{} {is}: {damage}", path.display())?;
                if let Some(aside) = aside {
                    write!(f, "; it was set aside as {}", aside.display())?;
                }
                match relisted {
                    0 => Ok(()),
                    1 => f.write_str("; 1 torrent is listed again by its spare sheet, and checked"),
                    many => {
                        write!(f, "; {many} torrents are listed again by their spare sheets, and checked")
                    }
                }
            }
            Self::Io { doing, path, cause } => write!(f, "cannot {doing} {}: {cause}", path.display()),
            Self::Database { doing, path, cause } => write!(f, "cannot {doing} {}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Damaged { damage, .. } => Some(damage),
            Self::Io { cause, .. } => Some(cause.as_ref()),
            Self::Locked { .. } | Self::Database { .. } => None,
        }
    }
}
