//! Which blocks to ask of which peer: rarest first, partial pieces before new ones, endgame.
//!
//! [`Picker`] is one torrent's picker, pure and deterministic. Its methods come in five kinds:
//!
//! - what peers have: [`add_have`](Picker::add_have), [`add_bitfield`](Picker::add_bitfield),
//!   [`add_seed`](Picker::add_seed) and their opposites;
//! - what we have and want: [`have`](Picker::have), [`lost`](Picker::lost),
//!   [`set_priorities`](Picker::set_priorities) ...;
//! - asking: [`pick`](Picker::pick), [`claim_range`](Picker::claim_range);
//! - what became of it: [`received`](Picker::received), [`release`](Picker::release),
//!   [`written`](Picker::written), [`piece_passed`](Picker::piece_passed) ...;
//! - questions: [`interesting`](Picker::interesting), [`finished`](Picker::finished),
//!   [`partials`](Picker::partials) ...
//!
//! A piece goes this way:
//!
//! ```text
//!   Untouched --pick--> Partial (joinable <-> owned by one peer) --passed--> Have
//!       ^                  |  ^                                               |
//!       +-- all released --+  +-- failed: all blocks free again               |
//!       +------------------------------- lost --------------------------------+
//! ```
//!
//! Padding (BEP 47) is asked of nobody: its blocks count as written from the start, pieces of nothing else are never wanted,
//! and all bytes are counted without it.
//!
//! Every operation costs O(1), amortised, whatever the number of pieces and peers, except those that change many
//! pieces at once and [`claim_range`](Picker::claim_range), which looks at 64 pieces a step. The table spends 8 bytes
//! and 3 bits a piece; a partial piece about 5 bytes a block.

mod bits;
mod blocks;
mod claims;
mod cursor;
mod endgame;
mod partial;
mod pick;
mod progress;
mod table;
mod upkeep;

#[cfg(test)]
mod tests;

pub use bits::Have;
pub use blocks::Received;
pub use claims::Run;
pub use cursor::Cursor;
pub use partial::{BlockState, Others};
pub(super) use pick::STRANDS;
pub use progress::InProgress;

use bits::Bits;
use cursor::Openings;
use metainfo::{Geometry, PieceIndex};
use partial::{Partial, Store};
use storage::Pads;
use table::{State, Table};

/// A peer or another source of blocks, as the engine numbers them. The two highest numbers are the picker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub u32);

impl PeerKey {
    /// Nobody.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// The key as an index.
    pub(crate) const fn slot(self) -> usize {
        self.0 as usize
    }
}

/// How much a piece is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Not at all.
    Skip,
    /// After everything else.
    Low,
    /// As any other.
    #[default]
    Normal,
    /// Before everything else.
    High,
}

/// In which order pieces of equal priority are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The rarest at random among the peers.
    #[default]
    RarestFirst,
    /// From the first to the last. High priority still goes first.
    Sequential,
}

/// How a peer takes part in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Joins pieces that others have begun: for slow peers.
    Share,
    /// Takes whole pieces for itself, block after block, so that they are hashed and written in order: for fast peers.
    Whole,
    /// Takes some whole pieces at a time, a stripe of each in turn, so that they are hashed together: for the fastest.
    /// Counts as [`Whole`](Self::Whole) when pieces go in sequence.
    Several,
    /// Takes whole pieces and none in which another peer has a hand: for peers under suspicion.
    Alone,
}

/// What the picker needs to know about the peer it picks for.
#[derive(Clone, Copy, Debug)]
pub struct PeerView<'a> {
    /// Its pieces.
    pub have: Have<'a>,
    /// While it chokes us: the pieces that may be asked for all the same (BEP 6). At most 64 are looked at.
    pub allowed: Option<&'a [PieceIndex]>,
    /// Pieces that it suggested (BEP 6), the best first; begun before others that are as rare. At most 64 are looked at.
    pub suggested: &'a [PieceIndex],
    /// Pieces that are not to be asked of it now, though it has them; a few. When one may be asked for again, its cursor is to
    /// be [reset](Cursor::reset).
    pub avoid: &'a [PieceIndex],
    /// How it takes part.
    pub manner: Manner,
}

/// Choices of a picker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// In which order pieces are started.
    pub order: Order,
    /// Start pieces at random until so many are complete.
    pub random_first: u32,
    /// With more pieces in progress than this, peers rather join than start one. See
    /// [`Picker::set_target`].
    pub target: usize,
    /// In the endgame, how many more peers than one may be asked for a block: 0 to 2.
    pub duplicates: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { order: Order::RarestFirst, random_first: 4, target: 16, duplicates: 2 }
    }
}

/// The piece picker of one torrent.
pub struct Picker {
    geometry: Geometry,
    pads: Pads,
    /// Bytes of the torrent without padding.
    total: u64,
    config: Config,
    /// Most pieces in progress.
    limit: usize,
    table: Table,
    /// Missing and wanted.
    wanted: Bits,
    /// Wanted and not begun: the pieces of the table's order.
    untouched: Bits,
    /// Wanted partial pieces without an owner that have blocks to ask for.
    joinable: Bits,
    joinable_list: Vec<u32>,
    partials: Vec<Partial>,
    spare: Vec<Store>,
    openings: Openings,
    seeds: u32,
    counts: Counts,
}

/// Totals, kept so that nobody has to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    have: u32,
    have_bytes: u64,
    wanted: u32,
    wanted_bytes: u64,
    /// Free blocks in wanted partial pieces.
    free_blocks: u64,
    /// Partial pieces that came about by a claim.
    claimed: usize,
    /// Bytes received or written in partial pieces.
    partial_bytes: u64,
}

