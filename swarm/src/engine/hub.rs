//! Connections until their torrent is known: dialling, accepting, handshakes, and who is let in.
//!
//! ```text
//!   dial ──connected──▶ hello sent ──68 bytes──▶ checked ──▶ the torrent's peer
//!   accept ──48 bytes──▶ torrent known, hello sent ──20 bytes──▶ checked ──▶ the torrent's peer
//! ```
//!
//! An incoming connection that names a torrent that is not run here is closed without a byte, so that nobody learns what
//! is.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use slab::Slab;
use wire::Decoded;
use wire::peer::{Handshake, HandshakeHead, PeerId, Reserved};

use super::TorrentKey;
use super::close::{Close, Timeout};
use super::cx::{ConnTimer, Cx};
use super::link::{Direction, Link};
use super::scope::Scope;
use super::shard::Sender;
use super::time::Time;

/// Bans that are remembered; the oldest are forgotten first.
const MAX_BANNED: usize = 10_000;

/// A connection that finished its handshake, on its way to its torrent.
pub(crate) struct Handshaken {
    pub(crate) torrent: TorrentKey,
    pub(crate) link: Link,
    pub(crate) handshake: Handshake,
}

/// Who wants to join.
pub(crate) struct Arrival {
    pub(crate) torrent: TorrentKey,
    pub(crate) id: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) outgoing: bool,
}

/// One connection before its handshake is done.
pub(crate) struct Stranger {
    pub(crate) link: Link,
    stage: Stage,
    /// What we can do for its torrent, once that is known.
    reserved: Reserved,
    /// What came of the handshake so far.
    got: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The driver is opening it.
    Dialling { torrent: TorrentKey, id: [u8; 20] },
    /// We spoke first and wait for the answer.
    Asked { torrent: TorrentKey, id: [u8; 20] },
    /// It dialled us and has not named a torrent yet.
    Accepted,
    /// It named one of ours and we answered; its peer id is missing.
    Answered { torrent: TorrentKey },
}

/// The hub.
#[derive(Default)]
pub(crate) struct Hub {
    pub(crate) strangers: Slab<Stranger>,
    pub(crate) dialling: usize,
    banned: Bans,
    pub(crate) pace: Pace,
    /// We are a node of the DHT.
    pub(crate) dht: bool,
}

impl Hub {
    /// What we can do, for the handshakes of a torrent. A private one has no part in the DHT.
    fn reserved(&self, private: bool) -> Reserved {
        let reserved = Reserved::NONE.with_fast().with_extended();
        if self.dht && !private { reserved.with_dht() } else { reserved }
    }

    /// Refuses a peer from now on: its address, or on our own networks, where one address may be many peers, its id.
    pub(crate) fn ban(&mut self, sender: Sender) {
        let is_local = Scope::of(sender.ip).is_some_and(Scope::is_local);
        self.banned.insert(if is_local { Ban::Id(sender.id) } else { Ban::Ip(sender.ip) });
    }

    pub(crate) fn is_banned(&self, ip: IpAddr) -> bool {
        self.banned.set.contains(&Ban::Ip(ip))
    }

    /// The driver is to open this connection.
    pub(crate) fn dial(
        &mut self,
        cx: &mut Cx,
        link: Link,
        torrent: TorrentKey,
        id: [u8; 20],
        private: bool,
    ) -> usize {
        self.dialling += 1;
        let reserved = self.reserved(private);
        self.admit(cx, link, Stage::Dialling { torrent, id }, reserved)
    }

    /// A connection came in.
    pub(crate) fn accept(&mut self, cx: &mut Cx, link: Link) -> usize {
        self.admit(cx, link, Stage::Accepted, Reserved::NONE)
    }

    fn admit(&mut self, cx: &mut Cx, link: Link, stage: Stage, reserved: Reserved) -> usize {
        cx.conn_timers.set(link.conn.slot(), ConnTimer::Handshake, cx.now + cx.config.handshake_timeout);
        self.strangers.insert(Stranger { link, stage, reserved, got: Vec::new() })
    }

