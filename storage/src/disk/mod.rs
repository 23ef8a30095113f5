//! Threads that do what the [plan](crate::plan) orders.
//!
//! A [`Disk`] is a handle; clones share one set of threads. Jobs go in by the batch, answers come out by the batch,
//! and one lock around the plan is all they share. A thread takes an order, does it without the lock, and
//! hands it in when it takes the next one.

mod crew;
mod worker;

use crate::plan::{PlanConfig, Store};
use crate::{Buf, Completion, Job, Pieces, Storage, StorageError, StoreId};
use crew::Crew;
use metainfo::PieceRange;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many threads, and how they work.
#[derive(Clone, Copy, Debug)]
pub struct DiskConfig {
    /// Threads that read, write and hash, at least 1. As many more as `plan.upkeep` says are for syncs and probes, so that a
    /// disk that hangs in one does not stop the rest.
    pub threads: usize,
    /// How long blocks wait for their neighbours, at least; at most twice as long.
    pub linger: Duration,
    /// How work is cut up. `orders` is `threads`, and `background` is kept below it, so that checks leave one for the rest.
    pub plan: PlanConfig,
}

impl Default for DiskConfig {
    /// As many threads as the processor runs, at most 4, and as many hash lanes as it has.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
        Self {
            threads,
            linger: Duration::from_millis(25),
            plan: PlanConfig { lanes: crate::hash_lanes(), ..PlanConfig::default() },
        }
    }
}

/// A handle to disk threads.
///
/// When the last handle is dropped, all jobs that were submitted are done, their answers are dropped, and the threads end.
#[derive(Clone)]
pub struct Disk {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What handles and threads share.
struct Shared {
    crew: Mutex<Crew>,
    stores: RwLock<HashMap<StoreId, Store>>,
    /// Whether there are answers, to be looked at without the lock.
    answered: AtomicBool,
    /// Whether `wake` was called since the answers were last taken.
    told: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
    linger: Duration,
}

impl Disk {
    /// Starts the threads. `wake` is called, on any thread, once after answers came up and before they are drained; it
    /// should return at once, and must not hold a handle, or the threads never end.
    ///
    /// # Panics
    /// When the system refuses even one thread.
    pub fn new(config: DiskConfig, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let threads = config.threads.max(1);
        let background = config.plan.background.clamp(1, threads.saturating_sub(1).max(1));
        let plan = PlanConfig { orders: threads, background, ..config.plan };
        let threads = threads + config.plan.upkeep.max(1);
        let shared = Arc::new(Shared {
            crew: Mutex::new(Crew::new(plan)),
            stores: RwLock::default(),
            answered: AtomicBool::new(false),
            told: AtomicBool::new(false),
            wake: Box::new(wake),
            linger: config.linger,
        });
        let threads: Vec<_> =
            (0..threads).map_while(|index| worker::start(index, shared.clone()).ok()).collect();
        assert!(!threads.is_empty(), "no thread for the disk");
        Self { handle: Arc::new(Handle { shared, threads }) }
    }

    /// Begins to serve a torrent's bytes.
    pub fn attach(&self, storage: Arc<dyn Storage>, pieces: Arc<dyn Pieces>) -> StoreId {
        let shared = &self.handle.shared;
        // Asked without the lock: a device may hang.
        let device = storage.device();
        let id = shared.crew().plan.attach_on(device, pieces.clone());
        let mut stores = shared.stores.write().unwrap_or_else(PoisonError::into_inner);
        stores.insert(id, Store { storage, pieces });
        id
    }

    /// Takes no more jobs for the store. Those it has are done and answered; then its storage is let go.
    pub fn detach(&self, id: StoreId) {
        let shared = &self.handle.shared;
        let mut crew = shared.crew();
        crew.plan.detach(id);
        let closed = crew.plan.take_closed();
        let helpers = crew.call_helpers();
        drop(crew);
        shared.close(&closed);
        helpers.into_iter().for_each(|helper| helper.unpark());
    }

    /// Submits all jobs and leaves the list empty.
    pub fn submit(&self, jobs: &mut Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let shared = &self.handle.shared;
        let mut crew = shared.crew();
        jobs.drain(..).for_each(|job| crew.plan.push(job));
        let is_news = shared.note_answers(&crew, false);
        let helpers = crew.call_helpers();
        drop(crew);
        helpers.into_iter().for_each(|helper| helper.unpark());
        if is_news {
            (shared.wake)();
        }
    }

    /// Appends all answers to `into`.
    pub fn drain(&self, into: &mut Vec<Completion>) {
        let shared = &self.handle.shared;
        if !shared.answered.load(Ordering::Acquire) {
            return;
        }
        let mut crew = shared.crew();
        shared.answered.store(false, Ordering::Release);
        shared.told.store(false, Ordering::Release);
        crew.plan.drain(into);
    }

    /// Reads on this thread, if that takes no waiting for a device. `None`: submit a [`Job::Read`] instead. It does not
    /// wait for writes that were submitted before; to be used for pieces that are complete.
    pub fn read_cached(
        &self,
        store: StoreId,
        range: PieceRange,
        data: &mut Buf,
    ) -> Option<Result<(), StorageError>> {
        let stores = self.handle.shared.stores();
        let store = stores.get(&store)?;
        if data.capacity() < range.len() as usize {
            return None;
        }
        data.set_len(range.len() as usize);
        store.storage.read_cached(range, data.as_mut_slice())
    }

    /// Bytes of buffers in jobs that have no answer yet.
    pub fn held(&self) -> usize {
        self.handle.shared.crew().plan.held()
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("threads", &self.handle.threads.len()).finish_non_exhaustive()
    }
}

impl Shared {
    fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stores(&self) -> RwLockReadGuard<'_, HashMap<StoreId, Store>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to wake who asks: there are answers now, and nobody was told since they were last taken. To be called
    /// with the lock held.
    ///
    /// Buffers of written blocks alone are no reason to wake anyone while the thread goes on writing (`is_busy`): the
    /// verdict of the piece, or the end of the work, follows soon. That saves most of the switches between threads.
    fn note_answers(&self, crew: &Crew, is_busy: bool) -> bool {
        if !crew.plan.has_completions() {
            return false;
        }
        self.answered.store(true, Ordering::Release);
        let is_reason = !is_busy || crew.plan.has_urgent_completions();
        is_reason && !self.told.swap(true, Ordering::AcqRel)
    }

    fn close(&self, closed: &[StoreId]) {
        if !closed.is_empty() {
            let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
            let gone: Vec<_> = closed.iter().filter_map(|id| stores.remove(id)).collect();
            // Files are closed after the lock is let go.
            drop(stores);
            drop(gone);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.crew().stop().into_iter().for_each(|thread| thread.unpark());
        let this = std::thread::current().id();
        for thread in self.threads.drain(..).filter(|thread| thread.thread().id() != this) {
            // A thread that panicked has nothing more to do.
            let _ = thread.join();
        }
    }
}
