//! Connections come, are dialled, become peers of a torrent, and end.

use std::net::SocketAddr;

use metainfo::TorrentId;

use super::api::Engine;
use super::close::Close;
use super::conns::Place;
use super::link::{ConnId, Direction, Link};
use super::output::Action;
use super::shard::Torrent;
use super::time::Time;

impl Engine {
    /// A connection came in. `None` when it is not let in and is to be closed.
    pub fn handle_accepted(&mut self, now: Time, addr: SocketAddr) -> Option<ConnId> {
        self.cx.at(now);
        if self.hub.is_banned(addr.ip()) {
            return None;
        }
        if let Some(oldest) = self.hub.crowded(self.cx.config.max_handshakes) {
            self.end_stranger(oldest, &Close::Limit);
        }
        if self.conns.len() >= self.cx.config.max_connections + self.cx.config.max_handshakes {
            return None;
        }
        let conn = self.conns.reserve();
        let mut link = Link::new(now, conn, addr, false);
        link.write.ready = true;
        let key = self.hub.accept(&mut self.cx, link);
        self.conns.set(conn, Place::Hub(key));
        Some(conn)
    }

    /// A connection that was dialled is open.
    pub fn handle_connected(&mut self, now: Time, conn: ConnId) {
        self.cx.at(now);
        if let Some(Place::Hub(key)) = self.conns.get(conn) {
            self.hub.connected(&mut self.cx, key);
        }
        self.maintain();
    }

    /// A connection that was dialled could not be opened.
    pub fn handle_dial_failed(&mut self, now: Time, conn: ConnId, error: std::io::ErrorKind) {
        self.handle_lost(now, conn, Close::DialFailed(error));
    }

    /// A connection broke.
    pub fn handle_error(&mut self, now: Time, conn: ConnId, error: std::io::ErrorKind) {
        self.handle_lost(now, conn, Close::Io(error));
    }

    pub(super) fn handle_lost(&mut self, now: Time, conn: ConnId, reason: Close) {
        self.cx.at(now);
        self.slots.release(&mut self.cx.pool);
        match self.conns.get(conn) {
            Some(Place::Hub(key)) => self.end_stranger(key, &reason),
            Some(Place::Peer(key)) => self.shard.leave(&mut self.cx, key, reason),
            None => {}
        }
        self.maintain();
    }

    /// Bytes of a handshake came.
    pub(super) fn stranger_read(&mut self, key: usize, n: usize) {
        let Self { cx, hub, shard, slots, .. } = self;
        let bytes = slots.filled(n);
        let find = |id| {
            let torrent = shard.torrent(*shard.by_id.get(&TorrentId(id))?)?;
            Some((torrent.key, torrent.is_private()))
        };
        let result = hub.received(cx, key, bytes, find);
        match result {
            Ok(false) => cx.ready.enlist(&mut hub.strangers[key].link, Direction::Read),
            Ok(true) => self.welcome(key),
            Err(reason) => self.end_stranger(key, &reason),
        }
    }

    /// A handshake is done: the connection goes to its torrent, if there is room and it is not there already.
    fn welcome(&mut self, key: usize) {
        let Some(arrival) = self.hub.arrival(key) else { return };
        match self.shard.admission(&self.cx, &arrival) {
            Err(reason) => return self.end_stranger(key, &reason),
            Ok(Some((other, reason))) => self.shard.leave(&mut self.cx, other, reason),
            Ok(None) => {}
        }
        let Some((arrival, rest)) = self.hub.finish(key) else { return };
        let conn = arrival.link.conn;
        let peer = self.shard.join(&mut self.cx, arrival);
        self.conns.set(conn, Place::Peer(peer));
        self.shard.first_turn(&mut self.cx, peer, &rest);
    }

    /// Opens connections while there are candidates and room.
    pub(super) fn dial(&mut self) {
        while self.hub.dialling < self.cx.config.max_dials
            && self.conns.len() < self.cx.config.max_connections
            && self.hub.pace.allows(self.cx.now)
        {
            let Some((torrent, id, addr)) = self.shard.next_dial(&mut self.cx) else { return };
            if self.hub.is_banned(addr.ip()) {
                self.shard.dial_ended(&mut self.cx, torrent, addr, &Close::Banned);
                continue;
            }
            self.hub.pace.take(self.cx.now, self.cx.config.dials_per_second);
            let conn = self.conns.reserve();
            let link = Link::new(self.cx.now, conn, addr, true);
            let private = self.shard.torrent(torrent).is_some_and(Torrent::is_private);
            let key = self.hub.dial(&mut self.cx, link, torrent, id.0, private);
            self.conns.set(conn, Place::Hub(key));
            self.cx.out.actions.push_back(Action::Dial { conn, addr });
        }
    }

    pub(super) fn end_stranger(&mut self, key: usize, reason: &Close) {
        let (link, torrent) = self.hub.remove(&mut self.cx, key);
        tracing::debug!(addr = %link.addr, %reason, "a connection came to nothing");
        self.cx.out.actions.push_back(Action::Close { conn: link.conn });
        self.conns.release(link.conn);
        if let Some(torrent) = torrent {
            self.shard.dial_ended(&mut self.cx, torrent, link.addr, reason);
        }
    }
}
