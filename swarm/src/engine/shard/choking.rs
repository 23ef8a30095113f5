//! Who gets to download from us.

use wire::peer::ExtendedHandshake;

use super::{PeerKey, Shard};
use crate::engine::changes::Columns;
use crate::engine::choker::{Decision, Mode};
use crate::engine::cx::Cx;

impl Shard {
    /// A peer wants something of us, or nothing more.
    pub(super) fn interest_changed(&mut self, cx: &mut Cx, key: PeerKey) {
        let interested = self.peers[key.slot()].peer_interested;
        self.choker.handle_interested(cx.now, key.slot(), interested);
        self.apply_choker(cx);
    }

    /// A snubbed peer gets nothing in return.
    pub(super) fn snub_changed(&mut self, cx: &mut Cx, key: PeerKey, snubbed: bool) {
        self.choker.handle_snubbed(key.slot(), snubbed);
        self.apply_choker(cx);
    }

    /// A torrent downloads, or does not any more: the choker is told, and its peers are (BEP 21).
    pub(super) fn mode_changed(&mut self, cx: &mut Cx, slot: usize) {
        let said = ExtendedHandshake { upload_only: self.set_mode(slot), ..ExtendedHandshake::default() };
        self.say_to_all(cx, slot, &said);
    }

    /// Tells the choker and readers what a torrent does. What its peers are to be told: whether it only uploads.
    pub(super) fn set_mode(&mut self, slot: usize) -> Option<bool> {
        let downloads = self.torrents[slot].wants();
        self.choker.set_mode(slot, if downloads { Mode::Leeching } else { Mode::Seeding });
        self.ledger.mark(slot, Columns::IDENTITY | Columns::PROGRESS | Columns::FILES);
        Some(!downloads)
    }

    /// Ranks all peers anew, or fills slots that came free, when it is time to.
    pub(crate) fn choke_round(&mut self, cx: &mut Cx) {
        if self.choker.next_timeout().is_some_and(|at| at <= cx.now) {
            self.choker.handle_timeout(cx.now, &mut cx.rng);
            self.apply_choker(cx);
        }
    }

    /// Tells the peers what was decided.
    pub(super) fn apply_choker(&mut self, cx: &mut Cx) {
        while let Some((slot, decision)) = self.choker.poll() {
            let key = PeerKey(u32::try_from(slot).unwrap_or(u32::MAX));
            self.set_choking(cx, key, decision == Decision::Choke);
        }
    }
}
