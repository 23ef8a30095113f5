//! Going over all pieces with several threads.

use crate::{PieceHasher, hash_lanes};
use metainfo::{BLOCK, Geometry, PieceIndex, PieceRange};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How to go over all pieces.
#[derive(Clone, Copy)]
pub struct ScanOptions<'a> {
    /// Threads, at least 1. With 1 it is done on the calling thread.
    pub threads: usize,
    /// Bytes that each thread has in memory; rounded up to a block for each of the pieces that it hashes at a time.
    pub buffer: usize,
    /// Set it to stop early.
    pub cancel: Option<&'a AtomicBool>,
    /// Told now and then how far it is, on any of the threads, and at the end.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl Default for ScanOptions<'_> {
    /// As many threads as the processor runs; 256 KiB each, which stay in a core's own cache while they are hashed.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads, buffer: 256 * 1024, cancel: None, progress: None }
    }
}

impl fmt::Debug for ScanOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanOptions")
            .field("threads", &self.threads)
            .field("buffer", &self.buffer)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were gone over.
    pub done: u64,
    /// Bytes there are.
    pub total: u64,
}

/// Bytes between two reports of progress.
const STEP: u64 = 8 << 20;

/// What the threads share.
pub(crate) struct Scan<'a> {
    options: ScanOptions<'a>,
    next: AtomicU32,
    done: AtomicU64,
    total: u64,
    over: AtomicBool,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(options: ScanOptions<'a>, total: u64) -> Self {
        let (next, done, over) = (AtomicU32::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self { options, next, done, total, over }
    }

    /// Calls `each` for all pieces, some that follow each other at a time, on several threads, each with a buffer and a
    /// state of its own. Whether it came to the end.
    pub(crate) fn run<S>(
        &self,
        geometry: &Geometry,
        state: impl Fn() -> S + Sync,
        each: impl Fn(&mut S, &[PieceIndex], &mut [u8]) + Sync,
    ) -> bool {
        let count = geometry.piece_count();
        let threads = self.options.threads.clamp(1, count as usize);
        let batch = hash_lanes().clamp(1, (count as usize).div_ceil(threads));
        let work = || {
            let part = (self.options.buffer / batch).max(1).next_multiple_of(BLOCK as usize);
            let mut buffer = vec![0; part * batch];
            let mut state = state();
            while !self.is_over() {
                let first = self.next.fetch_add(batch as u32, Ordering::Relaxed);
                let pieces: Vec<_> =
                    (first..).take(batch).map_while(|piece| geometry.piece(piece).ok()).collect();
                if pieces.is_empty() {
                    break;
                }
                each(&mut state, &pieces, &mut buffer);
            }
        };
        let others = threads - 1;
        std::thread::scope(|scope| {
            for _ in 0..others {
                scope.spawn(work);
            }
            work();
        });
        let is_whole = !self.is_over();
        if let Some(progress) = self.options.progress.filter(|_| is_whole) {
            progress(Progress { done: self.total, total: self.total });
        }
        is_whole
    }

    /// Hashes pieces together, from what `read` reads: the hash over all of a piece, or why there is none. `None` when it
    /// was cancelled.
    pub(crate) fn hash<E>(
        &self,
        geometry: &Geometry,
        pieces: impl Iterator<Item = (PieceIndex, PieceHasher)>,
        buffer: &mut [u8],
        mut read: impl FnMut(PieceRange, &mut [u8]) -> Result<(), E>,
    ) -> Vec<Result<PieceHasher, Option<E>>> {
        let (pieces, mut hashes): (Vec<_>, Vec<_>) = pieces.map(|(piece, hash)| (piece, Ok(hash))).unzip();
        let part = buffer.len() / pieces.len().max(1) / BLOCK as usize * BLOCK as usize;
        let longest = pieces.iter().map(|&piece| geometry.piece_len(piece)).max().unwrap_or(0);
        for at in (0..longest).step_by(part) {
            let mut messages = Vec::with_capacity(pieces.len());
            for ((hash, &piece), bytes) in hashes.iter_mut().zip(&pieces).zip(buffer.chunks_mut(part)) {
                let len = geometry.piece_len(piece).saturating_sub(at).min(part as u32);
                if len == 0 || hash.is_err() {
                    continue;
                }
                let bytes = &mut bytes[..len as usize];
                let result = match self.is_over() {
                    true => Err(None),
                    false => read(crate::plan::range(geometry, piece, at..at + len), bytes).map_err(Some),
                };
                match (result, hash) {
                    (Ok(()), Ok(hash)) => messages.push((hash, [&*bytes])),
                    (result, hash) => *hash = result.and(Err(None)),
                }
            }
            let mut messages: Vec<_> =
                messages.iter_mut().map(|(hash, parts)| (&mut **hash, &parts[..])).collect();
            PieceHasher::update_together(&mut messages);
        }
        hashes
    }

    /// Stops all threads soon.
    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
            || self.options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    /// Counts bytes that were gone over.
    pub(crate) fn advance(&self, bytes: u64) {
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        let done = before + bytes;
        if let Some(progress) = self.options.progress.filter(|_| before / STEP != done / STEP) {
            progress(Progress { done, total: self.total });
        }
    }
}
