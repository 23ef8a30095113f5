//! A lock that ends with whoever holds it, however that ends.

use super::super::error::StoreError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A locked file that names its holder.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked nobody else takes this file for the lock; who waits at it sees that it is gone. If it cannot be
        // removed, the next one uses it again.
        let _ = fs::remove_file(&self.path);
    }
}

/// Locks the file, or says who has.
pub(super) fn take(path: &Path) -> Result<Lock, StoreError> {
    loop {
        let opened =
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = opened.map_err(|cause| StoreError::io("open", path, cause))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StoreError::Locked { path: path.to_owned(), by: holder(&mut file) });
            }
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(StoreError::io("lock", path, errno.into())),
        }
        if is_in_place(&file, path) {
            // A name of the holder is a kindness, not a need.
            let _ = file.set_len(0);
            let _ = file.rewind().and_then(|()| writeln!(file, "{}", std::process::id()));
            return Ok(Lock { path: path.to_owned(), _file: file });
        }
    }
}

/// Whether the file is still the one of that name: its last holder removes it.
fn is_in_place(file: &File, path: &Path) -> bool {
    let same = |own: fs::Metadata, named: fs::Metadata| (own.dev(), own.ino()) == (named.dev(), named.ino());
    file.metadata().ok().zip(fs::metadata(path).ok()).is_some_and(|(own, named)| same(own, named))
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
