//! Lookups move on: questions go out, late ones make place, and what is found at the end is stored.

use std::net::SocketAddr;
use std::time::Duration;

use wire::krpc::{Body, Method, Packet, Query, Want};

use super::answer::{AMPLIFICATION, MAX_LONG};
use super::api::{DhtEvent, LookupId, Urgency};
use super::id::Id;
use super::lookup::Origin;
use super::table::{K, Table};
use super::transactions::{Overdue, Pending, Purpose};
use super::walk::{Next, Walk};
use super::{Dht, upkeep};
use crate::engine::time::Time;

/// How long lookups wait that could not ask because too much was under way.
const RETRY: Duration = Duration::from_millis(50);

impl Dht {
    /// Time passed: makes up for late answers, gives up dead ones, and keeps the tables in shape.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(overdue) = self.transactions.overdue(now) {
            match overdue {
                Overdue::Late(pending) => self.late(now, &pending),
                Overdue::Dead(pending) => self.dead(now, &pending),
            }
        }
        if self.retry.is_some_and(|retry| retry <= now) {
            self.retry = None;
            self.advance_all(now);
        }
        self.answer_overdue(now);
        if self.upkeep.next() <= now {
            self.tick(now);
        }
    }

    /// Asks whatever a lookup wants to ask, and ends it when there is nothing left.
    pub(super) fn advance(&mut self, now: Time, id: LookupId) {
        loop {
            let Some(lookup) = self.lookups.get_mut(&id) else { return };
            if lookup.stores.is_some() {
                return self.store(now, id);
            }
            if self.follow(now, id) {
                continue;
            }
            let Some(lookup) = self.lookups.get_mut(&id) else { return };
            let [v4, v6] = lookup.walks.each_ref().map(|walk| walk.as_ref().map_or(Next::Done, Walk::next));
            let if_open = |ipv4, step| if self.routes.is_open(now, ipv4) { step } else { Next::Done };
            let steps = [if_open(true, v4), if_open(false, v6)];
            let may_end = lookup.follow.is_empty() && lookup.following.is_empty();
            if lookup.satisfied || steps == [Next::Done, Next::Done] && may_end {
                if !lookup.satisfied && self.ask_again(now, id) {
                    return;
                }
                let Some(lookup) = self.lookups.get_mut(&id) else { return };
                lookup.conclude();
                continue;
            }
            let mut asked = false;
            for step in steps {
                let Next::Ask(addr, node) = step else { continue };
                if self.may_query(now, id, addr) {
                    asked = true;
                    self.step(now, id, addr, node);
                    continue;
                }
                self.retry.get_or_insert(now + RETRY);
                // Many lookups ask the same router: meanwhile other nodes do.
                let other = self
                    .lookups
                    .get_mut(&id)
                    .and_then(|lookup| lookup.walk(addr))
                    .map(|walk| walk.next_node());
                if let (None, Some(Next::Ask(addr, node))) = (node, other)
                    && self.may_query(now, id, addr)
                {
                    asked = true;
                    self.step(now, id, addr, node);
                }
            }
            if !asked {
                return;
            }
        }
    }

    /// Sends a query and remembers it.
    pub(super) fn query(
        &mut self,
        now: Time,
        to: SocketAddr,
        node: Option<Id>,
        purpose: Purpose,
        method: &Method<'_>,
    ) {
        let Some(own) = self.id(to.is_ipv4()) else { return };
        let late = (2 * self.rtt + Duration::from_millis(100))
            .clamp(Duration::from_millis(250), Duration::from_secs(1));
        let transaction = self.transactions.begin(Pending::new(now, to, node, purpose), late, &mut self.rng);
        let version = self.version;
        let query = Query { id: own.0, method: method.clone() };
        let packet = Packet {
            read_only: self.read_only,
            version: version.as_ref().map(<[u8; 4]>::as_slice),
            ..Packet::new(&transaction, Body::Query(query))
        };
        let is_long = matches!(purpose, Purpose::Again(_));
        let least = if is_long { MAX_LONG.div_ceil(AMPLIFICATION) } else { 0 };
        let mut bytes = Vec::new();
        packet.encode_padded(least, &mut bytes);
        self.send(to, bytes);
    }

    /// Whether a node may be asked now to see if it is there.
    pub(super) fn may_check(&self, now: Time, addr: SocketAddr) -> bool {
        self.routes.is_open(now, addr.is_ipv4())
            && self.transactions.len() < self.max_in_flight + upkeep::MAX_CHECKS
            && !self.transactions.is_asking(addr)
    }

    /// Tells the user that a lookup is over, if it was the user's.
    fn finish(&mut self, now: Time, id: LookupId) {
        let Some(lookup) = self.lookups.remove(&id) else { return };
        match lookup.origin {
            Origin::User => {
                self.events.extend(lookup.last_words(id));
                self.events.push_back(DhtEvent::Done { lookup: id, stats: lookup.stats });
                self.start_waiting(now);
            }
            origin => self.upkeep_done(now, origin, &lookup),
        }
    }

    /// Whether a lookup may ask now. Those that nobody waits for leave a fifth of all questions to the others.
    fn may_query(&mut self, now: Time, id: LookupId, to: SocketAddr) -> bool {
        let is_first = self.lookups.get(&id).is_some_and(|lookup| lookup.urgency < Urgency::Rest);
        let kept = if is_first { 0 } else { self.max_in_flight / 5 };
        let [_, questions] = &mut self.rates;
        // Late ones hold no place, but there is an end to them too.
        self.transactions.live() + kept < self.max_in_flight
            && self.transactions.len() < 2 * self.max_in_flight
            && questions.take(now, to, is_first)
    }

    fn step(&mut self, now: Time, id: LookupId, addr: SocketAddr, node: Option<Id>) {
        let want = self.want(now, addr.is_ipv4());
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        lookup.stats.queries += 1;
        let method = lookup.question(want);
        if let Some(walk) = lookup.walk(addr) {
            walk.asked(addr);
        }
        self.query(now, addr, node, Purpose::Step(id), &method);
    }

    /// Asks for nodes where there were only peers. Returns whether it asked.
    fn follow(&mut self, now: Time, id: LookupId) -> bool {
        let next = self.lookups.get(&id).and_then(|lookup| lookup.follow.last().copied());
        let Some((addr, node, hops)) = next else { return false };
        if !self.may_query(now, id, addr) {
            self.retry.get_or_insert(now + RETRY);
            return false;
        }
        let want = self.want(now, addr.is_ipv4());
        let Some(lookup) = self.lookups.get_mut(&id) else { return false };
        lookup.follow.pop();
        lookup.following.insert(addr);
        lookup.stats.queries += 1;
        let method = Method::FindNode { target: lookup.target.0, want };
        self.query(now, addr, Some(node), Purpose::Follow(id, hops), &method);
        true
    }

    /// A read-only node answers no pings, and so cannot show that its address is real before much is sent there. Instead it asks in
    /// as many bytes as that takes; but only those who answered, since anybody may have named the others. Returns whether answers
    /// are still to come.
    fn ask_again(&mut self, now: Time, id: LookupId) -> bool {
        let Some(lookup) = self.lookups.get_mut(&id).filter(|_| self.read_only) else { return false };
        if lookup.again.is_none() {
            lookup.again = Some(lookup.short_answers());
        }
        let next = |dht: &Self| dht.lookups.get(&id)?.again.as_ref()?.last().copied();
        while let Some((addr, node)) = next(self) {
            if !self.may_query(now, id, addr) {
                self.retry.get_or_insert(now + RETRY);
                return true;
            }
            let Some(lookup) = self.lookups.get_mut(&id) else { return false };
            lookup.again.as_mut().and_then(Vec::pop);
            lookup.asking_again.insert(addr);
            lookup.stats.queries += 1;
            let method = lookup.question(None);
            self.query(now, addr, Some(node), Purpose::Again(id), &method);
        }
        self.lookups.get(&id).is_some_and(|lookup| !lookup.asking_again.is_empty())
    }

    /// While we know few nodes of the other family, those that are asked may help (BEP 32).
    fn want(&self, now: Time, ipv4: bool) -> Option<Want> {
        let is_poor = self.table(!ipv4).is_some_and(|other: &Table| other.good() < K);
        (is_poor && self.routes.is_open(now, !ipv4)).then_some(Want { v4: true, v6: true })
    }

    /// Stores at the nodes that were chosen; when all have answered or failed, it is over.
    fn store(&mut self, now: Time, id: LookupId) {
        while let Some(lookup) = self.lookups.get_mut(&id) {
            let Some(store) = lookup.stores.as_mut().and_then(Vec::pop) else {
                if lookup.storing == 0 {
                    self.finish(now, id);
                }
                return;
            };
            if !self.may_query(now, id, store.to) {
                if let Some(stores) = self.lookups.get_mut(&id).and_then(|lookup| lookup.stores.as_mut()) {
                    stores.push(store);
                }
                self.retry.get_or_insert(now + RETRY);
                return;
            }
            // Taken out meanwhile, because what is sent borrows from it.
            let Some(mut lookup) = self.lookups.remove(&id) else { return };
            if let Some(method) = lookup.store(&store) {
                self.query(now, store.to, Some(store.id), Purpose::Store(id), &method);
                lookup.stats.queries += 1;
                lookup.storing += 1;
            }
            self.lookups.insert(id, lookup);
        }
    }

    fn late(&mut self, now: Time, pending: &Pending) {
        let (Purpose::Step(id) | Purpose::Follow(id, _) | Purpose::Again(id)) = pending.purpose else {
            return;
        };
        if let Some(lookup) = self.lookups.get_mut(&id) {
            match pending.purpose {
                Purpose::Follow(..) => drop(lookup.following.remove(&pending.to)),
                Purpose::Again(_) => drop(lookup.asking_again.remove(&pending.to)),
                _ => lookup.walk(pending.to).into_iter().for_each(|walk| walk.late(pending.to)),
            }
        }
        self.advance(now, id);
    }

    fn dead(&mut self, now: Time, pending: &Pending) {
        self.routes.silent(now, pending.to.is_ipv4());
        // If nobody was heard since, it is rather us who have no network.
        if self.heard < pending.sent {
            self.unanswered = self.unanswered.saturating_add(1);
        } else if let Some(table) = self.table_mut(pending.to.is_ipv4()) {
            table.failed(pending.to);
        }
        self.failed(now, pending, |stats| stats.timeouts += 1);
    }

    /// A query has no use, because of silence, or of an answer that is none.
    pub(super) fn failed(&mut self, now: Time, pending: &Pending, count: fn(&mut super::LookupStats)) {
        match pending.purpose {
            Purpose::Check => {}
            Purpose::Single(id) => self.end_single(id, None),
            Purpose::Step(id) | Purpose::Store(id) | Purpose::Follow(id, _) | Purpose::Again(id) => {
                let Some(lookup) = self.lookups.get_mut(&id) else { return };
                count(&mut lookup.stats);
                match pending.purpose {
                    Purpose::Store(_) => lookup.storing = lookup.storing.saturating_sub(1),
                    Purpose::Follow(..) => drop(lookup.following.remove(&pending.to)),
                    Purpose::Again(_) => drop(lookup.asking_again.remove(&pending.to)),
                    _ => {
                        if let Some(walk) = lookup.walk(pending.to) {
                            walk.failed(pending.to);
                        }
                    }
                }
                self.advance(now, id);
            }
        }
    }

    /// All lookups get their turn, urgent ones first, beginning with another one each time.
    pub(super) fn advance_all(&mut self, now: Time) {
        let mut ids: Vec<(Urgency, LookupId)> =
            self.lookups.iter().map(|(id, lookup)| (lookup.urgency, *id)).collect();
        let first = usize::try_from(now.as_micros() % 997).unwrap_or(0) % ids.len().max(1);
        ids.rotate_left(first);
        ids.sort_by_key(|(urgency, _)| *urgency);
        ids.into_iter().for_each(|(_, id)| self.advance(now, id));
    }
}
