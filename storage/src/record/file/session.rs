//! Torrents of a session that keeps its records elsewhere, and runs too many of them for a locked file each.
//!
//! ```text
//! <info-hash>-<digest of the folder>.session    which lock the session holds for as long as it runs, and its process
//! names-<digest of the folder and a name>.session the same of a name of files
//! ```
//!
//! The mark counts as long as that lock is held, so that a session that was killed leaves nothing behind that is in the way.

use super::super::error::StoreError;
use super::super::store::{Key, Lease};
use super::lock::{holder_line, read_holder};
use super::names::Names;
use super::{FileStore, lock};
use metainfo::TorrentId;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Takes the right to records for a session, against those who keep theirs in files.
#[derive(Debug)]
pub struct SessionLeases {
    files: FileStore,
    path: PathBuf,
    names: Arc<Names>,
    _lock: lock::Lock,
}

/// The mark of a torrent or a name; it goes when it is dropped.
#[derive(Debug)]
struct Mark {
    path: PathBuf,
    text: Vec<u8>,
}

impl Drop for Mark {
    fn drop(&mut self) {
        // One that stays does no harm when the session is over. One that is another session's by now is not ours to remove.
        if read(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
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
        let _lock = lock::take(&path, None)?;
        Ok(Self { files, path, names: Arc::default(), _lock })
    }

    /// Keeps those who keep records in files from running a torrent in a folder.
    ///
    /// # Errors
    /// When one of them does, or another session.
    pub fn lease(&self, key: &Key) -> Result<Lease, StoreError> {
        let file = |what| self.files.file(key, what);
        self.mark(&file("lock"), file("session"), None).map(Lease::new)
    }

    /// Keeps them from writing to files of these names; see [`Store::lease_names`](super::Store::lease_names).
    ///
    /// # Errors
    /// When one of them does, or another session.
    pub fn lease_names(&self, id: TorrentId, dir: &Path, names: &[OsString]) -> Result<Lease, StoreError> {
        let taken = self.names.take(dir, names, |stem| {
            let file = |what| self.files.names_file(stem, what);
            self.mark(&file("lock"), file("session"), Some(id))
        });
        taken.map(Lease::new)
    }

    fn mark(&self, lock: &Path, path: PathBuf, torrent: Option<TorrentId>) -> Result<Mark, StoreError> {
        let _alone = lock::take(lock, torrent)?;
        check(&path, Some(&self.path))?;
        let text = [holder_line(torrent).as_bytes(), self.path.as_os_str().as_bytes()].concat();
        fs::write(&path, &text).map_err(|cause| StoreError::io("write", &path, cause))?;
        Ok(Mark { path, text })
    }
}

/// Refuses when a session that runs, other than the one with the lock `own`, has left this mark, or that cannot be found out.
/// To be called by whoever holds the lock beside it.
pub(super) fn check(mark: &Path, own: Option<&Path>) -> Result<(), StoreError> {
    let text = match read(mark) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(StoreError::io("read", mark, cause)),
    };
    // A mark that was being written when the power went says nothing.
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else { return Ok(()) };
    let (line, path) = text.split_at(end);
    let path = Path::new(OsStr::from_bytes(path.get(1..).unwrap_or_default()));
    if own == Some(path) {
        return Ok(());
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(StoreError::io("open", path, cause)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let (by, torrent) = read_holder(&String::from_utf8_lossy(line));
            Err(StoreError::Locked { path: path.to_owned(), by, torrent })
        }
        Err(TryLockError::Error(cause)) => Err(StoreError::io("lock", path, cause)),
    }
}

fn read(mark: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(mark)?.take(MAX_MARK).read_to_end(&mut text)?;
    Ok(text)
}

/// Longer than any path.
const MAX_MARK: u64 = 64 * 1024;

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
        assert_eq!(refused, StoreError::Locked { path: lock, by: Some(std::process::id()), torrent: None });
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

    #[test]
    fn a_mark_that_cannot_be_followed_keeps_others_off() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join(OsStr::from_bytes(b"state \xff\n"));
        fs::create_dir(&odd).unwrap();
        let files = || FileStore::open(odd.join("transfers")).unwrap();
        let key = Key { id: TorrentId([1; 20]), dir: "/srv".into() };
        let session = SessionLeases::new(files(), odd.join("session.lock")).unwrap();
        let other = SessionLeases::new(files(), odd.join("other.lock")).unwrap();
        let ours = session.lease(&key).unwrap();
        let locked = |error: StoreError| match error {
            StoreError::Locked { path, by, .. } => {
                path == odd.join("session.lock") && by == Some(std::process::id())
            }
            _ => false,
        };
        assert!(locked(files().lease(&key).unwrap_err()));
        assert!(locked(other.lease(&key).unwrap_err()));
        // A lock that cannot be opened may be held: a loop of links stands for any reason.
        let mark = files().file(&key, "session");
        let circle = dir.path().join("circle");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        fs::write(&mark, [b"1\n", circle.as_os_str().as_bytes()].concat()).unwrap();
        assert!(matches!(files().lease(&key), Err(StoreError::Io { doing: "open", .. })));
        // It is not the session's own mark any more.
        drop(ours);
        assert!(mark.exists());
        fs::write(&mark, [b"1\n", dir.path().join("gone").as_os_str().as_bytes()].concat()).unwrap();
        files().lease(&key).unwrap();
    }
}
