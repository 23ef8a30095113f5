//! The engine itself: what a driver calls.

use std::net::SocketAddr;

use metainfo::TorrentId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use storage::{Completion, Job, Pool};
use wire::peer::Bitfield;

use super::TorrentKey;
use super::candidates::Source;
use super::close::Close;
use super::config::Config;
use super::conns::{Conns, Place};
use super::cx::{ConnTimer, Cx, Limits, Ready, TorrentTimer};
use super::hub::Hub;
use super::link::{ConnId, Direction, Link};
use super::memory::{Memory, Shares};
use super::output::{Action, Outbox};
use super::picker::PeerKey;
use super::rx::{ReadSlices, Slots};
use super::scope::Scope;
use super::seek::Seeker;
use super::shard::{Shard, Torrent, choker_config};
use super::status::{PeerStatus, TorrentStatus};
use super::time::Time;
use super::timers::Timers;
use super::tracker::{AnnounceId, AnnounceReply, Failure};
use super::tx::WriteSlices;

/// Bytes that one connection moves before the next one has its turn. A loopback or LAN peer fills it in one system
/// call, and it keeps the reads in the second-level cache for the hash that follows.
const TURN: usize = 256 * 1024;

/// A BitTorrent engine without sockets, threads, files or clock.
///
/// Its methods are of four kinds, to be called by one driver:
///
/// - commands of the application: `add_torrent`, `remove_torrent`, `add_peers`, ...
/// - inputs, `handle_*`: what happened to connections, disk and time. Each takes the current [`Time`], which must not
///   go back.
/// - outputs, `poll_*`: what to do now. After any command or input, call [`Engine::poll_action`] until it returns
///   `None`, hand [`Engine::take_jobs`] to the disk, and move bytes as [`Engine::poll_transfer`] says.
/// - [`Engine::next_timeout`]: when to call [`Engine::handle_timeout`] if nothing else happens before.
///
/// Moving bytes is the driver's work, deciding which is not. For a read the engine says how many bytes of which
/// connection and lays out the slices ([`Engine::read_slices`]); the driver makes one vectored system call and tells
/// the outcome ([`Engine::handle_read`]).
pub struct Engine {
    pub(super) cx: Cx,
    pub(super) hub: Hub,
    pub(super) shard: Shard,
    pub(super) seeker: Option<Seeker>,
    conns: Conns,
    slots: Slots,
}

/// A turn of one connection: at most `budget` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Which connection.
    pub conn: ConnId,
    /// Which way.
    pub direction: Direction,
    /// Bytes at most.
    pub budget: usize,
}

impl Engine {
    /// An engine without torrents. `seed` is the source of all its randomness: fresh entropy, or a number to replay a
    /// simulation.
    pub fn new(mut config: Config, seed: [u8; 32]) -> Self {
        let shares = Shares::of(&mut config);
        let mut rng = ChaCha8Rng::from_seed(seed);
        let shard = Shard::new(&config, &mut rng);
        Self {
            cx: Cx {
                now: Time::ZERO,
                rng,
                pool: Pool::new(config.spare_blocks),
                out: Outbox::default(),
                conn_timers: Timers::new(),
                torrent_timers: Timers::new(),
                ready: Ready::default(),
                limits: Limits::new(&config),
                granted: 0,
                writing: 0,
                kept: 0,
                shares,
                receiving: 0,
                messages: 0,
                serving: 0,
                config,
            },
            hub: Hub::default(),
            shard,
            seeker: None,
            conns: Conns::default(),
            slots: Slots::new(),
        }
    }

    /// The port that peers can reach us at, for trackers and handshakes.
    pub fn set_listen_port(&mut self, port: u16) {
        self.shard.listen_port = Some(port);
    }

    // ---- torrents

    /// Addresses of peers were learnt, from somebody of this scope; for what the user names that is
    /// [`Scope::Loopback`], which may name everything.
    pub fn add_peers(
        &mut self,
        now: Time,
        key: TorrentKey,
        addrs: &[SocketAddr],
        source: Source,
        scope: Scope,
    ) {
        self.cx.at(now);
        self.shard.add_peers(&mut self.cx, key, addrs, source, scope);
        self.maintain();
    }

    /// An announce that [`Action::Announce`] asked for is on its way: its tracker has [so long](super::tracker::Announce::patience)
    /// from now on. What waits for its turn at the driver is given up after [ten minutes](super::tracker::BACKLOG) only.
    pub fn handle_announce_begun(&mut self, now: Time, key: TorrentKey, id: AnnounceId) {
        self.cx.at(now);
        self.shard.announce_begun(&mut self.cx, key, id);
        self.maintain();
    }

