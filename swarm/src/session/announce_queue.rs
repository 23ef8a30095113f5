//! Whose turn it is to be announced: in the order in which they came, but few at a time to one tracker.
//!
//! So announces of many torrents to one tracker go over few connections, one after the other, and a tracker that does not answer
//! holds nobody else up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// What waits, by ticket, and what is under way.
pub(super) struct Queue<T, A> {
    /// In the order in which they came.
    waiting: BTreeMap<u64, Entry<T, A>>,
    places: HashMap<T, u64>,
    hosts: HashMap<Host, Line>,
    /// The first one of each host that has room.
    ready: BTreeSet<u64>,
    came: u64,
    /// Under way at a time, to one host and at all.
    per_host: usize,
    most: usize,
    under_way: usize,
}

/// Name and port.
pub(super) type Host = (String, u16);

struct Entry<T, A> {
    ticket: T,
    host: Host,
    ask: A,
}

#[derive(Default)]
struct Line {
    waiting: BTreeSet<u64>,
    under_way: usize,
}

impl<T: Clone + Eq + Hash, A> Queue<T, A> {
    pub(super) fn new(per_host: usize, most: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            hosts: HashMap::new(),
            ready: BTreeSet::new(),
            came: 0,
            per_host,
            most,
            under_way: 0,
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
        if self.under_way >= self.most {
            return None;
        }
        let place = self.ready.pop_first()?;
        let entry = self.waiting.remove(&place)?;
        self.places.remove(&entry.ticket);
        if let Some(line) = self.hosts.get_mut(&entry.host) {
            line.waiting.remove(&place);
            line.under_way += 1;
        }
        self.under_way += 1;
        self.settle(&entry.host);
        Some((entry.host, entry.ask))
    }

    /// One to this host is not under way any more.
    pub(super) fn ended(&mut self, host: &Host) {
        if let Some(line) = self.hosts.get_mut(host) {
            line.under_way = line.under_way.saturating_sub(1);
            self.under_way = self.under_way.saturating_sub(1);
        }
        self.settle(host);
    }

    /// Whether it was waiting; it is not any more.
    pub(super) fn drop_waiting(&mut self, ticket: &T) -> bool {
        let Some(entry) = self.places.remove(ticket).and_then(|place| {
            self.ready.remove(&place);
            let entry = self.waiting.remove(&place)?;
            self.hosts.get_mut(&entry.host)?.waiting.remove(&place);
            Some(entry)
        }) else {
            return false;
        };
        self.settle(&entry.host);
        true
    }

    /// Makes the first one that waits for a host ready, if there is room.
    fn settle(&mut self, host: &Host) {
        let Some(line) = self.hosts.get(host) else { return };
        match line.waiting.first() {
            Some(first) if line.under_way < self.per_host => _ = self.ready.insert(*first),
            None if line.under_way == 0 => _ = self.hosts.remove(host),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u16) -> Host {
        ("tracker.example".to_owned(), n)
    }

    fn all(queue: &mut Queue<u32, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).map(|(_, ask)| ask).collect()
    }

    #[test]
    fn a_host_has_few_at_a_time_and_holds_no_other_up() {
        let mut queue = Queue::new(2, 5);
        (0..10).for_each(|n| queue.push(n, &host(1), n));
        (10..14).for_each(|n| queue.push(n, &host(2), n));
        assert_eq!(all(&mut queue), [0, 1, 10, 11]);
        queue.push(20, &host(3), 20);
        queue.push(21, &host(4), 21);
        assert_eq!(all(&mut queue), [20], "five in all");
        queue.ended(&host(3));
        queue.ended(&host(1));
        assert_eq!(all(&mut queue), [2, 21], "in the order in which they came");
    }

    #[test]
    fn what_is_dropped_makes_way_and_nothing_is_left_behind() {
        let mut queue = Queue::new(1, 9);
        (0..4).for_each(|n| queue.push(n, &host(1), n));
        assert!(queue.drop_waiting(&0) && !queue.drop_waiting(&0) && queue.drop_waiting(&2));
        assert_eq!(all(&mut queue), [1]);
        assert!(!queue.drop_waiting(&1), "it is under way");
        queue.ended(&host(1));
        assert_eq!(all(&mut queue), [3]);
        queue.ended(&host(1));
        assert!(queue.hosts.is_empty() && queue.waiting.is_empty() && queue.places.is_empty());
        assert_eq!((queue.ready.len(), queue.under_way), (0, 0));
    }

    #[test]
    fn a_ticket_that_comes_again_counts_anew() {
        let mut queue = Queue::new(1, 9);
        queue.push(7, &host(1), 70);
        assert_eq!(all(&mut queue), [70]);
        queue.push(7, &host(1), 71);
        assert!(all(&mut queue).is_empty());
        queue.ended(&host(1));
        assert_eq!(all(&mut queue), [71]);
    }
}
