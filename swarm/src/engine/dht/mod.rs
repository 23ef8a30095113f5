//! A node of the distributed hash table, without sockets: packets and time in, packets and findings out.
//!
//! [BEP 5](https://www.bittorrent.org/beps/bep_0005.html), with IPv6 (BEP 32), scrapes (BEP 33), ids that belong to an address
//! (BEP 42), read-only nodes (BEP 43), items (BEP 44), one id for each address (BEP 45) and samples of torrents (BEP 51).
//!
//! What others can make it do is bounded: it answers an address five times a second, sends no address more than three bytes for
//! each that came in its name (and 8 KiB a minute besides, if it answers us), and keeps a fixed number of everything.

#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::external::External;
use super::scope::{Scope, canonical};
use super::time::Time;
use answer::Deferred;
use items::ItemStore;
use limits::{Extra, Proven, Rate};
use lookup::Lookup;
use peers::PeerStore;
use routes::Routes;
use table::Table;
use token::Tokens;
use transactions::Transactions;
use upkeep::Upkeep;

mod answer;
mod api;
mod bucket;
mod commands;
mod draft;
mod drive;
mod id;
mod item;
mod items;
mod limits;
mod lookup;
mod networks;
mod owners;
mod peers;
mod places;
mod receive;
mod routes;
mod state;
mod table;
mod tally;
mod token;
mod transactions;
mod upkeep;
mod walk;

pub use api::{
    Announce, DhtConfig, DhtEvent, First, LookupId, LookupStats, Mutable, NotTaken, PutMutable, Transmit,
    Urgency,
};
pub use id::{Distance, Id};
pub use item::{target_of_immutable, target_of_mutable, validate as validate_item};
pub use state::DhtState;

/// Packets that nobody fetched beyond this number are dropped, oldest first, as the network would.
const MAX_QUEUED: usize = 1024;
/// Waiting commands for each lookup that may run.
const WAITING: usize = 16;
/// Questions in a row without an answer after which the nodes to begin with are asked again.
const LOST: u32 = 16;
/// They count if it has been silent for so long. A lookup that somebody leads astray is over before.
const SILENCE: Duration = Duration::from_secs(60);

/// A DHT node: one for each address that it has, or one for an IPv4 and an IPv6 address together, which have an id each.
///
/// - Commands: [`get_peers`](Self::get_peers), [`seek`](Self::seek), [`scrape`](Self::scrape), [`get_immutable`](Self::get_immutable),
///   [`get_mutable`](Self::get_mutable), [`put_immutable`](Self::put_immutable), [`put_mutable`](Self::put_mutable),
///   [`put_signed`](Self::put_signed), [`find_nodes`](Self::find_nodes), [`ping`](Self::ping), [`sample`](Self::sample),
///   [`cancel`](Self::cancel); and [`bootstrap`](Self::bootstrap), [`add_node`](Self::add_node).
/// - Inputs: [`handle_packet`](Self::handle_packet), [`handle_unreachable`](Self::handle_unreachable),
///   [`handle_timeout`](Self::handle_timeout).
/// - Outputs: [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event) until they give nothing, then
///   wait until [`next_timeout`](Self::next_timeout).
/// - Getters: [`id`](Self::id), [`external`](Self::external), [`nodes`](Self::nodes), [`status`](Self::status),
///   [`save`](Self::save).
#[derive(Debug)]
pub struct Dht {
    read_only: bool,
    version: Option<[u8; 4]>,
    own: Vec<SocketAddr>,
    bootstrap: Vec<SocketAddr>,
    max_lookups: usize,
    max_in_flight: usize,
    /// How much more of both there is than was set.
    pace: usize,
    /// IPv4, IPv6.
    tables: [Option<Table>; 2],
    external: [Option<IpAddr>; 2],
    votes: External,
    transactions: Transactions,
    /// Lookups that run.
    lookups: BTreeMap<LookupId, Lookup>,
    /// Lookups for which there is no place yet, the most urgent ones first.
    waiting: VecDeque<(LookupId, commands::Request)>,
    /// Single questions under way.
    singles: BTreeSet<LookupId>,
    next_id: u64,
    /// When lookups that could not ask are to try again.
    retry: Option<Time>,
    tokens: Tokens,
    /// IPv4, IPv6: neither takes room of the other.
    peers: [PeerStore; 2],
    items: ItemStore,
    /// Of answers, and of questions.
    rates: [Rate; 2],
    proven: Proven,
    extra: Extra,
    routes: Routes,
    deferred: VecDeque<Deferred>,
    /// Who is being answered, and which of our addresses was asked.
    asked: Option<(SocketAddr, IpAddr)>,
    upkeep: Upkeep,
    /// How long answers take, smoothed.
    rtt: Duration,
    /// When somebody last answered.
    heard: Time,
    /// Questions since then that nobody answered.
    unanswered: u32,
    transmits: VecDeque<Transmit>,
    events: VecDeque<DhtEvent>,
    rng: ChaCha8Rng,
}