    /// An announce that [`Action::Announce`] asked for ended. `scope` is that of the tracker's address: it may name no
    /// narrower one.
    pub fn handle_announced(
        &mut self,
        now: Time,
        key: TorrentKey,
        id: AnnounceId,
        scope: Scope,
        result: Result<AnnounceReply, Failure>,
    ) {
        self.cx.at(now);
        self.shard.announced(&mut self.cx, key, id, scope, result);
        self.maintain();
    }

    /// A torrent at this moment.
    pub fn torrent_status(&self, now: Time, key: TorrentKey) -> Option<TorrentStatus> {
        self.shard.torrent(key).map(|torrent| TorrentStatus::of(torrent, now))
    }

    /// The peers of a torrent at this moment.
    pub fn peers(&self, now: Time, key: TorrentKey) -> Vec<PeerStatus> {
        let Some(torrent) = self.shard.torrent(key) else { return Vec::new() };
        torrent
            .peers
            .iter()
            .map(|peer| PeerStatus::of(&self.shard.peers[peer.slot()], torrent, now))
            .collect()
    }

    /// Changes a rate limit of the session, in bytes per second; `None` lifts it.
    pub fn set_session_limit(&mut self, now: Time, direction: Direction, rate: Option<u64>) {
        self.cx.at(now);
        self.cx.limits.set_session_rate(now, direction, rate);
        match direction {
            Direction::Read => self.cx.config.down_limit = rate,
            Direction::Write => {
                self.cx.config.up_limit = rate;
                self.shard.choker.set_config(now, choker_config(&self.cx.config));
            }
        }
    }

    /// Changes a rate limit of a torrent, in bytes per second; `None` lifts it.
    pub fn set_torrent_limit(&mut self, now: Time, key: TorrentKey, direction: Direction, rate: Option<u64>) {
        self.cx.at(now);
        if let Some(torrent) = self.shard.torrent(key) {
            let (tree, node) = self.cx.limits.at(direction, torrent.limit_nodes);
            tree.set_rate(now, node, rate);
        }
    }

    /// The pieces of a torrent that were checked and written.
    pub fn have(&self, key: TorrentKey) -> Option<&Bitfield> {
        self.shard.torrent(key).map(|torrent| &torrent.have)
    }

    /// Whether this names a connection that the engine still has.
    pub fn knows(&self, conn: ConnId) -> bool {
        self.conns.get(conn).is_some()
    }

    /// Panics when totals that are kept disagree with each other, or memory is over its budget. Costs a look at each torrent and
    /// piece in progress: for simulations, after every step.
    pub fn check_totals(&self) {
        self.shard.check_totals(&self.cx);
    }

    /// Panics when what is kept of one connection disagrees. Costs a look at its requests: for simulations, after every step that
    /// moved its bytes.
    pub fn check_connection(&self, conn: ConnId) {
        if let Some(Place::Peer(key)) = self.conns.get(conn) {
            assert_eq!(self.shard.peers[key.slot()].link.conn, conn, "a name of another connection");
            self.shard.check_books_of(key.slot());
        }
    }

    /// How many things [`Engine::check_invariant`] looks at, about.
    pub fn check_cost(&self) -> usize {
        self.shard.check_cost()
    }

    /// Panics when the engine's parts disagree. Costs a look at everything: for tests and simulations.
    pub fn check_invariant(&self) {
        self.shard.check_invariant(&self.cx);
    }

    /// Bytes held for peers: received and not written, read and not sent, parts of messages, messages that wait, info dictionaries
    /// that are not all there, and what peers of magnets say of their pieces. Costs a look at
    /// every connection: for tests and simulations.
    pub fn held_bytes(&self) -> usize {
        self.cx.writing + self.cx.kept + self.cx.serving + self.hub.held_bytes() + self.shard.held_bytes()
    }

    /// What the engine holds in memory, by what for. Costs a look at every connection: for tests and simulations.
    pub fn memory(&self) -> Memory {
        let mut memory = self.shard.memory();
        memory.writing = self.cx.writing;
        memory.kept = self.cx.kept;
        memory.serving = self.cx.serving;
        memory.spare = self.cx.pool.spare_bytes();
        memory.messages += self.hub.held_bytes();
        memory
    }

