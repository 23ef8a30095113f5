//! Which torrents are to be looked at, and the task that does it: each by itself, so that a slow one holds up no other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metainfo::TorrentId;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::session::link::Link;
use crate::session::torrent::Torrent;

/// Torrents of which something may be finished.
#[derive(Default)]
pub(in crate::session) struct Desk {
    due: Mutex<BTreeSet<TorrentId>>,
    news: Notify,
}

impl Desk {
    /// Something of a torrent became durable.
    pub(in crate::session) fn due(&self, torrent: TorrentId) {
        self.set().insert(torrent);
        self.news.notify_one();
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<TorrentId>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those that nobody works on.
    fn take(&self, busy: &BTreeSet<TorrentId>) -> Vec<TorrentId> {
        let mut due = self.set();
        let free: Vec<_> = due.iter().copied().filter(|torrent| !busy.contains(torrent)).collect();
        free.iter().for_each(|torrent| {
            due.remove(torrent);
        });
        free
    }
}

/// Finishes for good.
pub(in crate::session) async fn run(link: Arc<Link>) {
    let mut tasks = JoinSet::new();
    let mut busy = BTreeSet::new();
    loop {
        for id in link.finisher.take(&busy) {
            let Some(torrent) = link.registry.get(id).map(|entry| Torrent::new(&link, entry)) else {
                continue;
            };
            if torrent.entry.identity.finish().is_some() {
                busy.insert(id);
                tasks.spawn(async move {
                    torrent.finish().await;
                    id
                });
            }
        }
        tokio::select! {
            () = link.finisher.news.notified() => {}
            Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                // One that panicked was reported, and is not tried again.
                if let Ok(id) = done {
                    busy.remove(&id);
                }
            }
        }
    }
}
