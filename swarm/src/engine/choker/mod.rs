//! Who may download from us.
//!
//! One choker serves every torrent of a session: slots are shared, with a bound per torrent and per address.
//! In a torrent we download, slots go to the peers that give us most (tit for tat), and some are optimistic: they try out
//! someone else each 30 s. In a torrent we seed, everybody who is interested gets turns of equal length.
//!
//! ```text
//!            interested, slot free: at once           round (10 s): turn over and others wait,
//!            round: among the best, or its turn       outranked, snubbed, or no longer interested
//!   choked -------------------------------> unchoked ------------------------------> choked
//! ```

mod plan;
mod rank;
mod round;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

pub use self::slots::Slots;

use super::scope::{Scope, subscriber};
use super::time::Time;

/// What a [`Choker`] goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Slots of the session.
    pub slots: Slots,
    /// Most slots of one torrent.
    pub per_torrent: u32,
    /// Most slots of one IPv4 address or IPv6 /64, against one host that pretends to be many. Loopback and private
    /// addresses are exempt.
    pub per_address: u32,
    /// Upload limit in bytes per second, for [`Slots::Automatic`].
    pub upload_limit: Option<u64>,
    /// Time between rounds, which rank everybody anew.
    pub round: Duration,
    /// How long an optimistic slot is held.
    pub optimistic: Duration,
    /// How long a turn at a seed lasts.
    pub turn: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            slots: Slots::Automatic,
            per_torrent: 50,
            per_address: 2,
            upload_limit: None,
            round: Duration::from_secs(10),
            optimistic: Duration::from_secs(30),
            turn: Duration::from_secs(60),
        }
    }
}

/// Whether a torrent still wants data; a fresh torrent does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Slots are earned by what the peer gives.
    #[default]
    Leeching,
    /// Slots go round.
    Seeding,
}

/// What to tell a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Stop serving it.
    Choke,
    /// Serve its requests.
    Unchoke,
}

/// Decides who is unchoked.
///
/// Peers and torrents are named by the caller's slab keys. Inputs are [`add_peer`](Self::add_peer),
/// [`remove_peer`](Self::remove_peer), the `handle_*` methods and [`set_mode`](Self::set_mode), each O(1) (O(log slots)
/// where a slot changes hands); [`handle_timeout`](Self::handle_timeout) runs a round, O(n log n) in the interested
/// peers. Outputs are [`poll`](Self::poll), to be called until `None` after any input, and
/// [`next_timeout`](Self::next_timeout).
#[derive(Debug)]
pub struct Choker {
    config: Config,
    peers: Vec<Option<Peer>>,
    torrents: Vec<Torrent>,
    /// Keys of the interested peers, in no order; a peer knows its place.
    interested: Vec<usize>,
    /// Unchoked peers; how many of them are interested; how many there are by address.
    holders: BTreeSet<usize>,
    busy: u32,
    by_address: BTreeMap<IpAddr, u32>,
    /// Peers whose state may differ from what they were told.
    changed: VecDeque<usize>,
    rounds: u64,
    uploaded: u64,
    /// Upload of the last round, bytes per second.
    upload_rate: u64,
    next_round: Time,
    last_round: Time,
    next_rotation: Time,
    /// A slot came free while peers wait: fill it then, without waiting for the round.
    fill_at: Option<Time>,
}

#[derive(Clone, Debug)]
struct Peer {
    torrent: usize,
    /// What the bound per address counts by; `None` if exempt.
    address: Option<IpAddr>,
    connected: Time,
    /// Its place in `Choker::interested`.
    interested: Option<usize>,
    snubbed: bool,
    unchoked: bool,
    optimistic: bool,
    told: bool,
    /// When it was unchoked, while it is.
    since: Time,
    /// When it began to wait for a turn: the later of its interest and the end of its last turn.
    waiting_since: Time,
    /// How long it was unchoked in all, up to its last choke.
    served: Duration,
    got: Recent,
    took: Recent,
}

/// Bytes in the running round and the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    round: u64,
    now: u64,
    before: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Torrent {
    mode: Mode,
    unchoked: u32,
}

/// A slot that came free is filled no sooner than this after the last time, so that churn stays cheap.
const FILL_PAUSE: Duration = Duration::from_secs(1);

impl Choker {
    /// A choker without peers.
    pub fn new(now: Time, config: Config) -> Self {
        Self {
            next_round: now + config.round,
            last_round: now,
            next_rotation: now,
            config,
            peers: Vec::new(),
            torrents: Vec::new(),
            interested: Vec::new(),
            holders: BTreeSet::new(),
            busy: 0,
            by_address: BTreeMap::new(),
            changed: VecDeque::new(),
            rounds: 0,
            uploaded: 0,
            upload_rate: 0,
            fill_at: None,
        }
    }

