//! The record of a torrent that runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use metainfo::Torrent;
use storage::record::{Lease, PieceSet, Record, Store, StoreError, Totals};
use storage::{FileStorage, Storage};
use wire::peer::Bitfield;

use crate::engine::{Engine, Time, TorrentKey};

/// Peers that are kept.
const MAX_PEERS: usize = 100;

/// A torrent's record, and what is needed to write it.
pub(in crate::session) struct Kept {
    store: Arc<dyn Store>,
    files: Arc<FileStorage>,
    meta: Arc<Torrent>,
    state: Mutex<State>,
    /// Something could not be made durable; what became of it nobody knows before it is checked.
    is_doubtful: AtomicBool,
}

struct State {
    /// As it was saved last.
    record: Record,
    /// What was moved in earlier runs.
    earlier: Totals,
    /// Given up when the torrent ends; then nothing is saved any more.
    lease: Option<Lease>,
}

/// What the engine says of a torrent at a moment.
pub(in crate::session) struct Snapshot {
    have: Bitfield,
    totals: Totals,
    finished: bool,
    peers: Vec<SocketAddr>,
}

impl Snapshot {
    /// Takes it, on the reactor's thread; `None` when the torrent is gone.
    pub(in crate::session) fn take(engine: &Engine, now: Time, key: TorrentKey) -> Option<Self> {
        let status = engine.torrent_status(now, key)?;
        let totals = status.totals;
        let peers = engine.peers(now, key).into_iter().filter(|peer| peer.outgoing).map(|peer| peer.addr);
        Some(Self {
            have: engine.have(key)?.clone(),
            totals: Totals {
                downloaded: totals.downloaded,
                uploaded: totals.uploaded,
                wasted: totals.wasted,
            },
            finished: status.activity.is_seeding(),
            peers: peers.take(MAX_PEERS).collect(),
        })
    }
}

impl Kept {
    pub(super) fn new(
        store: Arc<dyn Store>,
        files: Arc<FileStorage>,
        meta: Arc<Torrent>,
        record: Record,
        lease: Lease,
    ) -> Self {
        let earlier = record.summary.totals;
        let state = Mutex::new(State { record, earlier, lease: Some(lease) });
        Self { store, files, meta, state, is_doubtful: AtomicBool::new(false) }
    }

    /// Makes durable what was written and writes it down. Blocks.
    pub(super) fn save(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut state = self.state();
        self.write(&mut state, snapshot, false)
    }

    /// The last save: nothing is written to the files any more. Blocks.
    pub(super) fn finish(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut state = self.state();
        let written = self.write(&mut state, snapshot, true);
        state.lease = None;
        written
    }

    /// Forgets the record; the torrent was removed. Blocks.
    pub(in crate::session) fn forget(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        let removed = self.store.remove(&state.record.key());
        state.lease = None;
        removed
    }

    /// Writes the record as it is for the first time. Blocks.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        let state = self.state();
        self.store.save(std::slice::from_ref(&state.record))
    }

    fn write(&self, state: &mut State, snapshot: &Snapshot, is_last: bool) -> Result<(), StoreError> {
        if state.lease.is_none() {
            return Ok(());
        }
        let saved = now_ms();
        if let Err(error) = self.files.sync() {
            tracing::warn!(%error, "what was written may not be durable");
            self.is_doubtful.store(true, Ordering::Relaxed);
        }
        let is_doubtful = self.is_doubtful.load(Ordering::Relaxed);
        let stamps = self.files.file_stamps().into_iter().map(|stamp| stamp.map(Into::into)).collect();
        let mut record = Record { source: None, ..state.record.clone() };
        let Record { summary, state: sheet, .. } = &mut record;
        if !is_doubtful {
            sheet.pieces = pieces(&snapshot.have);
        }
        sheet.stamps = stamps;
        sheet.created = self.files.created();
        if !snapshot.peers.is_empty() {
            sheet.peers.clone_from(&snapshot.peers);
        }
        sheet.generation += 1;
        summary.generation = sheet.generation;
        summary.done = bytes(&self.meta, &sheet.pieces);
        summary.flags.complete = sheet.pieces.is_full();
        summary.flags.finished = snapshot.finished;
        // Nothing more is written to what is complete.
        summary.flags.clean = !is_doubtful && (is_last || summary.flags.complete || summary.flags.seed_only);
        summary.totals = sum(state.earlier, snapshot.totals);
        summary.times.saved = saved;
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

/// Bytes in these pieces.
pub(super) fn bytes(meta: &Torrent, pieces: &PieceSet) -> u64 {
    let geometry = meta.geometry();
    let held = geometry.pieces().filter(|piece| pieces.contains(piece.get()));
    held.map(|piece| u64::from(geometry.piece_len(piece))).sum()
}

fn sum(earlier: Totals, now: Totals) -> Totals {
    Totals {
        downloaded: earlier.downloaded.saturating_add(now.downloaded),
        uploaded: earlier.uploaded.saturating_add(now.uploaded),
        wasted: earlier.wasted.saturating_add(now.wasted),
    }
}

/// The folder named in one way, also when it, or folders above it, are not there yet.
pub(super) fn place(dir: &std::path::Path) -> std::io::Result<PathBuf> {
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