    /// The settings that are in force.
    pub fn config(&self) -> &Config {
        &self.cx.config
    }

    // ---- connections

    /// A connection came in. `None` when it is not let in and is to be closed.
    pub fn handle_accepted(&mut self, now: Time, addr: SocketAddr) -> Option<ConnId> {
        self.cx.at(now);
        if self.hub.is_banned(addr.ip()) {
            return None;
        }
        if let Some(oldest) = self.hub.crowded(self.cx.config.max_handshakes) {
            self.end_stranger(oldest, &Close::Limit);
        }
        if self.conns.len() >= self.cx.config.max_connections + self.cx.config.max_handshakes {
            return None;
        }
        let conn = self.conns.reserve();
        let mut link = Link::new(now, conn, addr, false);
        link.write.ready = true;
        let key = self.hub.accept(&mut self.cx, link);
        self.conns.set(conn, Place::Hub(key));
        Some(conn)
    }

    /// A connection that was dialled is open.
    pub fn handle_connected(&mut self, now: Time, conn: ConnId) {
        self.cx.at(now);
        if let Some(Place::Hub(key)) = self.conns.get(conn) {
            self.hub.connected(&mut self.cx, key);
        }
        self.maintain();
    }

    /// A connection that was dialled could not be opened.
    pub fn handle_dial_failed(&mut self, now: Time, conn: ConnId, error: std::io::ErrorKind) {
        self.handle_lost(now, conn, Close::DialFailed(error));
    }

    /// A connection broke.
    pub fn handle_error(&mut self, now: Time, conn: ConnId, error: std::io::ErrorKind) {
        self.handle_lost(now, conn, Close::Io(error));
    }

    fn handle_lost(&mut self, now: Time, conn: ConnId, reason: Close) {
        self.cx.at(now);
        self.slots.release(&mut self.cx.pool);
        match self.conns.get(conn) {
            Some(Place::Hub(key)) => self.end_stranger(key, &reason),
            Some(Place::Peer(key)) => self.shard.leave(&mut self.cx, key, reason),
            None => {}
        }
        self.maintain();
    }

    /// The system has bytes for us on this connection, or its end.
    pub fn handle_readable(&mut self, conn: ConnId) {
        self.became_ready(conn, Direction::Read);
    }

    /// The system takes bytes of this connection again.
    pub fn handle_writable(&mut self, conn: ConnId) {
        self.became_ready(conn, Direction::Write);
    }

    fn became_ready(&mut self, conn: ConnId, direction: Direction) {
        if let Some(link) = link_of(&mut self.hub, &mut self.shard, self.conns.get(conn)) {
            link.readiness(direction).ready = true;
            self.cx.ready.enlist(link, direction);
        }
    }

    /// The next turn to move bytes.
    pub fn poll_transfer(&mut self, now: Time) -> Option<Transfer> {
        self.cx.at(now);
        while let Some((direction, slot, bytes)) = self.cx.limits.poll(self.cx.now) {
            let key = PeerKey(u32::try_from(slot).unwrap_or(u32::MAX));
            let Some(conn) = self.shard.peers.get(slot).map(|peer| peer.link.conn) else { continue };
            if let Some(budget) = self.shard.granted(&mut self.cx, key, direction, bytes) {
                return Some(Transfer { conn, direction, budget });
            }
        }
        while let Some((conn, direction)) = self.cx.ready.next() {
            let place = self.conns.get(conn);
            let Some(link) = link_of(&mut self.hub, &mut self.shard, place) else { continue };
            link.readiness(direction).queued = false;
            if !link.has_work(direction) {
                continue;
            }
            let Some(Place::Peer(key)) = place else {
                return Some(Transfer { conn, direction, budget: TURN });
            };
            if let Some(budget) = self.shard.grant(&mut self.cx, key, direction, TURN) {
                return Some(Transfer { conn, direction, budget });
            }
        }
        None
    }

    /// Whether [`Engine::poll_transfer`] may have a turn to give: ask before waiting for anything.
    pub fn has_transfer(&self) -> bool {
        self.cx.ready.is_waiting()
    }

