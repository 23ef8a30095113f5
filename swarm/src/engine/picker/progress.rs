//! Views for user interfaces, and the check of the whole structure.

use super::partial::Partial;
use super::{BlockState, PeerKey, Picker, Priority, State};
use metainfo::PieceIndex;

/// A piece in progress, for display.
#[derive(Clone, Copy)]
pub struct InProgress<'a>(&'a Partial);

impl InProgress<'_> {
    /// Which piece.
    pub fn piece(&self) -> PieceIndex {
        self.0.piece
    }

    /// Blocks in it.
    pub fn blocks(&self) -> u32 {
        self.0.blocks
    }

    /// Blocks that nobody was asked for.
    pub fn free(&self) -> u32 {
        self.0.free
    }

    /// Blocks that were asked for and have not come.
    pub fn asked(&self) -> u32 {
        self.0.asked
    }

    /// Blocks in memory, on their way to the disk.
    pub fn received(&self) -> u32 {
        self.0.received
    }

    /// Blocks handed to the file system.
    pub fn written(&self) -> u32 {
        self.0.written()
    }

    /// Whether every block was.
    pub fn is_written(&self) -> bool {
        self.0.written() + self.0.padded == self.0.blocks
    }

    /// The blocks that were, and those of padding.
    pub fn written_blocks(&self) -> Vec<u32> {
        self.0.written_blocks()
    }

    /// The peer that has the piece to itself.
    pub fn owner(&self) -> Option<PeerKey> {
        (self.0.owner != PeerKey::NONE).then_some(self.0.owner)
    }

    /// Whether a source claimed it with a range.
    pub fn claimed(&self) -> bool {
        self.0.claimed
    }

    /// Where each block stands, in order.
    pub fn states(&self) -> impl Iterator<Item = BlockState> {
        (0..self.0.blocks).map(|block| self.0.state(block))
    }
}

impl Picker {
    /// The pieces in progress, in no order.
    pub fn partials(&self) -> impl ExactSizeIterator<Item = InProgress<'_>> {
        self.partials.iter().map(InProgress)
    }

    /// How many whole copies of the torrent the connected peers have between them, and how many thousandths of the pieces are
    /// there once more. We do not count. O(pieces).
    pub fn distributed_copies(&self) -> (u32, u32) {
        let counts = || self.geometry.pieces().map(|piece| self.availability(piece));
        let whole = counts().min().unwrap_or(0);
        let more = counts().filter(|&count| count > whole).count() as u64;
        (whole, (more * 1000 / u64::from(self.geometry.piece_count())) as u32)
    }

    /// Checks that the totals agree with the pieces in progress. O(pieces in progress); for simulations, after every step.
    ///
    /// # Panics
    /// When they do not.
    pub fn check_totals(&self) {
        let (mut claimed, mut bytes, mut free, mut listed) = (0, 0, 0, 0);
        for (at, partial) in self.partials.iter().enumerate() {
            assert_eq!(self.table.state(partial.piece.get()), State::Partial(at as u32));
            assert!(partial.free + partial.asked + partial.received <= partial.blocks, "{:?}", partial.piece);
            assert!(!partial.blank() || partial.joinable_at.is_some() || !self.is_wanted(partial.piece));
            claimed += usize::from(partial.claimed);
            bytes += partial.bytes;
            listed += usize::from(partial.joinable_at.is_some());
            free += if self.is_wanted(partial.piece) { u64::from(partial.free) } else { 0 };
        }
        let counts = &self.counts;
        assert_eq!((counts.claimed, counts.partial_bytes, counts.free_blocks), (claimed, bytes, free));
        assert_eq!(self.joinable_list.len(), listed, "pieces to join");
        assert!(counts.have + counts.wanted <= self.geometry.piece_count());
        assert!(counts.have_bytes + counts.wanted_bytes <= self.geometry.total());
        assert!(self.table.len() <= counts.wanted);
    }

    /// Checks that everything the picker keeps agrees. O(pieces); for tests and simulations.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_invariant(&self) {
        self.table.check_invariant();
        let mut counts = super::Counts::default();
        for piece in self.geometry.pieces() {
            let (index, len) = (piece.get(), self.payload(piece));
            let state = self.table.state(index);
            let wanted = state != State::Have && self.priority(piece) != Priority::Skip;
            assert_eq!(self.wanted.contains(index), wanted, "piece {index} wanted");
            assert_eq!(self.untouched.contains(index), self.table.queued(index), "piece {index} untouched");
            if state == State::Have {
                counts.have += 1;
                counts.have_bytes += len;
            }
            if wanted {
                counts.wanted += 1;
                counts.wanted_bytes += len;
            }
            match state {
                State::Partial(at) => {
                    assert_eq!(self.partials[at as usize].piece, piece, "piece {index} is where it says");
                }
                _ => assert!(!self.joinable.contains(index), "piece {index} is not begun"),
            }
        }
        for (at, partial) in self.partials.iter().enumerate() {
            self.check_partial(at, partial);
            counts.claimed += usize::from(partial.claimed);
            counts.partial_bytes += partial.bytes;
            if self.is_wanted(partial.piece) {
                counts.free_blocks += u64::from(partial.free);
            }
        }
        assert_eq!(counts, self.counts);
        assert!(self.joinable_list.iter().all(|&piece| self.joinable.contains(piece)));
    }

    fn check_partial(&self, at: usize, partial: &Partial) {
        partial.check_invariant();
        let index = partial.piece.get();
        assert_eq!(self.table.state(index), State::Partial(at as u32));
        assert_eq!(partial.blocks, self.geometry.blocks_in(partial.piece));
        let is_here = |state| matches!(state, BlockState::Received | BlockState::Written);
        let all = (0..partial.blocks).filter_map(|index| self.geometry.block(partial.piece, index));
        let here = all.filter(|block| is_here(partial.state(block.index())));
        assert_eq!(here.map(|block| self.kept_bytes(block)).sum::<u64>(), partial.bytes);
        let padding: Vec<u32> = self.pads.blocks(&self.geometry, partial.piece).flatten().collect();
        assert!(padding.iter().all(|&block| partial.state(block) == BlockState::Written));
        assert_eq!(padding.len() as u32, partial.padded);
        let open = partial.owner == PeerKey::NONE && partial.free + partial.stale > 0;
        assert_eq!(partial.joinable_at.is_some(), open && self.is_wanted(partial.piece));
        assert_eq!(self.joinable.contains(index), partial.joinable_at.is_some());
        if let Some(place) = partial.joinable_at {
            assert_eq!(self.joinable_list[place as usize], index);
        }
    }
}
