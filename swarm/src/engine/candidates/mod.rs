//! The address book of a torrent: which peers are known, and whom to dial next.
//!
//! ```text
//!            next            handle_connected
//!   idle ----------> dialling ---------------> connected
//!    ^  ^                | handle_failed           | handle_lost
//!    |  +-- back-off ----+                         |
//!    +----- back-off ------------------------------+
//! ```
//!
//! Lists from outside are hostile: they name victims, ourselves, our own network, or a hundred thousand strangers.
//! So the book is bounded, takes few ports of one host and no privileged port, keeps to the scope of whoever
//! names an address, and evicts the worst entry for a better one.

mod entry;
mod priority;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::time::Duration;

use self::entry::{Entry, Rank, State};
pub use self::priority::canonical_priority;
pub use self::source::{Source, Sources};

use super::scope::{self, Scope};
use super::time::Time;

/// What bounds [`Candidates`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most addresses known.
    pub capacity: usize,
    /// Most ports known of one address that is not local.
    pub per_address: usize,
    /// Wait after the first failure and after a lost connection; it doubles with each further failure.
    pub back_off: Duration,
    /// Longest wait.
    pub longest_back_off: Duration,
    /// Which sources may add.
    pub sources: Sources,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capacity: 3000,
            per_address: 8,
            back_off: Duration::from_secs(30),
            longest_back_off: Duration::from_secs(3600),
            sources: Sources::ALL,
        }
    }
}

/// What became of an address that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// It was known; the source is noted.
    Known,
    /// It is not taken: wrong scope, port, own address, banned, source not allowed, or the book is full of better ones.
    Refused,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Who named it.
    pub sources: Sources,
    /// Failed dials since the last success.
    pub failures: u8,
    /// Whether it is said to have everything.
    pub seed: bool,
    /// Whether it is connected.
    pub connected: bool,
}

/// The peers of one torrent that could be dialled.
///
/// Inputs are [`add`](Self::add) and the `handle_*` methods; commands are [`ban`](Self::ban), [`purge`](Self::purge) and
/// the `set_*` methods. Outputs are [`next`](Self::next), which names whom to dial until `None`, and
/// [`next_timeout`](Self::next_timeout). How many dials run at once, and how often, is up to the caller.
///
/// Dialled first is who failed least, then who is named by the better source, then who has the higher priority of BEP 40
/// (once our external address is known). Every operation is O(log n) but `purge` and the `set_*` methods, which are
/// O(n log n) and rare.
#[derive(Debug, Default)]
pub struct Candidates {
    config: Config,
    book: BTreeMap<SocketAddr, Entry>,
    /// Those that may be dialled now.
    ready: BTreeSet<(Rank, SocketAddr)>,
    /// Those that may be dialled later.
    waiting: BTreeSet<(Time, SocketAddr)>,
    banned: BTreeSet<IpAddr>,
    own: BTreeSet<SocketAddr>,
    external: External,
    /// Makes the order of a book without external address its own.
    salt: u32,
    complete: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct External {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    port: u16,
}

/// Bans that are kept; the list is for peers that sent bad data, which is rare.
const MOST_BANS: usize = 4096;

impl Candidates {
    /// An empty book. `salt` is any random number: it decides the order as long as nothing better does.
    pub fn new(config: Config, salt: u32) -> Self {
        Self { config, salt, ..Self::default() }
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.book.len()
    }

    /// Whether no address is known.
    pub fn is_empty(&self) -> bool {
        self.book.is_empty()
    }

    /// What is known of an address.
    pub fn get(&self, addr: SocketAddr) -> Option<Info> {
        self.book.get(&scope::canonical(addr)).map(Entry::info)
    }

    /// Addresses and what is known of them, in order of address: to remember them for the next run.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, Info)> {
        self.book.iter().map(|(addr, entry)| (*addr, entry.info()))
    }

    /// A source named an address. `scope` is how far whoever named it reaches; the user and what we kept ourselves are
    /// [`Scope::Loopback`], which may name everything.
    pub fn add(&mut self, now: Time, addr: SocketAddr, source: Source, scope: Scope) -> Added {
        self.add_within(usize::MAX, now, addr, source, scope)
    }

