//! The record of a torrent that runs.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use metainfo::Torrent;
use storage::record::{
    self, Baseline, Choices, FileStamp, Key, Lease, PieceSet, Record, Store, StoreError, Totals,
};
use storage::{FileStorage, Storage};
use wire::peer::Bitfield;

use super::foreign;
use super::naming::{lease_with_names, mark};
use super::outline::outline;
use super::translate::{are_same, bytes, moved, now_ms, partial, pieces, sum, tracker};
use crate::engine::{self, Engine, ResumeState, Time, TorrentKey};

/// A torrent's record, and what is needed to write it.
pub(in crate::session) struct Kept {
    store: Arc<dyn Store>,
    meta: Arc<Torrent>,
    /// How the files were left. Held by whoever looks at files or writes the record, on a thread that may block.
    saving: Mutex<Baseline>,
    /// Held for a moment only, by anybody.
    state: Mutex<State>,
}

struct State {
    /// As it was saved last.
    record: Record,
    /// As they are to be saved next.
    choices: Choices,
    /// The same: its user stopped it.
    paused: bool,
    /// Pieces that are right by an earlier record, although this run did not check them.
    known: PieceSet,
    /// What was moved in earlier runs.
    earlier: Totals,
    /// Where the files are, to tell disks that may hang from others.
    device: Option<u64>,
    /// Given up when the torrent ends; then nothing is saved any more.
    held: Option<Held>,
}

/// What a torrent needs for as long as it runs.
struct Held {
    files: Arc<FileStorage>,
    /// Of the torrent in its own folder, and in the one that unfinished files lie in.
    leases: [Option<Lease>; 2],
}

