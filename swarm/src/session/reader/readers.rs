//! What all readers of a torrent wait for, together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use metainfo::PieceIndex;

/// What all readers of a torrent wait for.
#[derive(Default)]
pub(in crate::session) struct Readers {
    wanted: Mutex<BTreeMap<u64, Vec<PieceIndex>>>,
    numbers: AtomicU64,
}

impl Readers {
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sets what a reader waits for, in this order. Gives what all do: each piece with its place in the reader's list where it
    /// comes first.
    pub(super) fn set(&self, number: u64, pieces: Vec<PieceIndex>) -> BTreeMap<PieceIndex, u32> {
        let mut wanted = self.lock();
        if pieces.is_empty() {
            wanted.remove(&number);
        } else {
            wanted.insert(number, pieces);
        }
        let mut all = BTreeMap::new();
        for (nth, piece) in wanted.values().flat_map(|pieces| (0..).zip(pieces)) {
            let first = all.entry(*piece).or_insert(nth);
            *first = nth.min(*first);
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<PieceIndex>>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
