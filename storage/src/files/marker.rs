//! A file that tells a folder from another one in its place, where the file system tells nothing of it that lasts: neither when
//! it was made nor its own name. Most that run in a program of their own (FUSE) are of that kind, and their first folder has the
//! same number on each.

use super::beneath::Root;
use super::opening::PLAIN;
use super::slices::Writing;
use super::stamps::found;
use super::{FileStorage, RootId, calls};
use crate::{Operation, StorageError};
use rustix::fs::{Mode, OFlags};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::sync::PoisonError;

/// For whoever finds it.
const WORDS: &[u8] =
    b"A torrent knows the disk that its files are on by this file. It is removed with the torrent.\n";

fn name(marker: u64) -> String {
    format!(".unchoke-{marker:016x}.disk")
}

impl Root {
    /// Finds out whether the marker of a recorded folder is in this one.
    pub(super) fn look_for_marker(&self, recorded: &RootId) -> io::Result<()> {
        if let Some(marker) = recorded.marker
            && found(self.stat_file(&name(marker)))?.is_some()
        {
            let _ = self.marker.set(marker);
        }
        Ok(())
    }

    /// The same folder, opened anew, has the same marker.
    pub(super) fn keep_marker_of(&self, old: &Self) {
        if let Some(marker) = old.marker.get() {
            let _ = self.marker.set(*marker);
        }
    }

    fn put_marker(&self, marker: u64) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | PLAIN;
        let fd = self.open_at(&name(marker), flags, Mode::from_raw_mode(0o666))?;
        let len = u32::try_from(WORDS.len()).unwrap_or(0);
        Writing::new(&[IoSlice::new(WORDS)]).write(&fd, 0, len).map_err(|(_, cause)| cause)?;
        // A record that knows it must not outlast it.
        calls::sync_data(&fd)?;
        self.sync_folder("")
    }

    fn remove_marker(&self, marker: u64) {
        // What stays harms nobody.
        let _ = self.in_folder_of(&name(marker), |folder, name| Ok(calls::remove_file(folder, name)?));
    }
}

impl FileStorage {
    /// Puts a marker in the folder if nothing else tells it from another one in its place, unless that of `recorded` is in it.
    /// It counts as made by the storage.
    ///
    /// # Errors
    /// When it cannot be made. The folder is then known by the files that are in it at most.
    pub fn mark_root(&self, recorded: Option<&RootId>) -> Result<(), StorageError> {
        let places = self.places();
        let root = &places.root;
        let looked = root.id().and_then(|id| match recorded {
            Some(recorded) if !id.tells() => root.look_for_marker(recorded).map(|()| id),
            _ => Ok(id),
        });
        let id = looked.map_err(|cause| Self::root_error(Operation::Stat, root, cause))?;
        if id.tells() || root.marker.get().is_some() {
            return Ok(());
        }
        let marker = RandomState::new().hash_one(self.owner);
        if let Err(cause) = root.put_marker(marker) {
            root.remove_marker(marker);
            return Err(StorageError::new(Operation::Create, root.show(&name(marker)), None, cause));
        }
        let _ = root.marker.set(marker);
        self.made().note(&name(marker));
        Ok(())
    }

    /// The folder that the files were moved from is in no record any more, so that nobody needs its marker.
    pub fn forget_left(&self) {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((root, marker)) = left.as_ref().and_then(|root| Some((root, *root.marker.get()?))) {
            root.remove_marker(marker);
        }
    }
}