    /// The same, but no more than so many addresses are known afterwards, if it were no more before.
    pub fn add_within(
        &mut self,
        most: usize,
        now: Time,
        addr: SocketAddr,
        source: Source,
        scope: Scope,
    ) -> Added {
        let addr = scope::canonical(addr);
        if !self.accepts(addr, source, scope) {
            return Added::Refused;
        }
        if self.book.contains_key(&addr) {
            self.change(now, addr, |entry| entry.sources.insert(source));
            return Added::Known;
        }
        let mut entry = Entry::new(self.preference(addr));
        entry.sources.insert(source);
        let local = Scope::of(addr.ip()).is_some_and(Scope::is_local);
        let crowded = !local && self.book.range(ports_of(addr.ip())).count() >= self.config.per_address;
        let most = most.min(self.config.capacity);
        if crowded || (self.book.len() >= most && !self.evict_for(&entry)) {
            return Added::Refused;
        }
        self.book.insert(addr, entry);
        self.file(now, addr);
        Added::New
    }

    /// Whom to dial now. It counts as being dialled until [`handle_connected`](Self::handle_connected) or
    /// [`handle_failed`](Self::handle_failed).
    pub fn next(&mut self, now: Time) -> Option<SocketAddr> {
        while let Some((at, addr)) = self.waiting.first().copied()
            && at <= now
        {
            self.waiting.pop_first();
            self.file(now, addr);
        }
        let (_, addr) = self.ready.pop_first()?;
        if let Some(entry) = self.book.get_mut(&addr) {
            entry.state = State::Dialling;
        }
        Some(addr)
    }