    /// The incoming connection that has been silent for longest, when there are too many; first those that have not even
    /// named a torrent.
    pub(crate) fn crowded(&self, max: usize) -> Option<usize> {
        if self.strangers.len() - self.dialling < max {
            return None;
        }
        let waiting = self.strangers.iter().filter(|(_, s)| !s.link.outgoing);
        let rank = |s: &Stranger| (s.stage != Stage::Accepted, s.link.last_read, s.link.conn);
        waiting.min_by_key(|(_, s)| rank(s)).map(|(key, _)| key)
    }

    /// The connection that we dialled is open: speak first.
    pub(crate) fn connected(&mut self, cx: &mut Cx, key: usize) {
        let stranger = &mut self.strangers[key];
        let Stage::Dialling { torrent, id } = stranger.stage else { return };
        self.dialling -= 1;
        stranger.stage = Stage::Asked { torrent, id };
        stranger.hello(cx, id);
        stranger.link.write.ready = true;
        cx.ready.enlist(&mut stranger.link, Direction::Write);
    }

    /// Takes bytes of a handshake; `find` gives the torrent of an info-hash and whether it is private. `Ok(true)` when it is whole and [`Hub::finish`] is to be called.
    pub(crate) fn received(
        &mut self,
        cx: &mut Cx,
        key: usize,
        bytes: &[u8],
        find: impl FnOnce([u8; 20]) -> Option<(TorrentKey, bool)>,
    ) -> Result<bool, Close> {
        let [public, private] = [false, true].map(|private| self.reserved(private));
        let stranger = &mut self.strangers[key];
        stranger.got.extend_from_slice(bytes);
        if stranger.stage == Stage::Accepted {
            let Decoded::Complete { value: head, .. } = HandshakeHead::parse(&stranger.got)? else {
                return Ok(false);
            };
            let (torrent, is_private) = find(head.info_hash).ok_or(Close::UnknownTorrent)?;
            stranger.reserved = if is_private { private } else { public };
            stranger.stage = Stage::Answered { torrent };
            stranger.hello(cx, head.info_hash);
            cx.ready.enlist(&mut stranger.link, Direction::Write);
        }
        match Handshake::parse(&stranger.got)? {
            Decoded::Incomplete { .. } => Ok(false),
            Decoded::Complete { value, .. } => match stranger.stage {
                Stage::Asked { id, .. } if id != value.info_hash => Err(Close::WrongTorrent),
                // The side that dialled is to learn it, so that the address is not dialled again: it gets its answer.
                _ if value.peer_id == cx.config.peer_id => {
                    if stranger.link.outgoing || stranger.got.len() > Handshake::LEN {
                        Err(Close::OurOwn)
                    } else {
                        Ok(false)
                    }
                }
                _ if self.banned.set.contains(&Ban::Id(value.peer_id.0)) => Err(Close::Banned),
                _ => Ok(true),
            },
        }
    }

    /// What is known of a connection whose handshake is whole.
    pub(crate) fn arrival(&self, key: usize) -> Option<Arrival> {
        let stranger = self.strangers.get(key)?;
        let Decoded::Complete { value: handshake, .. } = Handshake::parse(&stranger.got).ok()? else {
            return None;
        };
        let Link { addr, outgoing, .. } = stranger.link;
        Some(Arrival { torrent: stranger.torrent()?, id: handshake.peer_id, addr, outgoing })
    }

    /// Hands a connection with a whole handshake over, and the bytes that came behind it.
    pub(crate) fn finish(&mut self, key: usize) -> Option<(Handshaken, Vec<u8>)> {
        let Decoded::Complete { value: handshake, consumed } =
            Handshake::parse(&self.strangers.get(key)?.got).ok()?
        else {
            return None;
        };
        let mut stranger = self.strangers.remove(key);
        let torrent = stranger.torrent()?;
        let rest = stranger.got.split_off(consumed);
        let handshake = Handshake { reserved: handshake.reserved.common(&stranger.reserved), ..handshake };
        Some((Handshaken { torrent, link: stranger.link, handshake }, rest))
    }

