//! Making torrents: a [`Builder`] is told the files, lays them out as a [`Draft`], and the draft is fed
//! digests.

mod draft;
mod feed;
mod write;

pub use draft::Draft;
pub use feed::Feed;
pub(crate) use write::{node_list, tier_list, url_list};

use crate::geometry::{BLOCK, GeometryError, MAX_PIECE_LENGTH};
use crate::layout::Attributes;
use crate::path::{MAX_DEPTH, clean_part};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Which descriptions of the content a torrent holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    /// BEP 3 only: every client can use it.
    #[default]
    V1,
    /// BEP 52 only.
    V2,
    /// Both, of the same content; files are padded to pieces (BEP 47, 52).
    Hybrid,
}

/// Collects what a new torrent is to say. Then [`Builder::prepare`] lays the files out.
///
/// ```
/// use metainfo::{Builder, Torrent, Version};
///
/// let builder = Builder::folder("pictures").file(["2024", "cat.jpg"], 3).file(["dog.jpg"], 4);
/// let mut feed = builder.version(Version::Hybrid).prepare()?.feed();
/// feed.update(b"cat");
/// feed.update(b"dogs");
/// let torrent = Torrent::parse(&feed.finish()?)?;
/// assert_eq!(torrent.name(), "pictures");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    is_multi: bool,
    version: Version,
    files: Vec<NewFile>,
    piece_length: Option<u32>,
    any_names: bool,
    outer: Outer,
    private: bool,
    source: Option<String>,
}

/// A file to be described.
#[derive(Clone, Debug)]
struct NewFile {
    parts: Vec<String>,
    length: u64,
    attributes: Attributes,
}

/// What goes beside the info dictionary.
#[derive(Clone, Debug, Default)]
struct Outer {
    trackers: Vec<Vec<String>>,
    web_seeds: Vec<String>,
    nodes: Vec<(String, u16)>,
    comment: Option<String>,
    created_by: Option<String>,
    creation_date: Option<u64>,
}

impl Builder {
    /// A torrent of one file that lies in no folder.
    #[must_use]
    pub fn single(name: impl Into<String>, length: u64) -> Self {
        let name = name.into();
        let file = NewFile { parts: Vec::from([name.clone()]), length, attributes: Attributes::default() };
        Self { files: Vec::from([file]), is_multi: false, ..Self::folder(name) }
    }

    /// A torrent of files in a folder of this name; add them with [`Builder::file`].
    #[must_use]
    pub fn folder(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_multi: true,
            version: Version::default(),
            files: Vec::new(),
            piece_length: None,
            any_names: false,
            outer: Outer::default(),
            private: false,
            source: None,
        }
    }

    /// Adds a file to the folder, by the parts of its path below it. In v1 torrents files keep the order in
    /// which they were added; v2 asks for sorted names, so v2 and hybrid torrents sort them.
    #[must_use]
    pub fn file<P: Into<String>>(self, parts: impl IntoIterator<Item = P>, length: u64) -> Self {
        self.file_with(parts, length, Attributes::default())
    }

    /// As [`Builder::file`], with attributes. Pad files and links cannot be added: of `attributes` only
    /// executable and hidden count.
    #[must_use]
    pub fn file_with<P: Into<String>>(
        mut self,
        parts: impl IntoIterator<Item = P>,
        length: u64,
        attributes: Attributes,
    ) -> Self {
        let parts = parts.into_iter().map(Into::into).collect();
        let attributes = Attributes { pad: false, symlink: false, ..attributes };
        self.files.push(NewFile { parts, length, attributes });
        self
    }

    /// The version; v1 unless said otherwise.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The length of pieces in bytes; [`piece_length_for`] the content unless said otherwise.
    #[must_use]
    pub fn piece_length(mut self, bytes: u32) -> Self {
        self.piece_length = Some(bytes);
        self
    }

    /// Accepts names that a reader of the torrent has to change: not portable, or equal but for case. They
    /// are written as given. Without this, such names are refused, because who downloads would get other
    /// names than who seeds.
    #[must_use]
    pub fn allow_any_names(mut self, allow: bool) -> Self {
        self.any_names = allow;
        self
    }

    /// Adds a tracker in a tier of its own.
    #[must_use]
    pub fn tracker(mut self, url: impl Into<String>) -> Self {
        self.outer.trackers.push(Vec::from([url.into()]));
        self
    }

    /// All trackers in tiers (BEP 12), instead of those said before.
    #[must_use]
    pub fn tracker_tiers(mut self, tiers: Vec<Vec<String>>) -> Self {
        self.outer.trackers = tiers;
        self
    }

    /// Adds the URL of a web seed (BEP 19).
    #[must_use]
    pub fn web_seed(mut self, url: impl Into<String>) -> Self {
        self.outer.web_seeds.push(url.into());
        self
    }

    /// Adds a DHT node (BEP 5).
    #[must_use]
    pub fn node(mut self, host: impl Into<String>, port: u16) -> Self {
        self.outer.nodes.push((host.into(), port));
        self
    }

    /// Lets peers come from its trackers only (BEP 27).
    #[must_use]
    pub fn private(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// The site it is for; changes the info-hash, so that the same content can be apart on two sites.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A remark.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.outer.comment = Some(comment.into());
        self
    }

    /// The program that makes it.
    #[must_use]
    pub fn created_by(mut self, program: impl Into<String>) -> Self {
        self.outer.created_by = Some(program.into());
        self
    }

    /// When it is made, in seconds since 1970.
    #[must_use]
    pub fn creation_date(mut self, seconds: u64) -> Self {
        self.outer.creation_date = Some(seconds);
        self
    }

    /// Lays the files out, so that they can be hashed.
    ///
    /// # Errors
    /// When names or lengths make no torrent that could be read again; see [`BuildError`].
    pub fn prepare(self) -> Result<Draft, BuildError> {
        check_part(&self.name, self.any_names)?;
        for file in &self.files {
            if file.parts.is_empty() || file.parts.len() >= MAX_DEPTH {
                return Err(BuildError::Depth { parts: file.parts.len() });
            }
            file.parts.iter().try_for_each(|part| check_part(part, self.any_names))?;
        }
        if let Some(length) = self.piece_length {
            let v2_fits = length >= BLOCK && length.is_power_of_two();
            if length == 0 || length > MAX_PIECE_LENGTH || self.version != Version::V1 && !v2_fits {
                return Err(BuildError::PieceLength(length));
            }
        }
        Draft::new(self)
    }
}

