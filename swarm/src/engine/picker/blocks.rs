//! What became of the blocks that were asked for.

use super::partial::{Others, Partial, Set};
use super::{BlockState, PeerKey, Picker, Priority, State};
use metainfo::{Block, PieceIndex};

/// Most allocations kept for later partial pieces.
const SPARE: usize = 64;

/// What to do with a block that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The first copy: write it, and cancel the request at the others.
    First {
        /// Others who were asked for it. The picker has forgotten their requests.
        others: Others,
    },
    /// We have it already: drop it.
    Duplicate,
    /// The peer was not asked for it and it is still missing; nothing was changed. See [`Picker::accept`].
    NotRequested,
}

impl Picker {
    /// Where a block stands. Blocks of verified pieces and of padding are written, others of untouched pieces free.
    pub fn block_state(&self, block: Block) -> BlockState {
        match self.table.state(block.piece().get()) {
            State::Untouched if self.pads.covers(&self.geometry, block) => BlockState::Written,
            State::Untouched => BlockState::Free,
            State::Partial(at) => self.partials[at as usize].state(block.index()),
            State::Have => BlockState::Written,
        }
    }

    /// The peers that were asked for a block and have not answered.
    pub fn asked_of(&self, block: Block) -> impl Iterator<Item = PeerKey> {
        let partial = match self.table.state(block.piece().get()) {
            State::Partial(at) => Some(&self.partials[at as usize]),
            _ => None,
        };
        partial.into_iter().flat_map(move |p| p.asked_of(block.index()))
    }

    /// A block came from a peer.
    pub fn received(&mut self, block: Block, peer: PeerKey) -> Received {
        match self.block_state(block) {
            BlockState::Received | BlockState::Written => Received::Duplicate,
            BlockState::Asked(_) if self.asked_of(block).any(|p| p == peer) => self.take_in(block, peer),
            BlockState::Asked(_) | BlockState::Free => Received::NotRequested,
        }
    }

    /// A block came from a peer whose request was given up before, and is to be kept if it is missing: never
    /// [`Received::NotRequested`]. For blocks that come late, after a time-out or from a peer without the Fast extension
    /// after a choke.
    pub fn accept(&mut self, block: Block, peer: PeerKey) -> Received {
        match self.block_state(block) {
            BlockState::Received | BlockState::Written => Received::Duplicate,
            BlockState::Asked(_) | BlockState::Free => self.take_in(block, peer),
        }
    }

    fn take_in(&mut self, block: Block, peer: PeerKey) -> Received {
        let at = match self.table.state(block.piece().get()) {
            State::Partial(at) => at as usize,
            _ => self.start(block.piece()),
        };
        self.count_in(at, block);
        let others = self.edit(at, |partial| partial.receive(block.index(), peer));
        Received::First { others }
    }

    /// The peer will not send the block (reject, choke, time-out, cancelled, gone): back to the pool. Whether the peer
    /// had been asked for it. When a peer leaves, release each of its requests.
    pub fn release(&mut self, block: Block, peer: PeerKey) -> bool {
        let State::Partial(at) = self.table.state(block.piece().get()) else { return false };
        let released = self.edit(at as usize, |partial| partial.release(block.index(), peer));
        if released {
            self.announce_stale(at as usize, block);
            self.drop_if_blank(at as usize);
        }
        released
    }

    /// A stale block that somebody gave back can be asked of that peer again, and of another when all that may be asked were:
    /// those that looked at the piece before have to look again.
    fn announce_stale(&mut self, at: usize, block: Block) {
        let partial = &self.partials[at];
        if partial.contains(Set::Stale, block.index()) && partial.joinable_at.is_some() {
            self.openings.push(block.piece().get());
        }
    }

    /// The peer that was asked for the block is slow to answer: others may be asked too, though it is not the endgame. Whether
    /// anybody is asked for it at all.
    pub fn stale(&mut self, block: Block) -> bool {
        let State::Partial(at) = self.table.state(block.piece().get()) else { return false };
        self.edit(at as usize, |partial| {
            let owner = partial.owner;
            let asked = partial.mark_stale(block.index());
            if asked && partial.asked_of(block.index()).any(|p| p == owner) {
                partial.free_from_owner();
            }
            asked
        })
    }

    /// Somebody waits for the piece: no peer has it to itself any more. If it is late, others may be asked for all of it.
    pub fn hurry(&mut self, piece: PieceIndex, late: bool) {
        let at = match self.table.state(piece.get()) {
            State::Partial(at) => at as usize,
            // It is begun whatever the limit.
            State::Untouched if self.is_wanted(piece) => self.start(piece),
            State::Untouched | State::Have => return,
        };
        self.edit(at, |partial| {
            if !partial.alone {
                partial.free_from_owner();
            }
            if late {
                (0..partial.blocks).for_each(|block| {
                    partial.mark_stale(block);
                });
            }
        });
    }

    /// The block was handed to the file system.
    pub fn written(&mut self, block: Block) {
        if let State::Partial(at) = self.table.state(block.piece().get()) {
            self.partials[at as usize].write(block.index());
        }
    }

    /// These blocks of a missing piece are with the file system from an earlier run.
    pub fn adopt(&mut self, piece: PieceIndex, blocks: &[u32]) {
        let at = match self.table.state(piece.get()) {
            State::Have => return,
            State::Partial(at) => at as usize,
            State::Untouched if blocks.is_empty() => return,
            State::Untouched => self.start(piece),
        };
        for index in blocks {
            let Some(block) = self.geometry.block(piece, *index) else { continue };
            if self.edit(at, |partial| partial.adopt(block.index())) {
                self.count_in(at, block);
            }
        }
        self.drop_if_blank(at);
    }

