//! Adding a torrent: open its files, find out what is there, and run it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metainfo::TorrentId;
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
use super::registry::{Entry, Refused, Reservation};
use super::selection::Selection;
use super::torrent::Torrent;
use crate::engine::candidates::Source;
use crate::engine::picker::Priority;
use crate::engine::scope::Scope;
use crate::engine::{AddTorrent, Direction};
use crate::reactor::{Handle, Plane};

/// When what is on disk is compared with the torrent's hashes before the torrent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Check {
    /// When there is anything.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never. A download counts nothing as there; a torrent that is only seeded is taken at its files' lengths.
    Never,
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct AddOptions {
    /// Its metainfo.
    pub torrent: Arc<metainfo::Torrent>,
    /// The folder that its files lie in, or that its own folder lies in.
    pub dir: PathBuf,
    /// Whether what is there is checked.
    pub check: Check,
    /// Which files are wanted.
    pub files: Selection,
    /// Whether a file takes all of its room when it is first written.
    pub preallocate: bool,
    /// Addresses of peers.
    pub peers: Vec<SocketAddr>,
    /// Trackers besides those of the torrent; each is tried after those before it.
    pub trackers: Vec<String>,
    /// Download limit in bytes per second.
    pub down_limit: Option<u64>,
    /// Upload limit in bytes per second.
    pub up_limit: Option<u64>,
    /// Whether what is missing is fetched: folder and files are made. Else only what is there is seeded.
    pub create: bool,
}

impl AddOptions {
    /// Downloads the whole torrent into a folder and seeds it.
    pub fn download(torrent: Arc<metainfo::Torrent>, dir: impl Into<PathBuf>) -> Self {
        Self {
            torrent,
            dir: dir.into(),
            check: Check::Auto,
            files: Selection::All,
            preallocate: false,
            peers: Vec::new(),
            trackers: Vec::new(),
            down_limit: None,
            up_limit: None,
            create: true,
        }
    }

    /// Seeds what is there of a torrent, and writes nothing.
    pub fn seed(torrent: Arc<metainfo::Torrent>, dir: impl Into<PathBuf>) -> Self {
        Self { create: false, ..Self::download(torrent, dir) }
    }
}

/// Why a torrent was not added.
#[derive(Clone, Debug, PartialEq)]
pub enum AddError {
    /// It has no v1 side; its name.
    V2Only(String),
    /// It runs already.
    Duplicate(TorrentId),
    /// Another torrent has one of its files.
    PathTaken {
        /// Which file.
        path: PathBuf,
        /// Which torrent.
        by: TorrentId,
    },
    /// It has fewer files than that.
    NoSuchFile {
        /// The index that was asked for.
        index: usize,
        /// How many it has.
        files: usize,
    },
    /// Its folder or files cannot be used.
    Storage(StorageError),
    /// The check was given up because the session ends.
    Cancelled,
    /// The session cannot take it.
    Unavailable(Unavailable),
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V2Only(name) => write!(
                f,
                "{name:?} is a v2-only torrent; only v1 and hybrid torrents can be downloaded and seeded"
            ),
            Self::Duplicate(id) => write!(f, "torrent {id} runs already"),
            Self::PathTaken { path, by } => {
                write!(f, "{} is written by another torrent, {by}", path.display())
            }
            Self::NoSuchFile { index, files } => {
                write!(f, "expected the index of one of {files} files, got {index}")
            }
            Self::Storage(error) => error.fmt(f),
            Self::Cancelled => f.write_str("the check was given up"),
            Self::Unavailable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AddError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => Some(error),
            Self::Unavailable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StorageError> for AddError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Unavailable> for AddError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}

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
        let begun = link.ask(move |plane| {
            let mut begun = state.begun.lock().unwrap_or_else(PoisonError::into_inner);
            if state.given_up.load(Ordering::Relaxed) {
                return Err(AddError::Cancelled);
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
    let file_options = FileOptions { allocation, open_files: link.open_files.clone() };
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
        let Some(key) = plane.engine().add_torrent(now, AddTorrent { meta: meta.clone(), store, have })
        else {
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