fn check_part(part: &str, any_names: bool) -> Result<(), BuildError> {
    let usable =
        if any_names { !part.is_empty() } else { clean_part(part.as_bytes()).as_deref() == Some(part) };
    if usable { Ok(()) } else { Err(BuildError::Name(part.into())) }
}

/// The length of pieces for content of `total` bytes: the smallest power of two from 16 KiB to 16 MiB that
/// makes at most 2000 pieces. From 16 MiB to 31 GiB that is 1000 to 2000 pieces: few enough for a small
/// torrent file, and enough that a piece is done and shared soon.
pub fn piece_length_for(total: u64) -> u32 {
    const MAX: u32 = 16 << 20;
    let mut length = BLOCK;
    while length < MAX && total.div_ceil(u64::from(length)) > 2000 {
        length *= 2;
    }
    length
}

/// Why a torrent cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// A name that is empty, or that a reader would have to change to use it as a file name.
    Name(String),
    /// A path of no parts or of too many.
    Depth {
        /// Parts found.
        parts: usize,
    },
    /// Two files of the same path (case ignored), or a file and a folder.
    Duplicate(String),
    /// A piece length that is 0 or too large or, for v2, no power of two of at least 16 KiB.
    PieceLength(u32),
    /// There are no bytes to share.
    Empty,
    /// Too many pieces: longer ones are needed.
    Geometry(GeometryError),
    /// A file is too long for a hash tree.
    FileLength(u64),
    /// A piece that does not exist in the draft, or has no v2 hash.
    NoSuchPiece(u32),
    /// Digests of this piece were not given.
    MissingDigest(u32),
    /// More or fewer bytes were fed than the files have.
    Bytes {
        /// Bytes in all files.
        expected: u64,
        /// Bytes fed.
        found: u64,
    },
    /// The torrent file would be larger than [`MAX_SIZE`](crate::MAX_SIZE).
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "expected a name that is valid on every system, found {name:?}"),
            Self::Depth { parts } => {
                write!(f, "expected a path of 1 to {} parts, found {parts}", MAX_DEPTH - 1)
            }
            Self::Duplicate(path) => {
                write!(f, "expected different paths, found {path:?} twice (case ignored)")
            }
            Self::PieceLength(n) => write!(f, "expected a piece length of this version, found {n}"),
            Self::Empty => f.write_str("expected content, found files of no bytes only"),
            Self::Geometry(error) => error.fmt(f),
            Self::FileLength(n) => write!(f, "expected a file below 16 TiB, found {n} bytes"),
            Self::NoSuchPiece(n) => write!(f, "piece {n} is not in this torrent"),
            Self::MissingDigest(n) => write!(f, "expected digests of all pieces, found none of piece {n}"),
            Self::Bytes { expected, found } => write!(f, "expected {expected} bytes of files, found {found}"),
            Self::TooLarge { size } => write!(f, "expected a torrent file below 64 MiB, found {size} bytes"),
        }
    }
}

impl core::error::Error for BuildError {}
