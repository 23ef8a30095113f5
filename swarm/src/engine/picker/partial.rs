//! One piece in progress: the state of each block, and who was asked for it.
//!
//! ```text
//!            ask                receive             written
//!   Free ----------> Asked ----------------> Received ------> Written
//!     ^   release of   | by one to three       |                 |
//!     +---the last-----+    peers              |                 |
//!     +------------- write failed, piece failed +----------------+
//! ```

use super::PeerKey;
use metainfo::PieceIndex;

/// Most peers that are asked for one block at a time.
pub(super) const MOST_ASKED: usize = 3;

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Nobody was asked for it.
    Free,
    /// So many peers were asked for it, 1 to 3.
    Asked(u8),
    /// Its bytes are in memory, on their way to the disk.
    Received,
    /// Its bytes were handed to the file system.
    Written,
}

/// Sets of blocks of one piece.
#[derive(Clone, Copy)]
pub(super) enum Set {
    Free,
    Asked,
    Received,
    /// Asked, but others may be asked too at any time.
    Stale,
    /// Asked of at least two. Exists only once a block was asked for twice.
    Twice,
    /// Asked of three. Exists only once a block was asked for twice.
    Thrice,
}

/// A piece in progress.
pub(super) struct Partial {
    pub(super) piece: PieceIndex,
    pub(super) blocks: u32,
    /// Blocks of padding: nobody is asked for them, and they count as written.
    pub(super) padded: u32,
    /// Bytes received or written, without padding.
    pub(super) bytes: u64,
    /// Blocks in each state; the rest is written.
    pub(super) free: u32,
    pub(super) asked: u32,
    pub(super) received: u32,
    pub(super) stale: u32,
    /// Who has the piece to itself, as long as it has requests outstanding in it.
    pub(super) owner: PeerKey,
    /// Requests of the owner that are outstanding.
    pub(super) owned: u32,
    /// The owner's blocks may not be mixed with others'.
    pub(super) alone: bool,
    /// Came about by a claim of a range.
    pub(super) claimed: bool,
    /// The only peer that had a hand in it; `NONE` when nobody, [`SEVERAL`] when more.
    pub(super) sole: PeerKey,
    /// Its index in the list of joinable pieces.
    pub(super) joinable_at: Option<u32>,
    store: Store,
}

/// More than one peer had a hand in it.
pub(super) const SEVERAL: PeerKey = PeerKey(u32::MAX - 1);

/// The allocations of a partial piece, reused by the next.
#[derive(Default)]
pub(super) struct Store {
    bits: Vec<u64>,
    first: Vec<PeerKey>,
    more: Vec<[PeerKey; MOST_ASKED - 1]>,
}

impl Store {
    pub(super) fn held_bytes(&self) -> usize {
        let more = self.more.capacity() * size_of::<[PeerKey; MOST_ASKED - 1]>();
        self.bits.capacity() * 8 + self.first.capacity() * size_of::<PeerKey>() + more
    }
}

impl Partial {
    /// A piece of which every block is free.
    pub(super) fn new(piece: PieceIndex, blocks: u32, mut store: Store) -> Self {
        let words = blocks.div_ceil(64) as usize;
        store.bits.clear();
        store.bits.resize(words * 4, 0);
        store.first.clear();
        store.first.resize(blocks as usize, PeerKey::NONE);
        store.more.clear();
        let mut partial = Self {
            piece,
            blocks,
            padded: 0,
            bytes: 0,
            free: 0,
            asked: 0,
            received: 0,
            stale: 0,
            owner: PeerKey::NONE,
            owned: 0,
            alone: false,
            claimed: false,
            sole: PeerKey::NONE,
            joinable_at: None,
            store,
        };
        partial.reset();
        partial
    }

    /// Makes every block free again.
    pub(super) fn reset(&mut self) {
        let words = self.words();
        self.store.bits.fill(0);
        self.store.bits[..words].fill(u64::MAX);
        let tail = self.blocks % 64;
        if tail != 0 {
            self.store.bits[words - 1] = (1 << tail) - 1;
        }
        self.store.first.fill(PeerKey::NONE);
        self.store.more.clear();
        self.store.bits.truncate(words * 4);
        (self.free, self.asked, self.received, self.stale) = (self.blocks, 0, 0, 0);
        (self.padded, self.bytes) = (0, 0);
        (self.owner, self.owned, self.alone, self.sole) = (PeerKey::NONE, 0, false, PeerKey::NONE);
        self.claimed = false;
    }

