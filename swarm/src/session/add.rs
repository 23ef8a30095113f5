//! Adding a torrent: open its files, find out what is there, and run it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use storage::{
    Allocation, FileOptions, FileStorage, Operation, Progress, ScanOptions, Storage, StorageError, Verdict,
    recheck,
};
use tokio::sync::watch;
use wire::peer::Bitfield;

use super::Session;
use super::claims::{Claim, Claimed, Taken};
use super::event::Event;
use super::link::{Link, Unavailable};
use super::options::{AddError, AddOptions, Check};
use super::registry::{Entry, Refused, Reservation};
use super::torrent::Torrent;
use crate::engine::candidates::Source;
use crate::engine::picker::Priority;
use crate::engine::scope::Scope;
use crate::engine::{AddTorrent, Direction};
use crate::reactor::{Handle, Plane};

impl Session {
    /// Opens a torrent's files, checks what is there as the options say, and runs it. Dropping the future gives it up.
    ///
    /// # Errors
    /// When the torrent cannot be run here, or its files cannot be used.
    pub async fn add(&self, options: AddOptions) -> Result<Torrent, AddError> {
        let link = &self.link;
        let meta = options.torrent.clone();
        let id = meta.id();
        if meta.info_hashes().v1().is_none() {
            return Err(AddError::V2Only(meta.name().to_owned()));
        }
        if let Some(index) = options.files.unknown(&meta) {
            return Err(AddError::NoSuchFile { index, files: meta.layout().files().len() });
        }
        let reservation = link.registry.reserve(id).map_err(|refused| match refused {
            Refused::Duplicate => AddError::Duplicate(id),
            Refused::Closed => AddError::Unavailable(Unavailable::Over),
        })?;
        let permit = link.checks.clone().acquire_owned().await.map_err(|_| Unavailable::Over)?;
        let attempt = Attempt { reactor: link.reactor.clone(), state: Arc::default() };
        let (state, opener) = (attempt.state.clone(), link.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            open(&opener, &options, &state.given_up).map(|opened| (opened, options))
        });
        let (opened, options) = opened.await.map_err(|_| AddError::Cancelled)??;
        let (state, run) = (attempt.state.clone(), Run { opened, options, reservation });
        let registry = link.registry.clone();
        let begun = link.ask(move |plane| {
            let mut begun = state.begun.lock().unwrap_or_else(PoisonError::into_inner);
            if state.given_up.load(Ordering::Relaxed) {
                return Err(AddError::Cancelled);
            }
            // The end has removed the others already.
            if registry.is_closed() {
                return Err(AddError::Unavailable(Unavailable::Over));
            }
            *begun = run.begin(plane);
            begun.clone().ok_or(AddError::Duplicate(id))
        });
        let entry = begun.await??;
        attempt.succeeded();
        link.tell(Event::Added { torrent: id });
        Ok(Torrent::new(link, id, entry))
    }
}

/// Undoes what was done when whoever waits for it is gone: stops the check, and removes the torrent that runs already.
struct Attempt {
    reactor: Handle,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    given_up: AtomicBool,
    begun: Mutex<Option<Entry>>,
}

impl Attempt {
    fn succeeded(&self) {
        self.begun();
    }

    fn begun(&self) -> Option<Entry> {
        self.state.begun.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.state.given_up.store(true, Ordering::Relaxed);
        if let Some(entry) = self.begun() {
            // A reactor that is gone runs nothing.
            let _ = self.reactor.run(move |plane| entry.remove(plane));
        }
    }
}

/// Files that are open, and what is in them.
struct Opened {
    storage: Claimed,
    released: watch::Receiver<()>,
    have: Bitfield,
}

/// Opens the files and checks them. Blocks.
fn open(link: &Arc<Link>, options: &AddOptions, cancel: &AtomicBool) -> Result<Opened, AddError> {
    let meta = &options.torrent;
    let allocation = if options.preallocate { Allocation::Full } else { Allocation::Sparse };
    let file_options =
        FileOptions { allocation, open_files: link.open_files.clone(), ..FileOptions::default() };
    let files = if options.create {
        FileStorage::create(&options.dir, meta.clone(), file_options)?
    } else {
        FileStorage::open(&options.dir, meta.clone(), file_options)?
    };
    let claim = claim(link, &options.dir, meta)?;
    let have = match options.check {
        Check::Never if options.create => Bitfield::new(meta.geometry().piece_count()),
        Check::Never => trusted(&files, meta),
        Check::Auto if !anything(&files, meta) => Bitfield::new(meta.geometry().piece_count()),
        Check::Auto | Check::Always => checked(link, &files, meta, cancel)?,
    };
    if have.is_full() && options.create {
        // Nothing will be written that could make files of length 0 on its way.
        files.prepare()?;
    }
    Ok(Opened { released: claim.watch(), storage: Claimed { files, _claim: claim }, have })
}