/// A few numbers on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DhtStatus {
    /// Nodes in the IPv4 and IPv6 tables.
    pub nodes: [usize; 2],
    /// Those of them that answered and did not fail since.
    pub good: [usize; 2],
    /// Lookups that run, those of upkeep included.
    pub lookups: usize,
    /// Queries under way.
    pub queries: usize,
    /// Questions without an answer since somebody last answered: many, when there is no network or it is another one.
    pub unanswered: u32,
    /// Torrents that others announced here; those with peers of both families count twice.
    pub torrents: usize,
    /// Their peers.
    pub peers: usize,
    /// Items that others put here.
    pub items: usize,
}

impl Dht {
    /// A node that joins at once: see [`poll_transmit`](Self::poll_transmit). Ids, tokens and transaction ids are drawn from `rng`:
    /// seed it from a good source, they keep strangers out.
    pub fn new(config: DhtConfig, mut rng: ChaCha8Rng, now: Time) -> Self {
        let saved = config.saved.unwrap_or_default();
        let external = [true, false]
            .map(|ipv4| config.external.iter().map(IpAddr::to_canonical).find(|ip| ip.is_ipv4() == ipv4));
        let families = [(config.ipv4, saved.id4, external[0]), (config.ipv6, saved.id6, external[1])];
        let tables = families.map(|(enabled, id, external)| {
            let id = id.filter(|id| external.is_none_or(|ip| id.belongs_to(ip)));
            let id = id.unwrap_or_else(|| match external {
                Some(ip) => Id::of_address(ip, &mut rng),
                None => Id::random(&mut rng),
            });
            enabled.then(|| Table::new(id, config.enforce_secure_ids))
        });
        let tokens = Tokens::new(now, &mut rng);
        let in_flight = config.in_flight.max(1);
        let mut dht = Self {
            read_only: config.read_only,
            version: config.version,
            own: config.own.into_iter().map(canonical).collect(),
            bootstrap: Vec::new(),
            max_lookups: config.lookups.max(1),
            max_in_flight: in_flight,
            pace: 1,
            tables,
            external,
            votes: External::default(),
            transactions: Transactions::default(),
            lookups: BTreeMap::new(),
            waiting: VecDeque::new(),
            singles: BTreeSet::new(),
            next_id: 0,
            retry: None,
            tokens,
            peers: Default::default(),
            items: ItemStore::default(),
            rates: [Rate::new(config.answers), Rate::new(u32::try_from(in_flight).unwrap_or(u32::MAX))],
            proven: Proven::default(),
            extra: Extra::default(),
            routes: Routes::default(),
            deferred: VecDeque::new(),
            asked: None,
            upkeep: Upkeep::new(now),
            rtt: Duration::from_millis(300),
            heard: Time::ZERO,
            unanswered: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            rng,
        };
        for (id, addr) in saved.nodes {
            let addr = canonical(addr);
            if dht.may_ask(addr)
                && let Some(table) = dht.table_mut(addr.is_ipv4())
            {
                table.restore(id, addr);
            }
        }
        dht.bootstrap(now, &config.bootstrap);
        dht
    }

    /// When to call [`Self::handle_timeout`].
    pub fn next_timeout(&self) -> Time {
        let deferred = self.deferred.front().map(|deferred| deferred.until);
        let others = [self.transactions.next(), self.retry, deferred].into_iter().flatten().min();
        others.unwrap_or(Time::MAX).min(self.upkeep.next())
    }

