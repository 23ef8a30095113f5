//! What is done with files when they are complete: they get their final names, go where they are to be, and are given to other
//! folders.
//!
//! ```text
//!   reactor's thread              this task                       a blocking thread
//!   Synced, Complete ──▶ due ───▶ which pieces are durable?
//!                                 ask ◀─── ResumeState
//!                                 spawn ────────────────────────▶ finish_file, of each that is whole
//!                                                                 relocate, link_to, when all that is wanted is
//! ```
//!
//! Only what is durable is finished. Each step can be repeated, so whatever a crash leaves undone is done at the next start;
//! what fails is tried again once a minute.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metainfo::TorrentId;
use storage::Linked;
use storage::record::{Finishing, LinkTo};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use wire::peer::Bitfield;

use super::event::Event;
use super::files_error::FilesError;
use super::link::{Link, Unavailable};
use super::relocating::Change;
use super::torrent::Torrent;

/// After a failure.
const AGAIN: Duration = Duration::from_secs(60);

/// What is to be done with the files of a torrent.
pub(super) struct Finish {
    /// The torrent's own folder, named in one way (canonical).
    home: Mutex<PathBuf>,
    rules: Mutex<Finishing>,
    /// Files that have their final names, by index.
    named: Mutex<BTreeSet<usize>>,
    /// How often somebody asked for a look.
    asked: AtomicU64,
    state: watch::Sender<Look>,
}

/// What a look found.
#[derive(Debug, Default)]
struct Look {
    /// How often it was asked for when it began.
    asked: u64,
    found: State,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum State {
    /// Something is missing, or was not looked at yet.
    #[default]
    Open,
    /// Nothing is left to be done.
    Settled,
    /// It could not be done, and is tried again.
    Failed(FilesError),
}

impl Finish {
    pub(super) fn new(home: PathBuf, rules: Finishing) -> Arc<Self> {
        Arc::new(Self {
            home: Mutex::new(home),
            rules: Mutex::new(rules),
            named: Mutex::default(),
            asked: AtomicU64::new(0),
            state: watch::Sender::default(),
        })
    }

    pub(super) fn home(&self) -> PathBuf {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn rules(&self) -> Finishing {
        self.lock().clone()
    }

    /// Whether the files lie elsewhere until all that is wanted is there.
    pub(super) fn is_away(&self) -> bool {
        self.lock().unfinished_in.is_some()
    }

    /// The files lie in this folder now, which is the torrent's own.
    pub(super) fn placed(&self, home: &Path) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = home.to_owned();
        self.lock().unfinished_in = None;
    }

