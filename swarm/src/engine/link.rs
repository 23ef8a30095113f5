//! A connection as the engine sees it: both halves, readiness, and when something last moved.

use std::net::SocketAddr;

use storage::Pool;

use super::rx::Rx;
use super::time::Time;
use super::tx::Tx;

/// Names a connection towards the driver. A stale id never names a newer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// The slot, small and dense: an index for the driver's own table.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Which way bytes move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the peer to us.
    Read,
    /// From us to the peer.
    Write,
}

/// The byte stream of one connection.
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    pub(crate) addr: SocketAddr,
    /// We dialled it.
    pub(crate) outgoing: bool,
    pub(crate) rx: Rx,
    pub(crate) tx: Tx,
    pub(crate) read: Readiness,
    pub(crate) write: Readiness,
    pub(crate) last_read: Time,
    pub(crate) last_written: Time,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// The driver said that the system would take or give bytes.
    pub(crate) ready: bool,
    /// It waits in the ready list, or is parked for credit.
    pub(crate) queued: bool,
}

impl Link {
    pub(crate) fn new(now: Time, conn: ConnId, addr: SocketAddr, outgoing: bool) -> Self {
        Self {
            conn,
            addr,
            outgoing,
            rx: Rx::default(),
            tx: Tx::default(),
            read: Readiness::default(),
            write: Readiness::default(),
            last_read: now,
            last_written: now,
        }
    }

    pub(crate) fn readiness(&mut self, direction: Direction) -> &mut Readiness {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }

    /// Whether there is something to do in this direction if the system lets us.
    pub(crate) fn has_work(&self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.read.ready,
            Direction::Write => self.write.ready && !self.tx.is_empty(),
        }
    }

    /// Gives all buffers back.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        self.rx.abandon(pool);
        self.tx.clear(pool);
    }
}
