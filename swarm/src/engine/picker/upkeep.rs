//! What peers have, what we have and what we want.

use super::bits::ones;
use super::{Cursor, Have, Picker, Priority, State};
use metainfo::PieceIndex;
use std::ops::RangeInclusive;
use wire::peer::Bitfield;

impl Picker {
    /// A peer that is no seed announced a piece it did not have before. `cursor` is that peer's.
    pub fn add_have(&mut self, piece: PieceIndex, cursor: &mut Cursor) {
        let index = piece.get();
        self.table.more(index);
        if self.untouched.contains(index) || self.joinable.contains(index) {
            cursor.gain(index, self.words());
        }
    }

    /// A peer that is no seed dropped a piece (BEP 54).
    pub fn remove_have(&mut self, piece: PieceIndex) {
        self.table.less(piece.get());
    }

    /// A peer that is no seed came with these pieces. O(pieces set).
    pub fn add_bitfield(&mut self, bits: &Bitfield) {
        self.each(bits, |picker, piece| picker.table.more(piece));
    }

    /// A peer that is no seed left, or became a seed, and had these pieces. O(pieces set).
    pub fn remove_bitfield(&mut self, bits: &Bitfield) {
        self.each(bits, |picker, piece| picker.table.less(piece));
    }

    /// A seed came: O(1).
    pub fn add_seed(&mut self) {
        self.seeds += 1;
    }

    /// A seed left: O(1).
    pub fn remove_seed(&mut self) {
        self.seeds = self.seeds.saturating_sub(1);
    }

    fn each(&mut self, bits: &Bitfield, mut f: impl FnMut(&mut Self, u32)) {
        let pieces = self.table.pieces();
        for (w, word) in bits.words().enumerate() {
            for piece in ones(w, word).take_while(|&p| p < pieces) {
                f(self, piece);
            }
        }
    }

    /// How many of these pieces are missing and wanted: one step for 64 pieces. The engine counts once, when a
    /// bitfield comes or priorities change, and then keeps the number by events: a have of a
    /// [wanted](Picker::is_wanted) piece is one more, a wanted piece that we complete one less.
    pub fn count_wanted(&self, have: Have<'_>) -> u32 {
        match have {
            Have::All => self.counts.wanted,
            Have::Some(bits) => {
                let pairs = self.wanted.words().iter().zip(bits.words());
                pairs.map(|(wanted, has)| (wanted & has).count_ones()).sum()
            }
        }
    }

    /// Whether one of these pieces is missing and wanted; stops at the first.
    pub fn interesting(&self, have: Have<'_>) -> bool {
        match have {
            Have::All => self.counts.wanted > 0,
            Have::Some(bits) => {
                self.wanted.words().iter().zip(bits.words()).any(|(wanted, has)| wanted & has != 0)
            }
        }
    }

    /// The piece was verified, wherever it came from.
    pub fn have(&mut self, piece: PieceIndex) {
        let index = piece.get();
        match self.table.state(index) {
            State::Have => return,
            State::Partial(at) => self.remove_partial(at),
            State::Untouched => {}
        }
        self.table.set_have(index);
        self.untouched.remove(index);
        let len = self.payload(piece);
        self.counts.have += 1;
        self.counts.have_bytes += len;
        if self.wanted.remove(index) {
            self.counts.wanted -= 1;
            self.counts.wanted_bytes -= len;
        }
    }

    /// These pieces were verified: O(pieces), once, for what was found on disk.
    pub fn have_all_of(&mut self, found: &Bitfield) {
        self.change(|piece, priority, have| (priority, have || found.get(piece)));
    }

    /// A verified piece is no longer there.
    pub fn lost(&mut self, piece: PieceIndex) {
        if !self.has(piece) {
            return;
        }
        let len = self.payload(piece);
        self.counts.have -= 1;
        self.counts.have_bytes -= len;
        self.table.set_untouched(piece.get());
        if self.priority(piece) != Priority::Skip {
            self.want(piece);
            self.untouched.insert(piece.get());
            self.openings.push(piece.get());
        }
    }

