//! Who may move how many bytes now: write credit of the disk, and rate limits.

use super::{PeerKey, Shard};
use crate::engine::cx::Cx;
use crate::engine::link::Direction;

/// Bytes of TCP and IP headers that come with each full segment of payload, and the bytes of such a segment.
const OVERHEAD: (usize, usize) = (52, 1448);

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
        let waits = credit == 0;
        peer.down.window.handle_throttled(cx.now, waits);
        if waits {
            peer.link.read.queued = true;
            cx.ready.park_for_disk(peer.link.conn);
            return None;
        }
        Some(credit)
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
