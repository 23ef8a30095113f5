//! Who may move how many bytes now, and who may hold how many: write credit of the disk, shares of the memory budget, and rate
//! limits.

use metainfo::Geometry;

use super::{PeerKey, Shard};
use crate::engine::cx::Cx;
use crate::engine::link::Direction;
use crate::engine::memory::CANDIDATE;
use crate::engine::tx::MAX_CONTROL;

/// Bytes of TCP and IP headers that come with each full segment of payload, and the bytes of such a segment.
const OVERHEAD: (usize, usize) = (52, 1448);

/// Bytes of a request in a queue.
pub(super) const THEIR_REQUEST: usize = size_of::<metainfo::PieceRange>();
pub(super) const OUR_REQUEST: usize = size_of::<super::peer::Outstanding>();
/// Requests of a peer, and at a peer, in any case.
const LEAST_REQUESTS: usize = 16;
/// Bytes of messages that may wait for any peer.
const LEAST_CONTROL: usize = 16 * 1024;
/// Addresses that any torrent may know.
const LEAST_CANDIDATES: usize = 50;
/// Pieces in progress that any torrent may have.
const LEAST_PIECES: usize = 4;
/// Bytes of a piece in progress and of each of its blocks: in the picker, in the blame, in the disk plan.
const PIECE_COST: usize = 1024;
const BLOCK_COST: usize = 8;
/// Torrents that are busy at a time, as far as memory goes.
const BUSY_TORRENTS: usize = 16;

/// Bytes that it takes to remember what a peer has.
pub(super) fn bitfield_bytes(geometry: &Geometry) -> usize {
    geometry.piece_count().div_ceil(8) as usize
}

impl Shard {
    /// Bytes that a peer may move in this turn. `None` when it has to wait; it keeps its place until credit comes back.
    pub(crate) fn grant(
        &mut self,
        cx: &mut Cx,
        key: PeerKey,
        direction: Direction,
        turn: usize,
    ) -> Option<usize> {
        let budget = self.disk_credit(cx, key, direction)?.min(turn);
        let peer = &mut self.peers[key.slot()];
        let (tree, node) = cx.limits.at(direction, peer.limits);
        let granted = tree.grant(cx.now, node, budget as u64) as usize;
        if granted == 0 {
            peer.link.readiness(direction).queued = true;
            if direction == Direction::Read {
                peer.down.window.handle_throttled(cx.now, true);
            }
            return None;
        }
        cx.granted = granted;
        Some(granted)
    }

    /// A peer that waited for the limiter got `bytes`. `None` when it cannot use them now.
    pub(crate) fn granted(
        &mut self,
        cx: &mut Cx,
        key: PeerKey,
        direction: Direction,
        bytes: usize,
    ) -> Option<usize> {
        let peer = &mut self.peers[key.slot()];
        peer.link.readiness(direction).queued = false;
        if direction == Direction::Read {
            peer.down.window.handle_throttled(cx.now, false);
        }
        cx.granted = bytes;
        let usable = peer.link.has_work(direction).then(|| self.disk_credit(cx, key, direction)).flatten();
        if usable.is_none() {
            self.settle(cx, key, direction, 0);
        }
        Some(usable?.min(bytes))
    }

    /// Bytes of payload that the disk lets in; a peer that finds none is parked until it does.
    fn disk_credit(&mut self, cx: &mut Cx, key: PeerKey, direction: Direction) -> Option<usize> {
        let peer = &mut self.peers[key.slot()];
        if direction == Direction::Write || (!peer.link.rx.in_payload() && peer.down.requests.is_empty()) {
            return Some(usize::MAX);
        }
        let credit = cx.config.write_credit.saturating_sub(cx.writing);
        // Whoever is in the middle of a block may end it: that frees memory. Nobody begins one beyond the share.
        let waits = credit == 0 || (!peer.link.rx.in_payload() && cx.receiving >= cx.shares.receiving);
        peer.down.window.handle_throttled(cx.now, waits);
        if waits {
            peer.link.read.queued = true;
            cx.ready.park_for_disk(peer.link.conn);
            return None;
        }
        Some(credit)
    }

