//! Digests of files on disk, for making a torrent of them.
//!
//! [`walk`] finds the files, a [`Builder`](metainfo::Builder) lays them out, and [`fill`] hashes them into the draft:
//!
//! ```no_run
//! use metainfo::Builder;
//! use std::path::Path;
//! use storage::{ScanOptions, digest};
//!
//! let found = digest::walk(Path::new("pictures"))?;
//! let builder = found.files.iter().fold(Builder::folder("pictures"), |builder, file| {
//!     builder.file(file.parts.iter().cloned(), file.len)
//! });
//! let mut draft = builder.prepare()?;
//! digest::fill(&mut draft, &found.files, &ScanOptions::default())?;
//! std::fs::write("pictures.torrent", draft.finish()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::scan::Scan;
use crate::{Operation, PieceHasher, ScanOptions, StorageError};
use metainfo::{BuildError, Draft, PieceIndex, Segment};
use std::fmt;
use std::fs::{self, File, FileType};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A file that goes into a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// The parts of its path below the folder that was walked; its name alone when it was walked itself.
    pub parts: Vec<String>,
    /// Bytes in it.
    pub len: u64,
    /// Whether anyone may execute it.
    pub is_executable: bool,
}

/// What [`walk`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The files, sorted by the parts of their paths.
    pub files: Vec<SourceFile>,
    /// What is neither file nor folder, and so left out: links, sockets, devices.
    pub skipped: Vec<PathBuf>,
}

