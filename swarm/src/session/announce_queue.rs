//! Whose turn it is to be announced: few at a time to one tracker, and fewer to one that has not answered, so that a tracker
//! that is silent holds nobody else up, and announces of many torrents to one go over few connections, one after the other.
//!
//! - A host that answered the last time has more places than one that did not, or was not asked yet.
//! - Hosts that answer and hosts that do not share the places: neither kind can take them all.
//! - Of the hosts that have room the one with the fewest announces under way comes first; those that were silent last come
//!   after the others. Otherwise they go in the order in which they came.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// How many announces are under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// In all. Half of them are for hosts that answer, and a quarter for others.
    pub(super) most: usize,
    /// To a host that answers.
    pub(super) answering: usize,
    /// To one that does not, or is not known to.
    pub(super) other: usize,
}

/// What became of the last announce is remembered of so many hosts of which nothing is asked.
const MAX_REMEMBERED: usize = 512;

/// Name and port.
pub(super) type Host = (String, u16);

/// What became of an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The tracker said something.
    Answered,
    /// It did not, or was not reached.
    Silent,
    /// It says nothing of the tracker.
    Untried,
}

/// What waits, by ticket, and what is under way.
pub(super) struct Queue<T, A> {
    /// In the order in which they came.
    waiting: BTreeMap<u64, Entry<T, A>>,
    places: HashMap<T, u64>,
    hosts: BTreeMap<Host, Line>,
    /// The first one of each host that has room: of those that answer, and of the others.
    ready: [BTreeSet<Turn>; 2],
    /// Hosts of which nothing is asked, those first that have been so for longest.
    remembered: BTreeMap<u64, Host>,
    came: u64,
    limits: Limits,
    /// To hosts that answer, and to others.
    under_way: [usize; 2],
}

struct Entry<T, A> {
    ticket: T,
    host: Host,
    ask: A,
}

/// One host.
#[derive(Default)]
struct Line {
    waiting: BTreeSet<u64>,
    under_way: usize,
    last: Option<Ended>,
    ready: Option<Turn>,
    /// Its place among those that are remembered.
    remembered: Option<u64>,
}

/// In which order hosts have their turns: the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    was_silent: bool,
    under_way: usize,
    place: u64,
}

impl Line {
    /// Where what is under way to it counts.
    fn kind(&self) -> usize {
        usize::from(self.last != Some(Ended::Answered))
    }

    fn turn(&self, limits: &Limits) -> Option<Turn> {
        let room = if self.kind() == 0 { limits.answering } else { limits.other };
        let place = *self.waiting.first().filter(|_| self.under_way < room)?;
        let was_silent = self.last == Some(Ended::Silent);
        Some(Turn { was_silent, under_way: self.under_way, place })
    }
}

impl<T: Clone + Eq + Hash, A> Queue<T, A> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            hosts: BTreeMap::new(),
            ready: Default::default(),
            remembered: BTreeMap::new(),
            came: 0,
            limits,
            under_way: [0, 0],
        }
    }

    /// Other limits hold from now on.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.settle(&host);
        }
    }

    pub(super) fn push(&mut self, ticket: T, host: &Host, ask: A) {
        self.came += 1;
        self.places.insert(ticket.clone(), self.came);
        self.hosts.entry(host.clone()).or_default().waiting.insert(self.came);
        self.waiting.insert(self.came, Entry { ticket, host: host.clone(), ask });
        self.settle(host);
    }

    /// The next one, if there is room. It is under way until [`Self::ended`].
    pub(super) fn pop(&mut self) -> Option<(Host, A)> {
        let most = self.limits.most;
        let [answering, others] = self.under_way;
        let has_room = [answering < most - most / 4, others < most / 2];
        let free = answering + others < most;
        let firsts = self.ready.iter().zip(has_room).filter(|(_, has_room)| *has_room && free);
        let turn = firsts.filter_map(|(ready, _)| ready.first()).min().copied()?;
        let entry = self.waiting.remove(&turn.place)?;
        self.places.remove(&entry.ticket);
        if let Some(line) = self.hosts.get_mut(&entry.host) {
            line.waiting.remove(&turn.place);
            line.under_way += 1;
            self.under_way[line.kind()] += 1;
        }
        self.settle(&entry.host);
        Some((entry.host, entry.ask))
    }

    /// One to this host is not under way any more.
    pub(super) fn ended(&mut self, host: &Host, how: Ended) {
        if let Some(line) = self.hosts.get_mut(host) {
            self.under_way[line.kind()] -= line.under_way;
            line.under_way = line.under_way.saturating_sub(1);
            if how != Ended::Untried {
                line.last = Some(how);
            }
            // `settle` knows it by where it stands.
            if let Some(turn) = line.ready.take() {
                self.ready.iter_mut().for_each(|ready| _ = ready.remove(&turn));
            }
            self.under_way[line.kind()] += line.under_way;
        }
        self.settle(host);
    }

    /// Whether it was waiting; it is not any more.
    pub(super) fn drop_waiting(&mut self, ticket: &T) -> bool {
        let Some(entry) = self.places.remove(ticket).and_then(|place| {
            let entry = self.waiting.remove(&place)?;
            self.hosts.get_mut(&entry.host)?.waiting.remove(&place);
            Some(entry)
        }) else {
            return false;
        };
        self.settle(&entry.host);
        true
    }

    /// Makes the first one that waits for a host ready, if there is room, and forgets a host of which nothing is known and
    /// nothing asked.
    fn settle(&mut self, host: &Host) {
        let Some(line) = self.hosts.get_mut(host) else { return };
        let ready = &mut self.ready[line.kind()];
        if let Some(turn) = line.ready.take() {
            ready.remove(&turn);
        }
        line.ready = line.turn(&self.limits);
        ready.extend(line.ready);
        if let Some(place) = line.remembered.take() {
            self.remembered.remove(&place);
        }
        if !line.waiting.is_empty() || line.under_way > 0 {
            return;
        }
        if line.last.is_some() {
            self.came += 1;
            line.remembered = Some(self.came);
            self.remembered.insert(self.came, host.clone());
        } else {
            self.hosts.remove(host);
        }
        if self.remembered.len() > MAX_REMEMBERED
            && let Some((_, oldest)) = self.remembered.pop_first()
        {
            self.hosts.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
