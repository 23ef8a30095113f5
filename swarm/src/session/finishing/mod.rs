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

mod desk;
mod steps;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use storage::record::Finishing;
use tokio::sync::watch;
use wire::peer::Bitfield;

use super::event::Event;
use super::files_error::FilesError;
use super::link::Unavailable;
use super::torrent::Torrent;
pub(super) use desk::{Desk, run};

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

/// What can be finished.
struct Ready {
    durable: Bitfield,
    /// All that is wanted is there and durable.
    is_all: bool,
}

impl Torrent {
    /// Waits until all that is wanted is there, durable, under its final name, and where it is to be. A move that an earlier run had
    /// begun comes to its end first.
    ///
    /// # Errors
    /// When that cannot be done now, though it is tried again once a minute; or when the torrent or its session is gone.
    pub async fn wait_settled(&self) -> Result<(), FilesError> {
        self.end_move().await?;
        let Some(finish) = self.entry.identity.finish() else { return Ok(()) };
        // What was found before may not be so any more.
        let asked = finish.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut state = finish.state.subscribe();
        let mut files = self.entry.files.clone();
        self.link.finisher.due(self.id());
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

    /// Whether something is to be done with its files when they are complete, or a move of them goes on.
    pub fn is_to_settle(&self) -> bool {
        self.entry.identity.finish().is_some() || self.pending_move().is_some()
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
                    self.link.tell(Event::Settled { torrent: self.id() });
                }
            }
            Ok(()) | Err(FilesError::Cancelled | FilesError::NotOpen) => {}
            Err(error) => {
                tracing::warn!(%error, "files cannot be finished");
                if finish.tell(asked, &State::Failed(error.clone())) {
                    self.link.tell(Event::FinishFailed { torrent: self.id(), error });
                }
                let (link, id) = (Arc::downgrade(&self.link), self.id());
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
