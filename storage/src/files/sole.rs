//! No write goes through a second name of a file.
//!
//! A file may have names that are not ours: somebody linked it, or we took it in or gave it away as a hard link. Before such a
//! file is first written it is copied, the copy is made durable, and takes the place of our name. The other names keep what
//! they had.

use super::places::Places;
use super::scratch::Purpose;
use super::{FileStorage, calls, copy};
use crate::{Operation, StorageError};
use metainfo::PieceRange;
use rustix::fs::{Mode, OFlags, Stat};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Files of which it is known that they have one name.
#[derive(Debug)]
pub(super) struct Sole {
    /// A bit per file.
    known: Box<[AtomicU64]>,
    /// Held by whoever copies a file.
    parting: Mutex<()>,
}

impl Sole {
    pub(super) fn new(files: usize) -> Self {
        Self {
            known: (0..files.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            parting: Mutex::default(),
        }
    }

    /// The file may have another name now.
    pub(super) fn forget(&self, index: usize) {
        if let Some(word) = self.known.get(index / 64) {
            word.fetch_and(!(1 << (index % 64)), Ordering::SeqCst);
        }
    }

    fn is_known(&self, index: usize) -> bool {
        self.known.get(index / 64).is_some_and(|word| word.load(Ordering::SeqCst) >> (index % 64) & 1 == 1)
    }

    fn know(&self, index: usize) {
        if let Some(word) = self.known.get(index / 64) {
            word.fetch_or(1 << (index % 64), Ordering::SeqCst);
        }
    }
}

impl FileStorage {
    /// To be called before a range is written: its files get bytes of their own where they share them with other names.
    pub(super) fn part_from_links(&self, range: PieceRange) -> Result<(), StorageError> {
        for segment in self.layout().segments(range) {
            if !segment.pad && !self.sole.is_known(segment.file) {
                self.part_from_link(segment.file)?;
                self.sole.know(segment.file);
            }
        }
        Ok(())
    }

    fn part_from_link(&self, index: usize) -> Result<(), StorageError> {
        if self.shared(index)?.is_none() {
            return Ok(());
        }
        let _parting = self.sole.parting.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever had the lock may have done it, and files may move meanwhile.
        while let Some((path, stat)) = self.shared(index)? {
            let copied = self.copy_beside(index, &path)?;
            let mut places = self.places_mut();
            if self.take_own(&mut places, index, &path, &stat, &copied)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The file, if it has another name.
    fn shared(&self, index: usize) -> Result<Option<(String, Stat)>, StorageError> {
        let places = self.places();
        if places.is_in_parts(index) {
            return Ok(None);
        }
        match places.find(self.layout(), index) {
            Ok((path, stat)) => Ok((stat.st_nlink > 1).then_some((path, stat))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(self.error_at(&places, Operation::Stat, index, None, cause)),
        }
    }

    /// A durable copy under a name of its own.
    fn copy_beside(&self, index: usize, path: &str) -> Result<OwnedFd, StorageError> {
        let places = self.places();
        let root = places.root_of(index);
        let failed = |operation| move |cause| StorageError::new(operation, root.show(path), None, cause);
        root.check().map_err(|cause| Self::root_error(Operation::Open, root, cause))?;
        let own = self.scratch(path, Purpose::Own);
        let from = root
            .open_at(path, OFlags::RDONLY | super::opening::PLAIN, Mode::empty())
            .map_err(failed(Operation::Open))?;
        let to = self.make_scratch(root, &own).map_err(failed(Operation::Create))?;
        let copied = copy::contents(from.as_fd(), to.as_fd(), &mut |_| true)
            .map_err(|copy::Failed { operation, cause }| failed(operation)(cause))
            .and_then(|_| calls::sync(&to).map_err(|errno| failed(Operation::Sync)(errno.into())));
        if let Err(error) = copied {
            self.drop_scratch(root, &own);
            return Err(error);
        }
        Ok(to)
    }

    /// Puts the copy in the place of the file. False if that is another file by now.
    fn take_own(
        &self,
        places: &mut Places,
        index: usize,
        path: &str,
        copied: &Stat,
        copy: &OwnedFd,
    ) -> Result<bool, StorageError> {
        // What somebody wrote meanwhile shows in its stamp.
        let was = self.stamp(places, index);
        let root = places.root_of(index);
        let failed = |cause| StorageError::new(Operation::Rename, root.show(path), None, cause);
        let own = self.scratch(path, Purpose::Own);
        let replaced = root.in_folder_of(path, |folder, name| {
            let own = own.rsplit_once('/').map_or(own.as_str(), |(_, own)| own);
            let is = |name: &str, stat: &Stat| {
                calls::stat_name(folder, name)
                    .is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino))
            };
            let is_left = is(own, &calls::stat(copy)?);
            let is_whole = is_left && is(name, copied);
            if is_whole {
                calls::replace(folder, own, name)?;
            } else if is_left {
                calls::remove_file(folder, own)?;
            }
            Ok(is_whole)
        });
        if !replaced.map_err(failed)? {
            return Ok(false);
        }
        self.made().touch(path);
        if let (Some(was), Ok(is)) = (was, calls::stat(copy)) {
            self.deeds.moved(index, root.lasting(was), root.lasting(is));
        }
        self.owners.forget();
        self.open_files.close((self.owner, index));
        self.watch.forget(index);
        // A copy of it that is being made for a move is one of the old bytes.
        if self.copying.load(Ordering::SeqCst) == index {
            self.stale.store(true, Ordering::SeqCst);
        }
        Ok(true)
    }
}
