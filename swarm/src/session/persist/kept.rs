//! The record of a torrent that runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use metainfo::Torrent;
use storage::record::{
    self, Baseline, Choices, FileStamp, Key, Lease, Partial, PieceSet, Record, Store, StoreError, Totals,
    Tracker,
};
use storage::{FileStorage, Pieces as _};
use wire::peer::Bitfield;

use crate::engine::{self, Engine, PartialPiece, ResumeState, Time, TorrentKey, TrackerMemo};

/// A torrent's record, and what is needed to write it.
pub(in crate::session) struct Kept {
    store: Arc<dyn Store>,
    meta: Arc<Torrent>,
    state: Mutex<State>,
}

struct State {
    /// As it was saved last.
    record: Record,
    /// How the files were left.
    baseline: Baseline,
    /// Pieces that are right by an earlier record, although this run did not check them.
    known: PieceSet,
    /// What was moved in earlier runs.
    earlier: Totals,
    /// Given up when the torrent ends; then nothing is saved any more.
    held: Option<Held>,
}

/// What a torrent needs for as long as it runs.
struct Held {
    files: Arc<FileStorage>,
    /// Of the torrent in its own folder, and in the one that unfinished files lie in.
    leases: [Option<Lease>; 2],
}

/// What the engine says of a torrent at a moment.
pub(in crate::session) struct Snapshot {
    resume: ResumeState,
    finished: bool,
}

impl Snapshot {
    /// Takes it, on the reactor's thread; `None` when the torrent is gone.
    pub(in crate::session) fn take(engine: &Engine, now: Time, key: TorrentKey) -> Option<Self> {
        let resume = engine.resume_state(now, key)?;
        let status = engine.torrent_status(now, key)?;
        let finished = status.done == status.wanted;
        Some(Self { resume, finished })
    }

    /// Pieces that it says are there, for sure.
    pub(super) fn claims(&self) -> &Bitfield {
        &self.resume.clean
    }
}

impl Kept {
    pub(super) fn new(
        store: Arc<dyn Store>,
        files: Arc<FileStorage>,
        meta: Arc<Torrent>,
        record: Record,
        leases: [Option<Lease>; 2],
    ) -> Self {
        let earlier = record.summary.totals;
        let baseline = Baseline::new(record.state.stamps.clone());
        let known = record.state.pieces.clone();
        let held = Some(Held { files, leases });
        Self { store, meta, state: Mutex::new(State { record, baseline, known, earlier, held }) }
    }

    /// Writes down how far the torrent is. Blocks.
    pub(super) fn save(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let mut state = self.state();
        self.write(&mut state, snapshot, false)
    }

    /// Something else was chosen; to be recorded with the next save.
    pub(in crate::session) fn choose(&self, choose: impl FnOnce(&mut Choices)) {
        choose(&mut self.state().record.state.choices);
    }

    /// The sole right to the record of the same torrent in another folder; `None` in its own. Blocks.
    pub(in crate::session) fn lease(&self, dir: &Path) -> Result<Option<Lease>, StoreError> {
        let key = self.state().record.key();
        if key.dir == dir {
            Ok(None)
        } else {
            self.store.lease(&Key { dir: dir.to_owned(), ..key }).map(Some)
        }
    }

