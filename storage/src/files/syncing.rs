//! Making durable what was written.

use super::places::Places;
use super::{FileStorage, calls, sys};
use crate::{Operation, StorageError};
use rustix::fs::Stat;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Files above which the whole file system is synced instead of each: syncing a file costs at least one flush of the
/// device, which for 20,000 small files on ext4 took 160 s.
const MANY: usize = 64;

impl FileStorage {
    pub(super) fn sync_all(&self) -> Result<(), StorageError> {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.unsynced.is_doubtful() {
            let mut places = self.places_mut();
            self.write_parts_again(&places)?;
            self.write_again(&mut places)?;
        }
        let places = self.places();
        let written = self.unsynced.take();
        let synced = self.sync_dirty(&places);
        // Whoever closes a file for another one meanwhile is told of its errors, and this sync is not.
        let is_harmed = self.closing.is_harmed.swap(false, Ordering::SeqCst);
        let synced = match synced {
            Ok(()) if is_harmed => Err(Self::root_error(Operation::Sync, &places.root, Errno::IO.into())),
            synced => synced,
        };
        synced.inspect_err(|_| self.unsynced.put_back(&written))?;
        // Files that are open are written to wherever their folder went, and whoever starts next looks for them here.
        places.root.check().map_err(|cause| Self::root_error(Operation::Open, &places.root, cause))
    }

    fn sync_dirty(&self, places: &Places) -> Result<(), StorageError> {
        let taken = self.take_dirty();
        let (mut dirty, mut harmed) = (Vec::new(), Ok(()));
        for index in taken {
            match self.is_in_place(places, index) {
                Ok(true) => dirty.push(index),
                missing => {
                    // It may come back, with what was written to it.
                    self.mark_dirty(index);
                    harmed = harmed.and(missing.map(drop));
                }
            }
        }
        let durable = if self.uncached { dirty.clone() } else { Vec::new() };
        harmed.and(self.sync_files(places, dirty))?;
        for index in durable {
            if let Ok(file) = self.opened(places, index, false) {
                sys::forget_cached(file.fd.as_fd());
            }
        }
        Ok(())
    }

    fn sync_files(&self, places: &Places, dirty: Vec<usize>) -> Result<(), StorageError> {
        let folders = self.made().take_folders();
        let is_one_place = places.next.is_none() && !self.has_mounts.load(Ordering::Acquire);
        // What was closed is not open any more to be asked for by itself.
        let is_left = self.closing.is_left.swap(false, Ordering::SeqCst);
        if (dirty.len() > MANY || is_left) && is_one_place && places.root.syncs_all() {
            for index in &dirty {
                self.open_files.peek((self.owner, *index)).iter().for_each(|file| file.taken_up());
            }
            match places.root.sync_file_system() {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // A system tells of a failed write once: files synced after this would be said to be well.
                Err(cause) => {
                    dirty.into_iter().for_each(|index| self.mark_dirty(index));
                    self.made().put_back(folders);
                    return Err(Self::root_error(Operation::Sync, &places.root, cause));
                }
            }
        }
        let mut result = self.sync_parts(places);
        for index in dirty {
            if let Err(error) = self.sync_file(places, index) {
                result = Err(error);
            }
        }
        result.and(self.sync_folders(places, folders))
    }

    /// Makes the names in folders durable, in both places while the torrent is moved.
    pub(super) fn sync_folders(
        &self,
        places: &Places,
        folders: BTreeSet<String>,
    ) -> Result<(), StorageError> {
        let mut result = Ok(());
        for folder in folders {
            for root in
                [Some(&places.root), places.next.as_ref().map(|next| &next.root)].into_iter().flatten()
            {
                match root.sync_folder(&folder) {
                    Err(error) if places.next.is_some() && error.kind() == io::ErrorKind::NotFound => {}
                    // Somebody took it away with all in it, which is told of the files. It may come back.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && root.check().is_ok() => {
                        self.made().put_back([folder.clone()]);
                    }
                    Err(cause) => {
                        result = Err(StorageError::new(Operation::Sync, root.show(&folder), None, cause));
                        self.made().put_back([folder.clone()]);
                    }
                    Ok(()) => {}
                }
            }
        }
        result
    }

    /// Has the next sync cover a file, or the part file in its stead, although this storage did not write it: one that an earlier
    /// run may have written just before it ended. Its name and those of the folders on the way count too: whoever made them may have been killed
    /// before they were durable.
    pub fn mark_unsynced(&self, index: usize) {
        if index >= self.layout().files().len() {
            return;
        }
        let places = self.places();
        let found = places.find(self.layout(), index);
        if found.is_err() && !self.watch.knows(index) && self.has_parts_of(index) {
            self.mark_parts_unsynced();
            return;
        }
        self.mark_dirty(index);
        if let Ok((path, stat)) = found {
            self.note_mount(&places, index, &stat);
            let mut made = self.made();
            made.touch(&path);
            path.match_indices('/').for_each(|(end, _)| made.touch(&path[..end]));
        }
    }

    /// A file that lies on another file system than the root is not synced with that.
    pub(super) fn note_mount(&self, places: &Places, index: usize, stat: &Stat) {
        if stat.st_dev != places.root_of(index).device() {
            self.has_mounts.store(true, Ordering::Release);
        }
    }

    /// Whether a sync of the root's file system tells of bytes of this file that could not be written.
    pub(super) fn is_told_by_root(&self, fd: &OwnedFd, places: &Places) -> bool {
        let is_there = || calls::stat(fd).is_ok_and(|stat| stat.st_dev == places.root.device());
        places.root.syncs_all() && is_there()
    }

    pub(super) fn mark_dirty(&self, index: usize) {
        let (word, bit) = (&self.dirty[index / 64], 1 << (index % 64));
        // Nearly always it is set already, and then the word stays in the caches of all threads.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Release);
        }
    }

    fn take_dirty(&self) -> Vec<usize> {
        let mut dirty = Vec::new();
        for (at, word) in self.dirty.iter().enumerate() {
            let bits = word.swap(0, Ordering::Acquire);
            dirty.extend((0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| at * 64 + bit));
        }
        dirty
    }

    fn sync_file(&self, places: &Places, index: usize) -> Result<(), StorageError> {
        let synced = self.opened(places, index, false).and_then(|file| {
            file.taken_up();
            calls::sync_data(&file.fd)
                .map_err(|errno| self.error_at(places, Operation::Sync, index, None, errno.into()))
        });
        synced.inspect_err(|_| self.mark_dirty(index))
    }
}

/// Makes everything durable on the file system of a folder; false where that does not do, and each file is to be synced by itself.
pub(crate) fn sync_file_system(folder: &Path) -> io::Result<bool> {
    let folder = File::open(folder)?;
    if !sys::syncs_all(folder.as_fd()) {
        return Ok(false);
    }
    match sys::sync_file_system(folder.as_fd()) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => Ok(false),
        synced => Ok(synced.map(|()| true)?),
    }
}
