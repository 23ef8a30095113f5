//! A backend that keeps a torrent in files, as its layout says.
//!
//! - Nothing is opened through a link, or outside the folder the storage was given.
//! - Reading creates nothing. Folders and files come with the first write to them; [`FileStorage::created`]
//!   tells which were made. Files of length 0 come with the first write to any file.
//! - Writing is in place and never truncates. A file that is longer than the torrent says keeps its tail, and
//!   bytes of a file that was there before change only where pieces are written.
//! - Pads are not stored, and symlinks are not made.

mod beneath;
mod cache;
mod reserve;
mod slices;
mod sys;

pub use cache::OpenFiles;

use crate::{Operation, Storage, StorageError};
use beneath::Root;
use cache::OpenFile;
use metainfo::{File, PieceRange, Segment, Torrent};
use reserve::Reserved;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use slices::{Reading, Writing};
use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Whether room for a file is reserved before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// A file takes room as its pieces are written, a mebibyte at a time, and is as long as its last written byte needs.
    #[default]
    Sparse,
    /// Each file takes all of its room when it is first written, on file systems that can reserve it.
    Full,
}

/// How files are kept.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// When files take room.
    pub allocation: Allocation,
    /// Where open files are kept. Several storages may share it.
    pub open_files: Arc<OpenFiles>,
}

impl Default for FileOptions {
    /// Sparse, with at most 64 files open.
    fn default() -> Self {
        Self { allocation: Allocation::default(), open_files: Arc::new(OpenFiles::new(64)) }
    }
}

/// A torrent in files beneath a folder; see the crate's README for what it promises.
#[derive(Debug)]
pub struct FileStorage {
    root: Root,
    torrent: Arc<Torrent>,
    options: FileOptions,
    owner: u64,
    /// A bit per file: written since the last sync.
    dirty: Box<[AtomicU64]>,
    reserved: Reserved,
    is_prepared: AtomicBool,
    /// Whether files were written that lie on another file system than the root.
    has_mounts: AtomicBool,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    /// What was made, in order.
    paths: Vec<PathBuf>,
    /// Folders with new names in them that are not durable yet.
    folders: BTreeSet<String>,
}

