//! Deadlines of many owners: a table of times by owner and kind, and a heap that finds the earliest.
//!
//! Most timers of a peer are pushed back over and over (a block came, a message was sent) and seldom fire. So
//! the table holds the truth, and the heap holds for each timer one wake-up that is no later than its deadline:
//! moving a deadline later or cancelling it writes one cell of the table and leaves the heap alone. A wake-up
//! that turns out early is put back at the real time when it reaches the top.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Debug;
use std::marker::PhantomData;

use super::time::Time;

/// The kinds of timers that one owner has: an enum without fields.
///
/// ```
/// use swarm::engine::timers::Kind;
///
/// #[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// enum PeerTimer { KeepAlive, Request }
///
/// impl Kind for PeerTimer {
///     const ALL: &'static [Self] = &[Self::KeepAlive, Self::Request];
///     fn index(self) -> usize { self as usize }
/// }
/// ```
pub trait Kind: Copy + Debug + 'static {
    /// Every kind, in the order of [`Kind::index`].
    const ALL: &'static [Self];
    /// The place of this kind in [`Kind::ALL`].
    fn index(self) -> usize;
}

/// Deadlines keyed by owner (a slab key) and kind.
///
/// Commands are [`set`](Self::set), [`cancel`](Self::cancel) and [`remove`](Self::remove); the output is
/// [`poll`](Self::poll), to be called until it returns `None`; [`next_timeout`](Self::next_timeout) says when to
/// call it again. Timers of the same moment fire in order of owner and kind.
///
/// Costs: later or cancel O(1), earlier O(log n), fire O(log n). Memory is 16 bytes for each kind of each owner
/// up to the largest key, and the heap is at most twice as long as the number of armed timers (plus a constant).
#[derive(Debug)]
pub struct Timers<K> {
    cells: Vec<Cell>,
    heap: BinaryHeap<Reverse<(Time, u32)>>,
    armed: usize,
    kind: PhantomData<K>,
}

/// One timer. [`Time::MAX`] stands for "none" in both fields.
#[derive(Clone, Copy, Debug)]
struct Cell {
    deadline: Time,
    /// The wake-up in the heap that counts for this timer; others are left over and ignored.
    wake: Time,
}

impl Cell {
    const IDLE: Self = Self { deadline: Time::MAX, wake: Time::MAX };
}

/// Left-over heap entries that are tolerated before the heap is rebuilt, besides one for each armed timer.
const SLACK: usize = 64;

impl<K: Kind> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kind> Timers<K> {
    /// No timers.
    pub const fn new() -> Self {
        Self { cells: Vec::new(), heap: BinaryHeap::new(), armed: 0, kind: PhantomData }
    }

    /// How many timers are armed.
    pub const fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is armed.
    pub const fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// The deadline of a timer, if it is armed.
    pub fn get(&self, owner: usize, kind: K) -> Option<Time> {
        let deadline = self.cells.get(Self::slot(owner, kind))?.deadline;
        (deadline < Time::MAX).then_some(deadline)
    }

    /// Arms a timer, or moves it. [`Time::MAX`] cancels.
    pub fn set(&mut self, owner: usize, kind: K, deadline: Time) {
        if deadline == Time::MAX {
            return self.cancel(owner, kind);
        }
        let slot = Self::slot(owner, kind);
        if slot >= self.cells.len() {
            self.cells.resize((owner + 1) * K::ALL.len(), Cell::IDLE);
        }
        let cell = &mut self.cells[slot];
        self.armed += usize::from(cell.deadline == Time::MAX);
        cell.deadline = deadline;
        if deadline < cell.wake {
            cell.wake = deadline;
            self.push(slot, deadline);
        }
    }

    /// Disarms a timer; nothing happens if it was not armed.
    pub fn cancel(&mut self, owner: usize, kind: K) {
        if let Some(cell) = self.cells.get_mut(Self::slot(owner, kind))
            && cell.deadline < Time::MAX
        {
            cell.deadline = Time::MAX;
            self.armed -= 1;
        }
    }

