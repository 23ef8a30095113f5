//! What a peer does for which nothing is open: it helps in pieces that others have to themselves, and once every
//! wanted block was asked for, it asks for what others were asked for too.

use super::partial::{MOST_ASKED, Set};
use super::pick::{Ask, below};
use super::{PeerKey, Picker};
use metainfo::Block;
use rand::Rng;
use std::time::Duration;

/// Partial pieces looked at in one call.
const PROBES: usize = 64;
/// Blocks looked at in them.
const LOOKS: usize = 64;

impl Picker {
    /// Takes free blocks of a piece that another peer owns, from its end, so that the owner goes on in order.
    pub(super) fn help(&mut self, ask: &mut Ask<'_>, rng: &mut impl Rng) {
        if self.counts.free_blocks == 0 {
            return;
        }
        let owned = |at: &usize| {
            let partial = &self.partials[*at];
            partial.free > 0 && partial.owner != PeerKey::NONE && partial.owner != ask.peer && !partial.alone
        };
        let Some(at) = self.probe_partials(ask, rng.next_u32()).find(owned) else { return };
        let piece = self.partials[at].piece;
        let mut taken = Vec::new();
        self.edit(at, |partial| {
            while taken.len() < ask.left
                && let Some(block) = partial.first(Set::Free, true)
            {
                partial.ask(block, ask.peer);
                taken.push(block);
            }
        });
        ask.left -= taken.len();
        let blocks = taken.into_iter().rev().filter_map(|block| self.geometry.block(piece, block));
        ask.out.extend(blocks);
    }

    /// In the endgame, takes one block that others were asked for and that gains by it: one of those that the fewest were asked
    /// for, and of some of these the one that gains most.
    pub(super) fn duplicate(
        &mut self,
        ask: &mut Ask<'_>,
        rng: &mut impl Rng,
        mut gain: impl FnMut(Block, PeerKey) -> Option<Duration>,
    ) {
        if ask.left == 0 || !self.endgame() {
            return;
        }
        let most = usize::from(self.config.duplicates).min(MOST_ASKED - 1);
        let candidates: Vec<usize> = self.probe_partials(ask, rng.next_u32()).collect();
        for times in 1..=most {
            let mut best: Option<(Duration, usize, Block)> = None;
            let mut looks = LOOKS;
            for &at in &candidates {
                let partial = &self.partials[at];
                let from = below(rng, partial.blocks);
                for block in partial.asked_times(times, ask.peer, from).take(looks) {
                    looks -= 1;
                    let Some(named) = self.geometry.block(partial.piece, block) else { continue };
                    let gained = partial.asked_of(block).map(|other| gain(named, other)).min().flatten();
                    if gained > best.map(|(gained, ..)| gained) {
                        best = gained.map(|gained| (gained, at, named));
                    }
                }
            }
            if let Some((_, at, block)) = best {
                self.edit(at, |partial| partial.ask(block.index(), ask.peer));
                ask.out.push(block);
                ask.left -= 1;
                return;
            }
        }
    }

    /// Some partial pieces that are wanted and that the peer has, from a random one on.
    fn probe_partials<'a>(&'a self, ask: &'a Ask<'_>, random: u32) -> impl Iterator<Item = usize> {
        let len = self.partials.len();
        let start = random as usize % len.max(1);
        let indices = (0..len.min(PROBES)).map(move |i| (start + i) % len);
        indices.filter(|&at| {
            let piece = self.partials[at].piece.get();
            self.wanted.contains(piece) && ask.has(piece)
        })
    }
}
