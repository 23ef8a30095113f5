//! Who may move how many bytes now: write credit of the disk, and rate limits.

use super::{PeerKey, Shard};
use crate::engine::cx::Cx;
use crate::engine::link::Direction;

impl Shard {
    /// Bytes that a peer may move in this turn. `None` when it has to wait; it is then parked until credit comes back.
    pub(crate) fn grant(
        &mut self,
        cx: &mut Cx,
        key: PeerKey,
        direction: Direction,
        turn: usize,
    ) -> Option<usize> {
        let peer = &mut self.peers[key.slot()];
        let conn = peer.link.conn;
        let mut budget = turn;
        if direction == Direction::Read && (peer.link.rx.in_payload() || !peer.down.requests.is_empty()) {
            let credit = cx.config.write_credit.saturating_sub(cx.writing);
            if credit == 0 {
                peer.link.read.queued = true;
                peer.down.window.handle_throttled(cx.now, true);
                cx.ready.park_for_disk(conn);
                return None;
            }
            budget = budget.min(credit);
        }
        let granted = cx.limits.of(direction).grant(cx.now, key.slot(), budget);
        if granted == 0 {
            peer.link.readiness(direction).queued = true;
            if direction == Direction::Read {
                peer.down.window.handle_throttled(cx.now, true);
            }
            cx.ready.park_for_rate(conn, direction);
            return None;
        }
        if direction == Direction::Read {
            peer.down.window.handle_throttled(cx.now, false);
        }
        Some(granted)
    }

    /// Counts bytes that were moved against the limits, small messages included.
    pub(crate) fn charge(&mut self, cx: &mut Cx, key: PeerKey, direction: Direction, n: usize) {
        cx.limits.of(direction).charge(cx.now, key.slot(), n);
    }
}
