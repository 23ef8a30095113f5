//! Storage that fails: the torrent stops writing, keeps what it could not write, and goes on when the cause is gone.
//!
//! ```text
//!            a write or sync failed                  back-off over, or room again
//!   fine -------------------------------> Waiting ------------------------------> Probing
//!    ^                                     ^   ^   the probe failed                  |
//!    |                                     |   +-------------------------------------+
//!    |   what was refused is written       |                                         | the probe went well
//!    +------------------------------------ Trial <-----------------------------------+
//! ```
//!
//! Blocks that failed stay in memory, up to the write credit, and count as received; the rest is missing again. So a short
//! trouble costs no second fetch, and one that lasts no more than one block a minute of tries.

use metainfo::Block;
use storage::{Buf, Job, Operation, StorageError, StoreId};

use super::Shard;
use super::keeping::{self, Stage, Trouble};
use super::torrent::Activity;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Event;
use crate::engine::picker::BlockState;

impl Shard {
    /// Hands a block that was accepted to the disk, or keeps it until the disk takes blocks again.
    pub(super) fn write(&mut self, cx: &mut Cx, slot: usize, block: Block, data: Buf) {
        let torrent = &mut self.torrents[slot];
        if torrent.keeping.trouble.is_some() {
            return self.keep(cx, slot, block, data, false);
        }
        cx.writing += data.capacity();
        torrent.keeping.writing += 1;
        cx.out.jobs.push(Job::Write { store: torrent.store, block, data });
    }

    /// Keeps a block that cannot be written now; without room it is missing again.
    fn keep(&mut self, cx: &mut Cx, slot: usize, block: Block, data: Buf, is_refused: bool) {
        let torrent = &mut self.torrents[slot];
        let is_awaited = torrent.picker.block_state(block) == BlockState::Received;
        if is_awaited && cx.kept + data.capacity() <= cx.config.write_credit {
            cx.kept += data.capacity();
            // What was refused is the test of the next try.
            let kept = &mut torrent.keeping.kept;
            if is_refused {
                kept.push_front((block, data));
            } else {
                kept.push_back((block, data));
            }
            return;
        }
        if is_awaited {
            torrent.picker.write_failed(block);
            torrent.totals.wasted += u64::from(block.len());
        }
        cx.pool.give(data);
    }

    /// Blocks could not be written. No peer is to blame.
    pub(super) fn write_failed(
        &mut self,
        cx: &mut Cx,
        slot: usize,
        blocks: &[Block],
        buffers: Vec<Buf>,
        error: StorageError,
    ) {
        for (block, data) in blocks.iter().zip(buffers) {
            self.keep(cx, slot, *block, data, true);
        }
        self.look_into(cx, slot, &error);
        self.storage_failed(cx, slot, error);
    }

    /// Nothing more is fetched until the storage works again; what is there is still served.
    pub(super) fn storage_failed(&mut self, cx: &mut Cx, slot: usize, error: StorageError) {
        let torrent = &mut self.torrents[slot];
        let is_gone = error.is_gone();
        match &mut torrent.keeping.trouble {
            Some(trouble) => {
                trouble.was_gone |= is_gone;
                // What was under way when the trouble began fails too; a probe decides by itself.
                if trouble.stage == Stage::Trial {
                    self.retry_later(cx, slot, error);
                }
            }
            None => {
                torrent.keeping.trouble = Some(Trouble {
                    error: error.clone(),
                    retry_at: cx.now,
                    stage: Stage::Waiting,
                    is_floor: false,
                    was_gone: is_gone,
                    needs_sync: false,
                });
                cx.out.event(Event::StorageFailed { torrent: torrent.key, error: error.clone() });
                self.retry_later(cx, slot, error);
            }
        }
    }

    /// Waits, for longer each time.
    fn retry_later(&mut self, cx: &mut Cx, slot: usize, error: StorageError) {
        let keeping = &mut self.torrents[slot].keeping;
        let at = cx.now + keeping.next_wait();
        let Some(trouble) = &mut keeping.trouble else { return };
        (trouble.stage, trouble.retry_at, trouble.error) = (Stage::Waiting, at, error);
        cx.torrent_timers.set(slot, TorrentTimer::Retry, at);
        self.review(cx, slot);
    }

    /// The time for another try has come.
    pub(super) fn retry(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let keeping = &mut torrent.keeping;
        let Some(trouble) = &mut keeping.trouble else { return };
        if trouble.stage != Stage::Waiting {
            return;
        }
        if keeping.is_low {
            trouble.retry_at = cx.now + keeping::BACK_OFF[1];
            cx.torrent_timers.set(slot, TorrentTimer::Retry, trouble.retry_at);
            return;
        }
        trouble.stage = Stage::Probing;
        // A seed has nothing to write, and may be where nobody can.
        let is_written = !torrent.picker.finished() || !keeping.kept.is_empty() || trouble.needs_sync;
        let write = is_written && !keeping.seed_only;
        cx.out.jobs.push(Job::Probe { store: torrent.store, write });
    }

    /// A probe ended.
    pub(super) fn probed(&mut self, cx: &mut Cx, store: StoreId, result: Result<(), StorageError>) {
        let Some(slot) = self.slot_of(store) else { return };
        let Some(trouble) = &mut self.torrents[slot].keeping.trouble else { return };
        if trouble.stage != Stage::Probing {
            return;
        }
        match result {
            Err(error) => {
                trouble.was_gone |= error.is_gone();
                self.retry_later(cx, slot, error);
                self.settle_end(cx, slot);
            }
            Ok(()) => {
                trouble.stage = Stage::Trial;
                if !self.write_kept(cx, slot, 1) {
                    self.try_on(cx, slot);
                }
            }
        }
    }