    /// The block could not be written: it is missing again.
    pub fn write_failed(&mut self, block: Block) {
        let State::Partial(at) = self.table.state(block.piece().get()) else { return };
        if self.edit(at as usize, |partial| partial.lose(block.index())) {
            let bytes = self.kept_bytes(block);
            self.counts.partial_bytes -= bytes;
            self.partials[at as usize].bytes -= bytes;
            self.drop_if_blank(at as usize);
        }
    }

    /// All blocks of the piece were written and its hash matched.
    pub fn piece_passed(&mut self, piece: PieceIndex) {
        self.have(piece);
    }

    /// The hash of the piece did not match, or what was written cannot be relied on: all its blocks are missing again, and
    /// all requests in it forgotten.
    pub fn piece_failed(&mut self, piece: PieceIndex) {
        let State::Partial(at) = self.table.state(piece.get()) else { return };
        let (at, before) = (at as usize, self.before(at as usize));
        let partial = &mut self.partials[at];
        self.counts.partial_bytes -= partial.bytes;
        self.counts.claimed -= usize::from(partial.claimed);
        partial.reset();
        self.pads.blocks(&self.geometry, piece).for_each(|blocks| partial.pad(blocks));
        self.after(at, before);
    }

    /// Counts the bytes of a block that came, or that was there.
    fn count_in(&mut self, at: usize, block: Block) {
        let bytes = self.kept_bytes(block);
        self.counts.partial_bytes += bytes;
        self.partials[at].bytes += bytes;
    }

    /// Bytes of a block that are not padding.
    pub(super) fn kept_bytes(&self, block: Block) -> u64 {
        self.pads.payload(&self.geometry, block.range())
    }

    /// Begins an untouched piece: joinable, every block free but those of padding. Its index among the partial pieces.
    pub(super) fn start(&mut self, piece: PieceIndex) -> usize {
        let at = self.partials.len();
        let store = self.spare.pop().unwrap_or_default();
        self.table.set_partial(piece.get(), at as u32);
        let mut partial = Partial::new(piece, self.geometry.blocks_in(piece), store);
        self.pads.blocks(&self.geometry, piece).for_each(|blocks| partial.pad(blocks));
        self.partials.push(partial);
        if self.untouched.remove(piece.get()) {
            self.counts.free_blocks += u64::from(self.partials[at].free);
        }
        self.settle(at, false);
        at
    }

    /// Changes a partial piece and keeps the totals and the list of joinable pieces in step.
    pub(super) fn edit<R>(&mut self, at: usize, f: impl FnOnce(&mut Partial) -> R) -> R {
        let before = self.before(at);
        let result = f(&mut self.partials[at]);
        self.after(at, before);
        result
    }

    /// Free and stale blocks of a partial piece that is about to change.
    pub(super) fn before(&self, at: usize) -> (u32, u32) {
        let partial = &self.partials[at];
        (partial.free, partial.stale)
    }

    /// Takes account of what changed in a partial piece since [`Self::before`].
    pub(super) fn after(&mut self, at: usize, (free, stale): (u32, u32)) {
        let partial = &self.partials[at];
        let (index, listed) = (partial.piece.get(), partial.joinable_at.is_some());
        let more = partial.free > free || partial.stale > stale;
        if self.wanted.contains(index) {
            self.counts.free_blocks = self.counts.free_blocks - u64::from(free) + u64::from(partial.free);
        }
        self.settle(at, true);
        if more && listed && self.partials[at].joinable_at.is_some() {
            self.openings.push(index);
        }
    }

    /// Puts a partial piece on the list of joinable pieces or takes it off.
    pub(super) fn settle(&mut self, at: usize, announce: bool) {
        let partial = &self.partials[at];
        let index = partial.piece.get();
        let open = partial.owner == PeerKey::NONE && (partial.free > 0 || partial.stale > 0);
        let joinable = open && self.wanted.contains(index);
        match (partial.joinable_at, joinable) {
            (None, true) => {
                self.partials[at].joinable_at = Some(self.joinable_list.len() as u32);
                self.joinable_list.push(index);
                self.joinable.insert(index);
                if announce {
                    self.openings.push(index);
                }
            }
            (Some(_), false) => self.unlist(at),
            _ => {}
        }
    }

    fn unlist(&mut self, at: usize) {
        let Some(place) = self.partials[at].joinable_at.take() else { return };
        self.joinable.remove(self.partials[at].piece.get());
        self.joinable_list.swap_remove(place as usize);
        if let Some(&moved) = self.joinable_list.get(place as usize)
            && let State::Partial(other) = self.table.state(moved)
        {
            self.partials[other as usize].joinable_at = Some(place);
        }
    }

    /// Forgets a partial piece. The caller gives the piece another state.
    pub(super) fn remove_partial(&mut self, at: u32) {
        let at = at as usize;
        self.unlist(at);
        let partial = self.partials.swap_remove(at);
        if let Some(moved) = self.partials.get(at) {
            self.table.set_partial(moved.piece.get(), at as u32);
        }
        if self.wanted.contains(partial.piece.get()) {
            self.counts.free_blocks -= u64::from(partial.free);
        }
        self.counts.partial_bytes -= partial.bytes;
        self.counts.claimed -= usize::from(partial.claimed);
        if self.spare.len() < SPARE {
            self.spare.push(partial.into_store());
        }
    }

    /// A partial piece of which every block is free is untouched again.
    pub(super) fn drop_if_blank(&mut self, at: usize) {
        let partial = &self.partials[at];
        if !partial.blank() {
            return;
        }
        let piece = partial.piece;
        self.remove_partial(at as u32);
        self.table.set_untouched(piece.get());
        if self.priority(piece) != Priority::Skip {
            self.untouched.insert(piece.get());
            self.openings.push(piece.get());
        }
    }
}
