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
use super::held::{Held, Other, Right, right, right_to_name};
use super::lock::{holder_line, read_holder};
use super::names::{Names, stem};
use super::{FileStore, held, lock};
use metainfo::TorrentId;
use std::collections::HashSet;
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
    held: Arc<Held>,
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
        let held = Arc::new(Held::new(files.dir(), &path));
        Ok(Self { files, path, names: Arc::default(), held, _lock })
    }

    /// Keeps those who keep records in files from running a torrent in a folder.
    ///
    /// # Errors
    /// When one of them does, or another session.
    pub fn lease(&self, key: &Key) -> Result<Lease, StoreError> {
        let file = |what| self.files.file(key, what);
        self.mark(&file("lock"), file("session"), None, &right(key)).map(Lease::new)
    }

    /// Keeps them from writing to files of these names; see [`Store::lease_names`](super::Store::lease_names).
    ///
    /// # Errors
    /// When one of them does, or another session.
    pub fn lease_names(&self, id: TorrentId, dir: &Path, names: &[OsString]) -> Result<Lease, StoreError> {
        let taken = self.names.take(dir, names, |stem, name| {
            let file = |what| self.files.names_file(stem, what);
            self.mark(&file("lock"), file("session"), Some(id), &right_to_name(dir, name))
        });
        taken.map(Lease::new)
    }

    /// The same for many torrents that are not open, in one file.
    pub fn lease_all(&self, wanted: &[(Key, Vec<OsString>)]) -> Vec<Result<Lease, StoreError>> {
        let rights = wanted.iter().map(|(key, names)| {
            let names = names.iter().map(|name| right_to_name(&key.dir, name));
            std::iter::once(right(key)).chain(names).collect()
        });
        let taken = self
            .held
            .take(rights.collect())
            .and_then(|shares| Ok((shares, self.held.others()?, self.files_there()?)));
        match taken {
            Err(error) => wanted.iter().map(|_| Err(error.clone())).collect(),
            Ok((shares, others, there)) => {
                let looked = wanted.iter().zip(shares).map(|((key, names), share)| {
                    self.look(key, names, &others, &there).map(|()| Lease::new(share))
                });
                looked.collect()
            }
        }
    }

    /// Refuses a torrent that somebody else runs, or has names of.
    fn look(
        &self,
        key: &Key,
        names: &[OsString],
        others: &[Other],
        there: &HashSet<OsString>,
    ) -> Result<(), StoreError> {
        for other in others {
            other.check(&right(key))?;
            names.iter().try_for_each(|name| other.check(&right_to_name(&key.dir, name)))?;
        }
        if there.is_empty() {
            return Ok(());
        }
        let is_there = |path: &Path| path.file_name().is_some_and(|name| there.contains(name));
        let own = |what: &str| self.files.file(key, what);
        let others = names.iter().map(|name| stem(&key.dir, name));
        let others = others
            .map(|stem| (self.files.names_file(&stem, "lock"), self.files.names_file(&stem, "session")));
        for (lock, mark) in std::iter::once((own("lock"), own("session"))).chain(others) {
            if is_there(&lock) {
                lock::take(&lock, Some(key.id))?;
            }
            if is_there(&mark) {
                check(&mark, Some(&self.path))?;
            }
        }
        Ok(())
    }

    /// Locks and marks of anybody.
    fn files_there(&self) -> Result<HashSet<OsString>, StoreError> {
        let failed = |cause| StoreError::io("read", self.files.dir(), cause);
        let mut there = HashSet::new();
        for entry in fs::read_dir(self.files.dir()).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if Path::new(&name).extension().is_some_and(|end| end == "lock" || end == "session") {
                there.insert(name);
            }
        }
        Ok(there)
    }

    fn mark(
        &self,
        lock: &Path,
        path: PathBuf,
        torrent: Option<TorrentId>,
        right: &Right,
    ) -> Result<Mark, StoreError> {
        let _alone = lock::take(lock, torrent)?;
        check(&path, Some(&self.path))?;
        held::check(self.files.dir(), Some(&self.held), right)?;
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
    match holder_of(path)? {
        None => Ok(()),
        Some(Running) => {
            let (by, torrent) = read_holder(&String::from_utf8_lossy(line));
            Err(StoreError::Locked { path: path.to_owned(), by, torrent })
        }
    }
}

/// A session that runs.
pub(super) struct Running;

/// Whether the session with this lock runs.
pub(super) fn holder_of(lock: &Path) -> Result<Option<Running>, StoreError> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(StoreError::io("open", lock, cause)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(Running)),
        Err(TryLockError::Error(cause)) => Err(StoreError::io("lock", lock, cause)),
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
    fn many_torrents_are_kept_off_by_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = || FileStore::open(dir.path().join("transfers")).unwrap();
        let lock = dir.path().join("session.lock");
        let key = |n: u8| Key { id: TorrentId([n; 20]), dir: "/srv".into() };
        let name = |n: u8| OsString::from(format!("name {}", n / 2));
        let session = SessionLeases::new(files(), &lock).unwrap();
        let theirs =
            (files().lease(&key(7)).unwrap(), files().lease_names(key(50).id, Path::new("/srv"), &[name(9)]));
        let wanted: Vec<_> = (0..20).map(|n| (key(n), vec![name(n)])).collect();
        let mut leases = session.lease_all(&wanted);
        let refused: Vec<_> = (0..20).filter(|n| leases[*n].is_err()).collect();
        assert_eq!(refused, [7, 8, 9], "one that is run, and two of a name that is written");
        drop(theirs);
        let count = fs::read_dir(dir.path().join("transfers")).unwrap().count();
        assert_eq!(count, 1, "the folder of that file");
        let is_taken = |n: u8| {
            let locked =
                StoreError::Locked { path: lock.clone(), by: Some(std::process::id()), torrent: None };
            match files().lease(&key(n)) {
                Ok(_) => false,
                Err(error) => error == locked || panic!("{error}"),
            }
        };
        let is_name_taken = |n: u8| files().lease_names(key(50).id, Path::new("/srv"), &[name(n)]).is_err();
        assert!(is_taken(0) && is_taken(19) && !is_taken(7) && !is_taken(20));
        // Of the session itself, nobody keeps it off.
        drop(session.lease(&key(0)).unwrap());
        drop(leases.remove(0));
        assert!(!is_taken(0) && is_taken(1) && is_name_taken(0), "it is shared");
        drop(leases.remove(0));
        assert!(!is_taken(1) && !is_name_taken(0));
        leases.extend(session.lease_all(&wanted[..2]));
        assert!(is_taken(0) && is_name_taken(1));
        // Another session is kept off, one by one and all at once.
        let other = SessionLeases::new(files(), dir.path().join("other.lock")).unwrap();
        assert!(other.lease(&key(0)).is_err() && other.lease(&key(30)).is_ok());
        let outcomes =
            other.lease_all(&[(key(1), Vec::new()), (key(30), Vec::new()), (key(31), vec![name(1)])]);
        assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
        // A session that was killed: its file stays, its lock does not.
        let held = session.held.clone();
        drop(session);
        assert!(!is_taken(0) && !is_name_taken(0) && files().lease(&key(30)).is_err());
        drop((leases, held, outcomes, other));
        assert_eq!(fs::read_dir(dir.path().join("transfers/sessions")).unwrap().count(), 0);
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
