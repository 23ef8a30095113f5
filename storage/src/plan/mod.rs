//! What is done to storage, and in which order: a pure machine without threads, files or a clock.
//!
//! Its methods are of four kinds. Application: [`attach`](Plan::attach), [`detach`](Plan::detach). Input:
//! [`push`](Plan::push) takes jobs, [`done`](Plan::done) takes orders back, [`tick`](Plan::tick) says that time went
//! by. Output: [`next_order`](Plan::next_order), [`drain`](Plan::drain), [`take_closed`](Plan::take_closed). The rest
//! only looks. `Disk` drives it with threads; a simulation drives it with a virtual disk.
//!
//! - Blocks of a piece that come in order are hashed and written together, a stripe at a time. A stripe goes when it
//!   is full, when it cannot grow because the piece ends or the next block is written already, when
//!   something waits for it, when [`tick`](Plan::tick) finds it old, or when too many bytes linger.
//! - Blocks that come out of order wait in the same way. If the gap closes meanwhile they are hashed from memory, else
//!   they are written, and read back for the hash when it gets there, once.
//! - Jobs of one piece that conflict are done in the order they came. Jobs of different pieces do not wait for
//!   each other, but [`Job::Sync`] waits for all earlier writes of its store.
//! - Reads, writes and background work (checks, digests, syncs, probes) take turns. Syncs and probes go one at a time for each
//!   device and have room of their own: one that hangs stops those of its device and nothing else.
//!
//! Each job costs constant time, but for blocks that come out of order, which are sorted among those that
//! wait in memory.

mod admit;
mod bits;
mod dispatch;
mod invariant;
mod order;
mod piece;
mod refuse;
mod settle;
mod store;
mod upkeep;
mod writing;

pub use order::{Order, ReadBack, Reads, Store, StoreLook, StoreProbe, StoreSync, Stripe};

use crate::{Completion, Job, Operation, Pieces, StorageError, StoreId};
use metainfo::{Geometry, PieceIndex, PieceRange};
use piece::Table;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use store::StoreState;
use upkeep::{Lane, Upkeep};

/// How the plan cuts work up.
#[derive(Clone, Copy, Debug)]
pub struct PlanConfig {
    /// Blocks hashed and written together, read together, or read back together.
    pub stripe: u32,
    /// Stripes of different pieces in one order, for a hash of so many lanes.
    pub lanes: usize,
    /// Bytes of buffers the askers should have in jobs at most; see [`Plan::credit`].
    pub credit: usize,
    /// Bytes that wait for their neighbours at most; above it the oldest are written.
    pub linger: usize,
    /// Orders under way at most, at least 1; syncs and probes do not count.
    pub orders: usize,
    /// Of those, for checks and digests at most, at least 1.
    pub background: usize,
    /// Syncs and probes under way at most, at least 1, each of another device.
    pub upkeep: usize,
}