    /// When [`next`](Self::next) may have somebody; a time that has passed means now.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.ready.is_empty() { self.waiting.first().map(|(at, _)| *at) } else { Some(Time::ZERO) }
    }

    /// A connection to this address stands, dialled or accepted (give the address that it listens on then, and
    /// [`add`](Self::add) it before).
    pub fn handle_connected(&mut self, now: Time, addr: SocketAddr) {
        self.change(now, scope::canonical(addr), |entry| {
            entry.state = State::Connected;
            entry.failures = 0;
        });
    }

    /// A dial failed, or what answered was of no use (wrong torrent, ourselves, a duplicate).
    pub fn handle_failed(&mut self, now: Time, addr: SocketAddr) {
        let addr = scope::canonical(addr);
        let wait = |candidates: &Self, failures| candidates.back_off(addr, failures);
        let Some(failures) = self.book.get(&addr).map(|entry| entry.failures.saturating_add(1)) else {
            return;
        };
        let until = now + wait(self, failures);
        self.change(now, addr, |entry| {
            entry.failures = failures;
            entry.state = State::Idle { not_before: until };
        });
    }

    /// A connection that stood is gone. `useful`: payload flowed, so it is worth another dial soon; otherwise it counts
    /// as a failure.
    pub fn handle_lost(&mut self, now: Time, addr: SocketAddr, useful: bool) {
        if !useful {
            return self.handle_failed(now, addr);
        }
        let addr = scope::canonical(addr);
        let until = now + self.back_off(addr, 1);
        self.change(now, addr, |entry| entry.state = State::Idle { not_before: until });
    }

    /// More is wanted again: who was parted from in peace need not be waited for any longer.
    pub fn handle_wanted_again(&mut self, now: Time) {
        let in_peace = |addr: &SocketAddr| self.book.get(addr).is_some_and(|entry| entry.failures == 0);
        let waiting: Vec<_> = self.waiting.iter().map(|(_, addr)| *addr).filter(in_peace).collect();
        for addr in waiting {
            self.change(now, addr, |entry| entry.state = State::Idle { not_before: now });
        }
    }

    /// The peer is known to have everything, or not. Seeds are not dialled once we are complete.
    pub fn handle_seed(&mut self, now: Time, addr: SocketAddr, seed: bool) {
        self.change(now, scope::canonical(addr), |entry| entry.seed = seed);
    }

    /// We have everything that we want, or want more again.
    pub fn set_complete(&mut self, now: Time, complete: bool) {
        if std::mem::replace(&mut self.complete, complete) != complete {
            self.refile(now);
        }
    }

    /// Our addresses as the world sees them, and the port we listen on: the basis of the priorities of BEP 40.
    pub fn set_external(&mut self, now: Time, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>, port: u16) {
        self.external = External { v4, v6, port };
        let addrs: Vec<SocketAddr> = self.book.keys().copied().collect();
        for addr in addrs {
            let preference = self.preference(addr);
            self.change(now, addr, |entry| entry.preference = preference);
        }
    }

    /// Addresses that are ourselves: never dialled, and forgotten now.
    pub fn set_own(&mut self, own: impl IntoIterator<Item = SocketAddr>) {
        self.own = own.into_iter().map(scope::canonical).collect();
        for addr in self.own.clone() {
            self.forget(addr);
        }
    }

    /// Dialled, it turned out to be ourselves.
    pub fn handle_own(&mut self, addr: SocketAddr) {
        let addr = scope::canonical(addr);
        self.own.insert(addr);
        self.forget(addr);
    }

    /// Forgets one address and does not take it again: for peers of our own networks, where other ports are other peers.
    pub fn refuse(&mut self, addr: SocketAddr) {
        if self.own.len() < MOST_BANS {
            self.handle_own(addr);
        }
    }

    /// Forgets an address with all its ports, and takes none of it again.
    pub fn ban(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        if self.banned.len() < MOST_BANS {
            self.banned.insert(ip);
        }
        let ports: Vec<SocketAddr> = self.book.range(ports_of(ip)).map(|(addr, _)| *addr).collect();
        for addr in ports {
            self.forget(addr);
        }
    }

    /// From now on only these sources count; what only others named is forgotten. For a torrent that turned out to be
    /// private, see [`Sources::PRIVATE`]; when a private torrent changes its tracker, purge with what is left of
    /// the sources, and then with all that it may use.
    ///
    /// Gives back the forgotten addresses that are connected or being dialled: drop those connections.
    pub fn purge(&mut self, now: Time, keep: Sources) -> Vec<SocketAddr> {
        self.config.sources = keep;
        let mut dropped = Vec::new();
        let addrs: Vec<SocketAddr> = self.book.keys().copied().collect();
        for addr in addrs {
            let busy = self.book.get(&addr).is_some_and(|entry| !matches!(entry.state, State::Idle { .. }));
            self.change(now, addr, |entry| entry.sources = entry.sources.and(keep));
            if self.book.get(&addr).is_some_and(|entry| entry.sources.is_empty()) {
                self.forget(addr);
                dropped.extend(busy.then_some(addr));
            }
        }
        dropped
    }

    /// What a source said of an address counts no more; whom nobody else named is forgotten.
    pub fn disown(&mut self, now: Time, addr: SocketAddr, source: Source) {
        let addr = scope::canonical(addr);
        let others = Sources::ALL.without(source);
        self.change(now, addr, |entry| entry.sources = entry.sources.and(others));
        if self.book.get(&addr).is_some_and(|entry| entry.sources.is_empty()) {
            self.forget(addr);
        }
    }

    fn accepts(&self, addr: SocketAddr, source: Source, scope: Scope) -> bool {
        let port = addr.port() >= 1024 || matches!(source, Source::User | Source::Link);
        port && self.config.sources.has(source)
            && scope::may_name(scope, addr)
            && !(scope::needs_zone(addr) && zone(addr) == 0)
            && !self.banned.contains(&addr.ip())
            && !self.own.contains(&addr)
    }

    /// Doubles with each failure, up to the longest; spread by an eighth, so that those that failed together are
    /// not dialled together again.
    fn back_off(&self, addr: SocketAddr, failures: u8) -> Duration {
        let doublings = u32::from(failures.saturating_sub(1)).min(16);
        let wait = self.config.back_off.saturating_mul(1 << doublings).min(self.config.longest_back_off);
        wait + wait / 8 * (self.shuffle(addr) & 0xff) / 256
    }

    fn preference(&self, addr: SocketAddr) -> u32 {
        let own = match addr {
            SocketAddr::V4(_) => self.external.v4.map(IpAddr::from),
            SocketAddr::V6(_) => self.external.v6.map(IpAddr::from),
        };
        own.and_then(|ip| canonical_priority(SocketAddr::new(ip, self.external.port), addr))
            .unwrap_or_else(|| self.shuffle(addr))
    }

    fn shuffle(&self, addr: SocketAddr) -> u32 {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let crc = crc32c::crc32c_append(self.salt, &ip.octets());
        crc32c::crc32c_append(crc, &addr.port().to_be_bytes())
    }

    /// Makes room by forgetting the worst: of those in back-off the one that waits longest, else the last in line.
    /// Never for someone who ranks below it.
    fn evict_for(&mut self, entry: &Entry) -> bool {
        let rank = entry.rank();
        let worst = |addr: &SocketAddr| self.book.get(addr).is_some_and(|known| known.rank() > rank);
        let waiting = self.waiting.last().map(|(_, addr)| *addr).filter(worst);
        let ready = || self.ready.last().map(|(_, addr)| *addr).filter(worst);
        let Some(addr) = waiting.or_else(ready) else { return false };
        self.forget(addr);
        true
    }

    fn forget(&mut self, addr: SocketAddr) {
        self.unfile(addr);
        self.book.remove(&addr);
    }

    fn change(&mut self, now: Time, addr: SocketAddr, change: impl FnOnce(&mut Entry)) {
        self.unfile(addr);
        if let Some(entry) = self.book.get_mut(&addr) {
            change(entry);
            self.file(now, addr);
        }
    }

    fn refile(&mut self, now: Time) {
        self.ready.clear();
        self.waiting.clear();
        let addrs: Vec<SocketAddr> = self.book.keys().copied().collect();
        for addr in addrs {
            self.file(now, addr);
        }
    }

    /// Puts an idle entry where it is found when its time comes.
    fn file(&mut self, now: Time, addr: SocketAddr) {
        let Some(entry) = self.book.get(&addr) else { return };
        let State::Idle { not_before } = entry.state else { return };
        if entry.seed && self.complete {
            return;
        }
        if not_before <= now {
            self.ready.insert((entry.rank(), addr));
        } else {
            self.waiting.insert((not_before, addr));
        }
    }

    fn unfile(&mut self, addr: SocketAddr) {
        if let Some(entry) = self.book.get(&addr)
            && let State::Idle { not_before } = entry.state
        {
            self.ready.remove(&(entry.rank(), addr));
            self.waiting.remove(&(not_before, addr));
        }
    }

    /// Panics if the lines and the book disagree, or a bound is broken.
    pub fn check_invariant(&self) {
        assert!(self.book.len() <= self.config.capacity);
        let mut filed = 0;
        for (addr, entry) in &self.book {
            let State::Idle { not_before } = entry.state else { continue };
            let ready = self.ready.contains(&(entry.rank(), *addr));
            let waiting = self.waiting.contains(&(not_before, *addr));
            let parked = entry.seed && self.complete;
            assert_eq!(u8::from(ready) + u8::from(waiting) + u8::from(parked), 1, "{addr} is filed wrongly");
            filed += usize::from(!parked);
            assert!(!self.banned.contains(&addr.ip()) && !self.own.contains(addr));
            assert!(!entry.sources.is_empty());
        }
        assert_eq!(filed, self.ready.len() + self.waiting.len());
    }
}

/// Which of two connections between the same two peers stays: the one that the peer with the smaller id dialled. Both
/// ends come to the same answer. `true`: keep the one that we dialled.
pub fn keep_dialled(own: &[u8; 20], peer: &[u8; 20]) -> bool {
    own < peer
}

/// The interface of an address that means something there only; zero is none.
fn zone(addr: SocketAddr) -> u32 {
    if let SocketAddr::V6(addr) = addr { addr.scope_id() } else { 0 }
}

/// Every address with this IP, whatever port (and zone).
fn ports_of(ip: IpAddr) -> RangeInclusive<SocketAddr> {
    match ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, 0))..=SocketAddr::from((ip, u16::MAX)),
        IpAddr::V6(ip) => {
            SocketAddr::V6(SocketAddrV6::new(ip, 0, 0, 0))
                ..=SocketAddr::V6(SocketAddrV6::new(ip, u16::MAX, u32::MAX, u32::MAX))
        }
    }
}
