//! Noticing what others do to files while they are in use: they are removed, renamed away, replaced, cut, or written to.
//!
//! An open file goes on taking what is written when it has no name any more, and one that was cut grows again with the next
//! write, with a hole where its bytes were. So what was seen of each file is remembered, and compared
//!
//! - before each write with the open file: it has a name, and is no shorter than it was;
//! - at each sync, for what was written, with what is under its name: it is the same file;
//! - when somebody asks ([`Storage::look`](crate::Storage::look)), for all that is in use, a number of files at a time.
//!
//! Only the last tells, file by file, what is lost. Until it did, a file that is not as it was takes no bytes, and none is made
//! in its place: whoever writes has to know first what is not there any more.

use super::places::Places;
use super::refusal::Refusal;
use super::touched::Activity;
use super::{FileStorage, Stamp, calls};
use crate::{FileChange, Operation, StorageError};
use rustix::fs::Stat;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files that one look takes a look at; each costs some microseconds.
const MOST: usize = 256;

/// What was seen of the files that were opened.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Mutex<BTreeMap<usize, Seen>>,
    /// The file that the next look begins with.
    next: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    stamp: Stamp,
    /// The device that its folder is on. Its own may be another number on file systems made of layers.
    disk: u64,
    /// What this storage had done to the file by then.
    activity: Activity,
    /// The file had so many bytes; it is not shorter unless somebody cut it.
    end: u64,
    /// It is not there, as was told.
    is_lost: bool,
}

impl Seen {
    fn of(stamp: Stamp, disk: u64, length: u64, activity: Activity) -> Self {
        Self { stamp, disk, activity, end: stamp.len.min(length), is_lost: false }
    }

    fn is(&self, stamp: &Stamp) -> bool {
        (self.stamp.device, self.stamp.inode) == (stamp.device, stamp.inode)
    }
}

impl Watch {
    /// This storage itself puts something else in the place of the file.
    pub(super) fn forget(&self, index: usize) {
        self.lock().remove(&index);
    }

    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    /// Whether the file was ever seen.
    pub(super) fn knows(&self, index: usize) -> bool {
        self.lock().contains_key(&index)
    }

    fn get(&self, index: usize) -> Option<Seen> {
        self.lock().get(&index).copied()
    }

    /// The file was opened, and is as it was if it was known.
    fn learn(&self, index: usize, seen: Seen) {
        let mut known = self.lock();
        let known = known.entry(index).or_insert(seen);
        known.end = known.end.max(seen.end);
    }

