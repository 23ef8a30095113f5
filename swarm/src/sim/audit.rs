//! What must hold after every step of a world.
//!
//! Each machine that a step touched is looked at after that step, by two measures:
//!
//! - **At every step**, in every world: no piece is claimed that is not right on the disk; what the engine counts for its memory
//!   budget stays within it; the totals of the picker agree with its pieces in progress; the connections that moved bytes in the
//!   step agree with what is on order at them; the disk plan holds, if the step touched it. This costs as much as what the step
//!   touched, and the pieces in progress.
//! - **As a whole**: every piece, block, peer and byte is counted anew and compared with what the parts keep. A machine begins
//!   with [`AT_FIRST`] looks at one thing (a piece, a block in progress, part of a peer), gains [`PER_STEP`] with each step that
//!   touches it, and spends them as soon as they are enough for all its things. So a small or short simulation is checked as a
//!   whole at every step, a large and long one after so many steps that the checks cost a fixed part of the run. Whatever
//!   changed in a virtual second is checked at its end.

use wire::peer::Bitfield;

use super::node::{Node, What};
use super::world::World;
use crate::engine::ConnId;

/// Looks that a machine has when it enters.
const AT_FIRST: usize = 200_000;
/// Looks that it gains with each step that touches it.
const PER_STEP: usize = 16;

/// What was seen of a machine, and what is to be looked at.
pub(super) struct Audit {
    /// Connections that moved bytes in this step.
    pub(super) moved: Vec<ConnId>,
    /// The disk had work, or ended some.
    pub(super) disk: bool,
    /// Pieces that it claimed, rightly, when it was last looked at.
    known: Option<Bitfield>,
    /// Looks that it may spend on the whole.
    looks: usize,
    /// It was touched since the whole was looked at.
    is_due: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self { moved: Vec::new(), disk: true, known: None, looks: AT_FIRST, is_due: true }
    }
}

impl World {
    /// The machine is looked at after this step.
    pub(super) fn touch_machine(&mut self, index: usize) {
        if self.touched.last() != Some(&index) {
            self.touched.push(index);
        }
    }

    /// Looks at the machines that were touched since the last step.
    ///
    /// # Panics
    /// When something does not hold; the seed is in the message.
    pub(super) fn audit(&mut self) {
        let seed = self.seed;
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            if let What::Engine(node) = &mut self.machines[index].what {
                node.audit(seed);
            }
        }
        self.touched = touched;
    }

    /// Looks at all of each machine that was touched since it was last looked at so.
    pub(super) fn audit_rest(&mut self) {
        let seed = self.seed;
        for machine in &mut self.machines {
            if let What::Engine(node) = &mut machine.what
                && node.audit.is_due
                && !node.gone
            {
                node.check(seed);
                node.audit.is_due = false;
            }
        }
    }
}

impl Node {
    /// Looks at what a step touched, and at the whole when its turn has come.
    fn audit(&mut self, seed: u64) {
        if self.gone {
            return self.audit.moved.clear();
        }
        self.audit_claims(seed);
        self.engine.check_totals();
        for conn in self.audit.moved.drain(..) {
            self.engine.check_connection(conn);
        }
        if std::mem::take(&mut self.audit.disk) {
            self.disk.check_invariant();
        }
        let cost = self.engine.check_cost();
        self.audit.looks += PER_STEP;
        self.audit.is_due = self.audit.looks < cost;
        if !self.audit.is_due {
            self.audit.looks -= cost.max(PER_STEP);
            self.check(seed);
        }
    }

    /// Looks at the pieces that are claimed anew, and at those claimed whose bytes changed.
    fn audit_claims(&mut self, seed: u64) {
        let changed = self.store.take_changed();
        let (have, in_doubt) = (self.engine.have(self.torrent), self.engine.unverified(self.torrent));
        let Some(have) = have else { return };
        let is_claimed = |index: u32| have.get(index) && !in_doubt.is_some_and(|bits| bits.get(index));
        let known = self.audit.known.get_or_insert_with(|| Bitfield::new(have.len()));
        if self.store.is_tampered() || (have == known && changed.is_empty()) {
            return;
        }
        let geometry = self.content.torrent.geometry();
        let is_false = |index: &u32| geometry.piece(*index).is_ok_and(|piece| !self.store.is_right(piece));
        let new = have.iter_and_not(known).filter(|index| is_claimed(*index));
        let changed = changed.into_iter().map(|piece| piece.get()).filter(|index| is_claimed(*index));
        let wrong: Vec<u32> = new.chain(changed).filter(is_false).collect();
        assert!(wrong.is_empty(), "seed {seed}: {} claims {wrong:?}", self.addr);
        known.clone_from(have);
        if let Some(bits) = in_doubt {
            known.and_not(bits);
        }
    }

    /// Everything that must always hold of the machine, counted anew.
    ///
    /// # Panics
    /// When it does not.
    pub(super) fn check(&self, seed: u64) {
        let claims = self.false_claims();
        assert!(claims.is_empty(), "seed {seed}: {} claims {claims:?}", self.addr);
        let (held, budget) = (self.engine.memory(), self.engine.config().memory_budget);
        assert!(held.total() <= budget, "seed {seed}: {held:?} of {budget} bytes");
        self.engine.check_invariant();
        self.disk.check_invariant();
    }
}
