//! Blocks that an earlier run left behind are taken over, read once, and believed only when the piece matches.

use crate::support::Sample;
use metainfo::Version;
use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;
use storage::plan::{Plan, PlanConfig, Store};
use storage::{
    Buf, Completion, Fault, FaultyStorage, Hashes, Job, MemoryStorage, Operation, Storage, StorageError,
    StoreId,
};

const BLOCKS: u32 = 6;

struct Asker {
    sample: Sample,
    storage: Arc<FaultyStorage<MemoryStorage>>,
    plan: Plan,
    store: StoreId,
}

impl Asker {
    /// A piece of which storage holds these blocks; calls of one kind fail from the nth on, `count` of them.
    fn new(there: &[u32], failing: Option<u64>) -> Self {
        let sample = Sample::single(Version::V1, BLOCKS * 16_384, u64::from(BLOCKS) * 16_384);
        let memory = MemoryStorage::new(sample.torrent.geometry().clone());
        for block in there {
            let range = sample.range(0, block * 16_384, 16_384);
            memory.write(range, &[IoSlice::new(sample.bytes(range))]).unwrap();
        }
        let fault = Fault {
            operation: Some(Operation::Read),
            nth: failing.unwrap_or(u64::MAX),
            lasting: false,
            kind: ErrorKind::Other,
            torn: false,
        };
        let mut plan = Plan::new(PlanConfig { stripe: 2, ..PlanConfig::default() });
        let store = plan.attach(sample.torrent.clone());
        Self { sample, storage: Arc::new(FaultyStorage::new(memory, fault)), plan, store }
    }

    fn adopt(&mut self, blocks: &[u32]) {
        let piece = self.sample.torrent.geometry().piece(0).unwrap();
        self.plan.push(Job::Adopt { store: self.store, piece, blocks: blocks.to_vec() });
    }

    fn write(&mut self, blocks: impl IntoIterator<Item = u32>) {
        for index in blocks {
            let geometry = self.sample.torrent.geometry();
            let block = geometry.block(geometry.piece(0).unwrap(), index).unwrap();
            let data = Buf::from(self.sample.bytes(block.range()));
            self.plan.push(Job::Write { store: self.store, block, data });
        }
    }

    /// Does everything; the verdicts.
    fn verdicts(&mut self) -> Vec<Result<Hashes, StorageError>> {
        let store = Store { storage: self.storage.clone(), pieces: self.sample.torrent.clone() };
        let mut scratch = Vec::new();
        self.plan.flush();
        while let Some(mut order) = self.plan.next_order() {
            order.execute(|_| Some(store.clone()), &mut scratch);
            self.plan.done(order);
            self.plan.flush();
            self.plan.check_invariant();
        }
        let mut answers = Vec::new();
        self.plan.drain(&mut answers);
        assert!(self.plan.is_idle());
        let verdict = |answer| match answer {
            Completion::Piece { result, .. } => Some(result),
            _ => None,
        };
        answers.into_iter().filter_map(verdict).collect()
    }
}

#[test]
fn what_was_there_and_what_came_make_the_piece_and_are_read_once() {
    for there in [&[0, 1][..], &[2, 3], &[4, 5], &[0, 2, 4], &[1, 3, 5], &[0, 1, 2, 3, 4, 5]] {
        let mut asker = Asker::new(there, None);
        asker.adopt(there);
        asker.write((0..BLOCKS).rev().filter(|block| !there.contains(block)));
        assert_eq!(asker.verdicts(), [Ok(Hashes::Match)], "{there:?}");
        let reads = asker.storage.calls() as usize;
        assert!(reads <= BLOCKS as usize, "{there:?}: {reads} reads");
    }
}

#[test]
fn nothing_is_written_for_blocks_that_are_there() {
    let mut asker = Asker::new(&[0, 1, 2, 3, 4, 5], None);
    asker.adopt(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(asker.verdicts(), [Ok(Hashes::Match)]);
    assert_eq!(asker.storage.calls(), 3, "three stripes are read, and nothing else");
}

#[test]
fn what_is_not_what_it_was_said_to_be_fails_and_is_written_anew() {
    let mut asker = Asker::new(&[0, 2], None);
    // Blocks 1 and 3 were never written: they are zeros there.
    asker.adopt(&[0, 1, 2, 3]);
    asker.write([4, 5]);
    assert_eq!(asker.verdicts(), [Ok(Hashes::Differ)]);
    let piece = asker.sample.torrent.geometry().piece(0).unwrap();
    asker.plan.push(Job::Restart { store: asker.store, piece });
    asker.write(0..BLOCKS);
    assert_eq!(asker.verdicts(), [Ok(Hashes::Match)]);
}

#[test]
fn blocks_that_came_first_are_not_replaced() {
    let mut asker = Asker::new(&[], None);
    asker.write([0, 1, 3]);
    asker.adopt(&[0, 1, 3]);
    asker.write([2, 4, 5]);
    assert_eq!(asker.verdicts(), [Ok(Hashes::Match)]);
}

#[test]
fn whichever_read_fails_the_piece_is_not_lost() {
    for nth in 0..4 {
        let there = [0, 1, 2, 3];
        let mut asker = Asker::new(&there, Some(nth));
        asker.adopt(&there);
        asker.write([4, 5]);
        let verdicts = asker.verdicts();
        assert_eq!(verdicts.len(), 1, "one verdict whatever happens");
        if verdicts == [Ok(Hashes::Match)] {
            continue;
        }
        // The disk was not well for a moment: a check finds that all is there.
        let piece = asker.sample.torrent.geometry().piece(0).unwrap();
        asker.plan.push(Job::Check { store: asker.store, piece });
        assert_eq!(asker.verdicts(), [Ok(Hashes::Match)], "read {nth}");
    }
}
