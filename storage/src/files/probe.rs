//! Finding out whether the storage works again after it failed.

use super::beneath::Root;
use super::scratch::Purpose;
use super::slices::Writing;
use super::{FileStorage, calls};
use crate::{Operation, StorageError, Trouble};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Bytes that must be free and are written: about what a few blocks and the file system's own records take.
const ROOM: u32 = 256 * 1024;

impl FileStorage {
    /// The folder is where it was, the file that could not be written last can be opened, and a scratch file of some
    /// blocks can be written and made durable. It is removed again.
    pub(super) fn try_writing(&self) -> Result<(), StorageError> {
        // The name of the scratch file is one for all.
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.follow_root();
        let places = self.places();
        let failed_last = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = failed_last {
            self.open_files.reopen((self.owner, index));
            self.opened(&places, index, true)?;
        }
        self.check_disks(&places)?;
        let root = failed_last.map_or(&places.root, |index| places.root_of(index));
        let free = root.free_space().map_err(|cause| Self::root_error(Operation::Stat, root, cause))?;
        if free < u64::from(ROOM) {
            return Err(Self::root_error(Operation::Write, root, Errno::NOSPC.into()));
        }
        let name = self.scratch("", Purpose::Probe);
        let outcome = write_scratch(root, &name);
        // Also what another attempt left behind.
        let removed = root.in_folder_of(&name, |folder, name| Ok(calls::remove_file(folder, name)?));
        outcome
            .and_then(|()| removed.map_err(|cause| (Operation::Remove, cause)))
            .map_err(|(operation, cause)| StorageError::new(operation, root.show(&name), None, cause))
    }

    /// Opens the folder anew if its device went and came back. Not while something that was written is not durable: it may
    /// have gone with the device, and the next sync must not say that it is there. Only a new start, that checks it, helps then.
    fn follow_root(&self) {
        if self.places().root.check().is_ok() {
            return;
        }
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = self.places_mut();
        let is_clean = self.unsynced.is_empty()
            && self.dirty.iter().all(|word| word.load(Ordering::Acquire) == 0)
            && !self.made().has_folders();
        let is_alone = places.next.is_none() && self.parts().is_none();
        if is_clean
            && is_alone
            && let Some(root) = places.root.came_back()
        {
            places.root = root;
            self.open_files.close_all(self.owner);
            self.watch.forget_all();
            self.owners.forget();
            // Who came to use it meanwhile is told of at the next write.
            let _ = self.hold_all(&places);
        }
    }

    /// The folder is where it was, and a file of the torrent that is in it can be opened. Nothing is written.
    pub(super) fn try_reading(&self) -> Result<(), StorageError> {
        self.follow_root();
        let places = self.places();
        self.check_disks(&places)?;
        let is_stored = |index: &usize| {
            let file = self.file(*index);
            file.length > 0 && !file.is_pad() && !file.attributes.symlink && !places.is_in_parts(*index)
        };
        let mut missing = Ok(());
        for index in (0..self.layout().files().len()).filter(is_stored) {
            self.open_files.reopen((self.owner, index));
            match self.opened(&places, index, false) {
                // It may not have been begun.
                Err(error) if error.trouble() == Trouble::Missing => missing = missing.and(Err(error)),
                opened => return opened.map(drop),
            }
        }
        missing
    }

    /// Remembers which file could not be written.
    pub(super) fn note_failed(&self, index: usize) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(index);
    }
}

fn write_scratch(root: &Root, name: &str) -> Result<(), (Operation, io::Error)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd =
        root.open_at(name, flags, Mode::from_raw_mode(0o600)).map_err(|cause| (Operation::Create, cause))?;
    let bytes = vec![0xA5; ROOM as usize];
    Writing::new(&[IoSlice::new(&bytes)])
        .write(&fd, 0, ROOM)
        .map_err(|(_, cause)| (Operation::Write, cause))?;
    calls::sync_data(&fd).map_err(|errno| (Operation::Sync, errno.into()))
}