    /// Forgets a connection; says which torrent wanted it.
    pub(crate) fn remove(&mut self, cx: &mut Cx, key: usize) -> (Link, Option<TorrentKey>) {
        let mut stranger = self.strangers.remove(key);
        if matches!(stranger.stage, Stage::Dialling { .. }) {
            self.dialling -= 1;
        }
        cx.conn_timers.remove(stranger.link.conn.slot());
        stranger.link.release(&mut cx.pool);
        let torrent = stranger.torrent().filter(|_| stranger.link.outgoing);
        (stranger.link, torrent)
    }

    /// A torrent turned out to be private: it has no part in the DHT any more. Gives those of its connections that we dialled
    /// and that it may not use.
    pub(crate) fn go_private(
        &mut self,
        torrent: TorrentKey,
        may_use: impl Fn(SocketAddr) -> bool,
    ) -> Vec<usize> {
        let reserved = self.reserved(true);
        let its = self.strangers.iter_mut().filter(|(_, stranger)| stranger.torrent() == Some(torrent));
        let dropped = its.filter_map(|(key, stranger)| {
            stranger.reserved = stranger.reserved.common(&reserved);
            let Link { addr, outgoing, .. } = stranger.link;
            (outgoing && !may_use(addr)).then_some(key)
        });
        dropped.collect()
    }

    /// Bytes of handshakes that are not all there, and of ours that wait.
    pub(crate) fn held_bytes(&self) -> usize {
        self.strangers.iter().map(|(_, s)| s.got.len() + s.link.tx.control()).sum()
    }

    /// Which patience ends when the handshake's timer fires.
    pub(crate) fn timeout(&self, key: usize) -> Close {
        match self.strangers[key].stage {
            Stage::Dialling { .. } => Close::Timeout(Timeout::Dial),
            _ => Close::Timeout(Timeout::Handshake),
        }
    }
}

impl Stranger {
    fn hello(&mut self, cx: &Cx, info_hash: [u8; 20]) {
        let hello = Handshake { reserved: self.reserved, info_hash, peer_id: cx.config.peer_id };
        self.link.tx.push_bytes(&hello.encode());
    }

    fn torrent(&self) -> Option<TorrentKey> {
        match self.stage {
            Stage::Dialling { torrent, .. } | Stage::Asked { torrent, .. } | Stage::Answered { torrent } => {
                Some(torrent)
            }
            Stage::Accepted => None,
        }
    }
}

/// Who is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Ban {
    Ip(IpAddr),
    Id([u8; 20]),
}

/// The bans that are remembered, the oldest first.
#[derive(Default)]
struct Bans {
    set: HashSet<Ban>,
    order: VecDeque<Ban>,
}

impl Bans {
    fn insert(&mut self, ban: Ban) {
        if !self.set.insert(ban) {
            return;
        }
        self.order.push_back(ban);
        if self.order.len() > MAX_BANNED
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

/// Spreads dials over time: a burst of a second's worth, then one after the other.
#[derive(Default)]
pub(crate) struct Pace {
    /// When all dials so far would be done, one after the other.
    paid_until: Time,
}

impl Pace {
    const BURST: Duration = Duration::from_secs(1);

    pub(crate) fn allows(&self, now: Time) -> bool {
        self.paid_until <= now + Self::BURST
    }

    pub(crate) fn take(&mut self, now: Time, per_second: u32) {
        self.paid_until = self.paid_until.max(now) + Duration::from_secs(1) / per_second.max(1);
    }

    /// When the next dial is allowed, if none is now.
    pub(crate) fn resumes(&self, now: Time) -> Option<Time> {
        (!self.allows(now)).then(|| Time::ZERO + (self.paid_until - Time::ZERO).saturating_sub(Self::BURST))
    }
}
