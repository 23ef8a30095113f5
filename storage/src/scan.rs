//! Going over all pieces with several threads.

use metainfo::{Geometry, PieceIndex};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How to go over all pieces.
#[derive(Clone, Copy)]
pub struct ScanOptions<'a> {
    /// Threads, at least 1. With 1 it is done on the calling thread.
    pub threads: usize,
    /// Bytes read at once by each thread; rounded up to a block.
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

    /// Calls `each` for every piece, on several threads, each with a buffer and a state of its own. Whether it
    /// came to the end.
    pub(crate) fn run<S>(
        &self,
        geometry: &Geometry,
        state: impl Fn() -> S + Sync,
        each: impl Fn(&mut S, PieceIndex, &mut [u8]) + Sync,
    ) -> bool {
        let work = || {
            let mut buffer = vec![0; self.options.buffer.max(1).next_multiple_of(metainfo::BLOCK as usize)];
            let mut state = state();
            while !self.is_over() {
                let Ok(piece) = geometry.piece(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
                each(&mut state, piece, &mut buffer);
            }
        };
        let others = self.options.threads.clamp(1, geometry.piece_count() as usize) - 1;
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
