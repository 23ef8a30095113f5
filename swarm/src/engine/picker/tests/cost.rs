//! What a pick looks at, counted: it is bounded, and does not grow with the torrent and the swarm.

use super::super::pick::below;
use super::super::*;
use crate::engine::looks::looks;
use metainfo::{BLOCK, Block};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use wire::peer::Bitfield;

/// Pieces and peers of a small swarm and of one a hundred times as large.
const SMALL: (u32, u32) = (2_048, 20);
const LARGE: (u32, u32) = (204_800, 2_000);
const BLOCKS: u32 = 4;
/// Blocks that are downloaded in each swarm.
const DOWNLOADED: u64 = 4_000;

#[derive(Debug, Default)]
struct Cost {
    blocks: u64,
    picks: u64,
    /// Pieces and words of pieces that were looked at.
    looks: u64,
}

impl Cost {
    /// For each pick.
    fn each(&self) -> f64 {
        self.looks as f64 / self.picks as f64
    }
}

/// Downloads from peers that have one piece of so many each.
fn download((pieces, peers): (u32, u32), one_of: u32, manner: Manner, count: usize) -> Cost {
    let length = u64::from(BLOCK * BLOCKS);
    let geometry = Geometry::contiguous(length, length * u64::from(pieces)).unwrap();
    let config = Config { target: peers as usize * 3 / 2, random_first: 0, ..Config::default() };
    let mut picker = Picker::new(geometry, config);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut sources: Vec<_> = (0..peers)
        .map(|_| {
            let mut bits = Bitfield::new(pieces);
            (0..pieces / one_of).for_each(|_| {
                bits.set(below(&mut rng, pieces));
            });
            picker.add_bitfield(&bits);
            (bits, Cursor::new())
        })
        .collect();
    let (mut cost, mut out, mut written) = (Cost::default(), Vec::<Block>::new(), HashMap::new());
    while cost.blocks < DOWNLOADED {
        let peer = below(&mut rng, peers);
        let (bits, cursor) = &mut sources[peer as usize];
        let view = PeerView { have: Have::Some(bits), allowed: None, suggested: &[], avoid: &[], manner };
        let before = looks();
        picker.pick(PeerKey(peer), view, cursor, count, &mut rng, &mut out);
        cost.looks += looks() - before;
        cost.picks += 1;
        cost.blocks += out.len() as u64;
        for block in out.drain(..) {
            picker.received(block, PeerKey(peer));
            picker.written(block);
            let written = written.entry(block.piece()).or_insert(0);
            *written += 1;
            if *written == BLOCKS {
                *written = 0;
                picker.piece_passed(block.piece());
                // There is always enough to pick.
                picker.lost(block.piece());
            }
        }
        assert!(cost.picks < 100 * DOWNLOADED, "nothing is found: {cost:?}");
    }
    picker.check_invariant();
    cost
}

/// Looks for each piece that is chosen: as many as there are probes.
const MOST: f64 = 200.0;

#[test]
fn a_pick_looks_at_no_more_in_a_swarm_that_is_a_hundred_times_as_large() {
    for (manner, count) in [(Manner::Whole, 16), (Manner::Several, 16), (Manner::Share, 1)] {
        // What a piece is chosen for in a pick, and one choice that finds nothing.
        let choices = (count as f64 / f64::from(BLOCKS)).ceil() + 1.0;
        for one_of in [16, 64] {
            let [small, large] = [SMALL, LARGE].map(|swarm| download(swarm, one_of, manner, count));
            println!("{manner:?}, one of {one_of}: {:.1} and {:.1}", small.each(), large.each());
            for cost in [small, large] {
                // To look at each word of pieces or each peer once would be more than that.
                assert!(cost.each() < choices * MOST, "{manner:?}, one of {one_of}: {cost:?}");
            }
        }
    }
}
