//! What is to be done for torrents that await their metadata.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metainfo::TorrentId;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::MagnetOptions;
use super::furnish::{Known, complete};
use crate::engine::candidates::Source;
use crate::engine::metadata::Info;
use crate::engine::scope::Scope;
use crate::session::event::Event;
use crate::session::link::Link;
use crate::session::options::AddError;
use crate::session::persist;
use crate::session::registry::Entry;

/// Torrents that are made whole, or names that are looked up, at a time.
const MAX_UNDER_WAY: usize = 16;

/// Where the reactor's thread leaves what there is to do. Everything in it belongs to a torrent that runs.
#[derive(Default)]
pub(in crate::session) struct Desk {
    state: Mutex<Waiting>,
    news: Notify,
    /// Held by whoever writes or forgets the record of a magnet, on a thread that may block.
    noting: Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    /// Those without metadata.
    awaiting: HashMap<TorrentId, Wanted>,
    work: Vec<Work>,
}

/// A torrent that awaits its metadata.
pub(super) struct Wanted {
    pub(super) entry: Entry,
    pub(super) options: MagnetOptions,
    /// Whoever waits for its files to be let go listens to it.
    pub(super) held: watch::Sender<()>,
}

enum Work {
    Furnish { id: TorrentId, wanted: Box<Wanted>, info: Info },
    Resolve { id: TorrentId, names: Vec<(String, u16)> },
}

impl Desk {
    /// A torrent awaits its metadata.
    pub(super) fn await_metadata(&self, id: TorrentId, wanted: Wanted) {
        self.waiting().awaiting.insert(id, wanted);
    }

    /// The metadata of a torrent are there, and match its hashes.
    pub(in crate::session) fn came(&self, id: TorrentId, info: Info) {
        let mut waiting = self.waiting();
        let Some(wanted) = waiting.awaiting.remove(&id) else { return };
        waiting.work.push(Work::Furnish { id, wanted: wanted.into(), info });
        drop(waiting);
        self.news.notify_one();
    }

    /// What is to be done with a torrent when its metadata are there, if that is still so; it is not done by anybody else then.
    pub(super) fn take(&self, id: TorrentId, fits: impl FnOnce(&Wanted) -> bool) -> Option<Wanted> {
        let mut waiting = self.waiting();
        waiting.awaiting.get(&id).filter(|wanted| fits(wanted))?;
        waiting.awaiting.remove(&id)
    }

    /// Changes what is to be done with a torrent when its metadata are there; `None` when they are.
    pub(super) fn amend<R>(&self, id: TorrentId, amend: impl FnOnce(&mut Wanted) -> R) -> Option<R> {
        self.waiting().awaiting.get_mut(&id).map(amend)
    }

    /// The same, as it is chosen now.
    fn chosen(&self, id: TorrentId) -> Option<(Entry, MagnetOptions)> {
        self.amend(id, |Wanted { entry, options, .. }| {
            let (files, order) = (entry.identity.choice(), entry.identity.order());
            (entry.clone(), MagnetOptions { files, order, ..options.clone() })
        })
    }

    /// To be held while the record of a magnet is written or forgotten. Blocks.
    pub(in crate::session) fn noting(&self) -> MutexGuard<'_, ()> {
        self.noting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A torrent was removed.
    pub(in crate::session) fn gone(&self, id: TorrentId) {
        let mut waiting = self.waiting();
        // What is dropped here takes no lock.
        waiting.awaiting.remove(&id);
        waiting.work.retain(
            |work| !matches!(work, Work::Furnish { id: of, .. } | Work::Resolve { id: of, .. } if *of == id),
        );
    }

    /// Peers of a torrent have names that are to be looked up.
    pub(super) fn resolve(&self, id: TorrentId, names: Vec<(String, u16)>) {
        if !names.is_empty() {
            self.waiting().work.push(Work::Resolve { id, names });
            self.news.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the desk for good.
pub(in crate::session) async fn run(link: Arc<Link>) {
    let mut tasks = JoinSet::new();
    loop {
        let room = MAX_UNDER_WAY.saturating_sub(tasks.len());
        let work: Vec<_> = {
            let mut waiting = link.magnets.waiting();
            let count = waiting.work.len().min(room);
            waiting.work.drain(..count).collect()
        };
        for work in work {
            tasks.spawn(perform(link.clone(), work));
        }
        tokio::select! {
            () = link.magnets.news.notified() => {}
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

async fn perform(link: Arc<Link>, work: Work) {
    match work {
        Work::Furnish { id, wanted, info } => {
            // What went wrong is told by an event.
            let _ = complete(link, id, *wanted, Known::Info(info)).await;
        }
        Work::Resolve { id, names } => {
            for (host, port) in names {
                let Some(entry) = link.registry.get(id) else { return };
                let Ok(found) = link.resolver.lookup(&host, port, None).await else { continue };
                let added = link.ask(move |plane| {
                    let now = plane.now();
                    plane.engine().add_peers(now, entry.key, &found, Source::Link, Scope::Loopback);
                });
                if added.await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Records what was chosen for a torrent, if it still awaits its metadata; else its record says so already, or will.
pub(in crate::session) async fn note(link: &Arc<Link>, id: TorrentId) {
    let Some(store) = link.store.clone() else { return };
    let noter = link.clone();
    let noted = tokio::task::spawn_blocking(move || {
        let _noting = noter.magnets.noting();
        let Some((entry, options)) = noter.magnets.chosen(id) else { return Ok(()) };
        if let Some(note) = persist::magnet::note(store, &noter.registry, &options)? {
            entry.identity.noted(note.keep());
        }
        Ok(())
    });
    let Ok(Err(error)) = noted.await else { return };
    tracing::warn!(%error, "what was chosen for a magnet is not recorded");
    if let AddError::Store(error) = error {
        link.tell(Event::RecordFailed { torrent: id, error });
    }
}
