//! What every part of the engine works with: the moment, randomness, buffers, timers, and the outbox.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use storage::Pool;

use super::config::Config;
use super::limiter::{Limiter, NodeId};
use super::link::{ConnId, Direction, Link};
use super::memory::Shares;
use super::output::Outbox;
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
    /// Bytes that the current turn may move, taken from the limits.
    pub(crate) granted: usize,
    /// Bytes received that the disk has not given back.
    pub(crate) writing: usize,
    /// Shares of the memory budget.
    pub(crate) shares: Shares,
    /// Bytes of blocks and messages that are not all there, as of each peer's last turn.
    pub(crate) receiving: usize,
    /// Bytes of messages that wait to be sent, as of the same.
    pub(crate) messages: usize,
    /// Bytes received that the disk could not write, kept to be tried again.
    pub(crate) kept: usize,
    /// Bytes of upload buffers: being read, or waiting in send queues.
    pub(crate) serving: usize,
}

impl Cx {
    /// The current moment, as the driver says. A clock that went back stands still until it has caught up.
    pub(crate) fn at(&mut self, now: Time) {
        self.now = self.now.max(now);
    }
}

/// Timers of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnTimer {
    /// The handshake must be done.
    Handshake,
    /// Keep-alive, idleness and late answers of a peer.
    Check,
    /// A peer is told about others.
    Exchange,
}

impl Kind for ConnTimer {
    const ALL: &'static [Self] = &[Self::Handshake, Self::Check, Self::Exchange];
    fn index(self) -> usize {
        self as usize
    }
}

/// Timers of a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TorrentTimer {
    /// Candidates may be dialled.
    Dial,
    /// Something is due at a tracker.
    Tracker,
    /// Peers were asked for metadata and did not answer.
    Metadata,
    /// Peers were asked for piece layers and did not answer.
    Layers,
    /// Peers have waited for a cold torrent to be open.
    Cold,
    /// Peers may be looked for in the DHT.
    Seek,
    /// Nobody may have needed it for a while.
    Idle,
    /// What passed is to be made durable.
    Sync,
    /// The storage failed and is tried again.
    Retry,
    /// Doubtful pieces are checked again.
    Recheck,
    /// The next piece that nobody asks for is checked.
    Sweep,
    /// Storage looks what others did to its files.
    Look,
    /// A paused torrent should be at rest by now.
    Settle,
    /// Pieces that somebody waits for may be late.
    Deadline,
}

impl Kind for TorrentTimer {
    const ALL: &'static [Self] = &[
        Self::Dial,
        Self::Tracker,
        Self::Metadata,
        Self::Layers,
        Self::Cold,
        Self::Seek,
        Self::Idle,
        Self::Sync,
        Self::Retry,
        Self::Recheck,
        Self::Sweep,
        Self::Look,
        Self::Settle,
        Self::Deadline,
    ];
    fn index(self) -> usize {
        self as usize
    }
}

/// The rate limits of the session: a tree for each direction, session > torrent > peer. Peers are tagged with their slot.
pub(crate) struct Limits {
    trees: [Limiter; 2],
    session: [NodeId; 2],
}

/// A node in each of the two trees.
pub(crate) type LimitNodes = [NodeId; 2];

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let mut trees = [Limiter::new(), Limiter::new()];
        let down = trees[0].add(Time::ZERO, None, config.down_limit, 0);
        let up = trees[1].add(Time::ZERO, None, config.up_limit, 0);
        Self { trees, session: [down, up] }
    }

    pub(crate) fn add_torrent(&mut self, now: Time) -> LimitNodes {
        let [down, up] = self.session;
        [self.trees[0].add(now, Some(down), None, 0), self.trees[1].add(now, Some(up), None, 0)]
    }

    pub(crate) fn add_peer(&mut self, now: Time, torrent: LimitNodes, slot: usize) -> LimitNodes {
        let [down, up] = torrent;
        [self.trees[0].add(now, Some(down), None, slot), self.trees[1].add(now, Some(up), None, slot)]
    }

    pub(crate) fn remove(&mut self, nodes: LimitNodes) {
        let [down, up] = nodes;
        self.trees[0].remove(down);
        self.trees[1].remove(up);
    }

    /// The tree of a direction, and this node in it.
    pub(crate) fn at(&mut self, direction: Direction, nodes: LimitNodes) -> (&mut Limiter, NodeId) {
        let side = direction as usize;
        (&mut self.trees[side], nodes[side])
    }

    pub(crate) fn set_session_rate(&mut self, now: Time, direction: Direction, rate: Option<u64>) {
        let (tree, node) = self.at(direction, self.session);
        tree.set_rate(now, node, rate);
    }

    /// A peer's slot that waited and has its turn now, and how many bytes it may move.
    pub(crate) fn poll(&mut self, now: Time) -> Option<(Direction, usize, usize)> {
        for (tree, direction) in self.trees.iter_mut().zip([Direction::Read, Direction::Write]) {
            if let Some(grant) = tree.poll(now) {
                return Some((direction, grant.tag, usize::try_from(grant.bytes).unwrap_or(usize::MAX)));
            }
        }
        None
    }

    pub(crate) fn next_timeout(&mut self) -> Option<Time> {
        self.trees.iter_mut().filter_map(Limiter::next_timeout).min()
    }
}

/// Connections that may move bytes, and those that wait for credit.
#[derive(Default)]
pub(crate) struct Ready {
    list: VecDeque<(ConnId, Direction)>,
    /// They wait until the disk gave write credit back.
    for_disk: Vec<ConnId>,
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

    /// Whether a connection waits for its turn.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.list.is_empty()
    }

    /// Puts aside a connection that may not read before the disk caught up. It stays marked as queued.
    pub(crate) fn park_for_disk(&mut self, conn: ConnId) {
        self.for_disk.push(conn);
    }

    /// The disk caught up.
    pub(crate) fn disk_freed(&mut self) {
        self.list.extend(self.for_disk.drain(..).map(|conn| (conn, Direction::Read)));
    }
}
