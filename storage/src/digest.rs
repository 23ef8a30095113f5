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
use metainfo::{BuildError, Draft, PieceIndex, PieceRange, Segment};
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
    let is_whole = scan.run(&geometry, Opened::default, |open, pieces, buffer| {
        let hashers = pieces.iter().map(|&piece| (piece, hasher(plan, piece)));
        let read = |range, bytes: &mut [u8]| read_range(plan, files, range, open, bytes, &scan);
        let hashes = scan.hash(&geometry, hashers, buffer, read);
        let mut digests = digests.lock().unwrap_or_else(PoisonError::into_inner);
        for (&piece, hash) in pieces.iter().zip(hashes) {
            match hash {
                Ok(hash) => digests.0.push((piece, hash.finish())),
                Err(error) => {
                    digests.1.get_or_insert(error.unwrap_or(DigestError::Cancelled));
                    scan.stop();
                }
            }
        }
    });
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

/// Files that a thread keeps open: a few, since it hashes a few pieces at a time.
const OPEN: usize = 8;

/// The files that a thread has open, the last opened last.
#[derive(Default)]
struct Opened(Vec<(usize, File)>);

impl Opened {
    fn get(&mut self, index: usize, source: &SourceFile) -> Result<&mut File, DigestError> {
        let at = match self.0.iter().position(|(opened, _)| *opened == index) {
            Some(at) => at,
            None => {
                if self.0.len() == OPEN {
                    self.0.remove(0);
                }
                self.0.push((index, open_source(source)?));
                self.0.len() - 1
            }
        };
        Ok(&mut self.0[at].1)
    }
}

fn hasher(draft: &Draft, piece: PieceIndex) -> PieceHasher {
    match (draft.version(), draft.v2_shape(piece)) {
        (metainfo::Version::V2, Some(shape)) => PieceHasher::v2(shape.data),
        (_, Some(shape)) => PieceHasher::both(shape.data),
        (_, None) => PieceHasher::v1(),
    }
}

fn read_range(
    draft: &Draft,
    files: &[SourceFile],
    range: PieceRange,
    open: &mut Opened,
    bytes: &mut [u8],
    scan: &Scan<'_>,
) -> Result<(), DigestError> {
    let mut rest = bytes;
    for segment in draft.layout().segments(range) {
        let (now, later) = rest.split_at_mut(segment.len as usize);
        match draft.source(segment.file).and_then(|source| files.get(source)) {
            Some(file) => read_segment(file, &segment, open, now, scan)?,
            None => now.fill(0),
        }
        rest = later;
    }
    Ok(())
}

fn read_segment(
    source: &SourceFile,
    segment: &Segment,
    open: &mut Opened,
    mut bytes: &mut [u8],
    scan: &Scan<'_>,
) -> Result<(), DigestError> {
    let reading = |cause| failed(Operation::Read, &source.path, cause);
    let file = open.get(segment.file, source)?;
    file.seek(SeekFrom::Start(segment.offset)).map_err(reading)?;
    while !bytes.is_empty() {
        if scan.is_over() {
            return Err(DigestError::Cancelled);
        }
        let count = match file.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(reading)?,
        };
        if count == 0 {
            check_len(source, file)?;
            return Err(reading(io::ErrorKind::UnexpectedEof.into()));
        }
        scan.advance(count as u64);
        bytes = &mut bytes[count..];
    }
    let ends = segment.offset + u64::from(segment.len) == source.len;
    if ends { check_len(source, file) } else { Ok(()) }
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
