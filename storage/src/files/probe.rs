//! Finding out whether the storage works again after it failed.

use super::beneath::Root;
use super::slices::Writing;
use super::{FileStorage, calls};
use crate::{Operation, StorageError};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::sync::PoisonError;

/// Bytes that must be free and are written: about what a few blocks and the file system's own records take.
const ROOM: u32 = 256 * 1024;

impl FileStorage {
    /// The folder is where it was, the file that could not be written last can be opened, and a scratch file of some
    /// blocks can be written and made durable. It is removed again.
    pub(super) fn try_writing(&self) -> Result<(), StorageError> {
        // The name of the scratch file is one for all.
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.places();
        let failed_last = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = failed_last {
            self.open_files.close((self.owner, index));
            self.opened(&places, index, true)?;
        }
        let root = failed_last.map_or(&places.root, |index| places.root_of(index));
        root.check().map_err(|cause| Self::root_error(Operation::Open, root, cause))?;
        let free = root.free_space().map_err(|cause| Self::root_error(Operation::Stat, root, cause))?;
        if free < u64::from(ROOM) {
            return Err(Self::root_error(Operation::Write, root, Errno::NOSPC.into()));
        }
        let name = format!(".unchoke-{}.probe", self.short_name());
        let outcome = write_scratch(root, &name);
        // Also what another attempt left behind.
        let removed = root.in_folder_of(&name, |folder, name| Ok(calls::remove_file(folder, name)?));
        outcome
            .and_then(|()| removed.map_err(|cause| (Operation::Remove, cause)))
            .map_err(|(operation, cause)| StorageError::new(operation, root.show(&name), None, cause))
    }

    /// The folder is where it was, and the first file that is stored in it is there and can be opened. Nothing is written.
    pub(super) fn try_reading(&self) -> Result<(), StorageError> {
        let places = self.places();
        let roots = [Some(&places.root), places.next.as_ref().map(|next| &next.root)];
        for root in roots.into_iter().flatten() {
            root.check().map_err(|cause| Self::root_error(Operation::Open, root, cause))?;
        }
        let is_stored = |index: &usize| {
            let file = self.file(*index);
            file.length > 0 && !file.is_pad() && !file.attributes.symlink && !places.is_in_parts(*index)
        };
        let Some(index) = (0..self.layout().files().len()).find(is_stored) else { return Ok(()) };
        self.open_files.close((self.owner, index));
        self.opened(&places, index, false).map(drop)
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
