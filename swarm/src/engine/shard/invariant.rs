//! What must hold between any two calls.

use super::Shard;
use super::budget::{OUR_REQUEST, THEIR_REQUEST};
use super::peer::Pieces;
use crate::engine::choker::Mode;
use crate::engine::cx::Cx;
use crate::engine::memory::{CANDIDATE, Memory};
use crate::engine::picker::Have;

impl Shard {
    /// Bytes of messages that are not all there or wait to be sent. Blocks that wait are counted by the context.
    pub(crate) fn held_bytes(&self) -> usize {
        self.peers.iter().map(|(_, peer)| peer.link.rx.held() + peer.link.tx.control()).sum()
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
        memory
    }

    /// Panics when the parts disagree.
    pub(crate) fn check_invariant(&self, cx: &Cx) {
        let (mut serving, mut bitfields) = (0, 0);
        for (slot, torrent) in &self.torrents {
            torrent.picker.check_invariant();
            // What could not be read is not served, and not fetched again.
            assert!(torrent.have.count_ones() <= torrent.picker.have_count());
            assert_eq!(self.choker.mode(slot) == Mode::Leeching, torrent.wants(), "torrent {slot}");
            for (place, key) in torrent.peers.iter().enumerate() {
                let peer = &self.peers[key.slot()];
                assert_eq!((peer.place, peer.torrent.slot()), (place, slot));
            }
        }
        for (slot, peer) in &self.peers {
            let torrent = &self.torrents[peer.torrent.slot()];
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
            bitfields += peer.counted_bits;
            serving += peer.up.reading + peer.link.tx.buffers();
        }
        assert!(serving <= cx.serving, "{serving} bytes of upload buffers, {} counted", cx.serving);
        assert_eq!(bitfields, self.bitfields, "bytes of bitfields");
        let open = self.peers.iter().filter(|(_, peer)| !peer.am_choking).count();
        assert_eq!(open, self.unchoked);
    }
}
