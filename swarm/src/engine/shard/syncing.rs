//! Making pieces durable: a sync a few seconds after the first piece that passed, and one at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use metainfo::PieceIndex;
use storage::{Job, StorageError, StoreId, Token};

use super::Shard;
use super::keeping::SyncUnderWay;
use crate::engine::TorrentKey;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Event;

/// Blocks of pieces that take long to complete are synced this many times more seldom than pieces.
const BLOCKS_WAIT: u32 = 10;
/// A stopped torrent is given up on when its storage takes longer than this to settle.
const PATIENCE: Duration = Duration::from_secs(10);

impl Shard {
    /// A piece matched its hash: it is to be synced.
    pub(super) fn is_fresh(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let keeping = &mut self.torrents[slot].keeping;
        keeping.safe.remove(&piece);
        if keeping.tainted.contains(&piece) {
            // It is checked after the sync that covers its last blocks.
            keeping.dirty = true;
        } else {
            keeping.fresh.push(piece);
        }
        self.arm_sync(cx, slot);
    }

    /// Arms the timer of the next sync.
    pub(super) fn arm_sync(&mut self, cx: &mut Cx, slot: usize) {
        let keeping = &self.torrents[slot].keeping;
        if !keeping.may_sync() {
            return;
        }
        let wait = match (keeping.fresh.len(), keeping.dirty) {
            (0, false) => return,
            (0, true) => cx.config.sync_interval * BLOCKS_WAIT,
            _ => cx.config.sync_interval,
        };
        let at = cx.now + wait;
        if cx.torrent_timers.get(slot, TorrentTimer::Sync).is_none_or(|armed| at < armed) {
            cx.torrent_timers.set(slot, TorrentTimer::Sync, at);
        }
    }

    /// Makes what was written durable, if it is not under way already.
    pub(super) fn sync(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let keeping = &mut torrent.keeping;
        if !keeping.may_sync() {
            return;
        }
        keeping.syncs += 1;
        keeping.dirty = false;
        keeping.synced_at = cx.now;
        let mut partial = BTreeMap::new();
        for piece in torrent.picker.partials() {
            let is_doubtful =
                keeping.tainted.contains(&piece.piece()) || keeping.suspect.contains(&piece.piece());
            if piece.written() > 0 && !is_doubtful {
                partial.insert(piece.piece(), piece.written_blocks());
            }
        }
        let pieces = std::mem::take(&mut keeping.fresh);
        keeping.sync = Some(SyncUnderWay { token: keeping.syncs, pieces, partial });
        cx.torrent_timers.cancel(slot, TorrentTimer::Sync);
        cx.out.jobs.push(Job::Sync { store: torrent.store, token: Token(keeping.syncs) });
    }

    /// A sync ended.
    pub(super) fn synced(
        &mut self,
        cx: &mut Cx,
        store: StoreId,
        token: Token,
        result: Result<(), StorageError>,
    ) {
        let Some(slot) = self.slot_of(store) else { return };
        let torrent = &mut self.torrents[slot];
        let keeping = &mut torrent.keeping;
        let Some(sync) = keeping.sync.take_if(|sync| sync.token == token.0) else { return };
        match result {
            Ok(()) => {
                for piece in sync.pieces {
                    keeping.clean.set(piece.get());
                }
                // Of pieces that passed or were given up meanwhile nothing is to be remembered.
                keeping.safe = sync.partial;
                keeping.safe.retain(|piece, _| torrent.picker.is_partial(*piece));
                match &mut keeping.trouble {
                    Some(trouble) => trouble.needs_sync = false,
                    None => keeping.wait = Duration::ZERO,
                }
                cx.out.event(Event::Synced { torrent: torrent.key });
                self.arm_sync(cx, slot);
                // What passed meanwhile does not wait for longer because this sync took long.
                let at = self.torrents[slot].keeping.synced_at + cx.config.sync_interval;
                if !self.torrents[slot].keeping.fresh.is_empty() {
                    cx.torrent_timers.set(slot, TorrentTimer::Sync, at.max(cx.now));
                }
                self.try_on(cx, slot);
                self.check_tainted(cx, slot);
                self.verify(cx, slot);
            }
            Err(error) => {
                // The system may drop what it could not write and call the next sync a success: what was not durable
                // before is doubtful until it is read after one.
                keeping.tainted.extend(sync.pieces);
                keeping.tainted.extend(keeping.fresh.drain(..));
                keeping.tainted.extend(torrent.picker.partials().map(|piece| piece.piece()));
                keeping.safe.clear();
                self.look_into(cx, slot, &error);
                self.storage_failed(cx, slot, error);
                if let Some(trouble) = &mut self.torrents[slot].keeping.trouble {
                    trouble.needs_sync = true;
                }
            }
        }
        self.settle_end(cx, slot);
    }

