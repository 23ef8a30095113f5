//! One piece on its way to storage: which blocks came, which are written, how far the hash is.
//!
//! ```text
//!  hashed        front_at                     accepted but not in order
//!    |  an order    |  front: waits, in order   |  late: waits       written: read back when
//!    v  has these   v                           v                    the hash gets there
//! ###oooooooooooooooffffffffff.................llll.....wwwwwwwwwww........
//! ```

use super::bits::Bits;
use super::order::Stripe;
use crate::{Buf, PieceHasher, StorageError};
use std::collections::{BTreeMap, VecDeque};

/// A block that waits in memory for its order.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) data: Buf,
    /// The span between two syncs it belongs to.
    pub(super) epoch: u64,
}

#[derive(Debug)]
pub(super) struct Writing {
    blocks: u32,
    /// The running hash over `hashed` blocks. An order that extends it has it meanwhile.
    hasher: Option<PieceHasher>,
    hashing: bool,
    hashed: u32,
    /// The first block that is neither hashed nor part of the order that hashes.
    front_at: u32,
    front: VecDeque<Held>,
    late: BTreeMap<u32, Held>,
    accepted: Bits,
    written: Bits,
    /// Write orders under way.
    in_flight: u32,
    /// Bytes in `front` and `late`.
    pending_bytes: usize,
    /// What waits is written now, whether or not it fills a stripe.
    pub(super) urgent: bool,
    /// Bytes that cannot be read back for hashing: the verdict, once all blocks are written.
    failed: Option<StorageError>,
}

/// What can be ordered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Hash and write the front.
    Front,
    /// Write the first run of late blocks.
    Late,
    /// Read blocks back to hash them.
    Back,
}

impl Writing {
    /// Nothing came yet. Blocks for which `is_pad` holds never come and count as written.
    pub(super) fn new(blocks: u32, hasher: PieceHasher, is_pad: impl Fn(u32) -> bool) -> Self {
        let (mut accepted, mut written) = (Bits::new(blocks), Bits::new(blocks));
        for pad in (0..blocks).filter(|&block| is_pad(block)) {
            accepted.set(pad);
            written.set(pad);
        }
        Self {
            blocks,
            hasher: Some(hasher),
            hashing: false,
            hashed: 0,
            front_at: 0,
            front: VecDeque::new(),
            late: BTreeMap::new(),
            accepted,
            written,
            in_flight: 0,
            pending_bytes: 0,
            urgent: false,
            failed: None,
        }
    }

    /// Takes a block, or gives back one that came before.
    pub(super) fn accept(&mut self, block: u32, held: Held) -> Result<(), Buf> {
        if self.accepted.get(block) {
            return Err(held.data);
        }
        self.accepted.set(block);
        self.pending_bytes += held.data.len();
        if block == self.front_end() {
            self.front.push_back(held);
            self.pull();
        } else {
            self.late.insert(block, held);
        }
        Ok(())
    }

    /// Takes a block that storage holds for written, unless it came already.
    pub(super) fn adopt(&mut self, block: u32) {
        if block < self.blocks && !self.accepted.get(block) {
            self.accepted.set(block);
            self.written.set(block);
        }
    }

    /// Bytes that wait for an order.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Bytes of the buffers that wait for an order.
    pub(super) fn pending_capacity(&self) -> usize {
        self.front.iter().chain(self.late.values()).map(|held| held.data.capacity()).sum()
    }

    /// Whether bytes were accepted that are not written yet.
    pub(super) fn has_unwritten(&self) -> bool {
        self.pending_bytes > 0 || self.in_flight > 0
    }

    /// Whether an order has the running hash.
    pub(super) fn is_hashing(&self) -> bool {
        self.hashing
    }

    /// Whether every block was accepted: the piece is owed a verdict.
    pub(super) fn is_complete(&self) -> bool {
        self.accepted.count() == self.blocks
    }

    /// Whether the piece as good as never started.
    pub(super) fn is_untouched(&self) -> bool {
        !self.has_unwritten() && !self.hashing && self.written.count() == 0
    }

    /// What to do next, given how many blocks make a stripe.
    pub(super) fn next(&self, stripe: u32) -> Option<Next> {
        if !self.hashing && !self.front.is_empty() {
            let cannot_grow = self.front_end() == self.blocks || self.accepted.get(self.front_end());
            if self.urgent || cannot_grow || self.front.len() >= stripe as usize {
                return Some(Next::Front);
            }
        }
        if !self.hashing && self.failed.is_none() && self.written.get(self.front_at) {
            return Some(Next::Back);
        }
        (self.urgent && !self.late.is_empty()).then_some(Next::Late)
    }

    /// The front, up to a stripe and to the end of the epoch: its first block, the blocks, the running hash.
    pub(super) fn take_front(&mut self, stripe: u32) -> Taken {
        let epoch = self.front.front().map_or(0, |held| held.epoch);
        let count = self.front.iter().take(stripe as usize).take_while(|h| h.epoch == epoch).count();
        let buffers: Vec<Buf> = self.front.drain(..count).map(|held| held.data).collect();
        let first = self.front_at;
        self.hashing = true;
        self.front_at += count as u32;
        self.pull();
        let ends = self.front_at == self.blocks;
        let hasher = self.hasher.take();
        self.leave(Taken { first, buffers, epoch, hasher, ends })
    }

