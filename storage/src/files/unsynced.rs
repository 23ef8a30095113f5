//! What to write again after a sync failed.
//!
//! When a system cannot write a page to the disk it says so at the next sync, once, and then takes the page for written: a second
//! sync that succeeds proves nothing about it. So what was written since the last sync that did all is remembered, a chunk
//! at a time, and after a failure it is read back from the system's cache and written anew before the next attempt.

use super::FileStorage;
use super::places::Places;
use super::slices::{Reading, Writing};
use crate::{Operation, StorageError};
use std::io::{IoSlice, IoSliceMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes that are remembered by one bit.
const CHUNK: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Unsynced {
    /// A bit per chunk of the piece space: written since the last sync that did all.
    chunks: Box<[AtomicU64]>,
    /// Whether a sync failed since.
    is_doubtful: AtomicBool,
}

impl Unsynced {
    /// For a piece space of this many bytes.
    pub(super) fn new(total: u64) -> Self {
        let words = usize::try_from(total.div_ceil(CHUNK).div_ceil(64)).unwrap_or(0);
        Self { chunks: (0..words).map(|_| AtomicU64::new(0)).collect(), is_doubtful: AtomicBool::new(false) }
    }

    /// Bytes of the piece space are written now.
    pub(super) fn note(&self, start: u64, len: u64) {
        for chunk in start / CHUNK..(start + len).div_ceil(CHUNK) {
            if let Some(word) = usize::try_from(chunk / 64).ok().and_then(|at| self.chunks.get(at)) {
                let bit = 1 << (chunk % 64);
                if word.load(Ordering::Relaxed) & bit == 0 {
                    word.fetch_or(bit, Ordering::Release);
                }
            }
        }
    }

    /// A sync begins: what was written before, and none of it counts any more.
    pub(super) fn take(&self) -> Vec<u64> {
        self.chunks.iter().map(|word| word.swap(0, Ordering::AcqRel)).collect()
    }

    /// The sync failed.
    pub(super) fn put_back(&self, taken: &[u64]) {
        self.is_doubtful.store(true, Ordering::Release);
        for (word, bits) in self.chunks.iter().zip(taken) {
            word.fetch_or(*bits, Ordering::AcqRel);
        }
    }

    /// Whether nothing was written that is not durable.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_doubtful() && self.chunks.iter().all(|word| word.load(Ordering::Acquire) == 0)
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Ordering::Acquire)
    }

    fn chunks(&self) -> Vec<u64> {
        let words = self.chunks.iter().map(|word| word.load(Ordering::Acquire));
        (0u64..)
            .zip(words)
            .flat_map(|(at, bits)| {
                (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| at * 64 + bit)
            })
            .collect()
    }
}

impl FileStorage {
    /// Writes again what a failed sync may have lost. Nobody else may write meanwhile, or old bytes would replace new ones.
    pub(super) fn write_again(&self, places: &mut Places) -> Result<(), StorageError> {
        let mut buffer = vec![0; CHUNK as usize];
        for chunk in self.unsynced.chunks() {
            let (start, end) = (chunk * CHUNK, (chunk + 1) * CHUNK);
            let first = self.layout().files().partition_point(|file| file.end() <= start);
            for (index, file) in self.layout().files().iter().enumerate().skip(first) {
                if file.offset >= end {
                    break;
                }
                let stored = if file.is_pad() { None } else { self.stamp(places, index) };
                let (from, to) = (start.max(file.offset) - file.offset, end.min(file.end()) - file.offset);
                let to = to.min(stored.map_or(0, |stamp| stamp.len));
                if from < to {
                    self.rewrite(places, index, from, &mut buffer[..(to - from) as usize])?;
                }
            }
        }
        self.unsynced.is_doubtful.store(false, Ordering::Release);
        Ok(())
    }

    fn rewrite(
        &self,
        places: &Places,
        index: usize,
        from: u64,
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        let file = self.opened(places, index, true)?;
        let len = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let failed = |operation| move |(at, cause)| self.error_at(places, operation, index, Some(at), cause);
        let mut into = [IoSliceMut::new(buffer)];
        Reading::new(&mut into).read(&file.fd, from, len).map_err(failed(Operation::Read))?;
        let _writing = self.deeds.writing(index);
        self.mark_dirty(index);
        let written = Writing::new(&[IoSlice::new(buffer)]).write(&file.fd, from, len);
        file.wrote();
        written.map_err(failed(Operation::Write))
    }
}
