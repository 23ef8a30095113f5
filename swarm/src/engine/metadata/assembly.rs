//! The pieces of one claimed info dictionary.

use std::collections::{BTreeMap, BTreeSet};

use super::{ASKERS, HASTE, pieces_of};
use crate::engine::time::Time;

/// Pieces that are said to make a dictionary of one size. It holds no more than what came.
#[derive(Debug)]
pub(super) struct Assembly<K, W> {
    pub(super) name: u64,
    /// Bytes of the whole, as claimed.
    pub(super) size: u64,
    /// The only one that is asked; `None`: all that claim the size.
    pub(super) alone: Option<K>,
    pub(super) since: Time,
    /// Pieces from here on were never asked for.
    fresh: u32,
    /// Pieces that were asked for in vain.
    again: BTreeSet<u32>,
    /// Pieces that are asked for: of how many, and since when.
    asked: BTreeMap<u32, (u32, Time)>,
    pieces: BTreeMap<u32, (W, Box<[u8]>)>,
    held: usize,
}

impl<K: Copy, W: Copy + Ord> Assembly<K, W> {
    pub(super) fn new(name: u64, size: u64, alone: Option<K>, since: Time) -> Self {
        Self {
            name,
            size,
            alone,
            since,
            fresh: 0,
            again: BTreeSet::new(),
            asked: BTreeMap::new(),
            pieces: BTreeMap::new(),
            held: 0,
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

    /// A piece came; whether it is new.
    pub(super) fn insert(&mut self, piece: u32, who: W, data: &[u8]) -> bool {
        self.asked.remove(&piece);
        self.again.remove(&piece);
        if self.pieces.contains_key(&piece) {
            return false;
        }
        self.held += data.len();
        self.pieces.insert(piece, (who, data.into()));
        true
    }

    pub(super) fn is_whole(&self) -> bool {
        self.received() == self.pieces()
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

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.held);
        for (_, data) in self.pieces.into_values() {
            bytes.extend_from_slice(&data);
        }
        bytes
    }
}

/// When another one may be asked for what so many were asked for.
fn due(askers: u32, since: Time) -> Time {
    since + HASTE * (askers + 1).saturating_sub(ASKERS)
}
