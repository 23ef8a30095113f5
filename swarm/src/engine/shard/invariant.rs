//! What must hold between any two calls.

use super::budget::{OUR_REQUEST, THEIR_REQUEST};
use super::peer::Pieces;
use super::{Shard, Torrent};
use crate::engine::choker::Mode;
use crate::engine::cx::Cx;
use crate::engine::memory::{CANDIDATE, Memory};
use crate::engine::picker::Have;

/// Things looked at for a peer, about.
const PEER_COST: usize = 16;

impl Shard {
    /// Bytes of messages and info dictionaries that are not all there or wait to be sent, and of what peers say too early. Blocks that wait are counted by the context.
    pub(crate) fn held_bytes(&self) -> usize {
        let messages = self.peers.iter().map(|(_, peer)| peer.link.rx.held() + peer.link.tx.control());
        messages.sum::<usize>() + self.metadata + self.early
    }

    /// What is held for peers and pieces in progress.
    pub(crate) fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for (_, peer) in &self.peers {
            memory.receiving += peer.link.rx.held();
            memory.messages += peer.link.tx.control();
            memory.requests += peer.up.queue.len() * THEIR_REQUEST + peer.down.requests.len() * OUR_REQUEST;
            memory.bitfields += peer.bitfield_bytes();
        }
        for (_, torrent) in &self.torrents {
            memory.progress += torrent.picker.held_bytes() + torrent.blame.held_bytes();
            memory.candidates += torrent.candidates.len() * CANDIDATE;
        }
        memory.metadata = self.metadata;
        memory.early = self.early;
        memory
    }

    /// Panics when totals disagree, or are over the budget. O(torrents and pieces in progress).
    pub(crate) fn check_totals(&self, cx: &Cx) {
        self.torrents.iter().for_each(|(_, torrent)| torrent.picker.check_totals());
        let blocks = cx.writing + cx.kept + cx.serving + cx.receiving + cx.pool.spare_bytes();
        let held = blocks + cx.messages + self.bitfields + self.metadata + self.early;
        assert!(held <= cx.config.memory_budget, "{held} of {} bytes", cx.config.memory_budget);
    }

    /// Pieces, blocks in progress and peers, these counted several times.
    pub(crate) fn check_cost(&self) -> usize {
        let of_torrent = |torrent: &Torrent| {
            let geometry = torrent.geometry();
            let blocks = torrent.picker.partials().len() * geometry.blocks_per_piece() as usize;
            geometry.piece_count() as usize + blocks + torrent.peers.len() * PEER_COST
        };
        self.torrents.iter().map(|(_, torrent)| of_torrent(torrent)).sum()
    }

    /// Panics when what is kept of a peer disagrees. O(requests + pieces / 64).
    pub(crate) fn check_books_of(&self, slot: usize) {
        let peer = &self.peers[slot];
        let torrent = &self.torrents[peer.torrent.slot()];
        assert_eq!(torrent.peers.get(peer.place).map(|key| key.slot()), Some(slot), "its place");
        let live = peer.down.requests.iter().filter(|r| !r.given_up).count();
        let arriving = usize::from(peer.down.arriving.is_some_and(|r| !r.given_up));
        assert_eq!(peer.down.window.outstanding() as usize, live + arriving, "peer {slot}");
        let wanted = match &peer.pieces {
            Pieces::Unsaid => 0,
            Pieces::All => torrent.picker.wanted_left(),
            Pieces::Some(bits) => torrent.picker.count_wanted(Have::Some(bits)),
        };
        assert_eq!(peer.wanted, wanted, "peer {slot}");
        assert_eq!(peer.early.is_some(), torrent.awaits.is_some(), "peer {slot}");
        assert_eq!(peer.waits, torrent.cold().is_some(), "peer {slot}");
    }

    /// Panics when the parts disagree.
    pub(crate) fn check_invariant(&self, cx: &Cx) {
        self.check_totals(cx);
        let (mut serving, mut bitfields, mut counted) = (0, 0, (0, 0));
        let (mut metadata, mut early) = (0, 0);
        for (slot, torrent) in &self.torrents {
            torrent.picker.check_invariant();
            // What could not be read is not served, and not fetched again.
            assert!(torrent.have.count_ones() <= torrent.picker.have_count());
            assert_eq!(self.choker.mode(slot) == Mode::Leeching, torrent.wants(), "torrent {slot}");
            metadata += torrent.awaits.as_ref().map_or(0, |awaits| awaits.held_bytes());
            for (place, key) in torrent.peers.iter().enumerate() {
                let peer = &self.peers[key.slot()];
                assert_eq!((peer.place, peer.torrent.slot()), (place, slot));
            }
        }
        for (slot, peer) in &self.peers {
            self.check_books_of(slot);
            counted = (counted.0 + peer.counted.0, counted.1 + peer.counted.1);
            bitfields += peer.counted_bits;
            early += peer.early.as_ref().map_or(0, |early| early.held());
            serving += peer.up.reading + peer.link.tx.buffers();
        }
        assert!(serving <= cx.serving, "{serving} bytes of upload buffers, {} counted", cx.serving);
        assert_eq!(bitfields, self.bitfields, "bytes of bitfields");
        assert_eq!((metadata, early), (self.metadata, self.early), "bytes of magnets");
        assert_eq!(counted, (cx.receiving, cx.messages), "bytes received and waiting to be sent");
        let waiting = self.peers.iter().filter(|(_, peer)| peer.waits).count();
        assert_eq!(waiting, self.waiting, "peers of cold torrents");
        let open = self.peers.iter().filter(|(_, peer)| !peer.am_choking).count();
        assert_eq!(open, self.unchoked);
    }
}
