//! The nth call to storage fails, for every n: every job is answered, and nothing wrong is announced.

use crate::support::{Sample, read};
use metainfo::Version;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use storage::plan::{Plan, PlanConfig, Store};
use storage::{
    Buf, Completion, Fault, FaultyStorage, Job, MemoryStorage, Operation, Storage, StoreId, Token,
};

struct Asker {
    sample: Sample,
    storage: Arc<FaultyStorage<MemoryStorage>>,
    plan: Plan,
    store: StoreId,
    scratch: Vec<u8>,
    /// Verdicts by piece.
    verdicts: BTreeMap<u32, Vec<bool>>,
    errors: u32,
}

impl Asker {
    fn new(fault: Fault) -> Self {
        let sample = Sample::single(Version::V1, 5 * 16_384, 11 * 16_384 + 7);
        let mut plan = Plan::new(PlanConfig { stripe: 2, ..PlanConfig::default() });
        let memory = MemoryStorage::new(sample.torrent.geometry().clone());
        let store = plan.attach(sample.torrent.clone());
        let storage = Arc::new(FaultyStorage::new(memory, fault));
        let (scratch, verdicts) = (Vec::new(), BTreeMap::new());
        Self { sample, storage, plan, store, scratch, verdicts, errors: 0 }
    }

    fn write(&mut self, piece: u32, index: u32) {
        let geometry = self.sample.torrent.geometry();
        let block = geometry.block(geometry.piece(piece).unwrap(), index).unwrap();
        let data = Buf::from(self.sample.bytes(block.range()));
        self.plan.push(Job::Write { store: self.store, block, data });
    }

    /// Writes everything, out of order, until it is written; reads and syncs on the way. `None` when it never ends.
    fn download(&mut self) -> Option<()> {
        let geometry = self.sample.torrent.geometry().clone();
        for piece in geometry.pieces() {
            let count = geometry.blocks_in(piece);
            (0..count).map(|at| (at * 3 + 2) % count).for_each(|index| self.write(piece.get(), index));
            self.plan.tick();
            let (range, data) = (geometry.whole(piece), Buf::with_capacity(5 * 16_384));
            self.plan.push(Job::Read { store: self.store, token: Token(1), range, data });
            self.plan.push(Job::Sync { store: self.store, token: Token(2) });
            self.plan.push(Job::BlockDigests { store: self.store, piece });
        }
        for _ in 0..200 {
            self.work();
            let again = self.answers();
            if again.is_empty() {
                return Some(());
            }
            again.into_iter().for_each(|(piece, index)| self.write(piece, index));
        }
        None
    }

    fn work(&mut self) {
        self.plan.flush();
        while let Some(mut order) = self.plan.next_order() {
            let store = Store { storage: self.storage.clone(), pieces: self.sample.torrent.clone() };
            order.execute(|_| Some(store.clone()), &mut self.scratch);
            self.plan.done(order);
            self.plan.check_invariant();
            self.plan.flush();
        }
    }

    /// The blocks that are to be written again.
    fn answers(&mut self) -> Vec<(u32, u32)> {
        let mut again = Vec::new();
        let mut completions = Vec::new();
        self.plan.drain(&mut completions);
        for completion in completions {
            match completion {
                Completion::Written { piece, blocks, result: Err(_), .. } => {
                    self.errors += 1;
                    again.extend(blocks.iter().map(|block| (piece.get(), block.index())));
                }
                Completion::Piece { piece, result, .. } => match result {
                    Ok(verdict) => self.verdicts.entry(piece.get()).or_default().push(verdict.is_match()),
                    Err(_) => {
                        // It is written, but could not be hashed. Look again.
                        self.errors += 1;
                        self.plan.push(Job::Check { store: self.store, piece });
                        self.work();
                        let more = self.answers();
                        again.extend(more);
                    }
                },
                Completion::Read { result: Err(_), .. }
                | Completion::Synced { result: Err(_), .. }
                | Completion::BlockDigests { result: Err(_), .. } => self.errors += 1,
                _ => {}
            }
        }
        again
    }
}

fn fault(nth: u64, torn: bool) -> Fault {
    Fault { operation: None, nth, lasting: false, kind: ErrorKind::StorageFull, torn }
}

#[test]
fn one_failure_at_any_call_is_told_once_and_survived() {
    let whole = {
        let mut asker = Asker::new(fault(u64::MAX, false));
        asker.download().expect("nothing fails");
        asker.storage.calls()
    };
    assert!(whole > 15, "only {whole} calls");
    for nth in 0..whole {
        for torn in [false, true] {
            let mut asker = Asker::new(fault(nth, torn));
            asker.download().expect("the download ends");
            assert!(asker.plan.is_idle() && asker.plan.held() == 0);
            assert_eq!(asker.verdicts, (0..3).map(|piece| (piece, vec![true])).collect(), "call {nth}");
            for range in asker.sample.pieces() {
                assert!(read(asker.storage.inner(), range, 1000).unwrap() == asker.sample.bytes(range));
            }
            assert!(asker.errors > 0, "call {nth} failed and nobody was told");
        }
    }
}

#[test]
fn when_all_writes_fail_every_job_is_still_answered() {
    for nth in 0..4 {
        let lasting = Fault { operation: Some(Operation::Write), lasting: true, ..fault(nth, false) };
        let mut asker = Asker::new(lasting);
        assert!(asker.download().is_none(), "nothing can be written");
        assert!(asker.verdicts.values().flatten().all(|&good| good));
        asker.work();
        asker.plan.drain(&mut Vec::new());
        assert!(asker.plan.is_idle() && asker.plan.held() == 0);
    }
}

#[test]
fn a_storage_that_is_gone_answers_with_errors() {
    let mut asker = Asker::new(fault(u64::MAX, false));
    let piece = asker.sample.torrent.geometry().piece(0).unwrap();
    asker.plan.detach(asker.store);
    assert_eq!(asker.plan.take_closed(), [asker.store]);
    asker.write(0, 0);
    asker.plan.push(Job::Check { store: asker.store, piece });
    asker.plan.push(Job::Restart { store: asker.store, piece });
    asker.plan.push(Job::Sync { store: asker.store, token: Token(9) });
    let mut completions = Vec::new();
    asker.plan.drain(&mut completions);
    let [
        Completion::Written { result: Err(error), buffers, .. },
        Completion::Piece { .. },
        Completion::Synced { .. },
    ] = &completions[..]
    else {
        panic!("{completions:?}");
    };
    assert_eq!((error.cause.kind(), buffers.len()), (ErrorKind::NotFound, 1));
    assert!(asker.storage.sync().is_ok());
}