    /// The first run of late blocks, up to a stripe and to the end of the epoch.
    pub(super) fn take_late(&mut self, stripe: u32) -> Taken {
        let mut taken = Taken { first: 0, buffers: Vec::new(), epoch: 0, hasher: None, ends: false };
        while taken.buffers.len() < stripe as usize {
            let Some(entry) = self.late.first_entry() else { break };
            if taken.buffers.is_empty() {
                taken.first = *entry.key();
                taken.epoch = entry.get().epoch;
            }
            if *entry.key() != taken.first + taken.buffers.len() as u32 || entry.get().epoch != taken.epoch {
                break;
            }
            taken.buffers.push(entry.remove().data);
        }
        self.leave(taken)
    }

    /// The running hash, and the written blocks it gets to next, up to a stripe.
    pub(super) fn take_back(&mut self, stripe: u32) -> (PieceHasher, std::ops::Range<u32>) {
        let first = self.front_at;
        while self.front_at < self.blocks && self.front_at - first < stripe && self.written.get(self.front_at)
        {
            self.front_at += 1;
        }
        self.hashing = true;
        self.pull();
        let hasher = self.hasher.take().expect("no other order has the hash");
        (hasher, first..self.front_at)
    }

    /// An order to write ended. After an error its blocks are to come again.
    pub(super) fn end_stripe(&mut self, stripe: &mut Stripe) {
        self.in_flight -= 1;
        let first = stripe.first();
        let blocks = first..first + stripe.buffers.len() as u32;
        let hashed = stripe.hasher.take();
        let is_ok = matches!(stripe.result, Some(Ok(_)));
        for block in blocks.clone() {
            if is_ok { self.written.set(block) } else { self.accepted.clear(block) }
        }
        if let Some(hasher) = hashed {
            let end = if is_ok { blocks.end } else { self.hashed };
            self.end_hashing(hasher, end);
        }
    }

    /// An order to read back ended.
    pub(super) fn end_back(&mut self, end: u32, error: Option<&StorageError>, hasher: PieceHasher) {
        self.failed = error.cloned();
        self.end_hashing(hasher, if error.is_some() { self.hashed } else { end });
    }

    /// The error that is the verdict, once nothing else is to be done.
    pub(super) fn failure(&self) -> Option<&StorageError> {
        let over = self.is_complete() && !self.has_unwritten() && !self.hashing;
        self.failed.as_ref().filter(|_| over)
    }

    fn front_end(&self) -> u32 {
        self.front_at + self.front.len() as u32
    }

    /// Moves late blocks that continue the front to it.
    fn pull(&mut self) {
        while let Some(entry) = self.late.first_entry() {
            if *entry.key() != self.front_at + self.front.len() as u32 {
                break;
            }
            self.front.push_back(entry.remove());
        }
    }

    fn leave(&mut self, taken: Taken) -> Taken {
        self.pending_bytes -= taken.buffers.iter().map(Buf::len).sum::<usize>();
        self.in_flight += 1;
        if self.pending_bytes == 0 {
            self.urgent = false;
        }
        taken
    }

    /// The running hash is back and covers the blocks before `end`.
    fn end_hashing(&mut self, hasher: PieceHasher, end: u32) {
        self.hasher = Some(hasher);
        self.hashing = false;
        self.hashed = end;
        if self.front_at != end {
            let first = self.front_at;
            self.late.extend(self.front.drain(..).zip(first..).map(|(held, block)| (block, held)));
            self.front_at = end;
            self.pull();
        }
    }

    /// Panics when the parts disagree.
    pub(super) fn check_invariant(&self) {
        assert!(self.hashed <= self.front_at && self.front_end() <= self.blocks);
        assert_eq!(self.hasher.is_none(), self.hashing);
        assert!(self.hashing || self.hashed == self.front_at);
        let bytes: usize = self.front.iter().chain(self.late.values()).map(|held| held.data.len()).sum();
        assert_eq!(bytes, self.pending_bytes);
        assert!(!self.urgent || self.pending_bytes > 0);
        for block in (self.front_at..self.front_end()).chain(self.late.keys().copied()) {
            assert!(self.accepted.get(block) && !self.written.get(block));
        }
        assert!(self.late.keys().next().is_none_or(|&first| first > self.front_end()));
        assert!((0..self.hashed).all(|block| self.written.get(block)));
        assert!(self.written.count() <= self.accepted.count());
    }
}

/// Blocks on their way into an order.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) first: u32,
    pub(super) buffers: Vec<Buf>,
    pub(super) epoch: u64,
    pub(super) hasher: Option<PieceHasher>,
    /// Whether the hash is over the whole piece afterwards.
    pub(super) ends: bool,
}
