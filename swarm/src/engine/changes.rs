//! What changed since a reader last asked: dirty lists by column, without any state per reader.
//!
//! Each column keeps its entries in a list ordered by the revision of their last change, so marking moves one entry to
//! the back, and a poll walks from the back to where the reader was:
//!
//! ```text
//!   rates:     A@3 - D@7 - C@8 - B@8        a reader at 7 asks for rates and progress:
//!   progress:  C@2 - B@4 - A@8 - D@8        B and C (rates), A and D (progress)
//! ```
//!
//! Marks stamp the revision that the next poll closes, so any number of marks between two polls is one change.

use std::collections::VecDeque;
use std::ops::BitOr;

use super::looks::look;

/// A set of columns: groups of values that change together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Columns(u8);

impl Columns {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Name, folder, labels, state, error: what changes by hand or seldom.
    pub const IDENTITY: Self = Self(1);
    /// Rates, and totals of bytes moved.
    pub const RATES: Self = Self(1 << 1);
    /// What is done and what is left.
    pub const PROGRESS: Self = Self(1 << 2);
    /// State of the trackers.
    pub const TRACKERS: Self = Self(1 << 3);
    /// Priorities and progress of files.
    pub const FILES: Self = Self(1 << 4);
    /// The list of peers.
    pub const PEERS: Self = Self(1 << 5);
    /// Every column.
    pub const ALL: Self = Self((1 << COLUMNS) - 1);

    /// Whether any of these columns is in the set.
    pub const fn has(self, columns: Self) -> bool {
        self.0 & columns.0 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn indices(self) -> impl Iterator<Item = usize> {
        (0..COLUMNS).filter(move |column| self.0 & (1 << column) != 0)
    }
}

impl BitOr for Columns {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

const COLUMNS: usize = 6;
const NONE: u32 = u32::MAX;

/// What changed for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta<K> {
    /// To be given with the next question.
    pub revision: u64,
    /// The reader is new or too far behind: forget everything, the upserts are all there is.
    pub full: bool,
    /// Entries that are new or changed, each once.
    pub upserts: Vec<Upsert<K>>,
    /// Keys that are gone. Apply these before the upserts: a key may have come back.
    pub removed: Vec<K>,
}

/// One entry that is new or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upsert<K> {
    /// Its key.
    pub key: K,
    /// Its slot in the caller's slab.
    pub slot: usize,
    /// Which of the columns asked for changed.
    pub columns: Columns,
}

/// The revisions of a set of entries, each named by the caller's slab slot and a key that readers know it by.
///
/// Inputs are [`insert`](Self::insert), [`mark`](Self::mark) and [`remove`](Self::remove), each O(1); the output is
/// [`since`](Self::since): O(1) if nothing changed, else O(changed entries and columns).
#[derive(Clone, Debug)]
pub struct Changes<K> {
    entries: Vec<Option<Entry<K>>>,
    lists: [List; COLUMNS],
    /// The revision that marks are stamped with; the last closed one is one less.
    open: u64,
    /// Whether anything carries the open revision.
    dirty: bool,
    removed: VecDeque<(u64, K)>,
    keep: usize,
    /// A reader behind this revision may have missed a removal.
    forgotten: u64,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    key: K,
    links: [Link; COLUMNS],
}

