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
use super::options::{AddOptions, AsBefore};
use super::persist::Kept;
use super::reader::Readers;
use super::selection::Selection;
use crate::engine::{PieceOrder, Totals};

/// What a torrent is. All handles to it share this.
pub(super) struct Identity {
    id: Mutex<TorrentId>,
    /// What it is called while nothing better is known.
    called: Option<String>,
    /// How many tiers of trackers it began with.
    tiers: usize,
    meta: OnceLock<Arc<Torrent>>,
    running: OnceLock<Running>,
    /// Whether its files are open, or will be.
    opening: watch::Sender<Opening>,
    /// Its record as a magnet.
    noted: Mutex<Option<Key>>,
    past: Option<Past>,
    chosen: Mutex<Chosen>,
    changing: Mutex<()>,
    readers: Readers,
    is_given_up: AtomicBool,
}

/// What is recorded of a torrent that runs without being open.
pub(super) struct Past {
    /// Its record.
    pub(super) key: Key,
    pub(super) private: bool,
    /// What was moved in earlier runs.
    pub(super) earlier: Totals,
}

/// What its user wants of it, now.
#[derive(Clone)]
pub(super) struct Chosen {
    /// Which files are wanted.
    pub(super) files: Choice,
    /// In which order pieces are fetched.
    pub(super) order: PieceOrder,
    /// Most bytes a second, down and up.
    pub(super) limits: [Option<u64>; 2],
    /// It does nothing.
    pub(super) paused: bool,
    /// Trackers that were added to it since.
    pub(super) trackers: Vec<String>,
    /// Which of these give way to what is recorded, when it is known what it is.
    pub(super) as_before: AsBefore,
    /// Grows with each choice.
    pub(super) version: u64,
}

impl Chosen {
    /// When it is added.
    pub(super) fn new(files: Choice, order: PieceOrder, limits: [Option<u64>; 2]) -> Self {
        let as_before = AsBefore::default();
        Self { files, order, limits, paused: false, trackers: Vec::new(), as_before, version: 0 }
    }
}

/// How far its files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Awaited,
    Open,
    /// They are not asked for, or it is removed.
    Never,
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
    pub(super) fn whole(meta: Arc<Torrent>, running: Running, chosen: Chosen) -> Arc<Self> {
        Arc::new(Self {
            id: meta.id().into(),
            called: None,
            tiers: meta.trackers().len(),
            meta: meta.into(),
            running: running.into(),
            opening: watch::Sender::new(Opening::Open),
            noted: Mutex::default(),
            past: None,
            chosen: Mutex::new(chosen),
            changing: Mutex::default(),
            readers: Readers::default(),
            is_given_up: AtomicBool::new(false),
        })
    }

    /// Of a torrent that is only named.
    pub(super) fn named(magnet: &Magnet, chosen: Chosen) -> Arc<Self> {
        Self::closed(magnet.info_hashes.id(), magnet.name.clone(), magnet.trackers.len(), None, chosen)
    }

    /// Of a torrent that is recorded, and runs without being open.
    pub(super) fn cold(
        id: TorrentId,
        name: String,
        tiers: usize,
        past: Past,
        limits: [Option<u64>; 2],
        paused: bool,
    ) -> Arc<Self> {
        let chosen = Chosen { paused, ..Chosen::new(Selection::All.into(), PieceOrder::default(), limits) };
        Self::closed(id, Some(name), tiers, Some(past), chosen)
    }

    fn closed(
        id: TorrentId,
        called: Option<String>,
        tiers: usize,
        past: Option<Past>,
        chosen: Chosen,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            called,
            tiers,
            meta: OnceLock::new(),
            running: OnceLock::new(),
            opening: watch::Sender::new(Opening::Awaited),
            noted: Mutex::default(),
            past,
            chosen: Mutex::new(chosen),
            changing: Mutex::default(),
            readers: Readers::default(),
            is_given_up: AtomicBool::new(false),
        })
    }

    /// Its name on the network.
    pub(super) fn id(&self) -> TorrentId {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It turned out to have another one. Does not tell the engine or the registry.
    pub(super) fn rename(&self, id: TorrentId) {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// Its metainfo, once that is known.
    pub(super) fn meta(&self) -> Option<&Arc<Torrent>> {
        self.meta.get()
    }

    /// What to call it: its name, else what the magnet says, else its hash.
    pub(super) fn name(&self) -> String {
        let known = self.meta().map(|meta| meta.name().to_owned());
        known.or_else(|| self.called.clone()).unwrap_or_else(|| self.id().to_hex())
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
        self.opening.send_replace(Opening::Open);
    }

    /// Its files are not asked for.
    pub(super) fn stays_closed(&self) {
        self.opening.send_if_modified(|opening| {
            let ends = *opening == Opening::Awaited;
            if ends {
                *opening = Opening::Never;
            }
            ends
        });
    }

    /// Waits until its files are open. Whether they are; not if nobody asked for them, or it is removed.
    pub(super) async fn until_open(&self) -> bool {
        let mut opening = self.opening.subscribe();
        // It cannot close, since `self` holds the other end.
        let opened = opening.wait_for(|opening| *opening != Opening::Awaited).await;
        opened.is_ok_and(|opening| *opening == Opening::Open)
    }

    /// It is recorded as a magnet.
    pub(super) fn noted(&self, key: Key) {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// Its record as a magnet, if there is one.
    pub(super) fn note(&self) -> Option<Key> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is recorded of it, if it ran without being open.
    pub(super) fn past(&self) -> Option<&Past> {
        self.past.as_ref()
    }

    /// Whether it runs without being open.
    pub(super) fn is_cold(&self) -> bool {
        self.past.is_some() && !self.is_open()
    }

    /// Whether it is known to be private.
    pub(super) fn is_private(&self) -> bool {
        self.meta().is_some_and(|meta| meta.private()) || self.past().is_some_and(|past| past.private)
    }

    /// What was moved in earlier runs, as is recorded.
    pub(super) fn earlier(&self) -> Totals {
        let kept = self.kept().map(|kept| kept.earlier());
        kept.or_else(|| self.past().map(|past| past.earlier)).unwrap_or_default()
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

    /// What its user wants of it, now.
    pub(super) fn chosen(&self) -> Chosen {
        self.lock().clone()
    }

    /// Whether nothing else was chosen since.
    pub(super) fn is_chosen_so(&self, chosen: &Chosen) -> bool {
        self.lock().version == chosen.version
    }

    /// Something else is wanted. Does not tell the engine.
    pub(super) fn choose(&self, choose: impl FnOnce(&mut Chosen)) {
        let mut chosen = self.lock();
        choose(&mut chosen);
        chosen.version += 1;
    }

    /// What was chosen before is known: it counts where nobody chose since.
    pub(super) fn recall(&self, options: &AddOptions) {
        let mut chosen = self.lock();
        let as_before = std::mem::take(&mut chosen.as_before);
        if as_before.files {
            chosen.files = options.files.clone().into();
        }
        if as_before.order {
            chosen.order = options.order;
        }
        if as_before.down_limit {
            chosen.limits[0] = options.down_limit;
        }
        if as_before.up_limit {
            chosen.limits[1] = options.up_limit;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Chosen> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is removed; the store to be detached. To be called on the reactor's thread.
    pub(super) fn give_up(&self) -> Option<StoreId> {
        self.is_given_up.store(true, Ordering::Relaxed);
        self.stays_closed();
        self.running.get().map(|running| running.store)
    }

    /// True once it is removed: a check of its files need not go on.
    pub(super) fn given_up(&self) -> &AtomicBool {
        &self.is_given_up
    }
}
