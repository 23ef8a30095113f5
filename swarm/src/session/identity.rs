//! What a torrent of a session is: known from the start, or found out later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use metainfo::{Magnet, Torrent, TorrentId};
use storage::record::Key;
use storage::{FileStorage, Storage, StoreId};
use tokio::sync::watch;

use super::claims::{Claim, Claimed};
use super::finishing::Finish;
use super::magnet::Choice;
use super::persist::Kept;
use super::reader::Readers;
use crate::engine::PieceOrder;

/// What a torrent is. All handles to it share this.
pub(super) struct Identity {
    id: TorrentId,
    /// What it is called while nothing better is known.
    called: Option<String>,
    /// How many tiers of trackers it began with.
    tiers: usize,
    meta: OnceLock<Arc<Torrent>>,
    running: OnceLock<Running>,
    /// Its record as a magnet.
    noted: OnceLock<Key>,
    /// Which files are wanted.
    choice: Mutex<Choice>,
    order: Mutex<PieceOrder>,
    changing: Mutex<()>,
    readers: Readers,
    is_given_up: AtomicBool,
}

/// What is there once its files are open.
pub(super) struct Running {
    pub(super) store: StoreId,
    pub(super) place: Place,
    /// Whether it writes to its files.
    pub(super) writes: bool,
    /// Its record, in a session that keeps some.
    pub(super) kept: Option<Arc<Kept>>,
    /// What is to be done with its files when they are complete, if anything is.
    pub(super) finish: Option<Arc<Finish>>,
}

/// Its files, for as long as something else holds them.
pub(super) struct Place {
    pub(super) files: Weak<FileStorage>,
    pub(super) claim: Weak<Claim>,
    held: Weak<watch::Sender<()>>,
}

impl Place {
    pub(super) fn of(claimed: &Claimed) -> Self {
        Self {
            files: Arc::downgrade(&claimed.files),
            claim: Arc::downgrade(&claimed.claim),
            held: Arc::downgrade(&claimed.held),
        }
    }

    /// Keeps the files from being let go. `None` when they were.
    pub(super) fn hold(&self) -> Option<Claimed> {
        Some(Claimed {
            files: self.files.upgrade()?,
            claim: self.claim.upgrade()?,
            held: self.held.upgrade()?,
        })
    }
}

impl Identity {
    /// Of a torrent that is described, and whose files are open.
    pub(super) fn whole(
        meta: Arc<Torrent>,
        running: Running,
        choice: Choice,
        order: PieceOrder,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: meta.id(),
            called: None,
            tiers: meta.trackers().len(),
            meta: meta.into(),
            running: running.into(),
            noted: OnceLock::new(),
            choice: Mutex::new(choice),
            order: Mutex::new(order),
            changing: Mutex::default(),
            readers: Readers::default(),
            is_given_up: AtomicBool::new(false),
        })
    }

    /// Of a torrent that is only named.
    pub(super) fn named(magnet: &Magnet, choice: Choice, order: PieceOrder) -> Arc<Self> {
        Arc::new(Self {
            id: magnet.info_hashes.id(),
            called: magnet.name.clone(),
            tiers: magnet.trackers.len(),
            meta: OnceLock::new(),
            running: OnceLock::new(),
            noted: OnceLock::new(),
            choice: Mutex::new(choice),
            order: Mutex::new(order),
            changing: Mutex::default(),
            readers: Readers::default(),
            is_given_up: AtomicBool::new(false),
        })
    }

    /// Its metainfo, once that is known.
    pub(super) fn meta(&self) -> Option<&Arc<Torrent>> {
        self.meta.get()
    }

    /// What to call it: its name, else what the magnet says, else its hash.
    pub(super) fn name(&self) -> String {
        let known = self.meta().map(|meta| meta.name().to_owned());
        known.or_else(|| self.called.clone()).unwrap_or_else(|| self.id.to_hex())
    }

    /// The tier of a tracker that is added.
    pub(super) fn next_tier(&self) -> u32 {
        u32::try_from(self.tiers).unwrap_or(u32::MAX)
    }

    /// What it is has been found out.
    pub(super) fn found(&self, meta: Arc<Torrent>) {
        // Metadata come once.
        let _ = self.meta.set(meta);
    }

    /// Its files are open. To be called on the reactor's thread.
    pub(super) fn opened(&self, running: Running) {
        // They are opened once.
        let _ = self.running.set(running);
    }

    /// It is recorded as a magnet.
    pub(super) fn noted(&self, key: Key) {
        // That is done once.
        let _ = self.noted.set(key);
    }

    /// Its record as a magnet, if there is one.
    pub(super) fn note(&self) -> Option<&Key> {
        self.noted.get()
    }

    /// Its record, in a session that keeps some.
    pub(super) fn kept(&self) -> Option<Arc<Kept>> {
        self.running.get().and_then(|running| running.kept.clone())
    }

    /// What is to be done with its files when they are complete, if anything is.
    pub(super) fn finish(&self) -> Option<Arc<Finish>> {
        self.running.get().and_then(|running| running.finish.clone())
    }

    /// Whether its files are open. On the reactor's thread that does not change meanwhile.
    pub(super) fn is_open(&self) -> bool {
        self.running.get().is_some()
    }

    /// Its store and its files, if it writes to them.
    pub(super) fn place(&self) -> Option<(StoreId, Weak<FileStorage>)> {
        let running = self.running.get().filter(|running| running.writes)?;
        Some((running.store, running.place.files.clone()))
    }

    /// The device of its files, as far as that is known without looking.
    pub(super) fn device(&self) -> Option<u64> {
        let running = self.running.get()?;
        running.kept.as_ref().map_or_else(|| running.place.files.upgrade()?.device(), |kept| kept.device())
    }

    /// Its files, whether it writes to them or not.
    pub(super) fn files(&self) -> Option<&Place> {
        self.running.get().map(|running| &running.place)
    }

    /// Held by whoever changes where its files are, on a thread that may block.
    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who reads its files.
    pub(super) fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Which files are wanted.
    pub(super) fn choice(&self) -> Choice {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other files are wanted. Does not tell the engine.
    pub(super) fn choose(&self, choice: Choice) {
        *self.choice.lock().unwrap_or_else(PoisonError::into_inner) = choice;
    }

    /// In which order pieces are fetched.
    pub(super) fn order(&self) -> PieceOrder {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pieces are fetched in another order. Does not tell the engine.
    pub(super) fn set_order(&self, order: PieceOrder) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = order;
    }

    /// It is removed; the store to be detached. To be called on the reactor's thread.
    pub(super) fn give_up(&self) -> Option<StoreId> {
        self.is_given_up.store(true, Ordering::Relaxed);
        self.running.get().map(|running| running.store)
    }

    /// True once it is removed: a check of its files need not go on.
    pub(super) fn given_up(&self) -> &AtomicBool {
        &self.is_given_up
    }
}
