//! What the user asks of a node.

use std::net::SocketAddr;

use wire::krpc::{MAX_SALT, Method};

use super::api::{Announce, LookupId, LookupStats, Mutable, NotTaken, PutMutable, Urgency};
use super::id::Id;
use super::lookup::{Goal, Lookup, Origin, Put};
use super::table::{K, Standing};
use super::transactions::Purpose;
use super::walk::Walk;
use super::{Dht, DhtEvent, WAITING, item};
use crate::engine::scope::canonical;
use crate::engine::time::Time;

/// Single questions under way.
pub(super) const MAX_SINGLE: usize = 64;
/// Nodes that a lookup begins with.
const SEEDS: usize = 2 * K;
/// Places that wait for the application.
const KEPT: usize = 8;
/// With more torrents than these there are twice, and four times, as many lookups and questions: about 45 questions each, in a
/// quarter of an hour.
const MANY: [usize; 2] = [1000, 4000];
/// Nodes to begin with that are remembered.
const MAX_BOOTSTRAP: usize = 32;

/// A lookup that is to be made.
#[derive(Debug)]
pub(super) struct Request {
    goal: Goal,
    target: Id,
    urgency: Urgency,
}

impl Dht {
    /// Nodes to begin with, besides those that are known: for when a table is empty, or nobody in it answers. Lookups that run ask them
    /// too. To name them again has us try at once, if we have not joined yet.
    pub fn bootstrap(&mut self, now: Time, nodes: &[SocketAddr]) {
        let nodes: Vec<_> = nodes
            .iter()
            .copied()
            .map(canonical)
            .filter(|addr| self.may_ask(*addr))
            .take(MAX_BOOTSTRAP)
            .collect();
        for addr in &nodes {
            if !self.bootstrap.contains(addr) {
                if self.bootstrap.len() == MAX_BOOTSTRAP {
                    self.bootstrap.remove(0);
                }
                self.bootstrap.push(*addr);
            }
            if self.needs_routers(now, addr.is_ipv4()) {
                self.lookups.values_mut().for_each(|lookup| lookup.ask_too(*addr));
            }
        }
        if !nodes.is_empty() {
            self.upkeep.hurry(now);
            self.advance_all(now);
        }
    }

    /// A node that is said to be there, by a peer's port message for instance. It is pinged, if there is use for it.
    pub fn add_node(&mut self, now: Time, addr: SocketAddr) {
        let addr = canonical(addr);
        if self.may_ask(addr) && !self.proven.contains(now, addr) {
            self.check_node(now, None, addr);
        }
    }

    /// Looks for peers of a torrent: [`DhtEvent::Peers`] as they come. Announces us to the closest nodes at the end, if so wanted.
    pub fn get_peers(
        &mut self,
        now: Time,
        hash: Id,
        announce: Option<Announce>,
    ) -> Result<LookupId, NotTaken> {
        let no_seeds = announce.is_some_and(|announce| announce.seed);
        self.begin(now, hash, Goal::Peers { announce, no_seeds })
    }

    /// The same, in its turn: for torrents that look by themselves.
    pub fn seek(
        &mut self,
        now: Time,
        hash: Id,
        announce: Option<Announce>,
        urgency: Urgency,
    ) -> Result<LookupId, NotTaken> {
        let no_seeds = announce.is_some_and(|announce| announce.seed);
        self.begin_by(now, hash, Goal::Peers { announce, no_seeds }, urgency)
    }

    /// Whether a lookup would begin at once.
    pub fn has_place(&self, urgency: Urgency) -> bool {
        let is_before = self.waiting.front().is_some_and(|(_, request)| request.urgency <= urgency);
        !is_before && self.running() < self.most_running(urgency)
    }

    /// Torrents look for peers by themselves by so many names, every quarter of an hour. Many of them may ask more at a time.
    pub fn pace_for(&mut self, names: usize) {
        let pace = 1 << MANY.iter().filter(|many| names > **many).count();
        if pace > self.pace {
            self.max_lookups = self.max_lookups / self.pace * pace;
            self.max_in_flight = self.max_in_flight / self.pace * pace;
            self.pace = pace;
            let [_, questions] = &mut self.rates;
            questions.raise(u32::try_from(self.max_in_flight).unwrap_or(u32::MAX));
        }
    }

