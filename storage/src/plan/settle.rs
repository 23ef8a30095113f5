//! How orders come back and become answers.

use super::order::{BackWork, ReadBack, ReadPart, Reads, StoreLook, StoreProbe, StoreSync, Stripe};
use super::piece::Scan;
use super::upkeep::Task;
use super::{Plan, refuse};
use crate::{Buf, Completion, Hashes, StorageError, StoreId, Token};
use metainfo::{Block, PieceIndex};

impl Plan {
    pub(super) fn done_stripe(&mut self, mut stripe: Stripe) {
        let piece = self.pieces.get(stripe.slot);
        let (id, index) = piece.key;
        if let (Some(writing), Some(store)) = (&mut piece.writing, self.stores.get_mut(&id)) {
            let was = writing.is_complete();
            writing.end_stripe(&mut stripe);
            store.orders -= 1;
            store.owed -= usize::from(was && !writing.is_complete());
        }
        self.held_in_orders -= stripe.buffers.iter().map(Buf::capacity).sum::<usize>();
        let (written, verdict) = match stripe.result.unwrap_or_else(|| Err(refuse::not_done(id))) {
            Ok(verdict) => (Ok(()), verdict),
            Err(error) => (Err(error), None),
        };
        self.answer_writes(id, stripe.epoch, index, stripe.blocks, stripe.buffers, written);
        if let Some(verdict) = verdict {
            self.pieces.get(stripe.slot).writing = None;
            self.end_piece(id, index, verdict);
        }
        self.advance(stripe.slot);
        self.close_if_over(id);
    }

    pub(super) fn done_reads(&mut self, reads: Reads) {
        let store = reads.store;
        self.pieces.get(reads.slot).reading -= 1;
        self.end_order(store);
        for ReadPart { token, range, data, result } in reads.parts {
            self.held_in_orders -= data.capacity();
            self.answered(store, 1, data.capacity());
            let result = result.unwrap_or_else(|| Err(refuse::not_done(store)));
            self.answer(Completion::Read { store, token, range, data, result });
        }
        self.advance(reads.slot);
        self.close_if_over(store);
    }

    pub(super) fn done_back(&mut self, mut back: ReadBack) {
        let slot = back.slot;
        let (id, index) = self.pieces.get(slot).key;
        self.end_order(id);
        let work = std::mem::replace(&mut back.work, BackWork::Digests(Vec::new()));
        match work {
            BackWork::Continue(hasher) => {
                let piece = self.pieces.get(slot);
                let result = back.result.take().unwrap_or_else(|| Err(refuse::not_done(id)));
                if let Some(writing) = &mut piece.writing {
                    writing.end_back(back.blocks.end, result.as_ref().err(), hasher);
                }
                if let Ok(Some(verdict)) = result {
                    piece.writing = None;
                    self.end_piece(id, index, verdict);
                }
            }
            work => self.done_scan(back, work),
        }
        self.advance(slot);
        self.close_if_over(id);
    }

    /// A part of a check or digest ended: goes on with it, or answers.
    fn done_scan(&mut self, back: ReadBack, work: BackWork) {
        self.scans_under_way -= 1;
        let piece = self.pieces.get(back.slot);
        let (store, index) = piece.key;
        let result = back.result.unwrap_or_else(|| Err(refuse::not_done(store)));
        if result.is_ok() && !back.ends {
            piece.scan = Scan::Ready(work, back.blocks.end);
            self.scans.push_front(back.slot);
            return;
        }
        piece.scan = Scan::None;
        self.answered(store, 1, 0);
        self.answer(match work {
            BackWork::Digests(digests) => {
                Completion::BlockDigests { store, piece: index, result: result.map(|_| digests) }
            }
            BackWork::Check(_) | BackWork::Continue(_) => {
                let verdict =
                    result.and_then(|verdict| verdict.unwrap_or_else(|| Err(refuse::not_done(store))));
                Completion::Piece { store, piece: index, result: verdict }
            }
        });
    }

    pub(super) fn done_sync(&mut self, sync: StoreSync) {
        let store = sync.store;
        self.end_upkeep(store);
        let result = sync.result.unwrap_or_else(|| Err(refuse::not_done(store)));
        for token in sync.tokens {
            self.answered(store, 1, 0);
            self.answer(Completion::Synced { store, token, result: result.clone() });
        }
        self.close_if_over(store);
    }

    pub(super) fn done_probe(&mut self, probe: StoreProbe) {
        let store = probe.store;
        self.end_upkeep(store);
        self.answered(store, 1, 0);
        let result = probe.result.unwrap_or_else(|| Err(refuse::not_done(store)));
        self.answer(Completion::Probed { store, result });
        self.close_if_over(store);
    }

    pub(super) fn done_look(&mut self, look: StoreLook) {
        let store = look.store;
        self.end_upkeep(store);
        self.answered(store, 1, 0);
        let result = look.result.unwrap_or_else(|| Err(refuse::not_done(store)));
        self.answer(Completion::Looked { store, result });
        self.close_if_over(store);
    }

    pub(super) fn queue_sync(&mut self, store: StoreId, tokens: Vec<Token>) {
        if let Some(state) = self.stores.get(&store).filter(|_| !tokens.is_empty()) {
            self.upkeep.push(state.lane, Task::Sync(store, tokens));
        }
    }

    fn end_upkeep(&mut self, id: StoreId) {
        self.end_order(id);
        if let Some(store) = self.stores.get(&id) {
            self.upkeep.end(store.lane);
        }
    }

    pub(super) fn answer_writes(
        &mut self,
        store: StoreId,
        epoch: u64,
        piece: PieceIndex,
        blocks: Vec<Block>,
        buffers: Vec<Buf>,
        result: Result<(), StorageError>,
    ) {
        let bytes = buffers.iter().map(Buf::capacity).sum();
        self.answered(store, blocks.len(), bytes);
        if let Some(state) = self.stores.get_mut(&store) {
            let ready = state.end_writes(epoch, blocks.len());
            self.queue_sync(store, ready);
        }
        self.answer(Completion::Written { store, piece, blocks, buffers, result });
    }

    pub(super) fn end_piece(&mut self, id: StoreId, piece: PieceIndex, result: Result<Hashes, StorageError>) {
        if let Some(store) = self.stores.get_mut(&id) {
            store.owed -= 1;
        }
        self.answer(Completion::Piece { store: id, piece, result });
    }

    pub(super) fn answer(&mut self, answer: Completion) {
        self.has_urgent |= !matches!(answer, Completion::Written { result: Ok(()), .. });
        self.completions.push(answer);
    }

    fn end_order(&mut self, id: StoreId) {
        if let Some(store) = self.stores.get_mut(&id) {
            store.orders -= 1;
        }
    }

    pub(super) fn answered(&mut self, id: StoreId, jobs: usize, bytes: usize) {
        self.held -= bytes;
        if let Some(store) = self.stores.get_mut(&id) {
            store.jobs -= jobs;
        }
    }

    pub(super) fn close_if_over(&mut self, id: StoreId) {
        if self.stores.get(&id).is_some_and(|store| store.detached && store.is_idle()) {
            self.stores.remove(&id);
            self.pieces.forget(id);
            self.closed.push(id);
        }
    }
}
