//! Whose turn it is to move bytes, where they go, and what came of it.

use super::api::Engine;
use super::close::Close;
use super::conns::Place;
use super::hub::Hub;
use super::link::{ConnId, Direction, Link};
use super::picker::PeerKey;
use super::rx::ReadSlices;
use super::shard::Shard;
use super::time::Time;
use super::tx::WriteSlices;

/// Bytes that one connection moves before the next one has its turn. A loopback or LAN peer fills it in one system
/// call, and it keeps the reads in the second-level cache for the hash that follows.
const TURN: usize = 256 * 1024;

/// A turn of one connection: at most `budget` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Which connection.
    pub conn: ConnId,
    /// Which way.
    pub direction: Direction,
    /// Bytes at most.
    pub budget: usize,
}

impl Engine {
    /// The system has bytes for us on this connection, or its end.
    pub fn handle_readable(&mut self, conn: ConnId) {
        self.became_ready(conn, Direction::Read);
    }

    /// The system takes bytes of this connection again.
    pub fn handle_writable(&mut self, conn: ConnId) {
        self.became_ready(conn, Direction::Write);
    }

    fn became_ready(&mut self, conn: ConnId, direction: Direction) {
        if let Some(link) = link_of(&mut self.hub, &mut self.shard, self.conns.get(conn)) {
            link.readiness(direction).ready = true;
            self.cx.ready.enlist(link, direction);
        }
    }

    /// The next turn to move bytes.
    pub fn poll_transfer(&mut self, now: Time) -> Option<Transfer> {
        self.cx.at(now);
        while let Some((direction, slot, bytes)) = self.cx.limits.poll(self.cx.now) {
            let key = PeerKey(u32::try_from(slot).unwrap_or(u32::MAX));
            let Some(conn) = self.shard.peers.get(slot).map(|peer| peer.link.conn) else { continue };
            if let Some(budget) = self.shard.granted(&mut self.cx, key, direction, bytes) {
                return Some(Transfer { conn, direction, budget });
            }
        }
        while let Some((conn, direction)) = self.cx.ready.next() {
            let place = self.conns.get(conn);
            let Some(link) = link_of(&mut self.hub, &mut self.shard, place) else { continue };
            link.readiness(direction).queued = false;
            if !link.has_work(direction) {
                continue;
            }
            let Some(Place::Peer(key)) = place else {
                return Some(Transfer { conn, direction, budget: TURN });
            };
            if let Some(budget) = self.shard.grant(&mut self.cx, key, direction, TURN) {
                return Some(Transfer { conn, direction, budget });
            }
        }
        None
    }

    /// Whether [`Engine::poll_transfer`] may have a turn to give: ask before waiting for anything.
    pub fn has_transfer(&self) -> bool {
        self.cx.ready.is_waiting()
    }

    /// Where the bytes of a read go. Make one vectored read into all slices, then tell the outcome by
    /// [`Engine::handle_read`] or [`Engine::handle_blocked`].
    pub fn read_slices(&mut self, transfer: Transfer) -> ReadSlices<'_> {
        let mut out = ReadSlices::new();
        match self.conns.get(transfer.conn) {
            Some(Place::Peer(key)) => {
                self.shard.read_slices(&mut self.cx, key, &mut self.slots, transfer.budget, &mut out);
            }
            Some(Place::Hub(_)) => out.push(self.slots.scratch()),
            None => {}
        }
        out
    }

    /// The read brought `n` bytes; 0 is the end of the stream. `drained` says that the system has no more for now.
    pub fn handle_read(&mut self, now: Time, conn: ConnId, n: usize, drained: bool) {
        self.cx.at(now);
        if n == 0 {
            if let Some(Place::Peer(key)) = self.conns.get(conn) {
                self.shard.settle(&mut self.cx, key, Direction::Read, 0);
            }
            return self.handle_lost(now, conn, Close::Eof);
        }
        let place = self.conns.get(conn);
        if let Some(link) = link_of(&mut self.hub, &mut self.shard, place) {
            link.read.ready = !drained;
        }
        match place {
            Some(Place::Peer(key)) => {
                self.shard.settle(&mut self.cx, key, Direction::Read, n);
                self.shard.handle_read(&mut self.cx, key, &mut self.slots, n);
            }
            Some(Place::Hub(key)) => self.stranger_read(key, n),
            None => self.slots.release(&mut self.cx.pool),
        }
        self.maintain();
    }

    /// What a write takes.
    pub fn write_slices(&self, transfer: Transfer) -> WriteSlices<'_> {
        let mut out = WriteSlices::new();
        match self.conns.get(transfer.conn) {
            Some(Place::Peer(key)) => self.shard.write_slices(key, transfer.budget, &mut out),
            Some(Place::Hub(key)) => self.hub.strangers[key].link.tx.slices(transfer.budget, &mut out),
            None => {}
        }
        out
    }

    /// The write took `n` bytes. `full` says that the system takes no more for now.
    pub fn handle_written(&mut self, now: Time, conn: ConnId, n: usize, full: bool) {
        self.cx.at(now);
        let place = self.conns.get(conn);
        if let Some(link) = link_of(&mut self.hub, &mut self.shard, place) {
            link.write.ready = !full;
        }
        match place {
            Some(Place::Peer(key)) => {
                self.shard.settle(&mut self.cx, key, Direction::Write, n);
                self.shard.handle_written(&mut self.cx, key, n);
            }
            Some(Place::Hub(key)) => {
                let link = &mut self.hub.strangers[key].link;
                link.tx.advance(n, &mut self.cx.pool);
                self.cx.ready.enlist(link, Direction::Write);
            }
            None => {}
        }
        self.maintain();
    }

    /// The system would neither give nor take a byte: wait for readiness.
    pub fn handle_blocked(&mut self, conn: ConnId, direction: Direction) {
        self.slots.release(&mut self.cx.pool);
        let place = self.conns.get(conn);
        if let Some(Place::Peer(key)) = place {
            self.shard.settle(&mut self.cx, key, direction, 0);
        }
        if let Some(link) = link_of(&mut self.hub, &mut self.shard, place) {
            link.readiness(direction).ready = false;
        }
    }
}

fn link_of<'a>(hub: &'a mut Hub, shard: &'a mut Shard, place: Option<Place>) -> Option<&'a mut Link> {
    match place? {
        Place::Hub(key) => Some(&mut hub.strangers.get_mut(key)?.link),
        Place::Peer(key) => Some(&mut shard.peers.get_mut(key.slot())?.link),
    }
}