    /// A sync went well: what an earlier one may have lost was written again, and is read now.
    fn check_tainted(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let keeping = &mut torrent.keeping;
        for piece in keeping.tainted.iter().filter(|piece| torrent.picker.has(**piece)) {
            if !keeping.checking.contains(piece) && !keeping.to_check.contains(piece) {
                keeping.to_check.push_back(*piece);
            }
        }
        self.check_doubts(cx, slot);
    }

    /// Makes everything durable now. `None` when there is no such torrent.
    pub(crate) fn sync_now(&mut self, cx: &mut Cx, key: TorrentKey) {
        if self.torrent(key).is_some_and(|torrent| torrent.awaits.is_none()) {
            self.sync(cx, key.slot());
        }
    }

    /// Stops a torrent but keeps it: no peers, no tracker, no fetching; what was written is synced.
    pub(crate) fn pause(&mut self, cx: &mut Cx, key: TorrentKey) {
        let Some(torrent) = self.torrent_mut(key).filter(|torrent| !torrent.keeping.paused) else { return };
        torrent.keeping.paused = true;
        torrent.keeping.told_stopped = false;
        let slot = key.slot();
        self.review(cx, slot);
        for peer in self.torrents[slot].peers.clone() {
            self.leave(cx, peer, crate::engine::close::Close::Stopped);
        }
        self.dialers.remove(&slot);
        self.list_locally(cx, slot);
        self.torrents[slot].tracker.stop();
        self.run_tracker(cx, slot);
        cx.torrent_timers.set(slot, TorrentTimer::Settle, cx.now + PATIENCE);
        self.settle_end(cx, slot);
    }

    /// The same, and tells of one that is paused already once more when it is at rest.
    pub(crate) fn wind_down(&mut self, cx: &mut Cx, key: TorrentKey) {
        let Some(torrent) = self.torrent_mut(key).filter(|torrent| torrent.keeping.paused) else {
            return self.pause(cx, key);
        };
        torrent.keeping.told_stopped = false;
        cx.torrent_timers.set(key.slot(), TorrentTimer::Settle, cx.now + PATIENCE);
        self.settle_end(cx, key.slot());
    }

    /// Runs a paused torrent again. Whether it was one.
    pub(crate) fn unpause(&mut self, cx: &mut Cx, key: TorrentKey) -> bool {
        let Some(torrent) = self.torrent_mut(key).filter(|torrent| torrent.keeping.paused) else {
            return false;
        };
        torrent.keeping.paused = false;
        torrent.tracker.start();
        torrent.candidates.handle_wanted_again(cx.now);
        let slot = key.slot();
        cx.torrent_timers.cancel(slot, TorrentTimer::Settle);
        self.review(cx, slot);
        self.list_locally(cx, slot);
        self.run_tracker(cx, slot);
        self.arm_dial(cx, slot);
        self.wake_sources(cx);
        true
    }

    /// A paused torrent that has nothing at the disk is synced, and then it is told that it stopped.
    pub(super) fn settle_end(&mut self, cx: &mut Cx, slot: usize) {
        let keeping = &self.torrents[slot].keeping;
        if !keeping.paused || keeping.told_stopped {
            return;
        }
        if keeping.is_unsynced() {
            self.sync(cx, slot);
        }
        if self.torrents[slot].rests() {
            self.tell_stopped(cx, slot);
        }
    }

    /// Tells that a paused torrent stopped, as far as it did.
    pub(super) fn tell_stopped(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let clean = torrent.rests() && torrent.keeping.trouble.is_none() && torrent.doubtful().is_clear();
        let keeping = &mut torrent.keeping;
        if keeping.paused && !std::mem::replace(&mut keeping.told_stopped, true) {
            cx.torrent_timers.cancel(slot, TorrentTimer::Settle);
            cx.out.event(Event::Stopped { torrent: torrent.key, clean });
        }
    }
}