    /// A step of a trial went well: does the next, or ends the trouble.
    pub(super) fn try_on(&mut self, cx: &mut Cx, slot: usize) {
        let keeping = &self.torrents[slot].keeping;
        let Some(trouble) = keeping.trouble.as_ref().filter(|trouble| trouble.stage == Stage::Trial) else {
            return;
        };
        let needs_sync = trouble.needs_sync;
        if keeping.writing > 0 || self.write_kept(cx, slot, usize::MAX) {
            return;
        }
        if needs_sync {
            self.sync(cx, slot);
        } else {
            self.recovered(cx, slot);
        }
    }

    /// The storage works again.
    fn recovered(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let Some(trouble) = torrent.keeping.trouble.take() else { return };
        cx.torrent_timers.cancel(slot, TorrentTimer::Retry);
        cx.out.event(Event::StorageRecovered { torrent: torrent.key });
        if trouble.was_gone {
            self.distrust(cx, slot);
        }
        for doubt in self.torrents[slot].keeping.doubts.values_mut() {
            doubt.again_at = doubt.again_at.map(|_| cx.now);
        }
        if let Some(unseen) = &mut self.torrents[slot].keeping.unseen {
            unseen.again_at = unseen.again_at.map(|_| cx.now);
        }
        self.review(cx, slot);
        self.arm_sync(cx, slot);
        self.arm_look(cx, slot);
        self.check_doubts(cx, slot);
        if self.torrents[slot].keeping.sweeps {
            self.sweep(cx, slot);
        }
        self.settle_end(cx, slot);
    }

    /// Files were gone and something is there again: what it holds is looked at before it is used.
    fn distrust(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        if !torrent.have.is_clear() {
            torrent.keeping.unverified = Some(torrent.have.clone());
            torrent.keeping.sweeps = true;
        }
        torrent.keeping.safe.clear();
        for piece in torrent.picker.partials().filter(|piece| piece.written() > 0) {
            let (store, blocks) = (torrent.store, piece.written_blocks());
            cx.out.jobs.push(Job::Restart { store, piece: piece.piece() });
            cx.out.jobs.push(Job::Adopt { store, piece: piece.piece(), blocks });
        }
    }

    /// Hands some of the blocks that were kept to the disk. Whether there were any.
    fn write_kept(&mut self, cx: &mut Cx, slot: usize, most: usize) -> bool {
        let torrent = &mut self.torrents[slot];
        let mut count = 0;
        while count < most
            && let Some((block, data)) = torrent.keeping.kept.pop_front()
        {
            cx.kept -= data.capacity();
            if torrent.picker.block_state(block) == BlockState::Received {
                cx.writing += data.capacity();
                torrent.keeping.writing += 1;
                cx.out.jobs.push(Job::Write { store: torrent.store, block, data });
                count += 1;
            } else {
                cx.pool.give(data);
            }
        }
        count > 0
    }

    /// The driver looked how much room there is.
    pub(crate) fn set_space(&mut self, cx: &mut Cx, store: StoreId, free: u64) {
        let Some(slot) = self.slot_of(store) else { return };
        let torrent = &mut self.torrents[slot];
        let is_low = free < cx.config.min_free;
        torrent.keeping.is_low = is_low;
        match &mut torrent.keeping.trouble {
            Some(trouble) if !is_low && trouble.is_floor => {
                // There is room: nothing failed, so there is nothing to wait for.
                trouble.is_floor = false;
                self.torrents[slot].keeping.wait = std::time::Duration::ZERO;
                self.retry(cx, slot);
            }
            None if is_low && torrent.activity == Activity::Downloading => {
                let name = torrent.meta.as_ref().map_or("", |meta| meta.name()).to_owned();
                let told = format!("{free} bytes are free, and {} are to be left", cx.config.min_free);
                let cause = std::io::Error::new(std::io::ErrorKind::StorageFull, told);
                self.storage_failed(cx, slot, StorageError::new(Operation::Allocate, name, None, cause));
                if let Some(trouble) = &mut self.torrents[slot].keeping.trouble {
                    trouble.is_floor = true;
                }
                self.settle_end(cx, slot);
            }
            _ => {}
        }
    }

    /// Brings what the torrent does in line with how it stands, and tells everyone of it.
    pub(super) fn review(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let next = torrent.next_activity();
        if next == torrent.activity {
            return;
        }
        let was = torrent.downloads();
        torrent.activity = next;
        let (is, peers) = (torrent.downloads(), torrent.peers.clone());
        if torrent.activity.is_seeding() && !torrent.keeping.told_complete {
            return self.finished(cx, slot);
        }
        self.mode_changed(cx, slot);
        self.verify(cx, slot);
        if was == is {
            return;
        }
        if is {
            let torrent = &mut self.torrents[slot];
            torrent.keeping.told_complete = false;
            torrent.keeping.verification.downloads();
            torrent.candidates.set_complete(cx.now, false);
            torrent.candidates.handle_wanted_again(cx.now);
        }
        for peer in peers {
            if !is {
                self.cancel_requests(cx, peer);
            }
            self.update_interest(cx, peer);
        }
        if is {
            self.feed_hungry(cx, slot);
            self.arm_dial(cx, slot);
        }
    }
}
