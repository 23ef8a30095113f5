//! Eight bytes a piece: its availability, priority and state, and the order in which pieces are started.
//!
//! The order is one array of the pieces that are wanted and untouched, divided into buckets: by priority first,
//! then by class of availability. A piece changes to the next bucket by one swap with the piece at the boundary, so a
//! `have` costs O(1). Leaving or entering the order moves one piece a bucket, at most [`BUCKETS`] of them.
//!
//! ```text
//!   High, rarest ... High, commonest | Normal, rarest ...      | Low ...
//!   ^starts[0]                        ^starts[CLASSES]           ^starts[2 * CLASSES]     starts[BUCKETS] = end
//! ```
//!
//! Availability counts exactly up to 15; above, two counts to an octave share a class, which still tells rare from
//! common and keeps the number of buckets small.

use super::Priority;
use std::ops::Range;

/// Classes of availability.
pub(super) const CLASSES: usize = 40;
/// Classes for each of the three wanted priorities.
pub(super) const BUCKETS: usize = 3 * CLASSES;

/// The class of a piece that so many peers have, seeds apart.
pub(super) const fn class(availability: u16) -> usize {
    if availability < 16 {
        availability as usize
    } else {
        let octave = 15 - availability.leading_zeros() as usize;
        16 + (octave - 4) * 2 + ((availability >> (octave - 1)) & 1) as usize
    }
}

/// Where a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not begun; in the order if it is wanted.
    Untouched,
    /// Begun; its index among the partial pieces.
    Partial(u32),
    /// Verified.
    Have,
}

/// The table of all pieces.
pub(super) struct Table {
    slots: Box<[Slot]>,
    /// Where each bucket starts in the order; the last entry is the order's end.
    starts: [u32; BUCKETS + 1],
}

/// Field `order` at index `i` is the piece that stands at place `i` of the order; the other fields belong to piece `i`.
///
/// ```text
///   bits 0..21 order | 21..42 place in the order, or index among partials | 42..58 availability | 58..60 priority
///   bits 60..62 state: 0 untouched and out of the order, 1 in the order, 2 partial, 3 have
/// ```
#[derive(Clone, Copy)]
struct Slot(u64);

const INDEX: u64 = (1 << 21) - 1;
const OUT: u64 = 0;
const QUEUED: u64 = 1;
const PARTIAL: u64 = 2;
const HAVE: u64 = 3;

impl Slot {
    const fn field(self, at: u32, mask: u64) -> u64 {
        (self.0 >> at) & mask
    }

    fn set(&mut self, at: u32, mask: u64, value: u64) {
        debug_assert!(value <= mask);
        self.0 = self.0 & !(mask << at) | value << at;
    }

    const fn order(self) -> u32 {
        self.field(0, INDEX) as u32
    }

    const fn place(self) -> u32 {
        self.field(21, INDEX) as u32
    }

    const fn availability(self) -> u16 {
        self.field(42, 0xffff) as u16
    }

    const fn priority(self) -> Priority {
        match self.field(58, 3) {
            0 => Priority::Skip,
            1 => Priority::Low,
            2 => Priority::Normal,
            _ => Priority::High,
        }
    }

    const fn state(self) -> u64 {
        self.field(60, 3)
    }

    const fn bucket(self) -> usize {
        (3 - self.field(58, 3) as usize) * CLASSES + class(self.availability())
    }
}

impl Table {
    /// All pieces untouched, of normal priority, at nobody.
    pub(super) fn new(pieces: u32) -> Self {
        let mut blank = Slot(0);
        blank.set(58, 3, Priority::Normal as u64);
        let mut table = Self { slots: vec![blank; pieces as usize].into(), starts: [0; BUCKETS + 1] };
        table.rebuild();
        table
    }

