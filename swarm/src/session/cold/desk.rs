//! Which torrents are to be opened, and who waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metainfo::TorrentId;
use storage::record::Lease;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::open::open;
use crate::session::link::Link;
use crate::session::options::AddError;
use crate::session::registry::Entry;

/// Torrents that are opened at a time because peers need them. One more may be that the user does, or nobody.
const MAX_OPENING: usize = 3;
/// Until it is looked again whether a check of another torrent is over.
const BUSY: Duration = Duration::from_secs(1);
/// Until one that could not be opened is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(60);

/// Where others leave what there is to do.
#[derive(Default)]
pub(in crate::session) struct Desk {
    state: Mutex<State>,
    news: Notify,
    /// The engine has torrents that peers wait for.
    is_wanted: AtomicBool,
    noting: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Those that are not open, nor being opened.
    cold: HashMap<TorrentId, Cold>,
    /// Those that are being opened, as long as what is chosen of them is recorded as of those.
    opening: HashMap<TorrentId, Entry>,
    /// Those that the user waits for, in order.
    asked: VecDeque<TorrentId>,
    waiting: HashMap<TorrentId, Vec<oneshot::Sender<Result<(), AddError>>>>,
    /// Those that are not complete, and when they may be opened.
    rest: VecDeque<(Instant, TorrentId)>,
    /// Rights that are given up, which may take a disk.
    given_up: Vec<Lease>,
}

/// A torrent that is not open.
pub(super) struct Cold {
    pub(super) entry: Entry,
    /// Whoever waits for its files to be let go listens to it.
    pub(super) held: watch::Sender<()>,
    pub(super) lease: Lease,
    /// It is to be opened some time, unless it is paused.
    pub(super) wants: bool,
}

impl Desk {
    /// A torrent runs that is not open.
    pub(super) fn add(&self, id: TorrentId, cold: Cold) {
        let mut state = self.state();
        let wants = cold.wants;
        state.cold.insert(id, cold);
        if wants {
            state.rest.push_back((Instant::now(), id));
        }
    }

    /// A torrent could not be opened; whoever waits is told why.
    pub(super) fn put_back(&self, id: TorrentId, cold: Cold, error: &AddError) {
        let waiting = {
            let mut state = self.state();
            let wants = cold.wants;
            state.opening.remove(&id);
            state.cold.insert(id, cold);
            if wants {
                state.rest.push_back((Instant::now() + RETRY, id));
            }
            state.waiting.remove(&id)
        };
        answer(waiting, &Err(error.clone()));
        self.news.notify_one();
    }

    /// A torrent is open, or is gone.
    pub(super) fn done(&self, id: TorrentId, outcome: &Result<(), AddError>) {
        self.records_itself(id);
        let waiting = self.state().waiting.remove(&id);
        answer(waiting, outcome);
    }

    /// What is chosen of a torrent from now on is recorded when it is open. Who [began](Self::noting) to record it may not be done.
    pub(super) fn records_itself(&self, id: TorrentId) {
        let opened = self.state().opening.remove(&id);
        // What is dropped here takes no lock.
        drop(opened);
    }

    /// The user needs a torrent. `None` when it is open or gone.
    pub(super) fn ask(&self, id: TorrentId) -> Option<oneshot::Receiver<Result<(), AddError>>> {
        let mut state = self.state();
        let (tell, answer) = oneshot::channel();
        if state.cold.contains_key(&id) {
            if !state.waiting.contains_key(&id) {
                state.asked.push_back(id);
            }
            state.waiting.entry(id).or_default().push(tell);
        } else {
            // It is being opened.
            state.waiting.get_mut(&id)?.push(tell);
        }
        drop(state);
        self.news.notify_one();
        Some(answer)
    }

    /// A peer needs a torrent, which the engine names.
    pub(in crate::session) fn wanted(&self) {
        if !self.is_wanted.swap(true, Ordering::Relaxed) {
            self.news.notify_one();
        }
    }

    /// A torrent is not paused any more; it is opened some time if it wants anything.
    pub(in crate::session) fn unpaused(&self, id: TorrentId) {
        let mut state = self.state();
        if state.cold.get(&id).is_some_and(|cold| cold.wants) {
            state.rest.push_front((Instant::now(), id));
        }
        drop(state);
        self.news.notify_one();
    }

    /// There may be something to do.
    pub(super) fn go_on(&self) {
        self.news.notify_one();
    }

