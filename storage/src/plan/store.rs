//! One store: what it is measured by, how much is under way, which syncs wait for which writes.

use super::upkeep::Lane;
use super::writing::Writing;
use crate::pads::Pads;
use crate::{PieceHasher, Pieces, Token};
use metainfo::{Block, Geometry, PieceIndex};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

pub(super) struct StoreState {
    /// In which its syncs and probes are done.
    pub(super) lane: Lane,
    pub(super) geometry: Geometry,
    pieces: Arc<dyn Pieces>,
    pads: Pads,
    /// Jobs without an answer.
    pub(super) jobs: usize,
    /// Orders under way.
    pub(super) orders: usize,
    /// Pieces whose blocks all came and that have no verdict yet.
    pub(super) owed: usize,
    pub(super) detached: bool,
    /// The writes between two syncs, oldest first; never empty. A sync closes the last one.
    epochs: VecDeque<Epoch>,
    first_epoch: u64,
}

#[derive(Debug, Default)]
struct Epoch {
    /// Blocks that are not written yet.
    writes: usize,
    /// Syncs that wait for them and all before.
    syncs: Vec<Token>,
}

impl StoreState {
    pub(super) fn new(lane: Lane, pieces: Arc<dyn Pieces>) -> Self {
        Self {
            lane,
            geometry: pieces.geometry().clone(),
            pads: pieces.pads(),
            pieces,
            jobs: 0,
            orders: 0,
            owed: 0,
            detached: false,
            epochs: VecDeque::from([Epoch::default()]),
            first_epoch: 0,
        }
    }

    pub(super) fn hasher(&self, piece: PieceIndex) -> PieceHasher {
        self.pieces.hasher(piece)
    }

    /// A piece of which nothing came yet.
    pub(super) fn begin_piece(&self, piece: PieceIndex) -> Writing {
        Writing::new(self.geometry.blocks_in(piece), self.hasher(piece), |at| self.is_pad(piece, at))
    }

    pub(super) fn has_block(&self, block: Block) -> bool {
        block.piece().get() < self.geometry.piece_count()
            && self.geometry.block(block.piece(), block.index()) == Some(block)
    }

    pub(super) fn is_pad(&self, piece: PieceIndex, block: u32) -> bool {
        !self.pads.is_empty()
            && self.geometry.block(piece, block).is_some_and(|block| self.pads.covers(&self.geometry, block))
    }

    /// Whether nothing of it is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs == 0 && self.orders == 0 && self.owed == 0
    }

    /// Counts a block in, and says which epoch it belongs to.
    pub(super) fn begin_write(&mut self) -> u64 {
        let last = self.epochs.len() - 1;
        self.epochs[last].writes += 1;
        self.first_epoch + last as u64
    }

    /// Blocks of an epoch were answered. Gives the syncs that can go now.
    pub(super) fn end_writes(&mut self, epoch: u64, count: usize) -> Vec<Token> {
        self.epochs[(epoch - self.first_epoch) as usize].writes -= count;
        self.ready_syncs()
    }

    /// Asks for a sync after all writes so far. Gives the syncs that can go now.
    pub(super) fn begin_sync(&mut self, token: Token) -> Vec<Token> {
        let last = self.epochs.len() - 1;
        if last > 0 && self.epochs[last].writes == 0 {
            self.epochs[last - 1].syncs.push(token);
            return Vec::new();
        }
        self.epochs[last].syncs.push(token);
        self.epochs.push_back(Epoch::default());
        self.ready_syncs()
    }

    fn ready_syncs(&mut self) -> Vec<Token> {
        let mut ready = Vec::new();
        while self.epochs.len() > 1 && self.epochs[0].writes == 0 {
            ready.extend(self.epochs.pop_front().into_iter().flat_map(|epoch| epoch.syncs));
            self.first_epoch += 1;
        }
        ready
    }
}

impl fmt::Debug for StoreState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreState")
            .field("jobs", &self.jobs)
            .field("orders", &self.orders)
            .field("owed", &self.owed)
            .field("detached", &self.detached)
            .field("epochs", &self.epochs)
            .finish_non_exhaustive()
    }
}
