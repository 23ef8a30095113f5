//! What is wanted of a torrent changes.

use metainfo::PieceIndex;

use super::Shard;
use super::peer::{Peer, Pieces};
use super::torrent::Activity;
use crate::engine::TorrentKey;
use crate::engine::cx::Cx;
use crate::engine::picker::{Have, Picker, Priority};

impl Shard {
    /// Changes how much pieces are wanted.
    pub(crate) fn set_priorities(
        &mut self,
        cx: &mut Cx,
        key: TorrentKey,
        changes: impl IntoIterator<Item = (PieceIndex, Priority)>,
    ) {
        let Some(torrent) = self.torrent_mut(key) else { return };
        torrent.picker.set_priorities(changes);
        let finished = torrent.picker.finished();
        if torrent.activity.is_seeding() && !finished {
            torrent.activity = Activity::Downloading;
        }
        let slot = key.slot();
        let peers = torrent.peers.clone();
        self.mode_changed(slot);
        self.mode_changed(slot);
        for peer in &peers {
            let wanted = wanted_of(&self.torrents[slot].picker, &self.peers[peer.slot()]);
            self.peers[peer.slot()].wanted = wanted;
        }
        if self.torrents[slot].downloads() && finished {
            return self.finished(cx, slot);
        }
        for peer in peers {
            self.update_interest(cx, peer);
        }
        self.feed_hungry(cx, slot);
        self.arm_dial(cx, slot);
    }
}

/// How many wanted pieces a peer has that we lack.
fn wanted_of(picker: &Picker, peer: &Peer) -> u32 {
    match &peer.pieces {
        Pieces::Unsaid => 0,
        Pieces::All => picker.wanted_left(),
        Pieces::Some(bits) => picker.count_wanted(Have::Some(bits)),
    }
}