/// Why digests could not be made.
#[derive(Clone, Debug, PartialEq)]
pub enum DigestError {
    /// A file or folder cannot be read.
    Storage(StorageError),
    /// A name that is no UTF-8 text; torrents hold no other.
    Name(PathBuf),
    /// Folders in folders, more than a torrent's reader accepts.
    TooDeep(PathBuf),
    /// A file is not as long any more as when it was found.
    Changed {
        /// Which.
        path: PathBuf,
        /// Bytes in it when it was found.
        expected: u64,
        /// Bytes in it now.
        found: u64,
    },
    /// The draft does not take the digests.
    Build(BuildError),
    /// It was cancelled.
    Cancelled,
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Name(path) => write!(f, "the name of {} is not UTF-8", path.display()),
            Self::TooDeep(path) => write!(f, "{} is more than {DEPTH} folders deep", path.display()),
            Self::Changed { path, expected, found } => {
                let path = path.display();
                write!(f, "{path} changed while it was read: it had {expected} bytes and now has {found}")
            }
            Self::Build(error) => error.fmt(f),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for DigestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => Some(error),
            Self::Build(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StorageError> for DigestError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Folders in folders at most.
const DEPTH: usize = 100;

/// Finds all files of a folder and of the folders in it, or the one file that the path names. A link that the path
/// itself names is followed, others are not.
///
/// # Errors
/// When a folder cannot be read, a name is not UTF-8, or folders are too deep.
pub fn walk(path: &Path) -> Result<Found, DigestError> {
    let mut found = Found::default();
    let metadata = fs::metadata(path).map_err(|cause| failed(Operation::Stat, path, cause))?;
    if !metadata.is_dir() {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = name.to_str().ok_or_else(|| DigestError::Name(path.to_path_buf()))?;
        found.add(path.to_path_buf(), vec![name.into()], &metadata);
        return Ok(found);
    }
    let mut folders = vec![(path.to_path_buf(), Vec::new())];
    while let Some((folder, parts)) = folders.pop() {
        if parts.len() >= DEPTH {
            return Err(DigestError::TooDeep(folder));
        }
        for entry in fs::read_dir(&folder).map_err(|cause| failed(Operation::Read, &folder, cause))? {
            let entry = entry.map_err(|cause| failed(Operation::Read, &folder, cause))?;
            let path = entry.path();
            let name = entry.file_name().into_string().map_err(|_| DigestError::Name(path.clone()))?;
            let metadata = entry.metadata().map_err(|cause| failed(Operation::Stat, &path, cause))?;
            let parts: Vec<String> = parts.iter().cloned().chain([name]).collect();
            if metadata.is_dir() {
                folders.push((path, parts));
            } else {
                found.add(path, parts, &metadata);
            }
        }
    }
    found.files.sort_by(|a, b| a.parts.cmp(&b.parts));
    found.skipped.sort();
    Ok(found)
}

impl Found {
    fn add(&mut self, path: PathBuf, parts: Vec<String>, metadata: &fs::Metadata) {
        if FileType::is_file(&metadata.file_type()) {
            let is_executable = is_executable(metadata);
            self.files.push(SourceFile { path, parts, len: metadata.len(), is_executable });
        } else {
            self.skipped.push(path);
        }
    }
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    false
}

/// Hashes all pieces of the draft. `files` are those that were added to its builder, in that order.
///
/// # Errors
/// When a file cannot be read, or is not as long as it was said to be; and when cancelled.
pub fn fill(draft: &mut Draft, files: &[SourceFile], options: &ScanOptions<'_>) -> Result<(), DigestError> {
    let total = draft.layout().payload();
    let scan = Scan::new(*options, total);
    let geometry = draft.geometry().clone();
    let digests = Mutex::new((Vec::new(), None));
    let plan = &*draft;
    let is_whole = scan.run(
        &geometry,
        || None,
        |open, piece, buffer| {
            let result = hash_piece(plan, files, piece, open, buffer, &scan);
            let mut digests = digests.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(hasher) => digests.0.push((piece, hasher.finish())),
                Err(error) => {
                    digests.1.get_or_insert(error);
                    scan.stop();
                }
            }
        },
    );
    let (digests, error) = digests.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = error {
        return Err(error);
    }
    if !is_whole {
        return Err(DigestError::Cancelled);
    }
    for (piece, digest) in digests {
        if let Some(v1) = digest.v1 {
            draft.set_v1(piece, v1).map_err(DigestError::Build)?;
        }
        if let (Some(tree), Some(shape)) = (digest.v2, draft.v2_shape(piece)) {
            draft.set_v2(piece, tree.finish(u64::from(shape.width))).map_err(DigestError::Build)?;
        }
    }
    Ok(())
}

/// The file a thread has open.
struct Opened {
    index: usize,
    file: File,
}

fn hash_piece(
    draft: &Draft,
    files: &[SourceFile],
    piece: PieceIndex,
    open: &mut Option<Opened>,
    buffer: &mut [u8],
    scan: &Scan<'_>,
) -> Result<PieceHasher, DigestError> {
    let mut hasher = match (draft.version(), draft.v2_shape(piece)) {
        (metainfo::Version::V2, Some(shape)) => PieceHasher::v2(shape.data),
        (_, Some(shape)) => PieceHasher::both(shape.data),
        (_, None) => PieceHasher::v1(),
    };
    for segment in draft.layout().segments(draft.geometry().whole(piece)) {
        match draft.source(segment.file).and_then(|source| files.get(source)) {
            Some(file) => hash_segment(file, &segment, &mut hasher, open, buffer, scan)?,
            None => hash_zeros(segment.len, &mut hasher, buffer),
        }
    }
    Ok(hasher)
}

fn hash_segment(
    source: &SourceFile,
    segment: &Segment,
    hasher: &mut PieceHasher,
    open: &mut Option<Opened>,
    buffer: &mut [u8],
    scan: &Scan<'_>,
) -> Result<(), DigestError> {
    let reading = |cause| failed(Operation::Read, &source.path, cause);
    let opened = match open {
        Some(opened) if opened.index == segment.file => opened,
        _ => open.insert(Opened { index: segment.file, file: open_source(source)? }),
    };
    opened.file.seek(SeekFrom::Start(segment.offset)).map_err(reading)?;
    let mut left = segment.len as usize;
    while left > 0 {
        if scan.is_over() {
            return Err(DigestError::Cancelled);
        }
        let now = left.min(buffer.len());
        let count = match opened.file.read(&mut buffer[..now]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(reading)?,
        };
        if count == 0 {
            check_len(source, &opened.file)?;
            return Err(reading(io::ErrorKind::UnexpectedEof.into()));
        }
        hasher.update(&buffer[..count]);
        scan.advance(count as u64);
        left -= count;
    }
    let ends = segment.offset + u64::from(segment.len) == source.len;
    if ends { check_len(source, &opened.file) } else { Ok(()) }
}

fn hash_zeros(len: u32, hasher: &mut PieceHasher, buffer: &mut [u8]) {
    let mut left = len as usize;
    while left > 0 {
        let now = left.min(buffer.len());
        buffer[..now].fill(0);
        hasher.update(&buffer[..now]);
        left -= now;
    }
}

fn open_source(source: &SourceFile) -> Result<File, DigestError> {
    let file = File::open(&source.path).map_err(|cause| failed(Operation::Open, &source.path, cause))?;
    check_len(source, &file)?;
    Ok(file)
}

fn check_len(source: &SourceFile, file: &File) -> Result<(), DigestError> {
    let found = file.metadata().map_err(|cause| failed(Operation::Stat, &source.path, cause))?.len();
    if found == source.len {
        return Ok(());
    }
    Err(DigestError::Changed { path: source.path.clone(), expected: source.len, found })
}

fn failed(operation: Operation, path: &Path, cause: io::Error) -> DigestError {
    DigestError::Storage(StorageError::new(operation, path, None, cause))
}