/// The right to write a record, until it is written.
pub(super) struct Writing<'a> {
    kept: &'a Kept,
    _alone: MutexGuard<'a, Baseline>,
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

    /// What the engine tells of it.
    pub(in crate::session) fn resume(&self) -> &ResumeState {
        &self.resume
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
        let state = State {
            choices: record.state.choices.clone(),
            paused: record.summary.flags.paused,
            known: record.state.pieces.clone(),
            earlier: record.summary.totals,
            device: files.device(),
            held: Some(Held { files, leases }),
            record,
        };
        let saving = Mutex::new(Baseline::new(state.record.state.stamps.clone()));
        Self { store, meta, saving, state: Mutex::new(state) }
    }

    /// What to call the torrent.
    pub(super) fn name(&self) -> &str {
        self.meta.name()
    }

    /// What was moved in earlier runs.
    pub(in crate::session) fn earlier(&self) -> engine::Totals {
        moved(self.state().earlier)
    }

    /// The device of its files.
    pub(in crate::session) fn device(&self) -> Option<u64> {
        self.state().device
    }

    /// Something else was chosen; to be recorded with the next save.
    pub(in crate::session) fn choose(&self, choose: impl FnOnce(&mut Choices)) {
        choose(&mut self.state().choices);
    }

    /// Its user stopped it, or did not; to be recorded with the next save.
    pub(in crate::session) fn set_paused(&self, paused: bool) {
        self.state().paused = paused;
    }

    /// Whether this says anything that is not recorded.
    pub(super) fn is_news(&self, snapshot: &Snapshot) -> bool {
        let (state, resume, now) = (self.state(), &snapshot.resume, now_ms());
        let record = &state.record;
        !(sum(state.earlier, resume.totals) == record.summary.totals
            && state.choices == record.state.choices
            && state.paused == record.summary.flags.paused
            && are_same(&resume.trackers, &record.state.trackers, now))
    }

    /// The sole right to the record of the same torrent in another folder; `None` in its own. Blocks.
    pub(in crate::session) fn lease(&self, dir: &Path) -> Result<Option<Lease>, StoreError> {
        let key = self.state().record.key();
        if key.dir == dir {
            Ok(None)
        } else {
            let files = self.files();
            let key = Key { dir: dir.to_owned(), ..key };
            lease_with_names(&*self.store, &key, files.as_deref(), &self.meta).map(Some)
        }
    }

    /// Changes what is recorded besides how far the torrent is, at once. Blocks.
    pub(in crate::session) fn amend(&self, amend: impl FnOnce(&mut record::State)) -> Result<(), StoreError> {
        let mut baseline = self.saving();
        if let Some(files) = self.files() {
            compare(&mut baseline, &files);
        }
        let record = {
            let mut state = self.state();
            if state.held.is_none() {
                return Ok(());
            }
            let mut record = state.next();
            amend(&mut record.state);
            // What we changed of a file besides its bytes, such as its name, is no reason to check it.
            for (then, now) in record.state.stamps.iter_mut().zip(baseline.stamps()) {
                if let (Some(then), Some(now)) = (then, now)
                    && then.is_same(now)
                {
                    *then = *now;
                }
            }
            record.state.goal = record.state.goal.filter(|_| record.state.moving_to.is_some());
            state.choices.clone_from(&record.state.choices);
            record
        };
        self.put(record)
    }

    /// The files lie in another folder now. Blocks.
    pub(in crate::session) fn moved(&self, dir: &Path, lease: Option<Lease>) -> Result<(), StoreError> {
        let mut baseline = self.saving();
        let Some(files) = self.files() else { return Ok(()) };
        compare(&mut baseline, &files);
        mark(&files, None);
        let (folder, created) = (files.root_id().ok().map(Into::into), files.created());
        let (old, mut record) = {
            let mut state = self.state();
            state.device = files.device();
            (state.record.key(), state.next())
        };
        // The record that goes takes what it is along.
        if old.dir != dir {
            record.source = self.store.load(&old)?.and_then(|record| record.source);
        }
        record.summary.dir = dir.to_owned();
        record.summary.folder = folder;
        record.summary.times.saved = now_ms();
        record.state.moving_to = None;
        record.state.goal = None;
        record.state.finishing.unfinished_in = None;
        record.state.births = self.births(&files, &record.state, &baseline);
        record.state.stamps = baseline.stamps().to_vec();
        record.state.created = created;
        self.put(record)?;
        files.forget_left();
        let old_leases = self.take_over(lease);
        let is_elsewhere = old.dir != dir;
        // A store that keeps sources knows torrents by their id alone. A record that stays says that the files are here.
        let removed =
            if is_elsewhere && !self.store.wants_sources() { self.store.remove(&old) } else { Ok(()) };
        drop(old_leases);
        removed
    }

    /// Of a torrent that moved only the right to its new record is needed. Gives those that are not any more, to be given up
    /// when nobody waits: they may be files on a disk.
    fn take_over(&self, lease: Option<Lease>) -> [Option<Lease>; 2] {
        let mut state = self.state();
        let Some(Held { leases: [own, away], .. }) = &mut state.held else { return [lease, None] };
        let old = if lease.is_some() { std::mem::replace(own, lease) } else { None };
        [old, away.take()]
    }

    fn put(&self, mut record: Record) -> Result<(), StoreError> {
        outline(&mut record, &self.meta, self.files().as_deref());
        self.store.save(std::slice::from_ref(&record))?;
        self.state().record = Record { source: None, ..record };
        Ok(())
    }

    /// What others put in the place of files, or wrote to them, is not the torrent's to remove. Blocks.
    pub(in crate::session) fn disown_changed(&self, files: &FileStorage) {
        let mut baseline = self.saving();
        compare(&mut baseline, files);
        baseline.doubted().for_each(|index| files.disown(index));
    }

    /// Nothing is saved any more. Blocks.
    pub(super) fn end(&self) {
        let held = self.state().held.take();
        drop(held);
    }

    /// Forgets the record; the torrent was removed. Blocks.
    pub(in crate::session) fn forget(&self) -> Result<(), StoreError> {
        let _alone = self.saving();
        let key = self.state().record.key();
        let removed = self.store.remove(&key);
        self.end();
        removed
    }

    /// Writes the record as it is for the first time. Blocks.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        let _alone = self.saving();
        let record = self.state().record.clone();
        self.store.save(std::slice::from_ref(&record))
    }

    /// Looks at the files and makes the record that is to be written; `None` when the torrent has ended. If `is_clean`,
    /// nothing is written to the files any more, and all that was is durable. Blocks.
    pub(super) fn prepare<'a>(
        &'a self,
        mut baseline: MutexGuard<'a, Baseline>,
        snapshot: Snapshot,
        is_clean: bool,
    ) -> Option<(Writing<'a>, Record)> {
        let files = self.files()?;
        compare(&mut baseline, &files);
        let created = files.created();
        let Snapshot { resume, finished } = snapshot;
        let saved = now_ms();
        let (mut record, known, earlier) = {
            let state = self.state();
            (state.next(), state.known.clone(), state.earlier)
        };
        let Record { summary, state: sheet, .. } = &mut record;
        (sheet.pieces, sheet.doubtful) = sorted(&resume, &known, &baseline, &self.meta);
        sheet.partial = resume.partial.iter().map(|piece| partial(&self.meta, piece)).collect();
        sheet.births = self.births(&files, sheet, &baseline);
        sheet.stamps = baseline.stamps().to_vec();
        sheet.created = created;
        sheet.peers = resume.candidates;
        sheet.trackers = resume.trackers.into_iter().map(|memo| tracker(memo, saved)).collect();
        summary.done = bytes(&self.meta, &sheet.pieces);
        summary.flags.complete = sheet.pieces.is_full();
        summary.flags.finished = finished;
        // Nothing more is written to what is complete.
        summary.flags.clean =
            is_clean && sheet.doubtful.is_none() || summary.flags.complete || summary.flags.seed_only;
        summary.totals = sum(earlier, resume.totals);
        summary.times.saved = saved;
        summary.times.next_announce = sheet.trackers.iter().filter_map(|tracker| tracker.next).min();
        if summary.flags.complete && summary.times.completed.is_none() {
            summary.times.completed = Some(saved);
        }
        outline(&mut record, &self.meta, None);
        Some((Writing { kept: self, _alone: baseline }, record))
    }

    /// When the files were made, of which only those are looked at that are others than before.
    fn births(&self, files: &FileStorage, before: &record::State, now: &Baseline) -> Vec<u64> {
        let known = (&before.stamps[..], &before.births[..]);
        foreign::births(files, known, now.stamps(), |old, new| old.inode == new.inode)
    }

    fn files(&self) -> Option<Arc<FileStorage>> {
        self.state().held.as_ref().map(|held| held.files.clone())
    }

    /// The right to look at the files and to write the record. Blocks.
    pub(super) fn saving(&self) -> MutexGuard<'_, Baseline> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless somebody else has it.
    pub(super) fn try_saving(&self) -> Option<MutexGuard<'_, Baseline>> {
        match self.saving.try_lock() {
            Ok(baseline) => Some(baseline),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The record that follows the last one, with what is chosen now.
    fn next(&self) -> Record {
        let mut record = Record { source: None, ..self.record.clone() };
        record.state.choices.clone_from(&self.choices);
        record.summary.flags.paused = self.paused;
        record.state.boot = record::boot();
        record.state.generation += 1;
        record.summary.generation = record.state.generation;
        record
    }
}

