//! Keeps programs that know nothing of each other's records off each other's files: the files themselves are locked.
//!
//! What is locked is the torrent's own folder, and what it has beside that: the file of a torrent that is a single one, and files
//! that the user gave another path. Never the folder that torrents lie in, so that other programs may use it for others. It is the
//! kernel's lock of a file (`flock`), which is the same by whatever path one comes to it, and ends with the process. Whoever may
//! write has it alone; those that only read share it.
//!
//! Two torrents of one process may have a folder in common, and who may write what in it is settled there. The kernel would hold
//! them apart, as it gives locks to open files and not to processes, so a process has each lock once.
//!
//! Where there are no such locks, as on some network file systems, one goes on without.

use super::beneath::Root;
use super::opening::PLAIN;
use super::places::Places;
use super::refusal::Refusal;
use super::{FileStorage, calls};
use crate::{Operation, StorageError};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// A device and a file's number on it.
type Inode = (u64, u64);

/// The most locks that a process has, as each takes an open file: this many, and this part of the files that it may have open.
/// What comes later goes on without.
const MOST: u64 = 1024;
const PART: u64 = 8;
/// The most of one torrent.
const MOST_EACH: usize = 16;

/// The locks of this process.
static PROCESS: LazyLock<Arc<Registry>> = LazyLock::new(Arc::default);

/// Locks that are held, by what they are of.
#[derive(Debug, Default)]
struct Registry(Mutex<HashMap<Inode, Lock>>);

#[derive(Debug)]
struct Lock {
    file: OwnedFd,
    is_sole: bool,
    holders: usize,
}

/// A share in a lock.
#[derive(Debug)]
struct Held {
    inode: Inode,
    registry: Arc<Registry>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut locks = self.registry.locks();
        if let Entry::Occupied(mut lock) = locks.entry(self.inode) {
            lock.get_mut().holders -= 1;
            // It is given up before anybody else here can ask for it, and by word: a child process may have the file open for as
            // long as it takes it to become another program.
            if lock.get().holders == 0 {
                let _ = calls::lock(lock.remove().file, FlockOperation::Unlock);
            }
        }
    }
}

/// Another process has it.
#[derive(Debug, PartialEq)]
struct InUse;

impl Registry {
    fn locks(&self) -> MutexGuard<'_, HashMap<Inode, Lock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock of an open file or folder, alone or with others. Nothing where that cannot be had.
    fn hold(self: &Arc<Self>, file: OwnedFd, inode: Inode, is_sole: bool) -> Result<Option<Held>, InUse> {
        let mut locks = self.locks();
        let count = locks.len();
        match locks.entry(inode) {
            Entry::Occupied(mut lock) => {
                let lock = lock.get_mut();
                if is_sole && !lock.is_sole {
                    match take(&lock.file, true) {
                        Ok(true) => lock.is_sole = true,
                        Ok(false) => {}
                        Err(InUse) => {
                            // The system may have taken the old one away.
                            let _ = take(&lock.file, false);
                            return Err(InUse);
                        }
                    }
                }
                lock.holders += 1;
            }
            Entry::Vacant(_) if count >= most() => return Ok(None),
            Entry::Vacant(free) => {
                if !take(&file, is_sole)? {
                    return Ok(None);
                }
                free.insert(Lock { file, is_sole, holders: 1 });
            }
        }
        Ok(Some(Held { inode, registry: self.clone() }))
    }
}

fn most() -> usize {
    let files = getrlimit(Resource::Nofile).current.map_or(MOST, |files| files / PART);
    usize::try_from(files.min(MOST)).unwrap_or(0)
}

/// False where there are no such locks.
fn take(file: &OwnedFd, is_sole: bool) -> Result<bool, InUse> {
    let how = if is_sole {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    match calls::lock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Err(InUse),
        Err(_) => Ok(false),
    }
}

/// What a torrent has locked.
#[derive(Debug)]
pub(super) struct Guard {
    registry: Arc<Registry>,
    held: Mutex<Holding>,
}

#[derive(Debug, Default)]
struct Holding {
    /// Whether files are held alone; `None` as long as they are not held at all.
    is_sole: Option<bool>,
    locks: Vec<Held>,
}

impl Default for Guard {
    fn default() -> Self {
        Self { registry: PROCESS.clone(), held: Mutex::default() }
    }
}