    /// Disarms every timer of an owner, so that its key can be used for another.
    pub fn remove(&mut self, owner: usize) {
        for kind in K::ALL {
            self.cancel(owner, *kind);
        }
    }

    /// The next timer whose deadline has come, disarmed. Call until `None`.
    pub fn poll(&mut self, now: Time) -> Option<(usize, K)> {
        if self.next_timeout()? > now {
            return None;
        }
        let Reverse((_, slot)) = self.heap.pop()?;
        let slot = slot as usize;
        self.cells[slot] = Cell::IDLE;
        self.armed -= 1;
        Some((slot / K::ALL.len(), K::ALL[slot % K::ALL.len()]))
    }

    /// The earliest deadline.
    pub fn next_timeout(&mut self) -> Option<Time> {
        while let Some(&Reverse((wake, slot))) = self.heap.peek() {
            let cell = &mut self.cells[slot as usize];
            if cell.wake == wake && cell.deadline == wake {
                return Some(wake);
            }
            let Some(mut top) = self.heap.peek_mut() else { break };
            if cell.wake == wake && cell.deadline < Time::MAX {
                cell.wake = cell.deadline;
                top.0.0 = cell.deadline;
            } else {
                if cell.wake == wake {
                    cell.wake = Time::MAX;
                }
                std::collections::binary_heap::PeekMut::pop(top);
            }
        }
        None
    }

    /// Panics if the table and the heap disagree.
    pub fn check_invariant(&self) {
        let armed = self.cells.iter().filter(|cell| cell.deadline < Time::MAX).count();
        assert_eq!(armed, self.armed);
        assert!(self.heap.len() <= 2 * self.cells.len().max(self.armed) + SLACK);
        let mut entries: Vec<(Time, u32)> = self.heap.iter().map(|entry| entry.0).collect();
        entries.sort_unstable();
        for (slot, cell) in self.cells.iter().enumerate() {
            assert!(
                cell.wake <= cell.deadline || cell.deadline == Time::MAX,
                "slot {slot} would wake too late"
            );
            if cell.wake < Time::MAX {
                let key = (cell.wake, u32::try_from(slot).expect("slots fit in 32 bits"));
                assert!(entries.binary_search(&key).is_ok(), "slot {slot} has no wake-up");
            }
        }
    }

    fn push(&mut self, slot: usize, wake: Time) {
        let slot = u32::try_from(slot).expect("a slab of peers is smaller than 2^32");
        self.heap.push(Reverse((wake, slot)));
        if self.heap.len() > 2 * self.armed + SLACK {
            self.rebuild();
        }
    }

