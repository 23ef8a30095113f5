//! The DHT of an engine: when each torrent looks for peers there and announces itself, and what the application asks.
//!
//! A torrent looks when it starts, then every quarter of an hour, and sooner while it has few peers. Looking and announcing is one
//! walk; a hybrid, which has two names and a swarm by each (BEP 52), walks to both, one after the other. A paused one does not. A private torrent never does (BEP 27); one of which only the hashes are known looks without announcing, since it may turn
//! out to be private.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use metainfo::TorrentId;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::TorrentKey;
use super::api::Engine;
use super::candidates::Source;
use super::cx::{Cx, TorrentTimer};
use super::dht::{Announce, Dht, DhtConfig, DhtEvent, Id, LookupId, LookupStats, Transmit, Urgency};
use super::output::Action;
use super::scope::Scope;
use super::shard::{FEW_PEERS, Torrent};
use super::time::Time;

/// From the end of one lookup to the next, at rest. Nodes keep what was announced for at least half an hour.
const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// The same while a torrent has few peers, at first; it doubles up to [`INTERVAL`].
const HURRY: Duration = Duration::from_secs(60);
/// The same after a lookup that nobody answered: the DHT is not reached yet.
const UNANSWERED: Duration = Duration::from_secs(20);
/// Until a lookup is tried again that there was no room for.
const FULL: Duration = Duration::from_secs(30);

/// A torrent that waits for a place for longer than this is as urgent as those that have nobody.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A node of the DHT, and the torrents that look for peers there.
pub(crate) struct Seeker {
    pub(crate) dht: Dht,
    plans: BTreeMap<TorrentKey, Plan>,
    lookups: BTreeMap<LookupId, TorrentKey>,
    /// Torrents whose time has come and for which there is no place yet, by how long they have waited: whoever has nobody to download
    /// from goes first.
    due: BTreeSet<(Urgency, Time, TorrentKey)>,
    /// How many names all of them have.
    names: usize,
}

/// When a torrent looks next.
struct Plan {
    running: Option<LookupId>,
    /// It looks by its other name now, or does so next.
    other: bool,
    /// How many it had when it began.
    names: usize,
    /// It waits for a place.
    due: Option<(Urgency, Time)>,
    next: Time,
    /// The end of the last lookup.
    last: Time,
    /// The pause after it, while there are few peers.
    hurry: Duration,
    /// Nobody answered the last lookup.
    unanswered: bool,
}

impl Engine {
    /// Takes part in the DHT from now on. `ports` are those at which other nodes reach us over IPv4 and IPv6: peers are told
    /// (BEP 5, 32).
    pub fn start_dht(&mut self, now: Time, config: DhtConfig, ports: [Option<u16>; 2]) {
        self.cx.at(now);
        let dht = Dht::new(config, ChaCha8Rng::from_rng(&mut self.cx.rng), now);
        self.seeker = Some(Seeker {
            dht,
            plans: BTreeMap::new(),
            lookups: BTreeMap::new(),
            due: BTreeSet::new(),
            names: 0,
        });
        self.hub.dht = true;
        self.shard.dht_ports = ports;
        let keys: Vec<_> = self.shard.torrents.iter().map(|(_, torrent)| torrent.key).collect();
        for key in keys {
            self.seek_peers(key);
        }
    }

    /// The node of the DHT, to look at.
    pub fn dht(&self) -> Option<&Dht> {
        self.seeker.as_ref().map(|seeker| &seeker.dht)
    }

    /// The node of the DHT, for lookups of the application. Their outcomes come as [`Action::Dht`].
    pub fn with_dht<R>(&mut self, now: Time, act: impl FnOnce(&mut Dht) -> R) -> Option<R> {
        self.cx.at(now);
        let result = act(&mut self.seeker.as_mut()?.dht);
        self.drain_dht();
        Some(result)
    }

    /// A packet of the DHT came, to this address of ours if that is known.
    pub fn handle_datagram(&mut self, now: Time, at: Option<IpAddr>, from: SocketAddr, packet: &[u8]) {
        self.cx.at(now);
        if let Some(seeker) = &mut self.seeker {
            seeker.dht.handle_packet_at(now, at, from, packet);
            self.drain_dht();
            self.maintain();
        }
    }

    /// The system has no way to where a packet of the DHT was to be sent.
    pub fn handle_unreachable(&mut self, now: Time, to: SocketAddr) {
        self.cx.at(now);
        if let Some(seeker) = &mut self.seeker {
            seeker.dht.handle_unreachable(now, to);
            self.drain_dht();
            self.maintain();
        }
    }

    /// The next packet of the DHT to send.
    pub fn poll_datagram(&mut self) -> Option<Transmit> {
        self.seeker.as_mut()?.dht.poll_transmit()
    }