impl Picker {
    /// A picker that has nothing, wants everything and knows of no peer, of a torrent without padding.
    pub fn new(geometry: Geometry, config: Config) -> Self {
        Self::with_pads(geometry, Pads::default(), config)
    }

    /// A picker that has nothing, wants everything but padding, and knows of no peer.
    pub fn with_pads(geometry: Geometry, pads: Pads, config: Config) -> Self {
        let pieces = geometry.piece_count();
        let mut wanted = Bits::new(pieces);
        let mut untouched = Bits::new(pieces);
        for piece in 0..pieces {
            wanted.insert(piece);
            untouched.insert(piece);
        }
        let total = geometry.total() - pads.bytes();
        let padding: Vec<_> = pads.pieces(&geometry).collect();
        let mut picker = Self {
            table: Table::new(pieces),
            openings: Openings::new(wanted.len()),
            joinable: Bits::new(pieces),
            joinable_list: Vec::new(),
            partials: Vec::new(),
            spare: Vec::new(),
            seeds: 0,
            counts: Counts { wanted: pieces, wanted_bytes: total, ..Counts::default() },
            wanted,
            untouched,
            total,
            pads,
            geometry,
            config,
            limit: usize::MAX,
        };
        padding.into_iter().for_each(|piece| picker.set_priority(piece, Priority::Skip));
        picker
    }

    /// The torrent's geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Changes the order in which pieces are started: O(1).
    pub fn set_order(&mut self, order: Order) {
        self.config.order = order;
        self.openings.reopen_all();
    }

    /// Changes the number of pieces in progress above which peers rather join than start one: for instance one and
    /// a half times the peers that we download from, and at least as many as are hashed at a time. Nobody stays idle for it.
    pub fn set_target(&mut self, pieces: usize) {
        self.config.target = pieces;
    }

    /// Changes the most pieces that are in progress at a time: above it peers join those, or wait until one is done. No limit
    /// at first.
    pub fn set_limit(&mut self, pieces: usize) {
        self.limit = pieces;
    }

    /// Whether no more pieces are begun.
    pub fn is_full(&self) -> bool {
        self.partials.len() >= self.limit
    }

    /// Bytes that pieces in progress take, about.
    pub fn held_bytes(&self) -> usize {
        self.partials.iter().map(Partial::held_bytes).chain(self.spare.iter().map(Store::held_bytes)).sum()
    }

    /// Whether the piece was verified.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.table.state(piece.get()) == State::Have
    }

    /// Whether the piece is in progress.
    pub fn is_partial(&self, piece: PieceIndex) -> bool {
        matches!(self.table.state(piece.get()), State::Partial(_))
    }

    /// Whether the piece is missing and not skipped.
    pub fn is_wanted(&self, piece: PieceIndex) -> bool {
        self.wanted.contains(piece.get())
    }

    /// The piece's priority.
    pub fn priority(&self, piece: PieceIndex) -> Priority {
        self.table.priority(piece.get())
    }

    /// How many connected peers have the piece, seeds included.
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        u32::from(self.table.availability(piece.get())) + self.seeds
    }

    /// Connected seeds.
    pub fn seeds(&self) -> u32 {
        self.seeds
    }

    /// Pieces that were verified.
    pub fn have_count(&self) -> u32 {
        self.counts.have
    }

    /// Bytes in pieces that were verified.
    pub fn have_bytes(&self) -> u64 {
        self.counts.have_bytes
    }

    /// Pieces that are missing and wanted.
    pub fn wanted_left(&self) -> u32 {
        self.counts.wanted
    }

    /// Bytes in pieces that are missing and wanted; begun pieces count in full.
    pub fn wanted_bytes(&self) -> u64 {
        self.counts.wanted_bytes
    }

    /// Bytes in pieces that are missing, skipped ones too: what trackers are told as `left` (BEP 3).
    pub fn missing_bytes(&self) -> u64 {
        self.total - self.counts.have_bytes
    }

    /// Bytes of a piece that are not padding.
    pub fn payload(&self, piece: PieceIndex) -> u64 {
        self.pads.payload(&self.geometry, self.geometry.whole(piece))
    }

    /// Bytes that were received in pieces not verified yet.
    pub fn partial_bytes(&self) -> u64 {
        self.counts.partial_bytes
    }

    /// The pieces that are nothing but padding. O(pieces) where there is padding.
    pub fn padding(&self) -> impl Iterator<Item = PieceIndex> {
        self.pads.pieces(&self.geometry)
    }

    /// Whether the piece is nothing but padding: it is never wanted.
    pub fn is_padding(&self, piece: PieceIndex) -> bool {
        !self.pads.is_empty() && self.payload(piece) == 0
    }

    /// Whether every piece that is wanted was verified.
    pub fn finished(&self) -> bool {
        self.counts.wanted == 0
    }

    /// Whether every piece of the torrent was verified.
    pub fn complete(&self) -> bool {
        self.counts.have == self.geometry.piece_count()
    }

    /// Whether every block that is wanted was asked of somebody, and some are still to come.
    pub fn endgame(&self) -> bool {
        self.counts.wanted > 0 && self.table.len() == 0 && self.counts.free_blocks == 0
    }

    fn index(&self, piece: u32) -> PieceIndex {
        self.geometry.piece(piece).expect("the picker's own pieces exist")
    }

    fn words(&self) -> u32 {
        self.wanted.len() as u32
    }
}
