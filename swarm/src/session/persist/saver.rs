//! When records are written.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metainfo::TorrentId;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::kept::{Kept, Snapshot};
use crate::session::event::Event;
use crate::session::link::Link;

/// From a change to the save: what comes meanwhile is saved with it. With the time that the disk takes it stays below the 5 s
/// after which nothing that was verified is forgotten.
const DELAY: Duration = Duration::from_secs(2);
/// How often what changes all the time, such as totals, is saved.
const PERIOD: Duration = Duration::from_secs(60);

/// What is to be saved.
#[derive(Default)]
pub(in crate::session) struct Saver {
    changed: Mutex<BTreeSet<TorrentId>>,
    news: Notify,
}

impl Saver {
    /// A torrent has something to record.
    pub(in crate::session) fn changed(&self, torrent: TorrentId) {
        let is_first = {
            let mut changed = self.set();
            changed.insert(torrent) && changed.len() == 1
        };
        if is_first {
            self.news.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<TorrentId> {
        std::mem::take(&mut *self.set())
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<TorrentId>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Saves for good.
pub(in crate::session) async fn run(link: Arc<Link>) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = link.saver.news.notified() => sleep(DELAY).await,
            _ = period.tick() => {
                let running = link.registry.running().into_iter();
                running.filter(|(_, entry)| entry.kept.is_some()).for_each(|(id, _)| link.saver.changed(id));
            }
        }
        save(&link, link.saver.take()).await;
    }
}

/// Saves these torrents, one after another: their files and records are on few disks.
async fn save(link: &Arc<Link>, torrents: BTreeSet<TorrentId>) {
    for id in torrents {
        let Some(entry) = link.registry.get(id) else { continue };
        let (key, Some(kept)) = (entry.key, entry.kept) else { continue };
        let taken = link.ask(move |plane| {
            let now = plane.now();
            Snapshot::take(plane.engine(), now, key)
        });
        let Ok(Some(snapshot)) = taken.await else { continue };
        let saved = tokio::task::spawn_blocking(move || kept.save(&snapshot)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(%error, "the state of a torrent is not recorded");
            link.tell(Event::RecordFailed { torrent: id, error });
        }
    }
}

/// The last save of a torrent that was stopped: when `files` says that nothing holds them any more.
pub(in crate::session) async fn finish(
    link: &Link,
    torrent: TorrentId,
    kept: Arc<Kept>,
    snapshot: Snapshot,
    mut files: watch::Receiver<()>,
) {
    // The channel never carries anything: it closes when the files are let go.
    let _ = files.changed().await;
    let saved = tokio::task::spawn_blocking(move || kept.finish(&snapshot)).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!(%error, "the state of a torrent is not recorded");
        link.tell(Event::RecordFailed { torrent, error });
    }
}
