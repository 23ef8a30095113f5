//! Power is lost at any moment: what was reported as synced is there afterwards, whatever became of the rest.

use crate::support::Sample;
use metainfo::{Block, PieceIndex, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSliceMut;
use std::sync::Arc;
use storage::plan::{Order, Plan, PlanConfig, Store};
use storage::testing::{PowerLoss, Random};
use storage::{Buf, Completion, Job, Storage, StoreId, Token};

/// A download of a small torrent in an order that the seed chooses.
struct Run<'a> {
    random: Random,
    sample: &'a Sample,
    plan: Plan,
    store: StoreId,
    disk: Arc<PowerLoss>,
    out: Vec<Order>,
    to_write: Vec<Block>,
    /// What is known to be written, and to be good.
    written: BTreeSet<Block>,
    good: BTreeSet<PieceIndex>,
    /// What was known when a sync was asked for.
    asked: BTreeMap<u64, (BTreeSet<Block>, BTreeSet<PieceIndex>)>,
    /// What is claimed to be durable.
    clean: (BTreeSet<Block>, BTreeSet<PieceIndex>),
    tokens: u64,
}

impl<'a> Run<'a> {
    fn new(sample: &'a Sample, seed: u64) -> Self {
        let mut random = Random(seed);
        let config = PlanConfig {
            stripe: random.below(3) as u32 + 1,
            lanes: random.below(3) + 1,
            ..PlanConfig::default()
        };
        let mut plan = Plan::new(config);
        let store = plan.attach(sample.torrent.clone());
        let geometry = sample.torrent.geometry();
        let mut to_write: Vec<_> = geometry
            .pieces()
            .flat_map(|piece| (0..geometry.blocks_in(piece)).filter_map(move |at| geometry.block(piece, at)))
            .collect();
        for at in (1..to_write.len()).rev() {
            to_write.swap(at, random.below(at + 1));
        }
        let disk = Arc::new(PowerLoss::new(geometry.clone()));
        disk.fail_syncs(random.below(8).saturating_sub(6) as u32);
        Self {
            random,
            sample,
            plan,
            store,
            disk,
            out: Vec::new(),
            to_write,
            written: BTreeSet::new(),
            good: BTreeSet::new(),
            asked: BTreeMap::new(),
            clean: Default::default(),
            tokens: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..=2 => {
                if let Some(block) = self.to_write.pop() {
                    let data = Buf::from(self.sample.bytes(block.range()));
                    self.plan.push(Job::Write { store: self.store, block, data });
                }
            }
            3 => {
                self.tokens += 1;
                self.asked.insert(self.tokens, (self.written.clone(), self.good.clone()));
                self.plan.push(Job::Sync { store: self.store, token: Token(self.tokens) });
            }
            4 => self.plan.flush(),
            5..=7 => self.out.extend(self.plan.next_order()),
            8..=10 if !self.out.is_empty() => {
                let mut order = self.out.swap_remove(self.random.below(self.out.len()));
                let store = Store { storage: self.disk.clone(), pieces: self.sample.torrent.clone() };
                order.execute(|_| Some(store.clone()), &mut Vec::new());
                self.plan.done(order);
            }
            _ => self.answer(),
        }
    }

    fn answer(&mut self) {
        let mut answers = Vec::new();
        self.plan.drain(&mut answers);
        for answer in answers {
            match answer {
                Completion::Written { blocks, result, .. } => {
                    result.unwrap();
                    self.written.extend(blocks);
                }
                Completion::Piece { piece, result, .. } => {
                    assert!(result.unwrap().is_match());
                    self.good.insert(piece);
                }
                Completion::Synced { token, result, .. } => {
                    let (written, good) = self.asked.remove(&token.0).unwrap();
                    if result.is_ok() {
                        self.clean.0.extend(written);
                        self.clean.1.extend(good);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Cuts the power and looks at what is left.
    fn cut(&mut self, seed: u64) {
        let left = self.disk.cut(seed);
        let geometry = self.sample.torrent.geometry();
        let whole = self.clean.1.iter().map(|&piece| geometry.whole(piece));
        for range in self.clean.0.iter().map(|block| block.range()).chain(whole) {
            let mut bytes = vec![0; range.len() as usize];
            let read = left.read(range, &mut [IoSliceMut::new(&mut bytes)]);
            assert!(read.is_ok() && bytes == self.sample.bytes(range), "seed {seed}: {range:?} is lost");
        }
    }
}

#[test]
fn what_was_reported_as_synced_survives_ten_thousand_losses_of_power() {
    let sample = Sample::single(Version::V1, 2 * 16_384, 5 * 16_384 + 1000);
    let (mut claimed, mut lost) = (0, 0);
    for seed in 0..10_000 {
        let mut run = Run::new(&sample, seed);
        for _ in 0..run.random.below(120) {
            run.step();
        }
        run.answer();
        run.cut(seed);
        claimed += run.clean.0.len();
        lost += run.disk.unsynced();
    }
    assert!(claimed > 10_000 && lost > 5_000, "{claimed} blocks claimed, {lost} writes at risk");
}

#[test]
fn a_loss_keeps_old_or_new_of_each_sector() {
    let sample = Sample::single(Version::V1, 16_384, 16_384);
    let disk = PowerLoss::new(sample.torrent.geometry().clone());
    let range = sample.range(0, 0, 16_384);
    let write = |byte| disk.write(range, &[std::io::IoSlice::new(&[byte; 16_384])]).unwrap();
    write(1);
    disk.sync().unwrap();
    write(2);
    write(3);
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let mut bytes = vec![0; 16_384];
        disk.cut(seed).read(range, &mut [IoSliceMut::new(&mut bytes)]).unwrap();
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed} tears a sector");
            seen.insert(sector[0]);
        }
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
}