    /// The next packet to send. Over the socket of its family; if that cannot send, the packet may be dropped;
    /// if there is no way there, [`handle_unreachable`](Self::handle_unreachable) saves the wait for an answer.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<DhtEvent> {
        self.events.pop_front()
    }

    /// Our id in the DHT of a family, if we take part in it.
    pub fn id(&self, ipv4: bool) -> Option<Id> {
        self.table(ipv4).map(Table::own)
    }

    /// Our address as others see it.
    pub fn external(&self, ipv4: bool) -> Option<IpAddr> {
        let [v4, v6] = self.external;
        if ipv4 { v4 } else { v6 }
    }

    /// The nodes closest to a target that we know in a family, closest first.
    pub fn nodes(&self, ipv4: bool, target: Id, count: usize) -> Vec<(Id, SocketAddr)> {
        self.table(ipv4).map(|table| table.closest(&target, count)).unwrap_or_default()
    }

    /// A few numbers.
    pub fn status(&self) -> DhtStatus {
        let count =
            |count: fn(&Table) -> usize| self.tables.each_ref().map(|table| table.as_ref().map_or(0, count));
        let [(torrents, peers), (torrents6, peers6)] = self.peers.each_ref().map(PeerStore::len);
        DhtStatus {
            nodes: count(Table::len),
            good: count(Table::good),
            lookups: self.lookups.len(),
            queries: self.transactions.len(),
            unanswered: self.unanswered,
            torrents: torrents + torrents6,
            peers: peers + peers6,
            items: self.items.len(),
        }
    }

    /// What to give the next run as [`DhtConfig::saved`].
    pub fn save(&self) -> DhtState {
        let nodes = self.tables.iter().flatten().flat_map(Table::save).collect();
        DhtState { id4: self.id(true), id6: self.id(false), nodes }
    }

    /// Puts a node into the table as if it had answered, so that a simulation need not build up every table by packets.
    #[cfg(any(test, feature = "sim"))]
    pub fn vouch(&mut self, now: Time, id: Id, addr: SocketAddr) {
        if let Some(table) = self.table_mut(addr.is_ipv4()) {
            table.answered(now, id, addr, Duration::from_millis(100));
        }
    }

    /// Panics if a rule of the node's own is broken: for simulations and fuzzing.
    #[cfg(any(test, feature = "sim"))]
    pub fn check(&self) {
        self.tables.iter().flatten().for_each(Table::check);
        self.check_bounds();
    }

    /// Panics if more waits than may: O(1), for simulations, after every step.
    #[cfg(any(test, feature = "sim"))]
    pub fn check_bounds(&self) {
        assert!(self.transmits.len() <= MAX_QUEUED);
        assert!(self.waiting.len() <= WAITING * self.max_lookups);
        assert!(
            self.transactions.len() <= 2 * self.max_in_flight + commands::MAX_SINGLE + upkeep::MAX_CHECKS
        );
        assert!(self.deferred.len() <= answer::MAX_DEFERRED);
    }

    fn table(&self, ipv4: bool) -> Option<&Table> {
        let [v4, v6] = &self.tables;
        if ipv4 { v4.as_ref() } else { v6.as_ref() }
    }

    /// Whether nobody answers any more: those whom we know may all be gone.
    fn is_lost(&self, now: Time) -> bool {
        self.unanswered >= LOST && now - self.heard >= SILENCE
    }

    fn table_mut(&mut self, ipv4: bool) -> Option<&mut Table> {
        let [v4, v6] = &mut self.tables;
        if ipv4 { v4.as_mut() } else { v6.as_mut() }
    }

    /// Whether a packet can be sent there: an address of a family that we take part in, not our own, and no multicast.
    fn may_ask(&self, addr: SocketAddr) -> bool {
        let is_own = || {
            self.own.contains(&addr)
                || self.external(addr.is_ipv4()) == Some(addr.ip()) && self.is_own_port(addr)
        };
        self.table(addr.is_ipv4()).is_some()
            && addr.port() != 0
            && Scope::of(addr.ip()).is_some()
            && !is_own()
    }

    fn is_own_port(&self, addr: SocketAddr) -> bool {
        self.own.iter().any(|own| own.is_ipv4() == addr.is_ipv4() && own.port() == addr.port())
    }

    fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if self.transmits.len() == MAX_QUEUED {
            self.transmits.pop_front();
        }
        let from = self.asked.filter(|(asker, _)| *asker == to).map(|(_, at)| at);
        self.transmits.push_back(Transmit { to, from, bytes });
    }
}