fn claim(link: &Link, dir: &Path, meta: &metainfo::Torrent) -> Result<Claim, AddError> {
    let folder =
        std::fs::canonicalize(dir).map_err(|cause| StorageError::new(Operation::Open, dir, None, cause))?;
    link.claims.claim(&folder, meta).map_err(|Taken { path, by }| AddError::PathTaken { path, by })
}

/// Whether any file of the torrent is there. What cannot be looked at counts.
fn anything(files: &FileStorage, meta: &metainfo::Torrent) -> bool {
    let stored = (0..meta.layout().files().len()).filter(|i| !meta.layout().files()[*i].is_pad());
    stored.map(|index| files.file_len(index)).any(|len| match len {
        Ok(len) => len > 0,
        Err(error) => error.cause.kind() != std::io::ErrorKind::NotFound,
    })
}

/// The pieces whose files are all there in full length.
fn trusted(files: &FileStorage, meta: &metainfo::Torrent) -> Bitfield {
    let mut have = Bitfield::with_all(meta.geometry().piece_count());
    for (index, file) in meta.layout().files().iter().enumerate() {
        let is_there = file.is_pad() || files.file_len(index).is_ok_and(|len| len >= file.length);
        for piece in meta.layout().file_pieces(index).into_iter().flatten().filter(|_| !is_there) {
            have.clear(piece);
        }
    }
    have
}

/// The pieces that match their hashes.
fn checked(
    link: &Arc<Link>,
    files: &FileStorage,
    meta: &metainfo::Torrent,
    cancel: &AtomicBool,
) -> Result<Bitfield, AddError> {
    let torrent = meta.id();
    let progress = |Progress { done, total }| {
        link.tell(Event::Checking { torrent, done, total });
        if link.registry.is_closed() {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let options = ScanOptions { cancel: Some(cancel), progress: Some(&progress), ..ScanOptions::default() };
    let found = recheck(files, meta, &options);
    if !found.is_whole {
        return Err(AddError::Cancelled);
    }
    for error in &found.errors {
        tracing::warn!(%error, "a piece cannot be read");
    }
    let mut have = Bitfield::new(meta.geometry().piece_count());
    for (piece, verdict) in meta.geometry().pieces().zip(&found.verdicts) {
        if *verdict == Verdict::Good {
            have.set(piece.get());
        }
    }
    Ok(have)
}

/// A torrent that is ready to run.
struct Run {
    opened: Opened,
    options: AddOptions,
    reservation: Reservation,
}

impl Run {
    /// Runs it, on the reactor's thread. `None` when it runs already.
    fn begin(self, plane: &mut Plane) -> Option<Entry> {
        let Self { opened: Opened { storage, released, have }, options, reservation } = self;
        let (now, meta) = (plane.now(), options.torrent.clone());
        let skipped = skipped(&options, &have);
        let store = plane.disk().attach(Arc::new(storage), meta.clone());
        let seed_only = !options.create;
        let add = AddTorrent { seed_only, ..AddTorrent::new(meta.clone(), store, have) };
        let Some(key) = plane.engine().add_torrent(now, add) else {
            plane.disk().detach(store);
            return None;
        };
        let entry = Entry { key, store, meta: meta.clone(), files: released };
        reservation.fulfil(entry.clone());
        let engine = plane.engine();
        engine.set_torrent_limit(now, key, Direction::Read, options.down_limit);
        engine.set_torrent_limit(now, key, Direction::Write, options.up_limit);
        if !skipped.is_empty() {
            engine.set_priorities(now, key, skipped);
        }
        let tiers = u32::try_from(meta.trackers().len()).unwrap_or(u32::MAX);
        for (tier, url) in (tiers..).zip(&options.trackers) {
            engine.add_tracker(now, key, tier, url);
        }
        engine.add_peers(now, key, &options.peers, Source::User, Scope::Loopback);
        Some(entry)
    }
}

/// The pieces that are not to be fetched: those of other files, and all that are missing when nothing may be written.
fn skipped(options: &AddOptions, have: &Bitfield) -> Vec<(metainfo::PieceIndex, Priority)> {
    if options.create {
        return options.files.skipped(&options.torrent);
    }
    let missing = options.torrent.geometry().pieces().filter(|piece| !have.get(piece.get()));
    missing.map(|piece| (piece, Priority::Skip)).collect()
}