    /// Counts the peers of a torrent (BEP 33): [`DhtEvent::Scraped`].
    pub fn scrape(&mut self, now: Time, hash: Id) -> Result<LookupId, NotTaken> {
        self.begin(now, hash, Goal::Scrape(Box::default()))
    }

    /// Looks for the nodes closest to a target; they are in the table afterwards, see [`nodes`](Self::nodes).
    pub fn find_nodes(&mut self, now: Time, target: Id) -> Result<LookupId, NotTaken> {
        self.begin(now, target, Goal::Nodes)
    }

    /// Looks for an immutable item (BEP 44): [`DhtEvent::Immutable`].
    pub fn get_immutable(&mut self, now: Time, target: Id) -> Result<LookupId, NotTaken> {
        self.begin(now, target, Goal::Immutable { put: None })
    }

    /// Stores a value, canonical bencode of at most 1000 bytes, at the nodes closest to
    /// [its hash](super::target_of_immutable).
    pub fn put_immutable(&mut self, now: Time, value: Vec<u8>) -> Result<LookupId, NotTaken> {
        item::validate(&[], &value)?;
        self.begin(now, item::target_of_immutable(&value), Goal::Immutable { put: Some(value) })
    }

    /// Looks for the newest version of a key's item (BEP 44): [`DhtEvent::Mutable`], again whenever a newer one is found.
    pub fn get_mutable(&mut self, now: Time, key: [u8; 32], salt: &[u8]) -> Result<LookupId, NotTaken> {
        if salt.len() > MAX_SALT {
            return Err(NotTaken::Salt(salt.len()));
        }
        let target = item::target_of_mutable(&key, salt);
        self.begin(now, target, Goal::Mutable { key, salt: salt.into(), best: None, put: None })
    }

    /// Stores a new version of an item: looks for the stored one first, and takes the next number. [`LookupStats::conflict`] says
    /// so if another one is stored than is expected.
    pub fn put_mutable(&mut self, now: Time, new: PutMutable) -> Result<LookupId, NotTaken> {
        item::validate(&new.salt, &new.value)?;
        let key = Mutable::public_key(&new.secret);
        let (target, salt) = (item::target_of_mutable(&key, &new.salt), new.salt.clone());
        self.begin(now, target, Goal::Mutable { key, salt, best: None, put: Some(Put::New(Box::new(new))) })
    }

    /// Stores an item that is signed already: to keep it alive its key is not needed.
    pub fn put_signed(&mut self, now: Time, item: Mutable) -> Result<LookupId, NotTaken> {
        item.validate()?;
        let (target, key, salt) = (item.target(), item.key, item.salt.clone());
        self.begin(
            now,
            target,
            Goal::Mutable { key, salt, best: None, put: Some(Put::Signed(Box::new(item))) },
        )
    }

    /// Asks a node whether it is there: [`DhtEvent::Pong`].
    pub fn ping(&mut self, now: Time, addr: SocketAddr) -> Result<LookupId, NotTaken> {
        self.single(now, addr, &Method::Ping)
    }

    /// Asks a node for torrents that it knows peers of, and nodes near the target (BEP 51): [`DhtEvent::Samples`].
    pub fn sample(&mut self, now: Time, addr: SocketAddr, target: Id) -> Result<LookupId, NotTaken> {
        self.single(now, addr, &Method::SampleInfohashes { target: target.0, want: None })
    }

