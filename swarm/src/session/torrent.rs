//! A torrent of a session.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use metainfo::TorrentId;
use storage::StorageError;

use super::event::{Event, Events};
use super::link::{Link, Unavailable};
use super::options::AddError;
use super::registry::Entry;
use super::view::{self, FileProgress, TrackerView};
use crate::engine::candidates::Source;
use crate::engine::scope::Scope;
use crate::engine::{Activity, Engine, PeerStatus, Time, TorrentKey, TorrentStatus, Totals};
use crate::reactor::Plane;

/// Names a torrent of a [`Session`](super::Session). It has no task or channel of its own; clones are cheap. Once the torrent was
/// removed, or the session ended, every question has an error for an answer.
#[derive(Clone)]
pub struct Torrent {
    pub(super) link: Arc<Link>,
    pub(super) entry: Entry,
}

/// Why a torrent will not be complete.
#[derive(Clone, Debug, PartialEq)]
pub enum WaitError {
    /// Its storage failed.
    Storage(StorageError),
    /// It was added by a magnet, and is of no use here.
    Refused(AddError),
    /// It, or its session, is gone.
    Unavailable(Unavailable),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Refused(error) => error.fmt(f),
            Self::Unavailable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => Some(error),
            Self::Refused(error) => Some(error),
            Self::Unavailable(error) => Some(error),
        }
    }
}

impl Torrent {
    pub(super) fn new(link: &Arc<Link>, entry: Entry) -> Self {
        Self { link: link.clone(), entry }
    }

    /// Its id. One that was added by a v2 hash alone gets another one when it turns out to be a hybrid: its v1 hash, which is told
    /// by [`Event::Renamed`].
    pub fn id(&self) -> TorrentId {
        self.entry.identity.id()
    }

    /// Its metainfo; `None` while it is only known by a magnet, or is not [open](Self::open).
    pub fn meta(&self) -> Option<&Arc<metainfo::Torrent>> {
        self.entry.identity.meta()
    }

    /// What to call it: its name, else what its magnet says, else its hash.
    pub fn name(&self) -> String {
        self.entry.identity.name()
    }

