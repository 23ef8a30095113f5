//! What the disk answers.

use metainfo::{Block, PieceIndex};
use storage::{Buf, Completion, Hashes, Job, StorageError, StoreId};
use wire::peer::Message;

use super::peer::{Peer, Sender};
use super::{PeerKey, Shard};
use crate::engine::changes::Columns;
use crate::engine::close::{Close, Timeout, Violation};
use crate::engine::cx::Cx;
use crate::engine::link::Direction;
use crate::engine::output::Event;
use crate::engine::scope::Scope;
use crate::engine::time::Time;

impl Shard {
    /// Takes an answer of the disk.
    pub(crate) fn handle_completion(&mut self, cx: &mut Cx, completion: Completion) {
        match completion {
            Completion::Written { store, blocks, buffers, result, .. } => {
                self.written(cx, store, &blocks, buffers, result.err());
            }
            Completion::Piece { store, piece, result } => {
                self.checked(cx, store, piece, result);
                self.slot_of(store).into_iter().for_each(|slot| self.settle_end(cx, slot));
            }
            Completion::Read { token, range, data, result, .. } => {
                self.read_done(cx, token, range, data, result);
            }
            Completion::BlockDigests { store, piece, result } => {
                self.digested(cx, store, piece, result.ok().as_deref());
                self.slot_of(store).into_iter().for_each(|slot| self.settle_end(cx, slot));
            }
            Completion::Synced { store, token, result } => self.synced(cx, store, token, result),
            Completion::Probed { store, result } => self.probed(cx, store, result),
            Completion::Looked { store, result } => self.looked(cx, store, result),
        }
    }

    fn written(
        &mut self,
        cx: &mut Cx,
        store: StoreId,
        blocks: &[Block],
        buffers: Vec<Buf>,
        error: Option<StorageError>,
    ) {
        cx.writing -= buffers.iter().map(Buf::capacity).sum::<usize>();
        let slot = self.slot_of(store);
        let mut buffers = Some(buffers);
        let is_ok = error.is_none();
        if let (Some(slot), Some(error)) = (slot, error) {
            self.write_failed(cx, slot, blocks, buffers.take().unwrap_or_default(), error);
        }
        buffers.into_iter().flatten().for_each(|buf| cx.pool.give(buf));
        if cx.writing < cx.config.write_credit {
            cx.ready.disk_freed();
            self.wake_sources(cx);
        }
        let Some(slot) = slot else { return };
        let torrent = &mut self.torrents[slot];
        torrent.keeping.writing -= blocks.len();
        if is_ok {
            blocks.iter().for_each(|block| torrent.picker.written(*block));
            if !std::mem::replace(&mut torrent.keeping.dirty, true) {
                self.arm_sync(cx, slot);
            }
            self.arm_look(cx, slot);
            self.try_on(cx, slot);
        }
        self.settle_end(cx, slot);
    }

    fn checked(
        &mut self,
        cx: &mut Cx,
        store: StoreId,
        piece: PieceIndex,
        result: Result<Hashes, StorageError>,
    ) {
        let Some(slot) = self.slot_of(store) else { return };
        let torrent = &mut self.torrents[slot];
        if torrent.keeping.checking.remove(&piece) {
            return self.check_done(cx, slot, piece, result);
        }
        if result.is_ok() && !torrent.picker.has(piece) && self.reads_back(cx, slot, piece) {
            return;
        }
        let torrent = &mut self.torrents[slot];
        match result {
            Ok(Hashes::Match) => self.passed(cx, slot, piece),
            Ok(Hashes::Differ) if !torrent.picker.has(piece) => self.failed(cx, slot, piece),
            Ok(Hashes::Contradict) if !torrent.picker.has(piece) => self.contradicted(cx, slot, piece),
            // A piece that passed was looked at again.
            Ok(_) => {
                torrent.hush(cx.now, piece);
                torrent.keeping.to_check.push_back(piece);
                self.check_doubts(cx, slot);
            }
            // Its bytes were written, but could not be read back to hash them.
            Err(error) => {
                torrent.hush(cx.now, piece);
                self.doubt(cx, slot, piece, &error);
            }
        }
    }

    /// A piece is there: everyone is told, and those that have nothing more for us are too.
    pub(super) fn passed(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        if !torrent.have.set(piece.get()) {
            return;
        }
        let was_wanted = torrent.picker.is_wanted(piece);
        let was_full = torrent.picker.is_full();
        torrent.picker.piece_passed(piece);
        let key = torrent.key;
        if torrent.blame.passed(piece).needs_digests {
            cx.out.jobs.push(Job::BlockDigests { store: torrent.store, piece });
        }
        cx.out.event(Event::PieceDone { torrent: key, piece });
        self.is_fresh(cx, slot, piece);
        self.ledger.mark(slot, Columns::PROGRESS | Columns::FILES);
        self.tell_have(cx, slot, piece);
        for at in 0..self.torrents[slot].peers.len() {
            let peer_key = self.torrents[slot].peers[at];
            let peer = &mut self.peers[peer_key.slot()];
            if was_wanted && peer.has(piece) {
                peer.wanted -= 1;
                if peer.wanted == 0 {
                    self.update_interest(cx, peer_key);
                }
            }
        }
        if was_full {
            self.feed_hungry(cx, slot);
        }
        if self.torrents[slot].picker.finished() {
            self.review(cx, slot);
        }
    }

    /// Tells every peer that we have a piece.
    pub(super) fn tell_have(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        self.tell_have_since(cx, slot, piece, Time::ZERO);
    }

    /// Tells the peers that were told what we have at a time or later.
    pub(super) fn tell_have_since(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex, since: Time) {
        for at in 0..self.torrents[slot].peers.len() {
            let key = self.torrents[slot].peers[at];
            let peer = &mut self.peers[key.slot()];
            if peer.greeted < since {
                continue;
            }
            peer.link.tx.push(&Message::Have(piece.get()));
            cx.ready.enlist(&mut peer.link, Direction::Write);
            let generation = peer.generation;
            self.count_held(cx, key);
            if self.is_deaf(cx, key) {
                self.doomed.push((key, generation, Close::Timeout(Timeout::Idle)));
            }
        }
    }

    /// All that is wanted is there.
    pub(super) fn finished(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        torrent.keeping.told_complete = true;
        torrent.candidates.set_complete(cx.now, true);
        let key = torrent.key;
        if torrent.is_complete() {
            if torrent.keeping.began_whole {
                // It was complete all the time, and some of it could not be looked at.
                torrent.tracker.was_complete();
            } else {
                torrent.completed = Some(cx.now);
                torrent.tracker.completed(cx.now);
            }
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
        torrent.totals.wasted += torrent.picker.payload(piece);
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

    /// A piece of a hybrid whose hashes are of different bytes: it never comes to be right.
    fn contradicted(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        let key = torrent.key;
        torrent.totals.wasted += torrent.picker.payload(piece);
        torrent.blame.forget(piece);
        cx.out.event(Event::PieceContradicts { torrent: key, piece });
        self.ledger.mark(slot, Columns::RATES | Columns::PROGRESS);
        self.restart(cx, slot, piece);
        self.pause(cx, key);
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
    pub(super) fn restart(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        torrent.picker.piece_failed(piece);
        torrent.keeping.forget(piece);
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
}
