//! What is to be done for torrents that await their metadata.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metainfo::{Torrent as Meta, TorrentId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::MagnetOptions;
use super::furnish::{Known, complete};
use super::layers;
use super::named::{self, Named};
use crate::engine::layers::Layers;
use crate::engine::metadata::Info;
use crate::session::identity::Chosen;
use crate::session::link::Link;
use crate::session::options::AsBefore;
use crate::session::registry::Entry;

/// Torrents that are made whole at a time.
const MAX_UNDER_WAY: usize = 16;

/// Where the reactor's thread leaves what there is to do. Everything in it belongs to a torrent that runs.
#[derive(Default)]
pub(in crate::session) struct Desk {
    state: Mutex<Waiting>,
    news: Notify,
    /// Names of peers that are to be looked up.
    named: Named,
    /// Held by whoever writes or forgets the record of a magnet, on a thread that may block.
    noting: Mutex<()>,
    /// Whether what trackers asked for is being recorded.
    pub(super) is_remembering: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    /// Those without metadata, or without piece layers.
    awaiting: HashMap<TorrentId, Wanted>,
    work: Vec<Work>,
}

/// A torrent that awaits its metadata.
pub(super) struct Wanted {
    pub(super) entry: Entry,
    pub(super) options: MagnetOptions,
    /// Whoever waits for its files to be let go listens to it.
    pub(super) held: watch::Sender<()>,
    /// What it is, if that is known and its piece layers lack.
    pub(super) found: Option<Arc<Meta>>,
}

/// A torrent of which something came, or of which nothing can come.
struct Work {
    id: TorrentId,
    wanted: Box<Wanted>,
    known: Known,
}

impl Desk {
    /// A torrent awaits its metadata, or its piece layers.
    pub(super) fn await_metadata(&self, id: TorrentId, wanted: Wanted) {
        self.waiting().awaiting.insert(id, wanted);
    }

    /// The metadata of a torrent are there, and match its hashes; or no metadata can match them.
    pub(in crate::session) fn came(&self, id: TorrentId, info: Option<Info>) {
        let mut waiting = self.waiting();
        let Some(wanted) = waiting.awaiting.remove(&id) else { return };
        let known = info.map_or(Known::Contradiction, Known::Info);
        waiting.work.push(Work { id, wanted: wanted.into(), known });
        drop(waiting);
        self.news.notify_one();
    }

    /// The piece layers of a torrent that lacked are there, and proven; `None`: it is to do without, if they still lack and it can.
    pub(in crate::session) fn layers_came(&self, id: TorrentId, layers: Option<Layers>) {
        let mut waiting = self.waiting();
        let is_to_go_on = |wanted: &Wanted| {
            let found = wanted.found.as_ref();
            let can_do_without = |meta: &Arc<Meta>| layers::can_do_without(meta, &wanted.options);
            found.is_some_and(|meta| layers.is_some() || can_do_without(meta))
        };
        if !waiting.awaiting.get(&id).is_some_and(is_to_go_on) {
            return;
        }
        let Some(mut wanted) = waiting.awaiting.remove(&id) else { return };
        if let Some(meta) = wanted.found.take() {
            let known = Known::Layers(meta, layers);
            waiting.work.push(Work { id, wanted: wanted.into(), known });
        }
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
    pub(super) fn chosen(&self, id: TorrentId) -> Option<(Entry, MagnetOptions)> {
        self.amend(id, |Wanted { entry, options, .. }| {
            let Chosen { files, order, limits: [down_limit, up_limit], .. } = entry.identity.chosen();
            // It is what counts now, whatever was recorded.
            let as_before = AsBefore::default();
            (
                entry.clone(),
                MagnetOptions { files, order, down_limit, up_limit, as_before, ..options.clone() },
            )
        })
    }

    /// Those of some torrents that await their metadata.
    pub(in crate::session) fn awaiting(&self, ids: &[TorrentId]) -> Vec<TorrentId> {
        let waiting = self.waiting();
        ids.iter().copied().filter(|id| waiting.awaiting.contains_key(id)).collect()
    }

    /// A torrent is told of one more tracker.
    pub(in crate::session) fn add_tracker(&self, id: TorrentId, url: &str) {
        self.amend(id, |Wanted { options, .. }| {
            if !options.all_trackers().any(|known| known == url) {
                options.trackers.push(url.to_owned());
            }
        });
    }

    /// Names of peers that are to be looked up.
    pub(super) fn named(&self) -> &Named {
        &self.named
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
        waiting.work.retain(|work| work.id != id);
        drop(waiting);
        self.named.gone(id);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the desk for good.
pub(in crate::session) async fn run(link: Arc<Link>) {
    tokio::join!(furnish(&link), named::run(&link));
}

async fn furnish(link: &Arc<Link>) {
    let mut tasks = JoinSet::new();
    loop {
        let room = MAX_UNDER_WAY.saturating_sub(tasks.len());
        let work: Vec<_> = {
            let mut waiting = link.magnets.waiting();
            let count = waiting.work.len().min(room);
            waiting.work.drain(..count).collect()
        };
        for Work { wanted, known, .. } in work {
            // What goes wrong is told by an event.
            tasks.spawn(complete(link.clone(), *wanted, known));
        }
        tokio::select! {
            () = link.magnets.news.notified() => {}
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}
