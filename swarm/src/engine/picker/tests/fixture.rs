//! Pickers drawn as pictures: one character a piece.

use super::super::*;
use metainfo::{BLOCK, Block};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use wire::peer::Bitfield;

/// Blocks in each piece of a picture.
pub(super) const BLOCKS: u32 = 4;
/// Who holds the requests that a picture draws.
pub(super) const OTHER: PeerKey = PeerKey(900);
/// The peer that picks.
pub(super) const ME: PeerKey = PeerKey(1);

/// A picker and what it is tested with.
pub(super) struct Fixture {
    pub(super) picker: Picker,
    pub(super) rng: ChaCha8Rng,
}

/// A picker of as many pieces as the strings are long:
///
/// - `available`: how many peers have each piece, in digits;
/// - `have`: `*` for pieces that we have;
/// - `priority`: `.` skipped, `l` low, `n` normal, `h` high;
/// - `partial`: blocks received of each piece in digits, `r` for one block asked of [`OTHER`], `R` for all.
pub(super) fn picture(available: &str, have: &str, priority: &str, partial: &str, seed: u64) -> Fixture {
    let config = Config { random_first: 0, ..Config::default() };
    let pieces = available.len() as u64;
    let geometry = Geometry::contiguous(u64::from(BLOCK * BLOCKS), pieces * u64::from(BLOCK * BLOCKS));
    let mut picker = Picker::new(geometry.unwrap(), config);
    let all: Vec<_> = picker.geometry().pieces().collect();
    for (&piece, drawn) in all.iter().zip(available.chars()) {
        for _ in 0..drawn.to_digit(10).unwrap() {
            picker.add_have(piece, &mut Cursor::new());
        }
    }
    picker.set_priorities(all.iter().copied().zip(priority.chars().map(|c| match c {
        '.' => Priority::Skip,
        'l' => Priority::Low,
        'n' => Priority::Normal,
        _ => Priority::High,
    })));
    for (&piece, drawn) in all.iter().zip(partial.chars()) {
        let asked = if drawn == 'R' { BLOCKS } else { u32::from(drawn == 'r') };
        for index in 0..drawn.to_digit(10).unwrap_or(0) {
            let block = picker.geometry().block(piece, index).unwrap();
            assert!(matches!(picker.accept(block, OTHER), Received::First { .. }));
        }
        if asked > 0 {
            let view = PeerView {
                have: Have::All,
                allowed: Some(&[piece]),
                suggested: &[],
                avoid: &[],
                manner: Manner::Share,
            };
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            picker.pick(OTHER, view, &mut Cursor::new(), asked as usize, &mut rng, &mut Vec::new());
        }
    }
    picker.have_all_of(&bits(have));
    picker.check_invariant();
    Fixture { picker, rng: ChaCha8Rng::seed_from_u64(seed) }
}

/// The pieces drawn as `*`.
pub(super) fn bits(drawn: &str) -> Bitfield {
    let mut bits = Bitfield::new(drawn.len() as u32);
    for (piece, _) in drawn.chars().enumerate().filter(|&(_, c)| c == '*') {
        bits.set(piece as u32);
    }
    bits
}

impl Fixture {
    /// Blocks for a peer that has the pieces drawn as `*`.
    pub(super) fn pick(&mut self, has: &str, manner: Manner, count: usize) -> Vec<Block> {
        self.pick_as(ME, has, manner, count, &mut Cursor::new())
    }

    pub(super) fn pick_as(
        &mut self,
        peer: PeerKey,
        has: &str,
        manner: Manner,
        count: usize,
        cursor: &mut Cursor,
    ) -> Vec<Block> {
        let bits = bits(has);
        let view = PeerView { have: Have::Some(&bits), allowed: None, suggested: &[], avoid: &[], manner };
        let mut out = Vec::new();
        self.picker.pick(peer, view, cursor, count, &mut self.rng, &mut out);
        self.picker.check_invariant();
        assert!(out.iter().all(|block| bits.get(block.piece().get())));
        out
    }

    pub(super) fn block(&self, piece: u32, index: u32) -> Block {
        let geometry = self.picker.geometry();
        geometry.block(geometry.piece(piece).unwrap(), index).unwrap()
    }
}

/// Piece and block numbers.
pub(super) fn numbers(blocks: &[Block]) -> Vec<(u32, u32)> {
    blocks.iter().map(|block| (block.piece().get(), block.index())).collect()
}

/// The pieces of the blocks, each once.
pub(super) fn pieces(blocks: &[Block]) -> Vec<u32> {
    let mut pieces: Vec<_> = blocks.iter().map(|block| block.piece().get()).collect();
    pieces.dedup();
    pieces
}