    /// How many slots there are now.
    pub fn slots(&self) -> u32 {
        self.config.slots.count(self.config.upload_limit, self.upload_rate)
    }

    /// How many peers are unchoked.
    pub fn unchoked(&self) -> usize {
        self.holders.len()
    }

    /// Whether a peer is unchoked.
    pub fn is_unchoked(&self, key: usize) -> bool {
        self.peer(key).is_some_and(|peer| peer.unchoked)
    }

    /// Whether a peer holds an optimistic slot.
    pub fn is_optimistic(&self, key: usize) -> bool {
        self.peer(key).is_some_and(|peer| peer.optimistic)
    }

    /// Replaces the rules; the next round goes by them.
    pub fn set_config(&mut self, now: Time, config: Config) {
        self.config = config;
        self.next_round = self.next_round.min(now + self.config.round);
        self.wish_fill(now);
    }

    /// Whether a torrent is said to download or to seed.
    pub fn mode(&self, torrent: usize) -> Mode {
        self.torrents.get(torrent).map_or(Mode::default(), |torrent| torrent.mode)
    }

    /// Tells whether a torrent downloads or seeds; the next round goes by it. Removing a torrent needs no call once
    /// its peers are gone, but its key starts as it was left, so set the mode of a new one.
    pub fn set_mode(&mut self, torrent: usize, mode: Mode) {
        self.torrent(torrent).mode = mode;
    }

    /// A connection is ready: choked and not interested, as BEP 3 says.
    pub fn add_peer(&mut self, now: Time, key: usize, torrent: usize, ip: IpAddr) {
        self.remove_peer(now, key);
        if key >= self.peers.len() {
            self.peers.resize_with(key + 1, || None);
        }
        let exempt = Scope::of(ip).is_some_and(Scope::is_local);
        self.torrent(torrent);
        self.peers[key] = Some(Peer {
            torrent,
            address: (!exempt).then(|| subscriber(ip)),
            connected: now,
            interested: None,
            snubbed: false,
            unchoked: false,
            optimistic: false,
            told: false,
            since: Time::ZERO,
            waiting_since: now,
            served: Duration::ZERO,
            got: Recent::default(),
            took: Recent::default(),
        });
    }

    /// A connection is gone. Nothing more is said about it.
    pub fn remove_peer(&mut self, now: Time, key: usize) {
        self.handle_interested(now, key, false);
        self.choke(now, key);
        if let Some(peer) = self.peers.get_mut(key) {
            *peer = None;
        }
    }

    /// The peer wants data, or no longer does. With a free slot it is unchoked at once; one that lost interest keeps its
    /// slot until somebody else can have it.
    pub fn handle_interested(&mut self, now: Time, key: usize, interested: bool) {
        let place = self.interested.len();
        let Some(peer) = self.peers.get_mut(key).and_then(Option::as_mut) else { return };
        match (peer.interested, interested) {
            (None, true) => {
                peer.interested = Some(place);
                self.interested.push(key);
                if peer.unchoked {
                    self.busy += 1;
                    return;
                }
                peer.waiting_since = now;
                if !peer.snubbed && self.holders.len() < self.slots() as usize && self.has_room(key) {
                    self.unchoke(now, key);
                } else {
                    self.wish_fill(now);
                }
            }
            (Some(place), false) => {
                peer.interested = None;
                self.busy -= u32::from(peer.unchoked);
                self.interested.swap_remove(place);
                if let Some(moved) = self.interested.get(place).copied()
                    && let Some(moved) = self.peers[moved].as_mut()
                {
                    moved.interested = Some(place);
                }
                self.wish_fill(now);
            }
            _ => {}
        }
    }

    /// Payload came from the peer.
    pub fn handle_downloaded(&mut self, key: usize, bytes: u64) {
        let round = self.rounds;
        if let Some(peer) = self.peers.get_mut(key).and_then(Option::as_mut) {
            peer.got.add(round, bytes);
        }
    }

    /// Payload went to the peer.
    pub fn handle_uploaded(&mut self, key: usize, bytes: u64) {
        self.uploaded = self.uploaded.saturating_add(bytes);
        let round = self.rounds;
        if let Some(peer) = self.peers.get_mut(key).and_then(Option::as_mut) {
            peer.took.add(round, bytes);
        }
    }

    /// The peer sits on our requests (`true`), or delivers again. While it is snubbed, only an optimistic slot is left
    /// for it.
    pub fn handle_snubbed(&mut self, key: usize, snubbed: bool) {
        if let Some(peer) = self.peers.get_mut(key).and_then(Option::as_mut) {
            peer.snubbed = snubbed;
        }
    }