    /// What it does and how far it is.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn status(&self) -> Result<TorrentStatus, Unavailable> {
        self.look(|engine, now, key| engine.torrent_status(now, key)).await
    }

    /// What was moved in earlier runs, as its record says; the status counts this run only.
    pub fn earlier(&self) -> Totals {
        self.entry.identity.earlier()
    }

    /// Its connected peers.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn peers(&self) -> Result<Vec<PeerStatus>, Unavailable> {
        self.look(|engine, now, key| Some(engine.peers(now, key))).await
    }

    /// Its trackers, in the order in which they are tried.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn trackers(&self) -> Result<Vec<TrackerView>, Unavailable> {
        self.look(|engine, now, key| {
            Some(engine.trackers(key).map(|status| TrackerView::of(&status, now)).collect())
        })
        .await
    }

    /// Its files but for pads, and how much of each is there. None while it is only known by a magnet, or cannot be opened.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn files(&self) -> Result<Vec<FileProgress>, Unavailable> {
        // If it cannot be opened, that was told.
        let _ = self.open().await;
        let have = self.look(|engine, _, key| engine.have(key).cloned()).await?;
        Ok(self.meta().map(|meta| view::files(meta, &have)).unwrap_or_default())
    }

    /// Tells it of peers.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn add_peers(&self, peers: Vec<SocketAddr>) -> Result<(), Unavailable> {
        self.tell(move |engine, now, key| engine.add_peers(now, key, &peers, Source::User, Scope::Loopback))
            .await
    }

    /// Adds a tracker behind those that it has, and records it. Of no effect when it has that one already.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn add_tracker(&self, url: String) -> Result<(), Unavailable> {
        let tier = self.entry.identity.next_tier();
        let added = url.clone();
        self.tell(move |engine, now, key| {
            engine.add_tracker(now, key, tier, &added);
        })
        .await?;
        let identity = &self.entry.identity;
        if identity.meta().is_some_and(|meta| meta.trackers().iter().flatten().any(|known| *known == url)) {
            return Ok(());
        }
        // Of a torrent whose files are about to be open it is recorded when they are.
        identity.choose(|chosen| {
            if !chosen.trackers.contains(&url) {
                chosen.trackers.push(url.clone());
            }
        });
        self.link.magnets.add_tracker(self.id(), &url);
        self.record(|choices| {
            if !choices.trackers.contains(&url) {
                choices.trackers.push(url);
            }
        })
        .await;
        Ok(())
    }

    /// Announces to its trackers as soon as each of them allows.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn announce_now(&self) -> Result<(), Unavailable> {
        self.tell(|engine, now, key| engine.announce_now(now, key)).await
    }

    /// Waits until it is known what it is.
    ///
    /// # Errors
    /// When that will not come: it is of no use here, or it or its session is gone.
    pub async fn wait_metadata(&self) -> Result<Arc<metainfo::Torrent>, WaitError> {
        let mut events = Events::new(self.link.events.subscribe());
        loop {
            if let Some(meta) = self.meta() {
                return Ok(meta.clone());
            }
            self.status_or_why(&mut events).await?;
            if self.entry.identity.is_cold() {
                self.open().await.map_err(WaitError::Refused)?;
                continue;
            }
            self.wait_turn(&mut events).await?;
        }
    }

    /// Waits until all that is wanted is there.
    ///
    /// # Errors
    /// When that will not come: the storage failed, or the torrent or its session is gone.
    pub async fn wait_complete(&self) -> Result<(), WaitError> {
        let mut events = Events::new(self.link.events.subscribe());
        loop {
            let status = self.status_or_why(&mut events).await?;
            match status.activity {
                Activity::Seeding | Activity::Cold { finished: true } => return Ok(()),
                Activity::Failed(error) => return Err(WaitError::Storage(error)),
                Activity::Downloading
                | Activity::Cold { .. }
                | Activity::Metadata { .. }
                | Activity::Layers { .. }
                | Activity::Checking { .. }
                | Activity::Paused => {}
            }
            self.wait_turn(&mut events).await?;
        }
    }

    /// Its status; if it is gone, why, as far as these events tell.
    async fn status_or_why(&self, events: &mut Events) -> Result<TorrentStatus, WaitError> {
        let unavailable = match self.status().await {
            Ok(status) => return Ok(status),
            Err(unavailable) => unavailable,
        };
        while let Some(event) = events.try_next() {
            if let Event::Refused { torrent, error } = event
                && torrent == self.id()
            {
                return Err(WaitError::Refused(error));
            }
        }
        Err(WaitError::Unavailable(unavailable))
    }

    /// Waits until its state may have changed.
    async fn wait_turn(&self, events: &mut Events) -> Result<(), WaitError> {
        loop {
            match events.next().await {
                Some(Event::Refused { torrent, error }) if torrent == self.id() => {
                    return Err(WaitError::Refused(error));
                }
                Some(
                    Event::Complete { torrent }
                    | Event::Metadata { torrent }
                    | Event::Renamed { torrent, .. }
                    | Event::StorageFailed { torrent, .. }
                    | Event::Removed { torrent },
                ) if torrent == self.id() => return Ok(()),
                Some(Event::Missed(_)) => return Ok(()),
                Some(_) => {}
                None => return Err(WaitError::Unavailable(Unavailable::Over)),
            }
        }
    }

    pub(super) async fn ask<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Plane, Time) -> Option<R> + Send + 'static,
    ) -> Result<R, Unavailable> {
        let key = self.entry.key;
        let asked = self.link.ask(move |plane| {
            let now = plane.now();
            plane.engine().torrent_id(key)?;
            ask(plane, now)
        });
        asked.await?.ok_or(Unavailable::Removed)
    }

    async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine, Time, TorrentKey) -> Option<R> + Send + 'static,
    ) -> Result<R, Unavailable> {
        let key = self.entry.key;
        self.ask(move |plane, now| look(plane.engine(), now, key)).await
    }

    pub(super) async fn tell(
        &self,
        tell: impl FnOnce(&mut Engine, Time, TorrentKey) + Send + 'static,
    ) -> Result<(), Unavailable> {
        let key = self.entry.key;
        self.ask(move |plane, now| {
            tell(plane.engine(), now, key);
            Some(())
        })
        .await
    }
}

impl fmt::Debug for Torrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Torrent").field("id", &self.id()).field("name", &self.name()).finish()
    }
}
