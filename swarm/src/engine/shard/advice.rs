//! What a seed advises (BEP 6, suggested pieces).
//!
//! Those whom a seed serves at a time choose among the same rare pieces and learn of each other's choice only when a piece
//! is announced. The seed knows better: it names to each of them pieces that nobody has and that it named and gave to
//! nobody. When it has gone once round all pieces it is silent, and the rarest ones are found without it.

use metainfo::PieceIndex;
use rand::Rng;
use wire::peer::{Bitfield, Message};

use super::peer::Peer;
use super::torrent::{Activity, Torrent};
use super::{PeerKey, Shard};
use crate::engine::cx::Cx;
use crate::engine::picker::Picker;

/// Pieces that a peer is told of and has not asked for yet: more than it asks for in one go when it is let ask.
const AHEAD: usize = 8;

/// How far a seed is with its advice.
#[derive(Default)]
pub(crate) enum Advice {
    /// Nobody was served yet.
    #[default]
    Unasked,
    /// It goes round.
    Going(Round),
    /// It has been round.
    Over,
}

pub(crate) struct Round {
    /// Pieces that were named or asked for.
    given: Bitfield,
    next: u32,
    /// Pieces to look at until it has been round.
    left: u32,
}

impl Round {
    /// The next piece that nobody has and nobody was sent to.
    fn name(&mut self, picker: &Picker, have: &Bitfield) -> Option<PieceIndex> {
        while self.left > 0 {
            let at = self.next;
            self.left -= 1;
            self.next = if at + 1 == self.given.len() { 0 } else { at + 1 };
            let piece = picker.geometry().piece(at).ok()?;
            if have.get(at) && !self.given.get(at) && picker.availability(piece) == picker.seeds() {
                self.given.set(at);
                return Some(piece);
            }
        }
        None
    }
}

impl Shard {
    /// Names pieces to a peer that is let ask.
    pub(super) fn advise(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let torrent = &mut self.torrents[peer.torrent.slot()];
        if torrent.activity != Activity::Seeding || peer.am_choking || !peer.fast() {
            return;
        }
        let Torrent { advice, picker, have, .. } = torrent;
        if let Advice::Unasked = advice {
            let count = picker.geometry().piece_count();
            let next = cx.rng.next_u32() % count.max(1);
            *advice = Advice::Going(Round { given: Bitfield::new(count), next, left: count });
        }
        let Advice::Going(round) = advice else { return };
        let seeds = picker.seeds();
        peer.up.advised.retain(|piece| picker.availability(*piece) == seeds);
        while peer.up.advised.len() < AHEAD {
            let Some(piece) = round.name(picker, have) else {
                *advice = Advice::Over;
                return;
            };
            peer.up.advised.push(piece);
            peer.link.tx.push(&Message::Suggest(piece.get()));
        }
    }

    /// A peer asked for a block of this piece: nobody else is sent to it.
    pub(super) fn follows(&mut self, cx: &mut Cx, key: PeerKey, piece: PieceIndex) {
        let peer = &mut self.peers[key.slot()];
        let Advice::Going(round) = &mut self.torrents[peer.torrent.slot()].advice else { return };
        let is_new = round.given.set(piece.get());
        let before = peer.up.advised.len();
        peer.up.advised.retain(|advised| *advised != piece);
        if is_new || peer.up.advised.len() < before {
            self.advise(cx, key);
        }
    }
}

impl Peer {
    /// It names a piece that it would like to be asked for.
    pub(super) fn suggests(&mut self, picker: &Picker, piece: PieceIndex) {
        let suggested = &mut self.down.suggested;
        suggested.retain(|old| *old != piece && picker.is_wanted(*old) && !picker.is_partial(*old));
        if suggested.len() == AHEAD {
            suggested.remove(0);
        }
        suggested.push(piece);
    }
}