#[derive(Clone, Copy, Debug)]
struct Link {
    stamp: u64,
    prev: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

impl<K: Copy> Changes<K> {
    /// Nothing yet. `first` is the first revision, above zero: one that grows with each run of the program keeps readers of an
    /// earlier run from being taken for current. `keep` removals are remembered for readers that are behind.
    pub fn new(first: u64, keep: usize) -> Self {
        let first = first.max(1);
        Self {
            entries: Vec::new(),
            lists: [List { head: NONE, tail: NONE }; COLUMNS],
            open: first.saturating_add(1),
            dirty: false,
            removed: VecDeque::new(),
            keep,
            forgotten: first,
            len: 0,
        }
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last closed revision.
    pub const fn revision(&self) -> u64 {
        self.open - 1
    }

    /// A new entry, changed in every column. It takes the place of whatever had this slot.
    pub fn insert(&mut self, slot: usize, key: K) {
        self.remove(slot);
        if slot >= self.entries.len() {
            self.entries.resize_with(slot + 1, || None);
        }
        let link = Link { stamp: self.open, prev: NONE, next: NONE };
        self.entries[slot] = Some(Entry { key, links: [link; COLUMNS] });
        for column in 0..COLUMNS {
            self.append(slot, column);
        }
        self.len += 1;
        self.dirty = true;
    }

    /// Columns of an entry changed.
    pub fn mark(&mut self, slot: usize, columns: Columns) {
        for column in columns.indices() {
            let Some(Some(entry)) = self.entries.get(slot) else { return };
            if entry.links[column].stamp < self.open {
                self.unlink(slot, column);
                self.append(slot, column);
                self.dirty = true;
            }
        }
    }

    /// An entry is gone.
    pub fn remove(&mut self, slot: usize) {
        let Some(Some(entry)) = self.entries.get(slot) else { return };
        let key = entry.key;
        for column in 0..COLUMNS {
            self.unlink(slot, column);
        }
        self.entries[slot] = None;
        self.len -= 1;
        self.dirty = true;
        self.removed.push_back((self.open, key));
        if self.removed.len() > self.keep
            && let Some((stamp, _)) = self.removed.pop_front()
        {
            self.forgotten = stamp;
        }
    }

    /// What changed in `columns` since `revision`, which an earlier [`Delta`] gave; zero for a new reader. Removals are told
    /// whatever the columns. Every reader should ask for the same columns each time.
    pub fn since(&mut self, revision: u64, columns: Columns) -> Delta<K> {
        if std::mem::take(&mut self.dirty) {
            self.open += 1;
        }
        let full = revision < self.forgotten || revision > self.revision();
        let mut delta = Delta { revision: self.revision(), full, upserts: Vec::new(), removed: Vec::new() };
        if full {
            let entries = (0..).zip(&self.entries).inspect(|_| look());
            let all =
                entries.filter_map(|(slot, entry)| Some(Upsert { key: entry.as_ref()?.key, slot, columns }));
            delta.upserts = all.collect();
            return delta;
        }
        if revision == self.revision() {
            return delta;
        }
        for column in columns.indices() {
            self.collect(revision, columns, column, &mut delta.upserts);
        }
        let gone = self.removed.iter().rev().take_while(|(stamp, _)| *stamp > revision);
        delta.removed = gone.map(|(_, key)| *key).collect();
        delta
    }

    /// Entries whose first changed column is this one; the others were collected before.
    fn collect(&self, revision: u64, columns: Columns, column: usize, upserts: &mut Vec<Upsert<K>>) {
        let mut at = self.lists[column].tail;
        while let Some(Some(entry)) = self.entries.get(at as usize) {
            look();
            if entry.links[column].stamp <= revision {
                return;
            }
            let changed = columns.indices().filter(|column| entry.links[*column].stamp > revision);
            let changed = changed.fold(Columns::NONE, |set, column| set | Columns(1 << column));
            if changed.indices().next() == Some(column) {
                upserts.push(Upsert { key: entry.key, slot: at as usize, columns: changed });
            }
            at = entry.links[column].prev;
        }
    }

    fn append(&mut self, slot: usize, column: usize) {
        let index = u32::try_from(slot).expect("a slab of torrents is smaller than 2^32");
        let tail = std::mem::replace(&mut self.lists[column].tail, index);
        if let Some(link) = self.link(slot, column) {
            (link.prev, link.next) = (tail, NONE);
        }
        let open = self.open;
        if let Some(link) = self.link(slot, column) {
            link.stamp = open;
        }
        match self.link(tail as usize, column) {
            Some(link) => link.next = index,
            None => self.lists[column].head = index,
        }
    }

    fn unlink(&mut self, slot: usize, column: usize) {
        let Some(Link { prev, next, .. }) = self.link(slot, column).copied() else { return };
        match self.link(prev as usize, column) {
            Some(link) => link.next = next,
            None => self.lists[column].head = next,
        }
        match self.link(next as usize, column) {
            Some(link) => link.prev = prev,
            None => self.lists[column].tail = prev,
        }
    }

    fn link(&mut self, slot: usize, column: usize) -> Option<&mut Link> {
        self.entries.get_mut(slot)?.as_mut().map(|entry| &mut entry.links[column])
    }

    /// Panics if a list is broken or out of order.
    pub fn check_invariant(&self) {
        for (column, list) in self.lists.iter().enumerate() {
            let (mut at, mut last, mut count, mut stamp) = (list.head, NONE, 0, 0);
            while let Some(Some(entry)) = self.entries.get(at as usize) {
                let link = entry.links[column];
                assert_eq!(link.prev, last);
                assert!(link.stamp >= stamp && link.stamp <= self.open);
                assert!(self.dirty || link.stamp < self.open, "an open change is not known as such");
                (last, at, stamp, count) = (at, link.next, link.stamp, count + 1);
            }
            assert_eq!((list.tail, count), (last, self.len));
        }
        assert!(self.removed.len() <= self.keep);
        assert!(self.removed.iter().is_sorted_by_key(|(stamp, _)| stamp));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn keys(delta: &Delta<u32>) -> Vec<u32> {
        let mut keys: Vec<u32> = delta.upserts.iter().map(|upsert| upsert.key).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_reader_gets_what_changed_in_its_columns() {
        let mut changes = Changes::new(1, 10);
        (0..5).for_each(|slot| changes.insert(slot, slot as u32));
        let first = changes.since(0, Columns::ALL);
        assert!(first.full);
        assert_eq!(keys(&first), [0, 1, 2, 3, 4]);
        changes.mark(1, Columns::RATES);
        changes.mark(2, Columns::PROGRESS | Columns::RATES);
        changes.mark(3, Columns::PEERS);
        changes.mark(99, Columns::ALL);
        let delta = changes.since(first.revision, Columns::RATES | Columns::PROGRESS);
        assert!(!delta.full);
        assert_eq!(keys(&delta), [1, 2]);
        let both = delta.upserts.iter().find(|upsert| upsert.key == 2).map(|upsert| upsert.columns);
        assert_eq!(both, Some(Columns::RATES | Columns::PROGRESS));
        let again = changes.since(delta.revision, Columns::ALL);
        assert_eq!((again.revision, again.upserts, again.full), (delta.revision, vec![], false));
    }

    #[test]
    fn readers_do_not_disturb_each_other() {
        let mut changes = Changes::new(1, 10);
        (0..3).for_each(|slot| changes.insert(slot, slot as u32));
        let slow = changes.since(0, Columns::ALL).revision;
        changes.mark(0, Columns::RATES);
        let fast = changes.since(slow, Columns::ALL).revision;
        changes.mark(1, Columns::RATES);
        assert_eq!(keys(&changes.since(fast, Columns::ALL)), [1]);
        assert_eq!(keys(&changes.since(slow, Columns::ALL)), [0, 1]);
    }

    #[test]
    fn a_reader_that_missed_removals_starts_over() {
        let mut changes = Changes::new(1, 3);
        (0..10).for_each(|slot| changes.insert(slot, slot as u32));
        let old = changes.since(0, Columns::ALL).revision;
        (0..3).for_each(|slot| changes.remove(slot));
        let delta = changes.since(old, Columns::RATES);
        assert_eq!((delta.full, delta.removed.len(), delta.upserts.len()), (false, 3, 0));
        changes.remove(3);
        let full = changes.since(old, Columns::RATES);
        assert_eq!((full.full, keys(&full)), (true, vec![4, 5, 6, 7, 8, 9]));
        let current = changes.since(delta.revision, Columns::RATES);
        assert_eq!((current.full, current.removed), (false, vec![3]));
    }

    #[test]
    fn a_reader_of_another_run_starts_over() {
        let mut changes = Changes::new(1_000_000, 3);
        changes.insert(0, 0);
        assert!(changes.since(999_999, Columns::ALL).full);
        assert!(changes.since(u64::MAX, Columns::ALL).full);
        let revision = changes.revision();
        assert!(!changes.since(revision, Columns::ALL).full);
    }

    #[test]
    fn fifty_thousand_entries_cost_only_what_changed() {
        let mut changes = Changes::new(1, 100);
        (0..50_000).for_each(|slot| changes.insert(slot, slot as u32));
        let mut revision = changes.since(0, Columns::ALL).revision;
        for step in 0..20_000_usize {
            let slot = step * 7919 % 50_000;
            changes.mark(slot, Columns::RATES);
            let delta = changes.since(revision, Columns::ALL);
            assert_eq!(delta.upserts, [Upsert { key: slot as u32, slot, columns: Columns::RATES }]);
            revision = delta.revision;
            assert!(changes.since(revision, Columns::ALL).upserts.is_empty());
        }
        changes.check_invariant();
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(usize, u32),
        Mark(usize, u8),
        Remove(usize),
        Poll(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => (0..8_usize, 0..12_u32).prop_map(|(slot, key)| Op::Insert(slot, key)),
            5 => (0..8_usize, 0..64_u8).prop_map(|(slot, columns)| Op::Mark(slot, columns)),
            2 => (0..8_usize).prop_map(Op::Remove),
            3 => (0..3_usize).prop_map(Op::Poll),
        ]
    }

    proptest! {
        #[test]
        fn every_reader_that_applies_its_deltas_sees_the_truth(ops in prop::collection::vec(op(), 1..200)) {
            // The truth: by slot, the key and a value for each column. Keys are unique at any time.
            type Row = [u64; COLUMNS];
            let mut truth: BTreeMap<usize, (u32, Row)> = BTreeMap::new();
            let mut changes = Changes::new(1, 4);
            let wanted = [Columns::ALL, Columns::RATES | Columns::PEERS, Columns::IDENTITY];
            let mut readers: [(u64, BTreeMap<u32, Row>); 3] = Default::default();
            let mut value = 0;
            let polls = (0..3).map(Op::Poll);
            for op in ops.into_iter().chain(polls) {
                value += 1;
                match op {
                    Op::Insert(slot, key) => {
                        if truth.iter().all(|(other, row)| *other == slot || row.0 != key) {
                            changes.insert(slot, key);
                            truth.insert(slot, (key, [value; COLUMNS]));
                        }
                    }
                    Op::Mark(slot, columns) => {
                        changes.mark(slot, Columns(columns));
                        if let Some((_, row)) = truth.get_mut(&slot) {
                            Columns(columns).indices().for_each(|column| row[column] = value);
                        }
                    }
                    Op::Remove(slot) => {
                        changes.remove(slot);
                        truth.remove(&slot);
                    }
                    Op::Poll(reader) => {
                        let (revision, view) = &mut readers[reader];
                        let delta = changes.since(*revision, wanted[reader]);
                        *revision = delta.revision;
                        if delta.full {
                            view.clear();
                        }
                        delta.removed.iter().for_each(|key| { view.remove(key); });
                        for upsert in delta.upserts {
                            let (key, row) = &truth[&upsert.slot];
                            prop_assert_eq!(*key, upsert.key);
                            let seen = view.entry(upsert.key).or_default();
                            upsert.columns.indices().for_each(|column| seen[column] = row[column]);
                        }
                        let masked = |row: Row| -> Row {
                            std::array::from_fn(|column| if wanted[reader].has(Columns(1 << column)) { row[column] } else { 0 })
                        };
                        let expected: BTreeMap<u32, Row> = truth.values().map(|(key, row)| (*key, masked(*row))).collect();
                        prop_assert_eq!(&*view, &expected);
                    }
                }
                changes.check_invariant();
            }
        }
    }
}