impl Guard {
    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileStorage {
    /// Has other programs kept off the files for as long as this lives: all of them if `is_sole`, as who may write wants it;
    /// else those that may write. Files that are made or moved later are held too.
    ///
    /// # Errors
    /// [`Trouble::InUse`](crate::Trouble::InUse) when another process has one of them; then none is held that was not before.
    pub fn hold(&self, is_sole: bool) -> Result<(), StorageError> {
        let places = self.places();
        let before = {
            let mut holding = self.guard.holding();
            let before = holding.is_sole;
            holding.is_sole = Some(is_sole || before == Some(true));
            before
        };
        let held = self.hold_all(&places);
        if held.is_err() {
            self.guard.holding().is_sole = before;
        }
        held
    }

    /// Holds what is there, and nothing else any more.
    pub(super) fn hold_all(&self, places: &Places) -> Result<(), StorageError> {
        let mut holding = self.guard.holding();
        let Some(is_sole) = holding.is_sole else { return Ok(()) };
        let mut locks = Vec::new();
        for root in [Some(&places.root), places.next.as_ref().map(|next| &next.root)].into_iter().flatten() {
            self.hold_in(places, root, is_sole, &mut locks)?;
        }
        // The old ones go after the new ones are there.
        holding.locks = locks;
        Ok(())
    }

    /// Holds what is there beneath a folder that the torrent is moved to.
    pub(super) fn hold_goal(&self, places: &Places, root: &Root) -> Result<(), StorageError> {
        let mut holding = self.guard.holding();
        let Some(is_sole) = holding.is_sole else { return Ok(()) };
        self.hold_in(places, root, is_sole, &mut holding.locks)
    }

    /// Holds what a file is in that is about to be written, or was just made.
    pub(super) fn hold_file(&self, places: &Places, index: usize) -> Result<(), StorageError> {
        let mut holding = self.guard.holding();
        let Some(is_sole) = holding.is_sole else { return Ok(()) };
        for top in self.tops_of(places, index) {
            self.hold_top(places.root_of(index), &top, is_sole, &mut holding.locks)?;
        }
        Ok(())
    }

    fn hold_in(
        &self,
        places: &Places,
        root: &Root,
        is_sole: bool,
        locks: &mut Vec<Held>,
    ) -> Result<(), StorageError> {
        let stored = self.layout().files().iter().enumerate().filter(|(_, file)| !file.is_pad());
        let tops: BTreeSet<String> = stored.flat_map(|(index, _)| self.tops_of(places, index)).collect();
        tops.into_iter().take(MOST_EACH).try_for_each(|top| self.hold_top(root, &top, is_sole, locks))
    }

    /// What stands for a file: the torrent's own folder, or the file if it is not in that.
    fn tops_of(&self, places: &Places, index: usize) -> Vec<String> {
        let path = places.path(self.layout(), index);
        let own = self.layout().files().get(index).map_or("", |file| file.path.as_str());
        match path.split_once('/') {
            Some((top, _)) if own.split_once('/').is_some_and(|(own, _)| own == top) => vec![top.to_owned()],
            _ => places.paths(self.layout(), index).map(String::from).collect(),
        }
    }

    /// What is not there, or is neither a file nor a folder, is not held.
    fn hold_top(
        &self,
        root: &Root,
        top: &str,
        is_sole: bool,
        locks: &mut Vec<Held>,
    ) -> Result<(), StorageError> {
        let Ok(seen) = root.stat_name(top) else { return Ok(()) };
        let kind = FileType::from_raw_mode(seen.st_mode);
        let is_held = |inode: Inode| locks.iter().any(|lock| lock.inode == inode);
        if !(kind.is_dir() || kind.is_file()) || is_held((seen.st_dev, seen.st_ino)) {
            return Ok(());
        }
        let Ok(file) = root.open_at(top, OFlags::RDONLY | PLAIN, Mode::empty()) else { return Ok(()) };
        let Ok(stat) = calls::stat(&file) else { return Ok(()) };
        match self.guard.registry.hold(file, (stat.st_dev, stat.st_ino), is_sole) {
            Ok(held) => locks.extend(held),
            Err(InUse) => return Err(Refusal::InUse.error(Operation::Open, root.show(top))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::path::Path;

    fn registry() -> Arc<Registry> {
        Arc::default()
    }

    fn hold(registry: &Arc<Registry>, path: &Path, is_sole: bool) -> Result<Held, InUse> {
        let file = calls::open(CWD, path, OFlags::RDONLY | PLAIN, Mode::empty()).unwrap();
        let stat = calls::stat(&file).unwrap();
        Ok(registry.hold(file, (stat.st_dev, stat.st_ino), is_sole)?.expect("files can be locked here"))
    }

    #[test]
    fn a_process_may_have_a_lock_twice_and_another_one_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (registry(), registry());
        let first = hold(&own, dir.path(), true).unwrap();
        let second = hold(&own, dir.path(), false).unwrap();
        for held in [first, second] {
            assert_eq!(hold(&other, dir.path(), true).unwrap_err(), InUse);
            assert_eq!(hold(&other, dir.path(), false).unwrap_err(), InUse);
            drop(held);
        }
        assert!(hold(&other, dir.path(), true).is_ok());
    }

    #[test]
    fn those_that_read_share_a_lock_and_keep_it_when_they_cannot_have_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (registry(), registry());
        let held = hold(&own, dir.path(), false).unwrap();
        let others = hold(&other, dir.path(), false).unwrap();
        assert_eq!(hold(&own, dir.path(), true).unwrap_err(), InUse);
        assert_eq!(hold(&other, dir.path(), true).unwrap_err(), InUse);
        drop(others);
        let alone = hold(&own, dir.path(), true).unwrap();
        assert_eq!(hold(&other, dir.path(), false).unwrap_err(), InUse);
        drop((held, alone));
        assert!(hold(&other, dir.path(), true).is_ok());
    }
}
