//! What is so at this moment.

use wire::peer::Bitfield;

use super::TorrentKey;
use super::api::Engine;
use super::config::Config;
use super::conns::Place;
use super::link::ConnId;
use super::memory::Memory;
use super::status::{PeerStatus, TorrentStatus};
use super::time::Time;

impl Engine {
    /// A torrent at this moment.
    pub fn torrent_status(&self, now: Time, key: TorrentKey) -> Option<TorrentStatus> {
        self.shard.torrent(key).map(|torrent| TorrentStatus::of(torrent, now))
    }

    /// The peers of a torrent at this moment.
    pub fn peers(&self, now: Time, key: TorrentKey) -> Vec<PeerStatus> {
        let Some(torrent) = self.shard.torrent(key) else { return Vec::new() };
        torrent
            .peers
            .iter()
            .map(|peer| PeerStatus::of(&self.shard.peers[peer.slot()], torrent, now))
            .collect()
    }

    /// The pieces of a torrent that were checked and written.
    pub fn have(&self, key: TorrentKey) -> Option<&Bitfield> {
        self.shard.torrent(key).map(|torrent| &torrent.have)
    }

    /// Whether this names a connection that the engine still has.
    pub fn knows(&self, conn: ConnId) -> bool {
        self.conns.get(conn).is_some()
    }

    /// Panics when totals that are kept disagree with each other, or memory is over its budget. Costs a look at each torrent and
    /// piece in progress: for simulations, after every step.
    pub fn check_totals(&self) {
        self.shard.check_totals(&self.cx);
    }

    /// Panics when what is kept of one connection disagrees. Costs a look at its requests: for simulations, after every step that
    /// moved its bytes.
    pub fn check_connection(&self, conn: ConnId) {
        if let Some(Place::Peer(key)) = self.conns.get(conn) {
            assert_eq!(self.shard.peers[key.slot()].link.conn, conn, "a name of another connection");
            self.shard.check_books_of(key.slot());
        }
    }

    /// How many things [`Engine::check_invariant`] looks at, about.
    pub fn check_cost(&self) -> usize {
        self.shard.check_cost()
    }

    /// Panics when the engine's parts disagree. Costs a look at everything: for tests and simulations.
    pub fn check_invariant(&self) {
        self.shard.check_invariant(&self.cx);
    }

    /// Bytes held for peers: received and not written, read and not sent, parts of messages, messages that wait, info dictionaries
    /// that are not all there, and what peers of magnets say of their pieces. Costs a look at
    /// every connection: for tests and simulations.
    pub fn held_bytes(&self) -> usize {
        self.cx.writing + self.cx.kept + self.cx.serving + self.hub.held_bytes() + self.shard.held_bytes()
    }

    /// What the engine holds in memory, by what for. Costs a look at every connection: for tests and simulations.
    pub fn memory(&self) -> Memory {
        let mut memory = self.shard.memory();
        memory.writing = self.cx.writing;
        memory.kept = self.cx.kept;
        memory.serving = self.cx.serving;
        memory.spare = self.cx.pool.spare_bytes();
        memory.messages += self.hub.held_bytes();
        memory
    }

    /// The settings that are in force.
    pub fn config(&self) -> &Config {
        &self.cx.config
    }
}