    /// Counts what a peer holds after its turn. When less is held again, those that waited for it may go on.
    pub(super) fn count_held(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let now = (peer.link.rx.held(), peer.link.tx.control());
        let before = std::mem::replace(&mut peer.counted, now);
        let was_full = cx.receiving >= cx.shares.receiving;
        cx.receiving = cx.receiving - before.0 + now.0;
        cx.messages = cx.messages - before.1 + now.1;
        if was_full && cx.receiving < cx.shares.receiving && cx.writing < cx.config.write_credit {
            cx.ready.disk_freed();
        }
    }

    /// Whether more waits to be sent to a peer than one that reads ever has, or than there is room for.
    pub(super) fn is_deaf(&self, cx: &Cx, key: PeerKey) -> bool {
        let control = self.peers[key.slot()].link.tx.control();
        control > MAX_CONTROL || (cx.messages > cx.shares.messages && control > LEAST_CONTROL)
    }

    /// A peer trickles a block that others are asked for by now: when memory is short, its buffer is put to better use.
    pub(super) fn drop_arriving(&mut self, cx: &mut Cx, key: PeerKey) {
        if 2 * cx.receiving < cx.shares.receiving {
            return;
        }
        let peer = &mut self.peers[key.slot()];
        if peer.down.arriving.is_some_and(|request| request.given_up) && peer.link.rx.discard(&mut cx.pool) {
            peer.down.arriving = None;
            self.count_held(cx, key);
        }
    }

    /// Requests that one peer may have waiting here.
    pub(super) fn most_requests(&self, cx: &Cx) -> usize {
        let share = cx.shares.requests / 2 / THEIR_REQUEST / self.peers.len().max(1);
        cx.config.max_requests.min(share.max(LEAST_REQUESTS))
    }

    /// Requests of ours that may wait at one peer.
    pub(super) fn most_outstanding(&self, cx: &Cx) -> usize {
        let share = cx.shares.requests / 2 / OUR_REQUEST / self.peers.len().max(1);
        (2 * cx.config.max_outstanding as usize).min(share.max(LEAST_REQUESTS))
    }

    /// Whether there is memory for what one more peer of this torrent has.
    pub(super) fn has_room_for_peer(&self, cx: &Cx, slot: usize) -> bool {
        let geometry = self.torrents[slot].geometry();
        self.bitfields + bitfield_bytes(geometry) <= cx.shares.bitfields
    }

    /// Addresses that one torrent may know.
    pub(super) fn most_candidates(&self, cx: &Cx) -> usize {
        (cx.shares.candidates / CANDIDATE / self.torrents.len().max(1)).max(LEAST_CANDIDATES)
    }

    /// Pieces that may be in progress in one torrent: what they cost grows with their blocks.
    pub(super) fn limit_pieces(&mut self, cx: &Cx, slot: usize) {
        let torrents = self.torrents.len().min(BUSY_TORRENTS);
        let torrent = &mut self.torrents[slot];
        let cost = PIECE_COST + BLOCK_COST * torrent.geometry().blocks_per_piece() as usize;
        let share = cx.shares.progress / torrents.max(1) / cost;
        torrent.picker.set_limit(share.max(LEAST_PIECES));
    }

    /// A turn is over: what was granted and not moved goes back, and headers are counted too (BEP 3 knows no overhead, but
    /// a line does).
    pub(crate) fn settle(&mut self, cx: &mut Cx, key: PeerKey, direction: Direction, moved: usize) {
        let granted = std::mem::take(&mut cx.granted);
        let (tree, node) = cx.limits.at(direction, self.peers[key.slot()].limits);
        if granted > moved {
            tree.refund(node, (granted - moved) as u64);
        }
        tree.charge(cx.now, node, (moved.div_ceil(OVERHEAD.1) * OVERHEAD.0) as u64);
    }
}
