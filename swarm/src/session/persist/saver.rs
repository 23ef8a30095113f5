//! When records are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use metainfo::TorrentId;
use storage::FileStorage;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::kept::{Kept, Snapshot};
use crate::engine::TorrentKey;
use crate::session::event::Event;
use crate::session::link::Link;

/// From a change to the save: what comes meanwhile is saved with it. A piece is synced within 3 s after it passed, so what was
/// verified more than 5 s earlier is recorded, as long as the disk takes no longer than that for a sync.
const DELAY: Duration = Duration::from_millis(200);
/// How often it is looked how much room there is.
const LOOK: Duration = Duration::from_secs(2);
/// How often what changes all the time, such as totals, is saved.
const PERIOD: Duration = Duration::from_secs(60);

/// What is to be saved.
#[derive(Default)]
pub(in crate::session) struct Saver {
    changed: Mutex<BTreeSet<TorrentId>>,
    news: Notify,
    /// Torrents that are written to.
    writing: Mutex<BTreeSet<TorrentId>>,
    /// Torrents that came to rest, and whether all of them is durable.
    stopped: watch::Sender<BTreeMap<TorrentKey, bool>>,
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

    /// A torrent is written to, or not any more.
    pub(in crate::session) fn writes(&self, torrent: TorrentId, is_written: bool) {
        if is_written {
            self.writing().insert(torrent);
        } else {
            self.writing().remove(&torrent);
        }
    }

    fn writing(&self) -> MutexGuard<'_, BTreeSet<TorrentId>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A torrent came to rest.
    pub(in crate::session) fn stopped(&self, torrent: TorrentKey, is_clean: bool) {
        self.stopped.send_modify(|stopped| {
            stopped.insert(torrent, is_clean);
        });
    }

    /// Waits until these came to rest, or until `end`. Gives those that did.
    pub(in crate::session) async fn rest(
        &self,
        torrents: &[TorrentKey],
        end: Instant,
    ) -> BTreeMap<TorrentKey, bool> {
        let mut stopped = self.stopped.subscribe();
        let all = |stopped: &BTreeMap<_, _>| torrents.iter().all(|torrent| stopped.contains_key(torrent));
        // It cannot close, since `self` holds the other end.
        let _ = timeout_at(end, stopped.wait_for(all)).await;
        self.stopped.borrow().clone()
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
                running.filter(|(_, entry)| entry.identity.kept().is_some()).for_each(|(id, _)| link.saver.changed(id));
            }
        }
        save(&link, link.saver.take()).await;
    }
}

/// Tells the engine for good how much room there is where torrents are written to.
pub(in crate::session) async fn watch_space(link: Arc<Link>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let watched = link.saver.writing().clone().into_iter();
        let entries = watched.filter_map(|id| link.registry.get(id));
        let places: Vec<_> = entries.filter_map(|entry| entry.identity.place()).collect();
        if places.is_empty() {
            continue;
        }
        let looked = tokio::task::spawn_blocking(move || {
            let room = |place: &Weak<FileStorage>| place.upgrade()?.free_space().ok();
            places.iter().filter_map(|(store, place)| Some((*store, room(place)?))).collect::<Vec<_>>()
        });
        let Ok(looked) = looked.await else { continue };
        // When the session is over nobody needs to know.
        let _ = link
            .ask(move |plane| {
                let now = plane.now();
                looked.into_iter().for_each(|(store, free)| plane.engine().set_space(now, store, free));
            })
            .await;
    }
}

/// Saves these torrents, one after another: their files and records are on few disks.
async fn save(link: &Arc<Link>, torrents: BTreeSet<TorrentId>) {
    for id in torrents {
        let Some(entry) = link.registry.get(id) else { continue };
        let (key, Some(kept)) = (entry.key, entry.identity.kept()) else { continue };
        let taken = link.ask(move |plane| {
            let now = plane.now();
            Snapshot::take(plane.engine(), now, key)
        });
        let Ok(Some(snapshot)) = taken.await else { continue };
        let claims = snapshot.claims().clone();
        let saved = tokio::task::spawn_blocking(move || kept.save(snapshot)).await;
        match saved {
            Ok(Ok(())) => {
                let told = link.ask(move |plane| {
                    let now = plane.now();
                    plane.engine().recorded(now, key, &claims);
                });
                // When the session is over nobody needs to know.
                let _ = told.await;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the state of a torrent is not recorded");
                link.tell(Event::RecordFailed { torrent: id, error });
            }
            // It panicked, and was reported.
            Err(_) => {}
        }
    }
}

/// The last save of a torrent that was stopped: when `files` says that nothing holds them any more.
pub(in crate::session) async fn finish(
    link: &Link,
    torrent: TorrentId,
    kept: Arc<Kept>,
    snapshot: Snapshot,
    is_clean: bool,
    mut files: watch::Receiver<()>,
) {
    // The channel never carries anything: it closes when the files are let go.
    let _ = files.changed().await;
    let saved = tokio::task::spawn_blocking(move || kept.finish(snapshot, is_clean)).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!(%error, "the state of a torrent is not recorded");
        link.tell(Event::RecordFailed { torrent, error });
    }
}
