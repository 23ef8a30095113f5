//! Files that are held open, so that not every read or write opens one.
//!
//! Some systems tell of bytes that could not be written only to whoever had the file open then, or when it is closed. So a file
//! that was written to is closed for another one after all others, and its bytes are made durable before.

use super::calls;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bounded number of open files, shared by any number of storages. The file closed for a new one is one that
/// was not used lately (second chance), and was not written to since the last sync, if there is one.
#[derive(Debug)]
pub struct OpenFiles {
    limit: usize,
    owners: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    index: HashMap<Key, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    file: Arc<OpenFile>,
    used: bool,
}

/// A storage and the index of a file in it.
type Key = (u64, usize);

#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) fd: OwnedFd,
    pub(super) writable: bool,
    /// What its storage is told when it is closed.
    closing: Arc<Closing>,
    /// Whether a sync of its whole file system tells of bytes that could not be written, whoever had it open.
    is_told: bool,
    /// Written to since the last sync.
    is_dirty: AtomicBool,
    /// Not held open any more, but for whoever uses it just now.
    is_closed: AtomicBool,
}

/// What came of files of a storage that were written to and then closed for others.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Only a sync of the whole file system tells whether their bytes are durable.
    pub(super) is_left: AtomicBool,
    /// Some of their bytes could not be written.
    pub(super) is_harmed: AtomicBool,
}

impl OpenFile {
    pub(super) fn new(fd: OwnedFd, writable: bool, closing: Arc<Closing>, is_told: bool) -> Self {
        let (is_dirty, is_closed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { fd, writable, closing, is_told, is_dirty, is_closed }
    }

    /// It was written to.
    pub(super) fn wrote(&self) {
        self.is_dirty.store(true, Ordering::SeqCst);
        if self.is_closed.load(Ordering::SeqCst) {
            self.settle();
        }
    }

    /// Its bytes are made durable now.
    pub(super) fn taken_up(&self) {
        self.is_dirty.store(false, Ordering::SeqCst);
    }

    /// It is closed for another one.
    fn evict(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.settle();
    }

    fn settle(&self) {
        if !self.is_dirty.swap(false, Ordering::SeqCst) {
        } else if self.is_told {
            self.closing.is_left.store(true, Ordering::SeqCst);
        } else if calls::sync_data(&self.fd).is_err() {
            self.closing.is_harmed.store(true, Ordering::SeqCst);
        }
    }

    fn is_dirty(&self) -> bool {
        self.is_dirty.load(Ordering::SeqCst)
    }
}

impl OpenFiles {
    /// Holds at most `limit` files open (at least 1), not counting those that an operation is using just now.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), owners: AtomicU64::new(0), inner: Mutex::default() }
    }

    /// Files held open.
    pub fn len(&self) -> usize {
        self.lock().slots.len()
    }

    /// Whether no file is held open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number for a new storage.
    pub(super) fn owner(&self) -> u64 {
        self.owners.fetch_add(1, Ordering::Relaxed)
    }

    /// The file, if it is open, and for writing if asked.
    pub(super) fn get(&self, key: Key, write: bool) -> Option<Arc<OpenFile>> {
        let mut inner = self.lock();
        let at = *inner.index.get(&key)?;
        let slot = inner.slots.get_mut(at)?;
        if write && !slot.file.writable {
            return None;
        }
        slot.used = true;
        Some(slot.file.clone())
    }

    /// The file, if it is open; that does not count as a use of it.
    pub(super) fn peek(&self, key: Key) -> Option<Arc<OpenFile>> {
        let inner = self.lock();
        inner.slots.get(*inner.index.get(&key)?).map(|slot| slot.file.clone())
    }

    /// Holds a file open, in place of a less able one of the same key.
    pub(super) fn insert(&self, key: Key, file: OpenFile) -> Arc<OpenFile> {
        let file = Arc::new(file);
        let slot = Slot { key, file: file.clone(), used: true };
        // Files are closed after the lock is let go.
        let closed = self.lock().insert(slot, self.limit);
        closed.iter().for_each(|slot| slot.file.evict());
        file
    }

    /// Closes half of the files, because the process has too many. False when there was none to close.
    pub(super) fn close_half(&self) -> bool {
        let mut inner = self.lock();
        let keep = inner.slots.len() / 2;
        let closed = inner.slots.split_off(keep);
        closed.iter().for_each(|slot| {
            inner.index.remove(&slot.key);
        });
        inner.hand = 0;
        drop(inner);
        closed.iter().for_each(|slot| slot.file.evict());
        !closed.is_empty()
    }

    /// Closes a file, if it is open, that is to be opened anew.
    pub(super) fn reopen(&self, key: Key) {
        let file = self.peek(key);
        self.close(key);
        file.iter().for_each(|file| file.evict());
    }

