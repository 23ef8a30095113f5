//! Whether it pays to ask a second peer for a block, once every block was asked for.
//!
//! Whoever asks for every block twice at the end is done soonest and pays for it with blocks that come twice: among peers as fast as
//! memory all that is on order comes before a cancel gets anywhere. So a second peer is asked only for a block that is late, or that would
//! come clearly sooner from it, going by the delays of both so far.

use std::time::Duration;

use metainfo::Block;
use slab::Slab;

use super::peer::Peer;
use crate::engine::picker::PeerKey;
use crate::engine::time::Time;

/// No block is late before. A download that ends so much later is not felt.
const GRACE: Duration = Duration::from_millis(50);
/// What is believed of a peer that never sent a block.
const UNKNOWN: Duration = Duration::from_millis(500);
/// When it is looked again at the earliest and at the latest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// What is late gains more than anything that is not.
const LATE: Duration = Duration::from_secs(1 << 20);

/// A peer with nothing to do.
pub(super) struct Eager<'a> {
    now: Time,
    peers: &'a Slab<Peer>,
    /// How long it takes for a block.
    takes: Duration,
    /// When the first of the blocks that were looked at is late.
    late: Option<Time>,
}

impl<'a> Eager<'a> {
    pub(super) fn new(now: Time, peers: &'a Slab<Peer>, key: PeerKey) -> Self {
        let takes = peers[key.slot()].down.window.fresh_delay(now).unwrap_or(UNKNOWN);
        Self { now, peers, takes, late: None }
    }

    /// How much sooner than from `other`, who was asked for it, the block would come; `None` when it is not worth while.
    pub(super) fn gain(&mut self, block: Block, other: PeerKey) -> Option<Duration> {
        // A source tells nobody what it does next.
        let Some(other) = self.peers.get(other.slot()).filter(|other| !other.down.window.is_snubbed()) else {
            return Some(LATE);
        };
        let down = &other.down;
        let mut requests = down.arriving.iter().chain(&down.requests);
        let asked = requests.find(|request| request.block == block && !request.given_up)?.asked;
        let (due, spread) = down.window.due(asked).unwrap_or((asked, Duration::MAX));
        let late = (due + spread.min(2 * self.takes)).max(asked + GRACE);
        if self.now >= late {
            return Some(LATE + (self.now - asked));
        }
        let left = due.max(self.now) - self.now;
        // A cancel has to get there before the block is sent.
        let gained = left.checked_sub(2 * self.takes + GRACE);
        if gained.is_none() {
            self.late = Some(self.late.map_or(late, |known| known.min(late)));
        }
        gained
    }

    /// Until when it is no use to look again, if nothing else happens.
    pub(super) fn idle_until(&self) -> Time {
        let (least, most) = AGAIN;
        self.late.map_or(Time::ZERO, |late| late.clamp(self.now + least, self.now + most))
    }
}
