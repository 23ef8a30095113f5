//! What the picker remembers of each peer, so that it never looks twice at what a peer cannot give.
//!
//! A cursor goes round the words of the piece set from a start of its own. The words behind it are known to hold
//! nothing that is open to its peer. When it has been all round, the peer is *exhausted*, and from then on only
//! pieces are looked at that opened since or that the peer gained since: O(1) for each of them. Pieces that
//! open are numbered and the last of them kept; a cursor that missed more than are kept goes round again.

use super::Order;
use super::pick::below;
use rand::Rng;
use std::collections::VecDeque;

/// Gained pieces that an exhausted cursor remembers; one more and it goes round again.
const GAINED: usize = 32;

/// The picker's bookmark in one peer's pieces. The engine keeps one with each peer and hands it to every pick.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// The word from which it goes round.
    pub(super) start: u32,
    /// Words from `start` on that hold nothing for the peer, as of `seen`.
    pub(super) dead: u32,
    /// How many openings have been looked at.
    pub(super) seen: u64,
    /// The piece from which blocks were picked last.
    pub(super) piece: Option<u32>,
    /// The pieces that it takes turns in, the next first.
    pub(super) strands: VecDeque<u32>,
    /// Open pieces that the peer gained since it was exhausted.
    pub(super) gained: Vec<u32>,
    alone: bool,
    placed: bool,
}

impl Cursor {
    /// A cursor for a peer that just sent its bitfield.
    pub fn new() -> Self {
        Self::default()
    }

    /// The peer's pieces have changed in another way than by one more: looks at all of them again.
    pub fn reset(&mut self) {
        self.placed = false;
    }

    /// The peer has an open piece more.
    pub(super) fn gain(&mut self, piece: u32, words: u32) {
        if !self.placed || self.dead < words {
            self.go_back(piece, words);
        } else if self.gained.len() < GAINED {
            self.gained.push(piece);
        } else {
            self.placed = false;
        }
    }

    /// Takes note of what opened since the last pick.
    pub(super) fn sync(
        &mut self,
        log: &mut Openings,
        words: u32,
        order: Order,
        alone: bool,
        rng: &mut impl Rng,
    ) {
        if !self.placed || self.alone != alone || log.seq - self.seen > log.ring.len() as u64 {
            self.start = match order {
                Order::RarestFirst => below(rng, words),
                Order::Sequential => 0,
            };
            self.gained = Vec::new();
            (self.dead, self.seen, self.placed, self.alone) = (0, log.seq, true, alone);
            log.read = true;
        } else if self.dead < words {
            for at in self.seen..log.seq {
                self.go_back(log.get(at), words);
            }
            self.seen = log.seq;
        }
    }

    fn go_back(&mut self, piece: u32, words: u32) {
        let distance = (piece / 64 + words - self.start) % words;
        self.dead = self.dead.min(distance);
    }
}

/// The pieces that opened last, numbered from the beginning of time.
pub(super) struct Openings {
    ring: Box<[u32]>,
    pub(super) seq: u64,
    /// Whether a cursor took note of the last entry.
    read: bool,
}

impl Openings {
    /// Keeps one entry for eight words of pieces, so that going round costs at most eight words an opening.
    pub(super) fn new(words: usize) -> Self {
        let len = (words / 8).clamp(256, 4096);
        Self { ring: vec![u32::MAX; len].into(), seq: 0, read: true }
    }

    /// Opening number `at`, one of the last, for a cursor.
    pub(super) fn get(&mut self, at: u64) -> u32 {
        self.read |= at + 1 == self.seq;
        self.entry(at)
    }

    fn entry(&self, at: u64) -> u32 {
        self.ring[(at % self.ring.len() as u64) as usize]
    }

    /// A piece has blocks for other peers than before.
    pub(super) fn push(&mut self, piece: u32) {
        if !self.read && self.seq > 0 && self.entry(self.seq - 1) == piece {
            return;
        }
        let len = self.ring.len() as u64;
        self.ring[(self.seq % len) as usize] = piece;
        self.seq += 1;
        self.read = false;
    }

    /// Sends every cursor round again.
    pub(super) fn reopen_all(&mut self) {
        self.seq += self.ring.len() as u64 + 1;
        self.read = true;
    }
}
