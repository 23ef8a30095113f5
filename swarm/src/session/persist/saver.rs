//! When records are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metainfo::TorrentId;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at};

use super::batch::{self, Due, Outcome};
use super::kept::{Kept, Snapshot};
use super::queue::{Batch, Device, Queue};
use crate::engine::TorrentKey;
use crate::engine::changes::Columns;
use crate::session::cold;
use crate::session::event::Event;
use crate::session::link::Link;
use crate::session::log::Short;
use crate::session::magnet;

/// From a change to the save: what comes meanwhile is saved with it. A piece is synced within 3 s after it passed, so what was
/// verified more than 5 s earlier is recorded, as long as the disk takes no longer than that for a sync.
const DELAY: Duration = Duration::from_millis(200);
/// How often what changes all the time, such as totals, is saved.
const PERIOD: Duration = Duration::from_secs(60);
/// Devices that are saved for at a time, those that hang among them. Each has a thread.
const MAX_UNDER_WAY: usize = 64;
/// A save that takes longer is worth a word.
const SLOW: Duration = Duration::from_secs(10);

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

    pub(super) fn writing(&self) -> MutexGuard<'_, BTreeSet<TorrentId>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A torrent came to rest.
    pub(in crate::session) fn stopped(&self, torrent: TorrentKey, is_clean: bool) {
        self.stopped.send_modify(|stopped| {
            stopped.insert(torrent, is_clean);
        });
    }

    /// What came to rest before does not count.
    pub(in crate::session) fn forget_stopped(&self) {
        self.stopped.send_modify(BTreeMap::clear);
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

/// Saves for good: for each device by itself, so that a disk that hangs holds up the torrents on it, and no others.
pub(in crate::session) async fn run(link: Arc<Link>) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut queue, mut tasks) = (Queue::default(), JoinSet::new());
    let (mut gathered, mut revision) = (None, 0);
    loop {
        while tasks.len() < MAX_UNDER_WAY
            && let Some(batch) = queue.begin()
        {
            tasks.spawn(save(link.clone(), batch));
        }
        tokio::select! {
            () = link.saver.news.notified(), if gathered.is_none() => gathered = Some(Instant::now() + DELAY),
            () = sleep_until(gathered.unwrap_or_else(Instant::now)), if gathered.is_some() => {
                gathered = None;
                let changed = link.saver.take();
                changed.into_iter().for_each(|id| wait(&link, &mut queue, id, true));
            }
            _ = period.tick() => {
                let moved = moved(&link, &mut revision).await;
                let awaiting = link.magnets.awaiting(&moved);
                if !awaiting.is_empty() {
                    tokio::spawn(magnet::remember(link.clone(), awaiting));
                }
                tokio::spawn(cold::remember(link.clone(), moved.clone()));
                moved.into_iter().for_each(|id| wait(&link, &mut queue, id, false));
            }
            Some(Ok((device, again))) = tasks.join_next(), if !tasks.is_empty() => {
                queue.end(device);
                again.into_iter().for_each(|id| link.saver.changed(id));
            }
        }
    }
}

fn wait(link: &Link, queue: &mut Queue, id: TorrentId, is_changed: bool) {
    if let Some(kept) = link.registry.get(id).and_then(|entry| entry.identity.kept()) {
        queue.add(id, kept.device(), is_changed);
    }
}

/// The torrents of which anything moved, or whose trackers said anything, since the last look.
async fn moved(link: &Link, revision: &mut u64) -> Vec<TorrentId> {
    let (first, since) = (link.first_revision, *revision);
    let columns = Columns::RATES | Columns::TRACKERS;
    let asked = link.ask(move |plane| {
        let now = plane.now();
        plane.engine().changes_since(now, first, since, columns)
    });
    let Ok(delta) = asked.await else { return Vec::new() };
    *revision = delta.revision;
    delta.upserts.into_iter().map(|upsert| upsert.key).collect()
}

/// Saves torrents of a device. Gives those that are to be saved again soon.
async fn save(link: Arc<Link>, batch: Batch) -> (Device, Vec<TorrentId>) {
    let Batch { device, torrents } = batch;
    (device, try_save(&link, torrents).await.unwrap_or_default())
}

