//! Which dictionaries are being put together, and whose turn it is.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use metainfo::InfoHashes;

use super::assembly::Assembly;
use crate::engine::time::Time;

/// Bytes of all large dictionaries that are put together at a time, as claimed: one of the largest fits.
const ROOM: u64 = super::MAX_SIZE;
/// A dictionary is small up to this part of the room: a mebibyte. Nearly all are.
const SMALL: u64 = 64;
/// The room that small ones have besides, as a part of that of large ones.
const ROOM_FOR_SMALL: u64 = 2;
/// How long a course is left alone once others wait for its room. Twice as long each time it comes back.
const TURN: Duration = Duration::from_secs(6);
/// A course whose turn is over goes on if it is done, at the pace it has, within so many turns.
const TURNS_TO_END: u32 = 5;
/// Doublings of a turn at most.
const MOST_DOUBLINGS: u32 = 8;
/// Courses of which it is known how often they had their turn.
const MOST_KNOWN: usize = 2048;

/// Who puts a dictionary together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Course<W> {
    /// All who claim this size, but for suspects.
    Shared(u64),
    /// This suspect.
    Alone(W),
}

/// The assemblies, and those that wait for room.
#[derive(Debug)]
pub(super) struct Courses<W> {
    pub(super) open: BTreeMap<Course<W>, Assembly<W>>,
    lines: BTreeMap<Course<W>, Line>,
    /// Whether some of them wait for room.
    waits: bool,
    room: u64,
    /// Names the next assembly.
    next_name: u64,
}

/// How a course stands in the line.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Since when it waits, or since when it last did.
    since: Time,
    /// How often it had its turn without an end.
    turns: u32,
    /// Until then it is left alone: there was no memory for it.
    rests_until: Time,
}

impl Line {
    fn new(now: Time) -> Self {
        Self { since: now, turns: 0, rests_until: now }
    }
}

/// Who wants a course.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub(super) size: u64,
    pub(super) peers: usize,
}

impl<W: Copy + Ord> Courses<W> {
    pub(super) fn new() -> Self {
        Self { open: BTreeMap::new(), lines: BTreeMap::new(), waits: false, room: ROOM, next_name: 0 }
    }

    /// Opens what peers want, as far as there is room; who waits longest goes first, then what most peers want, then what is small.
    pub(super) fn arrange(&mut self, now: Time, hashes: &InfoHashes, wanted: &BTreeMap<Course<W>, Want>) {
        let waits = wanted.iter().filter(|(course, _)| !self.open.contains_key(course));
        let mut waiting = Vec::new();
        for (course, want) in waits {
            let line = self.lines.entry(*course).or_insert(Line::new(now));
            if line.rests_until <= now {
                waiting.push((line.since, Reverse(want.peers), want.size, *course));
            }
        }
        waiting.sort_unstable();
        self.waits = false;
        let mut is_taken = [false; 2];
        for (_, _, size, course) in waiting {
            let is_taken = &mut is_taken[usize::from(self.is_small(size))];
            // Nobody overtakes who waits for more room.
            if *is_taken || !self.make_room(now, size, wanted) {
                (*is_taken, self.waits) = (true, true);
                continue;
            }
            self.next_name += 1;
            self.open.insert(course, Assembly::new(self.next_name, size, now, hashes));
        }
        if self.lines.len() > MOST_KNOWN {
            self.lines.retain(|course, _| wanted.contains_key(course) || self.open.contains_key(course));
        }
    }

    /// Closes courses for one of this size, if enough of them have had their turn; those that get nowhere first. Whether there is
    /// room.
    fn make_room(&mut self, now: Time, size: u64, wanted: &BTreeMap<Course<W>, Want>) -> bool {
        let is_small = self.is_small(size);
        let room = if is_small { self.room / ROOM_FOR_SMALL } else { self.room };
        let alike = || self.open.iter().filter(|(_, assembly)| self.is_small(assembly.size) == is_small);
        let taken: u64 = alike().map(|(_, assembly)| assembly.size).sum();
        let mut lacking = (taken + size).saturating_sub(room);
        if lacking == 0 {
            return true;
        }
        let over = alike().filter(|(course, assembly)| {
            let is_idle = !wanted.contains_key(course);
            let is_over = self.turn_ends(course, assembly) <= now && self.is_slow(now, course, assembly);
            !assembly.lags() && (is_idle || is_over)
        });
        let mut over: Vec<_> =
            over.map(|(course, a)| (wanted.contains_key(course), Reverse(a.size), *course)).collect();
        over.sort_unstable();
        let freed: u64 = over.iter().map(|(_, Reverse(size), _)| *size).sum();
        if freed < lacking {
            return false;
        }
        for (_, Reverse(size), course) in over {
            if lacking == 0 {
                break;
            }
            lacking = lacking.saturating_sub(size);
            self.close(now, course);
        }
        true
    }

    /// A course had its turn, without an end.
    fn close(&mut self, now: Time, course: Course<W>) -> &mut Line {
        self.open.remove(&course);
        let line = self.lines.entry(course).or_insert(Line::new(now));
        line.since = now;
        line.turns = line.turns.saturating_add(1);
        line
    }

    /// Parts with a course, as memory is short: others go on.
    pub(super) fn shed(&mut self, now: Time, course: Course<W>) {
        self.close(now, course).rests_until = now + TURN;
    }

    fn is_small(&self, size: u64) -> bool {
        size <= self.room / SMALL
    }

    fn is_slow(&self, now: Time, course: &Course<W>, assembly: &Assembly<W>) -> bool {
        assembly.drags(now, self.turn(course) * TURNS_TO_END)
    }

    fn turn_ends(&self, course: &Course<W>, assembly: &Assembly<W>) -> Time {
        assembly.since + self.turn(course)
    }

    fn turn(&self, course: &Course<W>) -> Duration {
        let turns = self.lines.get(course).map_or(0, |line| line.turns);
        TURN * (1 << turns.min(MOST_DOUBLINGS))
    }

    /// When somebody's turn may be over, if anybody waits for that.
    pub(super) fn next_timeout(&self, now: Time) -> Option<Time> {
        let ends = |(course, assembly)| match self.turn_ends(course, assembly) {
            at if at > now => at,
            // It goes on at a good pace: whether it keeps it is looked at now and then.
            _ => now + TURN / 4,
        };
        let turns = self.open.iter().filter(|_| self.waits).map(ends);
        let rests = self.lines.values().map(|line| line.rests_until).filter(|at| *at > now);
        turns.chain(rests).min()
    }

    /// A course comes to no end: nobody is left for it, or its end was wrong.
    pub(super) fn forget(&mut self, course: &Course<W>) {
        self.open.remove(course);
        self.lines.remove(course);
    }

    /// The room that is shared, in bytes.
    #[cfg(test)]
    pub(super) fn set_room(&mut self, room: u64) {
        self.room = room;
    }
}
