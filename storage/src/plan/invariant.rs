//! What always holds between the parts of the plan.

use super::Plan;
use super::piece::Waiting;
use super::writing::Writing;

impl Plan {
    /// Panics when the parts disagree. For tests, simulations and fuzzing.
    pub fn check_invariant(&self) {
        self.pieces.check_invariant();
        let mut lingering_bytes = 0;
        let mut held = self.held_in_orders;
        for (slot, piece) in self.pieces.iter() {
            assert_eq!(piece.in_writes, self.writes.contains(&slot));
            assert_eq!(piece.in_reads, self.reads.contains(&slot));
            assert_eq!(piece.in_lingering, self.lingering.iter().any(|&(named, _)| named == slot));
            let writing = piece.writing.as_ref();
            let next = writing.and_then(|writing| writing.next(self.config.stripe));
            assert!(next.is_none() || piece.in_writes, "work that no queue names");
            assert!(piece.reads.is_empty() || piece.in_reads, "reads that no queue names");
            assert!(piece.lingering_bytes == 0 || piece.in_lingering);
            let pending = writing.map_or(0, Writing::pending_bytes);
            let urgent = writing.is_some_and(|writing| writing.urgent);
            assert_eq!(piece.lingering_bytes, if next.is_none() && !urgent { pending } else { 0 });
            lingering_bytes += piece.lingering_bytes;
            held += writing.map_or(0, Writing::pending_capacity);
            held += piece.reads.iter().map(|part| part.data.capacity()).sum::<usize>();
            held += piece.waiting.iter().map(Waiting::capacity).sum::<usize>();
        }
        assert_eq!(lingering_bytes, self.lingering_bytes);
        assert_eq!(held, self.held);
        assert!(self.scans_under_way <= self.config.background.max(1));
        assert!(self.orders_under_way <= self.config.orders.max(1));
        self.upkeep.check_invariant(self.config.upkeep.max(1));
    }
}
