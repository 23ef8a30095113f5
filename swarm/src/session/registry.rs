//! The torrents of a session by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metainfo::TorrentId;
use tokio::sync::watch;

use super::identity::Identity;
use crate::engine::TorrentKey;
use crate::reactor::Plane;

/// A running torrent, as commands need it.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: TorrentKey,
    pub(super) identity: Arc<Identity>,
    /// Closes when nothing holds its files any more.
    pub(super) files: watch::Receiver<()>,
}

impl Entry {
    /// Stops the torrent and lets its files go.
    pub(super) fn remove(&self, plane: &mut Plane) {
        let now = plane.now();
        plane.engine().remove_torrent(now, self.key);
        if let Some(store) = self.identity.give_up() {
            plane.disk().detach(store);
        }
    }
}

/// Who runs, and who is on the way to. Shared with the reactor's thread, which holds the lock for a moment only.
#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<State>,
    /// How many run.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    torrents: BTreeMap<TorrentId, Option<Entry>>,
    /// What torrents that run were called before.
    former: BTreeMap<TorrentId, TorrentId>,
    closed: bool,
}

/// Why a name cannot be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is there already.
    Duplicate,
    /// The session ends.
    Closed,
}

impl Registry {
    /// Reserves a name for a torrent that is being added.
    pub(super) fn reserve(self: &Arc<Self>, id: TorrentId) -> Result<Reservation, Refused> {
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.torrents.contains_key(&id) || state.former.contains_key(&id) {
            return Err(Refused::Duplicate);
        }
        state.torrents.insert(id, None);
        Ok(Reservation { registry: Some(self.clone()), id })
    }

    /// Forgets a torrent.
    pub(super) fn remove(&self, id: TorrentId) {
        // Whoever waits for the count may take the lock, so it is let go first.
        let removed = {
            let mut state = self.state();
            state.former.retain(|_, now| *now != id);
            state.torrents.remove(&id)
        };
        if removed.flatten().is_some() {
            self.count.send_modify(|count| *count -= 1);
        }
    }

    /// A torrent that runs has another name from now on, and is found by the old one, too. `false` when another one has the new
    /// one, or is to have it.
    pub(super) fn rename(&self, from: TorrentId, to: TorrentId) -> bool {
        let mut state = self.state();
        if state.torrents.contains_key(&to) || state.former.contains_key(&to) {
            return false;
        }
        let Some(entry) = state.torrents.remove(&from) else { return false };
        if let Some(entry) = &entry {
            entry.identity.rename(to);
        }
        state.torrents.insert(to, entry);
        state.former.insert(from, to);
        true
    }

    pub(super) fn get(&self, id: TorrentId) -> Option<Entry> {
        let state = self.state();
        let id = state.former.get(&id).unwrap_or(&id);
        state.torrents.get(id).cloned().flatten()
    }

    /// All that run, in order of their names.
    pub(super) fn running(&self) -> Vec<(TorrentId, Entry)> {
        let state = self.state();
        state.torrents.iter().filter_map(|(id, entry)| Some((*id, entry.clone()?))).collect()
    }

    /// Takes no more torrents.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Tells how many run, whenever that changes.
    pub(super) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Waits until no torrent has this key.
    pub(super) async fn gone(&self, id: TorrentId, key: TorrentKey) {
        let is_gone = |_: &usize| self.get(id).is_none_or(|entry| entry.key != key);
        // It cannot close, since `self` holds the other end.
        let _ = self.count().wait_for(is_gone).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that is reserved until the torrent runs; free again when it is dropped before.
pub(super) struct Reservation {
    registry: Option<Arc<Registry>>,
    id: TorrentId,
}

impl Reservation {
    /// The torrent runs.
    pub(super) fn fulfil(mut self, entry: Entry) {
        if let Some(registry) = self.registry.take() {
            registry.state().torrents.insert(self.id, Some(entry));
            registry.count.send_modify(|count| *count += 1);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.take() {
            registry.remove(self.id);
        }
    }
}