impl Writing<'_> {
    /// The record is written.
    pub(super) fn written(self, record: Record) {
        self.kept.state().record = record;
    }
}

/// The pieces that are right and durable, and those that may be.
fn sorted(
    resume: &ResumeState,
    known: &PieceSet,
    baseline: &Baseline,
    meta: &Torrent,
) -> (PieceSet, PieceSet) {
    let (mut right, mut doubtful) = (pieces(&resume.clean), pieces(&resume.doubtful));
    for piece in resume.unverified.iter().flat_map(Bitfield::iter_ones) {
        // What nobody has checked in this run is no more than what the files say.
        right.set(piece, known.contains(piece));
        doubtful.set(piece, true);
    }
    let layout = meta.layout();
    for piece in baseline.doubted().flat_map(|file| layout.file_pieces(file)).flatten() {
        if right.contains(piece) {
            right.set(piece, false);
            doubtful.set(piece, true);
        }
    }
    doubtful.subtract(&right);
    (right, doubtful)
}

/// Finds out what others did to the files.
fn compare(baseline: &mut Baseline, files: &FileStorage) {
    let (touched, stamps) = files.take_touched();
    let stamps: Vec<Option<FileStamp>> = stamps.into_iter().map(|stamp| stamp.map(FileStamp::from)).collect();
    baseline.update(&stamps, &touched);
}