    /// These blocks of a piece of which every block is free are padding.
    pub(super) fn pad(&mut self, blocks: std::ops::Range<u32>) {
        for block in blocks {
            self.padded += u32::from(self.adopt(block));
        }
    }

    /// Bytes that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.store.held_bytes()
    }

    /// Gives the allocations back.
    pub(super) fn into_store(self) -> Store {
        self.store
    }

    /// Blocks that were handed to the file system.
    pub(super) fn written(&self) -> u32 {
        self.blocks - self.padded - self.free - self.asked - self.received
    }

    /// Those blocks and those of padding, in order.
    pub(super) fn written_blocks(&self) -> Vec<u32> {
        let sets = [Set::Free, Set::Asked, Set::Received].map(|set| self.set(set));
        let mut blocks = Vec::with_capacity((self.written() + self.padded) as usize);
        for w in 0..self.words() {
            let others = sets.iter().fold(0, |word, set| word | set[w]);
            blocks.extend(lsb_ones(w, !others).take_while(|block| *block < self.blocks));
        }
        blocks
    }

    /// Takes a block that nobody was asked for as written. Whether it was free.
    pub(super) fn adopt(&mut self, block: u32) -> bool {
        let is_free = self.contains(Set::Free, block);
        if is_free {
            self.remove(Set::Free, block);
            self.free -= 1;
        }
        is_free
    }

    /// Whether no block was asked for, received or written.
    pub(super) fn blank(&self) -> bool {
        self.free + self.padded == self.blocks
    }

    pub(super) fn state(&self, block: u32) -> BlockState {
        if self.contains(Set::Free, block) {
            BlockState::Free
        } else if self.contains(Set::Asked, block) {
            BlockState::Asked(self.asked_of(block).count() as u8)
        } else if self.contains(Set::Received, block) {
            BlockState::Received
        } else {
            BlockState::Written
        }
    }

    /// The peers that were asked for a block.
    pub(super) fn asked_of(&self, block: u32) -> impl Iterator<Item = PeerKey> {
        let more = self.store.more.get(block as usize).into_iter().flatten();
        let first = &self.store.first[block as usize];
        std::iter::once(first).chain(more).copied().filter(|&peer| peer != PeerKey::NONE)
    }

    /// The first block of a set; from the end if `back`.
    pub(super) fn first(&self, set: Set, back: bool) -> Option<u32> {
        let words = self.set(set).iter().enumerate();
        let at = |(w, word): (usize, &u64)| match word {
            0 => None,
            _ if back => Some(w as u32 * 64 + 63 - word.leading_zeros()),
            _ => Some(w as u32 * 64 + word.trailing_zeros()),
        };
        if back { words.rev().find_map(at) } else { words.clone().find_map(at) }
    }

    /// The blocks that `times` peers were asked for, `peer` not among them: those at or after `from` first, going round.
    pub(super) fn asked_times(&self, times: usize, peer: PeerKey, from: u32) -> impl Iterator<Item = u32> {
        let words = self.words();
        let [twice, thrice] = [Set::Twice, Set::Thrice].map(|set| self.set(set));
        let level = |set: &[u64], w: usize| set.get(w).copied().unwrap_or(0);
        let candidates = move |w: usize| match times {
            1 => self.set(Set::Asked)[w] & !level(twice, w),
            2 => level(twice, w) & !level(thrice, w),
            _ => 0,
        };
        let start = from as usize / 64 % words;
        (0..=words).flat_map(move |i| {
            let w = (start + i) % words;
            // The word of `from` is split: its upper part comes first, its lower part last.
            let part = match i {
                0 => u64::MAX << (from % 64),
                i if i == words => !(u64::MAX << (from % 64)),
                _ => u64::MAX,
            };
            let free_of_peer = move |&b: &u32| !self.asked_of(b).any(|p| p == peer);
            lsb_ones(w, candidates(w) & part).filter(free_of_peer)
        })
    }

    /// A stale block that `peer` was not asked for and at most `most` were.
    pub(super) fn stale_for(&self, peer: PeerKey, most: usize) -> Option<u32> {
        let fits = |&b: &u32| self.asked_of(b).all(|p| p != peer) && self.asked_of(b).count() <= most;
        self.set(Set::Stale).iter().enumerate().find_map(|(w, &word)| lsb_ones(w, word).find(fits))
    }

    /// `peer` is asked for a block that is free, or asked of fewer than [`MOST_ASKED`] others.
    pub(super) fn ask(&mut self, block: u32, peer: PeerKey) {
        if self.contains(Set::Free, block) {
            self.remove(Set::Free, block);
            self.insert(Set::Asked, block);
            self.free -= 1;
            self.asked += 1;
            self.store.first[block as usize] = peer;
        } else {
            self.ask_again(block, peer);
        }
        if self.owner == peer {
            self.owned += 1;
        }
        self.sole = match self.sole {
            PeerKey::NONE => peer,
            sole if sole == peer => peer,
            _ => SEVERAL,
        };
    }

    fn ask_again(&mut self, block: u32, peer: PeerKey) {
        if self.store.more.is_empty() {
            self.store.more.resize(self.blocks as usize, [PeerKey::NONE; MOST_ASKED - 1]);
            self.store.bits.resize(self.words() * 6, 0);
        }
        let more = &mut self.store.more[block as usize];
        if let Some(slot) = more.iter_mut().find(|slot| **slot == PeerKey::NONE) {
            *slot = peer;
        }
        self.set_levels(block);
        self.unstale(block);
    }

    /// `peer` will not send the block; whether it had been asked for it.
    pub(super) fn release(&mut self, block: u32, peer: PeerKey) -> bool {
        let at = block as usize;
        if !self.contains(Set::Asked, block) || !self.asked_of(block).any(|p| p == peer) {
            return false;
        }
        if let Some(more) = self.store.more.get_mut(at) {
            match more.iter_mut().find(|slot| **slot == peer) {
                Some(slot) => *slot = PeerKey::NONE,
                None => self.store.first[at] = std::mem::replace(&mut more[0], PeerKey::NONE),
            }
            more.sort_unstable();
            self.set_levels(block);
        } else {
            self.store.first[at] = PeerKey::NONE;
        }
        self.disown(peer);
        if self.store.first[at] == PeerKey::NONE {
            self.unstale(block);
            self.remove(Set::Asked, block);
            self.insert(Set::Free, block);
            self.asked -= 1;
            self.free += 1;
            self.free_from_owner();
        }
        if self.blank() {
            self.sole = PeerKey::NONE;
        }
        true
    }

    /// The block's bytes came; those who were asked for it and did not send it.
    pub(super) fn receive(&mut self, block: u32, from: PeerKey) -> Others {
        let mut others = Others::default();
        let mut asked = [PeerKey::NONE; MOST_ASKED];
        for (slot, peer) in asked.iter_mut().zip(self.asked_of(block)) {
            *slot = peer;
        }
        for peer in asked.into_iter().filter(|&p| p != PeerKey::NONE) {
            self.disown(peer);
            if peer != from {
                others.push(peer);
            }
        }
        if self.contains(Set::Asked, block) {
            self.unstale(block);
            self.remove(Set::Asked, block);
            self.asked -= 1;
            self.store.first[block as usize] = PeerKey::NONE;
            if let Some(more) = self.store.more.get_mut(block as usize) {
                *more = [PeerKey::NONE; MOST_ASKED - 1];
                self.set_levels(block);
            }
        } else {
            self.remove(Set::Free, block);
            self.free -= 1;
        }
        if self.sole != from {
            self.sole = if self.sole == PeerKey::NONE { from } else { SEVERAL };
        }
        self.insert(Set::Received, block);
        self.received += 1;
        others
    }

    /// The block's bytes are with the file system; whether it was waiting for that.
    pub(super) fn write(&mut self, block: u32) -> bool {
        let waited = self.contains(Set::Received, block);
        if waited {
            self.remove(Set::Received, block);
            self.received -= 1;
        }
        waited
    }

    /// The block's bytes are lost; whether it was received or written.
    pub(super) fn lose(&mut self, block: u32) -> bool {
        match self.state(block) {
            BlockState::Free | BlockState::Asked(_) => return false,
            BlockState::Received => {
                self.remove(Set::Received, block);
                self.received -= 1;
            }
            BlockState::Written => {}
        }
        self.insert(Set::Free, block);
        self.free += 1;
        self.free_from_owner();
        if self.blank() {
            self.sole = PeerKey::NONE;
        }
        true
    }

    /// Others may be asked for the block too; whether it is asked at all.
    pub(super) fn mark_stale(&mut self, block: u32) -> bool {
        let asked = self.contains(Set::Asked, block);
        if asked && !self.contains(Set::Stale, block) {
            self.insert(Set::Stale, block);
            self.stale += 1;
        }
        asked
    }

    /// Takes the piece from its owner, if it has one.
    pub(super) fn free_from_owner(&mut self) {
        (self.owner, self.owned, self.alone) = (PeerKey::NONE, 0, false);
    }

    /// Makes `peer` the owner, who is about to be asked; all that is outstanding is asked of it alone.
    pub(super) fn give_to(&mut self, peer: PeerKey, alone: bool) {
        debug_assert!(self.asked_only_of(peer));
        (self.owner, self.owned, self.alone) = (peer, self.asked, alone);
    }

    /// Whether everything that is asked for is asked of this peer alone.
    pub(super) fn asked_only_of(&self, peer: PeerKey) -> bool {
        self.asked == 0 || self.sole == peer
    }

    fn disown(&mut self, peer: PeerKey) {
        if self.owner == peer {
            self.owned -= 1;
            if self.owned == 0 {
                self.free_from_owner();
            }
        }
    }

    fn unstale(&mut self, block: u32) {
        if self.contains(Set::Stale, block) {
            self.remove(Set::Stale, block);
            self.stale -= 1;
        }
    }

    fn set_levels(&mut self, block: u32) {
        let count = self.asked_of(block).count();
        for (set, least) in [(Set::Twice, 2), (Set::Thrice, 3)] {
            if count >= least { self.insert(set, block) } else { self.remove(set, block) }
        }
    }

    fn words(&self) -> usize {
        self.blocks.div_ceil(64) as usize
    }

    fn set(&self, set: Set) -> &[u64] {
        let (at, words) = (set as usize, self.words());
        self.store.bits.get(at * words..(at + 1) * words).unwrap_or_default()
    }

    pub(super) fn contains(&self, set: Set, block: u32) -> bool {
        self.set(set).get(block as usize / 64).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    fn insert(&mut self, set: Set, block: u32) {
        let at = set as usize * self.words() + block as usize / 64;
        self.store.bits[at] |= 1 << (block % 64);
    }

    fn remove(&mut self, set: Set, block: u32) {
        let at = set as usize * self.words() + block as usize / 64;
        self.store.bits[at] &= !(1 << (block % 64));
    }

    /// # Panics
    /// When counters and sets disagree.
    pub(super) fn check_invariant(&self) {
        let count = |set| self.set(set).iter().map(|w| w.count_ones()).sum::<u32>();
        assert_eq!(count(Set::Free), self.free);
        assert_eq!(count(Set::Asked), self.asked);
        assert_eq!(count(Set::Received), self.received);
        assert_eq!(count(Set::Stale), self.stale);
        let mut owned = 0;
        for block in 0..self.blocks {
            let sets = [Set::Free, Set::Asked, Set::Received];
            assert!(sets.iter().filter(|&&s| self.contains(s, block)).count() <= 1, "one state a block");
            let asked: Vec<_> = self.asked_of(block).collect();
            assert_eq!(self.contains(Set::Asked, block), !asked.is_empty());
            assert_eq!(self.contains(Set::Twice, block), asked.len() >= 2);
            assert_eq!(self.contains(Set::Thrice, block), asked.len() >= 3);
            assert!(!self.contains(Set::Stale, block) || !asked.is_empty());
            assert!(asked.iter().enumerate().all(|(i, p)| !asked[..i].contains(p)), "asked twice of one");
            owned += asked.iter().filter(|&&p| p == self.owner).count() as u32;
        }
        assert_eq!(owned, self.owned, "the owner's requests");
        assert!(self.owner == PeerKey::NONE || owned > 0, "an owner has requests");
    }
}

/// The other peers that were asked for a block which has come: cancel those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    peers: [PeerKey; MOST_ASKED],
    len: u8,
}

impl Default for Others {
    fn default() -> Self {
        Self { peers: [PeerKey::NONE; MOST_ASKED], len: 0 }
    }
}

impl Others {
    fn push(&mut self, peer: PeerKey) {
        self.peers[usize::from(self.len)] = peer;
        self.len += 1;
    }

    /// The peers, at most three.
    pub fn as_slice(&self) -> &[PeerKey] {
        &self.peers[..usize::from(self.len)]
    }
}

fn lsb_ones(w: usize, mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let first = word.trailing_zeros();
        (first < 64).then(|| {
            word &= word - 1;
            w as u32 * 64 + first
        })
    })
}
