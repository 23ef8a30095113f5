//! What is there, and whether it is what was there before.

use super::beneath::Root;
use super::places::Places;
use super::refusal::Refusal;
use super::stamps::{self, Looker};
use super::{FileOptions, FileStorage, RootId, Stamp, sys};
use crate::{Operation, StorageError};
use metainfo::Torrent;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The disk, as the system numbers it.
    pub device: u64,
    /// Bytes that a user may still write to it.
    pub free: u64,
}

impl RootId {
    /// Of the folder that is there now.
    ///
    /// # Errors
    /// When there is none, or it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { mount: mount_above(path), ..Root::open(path)?.id()? })
    }
}

impl FileStorage {
    /// Beneath a folder that is there and is the one that was recorded, as far as can be known: [`RootId::is_same`] of its
    /// [`root_id`](Self::root_id) says whether it is for sure. Makes nothing.
    ///
    /// # Errors
    /// [`StorageError::is_gone`] when the folder is not there, or another one is in its place; otherwise when it
    /// cannot be opened.
    pub fn open_expecting(
        path: &Path,
        expected: &RootId,
        torrent: Arc<Torrent>,
        options: FileOptions,
    ) -> Result<Self, StorageError> {
        let root = match Root::open(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(Refusal::Gone.error(Operation::Open, path));
            }
            root => root.map_err(|cause| StorageError::new(Operation::Open, path, None, cause))?,
        };
        let found = root.look_for_marker(expected).and_then(|()| root.id());
        let found = found.map_err(|cause| StorageError::new(Operation::Stat, path, None, cause))?;
        if expected.is_other(&found) {
            return Err(Refusal::OtherPlace.error(Operation::Open, path));
        }
        Self::beneath(root, torrent, options)
    }

    /// Whether a folder that is not the recorded one any more was deleted, and not taken away with its disk: what is in its
    /// place, or next above it, is on the same file system as it was, and what it lay on is mounted.
    pub fn was_deleted(path: &Path, recorded: &RootId) -> bool {
        let lay_on = recorded.mount.map(|above| path.ancestors().nth(above.into()));
        if lay_on.is_some_and(|mount| mount.and_then(sys::is_mount_point) != Some(true)) {
            return false;
        }
        for above in path.ancestors().filter(|above| !above.as_os_str().is_empty()) {
            match Root::open(above) {
                Ok(root) => return root.id().is_ok_and(|now| recorded.shares_file_system(&now)),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// The folder that the files are beneath, as it was named.
    pub fn root(&self) -> PathBuf {
        self.places().root.path().to_path_buf()
    }

    /// What tells the folder from another one in its place; to be recorded.
    ///
    /// # Errors
    /// When the folder cannot be looked at.
    pub fn root_id(&self) -> Result<RootId, StorageError> {
        let places = self.places();
        let id = places.root.id().map_err(|cause| Self::root_error(Operation::Stat, &places.root, cause))?;
        Ok(RootId { mount: mount_above(places.root.path()), ..id })
    }

    /// The error that says that another folder is in the place of the recorded one.
    pub fn other_place(&self) -> StorageError {
        Refusal::OtherPlace.error(Operation::Open, self.root())
    }

    /// Whether the folder is still where it was. Files are made and opened for writing only after this was found out anew.
    ///
    /// # Errors
    /// [`StorageError::is_gone`] when it is not there, or another one is in its place.
    pub fn check_root(&self) -> Result<(), StorageError> {
        let places = self.places();
        places.root.check().map_err(|cause| Self::root_error(Operation::Open, &places.root, cause))
    }

    /// Bytes that may still be written to the folder's file system.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn free_space(&self) -> Result<u64, StorageError> {
        let places = self.places();
        places.root.free_space().map_err(|cause| Self::root_error(Operation::Stat, &places.root, cause))
    }

    /// The room on the disk of a folder, or of the next one above it that is there.
    ///
    /// # Errors
    /// When none can be looked at.
    pub fn room_at(path: &Path) -> io::Result<Room> {
        let whole = std::path::absolute(path)?;
        for above in whole.ancestors() {
            match Root::open(above) {
                Ok(root) => return Ok(Room { device: root.device(), free: root.free_space()? }),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// How long the file with this index in the layout is on disk.
    ///
    /// # Errors
    /// Of kind `NotFound` when it is not there; otherwise when it is no regular file or cannot be looked at.
    pub fn file_len(&self, index: usize) -> Result<u64, StorageError> {
        let places = self.places();
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let file = self.layout().files().get(index);
        let found = file.ok_or_else(missing).and_then(|_| places.find(self.layout(), index));
        let stat = found.map(|(_, stat)| stat);
        stat.map(|stat| u64::try_from(stat.st_size).unwrap_or(0))
            .map_err(|cause| self.error_at(&places, Operation::Stat, index, None, cause))
    }

    /// Bytes of room that a file takes on its disk, holes left out; none if it is not there.
    pub fn file_room(&self, index: usize) -> u64 {
        let places = self.places();
        let known = index < self.layout().files().len();
        let found = if known { places.find(self.layout(), index).ok() } else { None };
        found.map_or(0, |(_, stat)| u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
    }

    /// One for each file of the layout; `None` for what is not stored, not there, or cannot be looked at. A file of which the
    /// part file has bytes has the part file's.
    pub fn file_stamps(&self) -> Vec<Option<Stamp>> {
        self.file_looks().0
    }

    /// The same, and the files that could not be looked at, with the reason: they may be there.
    pub fn file_looks(&self) -> (Vec<Option<Stamp>>, Vec<(usize, StorageError)>) {
        self.looks_in(&self.places())
    }

    pub(super) fn looks_in(&self, places: &Places) -> (Vec<Option<Stamp>>, Vec<(usize, StorageError)>) {
        let mut unseen = Vec::new();
        let looks = self.look(places).into_iter().enumerate();
        let mut stamps: Vec<Option<Stamp>> = looks
            .map(|(index, look)| {
                look.unwrap_or_else(|cause| {
                    unseen.push((index, self.error_at(places, Operation::Stat, index, None, cause)));
                    None
                })
            })
            .collect();
        if places.root.forgets() {
            stamps.iter_mut().flatten().for_each(|stamp| *stamp = stamp.coarse());
        }
        if let Some(parts) = self.parts_stamp() {
            let missing = stamps.iter_mut().enumerate().filter(|(_, stamp)| stamp.is_none());
            let parts = if places.root.forgets() { parts.coarse() } else { parts };
            missing
                .filter(|(index, _)| self.has_parts_of(*index))
                .for_each(|(_, stamp)| *stamp = Some(parts));
        }
        (stamps, unseen)
    }

    /// One for each file; an error says that it may be there.
    pub(super) fn look(&self, places: &Places) -> Vec<io::Result<Option<Stamp>>> {
        let layout = self.layout();
        let is_stored = |file: &metainfo::File| !file.is_pad() && !file.attributes.symlink;
        let mut looker = Looker::new(&places.root);
        let is_simple = places.next.is_none() && places.suffix.is_none();
        let files = layout.files().iter().enumerate();
        files
            .map(|(at, file)| match is_stored(file) {
                false => Ok(None),
                true if is_simple => looker.look(places.path(layout, at)),
                true => stamps::found(places.find(layout, at).map(|(_, stat)| stat)),
            })
            .collect()
    }

    pub(super) fn stamp(&self, places: &Places, index: usize) -> Option<Stamp> {
        places.find(self.layout(), index).ok().map(|(_, stat)| Stamp::from(stat))
    }
}

/// How far above a folder the mount point is that it lies on.
fn mount_above(path: &Path) -> Option<u16> {
    let whole = std::fs::canonicalize(path).ok()?;
    let above = whole.ancestors().position(|above| sys::is_mount_point(above) == Some(true))?;
    // Without the system's own one.
    whole.ancestors().nth(above)?.parent()?;
    u16::try_from(above).ok()
}