    /// Where the bytes of a read go. Make one vectored read into all slices, then tell the outcome by
    /// [`Engine::handle_read`] or [`Engine::handle_blocked`].
    pub fn read_slices(&mut self, transfer: Transfer) -> ReadSlices<'_> {
        let mut out = ReadSlices::new();
        match self.conns.get(transfer.conn) {
            Some(Place::Peer(key)) => {
                self.shard.read_slices(&mut self.cx, key, &mut self.slots, transfer.budget, &mut out);
            }
            Some(Place::Hub(_)) => out.push(self.slots.scratch()),
            None => {}
        }
        out
    }

    /// The read brought `n` bytes; 0 is the end of the stream. `drained` says that the system has no more for now.
    pub fn handle_read(&mut self, now: Time, conn: ConnId, n: usize, drained: bool) {
        self.cx.at(now);
        if n == 0 {
            if let Some(Place::Peer(key)) = self.conns.get(conn) {
                self.shard.settle(&mut self.cx, key, Direction::Read, 0);
            }
            return self.handle_lost(now, conn, Close::Eof);
        }
        let place = self.conns.get(conn);
        if let Some(link) = link_of(&mut self.hub, &mut self.shard, place) {
            link.read.ready = !drained;
        }
        match place {
            Some(Place::Peer(key)) => {
                self.shard.settle(&mut self.cx, key, Direction::Read, n);
                self.shard.handle_read(&mut self.cx, key, &mut self.slots, n);
            }
            Some(Place::Hub(key)) => self.stranger_read(key, n),
            None => self.slots.release(&mut self.cx.pool),
        }
        self.maintain();
    }

    /// What a write takes.
    pub fn write_slices(&self, transfer: Transfer) -> WriteSlices<'_> {
        let mut out = WriteSlices::new();
        match self.conns.get(transfer.conn) {
            Some(Place::Peer(key)) => self.shard.write_slices(key, transfer.budget, &mut out),
            Some(Place::Hub(key)) => self.hub.strangers[key].link.tx.slices(transfer.budget, &mut out),
            None => {}
        }
        out
    }

    /// The write took `n` bytes. `full` says that the system takes no more for now.
    pub fn handle_written(&mut self, now: Time, conn: ConnId, n: usize, full: bool) {
        self.cx.at(now);
        let place = self.conns.get(conn);
        if let Some(link) = link_of(&mut self.hub, &mut self.shard, place) {
            link.write.ready = !full;
        }
        match place {
            Some(Place::Peer(key)) => {
                self.shard.settle(&mut self.cx, key, Direction::Write, n);
                self.shard.handle_written(&mut self.cx, key, n);
            }
            Some(Place::Hub(key)) => {
                let link = &mut self.hub.strangers[key].link;
                link.tx.advance(n, &mut self.cx.pool);
                self.cx.ready.enlist(link, Direction::Write);
            }
            None => {}
        }
        self.maintain();
    }

    /// The system would neither give nor take a byte: wait for readiness.
    pub fn handle_blocked(&mut self, conn: ConnId, direction: Direction) {
        self.slots.release(&mut self.cx.pool);
        let place = self.conns.get(conn);
        if let Some(Place::Peer(key)) = place {
            self.shard.settle(&mut self.cx, key, direction, 0);
        }
        if let Some(link) = link_of(&mut self.hub, &mut self.shard, place) {
            link.readiness(direction).ready = false;
        }
    }

    // ---- disk and time

    /// The disk answered.
    pub fn handle_completion(&mut self, now: Time, completion: Completion) {
        self.cx.at(now);
        self.shard.handle_completion(&mut self.cx, completion);
        self.maintain();
    }

    /// What the disk is to do now.
    pub fn take_jobs(&mut self, into: &mut Vec<Job>) {
        into.append(&mut self.cx.out.jobs);
    }

    /// Time went on.
    pub fn handle_timeout(&mut self, now: Time) {
        self.cx.at(now);
        while let Some((slot, timer)) = self.cx.conn_timers.poll(self.cx.now) {
            match (self.conns.in_slot(slot), timer) {
                (Some(Place::Hub(key)), ConnTimer::Handshake) => {
                    let reason = self.hub.timeout(key);
                    self.end_stranger(key, &reason);
                }
                (Some(Place::Peer(key)), ConnTimer::Check) => self.shard.check_peer(&mut self.cx, key),
                (Some(Place::Peer(key)), ConnTimer::Exchange) => self.shard.exchange_due(&mut self.cx, key),
                _ => {}
            }
        }
        while let Some((slot, timer)) = self.cx.torrent_timers.poll(self.cx.now) {
            match timer {
                TorrentTimer::Seek => self.seek_timer(slot),
                timer => self.shard.torrent_timer(&mut self.cx, slot, timer),
            }
        }
        self.dht_timeout();
        self.shard.choke_round(&mut self.cx);
        self.shard.announce_locally(&mut self.cx);
        self.maintain();
    }

    /// When to call [`Engine::handle_timeout`].
    pub fn next_timeout(&mut self) -> Option<Time> {
        let cx = &mut self.cx;
        let timers = [
            cx.conn_timers.next_timeout(),
            cx.torrent_timers.next_timeout(),
            cx.limits.next_timeout(),
            self.shard.choker.next_timeout(),
            self.seeker.as_ref().map(|seeker| seeker.dht.next_timeout()),
            self.shard.next_local(cx),
            self.hub.pace.resumes(cx.now).filter(|_| self.shard.wants_to_dial()),
        ];
        timers.into_iter().flatten().min()
    }

    /// What to do or tell now.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.cx.out.actions.pop_front()
    }

    // ---- inside

    /// Bytes of a handshake came.
    fn stranger_read(&mut self, key: usize, n: usize) {
        let Self { cx, hub, shard, slots, .. } = self;
        let bytes = slots.filled(n);
        let find = |id| {
            let torrent = shard.torrent(*shard.by_id.get(&TorrentId(id))?)?;
            Some((torrent.key, torrent.is_private()))
        };
        let result = hub.received(cx, key, bytes, find);
        match result {
            Ok(false) => cx.ready.enlist(&mut hub.strangers[key].link, Direction::Read),
            Ok(true) => self.welcome(key),
            Err(reason) => self.end_stranger(key, &reason),
        }
    }

    /// A handshake is done: the connection goes to its torrent, if there is room and it is not there already.
    fn welcome(&mut self, key: usize) {
        let Some(arrival) = self.hub.arrival(key) else { return };
        match self.shard.admission(&self.cx, &arrival) {
            Err(reason) => return self.end_stranger(key, &reason),
            Ok(Some((other, reason))) => self.shard.leave(&mut self.cx, other, reason),
            Ok(None) => {}
        }
        let Some((arrival, rest)) = self.hub.finish(key) else { return };
        let conn = arrival.link.conn;
        let peer = self.shard.join(&mut self.cx, arrival);
        self.conns.set(conn, Place::Peer(peer));
        self.shard.first_turn(&mut self.cx, peer, &rest);
    }

    /// Opens connections while there are candidates and room.
    fn dial(&mut self) {
        while self.hub.dialling < self.cx.config.max_dials
            && self.conns.len() < self.cx.config.max_connections
            && self.hub.pace.allows(self.cx.now)
        {
            let Some((torrent, id, addr)) = self.shard.next_dial(&mut self.cx) else { return };
            if self.hub.is_banned(addr.ip()) {
                self.shard.dial_ended(&mut self.cx, torrent, addr, &Close::Banned);
                continue;
            }
            self.hub.pace.take(self.cx.now, self.cx.config.dials_per_second);
            let conn = self.conns.reserve();
            let link = Link::new(self.cx.now, conn, addr, true);
            let private = self.shard.torrent(torrent).is_some_and(Torrent::is_private);
            let key = self.hub.dial(&mut self.cx, link, torrent, id.0, private);
            self.conns.set(conn, Place::Hub(key));
            self.cx.out.actions.push_back(Action::Dial { conn, addr });
        }
    }

    pub(super) fn end_stranger(&mut self, key: usize, reason: &Close) {
        let (link, torrent) = self.hub.remove(&mut self.cx, key);
        tracing::debug!(addr = %link.addr, %reason, "a connection came to nothing");
        self.cx.out.actions.push_back(Action::Close { conn: link.conn });
        self.conns.release(link.conn);
        if let Some(torrent) = torrent {
            self.shard.dial_ended(&mut self.cx, torrent, link.addr, reason);
        }
    }

    /// What is left to do after any input: end doomed peers, forget connections, dial.
    pub(super) fn maintain(&mut self) {
        self.shard.reap(&mut self.cx);
        for conn in self.shard.gone.drain(..) {
            self.conns.release(conn);
        }
        for sender in self.shard.banned.drain(..) {
            self.hub.ban(sender);
        }
        self.dial();
        self.hurry();
    }
}

fn link_of<'a>(hub: &'a mut Hub, shard: &'a mut Shard, place: Option<Place>) -> Option<&'a mut Link> {
    match place? {
        Place::Hub(key) => Some(&mut hub.strangers.get_mut(key)?.link),
        Place::Peer(key) => Some(&mut shard.peers.get_mut(key.slot())?.link),
    }
}