impl Default for PlanConfig {
    fn default() -> Self {
        Self {
            stripe: 16,
            lanes: 1,
            credit: 16 << 20,
            linger: 4 << 20,
            orders: usize::MAX,
            background: 1,
            upkeep: 4,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Plan {
    config: PlanConfig,
    stores: HashMap<StoreId, StoreState>,
    next_store: u32,
    closed: Vec<StoreId>,
    pieces: Table,
    writes: VecDeque<usize>,
    reads: VecDeque<usize>,
    /// Pieces to be checked or digested.
    scans: VecDeque<usize>,
    scans_under_way: usize,
    /// Orders under way other than syncs and probes.
    orders_under_way: usize,
    upkeep: Upkeep,
    /// Pieces with blocks that wait for neighbours, oldest first, and in which tick they began to.
    lingering: VecDeque<(usize, u64)>,
    lingering_bytes: usize,
    ticks: u64,
    turn: usize,
    /// Bytes of buffers in jobs without an answer.
    held: usize,
    /// Bytes of those that are in orders.
    held_in_orders: usize,
    completions: Vec<Completion>,
    has_urgent: bool,
}

impl Plan {
    /// Without stores.
    pub fn new(config: PlanConfig) -> Self {
        Self {
            config,
            stores: HashMap::new(),
            next_store: 0,
            closed: Vec::new(),
            pieces: Table::default(),
            writes: VecDeque::new(),
            reads: VecDeque::new(),
            scans: VecDeque::new(),
            scans_under_way: 0,
            orders_under_way: 0,
            upkeep: Upkeep::default(),
            lingering: VecDeque::new(),
            lingering_bytes: 0,
            ticks: 0,
            turn: 0,
            held: 0,
            held_in_orders: 0,
            completions: Vec::new(),
            has_urgent: false,
        }
    }

    /// Begins to serve a store of these pieces, on a device of its own.
    pub fn attach(&mut self, pieces: Arc<dyn Pieces>) -> StoreId {
        self.attach_on(None, pieces)
    }

    /// Begins to serve a store of these pieces on a device that it may share with others.
    pub fn attach_on(&mut self, device: Option<u64>, pieces: Arc<dyn Pieces>) -> StoreId {
        let id = StoreId(self.next_store);
        self.next_store += 1;
        let lane = device.map_or(Lane::Store(id), Lane::Device);
        self.stores.insert(id, StoreState::new(lane, pieces));
        id
    }

    /// Takes no more jobs for the store. Those it has are done; then [`Plan::take_closed`] names it.
    pub fn detach(&mut self, id: StoreId) {
        if let Some(store) = self.stores.get_mut(&id) {
            store.detached = true;
            self.flush();
            self.close_if_over(id);
        }
    }

    /// Takes a job.
    pub fn push(&mut self, job: Job) {
        match self.check(&job) {
            Ok(()) => self.admit(job),
            Err(error) => refuse::refuse(job, error).into_iter().for_each(|answer| self.answer(answer)),
        }
    }

    /// The next thing to do, if there is one.
    pub fn next_order(&mut self) -> Option<Order> {
        for _ in 0..3 {
            self.turn = (self.turn + 1) % 3;
            let may_order = self.orders_under_way < self.config.orders.max(1);
            let order = match self.turn {
                0 => self.next_upkeep().or_else(|| if may_order { self.next_scan() } else { None }),
                1 if may_order => self.next_reads(),
                2 if may_order => self.next_write(),
                _ => None,
            };
            if let Some(order) = order {
                self.orders_under_way += usize::from(!order.is_upkeep());
                return Some(order);
            }
        }
        None
    }

    /// Takes an order back after [`Order::execute`] or [`Order::fail`].
    pub fn done(&mut self, order: Order) {
        self.orders_under_way -= usize::from(!order.is_upkeep());
        match order {
            Order::Write(stripes) => stripes.into_iter().for_each(|stripe| self.done_stripe(stripe)),
            Order::Read(reads) => self.done_reads(reads),
            Order::ReadBack(back) => self.done_back(back),
            Order::Sync(sync) => self.done_sync(sync),
            Order::Probe(probe) => self.done_probe(probe),
            Order::Look(look) => self.done_look(look),
        }
    }

    /// Says that time went by. What already waited for neighbours at the last call is written now. To be called
    /// every few tens of milliseconds while [`Plan::lingers`].
    pub fn tick(&mut self) {
        let now = self.ticks;
        self.ticks += 1;
        while self.lingering.front().is_some_and(|&(_, since)| since < now) {
            self.hurry_oldest();
        }
    }

    /// Lets nothing wait for its neighbours any more.
    pub fn flush(&mut self) {
        while !self.lingering.is_empty() {
            self.hurry_oldest();
        }
    }

    /// Moves all answers to `into`.
    pub fn drain(&mut self, into: &mut Vec<Completion>) {
        self.has_urgent = false;
        into.append(&mut self.completions);
    }

    /// Whether there are answers.
    pub fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    /// Whether there are answers that someone may wait for: any but blocks that were written.
    pub fn has_urgent_completions(&self) -> bool {
        self.has_urgent
    }

    /// Detached stores of which nothing is under way any more. Each is named once.
    pub fn take_closed(&mut self) -> Vec<StoreId> {
        std::mem::take(&mut self.closed)
    }

    /// Whether blocks wait for neighbours, so that [`Plan::tick`] is to be called.
    pub fn lingers(&self) -> bool {
        !self.lingering.is_empty()
    }

    /// About how many orders there are.
    pub fn runnable(&self) -> usize {
        let scans = self.scans.len().min(self.config.background.max(1) - self.scans_under_way);
        let orders = self.writes.len() + self.reads.len() + scans;
        let may_order = self.config.orders.max(1) - self.orders_under_way;
        orders.min(may_order) + self.upkeep.runnable(self.config.upkeep.max(1))
    }

    /// Whether every job was answered.
    pub fn is_idle(&self) -> bool {
        self.stores.values().all(StoreState::is_idle)
    }

    /// Bytes of buffers in jobs without an answer.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Bytes of buffers that may still be pushed. Askers keep to it; the plan refuses none.
    pub fn credit(&self) -> usize {
        self.config.credit.saturating_sub(self.held)
    }

    /// Pieces for which something is to be done or remembered.
    pub fn active_pieces(&self) -> usize {
        self.pieces.len()
    }
}

/// The bytes of a piece as a range that was checked.
pub(crate) fn range(geometry: &Geometry, piece: PieceIndex, bytes: std::ops::Range<u32>) -> PieceRange {
    geometry
        .range_at(piece.get(), bytes.start, bytes.end - bytes.start, u32::MAX)
        .expect("blocks of a piece are inside it")
}

fn no_store(id: StoreId) -> StorageError {
    StorageError::new(Operation::Open, format!("store {}", id.0), None, io::ErrorKind::NotFound.into())
}
