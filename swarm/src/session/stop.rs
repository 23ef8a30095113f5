//! The end of a session.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use storage::record::Key;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Session;
use super::cold::{self, Standing};
use super::persist::{self, Last, Snapshot};
use crate::engine::ResumeState;
use crate::reactor::Plane;

/// Trackers get this long to hear of our leaving: they forget us without it too.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Part of the deadline after which a torrent whose disk is slow is not waited for any more, so that the others are recorded.
const REST: f64 = 0.7;

/// Something was still being written when the deadline came; it goes on in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// The time that there was.
    pub deadline: Duration,
    /// The names of torrents whose records are older than they should be. What they do not tell of is checked at the next
    /// start.
    pub unsaved: Vec<String>,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk was not done within {} s", self.deadline.as_secs_f32())?;
        let Some(first) = self.unsaved.first() else { return Ok(()) };
        write!(f, "; the record of {first:?} ")?;
        match self.unsaved.len() - 1 {
            0 => f.write_str("is")?,
            others => write!(f, "and those of {others} others are")?,
        }
        f.write_str(" older than what is on the disk, which is checked at the next start")
    }
}

impl std::error::Error for Late {}

impl Session {
    /// Ends the session: closes all peers, tells the trackers, hands everything that came to the file system, records how
    /// far each torrent is, and ends the thread. Trackers that do not answer within 1.5 s are not waited for.
    ///
    /// # Errors
    /// When the disk takes longer than `deadline`.
    pub async fn shutdown(self, deadline: Duration) -> Result<(), Late> {
        let end = Instant::now() + deadline;
        self.link.registry.close();
        self.link.desk.leave();
        let running = self.link.registry.running();
        // Torrents that are recorded come to rest first, so that what they hold is durable and known.
        let kept: Vec<_> =
            running.iter().filter(|(_, e)| e.identity.kept().is_some()).map(|(_, entry)| entry.key).collect();
        let noted =
            running.iter().filter(|(_, e)| e.identity.kept().is_none() && e.identity.note().is_some());
        let resting: Vec<_> = kept.iter().copied().chain(noted.map(|(_, entry)| entry.key)).collect();
        let link = self.link.clone();
        let paused = self.link.ask(move |plane| {
            let now = plane.now();
            link.saver.forget_stopped();
            resting.into_iter().for_each(|key| plane.engine().wind_down(now, key));
        });
        let at_rest = match timeout_at(end, paused).await {
            Ok(Ok(())) => self.link.saver.rest(&kept, Instant::now() + deadline.mul_f64(REST)).await,
            _ => BTreeMap::new(),
        };
        let removed = self.link.ask(move |plane| {
            let (mut last, mut magnets, mut cold) = (Vec::new(), Vec::new(), Vec::new());
            for (id, entry) in running {
                let now = plane.now();
                if let Some(standing) = Standing::of(plane.engine(), now, &entry) {
                    cold.push(standing);
                    entry.remove(plane);
                    continue;
                }
                let snapshot = Snapshot::take(plane.engine(), now, entry.key);
                entry.remove(plane);
                let is_clean = at_rest.get(&entry.key).is_some_and(|clean| *clean);
                let kept = entry.identity.kept();
                if kept.is_none()
                    && let (Some(note), Some(snapshot)) = (entry.identity.note(), &snapshot)
                {
                    magnets.push((note, snapshot.resume().clone()));
                }
                let files = entry.files;
                last.extend(kept.zip(snapshot).map(|(kept, snapshot)| Last {
                    id,
                    kept,
                    snapshot,
                    is_clean,
                    files,
                }));
            }
            (last, magnets, cold)
        });
        let mut unsaved = Vec::new();
        if let Ok(Ok((last, magnets, cold))) = timeout_at(end, removed).await {
            let gone = wait_for_none(self.link.registry.count(), end);
            self.remember(magnets, end).await;
            self.remember_cold(cold, end).await;
            (unsaved, ()) = tokio::join!(persist::finish(&self.link, last, end), gone);
            let farewell = (Instant::now() + FAREWELL).min(Instant::now() + deadline / 2).min(end);
            wait_for_none(self.link.desk.open(), farewell).await;
        }
        // A thread that ended already needs no word.
        let _ = self.link.reactor.run(Plane::stop);
        let mut ended = self.owner.ended.clone();
        // The channel never carries anything: it closes when the thread ends.
        let is_late = timeout_at(end, ended.changed()).await.is_err();
        if is_late {
            return Err(Late { deadline, unsaved });
        }
        let thread = self.owner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
        if unsaved.is_empty() { Ok(()) } else { Err(Late { deadline, unsaved }) }
    }
}

impl Session {
    /// Records what torrents without metadata learnt. None of it is needed.
    async fn remember(&self, magnets: Vec<(Key, ResumeState)>, end: Instant) {
        let Some(store) = self.link.store.clone().filter(|_| !magnets.is_empty()) else { return };
        let link = self.link.clone();
        let remembering = tokio::task::spawn_blocking(move || {
            let _noting = link.magnets.noting();
            for (key, known) in magnets {
                if let Err(error) = persist::magnet::remember(&*store, &key, known) {
                    tracing::warn!(%error, "what is known of a magnet is not recorded");
                }
            }
        });
        // It goes on behind our back.
        let _ = timeout_at(end, remembering).await;
    }
}

impl Session {
    /// Records what torrents that are not open learnt of their trackers. None of it is needed.
    async fn remember_cold(&self, cold: Vec<Standing>, end: Instant) {
        let Some(store) = self.link.store.clone().filter(|_| !cold.is_empty()) else { return };
        let link = self.link.clone();
        let remembering = tokio::task::spawn_blocking(move || cold::remember_last(&link, &*store, cold));
        // It goes on behind our back.
        let _ = timeout_at(end, remembering).await;
    }
}

async fn wait_for_none(mut count: watch::Receiver<usize>, end: Instant) {
    // It cannot close, since the session holds the other end.
    let _ = timeout_at(end, count.wait_for(|count| *count == 0)).await;
}
