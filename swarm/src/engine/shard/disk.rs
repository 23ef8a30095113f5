//! What the disk answers.

use metainfo::{Block, PieceIndex};
use storage::{Buf, Completion, Job, StorageError, StoreId};
use wire::peer::Message;

use super::peer::{Peer, Sender};
use super::torrent::Activity;
use super::{PeerKey, Shard};
use crate::engine::changes::Columns;
use crate::engine::close::{Close, Timeout, Violation};
use crate::engine::cx::Cx;
use crate::engine::link::Direction;
use crate::engine::output::Event;
use crate::engine::scope::Scope;
use crate::engine::tx::MAX_CONTROL;

impl Shard {
    /// Takes an answer of the disk.
    pub(crate) fn handle_completion(&mut self, cx: &mut Cx, completion: Completion) {
        match completion {
            Completion::Written { store, blocks, buffers, result, .. } => {
                self.written(cx, store, &blocks, buffers, result);
            }
            Completion::Piece { store, piece, result } => self.checked(cx, store, piece, result),
            Completion::Read { token, range, data, result, .. } => {
                self.read_done(cx, token, range, data, result);
            }
            Completion::BlockDigests { store, piece, result } => {
                self.digested(cx, store, piece, result.ok().as_deref());
            }
            Completion::Synced { .. } => {}
        }
    }

    fn written(
        &mut self,
        cx: &mut Cx,
        store: StoreId,
        blocks: &[Block],
        buffers: Vec<Buf>,
        result: Result<(), StorageError>,
    ) {
        for buf in buffers {
            cx.writing -= buf.capacity();
            cx.pool.give(buf);
        }
        if cx.writing < cx.config.write_credit {
            cx.ready.disk_freed();
            self.wake_sources(cx);
        }
        let Some(slot) = self.slot_of(store) else { return };
        let torrent = &mut self.torrents[slot];
        match result {
            Ok(()) => blocks.iter().for_each(|block| torrent.picker.written(*block)),
            Err(error) => {
                blocks.iter().for_each(|block| torrent.picker.write_failed(*block));
                self.storage_failed(cx, slot, error);
            }
        }
    }

    fn checked(
        &mut self,
        cx: &mut Cx,
        store: StoreId,
        piece: PieceIndex,
        result: Result<bool, StorageError>,
    ) {
        let Some(slot) = self.slot_of(store) else { return };
        match result {
            Ok(true) => self.passed(cx, slot, piece),
            Ok(false) => self.failed(cx, slot, piece),
            Err(error) => {
                self.torrents[slot].blame.forget(piece);
                self.restart(cx, slot, piece);
                self.storage_failed(cx, slot, error);
            }
        }
    }

    /// A piece is there: everyone is told, and those that have nothing more for us are too.
    fn passed(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        if !torrent.have.set(piece.get()) {
            return;
        }
        let was_wanted = torrent.picker.is_wanted(piece);
        torrent.picker.piece_passed(piece);
        let key = torrent.key;
        if torrent.blame.passed(piece).needs_digests {
            cx.out.jobs.push(Job::BlockDigests { store: torrent.store, piece });
        }
        cx.out.event(Event::PieceDone { torrent: key, piece });
        self.ledger.mark(slot, Columns::PROGRESS | Columns::FILES);
        for at in 0..torrent.peers.len() {
            let peer_key = self.torrents[slot].peers[at];
            let peer = &mut self.peers[peer_key.slot()];
            peer.link.tx.push(&Message::Have(piece.get()));
            if peer.link.tx.control() > MAX_CONTROL {
                self.doomed.push((peer_key, peer.generation, Close::Timeout(Timeout::Idle)));
            }
            cx.ready.enlist(&mut peer.link, Direction::Write);
            if was_wanted && peer.has(piece) {
                peer.wanted -= 1;
                if peer.wanted == 0 {
                    self.update_interest(cx, peer_key);
                }
            }
        }
        if self.torrents[slot].downloads() && self.torrents[slot].picker.finished() {
            self.finished(cx, slot);
        }
    }

