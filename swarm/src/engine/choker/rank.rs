//! The order in which peers deserve a slot.

use std::time::Duration;

use super::{Choker, Mode, Peer};
use crate::engine::time::Time;

/// A candidate for a slot; the least is the most deserving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    merit: Merit,
    pub(super) key: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Merit {
    /// Gave us this much in the last two rounds; stored as what is missing to the most possible.
    Gave(u64),
    /// Its turn began then and is not over.
    InTurn(Time),
    /// Waits for a turn since then; of those who began together, who was served least in all is first.
    Waits(Time, Duration),
    /// Had its turn: keeps the slot only while nobody waits, rather if it was served little in all.
    HadTurn(Duration),
}

impl Choker {
    /// The claim of an interested peer.
    pub(super) fn claim(&self, now: Time, key: usize, peer: &Peer) -> Claim {
        let gave = peer.got.sum(self.rounds);
        let merit = if self.torrents[peer.torrent].mode == Mode::Leeching && gave > 0 {
            Merit::Gave(u64::MAX - gave)
        } else if !peer.unchoked {
            Merit::Waits(peer.waiting_since, peer.served)
        } else if self.had_turn(now, peer) {
            Merit::HadTurn(peer.served + (now - peer.since))
        } else {
            Merit::InTurn(peer.since)
        };
        Claim { merit, key }
    }

    /// A turn is over after its time, or after half of it if the peer took nothing for two rounds.
    fn had_turn(&self, now: Time, peer: &Peer) -> bool {
        let held = now - peer.since;
        held >= self.config.turn || (held * 2 >= self.config.turn && peer.took.sum(self.rounds) == 0)
    }
}
