//! When spare sheets are written: a little after what they say was saved, many together, by a thread that ends when there are no
//! more. Nobody waits for it. Those that a first start finds missing are written the same way, a few megabytes a second.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use metainfo::TorrentId;
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use storage::record::{Record, Source, State, StoreError, Summary, sum};

use super::file::refused;
use super::spare::Sums;
use super::{Base, SOURCES, SPARED, STATES, SUMMARIES, Sheets};

/// Before each batch: what changes meanwhile goes with it. Tests say themselves when spares are written.
const PAUSE: Duration = Duration::from_secs(if cfg!(test) { 3600 } else { 1 });
/// After one that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// Torrents of a batch, and bytes of their sources: so that it takes well under a second of a slow disk.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// What is to be written.
#[derive(Default)]
pub(super) struct Pending {
    /// Torrents whose spare is missing or late.
    pub(super) ids: BTreeSet<TorrentId>,
    thread: Option<JoinHandle<()>>,
    is_running: bool,
    is_over: bool,
}

/// A record whose spare is to be written; without its source if that is kept.
pub(super) struct Due {
    record: Record,
    sums: Sums,
}

impl Due {
    fn id(&self) -> TorrentId {
        self.record.summary.hashes.id()
    }
}

impl Base {
    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that what is pending is written.
    pub(super) fn start(self: &Arc<Self>) {
        let mut pending = self.pending();
        if pending.ids.is_empty() || pending.is_running || pending.is_over {
            return;
        }
        let base = self.clone();
        let thread = std::thread::Builder::new().name("unchoke-spares".into());
        match thread.spawn(move || base.run(PAUSE)) {
            Ok(thread) => (pending.thread, pending.is_running) = (Some(thread), true),
            Err(error) => tracing::warn!(%error, "spare sheets are late"),
        }
    }

    /// Nothing more is saved. Blocks until what was pending is written, as far as it fits a batch: the next start writes the rest.
    pub(super) fn end(&self) {
        let thread = {
            let mut pending = self.pending();
            pending.is_over = true;
            pending.thread.take()
        };
        self.news.notify_all();
        // If it panicked, that was reported.
        let _ = thread.map(JoinHandle::join);
        if let Err(error) = self.keep_some() {
            tracing::warn!(%error, "spare sheets are late");
        }
    }

    /// Writes batches until nothing is pending.
    pub(super) fn run(&self, pause: Duration) {
        let (mut pending, mut pause_now) = (self.pending(), pause);
        loop {
            let waited = self.news.wait_timeout_while(pending, pause_now, |pending| !pending.is_over);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
            if pending.is_over || pending.ids.is_empty() {
                pending.is_running = false;
                return;
            }
            drop(pending);
            pause_now = match self.keep_some() {
                Ok(()) => pause,
                Err(error) => {
                    tracing::warn!(%error, "spare sheets are late");
                    AFTER_FAILURE
                }
            };
            pending = self.pending();
        }
    }

    /// Writes a batch.
    pub(super) fn keep_some(&self) -> Result<(), StoreError> {
        let batch = self.take_some()?;
        self.keep(&batch).inspect_err(|_| self.pending().ids.extend(batch.iter().map(Due::id)))
    }

    /// Takes a batch of what is pending, and reads it. Of what is gone or damaged there is nothing: its spare is all there is.
    pub(super) fn take_some(&self) -> Result<Vec<Due>, StoreError> {
        let (mut taken, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
        while taken.len() < BATCH && bytes < BATCH_BYTES {
            let Some(id) = self.pending().ids.pop_first() else { break };
            taken.push(id);
            let due = self.reading(|database| self.due(database, id));
            let due = due.inspect_err(|_| self.pending().ids.extend(taken.iter().copied()))?;
            if let Some(Source::Torrent(file)) = due.as_ref().and_then(|due| due.record.source.as_ref()) {
                bytes += file.len();
            }
            batch.extend(due);
        }
        Ok(batch)
    }

    /// A record as it is to be spared. `None` when not all of it is there.
    fn due(&self, database: &Database, id: TorrentId) -> Result<Option<Due>, redb::Error> {
        let transaction = database.begin_read()?;
        let get = |table: Sheets| -> Result<Option<Vec<u8>>, redb::Error> {
            Ok(transaction.open_table(table)?.get(&id.0[..])?.map(|value| value.value().to_vec()))
        };
        let (Some(summary), Some(state)) = (get(SUMMARIES)?, get(STATES)?) else { return Ok(None) };
        let (Ok(summary), Ok(state)) = (Summary::decode(&summary), State::decode(&state)) else {
            return Ok(None);
        };
        if summary.hashes.id() != id || summary.generation != state.generation {
            return Ok(None);
        }
        let known = get(SPARED)?.and_then(|sums| Sums::read(&sums)).map(|sums| sums.source);
        let source = get(SOURCES)?;
        let chosen = Some([summary.spare_sum(), state.spare_sum()]);
        // One that was lost is kept as it is, as is one that is the same.
        let sums = Sums { chosen, source: source.as_deref().map(sum).or(known).unwrap_or(0) };
        let is_kept = || known == Some(sums.source) && self.spares.has_source(id);
        let source = source.filter(|_| !is_kept()).and_then(|bytes| Source::decode(&bytes).ok());
        Ok(Some(Due { record: Record { summary, state, source }, sums }))
    }

    /// Writes spares, puts them in place, and notes that.
    pub(super) fn keep(&self, batch: &[Due]) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let ready = self.spares.prepare(batch.iter().map(|due| &due.record))?;
        let _alone = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = |id: TorrentId| {
            self.reading(|database| {
                Ok(database.begin_read()?.open_table(SUMMARIES)?.get(&id.0[..])?.is_some())
            })
        };
        // What is not known to be there may be removed.
        let (there, gone): (Vec<_>, Vec<_>) =
            ready.into_iter().partition(|ready| is_there(ready.id).unwrap_or(false));
        self.spares.discard(&gone);
        self.spares.place_all(&there)?;
        let placed: BTreeSet<_> = there.iter().map(|ready| ready.id).collect();
        self.reading(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            for due in batch.iter().filter(|due| placed.contains(&due.id())) {
                // Something else may have been chosen since it was read.
                if chosen(&transaction, due.id())? == due.sums.chosen {
                    let mut spared = transaction.open_table(SPARED)?;
                    spared.insert(&due.id().0[..], &due.sums.bytes()[..])?;
                } else {
                    self.pending().ids.insert(due.id());
                }
            }
            Ok(transaction.commit()?)
        })
    }

    /// Does something with the database, which is mended by those that can tell of it.
    fn reading<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.attempt(work).1.map_err(|error| refused("spare", &self.path, &error))
    }
}

/// The sums of what is recorded now.
fn chosen(transaction: &WriteTransaction, id: TorrentId) -> Result<Option<[u32; 2]>, redb::Error> {
    let summary =
        transaction.open_table(SUMMARIES)?.get(&id.0[..])?.map(|sheet| Summary::decode(sheet.value()));
    let state = transaction.open_table(STATES)?.get(&id.0[..])?.map(|sheet| State::decode(sheet.value()));
    let both = summary.and_then(Result::ok).zip(state.and_then(Result::ok));
    Ok(both.map(|(summary, state)| [summary.spare_sum(), state.spare_sum()]))
}