    /// All that is wanted is there.
    pub(super) fn finished(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        torrent.activity = Activity::Seeding;
        torrent.candidates.set_complete(cx.now, true);
        let key = torrent.key;
        if torrent.is_complete() {
            torrent.tracker.completed(cx.now);
            self.arm_tracker(cx, slot);
        }
        cx.out.event(Event::Complete { torrent: key });
        let peers = self.torrents[slot].peers.clone();
        for peer in peers {
            self.update_interest(cx, peer);
            self.part_if_redundant(cx, peer);
        }
        self.mode_changed(cx, slot);
    }

    /// A piece does not match: find out who sent what before its blocks are fetched anew.
    fn failed(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        torrent.totals.wasted += u64::from(torrent.geometry().piece_len(piece));
        cx.out.event(Event::PieceFailed { torrent: torrent.key, piece });
        self.ledger.mark(slot, Columns::RATES | Columns::PROGRESS);
        let verdict = torrent.blame.failed(piece);
        if verdict.needs_digests {
            cx.out.jobs.push(Job::BlockDigests { store: torrent.store, piece });
        } else {
            self.restart(cx, slot, piece);
        }
        self.convict(cx, slot, &verdict.guilty);
    }

    /// The digests of a failed piece are kept, and compared with those of the try that passes.
    fn digested(&mut self, cx: &mut Cx, store: StoreId, piece: PieceIndex, digests: Option<&[[u8; 20]]>) {
        let Some(slot) = self.slot_of(store) else { return };
        let torrent = &mut self.torrents[slot];
        let guilty = torrent.blame.digests(piece, digests);
        if !torrent.picker.has(piece) {
            self.restart(cx, slot, piece);
        }
        self.convict(cx, slot, &guilty);
    }

    /// Lets the blocks of a piece be fetched again.
    fn restart(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        torrent.picker.piece_failed(piece);
        cx.out.jobs.push(Job::Restart { store: torrent.store, piece });
        self.feed_hungry(cx, slot);
    }

    /// Bans peers that sent wrong data, also those that left meanwhile, and drops those that did not.
    fn convict(&mut self, cx: &mut Cx, slot: usize, guilty: &[Sender]) {
        for sender in guilty {
            if sender.ip.is_unspecified() {
                self.convict_source(cx, *sender);
                continue;
            }
            self.banned.push(*sender);
            let is_local = Scope::of(sender.ip).is_some_and(Scope::is_local);
            if !is_local {
                self.torrents[slot].candidates.ban(sender.ip);
            }
            let is_guilty = |key: &PeerKey| self.peers[key.slot()].sender() == *sender;
            let connected: Vec<_> = self.torrents[slot].peers.iter().copied().filter(is_guilty).collect();
            for key in connected {
                let Peer { torrent, link, listens, .. } = &self.peers[key.slot()];
                if let Some(addr) = listens.filter(|_| is_local) {
                    self.torrents[slot].candidates.refuse(addr);
                }
                cx.out.event(Event::PeerBanned { torrent: *torrent, addr: link.addr });
                self.leave(cx, key, Close::Violation(Violation::BadData));
            }
        }
    }

    /// Writing failed: nothing more is fetched, what is there is still served. No peer is to blame.
    pub(super) fn storage_failed(&mut self, cx: &mut Cx, slot: usize, error: StorageError) {
        let torrent = &mut self.torrents[slot];
        if !torrent.downloads() {
            return;
        }
        torrent.activity = Activity::Failed(error.clone());
        cx.out.event(Event::StorageFailed { torrent: torrent.key, error });
        let peers = torrent.peers.clone();
        self.mode_changed(cx, slot);
        for peer in peers {
            self.cancel_requests(cx, peer);
            self.update_interest(cx, peer);
        }
    }

    /// A piece that we said we have cannot be read.
    pub(super) fn read_failed(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex, error: StorageError) {
        let torrent = &mut self.torrents[slot];
        if torrent.have.clear(piece.get()) {
            self.ledger.mark(slot, Columns::PROGRESS | Columns::FILES);
            cx.out.event(Event::StorageFailed { torrent: torrent.key, error });
        }
    }
}
