//! Making a torrent whole when its metadata came: parse them, open the files, check what is there, and run it.
//!
//! ```text
//!   reactor's thread                      this task                      a blocking thread
//!   await_metadata ─▶ came ─────────────▶ Work::Furnish ───────────────▶ parse
//!                                         Event::Metadata ─────────────▶ open, claim, check
//!   Engine::furnish ◀───────────────────── ask
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metainfo::{Edit, TorrentId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::MagnetOptions;
use crate::engine::AddTorrent;
use crate::engine::candidates::Source;
use crate::engine::scope::Scope;
use crate::session::add::{self, Opened};
use crate::session::claims::Claimed;
use crate::session::event::Event;
use crate::session::identity::{Place, Running};
use crate::session::link::{Link, Unavailable};
use crate::session::options::{AddError, AddOptions};
use crate::session::persist::Begun;
use crate::session::registry::Entry;
use crate::session::torrent::Torrent;

/// Torrents that are made whole, or names that are looked up, at a time.
const MAX_UNDER_WAY: usize = 16;

/// Where the reactor's thread leaves what there is to do. Everything in it belongs to a torrent that runs.
#[derive(Default)]
pub(in crate::session) struct Desk {
    state: Mutex<Waiting>,
    news: Notify,
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
    Furnish { id: TorrentId, wanted: Box<Wanted>, info: Arc<[u8]> },
    Resolve { id: TorrentId, names: Vec<(String, u16)> },
}

impl Desk {
    /// A torrent awaits its metadata.
    pub(super) fn await_metadata(&self, id: TorrentId, wanted: Wanted) {
        self.waiting().awaiting.insert(id, wanted);
    }

    /// The metadata of a torrent are there, and match its hashes.
    pub(in crate::session) fn came(&self, id: TorrentId, info: Arc<[u8]>) {
        let mut waiting = self.waiting();
        let Some(wanted) = waiting.awaiting.remove(&id) else { return };
        waiting.work.push(Work::Furnish { id, wanted: wanted.into(), info });
        drop(waiting);
        self.news.notify_one();
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
            let entry = wanted.entry.clone();
            let Err(error) = furnish(&link, id, *wanted, info).await else { return };
            // It would wait for good.
            link.tell(Event::Refused { torrent: id, error });
            // A session that is over has removed everything.
            let _ = link.ask(move |plane| entry.remove(plane)).await;
        }
        Work::Resolve { id, names } => {
            for (host, port) in names {
                let Some(entry) = link.registry.get(id) else { return };
                let Ok(found) = link.resolver.lookup(&host, port, None).await else { continue };
                let added = link.ask(move |plane| {
                    let now = plane.now();
                    plane.engine().add_peers(now, entry.key, &found, Source::User, Scope::Loopback);
                });
                if added.await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Makes a torrent whole, unless only its metadata are asked for.
async fn furnish(link: &Arc<Link>, id: TorrentId, wanted: Wanted, info: Arc<[u8]>) -> Result<(), AddError> {
    let Wanted { entry, options, held } = wanted;
    let magnet = options.magnet.clone();
    let parsed = tokio::task::spawn_blocking(move || parse(&info, &magnet));
    let meta = Arc::new(parsed.await.map_err(|_| AddError::Cancelled)??);
    entry.identity.found(meta.clone());
    link.tell(Event::Metadata { torrent: id });
    let selection = entry.identity.choice().decide(&meta)?;
    let Some(options) = options.found(meta, selection) else { return Ok(()) };
    let permit = link.checks.clone().acquire_owned().await.map_err(|_| Unavailable::Over)?;
    let (opener, identity) = (link.clone(), entry.identity.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        add::open(&opener, &options, identity.given_up()).map(|opened| (opened, options))
    });
    let (opened, options) = opened.await.map_err(|_| AddError::Cancelled)??;
    // It may have been chosen again while the files were being opened.
    let selection = entry.identity.choice().decide(&options.torrent)?;
    if selection != options.files {
        let (files, left_out) = (opened.begun.files.clone(), selection.left_out(&options.torrent));
        let kept = tokio::task::spawn_blocking(move || files.set_skipped(&left_out));
        kept.await.map_err(|_| AddError::Cancelled)??;
    }
    let (saver, moved) = (link.clone(), entry.clone());
    let begun = link.ask(move |plane| begin(&saver, plane, &entry, opened, &options, held));
    begun.await??;
    Torrent::new(link, id, moved).go_on_moving();
    Ok(())
}

/// The torrent that an info dictionary describes, with the trackers and web seeds of its magnet.
fn parse(info: &[u8], magnet: &metainfo::Magnet) -> Result<metainfo::Torrent, AddError> {
    let parsed = || {
        let mut edit = Edit::from_info(info)?;
        edit.set_from_magnet(magnet);
        metainfo::Torrent::parse(&edit.finish()?)
    };
    let torrent = parsed().map_err(AddError::Metadata)?;
    if torrent.info_hashes().v1() != magnet.info_hashes.v1() {
        return Err(AddError::V2Only(torrent.name().to_owned()));
    }
    Ok(torrent)
}

/// Runs it, on the reactor's thread. Its choices hold before the first request goes out.
fn begin(
    link: &Link,
    plane: &mut crate::reactor::Plane,
    entry: &Entry,
    opened: Opened,
    options: &AddOptions,
    held: watch::Sender<()>,
) -> Result<(), AddError> {
    let meta = &options.torrent;
    // It may have been chosen again even now.
    let files = entry.identity.choice().decide(meta)?;
    let options = AddOptions { files, ..options.clone() };
    let Begun { files, have, partial, peers, kept, finish, .. } = opened.begun;
    let priorities = add::priorities(&options, &have);
    let claimed = Claimed { files, claim: opened.claim.into(), held: held.into() };
    let place = Place::of(&claimed);
    let store = plane.disk().attach(Arc::new(claimed), meta.clone());
    let (now, is_full) = (plane.now(), have.is_full());
    let add = AddTorrent { partial, recorded: kept.is_some(), ..AddTorrent::new(meta.clone(), store, have) };
    if !plane.engine().furnish(now, entry.key, add, priorities) {
        plane.disk().detach(store);
        return Err(AddError::Cancelled);
    }
    entry.identity.opened(Running { store, place, writes: true, kept, finish });
    link.saver.writes(meta.id(), !is_full);
    plane.engine().set_order(now, entry.key, entry.identity.order());
    plane.engine().add_peers(now, entry.key, &peers, Source::Resume, Scope::Loopback);
    Ok(())
}
