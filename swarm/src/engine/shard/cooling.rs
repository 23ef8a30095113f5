//! The way back from open to cold: a torrent that is done, and that nobody has needed for a while.
//!
//! ```text
//!   open ──no peer for Config::cool_after──▶ Event::Idle ─▶ the application saves its record ─▶ Engine::cool ──▶ cold
//!    ▲                                                                                             │ something is needed
//!    └─────────────────────────────────── Engine::furnish ◀────────────────────────────────────────┘ of it: Engine::needed
//! ```

use metainfo::Geometry;
use storage::{Pieces as _, StoreId};
use wire::peer::{Bitfield, Limits};

use super::Shard;
use super::advice::Advice;
use super::awaited::Awaited;
use super::cold::Cold;
use super::keeping::Keeping;
use super::ordering::Ordering;
use super::torrent::{Activity, NO_STORE, Torrent};
use crate::engine::TorrentKey;
use crate::engine::adding::Outline;
use crate::engine::blame::Blame;
use crate::engine::changes::Columns;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Event;
use crate::engine::picker::{self, Picker};

/// Timers of what a cold torrent does not do.
const OPEN: [TorrentTimer; 7] = [
    TorrentTimer::Idle,
    TorrentTimer::Sync,
    TorrentTimer::Retry,
    TorrentTimer::Recheck,
    TorrentTimer::Sweep,
    TorrentTimer::Look,
    TorrentTimer::Deadline,
];

impl Torrent {
    /// Whether it wants nothing of anybody, has nothing at the disk, and is known to the last piece.
    fn is_idle(&self) -> bool {
        self.awaits.is_none()
            && matches!(self.activity, Activity::Seeding | Activity::Paused)
            && self.is_done()
            && self.peers.is_empty()
            && self.rests()
            && self.keeping.is_at_ease()
            && self.keeping.clean() == self.have
    }

    /// What is to be known of it when it is not open.
    fn outline(&self) -> Option<Outline> {
        let meta = self.meta.as_ref()?;
        let (geometry, pads) = (meta.geometry(), meta.pads());
        let held = geometry.pieces().filter(|piece| self.have.get(piece.get()));
        Some(Outline {
            private: meta.private(),
            complete: self.have.is_full(),
            finished: self.is_done(),
            size: meta.layout().payload(),
            done: held.map(|piece| pads.payload(geometry, geometry.whole(piece))).sum(),
            pieces: self.have.len(),
            pieces_done: self.have.count_ones(),
        })
    }
}

impl Shard {
    /// A torrent is open: it may be put back when it was idle for a while.
    pub(super) fn arm_idle(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        torrent.needed_at = cx.now;
        if let Some(wait) = cx.config.cool_after {
            cx.torrent_timers.set(slot, TorrentTimer::Idle, cx.now + wait);
        }
    }

    /// Something was needed of a torrent, just now.
    pub(crate) fn needed(&mut self, cx: &Cx, key: TorrentKey) {
        if let Some(torrent) = self.torrent_mut(key) {
            torrent.needed_at = cx.now;
        }
    }

    /// It is time to look whether a torrent is idle.
    pub(super) fn look_idle(&mut self, cx: &mut Cx, slot: usize) {
        let Some(wait) = cx.config.cool_after else { return };
        let torrent = &mut self.torrents[slot];
        if !torrent.peers.is_empty() {
            torrent.needed_at = cx.now;
        }
        let due = torrent.needed_at + wait;
        if cx.now < due {
            return cx.torrent_timers.set(slot, TorrentTimer::Idle, due);
        }
        // If it stays open, it is tried again.
        cx.torrent_timers.set(slot, TorrentTimer::Idle, cx.now + wait);
        if torrent.is_idle() {
            cx.out.event(Event::Idle { torrent: torrent.key });
        }
    }

    /// Puts a torrent back to its cold form if it is idle still. Gives the store that it had.
    pub(crate) fn cool(&mut self, cx: &mut Cx, key: TorrentKey) -> Option<StoreId> {
        let is_used = self.sources_of(key).next().is_some();
        let wait = cx.config.cool_after.unwrap_or_default();
        let torrent = self.torrent_mut(key)?;
        if is_used || cx.now < torrent.needed_at + wait || !torrent.is_idle() {
            return None;
        }
        let outline = torrent.outline()?;
        let meta = torrent.meta.take()?;
        let store = std::mem::replace(&mut torrent.store, NO_STORE);
        let nothing = Bitfield::new(0);
        let Keeping { paused, told_stopped, .. } = torrent.keeping;
        torrent.keeping = Keeping { paused, told_stopped, ..Keeping::new(&nothing) };
        torrent.have = nothing;
        torrent.picker = Picker::new(Geometry::empty(), picker::Config::default());
        torrent.blame = Blame::new(Geometry::empty());
        torrent.limits = Limits::DEFAULT;
        torrent.ordering = Ordering::default();
        torrent.advice = Advice::default();
        (torrent.peers, torrent.hungry) = (Vec::new(), Vec::new());
        torrent.awaits = Some(Box::new(Awaited::cold(*meta.info_hashes(), Cold::new(cx.now, outline))));
        torrent.activity = torrent.next_activity();
        let slot = key.slot();
        self.by_store.remove(&store);
        OPEN.into_iter().for_each(|timer| cx.torrent_timers.cancel(slot, timer));
        self.ledger.mark(slot, Columns::ALL);
        self.mode_changed(cx, slot);
        Some(store)
    }
}