    /// A torrent runs: it looks for peers as soon as it can, unless it is paused.
    pub(super) fn seek_peers(&mut self, key: TorrentKey) {
        let Self { cx, seeker: Some(seeker), shard, .. } = self else { return };
        let Some(torrent) = shard.torrent(key) else { return };
        if !torrent.is_private() && !torrent.keeping.is_paused() {
            seeker.forget(cx.now, key);
            let plan = Plan::new(cx.now, 1 + usize::from(torrent.also.is_some()));
            seeker.names += plan.names;
            seeker.plans.insert(key, plan);
            seeker.dht.pace_for(seeker.names);
            cx.torrent_timers.set(key.slot(), TorrentTimer::Seek, cx.now);
        }
    }

    /// A torrent stops.
    pub(super) fn stop_seeking(&mut self, key: TorrentKey) {
        if let Some(seeker) = &mut self.seeker {
            seeker.forget(self.cx.now, key);
        }
    }

    /// A torrent's time to look has come.
    pub(super) fn seek_timer(&mut self, slot: usize) {
        let Self { cx, seeker: Some(seeker), shard, .. } = self else { return };
        let Some(torrent) = shard.torrents.get(slot) else { return };
        if torrent.is_private() {
            return seeker.forget(cx.now, torrent.key);
        }
        seeker.look(cx, torrent, shard.listen_port);
        self.drain_dht();
    }

    /// Some torrents have nobody left to dial, and some peers told of nodes.
    pub(super) fn hurry(&mut self) {
        let keys = std::mem::take(&mut self.shard.lonely);
        let nodes = std::mem::take(&mut self.shard.nodes);
        let Self { cx, seeker: Some(seeker), .. } = self else { return };
        for node in nodes {
            seeker.dht.add_node(cx.now, node);
        }
        for key in keys {
            if let Some(plan) = seeker.plans.get_mut(&key) {
                plan.bring_forward(cx, key, plan.last + plan.hurry);
            }
        }
    }

    /// The DHT's time has come.
    pub(super) fn dht_timeout(&mut self) {
        let now = self.cx.now;
        if let Some(seeker) = &mut self.seeker
            && seeker.dht.next_timeout() <= now
        {
            seeker.dht.handle_timeout(now);
            self.drain_dht();
        }
    }

    /// Gives what the DHT tells to whom it is for, and what place there is to those who wait.
    fn drain_dht(&mut self) {
        self.tell_dht();
        while self.seek_due() {
            self.tell_dht();
        }
    }

    /// Begins the lookup of a torrent that waits, if there is a place. Returns whether one came to its turn.
    fn seek_due(&mut self) -> bool {
        let Self { cx, seeker: Some(seeker), shard, .. } = self else { return false };
        let Some((urgency, key)) = seeker.first_due(cx.now) else { return false };
        if !seeker.dht.has_place(urgency) {
            return false;
        }
        match shard.torrent(key).filter(|torrent| !torrent.is_private()) {
            Some(torrent) => seeker.look(cx, torrent, shard.listen_port),
            None => seeker.forget(cx.now, key),
        }
        true
    }

    fn tell_dht(&mut self) {
        let Self { cx, seeker: Some(seeker), shard, .. } = self else { return };
        while let Some(event) = seeker.dht.poll_event() {
            let torrent = event.lookup().and_then(|lookup| seeker.lookups.get(&lookup).copied());
            match (event, torrent) {
                (DhtEvent::Peers { from, peers, .. }, Some(key)) => {
                    // Who told ourselves where it is may be anywhere.
                    let scope = Scope::of(from.ip()).unwrap_or(Scope::Loopback);
                    shard.add_peers(cx, key, &peers, Source::Dht, scope);
                }
                (DhtEvent::Done { lookup, stats }, Some(key)) => {
                    seeker.lookups.remove(&lookup);
                    if let Some(torrent) = shard.torrent(key) {
                        seeker.done(cx, torrent, &stats);
                    }
                }
                (_, Some(_)) => {}
                (DhtEvent::Announced { hash, peer }, None) => {
                    if let Some(key) = shard.by_id.get(&TorrentId(hash.0)).copied() {
                        shard.add_peers(cx, key, &[peer], Source::Dht, Scope::Loopback);
                    }
                }
                (DhtEvent::ExternalAddress { ip }, None) => {
                    // The nodes voted among themselves; here that is one voice, as a tracker's is.
                    shard.seen_as(cx, IpAddr::from([255; 4]), ip);
                    cx.out.actions.push_back(Action::Dht(DhtEvent::ExternalAddress { ip }));
                }
                (event, None) => {
                    if matches!(event, DhtEvent::Bootstrapped { .. }) {
                        seeker.joined(cx);
                    }
                    cx.out.actions.push_back(Action::Dht(event));
                }
            }
        }
    }
}

