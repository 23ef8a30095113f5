//! What torrents that are not open learn of their trackers, and what their user chooses meanwhile.

use std::sync::Arc;

use metainfo::TorrentId;
use storage::record::{Store, StoreError};

use crate::engine::{Engine, ResumeState, Time};
use crate::session::identity::{Chosen, Identity};
use crate::session::link::Link;
use crate::session::persist::{self, Learnt};
use crate::session::registry::Entry;

/// How a torrent stands that is not open.
pub(in crate::session) struct Standing {
    identity: Arc<Identity>,
    resume: ResumeState,
}

impl Standing {
    /// `None` of a torrent that is open. On the reactor's thread.
    pub(in crate::session) fn of(engine: &Engine, now: Time, entry: &Entry) -> Option<Self> {
        let identity = entry.identity.clone();
        let resume = engine.resume_state(now, entry.key).filter(|_| identity.is_cold())?;
        Some(Self { identity, resume })
    }

    /// With what is chosen by now.
    fn learnt(self) -> Option<Learnt> {
        let Chosen { limits, paused, trackers, .. } = self.identity.chosen();
        let key = self.identity.past()?.key.clone();
        Some(Learnt { key, resume: self.resume, limits, paused, trackers })
    }
}

/// Records it for those of some torrents that are not open.
pub(in crate::session) async fn remember(link: Arc<Link>, torrents: Vec<TorrentId>) {
    let entries = link.cold.cold(&torrents);
    let Some(store) = link.store.clone().filter(|_| !entries.is_empty()) else { return };
    let taken = link.ask(move |plane| {
        let now = plane.now();
        entries.iter().filter_map(|entry| Standing::of(plane.engine(), now, entry)).collect::<Vec<_>>()
    });
    let (Ok(standing), writer) = (taken.await, link.clone()) else { return };
    let remembering = tokio::task::spawn_blocking(move || {
        let _noting = writer.cold.noting();
        // One that is open or removed meanwhile is recorded, or forgotten, by those who do that.
        let is_cold = |one: &Standing| !writer.cold.cold(&[one.identity.id()]).is_empty();
        write(&*store, standing.into_iter().filter(is_cold))
    });
    told(remembering.await.unwrap_or(Ok(())));
}

/// Records torrents that were not open when their session ended. Blocks.
pub(in crate::session) fn remember_last(link: &Link, store: &dyn Store, standing: Vec<Standing>) {
    let _noting = link.cold.noting();
    told(write(store, standing));
}

fn write(store: &dyn Store, standing: impl IntoIterator<Item = Standing>) -> Result<(), StoreError> {
    persist::remember(store, standing.into_iter().filter_map(Standing::learnt).collect())
}

fn told(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "what is known of torrents that are not open is not recorded");
    }
}
