//! Whom to connect to, and whom to let in.

use std::net::{IpAddr, SocketAddr};

use metainfo::TorrentId;

use super::{PeerKey, Shard};
use crate::engine::TorrentKey;
use crate::engine::candidates::{Added, Source};
use crate::engine::close::Close;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::hub::Arrival;
use crate::engine::scope::Scope;

/// With fewer peers than this, a download asks its trackers for more as soon as they allow.
pub(crate) const FEW_PEERS: usize = 10;

impl Shard {
    /// Addresses of peers were learnt.
    pub(crate) fn add_peers(
        &mut self,
        cx: &mut Cx,
        key: TorrentKey,
        addrs: &[SocketAddr],
        source: Source,
        scope: Scope,
    ) {
        if self.torrent(key).is_none() {
            return;
        }
        for addr in addrs {
            self.learn(cx, key.slot(), *addr, source, scope);
        }
        self.arm_dial(cx, key.slot());
    }

    /// The address of a peer was learnt. Whoever named it, it counts towards the memory that all addresses have.
    pub(super) fn learn(
        &mut self,
        cx: &Cx,
        slot: usize,
        addr: SocketAddr,
        source: Source,
        scope: Scope,
    ) -> Added {
        let most = self.most_candidates(cx);
        self.torrents[slot].candidates.add_within(most, cx.now, addr, source, scope)
    }

    /// Somebody said which address we have. Once enough agree, candidates are ranked by it (BEP 40).
    pub(crate) fn seen_as(&mut self, cx: &Cx, voter: IpAddr, seen: IpAddr) {
        let before = [true, false].map(|ipv4| self.external.address(ipv4));
        self.external.vote(voter, seen);
        let now = [true, false].map(|ipv4| self.external.address(ipv4));
        if before != now {
            for (_, torrent) in &mut self.torrents {
                torrent.rank_candidates(cx.now, now, self.listen_port);
            }
        }
    }

    /// Dials when the next candidate is due. One that is due already needs no timer, as the torrent takes its turn.
    pub(super) fn arm_dial(&mut self, cx: &mut Cx, slot: usize) {
        if let Some(at) = self.torrents[slot].candidates.next_timeout().filter(|at| *at > cx.now) {
            cx.torrent_timers.set(slot, TorrentTimer::Dial, at);
        }
        self.dialers.insert(slot);
    }

    /// A connection that we opened for this torrent ended before it became a peer.
    pub(crate) fn dial_ended(&mut self, cx: &mut Cx, key: TorrentKey, addr: SocketAddr, reason: &Close) {
        if let Some(torrent) = self.torrent_mut(key) {
            match reason {
                Close::OurOwn => torrent.candidates.handle_own(addr),
                _ => torrent.candidates.handle_failed(cx.now, addr),
            }
            self.arm_dial(cx, key.slot());
        }
    }

    /// Whether some torrent may have candidates.
    pub(crate) fn wants_to_dial(&self) -> bool {
        !self.dialers.is_empty()
    }

    /// The next address to dial, and for which torrent; torrents take turns.
    pub(crate) fn next_dial(&mut self, cx: &mut Cx) -> Option<(TorrentKey, TorrentId, SocketAddr)> {
        loop {
            let after = self.dialers.range(self.dial_turn..).next();
            let slot = *after.or_else(|| self.dialers.first())?;
            self.dialers.remove(&slot);
            self.dial_turn = slot + 1;
            let Some(torrent) = self.torrents.get(slot).filter(|torrent| !torrent.keeping.paused) else {
                continue;
            };
            if torrent.peers.len() >= cx.config.max_torrent_connections && self.useless(slot).is_none() {
                continue;
            }
            if self.holds_dials(cx, slot) {
                continue;
            }
            let Some(torrent) = self.torrents.get_mut(slot) else { continue };
            if let Some(addr) = torrent.candidates.next(cx.now) {
                let found = (torrent.key, torrent.id, addr);
                self.dialers.insert(slot);
                return Some(found);
            }
            self.want_peers(cx, slot);
            self.arm_dial(cx, slot);
            self.dialers.remove(&slot);
        }
    }

    /// Nobody is left to dial: a tracker may know more.
    fn want_peers(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        if torrent.wants() && torrent.peers.len() < FEW_PEERS {
            torrent.tracker.want_peers(cx.now);
            self.lonely.insert(torrent.key);
            self.arm_tracker(cx, slot);
        }
    }

    /// Whether a connection may join its torrent: `Err` says why not, `Ok(Some)` whose place it takes and why.
    pub(crate) fn admission(&self, cx: &Cx, arrival: &Arrival) -> Result<Option<(PeerKey, Close)>, Close> {
        let Some(torrent) = self.torrents.get(arrival.torrent.slot()).filter(|t| t.key == arrival.torrent)
        else {
            return Err(Close::UnknownTorrent);
        };
        if torrent.keeping.paused {
            return Err(Close::Stopped);
        }
        self.admits_to_cold(cx, torrent)?;
        if torrent.is_private() && arrival.outgoing && torrent.candidates.get(arrival.addr).is_none() {
            return Err(Close::TrackerChanged);
        }
        let same = |key: &&PeerKey| self.peers[key.slot()].id == arrival.id;
        if let Some(other) = torrent.peers.iter().find(same) {
            // Both sides must keep the same one of two: the one that the smaller id dialled.
            let kept_is_ours = cx.config.peer_id.0 < arrival.id.0;
            let known = &self.peers[other.slot()];
            let better = known.link.outgoing != arrival.outgoing && arrival.outgoing == kept_is_ours;
            return if better { Ok(Some((*other, Close::Duplicate))) } else { Err(Close::Duplicate) };
        }
        if torrent.peers.len() < cx.config.max_torrent_connections
            && self.peers.len() < cx.config.max_connections
            && self.has_room_for_peer(cx, arrival.torrent.slot())
        {
            return Ok(None);
        }
        let useless = self.useless(arrival.torrent.slot()).ok_or(Close::Limit)?;
        Ok(Some((useless, Close::Limit)))
    }

    /// The peer that may go when there is no room: of those that dialled us and never moved a block, where neither side wants
    /// anything of the other, the one that has been silent for longest.
    fn useless(&self, slot: usize) -> Option<PeerKey> {
        let peers = self.torrents.get(slot)?.peers.iter().copied();
        let idle = peers.filter(|key| {
            let peer = &self.peers[key.slot()];
            let wants = peer.am_interested || peer.peer_interested;
            !peer.link.outgoing && !wants && peer.up.bytes == 0 && peer.down.window.total() == 0
        });
        idle.min_by_key(|key| self.peers[key.slot()].link.last_read)
    }
}