    /// Drops what is left over. At least half of the entries were, so it costs O(1) for each push before it.
    fn rebuild(&mut self) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        let cells = &mut self.cells;
        entries.retain_mut(|Reverse((wake, slot))| {
            let cell = &mut cells[*slot as usize];
            if cell.wake != *wake {
                return false;
            }
            // A second entry of the same moment must not pass for the first, so the cell is taken here.
            cell.wake = Time::MAX;
            *wake = cell.deadline;
            cell.deadline < Time::MAX
        });
        for Reverse((wake, slot)) in &entries {
            cells[*slot as usize].wake = *wake;
        }
        self.heap = entries.into();
    }

    fn slot(owner: usize, kind: K) -> usize {
        owner * K::ALL.len() + kind.index()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Timer {
        KeepAlive,
        Request,
        Round,
    }

    impl Kind for Timer {
        const ALL: &'static [Self] = &[Self::KeepAlive, Self::Request, Self::Round];
        fn index(self) -> usize {
            self as usize
        }
    }

    fn fired(timers: &mut Timers<Timer>, now: Time) -> Vec<(usize, Timer)> {
        std::iter::from_fn(|| timers.poll(now)).collect()
    }

    #[test]
    fn timers_fire_in_order_and_once() {
        let mut timers = Timers::new();
        timers.set(7, Timer::Request, Time::from_secs(2));
        timers.set(3, Timer::KeepAlive, Time::from_secs(1));
        timers.set(3, Timer::Round, Time::from_secs(2));
        assert_eq!(timers.next_timeout(), Some(Time::from_secs(1)));
        assert_eq!(fired(&mut timers, Time::from_millis(999)), []);
        assert_eq!(
            fired(&mut timers, Time::from_secs(2)),
            [(3, Timer::KeepAlive), (3, Timer::Round), (7, Timer::Request)]
        );
        assert!(timers.is_empty());
        assert_eq!(timers.next_timeout(), None);
    }

    #[test]
    fn a_timer_moved_later_fires_late_and_one_moved_earlier_fires_early() {
        let mut timers = Timers::new();
        timers.set(0, Timer::Request, Time::from_secs(10));
        timers.set(0, Timer::Request, Time::from_secs(20));
        timers.set(1, Timer::Request, Time::from_secs(20));
        timers.set(1, Timer::Request, Time::from_secs(5));
        assert_eq!(fired(&mut timers, Time::from_secs(19)), [(1, Timer::Request)]);
        assert_eq!(timers.next_timeout(), Some(Time::from_secs(20)));
        assert_eq!(fired(&mut timers, Time::from_secs(20)), [(0, Timer::Request)]);
    }

    #[test]
    fn the_next_owner_of_a_key_does_not_get_the_timers_of_the_last() {
        let mut timers = Timers::new();
        timers.set(4, Timer::KeepAlive, Time::from_secs(1));
        timers.set(4, Timer::Request, Time::from_secs(1));
        timers.remove(4);
        timers.set(4, Timer::Request, Time::from_secs(3));
        assert_eq!(fired(&mut timers, Time::from_secs(2)), []);
        assert_eq!(fired(&mut timers, Time::from_secs(3)), [(4, Timer::Request)]);
    }

    #[test]
    fn rearming_a_million_times_does_not_grow_the_heap() {
        let mut timers = Timers::new();
        for step in 0..1_000_000_u64 {
            let owner = (step % 100) as usize;
            // Down and up, so that entries are left over.
            let at = Time::from_millis(10_000_000 - step + 1000 * (step % 7));
            timers.set(owner, Timer::Request, at);
        }
        assert_eq!(timers.len(), 100);
        assert!(timers.heap.len() <= 2 * 100 + SLACK, "{}", timers.heap.len());
        timers.check_invariant();
    }

    #[derive(Clone, Debug)]
    enum Op {
        Set(usize, Timer, u64),
        Cancel(usize, Timer),
        Remove(usize),
        Advance(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let kind = prop::sample::select(Timer::ALL);
        prop_oneof![
            6 => (0..5_usize, kind.clone(), 0..50_u64).prop_map(|(owner, kind, after)| Op::Set(owner, kind, after)),
            2 => (0..5_usize, kind).prop_map(|(owner, kind)| Op::Cancel(owner, kind)),
            1 => (0..5_usize).prop_map(Op::Remove),
            3 => (0..30_u64).prop_map(Op::Advance),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_plain_map(ops in prop::collection::vec(op(), 1..300)) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<(usize, Timer), Time> = BTreeMap::new();
            let mut now = Time::ZERO;
            for op in ops {
                match op {
                    Op::Set(owner, kind, after) => {
                        let at = now + Duration::from_micros(after);
                        timers.set(owner, kind, at);
                        model.insert((owner, kind), at);
                    }
                    Op::Cancel(owner, kind) => {
                        timers.cancel(owner, kind);
                        model.remove(&(owner, kind));
                    }
                    Op::Remove(owner) => {
                        timers.remove(owner);
                        model.retain(|key, _| key.0 != owner);
                    }
                    Op::Advance(by) => {
                        now += Duration::from_micros(by);
                        let mut due: Vec<_> =
                            model.iter().filter(|(_, at)| **at <= now).map(|(key, at)| (*at, key.0, key.1)).collect();
                        due.sort_unstable();
                        model.retain(|_, at| *at > now);
                        let due: Vec<_> = due.into_iter().map(|(_, owner, kind)| (owner, kind)).collect();
                        prop_assert_eq!(fired(&mut timers, now), due);
                    }
                }
                timers.check_invariant();
                prop_assert_eq!(timers.len(), model.len());
                prop_assert_eq!(timers.next_timeout(), model.values().min().copied());
            }
        }
    }
}
