//! Moving a file to another file system: a copy under a name of its own, made durable, and then the right name for it.

use super::{len, open, rename, sync_names};
use crate::files::beneath::Root;
use crate::files::places::Places;
use crate::files::scratch::Purpose;
use crate::files::{FileStorage, calls, copy};
use crate::{Operation, StorageError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Rounds of copying a file that is written meanwhile, before writers have to wait for it.
const ROUNDS: usize = 3;

impl FileStorage {
    /// Copies a file and removes the old one. Nothing if it was stopped; otherwise what could not be removed.
    pub(super) fn copy_over(
        &self,
        index: usize,
        path: &str,
        on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Option<PathBuf>>, StorageError> {
        let scratch = self.scratch(path, Purpose::Move);
        for round in 0..=ROUNDS {
            self.stale.store(false, Ordering::SeqCst);
            self.copying.store(index, Ordering::SeqCst);
            // Only to wait until those that write just now have done so, or, in the last round, to keep them out.
            let fence = Some(self.places_mut()).filter(|_| round == ROUNDS);
            if fence.is_some() {
                // What was written before they were kept out is copied now.
                self.stale.store(false, Ordering::SeqCst);
            }
            let copying = match &fence {
                Some(places) => self.open_copy(places, path, &scratch)?,
                None => self.open_copy(&self.places(), path, &scratch)?,
            };
            let copied = copying.run(on);
            let mut places = fence.unwrap_or_else(|| self.places_mut());
            let copied = copied.and_then(|copied| match copied {
                Some(_) if self.stale.load(Ordering::SeqCst) => Ok(None),
                Some(len) => self.take_copy(&mut places, index, path, &copying.to, len).map(Some),
                None => Ok(Some(None)),
            });
            self.copying.store(usize::MAX, Ordering::SeqCst);
            if !matches!(copied, Ok(Some(Some(_))))
                && let Some(next) = &places.next
            {
                self.drop_scratch(&next.root, &scratch);
            }
            match copied? {
                Some(Some(left_behind)) => return Ok(Some(left_behind)),
                Some(None) => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    }

    fn open_copy(&self, places: &Places, path: &str, scratch: &str) -> Result<Copying, StorageError> {
        let next = places.next.as_ref().map_or(&places.root, |next| &next.root);
        let (old, new) = (places.root.show(path), next.show(path));
        let from = open(&places.root, path)
            .map_err(|cause| StorageError::new(Operation::Open, &old, None, cause))?;
        let to = self
            .make_scratch(next, scratch)
            .map_err(|cause| StorageError::new(Operation::Create, &new, None, cause))?;
        Ok(Copying { from, to, old, new })
    }

    /// Puts a durable copy in the place of the file.
    fn take_copy(
        &self,
        places: &mut Places,
        index: usize,
        path: &str,
        to: &OwnedFd,
        copied: u64,
    ) -> Result<Option<Option<PathBuf>>, StorageError> {
        let Some(next) = places.next.as_mut() else { return Ok(None) };
        let goal = |operation, cause| StorageError::new(operation, next.root.show(path), None, cause);
        let stats = (|| Ok((places.root.stat_file(path)?, calls::stat(to)?)))();
        // What somebody wrote while it was copied shows in its stamp.
        let (source, copy) = stats.map_err(|cause| goal(Operation::Stat, cause))?;
        let (was, is) = (len(&source), len(&copy));
        if was != is || is != copied {
            let cause = io::Error::other(format!("the copy has {is} bytes, the file {was}"));
            return Err(goal(Operation::Rename, cause));
        }
        let scratch = self.scratch(path, Purpose::Move);
        rename(&next.root, &scratch, &next.root, path).map_err(|cause| goal(Operation::Rename, cause))?;
        // The name, and those of all folders on the way, are durable before the old copy goes.
        sync_names(&next.root, path).map_err(|cause| goal(Operation::Sync, cause))?;
        next.moved[index] = true;
        self.deeds.moved(index, places.root.lasting(source), next.root.lasting(copy));
        self.open_files.close((self.owner, index));
        self.watch.forget(index);
        Ok(Some(self.drop_source(&places.root, path)))
    }

    /// Removes the old copy of a file; gives its path when that fails.
    pub(super) fn drop_source(&self, root: &Root, path: &str) -> Option<PathBuf> {
        match root.in_folder_of(path, |folder, name| Ok(calls::remove_file(folder, name)?)) {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => Some(root.show(path)),
        }
    }
}

/// A file and the copy that is made of it.
struct Copying {
    from: OwnedFd,
    to: OwnedFd,
    /// Both as a person would name them.
    old: PathBuf,
    new: PathBuf,
}

impl Copying {
    /// The length of what was copied and is durable now; nothing if it was stopped.
    fn run(&self, on: &mut dyn FnMut(u64) -> bool) -> Result<Option<u64>, StorageError> {
        let failed = |operation, cause| {
            let path = if operation == Operation::Read { &self.old } else { &self.new };
            StorageError::new(operation, path, None, cause)
        };
        let copied = copy::contents(self.from.as_fd(), self.to.as_fd(), on)
            .map_err(|copy::Failed { operation, cause }| failed(operation, cause))?;
        if copied.is_some() {
            calls::sync(&self.to).map_err(|errno| failed(Operation::Sync, errno.into()))?;
        }
        Ok(copied)
    }
}