    /// The next peer that has to be told something. Call until `None`. What was decided and taken back before it was
    /// polled is not told.
    pub fn poll(&mut self) -> Option<(usize, Decision)> {
        while let Some(key) = self.changed.pop_front() {
            if let Some(peer) = self.peers.get_mut(key).and_then(Option::as_mut)
                && peer.told != peer.unchoked
            {
                peer.told = peer.unchoked;
                let decision = if peer.unchoked { Decision::Unchoke } else { Decision::Choke };
                return Some((key, decision));
            }
        }
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        let idle = self.interested.is_empty() && self.holders.is_empty();
        (!idle).then(|| self.fill_at.map_or(self.next_round, |at| at.min(self.next_round)))
    }

    fn peer(&self, key: usize) -> Option<&Peer> {
        self.peers.get(key)?.as_ref()
    }

    fn torrent(&mut self, key: usize) -> &mut Torrent {
        if key >= self.torrents.len() {
            self.torrents.resize(key + 1, Torrent::default());
        }
        &mut self.torrents[key]
    }

    /// Whether torrent and address leave room for this peer.
    fn has_room(&self, key: usize) -> bool {
        let Some(peer) = self.peer(key) else { return false };
        let held = peer.address.map_or(0, |address| self.by_address.get(&address).copied().unwrap_or(0));
        self.torrents[peer.torrent].unchoked < self.config.per_torrent
            && (peer.address.is_none() || held < self.config.per_address)
    }

    fn wish_fill(&mut self, now: Time) {
        let waiting = self.interested.len() > self.busy as usize;
        if self.fill_at.is_none() && waiting && self.busy < self.slots() {
            self.fill_at = Some(now + FILL_PAUSE);
        }
    }

    fn unchoke(&mut self, now: Time, key: usize) {
        let Some(peer) = self.peers[key].as_mut() else { return };
        if std::mem::replace(&mut peer.unchoked, true) {
            return;
        }
        peer.since = now;
        self.holders.insert(key);
        self.busy += u32::from(peer.interested.is_some());
        self.torrents[peer.torrent].unchoked += 1;
        if let Some(address) = peer.address {
            *self.by_address.entry(address).or_default() += 1;
        }
        self.changed.push_back(key);
    }

    fn choke(&mut self, now: Time, key: usize) {
        let Some(peer) = self.peers.get_mut(key).and_then(Option::as_mut) else { return };
        peer.optimistic = false;
        if !std::mem::replace(&mut peer.unchoked, false) {
            return;
        }
        peer.waiting_since = now;
        peer.served += now - peer.since;
        self.holders.remove(&key);
        self.busy -= u32::from(peer.interested.is_some());
        self.torrents[peer.torrent].unchoked -= 1;
        if let Some(address) = peer.address
            && let Some(held) = self.by_address.get_mut(&address)
        {
            *held -= 1;
            if *held == 0 {
                self.by_address.remove(&address);
            }
        }
        self.changed.push_back(key);
    }

    /// Panics if the counts disagree with the peers.
    pub fn check_invariant(&self) {
        let peers = || self.peers.iter().flatten();
        let holders: BTreeSet<usize> = (0..self.peers.len()).filter(|key| self.is_unchoked(*key)).collect();
        assert_eq!(holders, self.holders);
        let busy = peers().filter(|peer| peer.unchoked && peer.interested.is_some()).count();
        assert_eq!(busy, self.busy as usize);
        assert_eq!(peers().filter(|peer| peer.interested.is_some()).count(), self.interested.len());
        for (place, key) in self.interested.iter().enumerate() {
            assert_eq!(self.peer(*key).and_then(|peer| peer.interested), Some(place));
        }
        for (key, torrent) in self.torrents.iter().enumerate() {
            let held = peers().filter(|peer| peer.torrent == key && peer.unchoked).count();
            assert_eq!(held, torrent.unchoked as usize);
        }
        let mut by_address = BTreeMap::new();
        for address in peers().filter(|peer| peer.unchoked).filter_map(|peer| peer.address) {
            *by_address.entry(address).or_default() += 1;
        }
        assert_eq!(by_address, self.by_address);
        assert!(peers().all(|peer| peer.unchoked || !peer.optimistic));
    }
}

impl Recent {
    fn add(&mut self, round: u64, bytes: u64) {
        *self = self.at(round);
        self.now = self.now.saturating_add(bytes);
    }

    /// As of this round.
    fn at(self, round: u64) -> Self {
        match round - self.round {
            0 => self,
            1 => Self { round, now: 0, before: self.now },
            _ => Self { round, now: 0, before: 0 },
        }
    }

    fn sum(self, round: u64) -> u64 {
        let recent = self.at(round);
        recent.now.saturating_add(recent.before)
    }
}
