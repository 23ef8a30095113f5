//! Pieces that are there no more (BEP 54).

use wire::peer::{Bitfield, DontHave};

use super::early::Claim;
use super::extensions::Extension;
use super::peer::Pieces;
use super::{PeerKey, Shard};
use crate::engine::close::{Close, Violation};
use crate::engine::cx::Cx;
use metainfo::PieceIndex;

/// Pieces that a peer may lose beyond one loss of each.
const MAX_LOSSES: u32 = 1000;

impl Shard {
    /// A peer does not have a piece any more. Without BEP 6 it drops what we asked of it; with BEP 6 it rejects that by name.
    pub(super) fn reneged(&mut self, cx: &mut Cx, key: PeerKey, index: u32) -> Result<(), Close> {
        let peer = &mut self.peers[key.slot()];
        if peer.early.is_some() {
            return self.early_claim(cx, key, Claim::Lost(index));
        }
        let slot = peer.torrent.slot();
        let torrent = &mut self.torrents[slot];
        let piece = torrent.geometry().piece(index)?;
        if !peer.has(piece) {
            return Ok(());
        }
        peer.reneged += 1;
        if peer.reneged > torrent.geometry().piece_count().saturating_add(MAX_LOSSES) {
            return Err(Violation::LossFlood.into());
        }
        if matches!(peer.pieces, Pieces::All) {
            let all = Bitfield::with_all(torrent.geometry().piece_count());
            torrent.picker.remove_seed();
            torrent.picker.add_bitfield(&all);
            peer.pieces = Pieces::Some(all);
        }
        if let Pieces::Some(bits) = &mut peer.pieces {
            bits.clear(index);
        }
        torrent.picker.remove_have(piece);
        let was_full = peer.piece_count == torrent.geometry().piece_count();
        peer.piece_count -= 1;
        peer.wanted -= u32::from(torrent.picker.is_wanted(piece));
        peer.down.allowed.retain(|allowed| *allowed != piece);
        if peer.down.shunned.remove(piece) {
            // That is why it rejected what was asked for.
            peer.down.rejects = peer.down.rejects.saturating_sub(1);
            peer.down.rests_until = cx.now;
        }
        let is_fast = peer.fast();
        if was_full {
            self.list_peer(cx, key);
        }
        if !is_fast {
            self.drop_requests_of(cx, key, piece);
        }
        self.update_interest(cx, key);
        Ok(())
    }

    /// The peer dropped our requests for a piece; a block that is on its way may still come.
    fn drop_requests_of(&mut self, cx: &mut Cx, key: PeerKey, piece: PieceIndex) {
        let peer = &mut self.peers[key.slot()];
        let torrent = &mut self.torrents[peer.torrent.slot()];
        let requests = std::mem::take(&mut peer.down.requests);
        let (gone, left): (Vec<_>, _) = requests.into_iter().partition(|r| r.block.piece() == piece);
        peer.down.requests = left.into();
        let live = gone.iter().filter(|request| !request.given_up);
        for request in live.clone() {
            torrent.picker.release(request.block, key);
        }
        let lost = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        peer.down.late = peer.down.late.saturating_add(lost(gone.len()));
        peer.down.window.handle_lost(lost(live.count()));
        let slot = peer.torrent.slot();
        self.feed_hungry(cx, slot);
        self.fill_requests(cx, key);
    }

    /// We do not have a piece any more that we said to have.
    pub(super) fn renege(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let mut payload = Vec::new();
        DontHave(piece.get()).encode(&mut payload);
        for key in self.torrents[slot].peers.clone() {
            // First, so that the rejects are understood.
            self.say_extension(cx, key, Extension::DontHave, &payload);
            self.refuse_piece(cx, key, piece);
        }
    }
}