    pub(super) fn pieces(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn availability(&self, piece: u32) -> u16 {
        self.slots[piece as usize].availability()
    }

    pub(super) fn priority(&self, piece: u32) -> Priority {
        self.slots[piece as usize].priority()
    }

    pub(super) fn state(&self, piece: u32) -> State {
        let slot = self.slots[piece as usize];
        match slot.state() {
            PARTIAL => State::Partial(slot.place()),
            HAVE => State::Have,
            _ => State::Untouched,
        }
    }

    /// Whether the piece is in the order: wanted and untouched.
    pub(super) fn queued(&self, piece: u32) -> bool {
        self.slots[piece as usize].state() == QUEUED
    }

    /// Pieces in the order.
    pub(super) fn len(&self) -> u32 {
        self.starts[BUCKETS]
    }

    /// The piece at this place of the order.
    pub(super) fn at(&self, place: u32) -> u32 {
        self.slots[place as usize].order()
    }

    /// The places of this bucket.
    pub(super) fn bucket(&self, bucket: usize) -> Range<u32> {
        self.starts[bucket]..self.starts[bucket + 1]
    }

    /// The places of all pieces of this priority.
    pub(super) fn group(&self, priority: Priority) -> Range<u32> {
        match priority {
            Priority::Skip => 0..0,
            wanted => {
                let first = (3 - wanted as usize) * CLASSES;
                self.starts[first]..self.starts[first + CLASSES]
            }
        }
    }

    /// How soon a piece should be started, smaller is sooner.
    pub(super) fn urgency(&self, piece: u32) -> usize {
        self.slots[piece as usize].bucket()
    }

    /// One peer more has the piece.
    pub(super) fn more(&mut self, piece: u32) {
        let slot = &mut self.slots[piece as usize];
        let (count, before) = (slot.availability(), slot.bucket());
        slot.set(42, 0xffff, u64::from(count.saturating_add(1)));
        if slot.state() == QUEUED && slot.bucket() != before {
            let last = self.starts[before + 1] - 1;
            self.swap(piece, last);
            self.starts[before + 1] = last;
        }
    }

    /// One peer less has the piece.
    pub(super) fn less(&mut self, piece: u32) {
        let slot = &mut self.slots[piece as usize];
        let (count, before) = (slot.availability(), slot.bucket());
        slot.set(42, 0xffff, u64::from(count.saturating_sub(1)));
        if slot.state() == QUEUED && slot.bucket() != before {
            let first = self.starts[before];
            self.swap(piece, first);
            self.starts[before] = first + 1;
        }
    }

    /// The piece is untouched from now on: in the order if it is wanted.
    pub(super) fn set_untouched(&mut self, piece: u32) {
        self.leave(piece);
        let slot = &mut self.slots[piece as usize];
        slot.set(60, 3, OUT);
        if slot.priority() != Priority::Skip {
            self.enter(piece);
        }
    }

    /// The piece is partial from now on, at this index.
    pub(super) fn set_partial(&mut self, piece: u32, at: u32) {
        self.leave(piece);
        let slot = &mut self.slots[piece as usize];
        slot.set(60, 3, PARTIAL);
        slot.set(21, INDEX, u64::from(at));
    }

    /// The piece is verified.
    pub(super) fn set_have(&mut self, piece: u32) {
        self.leave(piece);
        self.slots[piece as usize].set(60, 3, HAVE);
    }

    /// Changes the priority of a piece, and with it its place in the order.
    pub(super) fn set_priority(&mut self, piece: u32, priority: Priority) {
        let untouched = self.state(piece) == State::Untouched;
        if untouched {
            self.leave(piece);
        }
        self.slots[piece as usize].set(58, 3, priority as u64);
        if untouched && priority != Priority::Skip {
            self.enter(piece);
        }
    }

    /// Changes many pieces, then sorts once. The closure gives a piece's new priority and whether we have it.
    pub(super) fn change(&mut self, mut to: impl FnMut(u32, Priority, State) -> (Priority, bool)) {
        for piece in 0..self.pieces() {
            let (priority, have) = to(piece, self.priority(piece), self.state(piece));
            let slot = &mut self.slots[piece as usize];
            slot.set(58, 3, priority as u64);
            if have {
                slot.set(60, 3, HAVE);
            }
        }
        self.rebuild();
    }

    /// Sorts the order anew: O(pieces).
    fn rebuild(&mut self) {
        let mut counts = [0u32; BUCKETS];
        for slot in &mut self.slots {
            if slot.state() <= QUEUED {
                let wanted = slot.priority() != Priority::Skip;
                slot.set(60, 3, if wanted { QUEUED } else { OUT });
                if wanted {
                    counts[slot.bucket()] += 1;
                }
            }
        }
        let mut next = [0u32; BUCKETS];
        let mut end = 0;
        for (b, count) in counts.into_iter().enumerate() {
            (self.starts[b], next[b]) = (end, end);
            end += count;
        }
        self.starts[BUCKETS] = end;
        for piece in 0..self.pieces() {
            let slot = self.slots[piece as usize];
            if slot.state() == QUEUED {
                let place = &mut next[slot.bucket()];
                self.put(piece, *place);
                *place += 1;
            }
        }
    }

    fn put(&mut self, piece: u32, place: u32) {
        self.slots[place as usize].set(0, INDEX, u64::from(piece));
        self.slots[piece as usize].set(21, INDEX, u64::from(place));
    }

    fn swap(&mut self, piece: u32, place: u32) {
        let (other, mine) = (self.at(place), self.slots[piece as usize].place());
        self.put(other, mine);
        self.put(piece, place);
    }

    fn enter(&mut self, piece: u32) {
        let bucket = self.slots[piece as usize].bucket();
        self.slots[piece as usize].set(60, 3, QUEUED);
        let mut hole = self.starts[BUCKETS];
        self.starts[BUCKETS] += 1;
        for b in (bucket + 1..BUCKETS).rev() {
            let first = self.starts[b];
            if first != hole {
                self.put(self.at(first), hole);
            }
            self.starts[b] = first + 1;
            hole = first;
        }
        self.put(piece, hole);
    }

    fn leave(&mut self, piece: u32) {
        let slot = &mut self.slots[piece as usize];
        if slot.state() != QUEUED {
            return;
        }
        slot.set(60, 3, OUT);
        let (bucket, mut hole) = (slot.bucket(), slot.place());
        for b in bucket..BUCKETS {
            let last = self.starts[b + 1] - 1;
            if last != hole {
                self.put(self.at(last), hole);
            }
            self.starts[b + 1] = last;
            hole = last;
        }
    }

    /// # Panics
    /// When the order is not what the pieces say.
    pub(super) fn check_invariant(&self) {
        let mut seen = 0;
        for bucket in 0..BUCKETS {
            for place in self.bucket(bucket) {
                let piece = self.at(place);
                assert_eq!(self.slots[piece as usize].place(), place, "piece {piece} knows its place");
                assert_eq!(self.urgency(piece), bucket, "piece {piece} is in its bucket");
                assert!(self.queued(piece), "piece {piece} in the order is marked so");
                seen += 1;
            }
        }
        let queued = (0..self.pieces()).filter(|&p| self.queued(p)).count();
        assert_eq!(queued, seen, "every queued piece is in the order once");
        for piece in 0..self.pieces() {
            let wanted = self.priority(piece) != Priority::Skip;
            let untouched = self.state(piece) == State::Untouched;
            assert_eq!(self.queued(piece), wanted && untouched, "piece {piece} is queued if wanted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_grow_with_availability() {
        let mut last = 0;
        for count in 0..=u16::MAX {
            let class = class(count);
            assert!(class == last || class == last + 1, "{count} is in class {class} after {last}");
            last = class;
        }
        assert_eq!(last + 1, CLASSES);
        assert_eq!((class(15), class(16), class(23), class(24), class(32)), (15, 16, 16, 17, 18));
    }

    #[test]
    fn the_order_follows_every_change() {
        let mut table = Table::new(6);
        for (piece, count) in [(0, 3), (1, 0), (2, 20), (3, 1), (4, 1), (5, 2)] {
            (0..count).for_each(|_| table.more(piece));
            table.check_invariant();
        }
        let order = |t: &Table| (0..t.len()).map(|p| t.at(p)).collect::<Vec<_>>();
        assert_eq!(order(&table)[0], 1);
        assert_eq!(order(&table)[3..], [5, 0, 2]);
        table.set_priority(2, Priority::High);
        table.set_priority(0, Priority::Low);
        table.set_priority(3, Priority::Skip);
        table.check_invariant();
        assert_eq!(order(&table), [2, 1, 4, 5, 0]);
        table.set_partial(4, 0);
        table.set_have(1);
        table.less(5);
        table.check_invariant();
        assert_eq!(order(&table), [2, 5, 0]);
        table.set_untouched(4);
        table.less(4);
        table.check_invariant();
        assert_eq!(order(&table), [2, 4, 5, 0]);
    }
}
