//! Who gets to download from us.

use super::{PeerKey, Shard};
use crate::engine::cx::{Cx, TorrentTimer};

impl Shard {
    /// A peer wants something of us, or nothing more.
    pub(super) fn interest_changed(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &self.peers[key.slot()];
        let slot = peer.torrent.slot();
        let interested = peer.peer_interested;
        self.torrents[slot].choker.set_interested(key, interested, cx.now);
        self.apply_choker(cx, slot);
    }

    /// A slot may be free.
    pub(super) fn choke_vacancy(&mut self, cx: &mut Cx, slot: usize) {
        self.apply_choker(cx, slot);
    }

    /// Ranks all peers anew.
    pub(crate) fn choke_round(&mut self, cx: &mut Cx, slot: usize) {
        self.apply_choker(cx, slot);
    }

    fn apply_choker(&mut self, cx: &mut Cx, slot: usize) {
        while let Some((key, choke)) = self.torrents[slot].choker.poll() {
            self.set_choking(cx, key, choke);
        }
        if let Some(at) = self.torrents[slot].choker.next_timeout() {
            cx.torrent_timers.set(slot, TorrentTimer::Choke, at);
        }
    }
}
