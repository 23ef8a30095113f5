//! Queries under way: an answer has to bring the id of its query and come from where the query went.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;

use super::api::LookupId;
use super::id::Id;
use crate::engine::time::Time;

/// An answer that takes longer than this is none.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// What a query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A step of a lookup.
    Step(LookupId),
    /// To hear of nodes from one that told only of peers. It was found by a chain of so many.
    Follow(LookupId, u32),
    /// To get what a node could not send to an address that may be forged.
    Again(LookupId),
    /// To store something at the end of one.
    Store(LookupId),
    /// One question to one node, for the user.
    Single(LookupId),
    /// To see whether a node is there.
    Check,
}

/// A query under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) to: SocketAddr,
    /// The id that the node is said to have.
    pub(crate) id: Option<Id>,
    pub(crate) purpose: Purpose,
    pub(crate) sent: Time,
    late: bool,
    due: Time,
}

impl Pending {
    pub(crate) fn new(now: Time, to: SocketAddr, id: Option<Id>, purpose: Purpose) -> Self {
        Self { to, id, purpose, sent: now, late: false, due: now }
    }
}

/// What became of a query whose time came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Overdue {
    /// It takes long; the answer may still come.
    Late(Pending),
    /// It is given up.
    Dead(Pending),
}

/// All queries under way.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    pending: BTreeMap<u32, Pending>,
    timers: BTreeSet<(Time, u32)>,
    late: usize,
}

impl Transactions {
    /// A query goes out; it is late after `short`. Returns its transaction id, which strangers cannot guess.
    pub(crate) fn begin(&mut self, mut pending: Pending, short: Duration, rng: &mut impl Rng) -> [u8; 4] {
        let id = loop {
            let id = rng.next_u32();
            if !self.pending.contains_key(&id) {
                break id;
            }
        };
        pending.due = pending.sent + short.min(TIMEOUT);
        self.timers.insert((pending.due, id));
        self.pending.insert(id, pending);
        id.to_be_bytes()
    }

    /// The query that an answer is for.
    pub(crate) fn take(&mut self, transaction: &[u8], from: SocketAddr) -> Option<Pending> {
        let id = u32::from_be_bytes(transaction.try_into().ok()?);
        let pending = *self.pending.get(&id).filter(|pending| pending.to == from)?;
        self.pending.remove(&id);
        self.late -= usize::from(pending.late);
        self.timers.remove(&(pending.due, id));
        Some(pending)
    }

    /// The queries to an address.
    pub(crate) fn take_all(&mut self, to: SocketAddr) -> Vec<Pending> {
        let there = self.pending.iter().filter(|(_, pending)| pending.to == to).map(|(id, _)| *id);
        let there: Vec<u32> = there.collect();
        there.into_iter().filter_map(|id| self.take(&id.to_be_bytes(), to)).collect()
    }

    /// The next query whose time has come.
    pub(crate) fn overdue(&mut self, now: Time) -> Option<Overdue> {
        while let Some(&(due, id)) = self.timers.first()
            && due <= now
        {
            self.timers.pop_first();
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            let end = pending.sent + TIMEOUT;
            if !pending.late && now < end {
                (pending.late, pending.due) = (true, end);
                self.late += 1;
                self.timers.insert((end, id));
                return Some(Overdue::Late(*pending));
            }
            self.late -= usize::from(pending.late);
            return self.pending.remove(&id).map(Overdue::Dead);
        }
        None
    }

    /// When the next query is late or dead.
    pub(crate) fn next(&self) -> Option<Time> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Queries whose answers are not late yet.
    pub(crate) fn live(&self) -> usize {
        self.pending.len() - self.late
    }

    /// All queries, late ones included.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether this address is being asked.
    pub(crate) fn is_asking(&self, addr: SocketAddr) -> bool {
        self.pending.values().any(|pending| pending.to == addr)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const SHORT: Duration = Duration::from_millis(500);

    fn addr(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    #[test]
    fn an_answer_needs_the_id_and_the_address_and_counts_once() {
        let (mut all, mut rng) = (Transactions::default(), ChaCha8Rng::seed_from_u64(1));
        let pending = Pending::new(Time::ZERO, addr(1), None, Purpose::Check);
        let id = all.begin(pending, SHORT, &mut rng);
        assert!(all.take(&id, addr(2)).is_none() && all.take(&id[..2], addr(1)).is_none());
        assert!(
            all.take(b"", addr(1)).is_none()
                && all.take(&[id[0] ^ 1, id[1], id[2], id[3]], addr(1)).is_none()
        );
        assert_eq!(all.take(&id, addr(1)).map(|pending| pending.to), Some(addr(1)));
        assert!(all.take(&id, addr(1)).is_none() && all.next().is_none());
    }

    #[test]
    fn a_query_is_late_first_and_dead_later_and_may_be_answered_between() {
        let (mut all, mut rng) = (Transactions::default(), ChaCha8Rng::seed_from_u64(1));
        let ids: Vec<_> = (0..2)
            .map(|port| {
                all.begin(Pending::new(Time::ZERO, addr(port), None, Purpose::Check), SHORT, &mut rng)
            })
            .collect();
        assert_eq!((all.next(), all.live()), (Some(Time::ZERO + SHORT), 2));
        for _ in 0..2 {
            assert!(matches!(all.overdue(Time::from_secs(1)), Some(Overdue::Late(_))));
        }
        assert!(all.overdue(Time::from_secs(1)).is_none());
        assert_eq!((all.live(), all.len()), (0, 2));
        assert!(all.take(&ids[0], addr(0)).is_some());
        assert!(matches!(all.overdue(Time::from_secs(9)), Some(Overdue::Dead(dead)) if dead.to == addr(1)));
        assert_eq!((all.live(), all.len(), all.next()), (0, 0, None));
    }
}
