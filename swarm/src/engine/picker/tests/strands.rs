//! Several pieces at a time, a stripe of each in turn.

use super::super::*;
use super::fixture::ME;
use metainfo::{BLOCK, Block};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const BLOCKS: u32 = 40;

struct Peer {
    picker: Picker,
    cursor: Cursor,
    rng: ChaCha8Rng,
}

impl Peer {
    /// A seed of so many pieces of 40 blocks.
    fn new(pieces: u32, order: Order) -> Self {
        let piece = u64::from(BLOCKS * BLOCK);
        let geometry = Geometry::contiguous(piece, piece * u64::from(pieces)).unwrap();
        let mut picker = Picker::new(geometry, Config { order, ..Config::default() });
        picker.add_seed();
        Self { picker, cursor: Cursor::new(), rng: ChaCha8Rng::seed_from_u64(1) }
    }

    fn pick(&mut self, manner: Manner, count: usize) -> Vec<Block> {
        let view = PeerView { have: Have::All, allowed: None, suggested: &[], avoid: &[], manner };
        let mut out = Vec::new();
        self.picker.pick(ME, view, &mut self.cursor, count, &mut self.rng, &mut out);
        self.picker.check_invariant();
        out
    }
}

/// Runs of blocks of one piece: its number, the first block, how many.
fn runs(blocks: &[Block]) -> Vec<(u32, u32, usize)> {
    let same = |a: &Block, b: &Block| a.piece() == b.piece();
    let run = |run: &[Block]| (run[0].piece().get(), run[0].index(), run.len());
    blocks.chunk_by(same).map(run).collect()
}

#[test]
fn the_fastest_peers_take_a_stripe_of_each_piece_in_turn() {
    let mut peer = Peer::new(6, Order::RarestFirst);
    let mut all = Vec::new();
    for count in [10, 40, 62, 3, 61, 64] {
        all.extend(peer.pick(Manner::Several, count));
    }
    assert_eq!(all.len(), 240, "all of them");
    let runs = runs(&all);
    let first: Vec<u32> = runs[..4].iter().map(|run| run.0).collect();
    assert!((0..4).all(|i| !first[..i].contains(&first[i])), "four pieces: {runs:?}");
    for (round, (start, len)) in [(0, 16), (16, 16), (32, 8)].into_iter().enumerate() {
        let expected: Vec<_> = first.iter().map(|&piece| (piece, start, len)).collect();
        assert_eq!(runs[4 * round..][..4], expected);
    }
    assert!(runs.iter().all(|&(_, start, len)| start % 16 == 0 && len <= 16), "{runs:?}");
}

#[test]
fn pieces_that_go_in_sequence_are_not_mixed() {
    let mut peer = Peer::new(4, Order::Sequential);
    assert_eq!(runs(&peer.pick(Manner::Several, 100)), [(0, 0, 40), (1, 0, 40), (2, 0, 20)]);
}

#[test]
fn a_peer_that_slows_down_goes_on_with_one_and_leaves_the_others() {
    let mut peer = Peer::new(4, Order::RarestFirst);
    let taken = peer.pick(Manner::Several, 64);
    let rest = peer.pick(Manner::Whole, 30);
    assert_eq!(runs(&rest)[0], (taken[0].piece().get(), 16, 24), "the first of them to its end");
    let owned = |partial: &InProgress<'_>| partial.owner() == Some(ME);
    assert!(peer.picker.partials().filter(owned).count() <= 2);
}

#[test]
fn a_piece_that_is_not_wanted_any_more_drops_out() {
    let mut peer = Peer::new(8, Order::RarestFirst);
    let gone = peer.pick(Manner::Several, 64)[0].piece();
    peer.picker.set_priorities([(gone, Priority::Skip)]);
    let next = peer.pick(Manner::Several, 64);
    assert!(next.iter().all(|block| block.piece() != gone));
    assert_eq!(runs(&next).len(), 4);
}