impl Seeker {
    /// Begins a lookup, unless one runs; or waits for a place.
    fn look(&mut self, cx: &mut Cx, torrent: &Torrent, port: Option<u16>) {
        let key = torrent.key;
        let is_stuck = torrent.wants() && torrent.peers.is_empty();
        let since = self.turn(key).unwrap_or(cx.now);
        let is_urgent = is_stuck || cx.now - since >= PATIENCE;
        let urgency = if is_urgent { Urgency::Wanted } else { Urgency::Rest };
        let Some(plan) = self.plans.get_mut(&key).filter(|plan| plan.running.is_none()) else { return };
        if !self.dht.has_place(urgency) {
            plan.due = Some((urgency, since));
            self.due.insert((urgency, since, key));
            return;
        }
        let announce = port.filter(|_| torrent.may_be_told());
        let announce =
            announce.map(|port| Announce { port, implied_port: false, seed: torrent.is_complete() });
        let name = torrent.also.filter(|_| plan.other).unwrap_or(torrent.id);
        match self.dht.seek(cx.now, Id(name.0), announce, urgency) {
            Ok(lookup) => {
                plan.running = Some(lookup);
                self.lookups.insert(lookup, key);
            }
            Err(_) => {
                let pause = jittered(cx, FULL);
                plan.schedule(cx, key, pause);
            }
        }
    }

    /// The torrent whose turn is next, and how urgent it is by now.
    fn first_due(&self, now: Time) -> Option<(Urgency, TorrentKey)> {
        let since_ever = (Urgency::Rest, Time::ZERO, TorrentKey { slot: 0, generation: 0 });
        let stale = self.due.range(since_ever..).next().filter(|(_, since, _)| now - *since >= PATIENCE);
        let first = self.due.first().map(|(urgency, _, key)| (*urgency, *key));
        stale.map(|(.., key)| (Urgency::Wanted, *key)).or(first)
    }

    /// A torrent does not wait any more. Returns since when it did.
    fn turn(&mut self, key: TorrentKey) -> Option<Time> {
        let (urgency, since) = self.plans.get_mut(&key)?.due.take()?;
        self.due.remove(&(urgency, since, key));
        Some(since)
    }

    /// A torrent's lookup is over.
    fn done(&mut self, cx: &mut Cx, torrent: &Torrent, stats: &LookupStats) {
        let key = torrent.key;
        let Some(plan) = self.plans.get_mut(&key) else { return };
        plan.running = None;
        plan.last = cx.now;
        plan.unanswered = stats.answers == 0;
        plan.other = torrent.also.is_some() && !plan.other && !plan.unanswered;
        if plan.other {
            return plan.schedule(cx, key, Duration::ZERO);
        }
        let pause = if plan.unanswered {
            UNANSWERED
        } else if torrent.wants() && torrent.peers.len() < FEW_PEERS {
            let hurry = plan.hurry;
            plan.hurry = (2 * hurry).min(INTERVAL);
            hurry
        } else {
            plan.hurry = HURRY;
            INTERVAL
        };
        let pause = jittered(cx, pause);
        plan.schedule(cx, key, pause);
    }

    /// The DHT is reached: who asked in vain asks again.
    fn joined(&mut self, cx: &mut Cx) {
        for (key, plan) in self.plans.iter_mut().filter(|(_, plan)| plan.unanswered) {
            plan.bring_forward(cx, *key, cx.now);
        }
    }

    fn forget(&mut self, now: Time, key: TorrentKey) {
        self.turn(key);
        let Some(plan) = self.plans.remove(&key) else { return };
        self.names -= plan.names;
        if let Some(lookup) = plan.running {
            self.lookups.remove(&lookup);
            self.dht.cancel(now, lookup);
        }
    }
}

impl Plan {
    /// To look now.
    fn new(now: Time, names: usize) -> Self {
        let (running, due, other) = (None, None, false);
        Self { running, due, next: now, last: now, hurry: HURRY, unanswered: false, other, names }
    }

    fn schedule(&mut self, cx: &mut Cx, key: TorrentKey, pause: Duration) {
        self.next = cx.now + pause;
        cx.torrent_timers.set(key.slot(), TorrentTimer::Seek, self.next);
    }

    fn bring_forward(&mut self, cx: &mut Cx, key: TorrentKey, at: Time) {
        // One that waits may have become more urgent.
        if self.running.is_none() && (at < self.next || self.due.is_some()) {
            self.next = at.max(cx.now);
            cx.torrent_timers.set(key.slot(), TorrentTimer::Seek, self.next);
        }
    }
}

/// Up to an eighth more, so that torrents that started together do not stay together.
fn jittered(cx: &mut Cx, pause: Duration) -> Duration {
    pause + pause.mul_f64(cx.rng.random_range(0.0..0.125))
}
