//! What torrents that are not open learn of their trackers, and what their user chooses meanwhile.

use std::sync::Arc;

use metainfo::TorrentId;

use crate::engine::{Engine, Time};
use crate::session::identity::Chosen;
use crate::session::link::Link;
use crate::session::persist::{self, Learnt};
use crate::session::registry::Entry;

/// What is to be recorded of a torrent that is not open; `None` of any other. On the reactor's thread.
pub(in crate::session) fn learnt(engine: &Engine, now: Time, entry: &Entry) -> Option<Learnt> {
    let identity = entry.identity.clone();
    let past = identity.past().filter(|_| identity.is_cold())?;
    let resume = engine.resume_state(now, entry.key)?;
    let Chosen { limits, paused, trackers, .. } = identity.chosen();
    Some(Learnt { key: past.key.clone(), resume, limits, paused, trackers })
}

/// Records it for those of some torrents that are not open.
pub(in crate::session) async fn remember(link: Arc<Link>, torrents: Vec<TorrentId>) {
    let entries = link.cold.cold(&torrents);
    let Some(store) = link.store.clone().filter(|_| !entries.is_empty()) else { return };
    let taken = link.ask(move |plane| {
        let now = plane.now();
        entries.iter().filter_map(|entry| learnt(plane.engine(), now, entry)).collect::<Vec<_>>()
    });
    let Ok(known) = taken.await else { return };
    let remembering = tokio::task::spawn_blocking(move || persist::remember(&*store, known));
    if let Ok(Err(error)) = remembering.await {
        tracing::warn!(%error, "what is known of torrents that are not open is not recorded");
    }
}
