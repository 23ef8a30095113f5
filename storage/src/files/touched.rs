//! What this storage did to its files, so that what others did can be told from it.

use super::{FileStorage, Stamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What this storage did to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Touched {
    /// It wrote to it, or does so just now.
    pub written: bool,
    /// It made it, because it was not there.
    pub made: bool,
    /// It made it of what the part file had, or moved the part file that has bytes of it.
    pub folded: bool,
    /// It gave it another name, or a second one.
    pub named: bool,
    /// It gave it another place, or bytes of its own: how the file was before, and after.
    pub moved: Option<(Stamp, Stamp)>,
}

/// How often this storage began and ended to do something to a file, and whether it writes to it just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Activity {
    count: u32,
    pub(super) is_busy: bool,
}

#[derive(Debug)]
pub(super) struct Deeds {
    /// A word per file: how many writes go on, and the bits below.
    files: Box<[AtomicU64]>,
    /// For each file, how many writes and other deeds began or ended.
    counts: Box<[AtomicU32]>,
    /// The part file was written to, and so all files of which it has bytes.
    parts: AtomicBool,
    /// Files that were moved, and how they looked before and after.
    moves: Mutex<HashMap<usize, (Stamp, Stamp)>>,
}

const WRITTEN: u64 = 1 << 63;
const MADE: u64 = 1 << 62;
const FOLDED: u64 = 1 << 61;
const NAMED: u64 = 1 << 60;
/// All that is not a count of writes.
const BITS: u64 = WRITTEN | MADE | FOLDED | NAMED;

impl Deeds {
    pub(super) fn new(files: usize) -> Self {
        Self {
            files: (0..files).map(|_| AtomicU64::new(0)).collect(),
            counts: (0..files).map(|_| AtomicU32::new(0)).collect(),
            parts: AtomicBool::new(false),
            moves: Mutex::default(),
        }
    }

    /// Says that a file is written to until the guard is dropped.
    pub(super) fn writing(&self, index: usize) -> WritingTo<'_> {
        let word = self.files.get(index).zip(self.counts.get(index));
        if let Some((word, count)) = word {
            word.fetch_add(1, Ordering::SeqCst);
            count.fetch_add(1, Ordering::SeqCst);
        }
        WritingTo(word)
    }

    /// What it did to a file so far.
    pub(super) fn activity(&self, index: usize) -> Activity {
        let word = self.files.get(index).map_or(0, |word| word.load(Ordering::SeqCst));
        let count = self.counts.get(index).map_or(0, |count| count.load(Ordering::SeqCst));
        Activity { count, is_busy: word & !BITS != 0 }
    }

    pub(super) fn made(&self, index: usize) {
        self.note(index, MADE | WRITTEN);
    }

    pub(super) fn named(&self, index: usize) {
        // That is not looked at as if it had been written to.
        if let Some(word) = self.files.get(index) {
            word.fetch_or(NAMED, Ordering::SeqCst);
        }
    }

    pub(super) fn folded(&self, index: usize) {
        self.note(index, FOLDED);
    }

    /// A file that looked like the one looks like the other now. To be called before anybody else may look where it is.
    pub(super) fn moved(&self, index: usize, from: Stamp, to: Stamp) {
        self.note(index, 0);
        let is_written =
            self.files.get(index).is_some_and(|word| word.load(Ordering::SeqCst) & !(FOLDED | NAMED) != 0);
        let mut moves = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        let first = match moves.get(&index) {
            // Nobody else changed it between the two moves.
            Some((first, last)) if last.is_same(&from) || is_written && last.inode == from.inode => *first,
            _ => from,
        };
        moves.insert(index, (first, to));
    }

    pub(super) fn parts_written(&self) {
        self.parts.store(true, Ordering::SeqCst);
    }

    fn note(&self, index: usize, bits: u64) {
        if let Some((word, count)) = self.files.get(index).zip(self.counts.get(index)) {
            word.fetch_or(bits, Ordering::SeqCst);
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A write that goes on.
pub(super) struct WritingTo<'a>(Option<(&'a AtomicU64, &'a AtomicU32)>);

impl Drop for WritingTo<'_> {
    fn drop(&mut self) {
        if let Some((word, count)) = self.0 {
            count.fetch_add(1, Ordering::SeqCst);
            // The bit first: there is no moment at which neither tells of the write.
            word.fetch_or(WRITTEN, Ordering::SeqCst);
            word.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl FileStorage {
    /// What it did to each file of the layout since it was asked last, and how each looks now, as
    /// [`FileStorage::file_stamps`] tells. Each change of a stamp that is its own is explained by this or by the next call.
    pub fn take_touched(&self) -> (Vec<Touched>, Vec<Option<Stamp>>) {
        // No file gets another place in between.
        let places = self.places();
        let are_parts_written = self.deeds.parts.swap(false, Ordering::SeqCst);
        let mut moves = std::mem::take(&mut *self.deeds.moves.lock().unwrap_or_else(PoisonError::into_inner));
        let words = self.deeds.files.iter().enumerate();
        let taken = words.map(|(index, word)| (index, word.fetch_and(!BITS, Ordering::SeqCst)));
        let touched = taken.map(|(index, deeds)| Touched {
            written: deeds & !(MADE | FOLDED | NAMED) != 0 || are_parts_written && self.has_parts_of(index),
            made: deeds & MADE != 0,
            folded: deeds & FOLDED != 0,
            named: deeds & NAMED != 0,
            moved: moves.remove(&index),
        });
        // In this order: what is written in between is explained by the next call.
        let touched = touched.collect();
        (touched, self.looks_in(&places).0)
    }

    /// The part file is at another place.
    pub(super) fn note_parts_moved(&self) {
        let files = 0..self.layout().files().len();
        files.filter(|index| self.has_parts_of(*index)).for_each(|index| self.deeds.folded(index));
    }
}