    /// Forgets a command. No event comes of it any more.
    pub fn cancel(&mut self, now: Time, id: LookupId) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
        self.singles.remove(&id);
        if self.lookups.remove(&id).is_some() {
            self.start_waiting(now);
        }
    }

    pub(super) fn next_id(&mut self) -> LookupId {
        self.next_id += 1;
        LookupId(self.next_id)
    }

    /// Begins the lookups that waited, as far as there is room.
    pub(super) fn start_waiting(&mut self, now: Time) {
        while let Some((_, next)) = self.waiting.front()
            && self.running() < self.most_running(next.urgency)
            && let Some((id, request)) = self.waiting.pop_front()
        {
            let walks = [true, false].map(|ipv4| self.walk(now, ipv4, request.target));
            let mut lookup = Lookup::new(request.goal, Origin::User, request.target, walks);
            lookup.urgency = request.urgency;
            self.lookups.insert(id, lookup);
            self.consult_own(id);
            self.advance(now, id);
        }
    }

    /// Lookups that were asked for.
    fn running(&self) -> usize {
        self.lookups.values().filter(|lookup| lookup.origin == Origin::User).count()
    }

    /// How many of them there may be for another one to begin.
    fn most_running(&self, urgency: Urgency) -> usize {
        match urgency {
            Urgency::Asked | Urgency::Wanted => self.max_lookups,
            Urgency::Rest => self.max_lookups - self.max_lookups / 4,
        }
    }

    /// A walk from the nodes that we know; with few of them, from the bootstrap nodes too.
    pub(super) fn walk(&self, now: Time, ipv4: bool, target: Id) -> Option<Walk> {
        let table = self.table(ipv4).filter(|_| self.routes.is_open(now, ipv4))?;
        let nodes = table.closest(&target, SEEDS);
        let routers = if self.needs_routers(now, ipv4) { self.bootstrap.as_slice() } else { &[] };
        let routers: Vec<_> = routers.iter().copied().filter(|addr| addr.is_ipv4() == ipv4).collect();
        Some(Walk::new(target, table.enforces(), &nodes, &routers))
    }

    /// Whether the nodes to begin with are needed in a family.
    fn needs_routers(&self, now: Time, ipv4: bool) -> bool {
        self.is_lost(now) || self.table(ipv4).is_some_and(|table| table.good() < K)
    }

    /// Sees whether a node is there, if the table wants it.
    pub(super) fn check_node(&mut self, now: Time, id: Option<Id>, addr: SocketAddr) {
        let wanted = id.is_none_or(|id| {
            self.table_mut(addr.is_ipv4())
                .is_some_and(|table| table.asked_us(now, id, addr) == Standing::Wanted)
        });
        if wanted && self.may_check(now, addr) {
            self.query(now, addr, id, Purpose::Check, &Method::Ping);
        }
    }

    fn begin(&mut self, now: Time, target: Id, goal: Goal) -> Result<LookupId, NotTaken> {
        self.begin_by(now, target, goal, Urgency::Asked)
    }

    fn begin_by(
        &mut self,
        now: Time,
        target: Id,
        goal: Goal,
        urgency: Urgency,
    ) -> Result<LookupId, NotTaken> {
        let most = WAITING * self.max_lookups;
        let kept = if urgency == Urgency::Asked { 0 } else { KEPT };
        if self.waiting.len() + kept >= most {
            return Err(NotTaken::Full(most));
        }
        let id = self.next_id();
        let at = self.waiting.partition_point(|(_, other)| other.urgency <= urgency);
        self.waiting.insert(at, (id, Request { goal, target, urgency }));
        self.start_waiting(now);
        Ok(id)
    }

    fn single(&mut self, now: Time, addr: SocketAddr, method: &Method<'_>) -> Result<LookupId, NotTaken> {
        let addr = canonical(addr);
        if self.singles.len() >= MAX_SINGLE {
            return Err(NotTaken::Full(MAX_SINGLE));
        }
        if !self.may_ask(addr) {
            return Err(NotTaken::Address(addr));
        }
        let id = self.next_id();
        self.singles.insert(id);
        self.query(now, addr, None, Purpose::Single(id), method);
        Ok(id)
    }

    /// A single question has its outcome.
    pub(super) fn end_single(&mut self, id: LookupId, event: Option<DhtEvent>) {
        if self.singles.remove(&id) {
            let answered = u32::from(event.is_some());
            let stats = LookupStats {
                queries: 1,
                answers: answered,
                timeouts: 1 - answered,
                ..LookupStats::default()
            };
            self.events.extend(event);
            self.events.push_back(DhtEvent::Done { lookup: id, stats });
        }
    }
}
