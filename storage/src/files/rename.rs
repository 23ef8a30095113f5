//! Other names for files: the user's, and the right one of a file that is finished.

use super::beneath::Root;
use super::names::has_part_ending_in;
use super::places::Places;
use super::relocate::{rename, rename_over};
use super::stamps::is_absent;
use super::{FileNames, FileStorage};
use crate::{Operation, StorageError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// Whether both are names of one file that has no other.
fn is_one(root: &Root, old: &str, new: &str) -> bool {
    let stat = |path| root.stat_file(path).ok().map(|stat| (stat.st_dev, stat.st_ino, stat.st_nlink));
    old.to_lowercase() == new.to_lowercase()
        && stat(old).zip(stat(new)).is_some_and(|(old, new)| old == new && old.2 == 1)
}

impl FileStorage {
    /// What the names of unfinished files end in.
    pub fn suffix(&self) -> Option<String> {
        self.places().suffix.as_deref().map(str::to_owned)
    }

    /// The names that the user chose; to be recorded.
    pub fn names(&self) -> FileNames {
        self.places().names.clone()
    }

    /// Gives a file another path beneath the torrent's folder, and tells it after it was cleaned. To be found again after a
    /// crash in between, the wanted path is recorded before ([`FileOptions::renaming`](super::FileOptions::renaming)).
    ///
    /// # Errors
    /// When the name is of no use or taken ([`FileNames::usable`]), also by a file of somebody else, or when the file
    /// cannot be renamed.
    pub fn rename_file(&self, index: usize, wanted: &str) -> Result<String, StorageError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = self.places_mut();
        let failed = |cause| self.error_at(&places, Operation::Rename, index, None, cause);
        let path = places.names.usable(self.layout(), index, wanted).map_err(failed)?;
        if let Some(suffix) = &places.suffix
            && has_part_ending_in(&path, suffix)
        {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "names of unfinished files end so",
            )));
        }
        if path == places.path(self.layout(), index) {
            return Ok(path);
        }
        match places.find(self.layout(), index) {
            Ok((old, _)) => {
                let suffix = old.strip_prefix(places.path(self.layout(), index)).unwrap_or_default();
                let new = format!("{path}{suffix}");
                self.change_name(&places, index, &old, &new)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(failed(cause)),
        }
        places.names.set(self.layout(), index, path.clone());
        Ok(path)
    }

    /// Takes the suffix of unfinished files off a file, if it has it.
    ///
    /// # Errors
    /// When it cannot be renamed, also because a file of somebody else has the name.
    pub fn finish_file(&self, index: usize) -> Result<(), StorageError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.places_mut();
        let path = places.path(self.layout(), index);
        match places.find(self.layout(), index) {
            Ok((old, _)) if old != path => self.change_name(&places, index, &old, path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(self.error_at(&places, Operation::Rename, index, None, cause)),
        }
    }

    fn change_name(&self, places: &Places, index: usize, old: &str, new: &str) -> Result<(), StorageError> {
        let root = places.root_of(index);
        let failed = |cause| StorageError::new(Operation::Rename, root.show(new), None, cause);
        root.check().map_err(|cause| Self::root_error(Operation::Open, root, cause))?;
        root.make_folders(new, |folder| self.made().note(folder)).map_err(failed)?;
        match rename(root, old, root, new) {
            // Where names that differ by case only are one, the file itself is what has the name.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_one(root, old, new) => {
                rename_over(root, old, new).map_err(failed)?;
            }
            renamed => renamed.map_err(failed)?,
        }
        self.deeds.named(index);
        let mut made = self.made();
        made.touch(old);
        made.touch(new);
        if made.forget(Path::new(old)) {
            made.note(new);
        }
        // Folders that we made and that are empty now.
        for (end, _) in old.rmatch_indices('/') {
            let folder = PathBuf::from(&old[..end]);
            if !made.paths().any(|path| path == folder)
                || !super::remove::remove(root, &folder).unwrap_or(false)
            {
                break;
            }
            made.forget(&folder);
        }
        Ok(())
    }

    /// Renames of which it is not known whether they were done: looks.
    ///
    /// # Errors
    /// When it cannot be seen which name a file has.
    pub(super) fn settle_names(&self, renaming: Vec<(usize, String)>) -> Result<(), StorageError> {
        let mut places = self.places_mut();
        for (index, wanted) in renaming {
            let Ok(path) = places.names.usable(self.layout(), index, &wanted) else { continue };
            let is_there = |places: &Places| match places.find(self.layout(), index) {
                Ok(_) => Ok(true),
                Err(error) if is_absent(&error) => Ok(false),
                Err(cause) => Err(self.error_at(places, Operation::Stat, index, None, cause)),
            };
            if !is_there(&places)? {
                let old = places.path(self.layout(), index).to_owned();
                places.names.set(self.layout(), index, path.clone());
                if is_there(&places)? {
                    let mut made = self.made();
                    for suffix in ["", places.suffix.as_deref().unwrap_or_default()] {
                        if made.forget(Path::new(&format!("{old}{suffix}"))) {
                            made.note(&format!("{path}{suffix}"));
                        }
                    }
                } else {
                    places.names.set(self.layout(), index, old);
                }
            }
        }
        Ok(())
    }
}
