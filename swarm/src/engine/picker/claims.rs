//! Long runs of pieces for sources that deliver ranges, such as web seeds (BEP 19).

use super::bits::mask;
use super::partial::Set;
use super::{PeerKey, Picker, State};
use metainfo::{Geometry, PieceIndex};

/// Pieces that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: PieceIndex,
    /// How many, at least 1.
    pub count: u32,
}

impl Run {
    /// The pieces of the run.
    pub fn pieces(self, geometry: &Geometry) -> impl Iterator<Item = PieceIndex> {
        (self.first.get()..self.first.get() + self.count).filter_map(|p| geometry.piece(p).ok())
    }
}

impl Picker {
    /// Claims the longest run of wanted pieces that nobody has begun, or its first `max_pieces`, and asks the source
    /// for all its blocks. The blocks are then [received](Picker::received) and [released](Picker::release) as
    /// those of any peer; peers may duplicate them in the endgame. Looks at 64 pieces a step.
    pub fn claim_range(&mut self, source: PeerKey, max_pieces: u32) -> Option<Run> {
        let (first, longest) = self.longest_run()?;
        let room = u32::try_from(self.limit.saturating_sub(self.partials.len())).unwrap_or(u32::MAX);
        let run = Run { first: self.index(first), count: longest.min(max_pieces).min(room) };
        for piece in first..first + run.count {
            let at = self.start(self.index(piece));
            self.counts.claimed += 1;
            self.edit(at, |partial| {
                partial.claimed = true;
                partial.give_to(source, false);
                while let Some(block) = partial.first(Set::Free, false) {
                    partial.ask(block, source);
                }
            });
        }
        (run.count > 0).then_some(run)
    }

    /// Gives back what the source has not delivered of these pieces.
    pub fn unclaim(&mut self, source: PeerKey, run: Run) {
        for piece in run.first.get()..run.first.get() + run.count {
            let State::Partial(at) = self.table.state(piece) else { continue };
            self.edit(at as usize, |partial| {
                for block in 0..partial.blocks {
                    partial.release(block, source);
                }
            });
            self.drop_if_blank(at as usize);
        }
    }

    /// The first piece and the length of the longest run of untouched pieces.
    fn longest_run(&self) -> Option<(u32, u32)> {
        let (mut best, mut run) = ((0, 0), (0, 0));
        for (w, &word) in self.untouched.words().iter().enumerate() {
            let base = w as u32 * 64;
            if word == u64::MAX {
                run.1 += 64;
            } else if word == 0 {
                run = (base + 64, 0);
            } else {
                for bit in 0..64 {
                    run = if word & mask(bit) == 0 { (base + bit + 1, 0) } else { (run.0, run.1 + 1) };
                    best = if run.1 > best.1 { run } else { best };
                }
            }
            best = if run.1 > best.1 { run } else { best };
        }
        (best.1 > 0).then_some(best)
    }
}
