//! Removing what the torrent made, and nothing else.

use super::beneath::Root;
use super::places::Places;
use super::{FileStorage, calls};
use crate::{Operation, StorageError};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// What came of a removal. Paths are relative to the torrent's folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Removed {
    /// Files and folders that are gone now.
    pub removed: Vec<PathBuf>,
    /// Folders that stay because something else is in them, and what is in the place of a file but is no regular file.
    pub kept: Vec<PathBuf>,
    /// Why others could not be removed.
    pub errors: Vec<StorageError>,
}

impl FileStorage {
    /// Removes the files that this storage made, by its own account ([`FileStorage::created`]), what it or one that was killed
    /// left half copied, and then the folders it made that are empty. Follows no link. Nothing may be written meanwhile or afterwards.
    ///
    /// # Errors
    /// [`StorageError::is_gone`], and nothing is removed, when the folder is not there or another one is in its place. What
    /// fails for one file is told in [`Removed::errors`] and does not keep the others.
    pub fn remove_created(&self) -> Result<Removed, StorageError> {
        let places = self.places_mut();
        let roots = [Some(&places.root), places.next.as_ref().map(|next| &next.root)];
        for root in roots.into_iter().flatten() {
            root.check().map_err(|cause| Self::root_error(Operation::Remove, root, cause))?;
        }
        self.open_files.close_all(self.owner);
        self.watch.forget_all();
        self.close_parts();
        // Its name is no other's. A run that was killed may have made it unrecorded.
        self.made().expect(&self.parts_name());
        let mut outcome = Removed::default();
        roots.into_iter().flatten().for_each(|root| self.drop_scratches(&places, root, &mut outcome));
        // What is in a folder comes after the folder.
        for path in self.created().into_iter().rev() {
            // While the torrent is moved it may be in either place, and folders are in both.
            let removed: Vec<_> = roots
                .into_iter()
                .flatten()
                .map(|root| (root, self.remove_either(&places, root, &path)))
                .filter(|(_, removed)| !removed.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound))
                .collect();
            if removed.iter().all(|(_, removed)| matches!(removed, Ok(true))) {
                self.made().forget(&path);
            }
            for (root, removed) in removed {
                match removed {
                    Ok(true) => outcome.removed.push(path.clone()),
                    Ok(false) => outcome.kept.push(path.clone()),
                    Err(cause) => {
                        let shown = root.path().join(&path);
                        outcome.errors.push(StorageError::new(Operation::Remove, shown, None, cause));
                    }
                }
            }
        }
        Ok(outcome)
    }

    /// Removes what was made under this name, and may have lost its suffix since that was recorded.
    fn remove_either(&self, places: &Places, root: &Root, path: &Path) -> io::Result<bool> {
        match remove(root, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let suffix = places.suffix.as_deref().unwrap_or_default();
                match path.to_str().and_then(|path| path.strip_suffix(suffix)) {
                    Some(finished) if !suffix.is_empty() => remove(root, Path::new(finished)),
                    _ => Err(error),
                }
            }
            removed => removed,
        }
    }
}

/// Removes a file, or a folder that is empty. False when it is something else, or not empty.
pub(super) fn remove(root: &Root, path: &Path) -> io::Result<bool> {
    let path = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    root.in_folder_of(path, remove_from)
}

/// The same, from the folder that it is in.
pub(super) fn remove_from(folder: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let stat = calls::stat_name(folder, name)?;
    let removed = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => calls::remove_file(folder, name).or_else(|errno| match errno {
            // A file system that writes anew what it changes may need room to forget a file.
            Errno::NOSPC | Errno::DQUOT if make_empty(folder, name, &stat)? => {
                calls::remove_file(folder, name)
            }
            errno => Err(errno),
        }),
        FileType::Directory => calls::remove_folder(folder, name),
        _ => return Ok(false),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives the room of a file back, if it is the one that was seen and has no other name: under that it may be somebody else's.
fn make_empty(folder: BorrowedFd<'_>, name: &str, seen: &Stat) -> Result<bool, Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = calls::open(folder, name, flags, Mode::empty())?;
    let stat = calls::stat(&file)?;
    let is_only = (stat.st_dev, stat.st_ino, stat.st_nlink) == (seen.st_dev, seen.st_ino, 1);
    if is_only {
        calls::truncate(file, 0)?;
    }
    Ok(is_only)
}