    fn lock(&self) -> MutexGuard<'_, Finishing> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how it is. Whether that is new.
    fn tell(&self, asked: u64, found: &State) -> bool {
        self.state.send_replace(Look { asked, found: found.clone() }).found != *found
    }
}

/// Torrents of which something may be finished.
#[derive(Default)]
pub(super) struct Desk {
    due: Mutex<BTreeSet<TorrentId>>,
    news: Notify,
}

impl Desk {
    /// Something of a torrent became durable.
    pub(super) fn due(&self, torrent: TorrentId) {
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
pub(super) async fn run(link: Arc<Link>) {
    let mut tasks = JoinSet::new();
    let mut busy = BTreeSet::new();
    loop {
        for id in link.finisher.take(&busy) {
            let Some(torrent) = link.registry.get(id).map(|entry| Torrent::new(&link, id, entry)) else {
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

/// What can be finished.
struct Ready {
    durable: Bitfield,
    /// All that is wanted is there and durable.
    is_all: bool,
}

impl Torrent {
    /// Waits until all that is wanted is there, durable, under its final name, and where it is to be.
    ///
    /// # Errors
    /// When that cannot be done now, though it is tried again once a minute; or when the torrent or its session is gone.
    pub async fn wait_settled(&self) -> Result<(), FilesError> {
        let Some(finish) = self.entry.identity.finish() else { return Ok(()) };
        // What was found before may not be so any more.
        let asked = finish.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut state = finish.state.subscribe();
        let mut files = self.entry.files.clone();
        self.link.finisher.due(self.id);
        loop {
            match &*state.borrow_and_update() {
                Look { asked: before, .. } if *before < asked => {}
                Look { found: State::Open, .. } => {}
                Look { found: State::Settled, .. } => return Ok(()),
                Look { found: State::Failed(error), .. } => return Err(error.clone()),
            }
            tokio::select! {
                // It cannot close, since the torrent holds the other end.
                _ = state.changed() => {}
                // The channel never carries anything: it closes when the files are let go.
                _ = files.changed() => return Err(Unavailable::Removed.into()),
            }
        }
    }

    /// Whether something is to be done with its files when they are complete.
    pub fn is_to_settle(&self) -> bool {
        self.entry.identity.finish().is_some()
    }

    async fn finish(&self) {
        let Some(finish) = self.entry.identity.finish() else { return };
        let asked = finish.asked.load(Ordering::SeqCst);
        // Of a torrent that is gone nobody wants to know.
        let Ok(ready) = self.ready().await else { return };
        if !ready.is_all {
            finish.tell(asked, &State::Open);
        }
        let (is_all, work, torrent) = (ready.is_all, finish.clone(), self.clone());
        let done = self.change(move |change| change.finish(&work, &ready, &torrent)).await;
        match done {
            Ok(()) if is_all => {
                if finish.tell(asked, &State::Settled) {
                    self.link.tell(Event::Settled { torrent: self.id });
                }
            }
            Ok(()) | Err(FilesError::Cancelled | FilesError::NotOpen) => {}
            Err(error) => {
                tracing::warn!(%error, "files cannot be finished");
                if finish.tell(asked, &State::Failed(error.clone())) {
                    self.link.tell(Event::FinishFailed { torrent: self.id, error });
                }
                let (link, id) = (Arc::downgrade(&self.link), self.id);
                tokio::spawn(async move {
                    tokio::time::sleep(AGAIN).await;
                    if let Some(link) = link.upgrade() {
                        link.finisher.due(id);
                    }
                });
            }
        }
    }

    /// Asks what is durable, and has made durable what is not if nothing else is missing.
    async fn ready(&self) -> Result<Ready, Unavailable> {
        let key = self.entry.key;
        self.ask(move |plane, now| {
            let resume = plane.engine().resume_state(now, key)?;
            let status = plane.engine().torrent_status(now, key)?;
            let is_there = status.activity.is_seeding();
            let is_durable = resume.have.iter_ones().all(|piece| resume.clean.get(piece));
            if is_there && !is_durable {
                plane.engine().sync(now, key);
            }
            Some(Ready { durable: resume.clean, is_all: is_there && is_durable })
        })
        .await
    }
}

impl Change<'_> {
    /// Blocks.
    fn finish(&self, finish: &Finish, ready: &Ready, torrent: &Torrent) -> Result<(), FilesError> {
        let whole = self.whole(&ready.durable);
        let named = if finish.rules().suffix.is_some() { self.finish_names(finish, &whole) } else { Ok(()) };
        if !ready.is_all {
            return named;
        }
        if finish.is_away() {
            torrent.move_now(self, finish.home())?;
        }
        self.give(finish, &whole, torrent)?;
        named
    }

    /// Takes the suffix off these files. One that cannot be renamed does not keep the others.
    fn finish_names(&self, finish: &Finish, whole: &[usize]) -> Result<(), FilesError> {
        let files = &self.held.files;
        let mut named = finish.named.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut done, mut failed) = (Vec::new(), None);
        for index in whole.iter().filter(|index| !named.contains(*index)) {
            match files.finish_file(*index) {
                Ok(()) => done.push(*index),
                Err(error) => failed = Some(error),
            }
        }
        if !done.is_empty() {
            storage::Storage::sync(&**files)?;
            let created = files.created();
            self.amend(|state| state.created = created)?;
            named.extend(done);
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Gives these files to the other folder, unless that was done.
    fn give(&self, finish: &Finish, whole: &[usize], torrent: &Torrent) -> Result<(), FilesError> {
        let Some(LinkTo { dir, mode, done }) = finish.rules().link else { return Ok(()) };
        let count = u32::try_from(whole.len()).unwrap_or(u32::MAX);
        if done >= count {
            return Ok(());
        }
        let linked: Linked = self.held.files.link_to(&dir, mode, whole)?;
        let link = Some(LinkTo { dir: dir.clone(), mode, done: count });
        self.amend(|state| state.finishing.link.clone_from(&link))?;
        finish.lock().link = link;
        torrent.link.tell(Event::Linked { torrent: torrent.id, to: dir, linked });
        Ok(())
    }

    /// The files of which every piece is there, by index.
    fn whole(&self, have: &Bitfield) -> Vec<usize> {
        let layout = self.meta.layout();
        let is_stored = |file: &metainfo::File| !file.is_pad() && !file.attributes.symlink;
        let is_whole =
            |index: usize| layout.file_pieces(index).into_iter().flatten().all(|piece| have.get(piece));
        let stored = layout.files().iter().enumerate().filter(|(_, file)| is_stored(file));
        stored.map(|(index, _)| index).filter(|index| is_whole(*index)).collect()
    }
}
