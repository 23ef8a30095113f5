//! The engine itself: what a driver calls.

use std::net::SocketAddr;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use storage::{Completion, Job, Pool};

use super::TorrentKey;
use super::candidates::Source;
use super::config::Config;
use super::conns::{Conns, Place};
use super::cx::{ConnTimer, Cx, Limits, Ready, TorrentTimer};
use super::hub::Hub;
use super::link::Direction;
use super::memory::Shares;
use super::output::{Action, Outbox};
use super::rx::Slots;
use super::scope::Scope;
use super::seek::Seeker;
use super::shard::{Shard, choker_config};
use super::time::Time;
use super::timers::Timers;
use super::tracker::{AnnounceId, AnnounceReply, Failure};

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
    pub(super) conns: Conns,
    pub(super) slots: Slots,
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
