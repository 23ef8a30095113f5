//! How jobs come in, wait for what is in their way, and begin.

use super::order::{BackWork, ReadPart};
use super::piece::{Scan, Waiting};
use super::upkeep::Task;
use super::writing::{Held, Writing};
use super::{Plan, no_store, refuse};
use crate::{Job, StorageError};

impl Plan {
    /// Whether the job names what there is.
    pub(super) fn check(&self, job: &Job) -> Result<(), StorageError> {
        let id = refuse::store_of(job);
        let store = self.stores.get(&id).filter(|store| !store.detached).ok_or_else(|| no_store(id))?;
        let fits = match job {
            Job::Write { block, data, .. } => store.has_block(*block) && data.len() == block.len() as usize,
            Job::Read { range, data, .. } => {
                let g = &store.geometry;
                g.range_at(range.piece().get(), range.begin(), range.len(), u32::MAX).is_ok()
                    && data.capacity() >= range.len() as usize
            }
            Job::Restart { piece, .. } | Job::Check { piece, .. } | Job::BlockDigests { piece, .. } => {
                store.geometry.piece(piece.get()).is_ok()
            }
            Job::Adopt { piece, blocks, .. } => {
                let count =
                    store.geometry.piece(piece.get()).map_or(0, |piece| store.geometry.blocks_in(piece));
                blocks.iter().all(|block| *block < count)
            }
            Job::Sync { .. } | Job::Probe { .. } | Job::Look { .. } => true,
        };
        if fits { Ok(()) } else { Err(refuse::misfit(id)) }
    }

    /// Takes a job that was checked.
    pub(super) fn admit(&mut self, job: Job) {
        let id = refuse::store_of(&job);
        self.held += refuse::buffer_bytes(&job);
        let Some(store) = self.stores.get_mut(&id) else { return };
        store.jobs += 1;
        let (piece, waiting) = match job {
            Job::Write { block, data, .. } => {
                let epoch = store.begin_write();
                (block.piece(), Waiting::Write { block, held: Held { data, epoch } })
            }
            Job::Read { token, range, data, .. } => {
                (range.piece(), Waiting::Read(ReadPart { token, range, data, result: None }))
            }
            Job::Restart { piece, .. } => (piece, Waiting::Restart),
            Job::Adopt { piece, blocks, .. } => (piece, Waiting::Adopt(blocks)),
            Job::Check { piece, .. } => (piece, Waiting::Check),
            Job::BlockDigests { piece, .. } => (piece, Waiting::Digests),
            Job::Sync { token, .. } => {
                let ready = store.begin_sync(token);
                self.queue_sync(id, ready);
                self.flush();
                return;
            }
            Job::Probe { write, .. } => return self.upkeep.push(store.lane, Task::Probe(id, write)),
            Job::Look { .. } => return self.upkeep.push(store.lane, Task::Look(id)),
        };
        let slot = self.pieces.slot((id, piece));
        let entry = self.pieces.get(slot);
        if entry.waiting.is_empty() && !entry.blocks(&waiting) {
            self.start(slot, waiting);
        } else {
            entry.waiting.push_back(waiting);
        }
        self.advance(slot);
        while self.lingering_bytes > self.config.linger && !self.lingering.is_empty() {
            self.hurry_oldest();
        }
    }

    /// Begins a job that nothing of its piece is in the way of.
    pub(super) fn start(&mut self, slot: usize, job: Waiting) {
        let piece = self.pieces.get(slot);
        let id = piece.key.0;
        let Some(store) = self.stores.get_mut(&id) else { return };
        match job {
            Waiting::Write { block, held } => {
                let writing = piece.writing.get_or_insert_with(|| store.begin_piece(block.piece()));
                let (was, epoch) = (writing.is_complete(), held.epoch);
                let accepted = writing.accept(block.index(), held);
                store.owed += usize::from(writing.is_complete() && !was);
                if let Err(data) = accepted {
                    self.answer_writes(id, epoch, block.piece(), vec![block], vec![data], Ok(()));
                }
            }
            Waiting::Adopt(blocks) => {
                let index = piece.key.1;
                let writing = piece.writing.get_or_insert_with(|| store.begin_piece(index));
                let was = writing.is_complete();
                blocks.into_iter().for_each(|block| writing.adopt(block));
                store.owed += usize::from(writing.is_complete() && !was);
                self.answered(id, 1, 0);
            }
            Waiting::Read(part) => piece.reads.push_back(part),
            Waiting::Restart => {
                piece.writing = None;
                self.answered(id, 1, 0);
            }
            Waiting::Check => {
                piece.scan = Scan::Ready(BackWork::Check(store.hasher(piece.key.1)), 0);
                self.scans.push_back(slot);
            }
            Waiting::Digests => {
                piece.scan = Scan::Ready(BackWork::Digests(Vec::new()), 0);
                self.scans.push_back(slot);
            }
        }
    }

    /// Brings a piece that changed into the queues it belongs to now.
    pub(super) fn advance(&mut self, slot: usize) {
        self.give_failed_verdict(slot);
        while let Some(job) = self.startable(slot) {
            self.start(slot, job);
        }
        let stripe = self.config.stripe;
        let piece = self.pieces.get(slot);
        let mut lingering_bytes = 0;
        if let Some(writing) = &mut piece.writing {
            writing.urgent |= !piece.waiting.is_empty() && writing.pending_bytes() > 0;
            if writing.next(stripe).is_none() {
                lingering_bytes = if writing.urgent { 0 } else { writing.pending_bytes() };
            } else if !piece.in_writes {
                piece.in_writes = true;
                self.writes.push_back(slot);
            }
        }
        if lingering_bytes > 0 && !piece.in_lingering {
            piece.in_lingering = true;
            self.lingering.push_back((slot, self.ticks));
        }
        self.lingering_bytes = self.lingering_bytes - piece.lingering_bytes + lingering_bytes;
        piece.lingering_bytes = lingering_bytes;
        if !piece.reads.is_empty() && !piece.in_reads {
            piece.in_reads = true;
            self.reads.push_back(slot);
        }
        self.pieces.release(slot);
    }

    pub(super) fn startable(&mut self, slot: usize) -> Option<Waiting> {
        let piece = self.pieces.get(slot);
        let first = piece.waiting.front()?;
        if piece.blocks(first) { None } else { piece.waiting.pop_front() }
    }

    pub(super) fn give_failed_verdict(&mut self, slot: usize) {
        let piece = self.pieces.get(slot);
        if let Some(error) = piece.writing.as_ref().and_then(Writing::failure) {
            let (error, (store, index)) = (error.clone(), piece.key);
            piece.writing = None;
            self.end_piece(store, index, Err(error));
        }
    }

    /// Writes what of the piece that lingers longest.
    pub(super) fn hurry_oldest(&mut self) {
        let Some((slot, _)) = self.lingering.pop_front() else { return };
        let piece = self.pieces.get(slot);
        piece.in_lingering = false;
        if let Some(writing) = piece.writing.as_mut().filter(|writing| writing.pending_bytes() > 0) {
            writing.urgent = true;
        }
        self.advance(slot);
    }
}