    /// Changes what is recorded besides how far the torrent is, at once. Blocks.
    pub(in crate::session) fn amend(&self, amend: impl FnOnce(&mut record::State)) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.held.is_none() {
            return Ok(());
        }
        let mut record = Record { source: None, ..state.record.clone() };
        amend(&mut record.state);
        self.put(&mut state, record)
    }

    /// The files lie in another folder now. Blocks.
    pub(in crate::session) fn moved(&self, dir: &Path, lease: Option<Lease>) -> Result<(), StoreError> {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(Held { files, .. }) = &state.held else { return Ok(()) };
        let old = state.record.key();
        let touched = files.take_touched();
        state.baseline.update(&stamps(files), &touched);
        let mut record = Record { source: None, ..state.record.clone() };
        record.summary.dir = dir.to_owned();
        record.summary.folder = files.root_id().ok().map(Into::into);
        record.summary.times.saved = now_ms();
        record.state.moving_to = None;
        record.state.finishing.unfinished_in = None;
        record.state.stamps = state.baseline.stamps().to_vec();
        record.state.created = files.created();
        self.put(state, record)?;
        if let Some(held) = &mut state.held {
            let [own, away] = &mut held.leases;
            *away = None;
            if lease.is_some() {
                *own = lease;
            }
        }
        if old.dir == dir {
            return Ok(());
        }
        // A store that keeps sources knows torrents by their id alone. A record that stays says that the files are here.
        if self.store.wants_sources() { Ok(()) } else { self.store.remove(&old) }
    }

    fn put(&self, state: &mut State, mut record: Record) -> Result<(), StoreError> {
        record.state.generation += 1;
        record.summary.generation = record.state.generation;
        self.store.save(std::slice::from_ref(&record))?;
        state.record = record;
        Ok(())
    }

    /// The last save: nothing is written to the files any more, and if `is_clean` all that was is durable. Blocks.
    pub(super) fn finish(&self, snapshot: Snapshot, is_clean: bool) -> Result<(), StoreError> {
        let mut state = self.state();
        let written = self.write(&mut state, snapshot, is_clean);
        state.held = None;
        written
    }

    /// Forgets the record; the torrent was removed. Blocks.
    pub(in crate::session) fn forget(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        let removed = self.store.remove(&state.record.key());
        state.held = None;
        removed
    }

    /// Writes the record as it is for the first time. Blocks.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        let state = self.state();
        self.store.save(std::slice::from_ref(&state.record))
    }

    fn write(&self, state: &mut State, snapshot: Snapshot, is_clean: bool) -> Result<(), StoreError> {
        let Some(Held { files, .. }) = &state.held else { return Ok(()) };
        // In this order: what is written in between is explained by the next save.
        let touched = files.take_touched();
        state.baseline.update(&stamps(files), &touched);
        let Snapshot { resume, finished } = snapshot;
        let saved = now_ms();
        let mut record = Record { source: None, ..state.record.clone() };
        let Record { summary, state: sheet, .. } = &mut record;
        (sheet.pieces, sheet.doubtful) = sorted(&resume, state, &self.meta);
        sheet.partial = resume.partial.iter().map(|piece| partial(&self.meta, piece)).collect();
        sheet.stamps = state.baseline.stamps().to_vec();
        sheet.created = files.created();
        sheet.peers = resume.candidates;
        sheet.trackers = resume.trackers.into_iter().map(|memo| tracker(memo, saved)).collect();
        sheet.generation += 1;
        summary.generation = sheet.generation;
        summary.done = bytes(&self.meta, &sheet.pieces);
        summary.flags.complete = sheet.pieces.is_full();
        summary.flags.finished = finished;
        summary.flags.paused = resume.paused && !is_clean;
        // Nothing more is written to what is complete.
        summary.flags.clean =
            is_clean && sheet.doubtful.is_none() || summary.flags.complete || summary.flags.seed_only;
        summary.totals = sum(state.earlier, resume.totals);
        summary.times.saved = saved;
        summary.times.next_announce = sheet.trackers.iter().filter_map(|tracker| tracker.next).min();
        if summary.flags.complete && summary.times.completed.is_none() {
            summary.times.completed = Some(saved);
        }
        self.store.save(std::slice::from_ref(&record))?;
        state.record = record;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names that the user chose, as they are recorded.
pub(in crate::session) fn names(files: &FileStorage) -> Vec<(u32, PathBuf)> {
    files.names().iter().filter_map(|(index, path)| Some((u32::try_from(index).ok()?, path.into()))).collect()
}

/// The pieces that are right and durable, and those that may be.
fn sorted(resume: &ResumeState, state: &State, meta: &Torrent) -> (PieceSet, PieceSet) {
    let (mut right, mut doubtful) = (pieces(&resume.clean), pieces(&resume.doubtful));
    for piece in resume.unverified.iter().flat_map(Bitfield::iter_ones) {
        // What nobody has checked in this run is no more than what the files say.
        right.set(piece, state.known.contains(piece));
        doubtful.set(piece, true);
    }
    let layout = meta.layout();
    for piece in state.baseline.doubted().flat_map(|file| layout.file_pieces(file)).flatten() {
        if right.contains(piece) {
            right.set(piece, false);
            doubtful.set(piece, true);
        }
    }
    doubtful.subtract(&right);
    (right, doubtful)
}

/// How the files look.
pub(super) fn stamps(files: &FileStorage) -> Vec<Option<FileStamp>> {
    files.file_stamps().into_iter().map(|stamp| stamp.map(Into::into)).collect()
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Pieces as they are kept.
pub(super) fn pieces(have: &Bitfield) -> PieceSet {
    PieceSet::from_bits(have.as_bytes(), have.len()).unwrap_or_else(|| PieceSet::none(have.len()))
}

/// Pieces as the engine has them.
pub(super) fn bitfield(pieces: &PieceSet) -> Bitfield {
    Bitfield::from_bytes(pieces.bits(), pieces.len()).unwrap_or_else(|_| Bitfield::new(pieces.len()))
}

/// Bytes of files in these pieces.
pub(super) fn bytes(meta: &Torrent, pieces: &PieceSet) -> u64 {
    let (geometry, pads) = (meta.geometry(), meta.pads());
    let held = geometry.pieces().filter(|piece| pieces.contains(piece.get()));
    held.map(|piece| pads.payload(geometry, geometry.whole(piece))).sum()
}

/// Blocks as they are kept.
fn partial(meta: &Torrent, piece: &PartialPiece) -> Partial {
    let mut blocks = PieceSet::none(meta.geometry().blocks_in(piece.piece));
    piece.blocks.iter().for_each(|block| blocks.set(*block, true));
    Partial { piece: piece.piece.get(), blocks }
}

/// Blocks as the engine has them; `None` for a piece that the torrent does not have.
pub(super) fn partial_piece(meta: &Torrent, partial: &Partial) -> Option<PartialPiece> {
    let piece = meta.geometry().piece(partial.piece).ok()?;
    let blocks = (0..partial.blocks.len()).filter(|block| partial.blocks.contains(*block));
    Some(PartialPiece { piece, blocks: blocks.collect() })
}

fn tracker(memo: TrackerMemo, now: u64) -> Tracker {
    let after =
        |wait: std::time::Duration| now.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    Tracker { url: memo.url, id: None, next: memo.next_in.map(after), works: memo.works }
}

fn sum(earlier: Totals, now: engine::Totals) -> Totals {
    Totals {
        downloaded: earlier.downloaded.saturating_add(now.downloaded),
        uploaded: earlier.uploaded.saturating_add(now.uploaded),
        wasted: earlier.wasted.saturating_add(now.wasted),
    }
}

/// The folder named in one way, also when it, or folders above it, are not there yet.
pub(in crate::session) fn place(dir: &Path) -> std::io::Result<PathBuf> {
    match std::fs::canonicalize(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let dir = std::path::absolute(dir)?;
            let (above, name) = dir.parent().zip(dir.file_name()).ok_or(error)?;
            Ok(place(above)?.join(name))
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_name_whether_it_is_there_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(place(&real.join("link/./new/er")).unwrap(), real.join("new/er"));
        std::fs::create_dir_all(real.join("new/er")).unwrap();
        assert_eq!(place(&real.join("link/new/../new/er")).unwrap(), real.join("new/er"));
    }
}
