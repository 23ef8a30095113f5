//! What changed since a reader last asked: the base of page updates and remote control.

use metainfo::TorrentId;
use wire::peer::Bitfield;

use super::Session;
use super::link::Unavailable;
use super::registry::Entry;
use super::torrent::Torrent;
use super::view::{self, FileProgress, TrackerView};
use crate::engine::changes::Columns;
use crate::engine::{Engine, PeerStatus, Time, TorrentStatus};

/// What changed for a reader.
#[derive(Debug)]
pub struct Changes {
    /// To be given with the next question.
    pub revision: u64,
    /// The reader is new or too far behind: forget everything, the upserts are all there is.
    pub full: bool,
    /// Torrents that are new or changed, each once.
    pub upserts: Vec<Change>,
    /// Torrents that are gone. Apply these before the upserts: one may have come back.
    pub removed: Vec<TorrentId>,
}

/// A torrent that is new or changed. What did not change, or was not asked for, is not there.
#[derive(Debug)]
pub struct Change {
    /// Which one.
    pub torrent: Torrent,
    /// The columns that changed.
    pub columns: Columns,
    /// With [`Columns::IDENTITY`], [`Columns::RATES`] and [`Columns::PROGRESS`].
    pub status: Option<TorrentStatus>,
    /// With [`Columns::TRACKERS`].
    pub trackers: Option<Vec<TrackerView>>,
    /// With [`Columns::FILES`].
    pub files: Option<Vec<FileProgress>>,
    /// With [`Columns::PEERS`].
    pub peers: Option<Vec<PeerStatus>>,
}

/// What is taken from the engine for one change; the rest is made of it elsewhere.
struct Taken {
    id: TorrentId,
    columns: Columns,
    status: Option<TorrentStatus>,
    trackers: Option<Vec<TrackerView>>,
    have: Option<Bitfield>,
    peers: Option<Vec<PeerStatus>>,
}

impl Session {
    /// What changed in these columns since `revision`, which an earlier answer gave; zero for a new reader. Every reader
    /// should ask for the same columns each time. It costs as much as there are changes; nothing is noted before the
    /// first question, and a reader that is up to date is told news at most four times a second.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn changes_since(&self, revision: u64, columns: Columns) -> Result<Changes, Unavailable> {
        let first = self.link.first_revision;
        let asked = self.link.ask(move |plane| {
            let now = plane.now();
            let engine = plane.engine();
            let delta = engine.changes_since(now, first, revision, columns);
            let changed = delta.upserts.iter().map(|upsert| (upsert.key, upsert.columns));
            let taken: Vec<_> = changed.filter_map(|(id, columns)| take(engine, now, id, columns)).collect();
            (delta.revision, delta.full, delta.removed, taken)
        });
        let (revision, full, removed, taken) = asked.await?;
        let known = taken.into_iter().filter_map(|taken| Some((self.link.registry.get(taken.id)?, taken)));
        let upserts = known.map(|(entry, taken)| self.change(entry, taken)).collect();
        Ok(Changes { revision, full, upserts, removed })
    }

    fn change(&self, entry: Entry, taken: Taken) -> Change {
        let Taken { columns, status, trackers, have, peers, .. } = taken;
        let meta = entry.identity.meta();
        let files = have.map(|have| meta.map(|meta| view::files(meta, &have)).unwrap_or_default());
        Change { torrent: Torrent::new(&self.link, entry), columns, status, trackers, files, peers }
    }
}

fn take(engine: &Engine, now: Time, id: TorrentId, columns: Columns) -> Option<Taken> {
    let key = engine.torrent_key(id)?;
    let status = columns.has(Columns::IDENTITY | Columns::RATES | Columns::PROGRESS);
    let trackers = || engine.trackers(key).map(|status| TrackerView::of(&status, now)).collect();
    Some(Taken {
        id,
        columns,
        status: if status { engine.torrent_status(now, key) } else { None },
        trackers: columns.has(Columns::TRACKERS).then(trackers),
        have: if columns.has(Columns::FILES) { engine.have(key).cloned() } else { None },
        peers: columns.has(Columns::PEERS).then(|| engine.peers(now, key)),
    })
}
