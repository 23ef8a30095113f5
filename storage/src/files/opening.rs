//! How files are opened and made.

use super::beneath::{Root, regular};
use super::cache::OpenFile;
use super::places::Places;
use super::refusal::Refusal;
use super::{FileStorage, calls};
use crate::Allocation;
use crate::{Operation, StorageError};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// Flags for any file: no waiting for the other end of a pipe, no terminal, not for child processes.
pub(super) const PLAIN: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The longest file that FAT can hold.
const FAT_MOST: u64 = u32::MAX as u64;

/// Which file of the torrent each file on disk is, so that no two share one.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<Option<HashMap<Inode, usize>>>);

impl Owners {
    /// The files are to be looked at anew.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A device and a file's number on it.
type Inode = (u64, u64);

impl FileStorage {
    /// The open file, from the cache or opened now.
    pub(super) fn opened(
        &self,
        places: &Places,
        index: usize,
        write: bool,
    ) -> Result<Arc<OpenFile>, StorageError> {
        let key = (self.owner, index);
        if let Some(file) = self.open_files.get(key, write) {
            return Ok(file);
        }
        loop {
            let opened =
                if write { self.open_to_write(places, index) } else { self.open_to_read(places, index) };
            match opened {
                Ok(fd) => {
                    let is_told = self.is_told_by_root(&fd, places);
                    let file = OpenFile::new(fd, write, self.closing.clone(), is_told);
                    return Ok(self.open_files.insert(key, file));
                }
                Err(error) => {
                    let errno = error.cause.raw_os_error().map(Errno::from_raw_os_error);
                    let too_many = matches!(errno, Some(Errno::MFILE | Errno::NFILE));
                    if !too_many || !self.open_files.close_half() {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn open_to_read(&self, places: &Places, index: usize) -> Result<OwnedFd, StorageError> {
        let opened = places.first(self.layout(), index, |root, path| {
            root.open_at(path, OFlags::RDONLY | PLAIN, Mode::empty())
        });
        let checked = opened.and_then(|fd| {
            self.saw(places, index, regular(calls::stat(&fd)?)?)?;
            Ok(fd)
        });
        checked.map_err(|cause| self.error_at(places, Operation::Open, index, None, cause))
    }

    pub(super) fn open_to_write(&self, places: &Places, index: usize) -> Result<OwnedFd, StorageError> {
        let failed = |operation| move |cause| self.error_at(places, operation, index, None, cause);
        let root = places.root_of(index);
        root.check().map_err(|cause| StorageError::new(Operation::Open, root.path(), None, cause))?;
        self.hold_file(places, index)?;
        let open = || {
            places.first(self.layout(), index, |root, path| {
                root.open_at(path, OFlags::RDWR | PLAIN, Mode::empty())
            })
        };
        let (fd, is_new) = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.create_file(places, index) {
                // Another thread was faster.
                Err(error) if error.cause.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {
                    (open().map_err(failed(Operation::Open))?, false)
                }
                created => (created?, true),
            },
            opened => (opened.map_err(failed(Operation::Open))?, false),
        };
        if is_new {
            self.hold_file(places, index)?;
        }
        let stat = calls::stat(&fd).map_err(io::Error::from).and_then(regular);
        let stat = stat.map_err(failed(Operation::Open))?;
        self.own(places, index, (stat.st_dev, stat.st_ino), is_new)?;
        self.saw_to_write(places, index, stat).map_err(failed(Operation::Open))?;
        self.note_mount(places, index, &stat);
        let (len, wanted) = (u64::try_from(stat.st_size).unwrap_or(0), self.file(index).length);
        if self.allocation == Allocation::Full && len < wanted {
            calls::allocate(&fd, wanted).map_err(|errno| failed(Operation::Allocate)(errno.into()))?;
        }
        Ok(fd)
    }

    fn create_file(&self, places: &Places, index: usize) -> Result<OwnedFd, StorageError> {
        let failed = |cause| self.error_at(places, Operation::Create, index, None, cause);
        self.may_make(places, index).map_err(failed)?;
        let path = &*places.paths(self.layout(), index).next().unwrap_or_default();
        let fd = self.make_at(places.root_of(index), path, path, index).map_err(failed)?;
        self.deeds.made(index);
        self.made().note(path);
        Ok(fd)
    }

    /// Makes the file with this index, that is to have the path `path`, under another name in the same folder.
    pub(super) fn make_at(&self, root: &Root, name: &str, path: &str, index: usize) -> io::Result<OwnedFd> {
        let file = self.file(index);
        if file.length > FAT_MOST && root.is_fat() {
            return Err(Refusal::TooBig.into());
        }
        root.make_folders(path, |folder| self.made().note(folder))?;
        let bits = if file.attributes.executable { 0o777 } else { 0o666 };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | PLAIN;
        root.open_at(name, flags, Mode::from_raw_mode(bits))
    }

    /// Sees to it that no two files of the torrent are one on disk, as they may be where names are compared in
    /// a way of the file system's own, or through hard links.
    fn own(&self, places: &Places, index: usize, inode: Inode, is_new: bool) -> Result<(), StorageError> {
        let mut owners = self.owners.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.is_none() {
            if is_new {
                // What was just made is no other file.
                return Ok(());
            }
            *owners = Some(self.inodes(places));
        }
        let Some(owners) = owners.as_mut() else { return Ok(()) };
        let owner = *owners.entry(inode).or_insert(index);
        if owner == index || is_new {
            owners.insert(inode, index);
            return Ok(());
        }
        let still = self.stamp(places, owner).is_some_and(|stamp| (stamp.device, stamp.inode) == inode);
        if !still {
            owners.insert(inode, index);
            return Ok(());
        }
        let other = places.show(self.layout(), owner);
        Err(self.error_at(places, Operation::Open, index, None, Refusal::SameFile(other).into()))
    }

    /// Each file on disk, with the first file of the torrent that it is.
    fn inodes(&self, places: &Places) -> HashMap<Inode, usize> {
        let mut inodes = HashMap::new();
        for (index, stamp) in self.look(places).into_iter().enumerate() {
            if let Ok(Some(stamp)) = stamp {
                inodes.entry((stamp.device, stamp.inode)).or_insert(index);
            }
        }
        inodes
    }

    pub(super) fn root_error(operation: Operation, root: &Root, cause: io::Error) -> StorageError {
        StorageError::new(operation, root.path(), None, cause)
    }
}
