//! Torrents of a session that keeps its records elsewhere, and runs too many of them for a locked file each.
//!
//! ```text
//! <info-hash>-<digest of the folder>.session    which lock the session holds for as long as it runs, and its process
//! ```
//!
//! The mark counts as long as that lock is held, so that a session that was killed leaves nothing behind that is in the way.

use super::super::error::StoreError;
use super::super::store::{Key, Lease};
use super::{FileStore, lock};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Takes the right to records for a session, against those who keep theirs in files.
#[derive(Debug)]
pub struct SessionLeases {
    files: FileStore,
    path: PathBuf,
    _lock: lock::Lock,
}

/// The mark of a torrent; it goes when it is dropped.
#[derive(Debug)]
struct Mark(PathBuf);

impl Drop for Mark {
    fn drop(&mut self) {
        // One that stays does no harm when the session is over.
        let _ = fs::remove_file(&self.0);
    }
}

impl SessionLeases {
    /// For a session that holds this lock file for as long as the value lives.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be made.
    pub fn new(files: FileStore, path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let path = std::path::absolute(&path).map_err(|cause| StoreError::io("open", &path, cause))?;
        let _lock = lock::take(&path)?;
        Ok(Self { files, path, _lock })
    }

    /// Keeps those who keep records in files from running a torrent in a folder.
    ///
    /// # Errors
    /// When one of them does.
    pub fn lease(&self, key: &Key) -> Result<Lease, StoreError> {
        let _alone = lock::take(&self.files.file(key, "lock"))?;
        let mark = self.files.file(key, "session");
        let text = format!("{}\n{}", std::process::id(), self.path.display());
        fs::write(&mark, text).map_err(|cause| StoreError::io("write", &mark, cause))?;
        Ok(Lease::new(Mark(mark)))
    }
}

/// Refuses when a session that runs has marked this torrent. To be called by whoever holds its lock.
pub(super) fn check(mark: &Path) -> Result<(), StoreError> {
    let text = match fs::read_to_string(mark) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(StoreError::io("read", mark, cause)),
    };
    // A mark that was being written when the power went says nothing.
    let Some((pid, path)) = text.split_once('\n') else { return Ok(()) };
    match File::open(path).map(|file| file.try_lock_shared()) {
        Ok(Err(TryLockError::WouldBlock)) => {
            Err(StoreError::Locked { path: PathBuf::from(path), by: pid.parse().ok() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::store::Store;
    use super::*;
    use metainfo::TorrentId;

    #[test]
    fn a_session_and_programs_beside_it_keep_off_each_others_torrents() {
        let dir = tempfile::tempdir().unwrap();
        let files = || FileStore::open(dir.path().join("transfers")).unwrap();
        let lock = dir.path().join("session.lock");
        let key = |n: u8| Key { id: TorrentId([n; 20]), dir: "/srv".into() };
        let session = SessionLeases::new(files(), &lock).unwrap();
        assert!(matches!(SessionLeases::new(files(), &lock), Err(StoreError::Locked { .. })));
        let ours = session.lease(&key(1)).unwrap();
        let refused = files().lease(&key(1)).unwrap_err();
        assert_eq!(refused, StoreError::Locked { path: lock, by: Some(std::process::id()) });
        let theirs: Vec<_> = (2..12).map(|n| files().lease(&key(n)).unwrap()).collect();
        assert!(matches!(session.lease(&key(2)), Err(StoreError::Locked { by: Some(_), .. })));
        drop((ours, theirs));
        files().lease(&key(1)).unwrap();
        // A session that was killed: its marks stay, its lock does not.
        std::mem::forget(session.lease(&key(3)).unwrap());
        assert!(files().lease(&key(3)).is_err());
        drop(session);
        files().lease(&key(3)).unwrap();
    }
}
