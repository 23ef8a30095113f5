//! Files that last only while something is done, and what a process that was killed meanwhile left of them.
//!
//! Each lies in the folder of the file that it is for, so that it can take its place by a rename. Their names say whose they
//! are and what for, so that one is never taken for what is left of another.

use super::beneath::Root;
use super::places::Places;
use super::remove::{Removed, remove_from};
use super::{FileStorage, calls};
use crate::{Operation, StorageError};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

/// What one is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A file, or the part file, goes to another file system.
    Move,
    /// A file is made of what the part file has of it.
    Fold,
    /// A file is given to another name, or taken from there.
    Give,
    /// A file gets bytes of its own.
    Own,
    /// Whether a disk can be written to.
    Probe,
}

impl Purpose {
    const ALL: [Self; 5] = [Self::Move, Self::Fold, Self::Give, Self::Own, Self::Probe];

    fn word(self) -> &'static str {
        match self {
            Self::Move => "moving",
            Self::Fold => "folding",
            Self::Give => "giving",
            Self::Own => "own",
            Self::Probe => "probe",
        }
    }
}

impl FileStorage {
    /// The path of the scratch file for the file at `path`.
    pub(super) fn scratch(&self, path: &str, purpose: Purpose) -> String {
        self.scratch_in(path.rsplit_once('/').map_or("", |(folder, _)| folder), purpose)
    }

    fn scratch_in(&self, folder: &str, purpose: Purpose) -> String {
        let slash = if folder.is_empty() { "" } else { "/" };
        format!("{folder}{slash}.unchoke-{}.{}", self.short_name(), purpose.word())
    }

    /// Makes an empty scratch file, in the place of one that was left.
    pub(super) fn make_scratch(&self, root: &Root, scratch: &str) -> io::Result<OwnedFd> {
        self.drop_scratch(root, scratch);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        root.open_at(scratch, flags, Mode::from_raw_mode(0o600))
    }

    /// Removes a scratch file. One that cannot be removed goes with the next attempt, or with the torrent.
    pub(super) fn drop_scratch(&self, root: &Root, scratch: &str) {
        let _ = root.in_folder_of(scratch, |folder, name| Ok(calls::remove_file(folder, name)?));
    }

    /// Removes all of this torrent's that lie beneath a folder. Nothing may be under way that needs one.
    pub(super) fn drop_scratches(&self, places: &Places, root: &Root, outcome: &mut Removed) {
        for folder in self.scratch_folders(places) {
            let scratches = Purpose::ALL.map(|purpose| self.scratch_in(&folder, purpose));
            let gone = root.in_folder_of(&scratches[0], |folder, _| {
                Ok(scratches
                    .each_ref()
                    .map(|path| remove_from(folder, path.rsplit_once('/').map_or(path, |(_, name)| name))))
            });
            // Where a folder cannot be opened, be it a link by now, nothing of ours is to be found.
            let Ok(gone) = gone else { continue };
            for (scratch, gone) in scratches.into_iter().zip(gone) {
                match gone {
                    Ok(true) => outcome.removed.push(scratch.into()),
                    Ok(false) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(cause) => {
                        let shown = root.show(&scratch);
                        outcome.errors.push(StorageError::new(Operation::Remove, shown, None, cause));
                    }
                }
            }
        }
    }

    /// The folders that scratch files may lie in.
    fn scratch_folders(&self, places: &Places) -> BTreeSet<String> {
        let made = self.created();
        let made = made.iter().filter_map(|path| path.to_str());
        let stored = self.layout().files().iter().enumerate().filter(|(_, file)| !file.is_pad());
        let paths = stored.flat_map(|(index, file)| [file.path.as_str(), places.path(self.layout(), index)]);
        paths.chain(made).map(|path| path.rsplit_once('/').map_or("", |(folder, _)| folder).into()).collect()
    }
}
