//! Nodes of the DHT that peers tell each other of (BEP 5, message 9).

use wire::peer::Message;

use super::{PeerKey, Shard};

impl Shard {
    /// Says where our node is, to a peer that has one too, once the torrent is known not to be private. What a message over
    /// one address family says is about that one (BEP 32).
    pub(super) fn tell_node(&mut self, key: PeerKey) {
        let [v4, v6] = self.dht_ports;
        let peer = &mut self.peers[key.slot()];
        let is_public = self.torrents[peer.torrent.slot()].is_public();
        let port = if peer.link.addr.ip().to_canonical().is_ipv4() { v4 } else { v6 };
        if let Some(port) = port.filter(|_| is_public && peer.reserved.dht()) {
            peer.link.tx.push(&Message::Port(port));
        }
    }

    /// A peer says at which port its node is. It counts once, and only where both sides said to have one: not for private
    /// torrents.
    pub(super) fn told_node(&mut self, key: PeerKey, port: u16) {
        let peer = &mut self.peers[key.slot()];
        let may_tell = peer.reserved.dht() && !self.torrents[peer.torrent.slot()].is_private();
        if may_tell && port != 0 && !std::mem::replace(&mut peer.told_node, true) {
            let mut addr = peer.link.addr;
            addr.set_port(port);
            self.nodes.push(addr);
        }
    }
}
