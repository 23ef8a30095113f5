//! What is wanted of a torrent changes.

use metainfo::PieceIndex;

use super::Shard;
use super::peer::{Peer, Pieces};
use crate::engine::TorrentKey;
use crate::engine::changes::Columns;
use crate::engine::cx::Cx;
use crate::engine::picker::{Have, Picker, Priority};

impl Shard {
    /// Changes how much pieces are wanted. Who only seeds wants none, whatever it has lost.
    pub(crate) fn set_priorities(
        &mut self,
        cx: &mut Cx,
        key: TorrentKey,
        changes: impl IntoIterator<Item = (PieceIndex, Priority)>,
    ) {
        let Some(torrent) = self.torrent_mut(key).filter(|torrent| !torrent.keeping.seed_only) else {
            return;
        };
        let ordering = &mut torrent.ordering;
        let changes =
            changes.into_iter().map(|(piece, priority)| (piece, ordering.translate(piece, priority)));
        torrent.picker.set_priorities(changes);
        let slot = key.slot();
        let peers = torrent.peers.clone();
        self.ledger.mark(slot, Columns::IDENTITY | Columns::PROGRESS | Columns::FILES);
        for peer in &peers {
            let wanted = wanted_of(&self.torrents[slot].picker, &self.peers[peer.slot()]);
            self.peers[peer.slot()].wanted = wanted;
        }
        self.review(cx, slot);
        if !self.torrents[slot].downloads() {
            return;
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
