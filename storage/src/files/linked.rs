//! Giving complete files to another folder as well.

use super::beneath::Root;
use super::giving::{Source, Way};
use super::{FileStorage, calls, copy};
use crate::{LinkMode, Operation, StorageError};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::PoisonError;

/// What came of giving files to another folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// Files that have a second name now.
    pub linked: usize,
    /// Files with shared bytes.
    pub cloned: usize,
    /// Files that were copied.
    pub copied: usize,
    /// Files that were there before: the same, or with the same bytes.
    pub there: usize,
}

impl FileStorage {
    /// Gives these files, by index, to another folder as well, under their finished names. Those that are there already, with
    /// the same bytes, stay as they are. What is given is durable afterwards.
    ///
    /// # Errors
    /// When one cannot be given so, also because another one has its name; those before it stay.
    pub fn link_to(&self, folder: &Path, mode: LinkMode, files: &[usize]) -> Result<Linked, StorageError> {
        Root::make(folder).map_err(|cause| StorageError::new(Operation::Create, folder, None, cause))?;
        let to =
            Root::open(folder).map_err(|cause| StorageError::new(Operation::Open, folder, None, cause))?;
        let mut outcome = Linked::default();
        for index in files.iter().filter(|index| **index < self.layout().files().len()) {
            match self.link_file(&to, mode, *index)? {
                None => {}
                Some(None) => outcome.there += 1,
                Some(Some(Way::Link)) => outcome.linked += 1,
                Some(Some(Way::Clone)) => outcome.cloned += 1,
                Some(Some(Way::Copy)) => outcome.copied += 1,
            }
        }
        Ok(outcome)
    }

    /// Nothing when there is no such file; how it was given, unless it was there.
    fn link_file(
        &self,
        to: &Root,
        mode: LinkMode,
        index: usize,
    ) -> Result<Option<Option<Way>>, StorageError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let places = &*self.places();
        let found = match places.find(self.layout(), index) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found,
        };
        let failed = |operation| move |cause| self.error_at(places, operation, index, None, cause);
        let (old, stat) = found.map_err(failed(Operation::Stat))?;
        let root = places.root_of(index);
        let new = places.path(self.layout(), index);
        let at_goal = |operation| move |cause| StorageError::new(operation, to.show(new), None, cause);
        let bytes = root
            .open_at(&old, OFlags::RDONLY | super::opening::PLAIN, Mode::empty())
            .map_err(failed(Operation::Open))?;
        if let Ok(there) = to.stat_file(new) {
            let is_same = || {
                let other = to.open_at(new, OFlags::RDONLY | super::opening::PLAIN, Mode::empty())?;
                copy::is_equal(bytes.as_fd(), other.as_fd())
            };
            if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino)
                || is_same().map_err(at_goal(Operation::Read))?
            {
                return Ok(Some(None));
            }
        }
        // They are not this torrent's to remove.
        to.make_folders(new, |_| ()).map_err(at_goal(Operation::Create))?;
        let way = root
            .in_folder_of(&old, |folder, name| {
                let shown = root.show(&old);
                let from = Source { bytes, folder, name: Path::new(name), shown: &shown };
                Ok(self.give(&from, to, new, index, Way::of(mode)))
            })
            .map_err(failed(Operation::Open))??;
        if way == Way::Link {
            self.sole.forget(index);
            self.deeds.named(index);
        }
        let durable = || {
            let given = to.open_at(new, OFlags::RDONLY | super::opening::PLAIN, Mode::empty())?;
            calls::sync(&given)?;
            super::relocate::sync_names(to, new)
        };
        durable().map_err(at_goal(Operation::Sync))?;
        Ok(Some(Some(way)))
    }
}
