//! What the engine tells, turned into the session's words. Runs on the reactor's thread.

use std::sync::Arc;

use metainfo::TorrentId;
use tracing::field::display;

use super::event::Event;
use super::link::Link;
use super::log::Short;
use crate::engine::{self, Action};
use crate::reactor::{Observer, Plane};

pub(super) struct Watch {
    pub(super) link: Arc<Link>,
}

impl Observer for Watch {
    fn action(&mut self, plane: &mut Plane, action: Action) {
        match action {
            // Web seeds come with a later version; no source is added before.
            Action::SourceReady { .. } | Action::SourceBanned { .. } => {}
            Action::Announce { torrent, id, announce } => self.link.desk.submit(torrent, id, announce),
            Action::CancelAnnounce { torrent, announce } => self.link.desk.cancel(torrent, announce),
            Action::Dht(event) => self.link.dht.tell(event),
            Action::Event(engine::Event::Removed { id }) => {
                self.link.magnets.gone(id);
                self.link.cold.gone(id);
                self.link.registry.remove(id);
                self.link.saver.writes(id, false);
                self.link.tell(Event::Removed { torrent: id });
            }
            Action::Event(engine::Event::Metadata { torrent, info }) => {
                if let Some(id) = plane.engine().torrent_id(torrent) {
                    self.link.magnets.came(id, Some(info));
                }
            }
            Action::Event(engine::Event::Layers { torrent, layers }) => {
                if let Some(id) = plane.engine().torrent_id(torrent) {
                    self.link.magnets.layers_came(id, Some(layers));
                }
            }
            Action::Event(engine::Event::Contradiction { torrent }) => {
                if let Some(id) = plane.engine().torrent_id(torrent) {
                    self.link.magnets.came(id, None);
                }
            }
            Action::Event(engine::Event::Wanted { .. }) => self.link.cold.wanted(),
            Action::Event(engine::Event::PeerJoined { torrent, addr }) => {
                let torrent = plane.engine().torrent_id(torrent).map(|id| display(Short(id)));
                tracing::debug!(torrent, %addr, "a peer is connected");
            }
            Action::Event(engine::Event::PeerLeft { torrent, addr, reason }) => {
                let torrent = plane.engine().torrent_id(torrent).map(|id| display(Short(id)));
                tracing::debug!(torrent, %addr, %reason, "a peer left");
            }
            Action::Event(engine::Event::Stopped { torrent, clean }) => {
                self.link.saver.stopped(torrent, clean);
            }
            Action::Event(engine::Event::Synced { torrent } | engine::Event::Unclaimed { torrent, .. }) => {
                if let Some(id) = plane.engine().torrent_id(torrent) {
                    self.link.finisher.due(id);
                    if self.link.store.is_some() {
                        self.link.saver.changed(id);
                    }
                }
            }
            Action::Event(event) => {
                let name = |key| plane.engine().torrent_id(key);
                if let Some(event) = translate(event, name) {
                    match &event {
                        Event::PieceDone { torrent, .. } => self.link.saver.writes(*torrent, true),
                        Event::Complete { torrent } => {
                            self.link.saver.writes(*torrent, false);
                            self.link.finisher.due(*torrent);
                        }
                        _ => {}
                    }
                    self.link.tell(event);
                }
            }
            Action::Dial { .. } | Action::Close { .. } | Action::Lsd { .. } => {}
        }
    }
}

/// `None` for what is of no interest here, and for torrents that are gone.
fn translate(
    event: engine::Event,
    name: impl FnOnce(engine::TorrentKey) -> Option<TorrentId>,
) -> Option<Event> {
    Some(match event {
        engine::Event::PieceDone { torrent, piece } => Event::PieceDone { torrent: name(torrent)?, piece },
        engine::Event::Metadata { .. }
        | engine::Event::Layers { .. }
        | engine::Event::Contradiction { .. } => return None,
        engine::Event::PieceFailed { torrent, piece } => {
            Event::PieceFailed { torrent: name(torrent)?, piece }
        }
        engine::Event::PieceContradicts { torrent, piece } => {
            Event::Contradicts { torrent: name(torrent)?, piece }
        }
        engine::Event::Complete { torrent } => Event::Complete { torrent: name(torrent)? },
        engine::Event::Verified { torrent, lost } => Event::Verified { torrent: name(torrent)?, lost },
        engine::Event::StorageFailed { torrent, error } => {
            Event::StorageFailed { torrent: name(torrent)?, error }
        }
        engine::Event::PeerBanned { torrent, addr } => Event::PeerBanned { torrent: name(torrent)?, addr },
        engine::Event::StorageRecovered { torrent } => Event::StorageRecovered { torrent: name(torrent)? },
        engine::Event::Synced { .. }
        | engine::Event::Wanted { .. }
        | engine::Event::Idle { .. }
        | engine::Event::Unclaimed { .. }
        | engine::Event::Stopped { .. }
        | engine::Event::PeerJoined { .. }
        | engine::Event::PeerLeft { .. }
        | engine::Event::Removed { .. } => {
            return None;
        }
    })
}
