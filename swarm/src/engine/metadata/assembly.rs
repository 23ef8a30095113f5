//! The pieces of one claimed info dictionary.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metainfo::InfoHashes;

use super::digest::{Digest, Fit};
use super::info::Info;
use super::pieces_of;
use crate::engine::time::Time;

/// Peers that may be asked for the same piece at once, when nothing else is left to ask for.
const ASKERS: u32 = 2;
/// Twice as many after each such time: who is slow, or sits on it, does not keep it from us for long.
const HASTE: Duration = Duration::from_millis(500);

/// Pieces that are said to make a dictionary of one size. It holds no more than what came.
#[derive(Debug)]
pub(super) struct Assembly<W> {
    pub(super) name: u64,
    /// Bytes of the whole, as claimed.
    pub(super) size: u64,
    pub(super) since: Time,
    /// Pieces from here on were never asked for.
    fresh: u32,
    /// Pieces that were asked for in vain.
    again: BTreeSet<u32>,
    /// Pieces that are asked for: of how many, and since when.
    asked: BTreeMap<u32, (u32, Time)>,
    pieces: BTreeMap<u32, (W, Box<[u8]>)>,
    held: usize,
    digest: Digest,
    /// Pieces that are in the digest.
    hashed: u32,
}

impl<W: Copy + Ord> Assembly<W> {
    pub(super) fn new(name: u64, size: u64, since: Time, hashes: &InfoHashes) -> Self {
        Self {
            name,
            size,
            since,
            fresh: 0,
            again: BTreeSet::new(),
            asked: BTreeMap::new(),
            pieces: BTreeMap::new(),
            held: 0,
            digest: Digest::new(hashes),
            hashed: 0,
        }
    }

    /// The piece to ask a peer for, if there is one that it was not asked for already; it counts as asked for now.
    pub(super) fn next(&mut self, now: Time, has: impl Fn(u32) -> bool) -> Option<u32> {
        let piece = if let Some(again) = self.again.iter().copied().find(|piece| !has(*piece)) {
            self.again.remove(&again);
            again
        } else if self.fresh < self.pieces() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            // All are asked for: whoever has nothing to do may be faster with one of them.
            let open = |(_, (askers, since)): &(&u32, &(u32, Time))| now >= due(*askers, *since);
            let others = self.asked.iter().filter(|(piece, _)| !has(**piece));
            others.filter(open).min_by_key(|(_, (askers, since))| (*askers, *since)).map(|(p, _)| *p)?
        };
        self.asked.entry(piece).or_insert((0, now)).0 += 1;
        Some(piece)
    }

    /// When one more peer may be asked for a piece that others were asked for.
    pub(super) fn hastens(&self) -> Option<Time> {
        self.asked.values().map(|(askers, since)| due(*askers, *since)).min()
    }

    /// A request will not be answered.
    pub(super) fn release(&mut self, piece: u32) {
        if let Some((askers, _)) = self.asked.get_mut(&piece) {
            *askers -= 1;
            if *askers == 0 {
                self.asked.remove(&piece);
                self.again.insert(piece);
            }
        }
    }

    /// A piece came.
    pub(super) fn insert(&mut self, piece: u32, who: W, data: &[u8]) {
        self.asked.remove(&piece);
        self.again.remove(&piece);
        if !self.pieces.contains_key(&piece) {
            self.held += data.len();
            self.pieces.insert(piece, (who, data.into()));
        }
    }

    /// Hashes up to so many of the pieces that are there; how many it were.
    pub(super) fn hash(&mut self, most: u32) -> u32 {
        let before = self.hashed;
        while self.hashed - before < most
            && let Some((_, data)) = self.pieces.get(&self.hashed)
        {
            self.digest.update(data);
            self.hashed += 1;
        }
        self.hashed - before
    }

    /// Whether the next piece to hash is there.
    pub(super) fn lags(&self) -> bool {
        self.pieces.contains_key(&self.hashed)
    }

    /// Whether all of it is there and hashed.
    pub(super) fn is_hashed(&self) -> bool {
        self.hashed == self.pieces()
    }

    /// Whether it goes on for longer than so many turns, at the pace it has.
    pub(super) fn drags(&self, now: Time, most: Duration) -> bool {
        let spent = now - self.since;
        self.received() == 0 || spent.saturating_mul(self.pieces()) / self.received() > most
    }

    /// How long it goes on, at the pace it has.
    pub(super) fn left(&self, now: Time) -> Duration {
        let missing = self.pieces() - self.received();
        (now - self.since).saturating_mul(missing).checked_div(self.received()).unwrap_or(Duration::MAX)
    }

    pub(super) fn received(&self) -> u32 {
        u32::try_from(self.pieces.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn pieces(&self) -> u32 {
        pieces_of(self.size)
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Who sent a part of it.
    pub(super) fn senders(&self) -> BTreeSet<W> {
        self.pieces.values().map(|(who, _)| *who).collect()
    }

    /// Which of the hashes it has, and the dictionary. To be asked once all of it is hashed.
    pub(super) fn judge(self, hashes: &InfoHashes) -> (Fit, Info) {
        let pieces = self.pieces.into_values().map(|(_, data)| data);
        (self.digest.compare(hashes), Info::of(pieces))
    }
}

/// When another one may be asked for what so many were asked for.
fn due(askers: u32, since: Time) -> Time {
    since + HASTE * (askers / ASKERS).checked_ilog2().map_or(0, |doublings| doublings + 1)
}
