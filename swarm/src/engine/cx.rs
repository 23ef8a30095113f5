//! What every part of the engine works with: the moment, randomness, buffers, timers, and the outbox.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use storage::Pool;

use super::config::Config;
use super::link::{ConnId, Direction, Link};
use super::output::Outbox;
use super::stub::limiter::Limiter;
use super::time::Time;
use super::timers::{Kind, Timers};

/// The context of one engine call.
pub(crate) struct Cx {
    pub(crate) now: Time,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) config: Config,
    pub(crate) pool: Pool,
    pub(crate) out: Outbox,
    pub(crate) conn_timers: Timers<ConnTimer>,
    pub(crate) torrent_timers: Timers<TorrentTimer>,
    pub(crate) ready: Ready,
    pub(crate) limits: Limits,
    /// Bytes received that the disk has not given back.
    pub(crate) writing: usize,
    /// Bytes of upload buffers: being read, or waiting in send queues.
    pub(crate) serving: usize,
}

/// Timers of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnTimer {
    /// The handshake must be done.
    Handshake,
    /// Keep-alive, idleness and late answers of a peer.
    Check,
}

impl Kind for ConnTimer {
    const ALL: &'static [Self] = &[Self::Handshake, Self::Check];
    fn index(self) -> usize {
        self as usize
    }
}

/// Timers of a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TorrentTimer {
    /// Choke round or optimistic unchoke.
    Choke,
    /// Candidates may be dialled.
    Dial,
    /// Something is due at a tracker.
    Tracker,
}

impl Kind for TorrentTimer {
    const ALL: &'static [Self] = &[Self::Choke, Self::Dial, Self::Tracker];
    fn index(self) -> usize {
        self as usize
    }
}

/// The rate limits of the session, one tree per direction.
pub(crate) struct Limits {
    pub(crate) down: Limiter,
    pub(crate) up: Limiter,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self { down: Limiter::new(config.down_limit), up: Limiter::new(config.up_limit) }
    }

    /// When either tree has tokens again.
    pub(crate) fn next_refill(&mut self, now: Time) -> Option<Time> {
        [self.down.next_refill(now), self.up.next_refill(now)].into_iter().flatten().min()
    }

    pub(crate) fn refilled(&mut self, now: Time) -> bool {
        self.next_refill(now).is_none_or(|at| at <= now)
    }

    pub(crate) fn of(&mut self, direction: Direction) -> &mut Limiter {
        match direction {
            Direction::Read => &mut self.down,
            Direction::Write => &mut self.up,
        }
    }
}

/// Connections that may move bytes, and those that wait for credit.
#[derive(Default)]
pub(crate) struct Ready {
    list: VecDeque<(ConnId, Direction)>,
    /// They wait until the disk gave write credit back.
    for_disk: Vec<ConnId>,
    /// They wait until the limiter has tokens again.
    for_rate: Vec<(ConnId, Direction)>,
}

impl Ready {
    /// Puts a connection at the end of the list, if it has work and is in none.
    pub(crate) fn enlist(&mut self, link: &mut Link, direction: Direction) {
        if link.has_work(direction) {
            let readiness = link.readiness(direction);
            if !readiness.queued {
                readiness.queued = true;
                self.list.push_back((link.conn, direction));
            }
        }
    }

    /// The next connection; it is in no list any more.
    pub(crate) fn next(&mut self) -> Option<(ConnId, Direction)> {
        self.list.pop_front()
    }

    /// Puts aside a connection that may not read before the disk caught up. It stays marked as queued.
    pub(crate) fn park_for_disk(&mut self, conn: ConnId) {
        self.for_disk.push(conn);
    }

    /// Puts aside a connection that is out of tokens. It stays marked as queued.
    pub(crate) fn park_for_rate(&mut self, conn: ConnId, direction: Direction) {
        self.for_rate.push((conn, direction));
    }

    /// The disk caught up.
    pub(crate) fn disk_freed(&mut self) {
        self.list.extend(self.for_disk.drain(..).map(|conn| (conn, Direction::Read)));
    }

    /// There are tokens again.
    pub(crate) fn rate_refilled(&mut self) {
        self.list.extend(self.for_rate.drain(..));
    }

    pub(crate) fn waits_for_rate(&self) -> bool {
        !self.for_rate.is_empty()
    }
}