/// `None` when there is nothing to save, or the session is over.
async fn try_save(link: &Arc<Link>, torrents: Vec<(TorrentId, bool)>) -> Option<Vec<TorrentId>> {
    let known = torrents.into_iter().filter_map(|(id, is_changed)| {
        let entry = link.registry.get(id)?;
        Some((id, is_changed, entry.key, entry.identity.kept()?))
    });
    let (known, store) = (known.collect::<Vec<_>>(), link.store.clone()?);
    let keys: Vec<_> = known.iter().map(|(_, _, key, _)| *key).collect();
    let taken = link.ask(move |plane| {
        let now = plane.now();
        keys.into_iter().map(|key| Snapshot::take(plane.engine(), now, key)).collect::<Vec<_>>()
    });
    let (mut due, mut claims) = (Vec::new(), BTreeMap::new());
    for ((id, is_changed, key, kept), snapshot) in known.into_iter().zip(taken.await.ok()?) {
        let Some(snapshot) = snapshot.filter(|snapshot| is_changed || kept.is_news(snapshot)) else {
            continue;
        };
        claims.insert(id, (key, snapshot.claims().clone()));
        due.push(Due { id, kept, snapshot, is_clean: false, is_last: false });
    }
    if due.is_empty() {
        return None;
    }
    let names: Vec<_> = due.iter().map(|due| due.kept.clone()).collect();
    let mut saving = tokio::task::spawn_blocking(move || batch::save(&*store, due));
    let outcomes = match timeout(SLOW, &mut saving).await {
        Ok(outcomes) => outcomes,
        Err(_) => {
            let first = names.first().map_or("", |kept| kept.name());
            tracing::warn!(first, count = names.len(), "a disk hangs; records of torrents on it are late");
            saving.await
        }
    };
    let mut again = Vec::new();
    // If it panicked, that was reported.
    for (torrent, outcome) in outcomes.ok()? {
        match outcome {
            Outcome::Saved => {
                saved(torrent);
                continue;
            }
            Outcome::Over => {}
            Outcome::Busy => again.push(torrent),
            Outcome::Failed(error) => failed(link, torrent, error),
        }
        claims.remove(&torrent);
    }
    let told = link.ask(move |plane| {
        let now = plane.now();
        claims.values().for_each(|(key, claims)| plane.engine().recorded(now, *key, claims));
    });
    // When the session is over nobody needs to know.
    let _ = told.await;
    Some(again)
}

fn saved(torrent: TorrentId) {
    tracing::debug!(torrent = %Short(torrent), "a record was written");
}

fn failed(link: &Link, torrent: TorrentId, error: storage::record::StoreError) {
    link.tell(Event::RecordFailed { torrent, error });
}

/// A torrent that was stopped, and is to be saved a last time.
pub(in crate::session) struct Last {
    pub(in crate::session) id: TorrentId,
    pub(in crate::session) kept: Arc<Kept>,
    pub(in crate::session) snapshot: Snapshot,
    pub(in crate::session) is_clean: bool,
    /// Closes when nothing holds its files any more.
    pub(in crate::session) files: watch::Receiver<()>,
}

/// Torrents that are not saved yet, with their names.
type Unsaved = Arc<Mutex<BTreeMap<TorrentId, String>>>;

/// Saves torrents a last time, each when its files were let go, and those of each device by themselves. Gives the names of
/// those that were not saved by `end`.
pub(in crate::session) async fn finish(link: &Arc<Link>, last: Vec<Last>, end: Instant) -> Vec<String> {
    let unsaved: BTreeMap<_, _> = last.iter().map(|last| (last.id, last.kept.name().to_owned())).collect();
    let unsaved: Unsaved = Arc::new(Mutex::new(unsaved));
    let mut devices: BTreeMap<Device, Vec<Last>> = BTreeMap::new();
    last.into_iter().for_each(|last| devices.entry(last.kept.device()).or_default().push(last));
    let mut tasks = JoinSet::new();
    for last in devices.into_values() {
        tasks.spawn(finish_device(link.clone(), last, unsaved.clone()));
    }
    // What is not saved in time is checked at the next start.
    let _ = timeout_at(end, tasks.join_all()).await;
    let unsaved = unsaved.lock().unwrap_or_else(PoisonError::into_inner);
    unsaved.values().cloned().collect()
}

async fn finish_device(link: Arc<Link>, last: Vec<Last>, unsaved: Unsaved) {
    let Some(store) = link.store.clone() else { return };
    let mut waiting = JoinSet::new();
    for Last { id, kept, snapshot, is_clean, mut files } in last {
        waiting.spawn(async move {
            // The channel never carries anything: it closes when the files are let go.
            let _ = files.changed().await;
            Due { id, kept, snapshot, is_clean, is_last: true }
        });
    }
    while let Some(first) = waiting.join_next().await {
        let mut due: Vec<_> = first.into_iter().collect();
        while due.len() < super::queue::BATCH
            && let Some(next) = waiting.try_join_next()
        {
            due.extend(next);
        }
        let (store, unsaved) = (store.clone(), unsaved.clone());
        let saving = tokio::task::spawn_blocking(move || {
            let kept: Vec<_> = due.iter().map(|due| due.kept.clone()).collect();
            let outcomes = batch::save(&*store, due);
            kept.iter().for_each(|kept| kept.end());
            let mut unsaved = unsaved.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.iter().for_each(|(id, _)| drop(unsaved.remove(id)));
            outcomes
        });
        for (torrent, outcome) in saving.await.unwrap_or_default() {
            match outcome {
                Outcome::Saved => saved(torrent),
                Outcome::Failed(error) => failed(&link, torrent, error),
                Outcome::Over | Outcome::Busy => {}
            }
        }
    }
}