impl FileStorage {
    /// Beneath a folder that is there.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn open(root: &Path, torrent: Arc<Torrent>, options: FileOptions) -> Result<Self, StorageError> {
        let root = Root::open(root).map_err(|cause| StorageError::new(Operation::Open, root, None, cause))?;
        Ok(Self::beneath(root, torrent, options))
    }

    /// Beneath a folder that is made, with all above it, if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made or opened.
    pub fn create(root: &Path, torrent: Arc<Torrent>, options: FileOptions) -> Result<Self, StorageError> {
        std::fs::create_dir_all(root)
            .map_err(|cause| StorageError::new(Operation::Create, root, None, cause))?;
        Self::open(root, torrent, options)
    }

    /// The files and folders that this storage made, in the order they were made, relative to its folder. Only
    /// these are its to remove.
    pub fn created(&self) -> Vec<PathBuf> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).paths.clone()
    }

    /// How long the file with this index in the layout is on disk.
    ///
    /// # Errors
    /// Of kind `NotFound` when it is not there; otherwise when it is no regular file or cannot be looked at.
    pub fn file_len(&self, index: usize) -> Result<u64, StorageError> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let file = self.torrent.layout().files().get(index);
        let len = file.ok_or_else(missing).and_then(|file| self.root.file_len(&file.path));
        len.map_err(|cause| self.error(Operation::Stat, index, None, cause))
    }

    fn beneath(root: Root, torrent: Arc<Torrent>, options: FileOptions) -> Self {
        let geometry = torrent.geometry();
        let space = u64::from(geometry.piece_count()) * u64::from(geometry.piece_length());
        let words = torrent.layout().files().len().div_ceil(64);
        Self {
            reserved: Reserved::new(space),
            root,
            torrent,
            owner: options.open_files.owner(),
            options,
            dirty: (0..words).map(|_| AtomicU64::new(0)).collect(),
            is_prepared: AtomicBool::new(false),
            has_mounts: AtomicBool::new(false),
            made: Mutex::default(),
        }
    }

    fn file(&self, index: usize) -> &File {
        &self.torrent.layout().files()[index]
    }

    fn error(
        &self,
        operation: Operation,
        index: usize,
        offset: Option<u64>,
        cause: io::Error,
    ) -> StorageError {
        let path = self.torrent.layout().files().get(index).map_or("", |file| file.path.as_str());
        StorageError::new(operation, self.root.show(path), offset, cause)
    }

    /// The open file, from the cache or opened now.
    fn opened(&self, index: usize, write: bool) -> Result<Arc<OpenFile>, StorageError> {
        let key = (self.owner, index);
        if let Some(file) = self.options.open_files.get(key, write) {
            return Ok(file);
        }
        loop {
            let opened = if write { self.open_to_write(index) } else { self.open_to_read(index) };
            match opened {
                Ok(fd) => return Ok(self.options.open_files.insert(key, OpenFile { fd, writable: write })),
                Err(error) => {
                    let errno = error.cause.raw_os_error().map(Errno::from_raw_os_error);
                    let too_many = matches!(errno, Some(Errno::MFILE | Errno::NFILE));
                    if !too_many || !self.options.open_files.close_half() {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn open_to_read(&self, index: usize) -> Result<OwnedFd, StorageError> {
        let path = self.file(index).path.as_str();
        let opened = self.root.open_at(path, OFlags::RDONLY | PLAIN, Mode::empty());
        let checked = opened.and_then(|fd| regular(&fd).map(|_| fd));
        checked.map_err(|cause| self.error(Operation::Open, index, None, cause))
    }

    fn open_to_write(&self, index: usize) -> Result<OwnedFd, StorageError> {
        let file = self.file(index);
        let open = || self.root.open_at(file.path.as_str(), OFlags::RDWR | PLAIN, Mode::empty());
        let fd = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.create_file(index) {
                // Another thread was faster.
                Err(error) if error.cause.kind() == io::ErrorKind::AlreadyExists => {
                    open().map_err(|cause| self.error(Operation::Open, index, None, cause))?
                }
                created => created?,
            },
            opened => opened.map_err(|cause| self.error(Operation::Open, index, None, cause))?,
        };
        let (len, device) = regular(&fd).map_err(|cause| self.error(Operation::Open, index, None, cause))?;
        if device != self.root.device() {
            self.has_mounts.store(true, Ordering::Release);
        }
        if self.options.allocation == Allocation::Full && len < file.length {
            sys::allocate(fd.as_fd(), file.length)
                .map_err(|errno| self.error(Operation::Allocate, index, None, errno.into()))?;
        }
        Ok(fd)
    }

    fn create_file(&self, index: usize) -> Result<OwnedFd, StorageError> {
        let file = self.file(index);
        let failed = |cause| self.error(Operation::Create, index, None, cause);
        self.root.make_folders(&file.path, |folder| self.note_made(folder)).map_err(failed)?;
        let bits = if file.attributes.executable { 0o777 } else { 0o666 };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | PLAIN;
        let path = file.path.as_str();
        let fd = self.root.open_at(path, flags, Mode::from_raw_mode(bits)).map_err(failed)?;
        self.note_made(path);
        Ok(fd)
    }

    fn note_made(&self, path: &str) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.paths.push(path.into());
        made.folders.insert(path.rsplit_once('/').map_or("", |(folder, _)| folder).into());
    }

    fn write_segment(&self, segment: &Segment, data: &mut Writing<'_, '_>) -> Result<(), StorageError> {
        if segment.pad {
            data.skip(segment.len);
            return Ok(());
        }
        let file = self.opened(segment.file, true)?;
        self.mark_dirty(segment.file);
        let File { offset, length, .. } = self.file(segment.file);
        self.reserved.before_write(file.fd.as_fd(), *offset, *length, segment.offset, segment.len.into());
        data.write(&file.fd, segment.offset, segment.len)
            .map_err(|(at, cause)| self.error(Operation::Write, segment.file, Some(at), cause))
    }

    fn read_segment(&self, segment: &Segment, into: &mut Reading<'_, '_>) -> Result<(), StorageError> {
        if segment.pad {
            into.zero(segment.len);
            return Ok(());
        }
        let file = self.opened(segment.file, false)?;
        into.read(&file.fd, segment.offset, segment.len)
            .map_err(|(at, cause)| self.error(Operation::Read, segment.file, Some(at), cause))
    }

    fn mark_dirty(&self, index: usize) {
        let (word, bit) = (&self.dirty[index / 64], 1 << (index % 64));
        // Nearly always it is set already, and then the word stays in the caches of all threads.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Release);
        }
    }

    fn sync_file(&self, index: usize) -> Result<(), StorageError> {
        let synced = self.opened(index, false).and_then(|file| {
            rustix::fs::fdatasync(&file.fd)
                .map_err(|errno| self.error(Operation::Sync, index, None, errno.into()))
        });
        synced.inspect_err(|_| self.mark_dirty(index))
    }

    fn sync_folder(&self, folder: String) -> Result<(), StorageError> {
        self.root.sync_folder(&folder).map_err(|cause| {
            let error = StorageError::new(Operation::Sync, self.root.show(&folder), None, cause);
            self.made.lock().unwrap_or_else(PoisonError::into_inner).folders.insert(folder);
            error
        })
    }
}

/// Files above which the whole file system is synced instead of each: syncing a file costs at least one flush of the
/// device, which for 20,000 small files on ext4 took 160 s.
const MANY: usize = 64;

/// Flags for any file: no waiting for the other end of a pipe, no terminal, not for child processes.
const PLAIN: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The length and the device of a regular file.
fn regular(fd: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok((u64::try_from(stat.st_size).unwrap_or(0), stat.st_dev))
}

impl Storage for FileStorage {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        let mut into = Reading::new(into);
        self.torrent.layout().segments(range).try_for_each(|segment| self.read_segment(&segment, &mut into))
    }

    fn write(&self, range: PieceRange, data: &[IoSlice<'_>]) -> Result<(), StorageError> {
        self.prepare()?;
        let mut data = Writing::new(data);
        self.torrent.layout().segments(range).try_for_each(|segment| self.write_segment(&segment, &mut data))
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut dirty = Vec::new();
        for (at, word) in self.dirty.iter().enumerate() {
            let bits = word.swap(0, Ordering::Acquire);
            dirty.extend((0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| at * 64 + bit));
        }
        let folders = std::mem::take(&mut self.made.lock().unwrap_or_else(PoisonError::into_inner).folders);
        if dirty.len() > MANY && !self.has_mounts.load(Ordering::Acquire) && self.root.sync_file_system() {
            return Ok(());
        }
        let mut result = Ok(());
        for index in dirty {
            if let Err(error) = self.sync_file(index) {
                result = Err(error);
            }
        }
        for folder in folders {
            if let Err(error) = self.sync_folder(folder) {
                result = Err(error);
            }
        }
        result
    }

    fn read_cached(&self, range: PieceRange, into: &mut [u8]) -> Option<Result<(), StorageError>> {
        let mut rest = into;
        for segment in self.torrent.layout().segments(range) {
            let (now, later) = rest.split_at_mut_checked(segment.len as usize)?;
            if segment.pad {
                now.fill(0);
            } else {
                let file = self.options.open_files.get((self.owner, segment.file), false)?;
                // A short count may be the end of the file or of what is cached. The slow way finds out.
                let read = sys::read_cached(file.fd.as_fd(), now, segment.offset)?;
                match read {
                    Ok(count) if count == now.len() => {}
                    Ok(_) => return None,
                    Err(errno) => {
                        let at = Some(segment.offset);
                        return Some(Err(self.error(Operation::Read, segment.file, at, errno.into())));
                    }
                }
            }
            rest = later;
        }
        Some(Ok(()))
    }

    fn prepare(&self) -> Result<(), StorageError> {
        if self.is_prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        let files = self.torrent.layout().files();
        for (index, file) in files.iter().enumerate() {
            if file.length == 0 && !file.is_pad() && !file.attributes.symlink {
                self.open_to_write(index)?;
            }
        }
        self.is_prepared.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        self.options.open_files.close_all(self.owner);
    }
}
