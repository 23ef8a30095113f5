//! Records that are written together.

use std::sync::Arc;

use metainfo::TorrentId;
use storage::record::{Store, StoreError};

use super::kept::{Kept, Snapshot};

/// A torrent that is to be saved.
pub(super) struct Due {
    pub(super) id: TorrentId,
    pub(super) kept: Arc<Kept>,
    pub(super) snapshot: Snapshot,
    /// Nothing is written to its files any more, and all that was is durable.
    pub(super) is_clean: bool,
    /// It is saved whoever else is doing that just now, and then no more.
    pub(super) is_last: bool,
}

/// What came of a save.
pub(super) enum Outcome {
    Saved,
    /// There is nothing to save any more.
    Over,
    /// To be tried again: somebody else is about to save it.
    Busy,
    Failed(StoreError),
}

/// Looks at the files of torrents and writes their records, in one transaction where the store has such. Blocks.
pub(super) fn save(store: &dyn Store, due: Vec<Due>) -> Vec<(TorrentId, Outcome)> {
    let (torrents, takes): (Vec<_>, Vec<_>) =
        due.into_iter().map(|due| ((due.id, due.kept), (due.snapshot, due.is_clean, due.is_last))).unzip();
    let (mut outcomes, mut writings, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for ((id, kept), (snapshot, is_clean, is_last)) in torrents.iter().zip(takes) {
        let Some(files) = (if is_last { Some(kept.saving()) } else { kept.try_saving() }) else {
            outcomes.push((*id, Outcome::Busy));
            continue;
        };
        match kept.prepare(files, snapshot, is_clean) {
            Some((writing, record)) => {
                writings.push((*id, writing));
                records.push(record);
            }
            None => outcomes.push((*id, Outcome::Over)),
        }
    }
    let together = if records.is_empty() { Ok(()) } else { store.save(&records) };
    for ((id, writing), record) in writings.into_iter().zip(records) {
        // What keeps one from being written need not keep the others.
        let saved = together.clone().or_else(|_| store.save(std::slice::from_ref(&record)));
        outcomes.push((id, saved.map_or_else(Outcome::Failed, |()| Outcome::Saved)));
        if let Some((_, Outcome::Saved)) = outcomes.last() {
            writing.written(record);
        }
    }
    outcomes
}
