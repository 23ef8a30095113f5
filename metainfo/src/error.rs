//! Why a torrent is refused.

use crate::geometry::GeometryError;
use core::fmt;

/// Why a torrent is refused: what was expected and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Longer than [`MAX_SIZE`](crate::MAX_SIZE).
    TooLarge {
        /// Bytes given.
        size: usize,
        /// Bytes accepted.
        max: usize,
    },
    /// Not bencoded, or nested too deep.
    Bencode(bencode::Error),
    /// Something that must be a dictionary is none.
    NotDictionary(Part),
    /// The info dictionary spells something in a way that is not canonical: always refused in v2 and hybrid
    /// torrents (BEP 52), and in v1 torrents when a key is given twice, for then it has two meanings.
    NotCanonical {
        /// Where in the input, in bytes.
        offset: usize,
    },
    /// No info dictionary.
    MissingInfo,
    /// A version that is not known, or a file tree without a version.
    MetaVersion {
        /// What `meta version` says, if it is a number.
        found: Option<i64>,
    },
    /// The piece length is missing, no number, out of range or, for v2, no power of two of at least 16 KiB.
    PieceLength {
        /// What `piece length` says, if it is a number.
        found: Option<i64>,
    },
    /// More pieces than are accepted, or none.
    PieceCount(GeometryError),
    /// No name, or a name or path that is no text.
    MissingName,
    /// Something in a path that is no text.
    InvalidPath,
    /// More folders inside each other than [`MAX_DEPTH`](crate::path::MAX_DEPTH).
    TooDeep {
        /// Parts accepted.
        max: usize,
    },
    /// The paths of all files and folders together are longer than is accepted: a tree of few bytes can spell
    /// very long ones.
    PathsTooLong {
        /// Bytes accepted.
        max: usize,
    },
    /// A length that is missing, no number, negative or too large.
    Length {
        /// What `length` says, if it is a number.
        found: Option<i64>,
    },
    /// The lengths of all files add up to nothing, so that there is nothing to check or to transfer.
    Empty,
    /// There are no files.
    NoFiles,
    /// A v1 torrent without `pieces`.
    MissingPieces,
    /// `pieces` does not have 20 bytes for each piece.
    PieceHashes {
        /// Bytes that the lengths of the files ask for.
        expected: u64,
        /// Bytes of `pieces`.
        found: u64,
    },
    /// A version 2 torrent without `file tree`.
    MissingFileTree,
    /// The file tree has an entry that is neither a file nor a folder, or a file without a name.
    FileTree,
    /// A file tree has no pad files.
    PadFile,
    /// A v2 file that is not empty has no root, or one of zeros.
    PiecesRoot,
    /// `piece layers` holds something that is no layer of a file of this torrent.
    PieceLayer(LayerError),
    /// The v1 and the v2 side of a hybrid torrent describe different content.
    Inconsistent(Mismatch),
    /// More files of the same name than can be told apart in a reasonable number of tries.
    DuplicateNames {
        /// Tries.
        max: u32,
    },
}

/// What had to be a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole input.
    Root,
    /// An entry of `files`.
    File,
    /// `files` itself is no list.
    Files,
    /// `piece layers`.
    PieceLayers,
}

/// What is wrong with an entry of `piece layers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerError {
    /// The key has not the 32 bytes of a root, or the value is no string.
    Shape,
    /// No file longer than a piece has that root.
    Unknown,
    /// Not 32 bytes for each piece of the file.
    Size {
        /// Bytes that the length of the file asks for.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// The hashes do not add up to the root.
    Root,
}

/// In what the two sides of a hybrid torrent differ. Files are counted without pad files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The number of files.
    Count {
        /// In the v1 file list.
        v1: usize,
        /// In the file tree.
        v2: usize,
    },
    /// The name of this file.
    Name(usize),
    /// The length of this file.
    Length(usize),
    /// Where this file starts.
    Offset(usize),
    /// Whether, or to where, this file is a link.
    Symlink(usize),
    /// The number of pieces.
    Pieces {
        /// By the v1 file list.
        v1: u64,
        /// By the file tree.
        v2: u64,
    },
}

impl From<bencode::Error> for Error {
    fn from(error: bencode::Error) -> Self {
        Self::Bencode(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size, max } => write!(f, "expected at most {max} bytes, found {size}"),
            Self::Bencode(error) => write!(f, "not bencoded: {error}"),
            Self::NotDictionary(part) => f.write_str(match part {
                Part::Root => "expected a dictionary, found something else",
                Part::File => "expected each file to be a dictionary",
                Part::Files => "expected the files to be a list",
                Part::PieceLayers => "expected the piece layers to be a dictionary",
            }),
            Self::NotCanonical { offset } => write!(f, "byte {offset}: the info dictionary is not canonical"),
            Self::MissingInfo => f.write_str("expected an info dictionary, found none"),
            Self::MetaVersion { found } => {
                number(f, "expected meta version 1 or 2 that fits the file list", *found)
            }
            Self::PieceLength { found } => number(f, "expected a piece length of this version", *found),
            Self::PieceCount(error) => error.fmt(f),
            Self::MissingName => f.write_str("expected a name, found none"),
            Self::InvalidPath => f.write_str("expected a path of text parts, found something else"),
            Self::TooDeep { max } => write!(f, "expected a path of at most {max} parts, found a longer one"),
            Self::PathsTooLong { max } => write!(f, "expected paths of at most {max} bytes together"),
            Self::Length { found } => number(f, "expected the length of a file", *found),
            Self::Empty => f.write_str("expected content, found files of no bytes only"),
            Self::NoFiles => f.write_str("expected files, found none"),
            Self::MissingPieces => f.write_str("expected piece hashes, found none"),
            Self::PieceHashes { expected, found } => {
                write!(f, "expected {expected} bytes of piece hashes, found {found}")
            }
            Self::MissingFileTree => f.write_str("expected a file tree, found none"),
            Self::FileTree => {
                f.write_str("expected a file or a folder in the file tree, found something else")
            }
            Self::PadFile => f.write_str("expected no pad file in the file tree, found one"),
            Self::PiecesRoot => f.write_str("expected the root of a file's hash tree, found none"),
            Self::PieceLayer(error) => error.fmt(f),
            Self::Inconsistent(mismatch) => write!(f, "the v1 and the v2 side differ in {mismatch}"),
            Self::DuplicateNames { max } => {
                write!(f, "expected different file names, found so many equal ones that {max} tries failed")
            }
        }
    }
}

fn number(f: &mut fmt::Formatter<'_>, expected: &str, found: Option<i64>) -> fmt::Result {
    match found {
        Some(found) => write!(f, "{expected}, found {found}"),
        None => write!(f, "{expected}, found none"),
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape => f.write_str("expected a piece layer by its 32-byte root, found something else"),
            Self::Unknown => f.write_str("a piece layer of no file of this torrent"),
            Self::Size { expected, found } => {
                write!(f, "expected a piece layer of {expected} bytes, found {found}")
            }
            Self::Root => f.write_str("a piece layer whose hashes do not add up to its root"),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { v1, v2 } => write!(f, "the number of files: {v1} and {v2}"),
            Self::Name(file) => write!(f, "the name of file {file}"),
            Self::Length(file) => write!(f, "the length of file {file}"),
            Self::Offset(file) => write!(f, "where file {file} starts"),
            Self::Symlink(file) => write!(f, "the link that is file {file}"),
            Self::Pieces { v1, v2 } => write!(f, "the number of pieces: {v1} and {v2}"),
        }
    }
}

/// The message says everything, so there is no source to print after it.
impl core::error::Error for Error {}
