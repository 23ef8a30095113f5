//! A disk on virtual time: the real plan, executed one order at a time.

use std::sync::Arc;
use std::time::Duration;

use metainfo::Torrent;
use storage::plan::{Order, Plan, PlanConfig, Store};
use storage::{Completion, Job, StoreId};

use super::store::SimStore;
use crate::engine::Time;

/// How fast a virtual disk is.
#[derive(Clone, Copy, Debug)]
pub struct DiskSpeed {
    /// Each order takes this long, and
    pub seek: Duration,
    /// moves so many bytes a second.
    pub rate: u64,
}

impl Default for DiskSpeed {
    /// An SSD.
    fn default() -> Self {
        Self { seek: Duration::from_micros(100), rate: 400_000_000 }
    }
}

/// A sync takes as long as so many seeks.
const SYNC_SEEKS: u32 = 50;
/// How long blocks wait for their neighbours.
const LINGER: Duration = Duration::from_millis(25);

/// One node's disk.
pub(super) struct SimDisk {
    plan: Plan,
    stores: Vec<Store>,
    speed: DiskSpeed,
    running: Option<(Time, Order)>,
    /// A sync covers what was written when it began, and goes on beside other orders.
    syncing: Option<(Time, Order)>,
    tick_at: Option<Time>,
    scratch: Vec<u8>,
}

impl SimDisk {
    pub(super) fn new(speed: DiskSpeed) -> Self {
        let plan = Plan::new(PlanConfig::default());
        Self {
            plan,
            stores: Vec::new(),
            speed,
            running: None,
            syncing: None,
            tick_at: None,
            scratch: Vec::new(),
        }
    }

    pub(super) fn attach(&mut self, store: Arc<SimStore>, torrent: Arc<Torrent>) -> StoreId {
        let id = self.plan.attach(torrent.clone());
        assert_eq!(id.0 as usize, self.stores.len());
        self.stores.push(Store { storage: store, pieces: torrent });
        id
    }

    pub(super) fn submit(&mut self, now: Time, jobs: &mut Vec<Job>) {
        for job in jobs.drain(..) {
            self.plan.push(job);
        }
        self.start(now);
    }

    /// Ends what is due by now, and gives the answers.
    pub(super) fn advance(&mut self, now: Time, into: &mut Vec<Completion>) {
        if self.tick_at.is_some_and(|at| at <= now) {
            self.tick_at = None;
            self.plan.tick();
        }
        if self.running.as_ref().is_some_and(|(at, _)| *at <= now)
            && let Some((_, mut order)) = self.running.take()
        {
            order.execute(|id| self.stores.get(id.0 as usize).cloned(), &mut self.scratch);
            self.plan.done(order);
        }
        if self.syncing.as_ref().is_some_and(|(at, _)| *at <= now)
            && let Some((_, order)) = self.syncing.take()
        {
            self.plan.done(order);
        }
        self.start(now);
        self.plan.drain(into);
    }

    pub(super) fn next_event(&self) -> Option<Time> {
        let orders = self.running.iter().chain(&self.syncing).map(|(at, _)| *at);
        orders.chain(self.tick_at).min()
    }

    fn start(&mut self, now: Time) {
        while self.running.is_none()
            && let Some(mut order) = self.plan.next_order()
        {
            if matches!(order, Order::Sync(_)) && self.syncing.is_none() {
                order.execute(|id| self.stores.get(id.0 as usize).cloned(), &mut self.scratch);
                self.syncing = Some((now + self.speed.seek * SYNC_SEEKS, order));
                continue;
            }
            let transfer = Duration::from_micros(order.bytes() * 1_000_000 / self.speed.rate);
            self.running = Some((now + self.speed.seek + transfer, order));
        }
        if self.plan.lingers() && self.tick_at.is_none() {
            self.tick_at = Some(now + LINGER);
        }
    }

    pub(super) fn check_invariant(&self) {
        self.plan.check_invariant();
    }
}
