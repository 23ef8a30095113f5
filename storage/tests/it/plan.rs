//! The plan against a model with memory beneath.

use crate::driver;
use crate::support::Sample;
use metainfo::Version;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use storage::plan::{Order, Plan, PlanConfig, Store};
use storage::{Completion, Job, MemoryStorage, StoreId, Token};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_job_is_answered_once_and_rightly(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        driver::run(&bytes);
    }
}

#[test]
fn the_fuzzing_corpus_still_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/plan");
    let Ok(entries) = fs::read_dir(&corpus) else {
        eprintln!("skipped: {} is not part of this package", corpus.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        driver::run(&fs::read(path).unwrap());
    }
}

/// Does an order and tells which store's sync it was.
fn finish(plan: &mut Plan, mut order: Order, sample: &Sample) -> StoreId {
    let storage = Arc::new(MemoryStorage::new(sample.torrent.geometry().clone()));
    let store = Store { storage, pieces: sample.torrent.clone() };
    order.execute(|_| Some(store.clone()), &mut Vec::new());
    plan.done(order);
    plan.check_invariant();
    let mut answers = Vec::new();
    plan.drain(&mut answers);
    match answers[..] {
        [Completion::Synced { store, .. }] => store,
        _ => panic!("{answers:?}"),
    }
}

#[test]
fn syncs_of_a_device_wait_for_each_other_and_for_no_other() {
    let sample = Sample::single(Version::V1, 16_384, 16_384);
    let mut plan = Plan::new(PlanConfig { orders: 1, upkeep: 3, ..PlanConfig::default() });
    let stores: Vec<StoreId> = [Some(7), Some(7), Some(8), None, None]
        .into_iter()
        .map(|device| plan.attach_on(device, sample.torrent.clone()))
        .collect();
    for (token, &store) in (0..).zip(&stores) {
        plan.push(Job::Sync { store, token: Token(token) });
        plan.check_invariant();
    }
    assert_eq!(plan.runnable(), 3, "one of each device, and no more than that are allowed");
    let mut orders: Vec<Order> = std::iter::from_fn(|| plan.next_order()).collect();
    assert!(orders.len() == 3 && plan.runnable() == 0);
    // The first hangs. There is room for a check, for those of other devices, and never for its neighbour.
    let hung = orders.remove(0);
    let piece = sample.torrent.geometry().piece(0).unwrap();
    plan.push(Job::Check { store: stores[1], piece });
    let check = plan.next_order().expect("checks do not wait for syncs");
    let mut done = Vec::new();
    while let Some(order) = orders.pop() {
        done.push(finish(&mut plan, order, &sample));
        orders.extend(plan.next_order());
    }
    done.sort();
    assert_eq!(done, stores[2..]);
    assert_eq!(finish(&mut plan, hung, &sample), stores[0]);
    let next = plan.next_order().expect("its device is free");
    assert_eq!(finish(&mut plan, next, &sample), stores[1]);
    plan.done(check);
    assert!(plan.is_idle());
}