    /// The files of the next look.
    fn turn(&self) -> Vec<(usize, Seen)> {
        let seen = self.lock();
        let from = self.next.load(Ordering::Relaxed);
        let turn: Vec<_> = seen.range(from..).chain(seen.range(..from)).take(MOST).collect();
        let next = turn.last().map_or(0, |(index, _)| **index + 1);
        self.next.store(next, Ordering::Relaxed);
        turn.into_iter().map(|(index, seen)| (*index, *seen)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileStorage {
    /// A file was opened.
    pub(super) fn saw(&self, places: &Places, index: usize, stat: Stat) -> io::Result<()> {
        let disk = match self.watch.get(index) {
            Some(seen) => seen.disk,
            None => self.disk_of(places, index)?,
        };
        let activity = self.deeds.activity(index);
        self.watch.learn(index, Seen::of(stat.into(), disk, self.file(index).length, activity));
        Ok(())
    }

    /// A file was opened for writing.
    pub(super) fn saw_to_write(&self, places: &Places, index: usize, stat: Stat) -> io::Result<()> {
        let now = Stamp::from(stat);
        if let Some(seen) = self.watch.get(index) {
            if self.disk_of(places, index)? != seen.disk {
                return Err(Refusal::Elsewhere.into());
            }
            // Numbers of files on FAT last as long as they are open.
            if seen.is_lost || !seen.is(&now) && !places.root_of(index).forgets() {
                return Err(Refusal::Replaced.into());
            }
            // Its length is compared before each write: another thread may have made it longer since it was looked at here.
        }
        self.saw(places, index, stat)
    }

    /// A file that is not there is about to be made. Not if it was there, and nobody was told that it is gone; nor where its
    /// folder is on another disk than it was.
    pub(super) fn may_make(&self, places: &Places, index: usize) -> io::Result<()> {
        let Some(seen) = self.watch.get(index) else { return Ok(()) };
        if self.disk_of(places, index)? != seen.disk {
            return Err(Refusal::Gone.into());
        }
        if !seen.is_lost {
            // Another thread may have made it just now.
            let is_there = places.find(self.layout(), index).is_ok();
            return if is_there { Ok(()) } else { Err(Refusal::Removed.into()) };
        }
        self.watch.forget(index);
        Ok(())
    }

    /// Before a write to an open file: it has a name, and is no shorter than it was.
    pub(super) fn is_whole(&self, index: usize, fd: impl AsFd) -> io::Result<()> {
        let end = self.watch.get(index).map_or(0, |seen| seen.end);
        let stat = calls::stat(fd)?;
        if stat.st_nlink == 0 {
            return Err(Refusal::Removed.into());
        }
        if Stamp::from(stat).len < end {
            return Err(Refusal::Cut.into());
        }
        Ok(())
    }

    /// After a write: the file has at least so many bytes.
    pub(super) fn wrote_up_to(&self, index: usize, end: u64) {
        if let Some(seen) = self.watch.lock().get_mut(&index) {
            seen.end = seen.end.max(end);
        }
    }

    /// What is to be said of a file that was written and is to be made durable. `Ok(false)`: it is lost, as was told, and there
    /// is nothing to be made durable.
    pub(super) fn is_in_place(&self, places: &Places, index: usize) -> Result<bool, StorageError> {
        let Some(seen) = self.watch.get(index) else { return Ok(true) };
        let failed = |cause| self.error_at(places, Operation::Sync, index, None, cause);
        match places.find(self.layout(), index) {
            Ok(_) if seen.is_lost => Ok(true),
            Ok((_, stat)) if self.is_another(places, index, &seen, &stat.into()) => {
                Err(failed(Refusal::Replaced.into()))
            }
            Ok((_, stat)) if Stamp::from(stat).len < seen.end => Err(failed(Refusal::Cut.into())),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound && seen.is_lost => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failed(Refusal::Removed.into())),
            Err(cause) => Err(failed(cause)),
        }
    }

    /// The folders are where they were, and so are those within that are on other disks.
    pub(super) fn check_disks(&self, places: &Places) -> Result<(), StorageError> {
        let roots = [Some(&places.root), places.next.as_ref().map(|next| &next.root)];
        for root in roots.into_iter().flatten() {
            root.check().map_err(|cause| Self::root_error(Operation::Open, root, cause))?;
        }
        let seen = self.watch.lock().clone();
        let mut elsewhere = seen.iter().filter(|(at, seen)| seen.disk != places.root_of(**at).device());
        elsewhere.try_for_each(|(index, seen)| self.check_disk(places, *index, seen))
    }

    fn check_disk(&self, places: &Places, index: usize, seen: &Seen) -> Result<(), StorageError> {
        match self.disk_of(places, index) {
            Ok(disk) if disk != seen.disk => {
                Err(self.error_at(places, Operation::Open, index, None, Refusal::Gone.into()))
            }
            _ => Ok(()),
        }
    }

    /// The device of the folder that a file is in, or of the one next above that is there.
    fn disk_of(&self, places: &Places, index: usize) -> io::Result<u64> {
        let root = places.root_of(index);
        let path = places.path(self.layout(), index);
        let above = path.rmatch_indices('/').map(|(end, _)| &path[..end]);
        for folder in above {
            match root.stat_name(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                found => return found.map(|stat| stat.st_dev),
            }
        }
        Ok(root.device())
    }

    pub(super) fn look_around(&self) -> Result<Vec<FileChange>, StorageError> {
        let places = self.places();
        self.check_disks(&places)?;
        let mut changes = Vec::new();
        for (index, seen) in self.watch.turn() {
            if !places.is_in_parts(index) {
                changes.extend(self.look_at(&places, index, seen)?);
            }
        }
        Ok(changes)
    }

    fn look_at(&self, places: &Places, index: usize, seen: Seen) -> Result<Option<FileChange>, StorageError> {
        let before = self.deeds.activity(index);
        let now = match places.find(self.layout(), index) {
            Ok((_, stat)) => Stamp::from(stat),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.check_disk(places, index, &seen)?;
                return Ok(self.is_removed(places, index, seen));
            }
            // Whoever reads it is told.
            Err(_) => return Ok(None),
        };
        let changed = FileChange { file: index, from: 0, lost: None };
        if seen.is_lost || self.is_another(places, index, &seen, &now) {
            self.check_disk(places, index, &seen)?;
            self.let_go(index);
            self.watch.learn(index, Seen::of(now, seen.disk, self.file(index).length, before));
            return Ok(Some(changed));
        }
        let is_ours = before.is_busy || before != seen.activity || self.deeds.activity(index) != before;
        let is_same = (now.len, now.mtime_ns) == (seen.stamp.len, seen.stamp.mtime_ns);
        let is_cut = now.len < seen.end;
        if let Some(known) = self.watch.lock().get_mut(&index) {
            known.stamp = now;
            known.activity = before;
            if is_cut {
                known.end = now.len;
            }
        }
        if is_cut {
            let error = self.error_at(places, Operation::Read, index, Some(now.len), Refusal::Cut.into());
            return Ok(Some(FileChange { file: index, from: now.len, lost: Some(error) }));
        }
        Ok((!is_ours && !is_same).then_some(changed))
    }

    /// The file is not there. Told once.
    fn is_removed(&self, places: &Places, index: usize, seen: Seen) -> Option<FileChange> {
        if seen.is_lost {
            return None;
        }
        self.let_go(index);
        self.watch.lock().insert(index, Seen { is_lost: true, end: 0, ..seen });
        let error = self.error_at(places, Operation::Open, index, None, Refusal::Removed.into());
        Some(FileChange { file: index, from: 0, lost: Some(error) })
    }

    /// Whether what has the name is not the file that was opened. Numbers of files on FAT last as long as they are open.
    fn is_another(&self, places: &Places, index: usize, seen: &Seen, now: &Stamp) -> bool {
        let open = self.open_files.peek((self.owner, index));
        match open.and_then(|open| calls::stat(&open.fd).ok()) {
            Some(open) => (open.st_dev, open.st_ino) != (now.device, now.inode),
            None => !seen.is(now) && !places.root_of(index).forgets(),
        }
    }

    /// What was known of a file and is not so any more.
    fn let_go(&self, index: usize) {
        self.open_files.close((self.owner, index));
        self.watch.forget(index);
        self.owners.forget();
        self.sole.forget(index);
    }
}