    /// Changes the priority of a piece.
    pub fn set_priority(&mut self, piece: PieceIndex, priority: Priority) {
        let index = piece.get();
        let priority = if self.is_padding(piece) { Priority::Skip } else { priority };
        let before = self.priority(piece);
        self.table.set_priority(index, priority);
        if self.has(piece) || (before == Priority::Skip) == (priority == Priority::Skip) {
            return;
        }
        let wanted = priority != Priority::Skip;
        if let State::Partial(at) = self.table.state(index) {
            // Free blocks count only in wanted pieces.
            let free = u64::from(self.partials[at as usize].free);
            if wanted { self.counts.free_blocks += free } else { self.counts.free_blocks -= free }
        } else if wanted {
            self.untouched.insert(index);
            self.openings.push(index);
        } else {
            self.untouched.remove(index);
        }
        if wanted {
            self.want(piece);
        } else {
            self.wanted.remove(index);
            self.counts.wanted -= 1;
            self.counts.wanted_bytes -= self.payload(piece);
        }
        if let State::Partial(at) = self.table.state(index) {
            self.settle(at as usize, true);
        }
    }

    /// Changes the priorities of many pieces: O(pieces), however many change.
    pub fn set_priorities(&mut self, changes: impl IntoIterator<Item = (PieceIndex, Priority)>) {
        let mut priorities: Vec<_> = self.geometry.pieces().map(|p| self.priority(p)).collect();
        for (piece, priority) in changes {
            priorities[piece.as_usize()] = priority;
        }
        self.pads.pieces(&self.geometry).for_each(|piece| priorities[piece.as_usize()] = Priority::Skip);
        self.change(|piece, _, have| (priorities[piece as usize], have));
    }

    /// Gives the first and the last piece of each of these files high priority, as far as they are not skipped: players and
    /// previews need them. O(pieces).
    pub fn prefer_ends(&mut self, files: impl IntoIterator<Item = RangeInclusive<PieceIndex>>) {
        let ends = files.into_iter().flat_map(|file| [*file.start(), *file.end()]);
        let wanted: Vec<_> = ends.filter(|&p| self.priority(p) != Priority::Skip).collect();
        self.set_priorities(wanted.into_iter().map(|piece| (piece, Priority::High)));
    }

    /// Changes many pieces and counts everything anew.
    fn change(&mut self, to: impl Fn(u32, Priority, bool) -> (Priority, bool)) {
        for at in (0..self.partials.len()).rev() {
            let piece = self.partials[at].piece.get();
            if to(piece, self.table.priority(piece), false).1 {
                self.remove_partial(at as u32);
                self.table.set_untouched(piece);
            }
        }
        self.table.change(|piece, priority, state| to(piece, priority, state == State::Have));
        (self.counts.have, self.counts.have_bytes) = (0, 0);
        (self.counts.wanted, self.counts.wanted_bytes) = (0, 0);
        self.wanted.clear();
        self.untouched.clear();
        for piece in self.geometry.pieces() {
            if self.has(piece) {
                self.counts.have += 1;
                self.counts.have_bytes += self.payload(piece);
            } else if self.priority(piece) != Priority::Skip {
                self.want(piece);
                if self.table.queued(piece.get()) {
                    self.untouched.insert(piece.get());
                }
            }
        }
        self.counts.free_blocks = 0;
        for at in 0..self.partials.len() {
            if self.is_wanted(self.partials[at].piece) {
                self.counts.free_blocks += u64::from(self.partials[at].free);
            }
            self.settle(at, false);
        }
        self.openings.reopen_all();
    }

    fn want(&mut self, piece: PieceIndex) {
        self.wanted.insert(piece.get());
        self.counts.wanted += 1;
        self.counts.wanted_bytes += self.payload(piece);
    }
}
