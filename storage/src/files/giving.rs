//! Giving the bytes of a file to another name: shared, under a second name, or as a copy.

use super::beneath::Root;
use super::scratch::Purpose;
use super::{FileStorage, calls, copy};
use crate::{LinkMode, Operation, StorageError};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A way to give bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Clone,
    Link,
    Copy,
}

impl Way {
    /// The ways that a mode allows, the best first.
    pub(super) fn of(mode: LinkMode) -> &'static [Self] {
        match mode {
            LinkMode::Auto => &[Self::Clone, Self::Link],
            LinkMode::Hard => &[Self::Link],
            LinkMode::Reflink => &[Self::Clone],
            LinkMode::Copy => &[Self::Copy],
        }
    }
}

/// A file whose bytes are given.
pub(super) struct Source<'a> {
    pub(super) bytes: OwnedFd,
    pub(super) folder: BorrowedFd<'a>,
    pub(super) name: &'a Path,
    /// As a person would name it.
    pub(super) shown: &'a Path,
}

impl FileStorage {
    /// Gives a file to a path where nothing is, in a folder that is there, in the first of these ways that can be. Gives that way. `index` is the file's.
    pub(super) fn give(
        &self,
        from: &Source<'_>,
        to: &Root,
        path: &str,
        index: usize,
        ways: &[Way],
    ) -> Result<Way, StorageError> {
        let none = StorageError::new(Operation::Link, to.show(path), None, Errno::OPNOTSUPP.into());
        let mut last = Err(none);
        for way in ways {
            let given = match way {
                Way::Link => Self::link_at(from, to, path),
                Way::Clone | Way::Copy => self.copy_in(to, path, from, index, *way),
            };
            last = given.map(|()| *way);
            if !last.as_ref().is_err_and(is_impossible) {
                break;
            }
        }
        last
    }

    fn link_at(from: &Source<'_>, to: &Root, path: &str) -> Result<(), StorageError> {
        let failed = |operation| move |cause| StorageError::new(operation, to.show(path), None, cause);
        to.in_folder_of(path, |folder, name| {
            calls::link(from.folder, from.name, folder, name)?;
            // Somebody may have put another file in the place of the one that was looked at.
            let (given, meant) = (calls::stat_name(folder, name)?, calls::stat(&from.bytes)?);
            if (given.st_dev, given.st_ino) != (meant.st_dev, meant.st_ino) {
                calls::remove_file(folder, name)?;
                return Err(io::Error::other("the file was replaced meanwhile"));
            }
            Ok(())
        })
        .map_err(failed(Operation::Link))
    }

    /// Copies a file under a name of its own, and gives it the right one when it is whole.
    fn copy_in(
        &self,
        root: &Root,
        path: &str,
        from: &Source<'_>,
        index: usize,
        way: Way,
    ) -> Result<(), StorageError> {
        let goal = |operation, cause| StorageError::new(operation, root.show(path), None, cause);
        let scratch = self.scratch(path, Purpose::Give);
        self.drop_scratch(root, &scratch);
        let made = self.make_at(root, &scratch, path, index).map_err(|cause| goal(Operation::Create, cause));
        let copied = made.and_then(|to| match way {
            Way::Clone => copy::clone(from.bytes.as_fd(), to.as_fd())
                .map_err(|errno| goal(Operation::Link, errno.into())),
            _ => copy::contents(from.bytes.as_fd(), to.as_fd(), &mut |_| true).map(drop).map_err(
                |copy::Failed { operation, cause }| match operation {
                    Operation::Read => StorageError::new(operation, from.shown, None, cause),
                    operation => goal(operation, cause),
                },
            ),
        });
        let named = copied.and_then(|()| {
            super::relocate::rename(root, &scratch, root, path)
                .map_err(|cause| goal(Operation::Rename, cause))
        });
        if named.is_err() {
            self.drop_scratch(root, &scratch);
        }
        named
    }
}

/// Whether the file systems cannot do it this way.
fn is_impossible(error: &StorageError) -> bool {
    let errno = error.cause.raw_os_error().map(Errno::from_raw_os_error);
    let refusals =
        [Errno::XDEV, Errno::PERM, Errno::OPNOTSUPP, Errno::MLINK, Errno::NOSYS, Errno::INVAL, Errno::NOTTY];
    error.operation == Operation::Link && errno.is_some_and(|errno| refusals.contains(&errno))
}
