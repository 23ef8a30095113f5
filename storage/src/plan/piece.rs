//! One piece for which something is to be done, and the table of them.

use super::order::{BackWork, ReadPart};
use super::writing::{Held, Writing};
use crate::StoreId;
use metainfo::{Block, PieceIndex};
use std::collections::{HashMap, VecDeque};

pub(super) type Key = (StoreId, PieceIndex);

#[derive(Debug)]
pub(super) struct Piece {
    pub(super) key: Key,
    pub(super) writing: Option<Writing>,
    /// Reads that may go, and orders that read under way.
    pub(super) reads: VecDeque<ReadPart>,
    pub(super) reading: u32,
    /// A check or digest that may go or is under way.
    pub(super) scan: Scan,
    /// What must not overtake what is above, in order.
    pub(super) waiting: VecDeque<Waiting>,
    /// Which of the plan's queues name it.
    pub(super) in_writes: bool,
    pub(super) in_reads: bool,
    pub(super) in_lingering: bool,
    /// The share of its bytes in the plan's count of lingering bytes.
    pub(super) lingering_bytes: usize,
}

/// A check or digest of a whole piece, block by block.
#[derive(Debug, Default)]
pub(super) enum Scan {
    #[default]
    None,
    /// From this block on.
    Ready(BackWork, u32),
    UnderWay,
}

/// A job that waits for others of its piece.
#[derive(Debug)]
pub(super) enum Waiting {
    Write { block: Block, held: Held },
    Read(ReadPart),
    Restart,
    Adopt(Vec<u32>),
    Check,
    Digests,
}

impl Waiting {
    /// Bytes of its buffer.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Write { held, .. } => held.data.capacity(),
            Self::Read(part) => part.data.capacity(),
            Self::Restart | Self::Adopt(_) | Self::Check | Self::Digests => 0,
        }
    }
}

impl Piece {
    fn new(key: Key) -> Self {
        Self {
            key,
            writing: None,
            reads: VecDeque::new(),
            reading: 0,
            scan: Scan::None,
            waiting: VecDeque::new(),
            in_writes: false,
            in_reads: false,
            in_lingering: false,
            lingering_bytes: 0,
        }
    }

    /// Whether the job must wait for what is under way.
    pub(super) fn blocks(&self, job: &Waiting) -> bool {
        let unwritten = self.writing.as_ref().is_some_and(Writing::has_unwritten);
        let hashing = self.writing.as_ref().is_some_and(|w| w.is_hashing() || w.is_complete());
        let scanning = !matches!(self.scan, Scan::None);
        let reading = !self.reads.is_empty() || self.reading > 0;
        match job {
            Waiting::Adopt(_) => false,
            Waiting::Write { .. } => reading || scanning,
            Waiting::Read(_) => unwritten,
            Waiting::Check | Waiting::Digests => unwritten || hashing || scanning,
            Waiting::Restart => unwritten || hashing || scanning || reading,
        }
    }

    fn is_idle(&self) -> bool {
        self.writing.as_ref().is_none_or(Writing::is_untouched)
            && self.reads.is_empty()
            && self.reading == 0
            && matches!(self.scan, Scan::None)
            && self.waiting.is_empty()
    }

    fn is_queued(&self) -> bool {
        self.in_writes || self.in_reads || self.in_lingering
    }
}

/// The pieces by slot and by name. A slot is used anew only when no queue names it.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Piece>>,
    free: Vec<usize>,
    index: HashMap<Key, usize>,
}

impl Table {
    /// The slot of the piece; it gets one if it has none.
    pub(super) fn slot(&mut self, key: Key) -> usize {
        if let Some(&slot) = self.index.get(&key) {
            return slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(Piece::new(key));
        self.index.insert(key, slot);
        slot
    }

    pub(super) fn get(&mut self, slot: usize) -> &mut Piece {
        self.slots[slot].as_mut().expect("a slot that a queue or an order names is used")
    }

    /// Frees the slot if nothing is left to do for its piece and no queue names it.
    pub(super) fn release(&mut self, slot: usize) {
        let piece = self.get(slot);
        if piece.is_idle() && !piece.is_queued() {
            let key = piece.key;
            self.index.remove(&key);
            self.slots[slot] = None;
            self.free.push(slot);
        }
    }

    /// Forgets what was written of the store's pieces.
    pub(super) fn forget(&mut self, store: StoreId) {
        let slots: Vec<usize> =
            self.index.iter().filter(|(key, _)| key.0 == store).map(|(_, &slot)| slot).collect();
        for slot in slots {
            self.get(slot).writing = None;
            self.release(slot);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Piece)> {
        self.slots.iter().enumerate().filter_map(|(slot, piece)| Some((slot, piece.as_ref()?)))
    }

    /// Panics when the parts disagree.
    pub(super) fn check_invariant(&self) {
        assert_eq!(self.index.len() + self.free.len(), self.slots.len());
        for (slot, piece) in self.iter() {
            assert_eq!(self.index.get(&piece.key), Some(&slot));
            assert!(!piece.is_idle() || piece.is_queued(), "an idle piece keeps its slot");
            if let Some(writing) = &piece.writing {
                writing.check_invariant();
            }
            if let Some(first) = piece.waiting.front() {
                assert!(piece.blocks(first), "a job waits for nothing");
            }
        }
    }
}