    /// To be held while what is known of torrents that are not open is recorded, or a record of one is forgotten. Blocks.
    pub(in crate::session) fn noting(&self) -> MutexGuard<'_, ()> {
        self.noting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A torrent was removed.
    pub(in crate::session) fn gone(&self, id: TorrentId) {
        self.records_itself(id);
        let (cold, waiting) = {
            let mut state = self.state();
            let (cold, waiting) = (state.cold.remove(&id), state.waiting.remove(&id));
            let (rest, lease) = cold.map(|Cold { entry, held, lease, .. }| ((entry, held), lease)).unzip();
            state.given_up.extend(lease);
            (rest, waiting)
        };
        drop((cold, waiting));
        self.news.notify_one();
    }

    /// Those of some torrents that are not open.
    pub(in crate::session) fn cold(&self, ids: &[TorrentId]) -> Vec<Entry> {
        let state = self.state();
        let find = |id| state.cold.get(id).map(|cold| &cold.entry).or_else(|| state.opening.get(id));
        ids.iter().filter_map(|id| find(id).cloned()).collect()
    }

    /// The torrent that its user has waited for longest.
    fn next_asked(&self) -> Option<(TorrentId, Cold)> {
        let mut state = self.state();
        while let Some(id) = state.asked.pop_front() {
            if let Some(cold) = state.take(id) {
                return Some((id, cold));
            }
        }
        None
    }

    /// The next one that nobody waits for, or when it may be opened.
    fn next_rest(&self, now: Instant) -> Result<(TorrentId, Cold), Option<Instant>> {
        let mut state = self.state();
        loop {
            let (at, id) = state.rest.front().copied().ok_or(None)?;
            if at > now {
                return Err(Some(at));
            }
            state.rest.pop_front();
            let is_paused = |cold: &Cold| cold.entry.identity.chosen().paused;
            if state.cold.get(&id).is_some_and(is_paused) {
                continue;
            }
            if let Some(cold) = state.take(id) {
                return Ok((id, cold));
            }
        }
    }

    fn has_rest(&self) -> bool {
        !self.state().rest.is_empty()
    }

    fn take(&self, id: TorrentId) -> Option<Cold> {
        self.state().take(id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// It is being opened from here on, and who asks for it waits for that.
    fn take(&mut self, id: TorrentId) -> Option<Cold> {
        let cold = self.cold.remove(&id)?;
        self.opening.insert(id, cold.entry.clone());
        self.waiting.entry(id).or_default();
        Some(cold)
    }
}

fn answer(waiting: Option<Vec<oneshot::Sender<Result<(), AddError>>>>, outcome: &Result<(), AddError>) {
    // Who does not listen any more needs no answer.
    waiting.into_iter().flatten().for_each(|tell| _ = tell.send(outcome.clone()));
}

/// Opens torrents for good: what the user waits for first, then what peers do, then what is not complete.
pub(in crate::session) async fn run(link: Arc<Link>) {
    let mut opening = JoinSet::new();
    let mut background = JoinSet::new();
    loop {
        let given_up = std::mem::take(&mut link.cold.state().given_up);
        if !given_up.is_empty() {
            tokio::task::spawn_blocking(move || drop(given_up));
        }
        while opening.len() <= MAX_OPENING
            && let Some((id, cold)) = next(&link, opening.len() < MAX_OPENING).await
        {
            opening.spawn(open(link.clone(), id, cold, None));
        }
        let mut due = None;
        if opening.is_empty() && background.is_empty() && link.cold.has_rest() {
            match link.checks.clone().try_acquire_owned() {
                Ok(permit) => match link.cold.next_rest(Instant::now()) {
                    Ok((id, cold)) => _ = background.spawn(open(link.clone(), id, cold, Some(permit))),
                    Err(at) => due = at,
                },
                // Another torrent is being checked.
                Err(_) => due = Some(Instant::now() + BUSY),
            }
        }
        tokio::select! {
            () = link.cold.news.notified() => {}
            Some(_) = opening.join_next(), if !opening.is_empty() => {}
            Some(_) = background.join_next(), if !background.is_empty() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

/// The next torrent that the user waits for, or `a_peer`.
async fn next(link: &Arc<Link>, a_peer: bool) -> Option<(TorrentId, Cold)> {
    if let Some(found) = link.cold.next_asked() {
        return Some(found);
    }
    loop {
        if !a_peer || !link.cold.is_wanted.swap(false, Ordering::Relaxed) {
            return None;
        }
        let asked = link.ask(|plane| {
            let engine = plane.engine();
            let key = engine.next_wanted()?;
            Some((key, engine.torrent_id(key)?))
        });
        let (key, id) = asked.await.ok()??;
        // There may be more.
        link.cold.is_wanted.store(true, Ordering::Relaxed);
        if let Some(cold) = link.cold.take(id).filter(|cold| cold.entry.key == key) {
            return Some((id, cold));
        }
    }
}