    /// Closes a file, if it is open, whose bytes do not matter any more.
    pub(super) fn close(&self, key: Key) {
        let mut inner = self.lock();
        let closed = inner.index.remove(&key).map(|at| {
            let closed = inner.slots.swap_remove(at);
            if let Some(Slot { key: moved, .. }) = inner.slots.get(at) {
                let moved = *moved;
                inner.index.insert(moved, at);
            }
            closed
        });
        inner.hand = 0;
        drop(inner);
        drop(closed);
    }

    /// Closes all files of a storage.
    pub(super) fn close_all(&self, owner: u64) {
        let mut inner = self.lock();
        let (closed, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut inner.slots).into_iter().partition(|slot| slot.key.0 == owner);
        inner.index = kept.iter().enumerate().map(|(at, slot)| (slot.key, at)).collect();
        inner.slots = kept;
        inner.hand = 0;
        drop(inner);
        drop(closed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Puts the file in; gives the one that left its place.
    fn insert(&mut self, slot: Slot, limit: usize) -> Option<Slot> {
        if let Some(&at) = self.index.get(&slot.key) {
            return Some(std::mem::replace(&mut self.slots[at], slot));
        }
        if self.slots.len() < limit {
            self.index.insert(slot.key, self.slots.len());
            self.slots.push(slot);
            return None;
        }
        // After two rounds none counts as used.
        for _ in 0..2 * self.slots.len() {
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.used) && !slot.file.is_dirty() {
                break;
            }
            self.hand = (self.hand + 1) % self.slots.len();
        }
        let at = self.hand;
        self.hand = (at + 1) % self.slots.len();
        self.index.insert(slot.key, at);
        let closed = std::mem::replace(&mut self.slots[at], slot);
        self.index.remove(&closed.key);
        Some(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(writable: bool) -> OpenFile {
        OpenFile::new(std::fs::File::open("/dev/null").unwrap().into(), writable, Arc::default(), true)
    }

    #[test]
    fn the_file_not_used_lately_is_closed() {
        let files = OpenFiles::new(3);
        (0..3).for_each(|at| drop(files.insert((0, at), file(false))));
        files.insert((0, 3), file(false));
        assert!(files.get((0, 0), false).is_none());
        assert!(files.get((0, 1), false).is_some());
        files.insert((0, 4), file(false));
        assert!(files.get((0, 1), false).is_some());
        assert!(files.get((0, 2), false).is_none());
        assert_eq!(files.len(), 3);
    }

    #[test]
    fn a_file_that_was_written_to_is_closed_last_and_that_is_told() {
        let files = OpenFiles::new(3);
        let closing = Arc::<Closing>::default();
        let dirty = |at| {
            let file = OpenFile { closing: closing.clone(), ..file(true) };
            files.insert((0, at), file).wrote();
        };
        (0..2).for_each(dirty);
        (2..9).for_each(|at| drop(files.insert((0, at), file(false))));
        assert!(files.get((0, 0), true).is_some() && files.get((0, 1), true).is_some());
        assert!(!closing.is_left.load(Ordering::SeqCst));
        (2..4).for_each(dirty);
        assert!(closing.is_left.load(Ordering::SeqCst) && files.len() == 3);
    }

    #[test]
    fn what_is_written_to_a_file_that_was_closed_meanwhile_is_told_too() {
        let (files, closing) = (OpenFiles::new(1), Arc::<Closing>::default());
        let used = files.insert((0, 0), OpenFile { closing: closing.clone(), ..file(true) });
        files.insert((0, 1), file(true));
        assert!(!closing.is_left.load(Ordering::SeqCst));
        used.wrote();
        assert!(closing.is_left.load(Ordering::SeqCst));
    }

    #[test]
    fn a_file_open_for_reading_is_not_given_for_writing() {
        let files = OpenFiles::new(3);
        files.insert((0, 0), file(false));
        assert!(files.get((0, 0), true).is_none());
        files.insert((0, 0), file(true));
        assert!(files.get((0, 0), true).is_some() && files.get((0, 0), false).is_some());
        assert_eq!(files.len(), 1);
    }

    #[test]
    fn one_file_is_closed_and_the_others_stay() {
        let files = OpenFiles::new(3);
        (0..3).for_each(|at| drop(files.insert((0, at), file(false))));
        files.close((0, 0));
        files.close((0, 0));
        assert!(files.get((0, 0), false).is_none());
        assert!(files.get((0, 1), false).is_some() && files.get((0, 2), false).is_some());
        files.close((0, 2));
        assert!(files.get((0, 1), false).is_some() && files.len() == 1);
    }

    #[test]
    fn a_storage_that_ends_closes_its_own_files_only() {
        let files = OpenFiles::new(8);
        (0..6).for_each(|at| drop(files.insert((at as u64 % 2, at), file(false))));
        files.close_all(0);
        assert_eq!(files.len(), 3);
        assert!(files.get((1, 5), false).is_some());
        assert!(files.close_half());
        assert_eq!(files.len(), 1);
    }
}
