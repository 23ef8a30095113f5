//! Whole downloads from many simulated peers.

use super::super::*;
use super::fixture::pieces;
use metainfo::{BLOCK, Block};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use wire::peer::Bitfield;

struct Peer {
    key: PeerKey,
    bits: Option<Bitfield>,
    cursor: Cursor,
    manner: Manner,
    window: usize,
    asked: Vec<Block>,
}

struct Swarm {
    picker: Picker,
    peers: Vec<Peer>,
    rng: ChaCha8Rng,
    /// How often each block was asked for, and how often of those in the endgame.
    asked: HashMap<Block, (u32, u32)>,
    duplicates: u32,
    most_partials: usize,
}

impl Swarm {
    /// Every piece is at a seed or at one peer at least; each third peer is fast.
    fn new(pieces: u32, blocks: u32, peers: u32, seed: u64) -> Self {
        let length = u64::from(BLOCK * blocks);
        let geometry = Geometry::contiguous(length, length * u64::from(pieces) - 5000).unwrap();
        let config = Config { target: peers as usize * 3 / 2, ..Config::default() };
        let mut picker = Picker::new(geometry, config);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let peers = (0..peers).map(|key| {
            let sparse = 1 + rng.next_u32() % 8;
            let bits = (key > 0).then(|| {
                let mut bits = Bitfield::new(pieces);
                (0..pieces).filter(|_| rng.next_u32().is_multiple_of(sparse)).for_each(|p| {
                    bits.set(p);
                });
                bits
            });
            match &bits {
                Some(bits) => picker.add_bitfield(bits),
                None => picker.add_seed(),
            }
            let manner = [Manner::Whole, Manner::Share, Manner::Several][key as usize % 3];
            let window = if key % 3 == 0 { 12 } else { 2 };
            Peer { key: PeerKey(key), bits, cursor: Cursor::new(), manner, window, asked: Vec::new() }
        });
        let peers = peers.collect();
        Self { picker, peers, rng, asked: HashMap::new(), duplicates: 0, most_partials: 0 }
    }

    fn ask(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        let view = PeerView {
            have: peer.bits.as_ref().map_or(Have::All, Have::Some),
            allowed: None,
            suggested: &[],
            avoid: &[],
            manner: peer.manner,
        };
        let endgame = self.picker.endgame();
        if endgame && !peer.asked.is_empty() {
            return;
        }
        let count = peer.window - peer.asked.len();
        let mut out = Vec::new();
        self.picker.pick(peer.key, view, &mut peer.cursor, count, &mut self.rng, &mut out);
        for &block in &out {
            let asked = self.asked.entry(block).or_default();
            let again = self.picker.asked_of(block).count() > 1;
            assert!(!again || self.picker.endgame(), "{block:?} asked twice outside of the endgame");
            *asked = (asked.0 + 1, asked.1 + u32::from(again));
        }
        peer.asked.extend(out);
        self.most_partials = self.most_partials.max(self.picker.partials().len());
    }

    fn deliver(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        if peer.asked.is_empty() {
            return;
        }
        let block = peer.asked.remove(0);
        match self.picker.received(block, peer.key) {
            Received::First { others } => {
                for &other in others.as_slice() {
                    self.peers[other.0 as usize].asked.retain(|&b| b != block);
                }
                self.picker.written(block);
            }
            Received::Duplicate => self.duplicates += 1,
            Received::NotRequested => panic!("{block:?} was asked for"),
        }
        let full = self.picker.partials().find(|p| p.written() == p.blocks()).map(|p| p.piece());
        if let Some(piece) = full {
            self.picker.piece_passed(piece);
        }
    }

    fn choke(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        for block in std::mem::take(&mut peer.asked) {
            assert!(self.picker.release(block, peer.key));
        }
    }

    fn run(&mut self, chokes: bool) {
        for step in 0.. {
            assert!(step < 1_000_000, "stuck with {} pieces to go", self.picker.wanted_left());
            if self.picker.finished() {
                break;
            }
            let at = (self.rng.next_u32() as usize) % self.peers.len();
            self.ask(at);
            match self.rng.next_u32() % 100 {
                0 if chokes => self.choke(at),
                _ => self.deliver(at),
            }
            if step % 64 == 0 {
                self.picker.check_invariant();
            }
        }
        self.picker.check_invariant();
        assert!(self.picker.complete());
        assert_eq!((self.picker.missing_bytes(), self.picker.partial_bytes()), (0, 0));
    }
}

#[test]
fn each_block_is_asked_for_once_outside_of_the_endgame() {
    for seed in 0..8 {
        let mut swarm = Swarm::new(150, 16, 30, seed);
        swarm.run(false);
        let blocks: u32 =
            swarm.picker.geometry().pieces().map(|p| swarm.picker.geometry().blocks_in(p)).sum();
        assert_eq!(swarm.asked.len() as u32, blocks, "seed {seed}");
        assert!(swarm.asked.values().all(|(all, again)| all - again == 1), "seed {seed}");
        let again: u32 = swarm.asked.values().map(|&(_, again)| again).sum();
        assert!(again * 20 < blocks, "{again} of {blocks} asked for again, seed {seed}");
        assert!(swarm.most_partials <= 45, "{} pieces in progress, seed {seed}", swarm.most_partials);
        assert_eq!(swarm.duplicates, 0, "losers were cancelled in time, seed {seed}");
    }
}

#[test]
fn peers_that_choke_again_and_again_stall_nothing() {
    for seed in 0..8 {
        Swarm::new(80, 16, 20, seed).run(true);
    }
}

#[test]
fn sequential_swarms_complete_too() {
    let mut swarm = Swarm::new(100, 16, 20, 1);
    swarm.picker.set_order(Order::Sequential);
    swarm.run(true);
}

#[test]
fn pieces_are_begun_from_the_rarest_on() {
    let geometry = Geometry::contiguous(u64::from(BLOCK), u64::from(BLOCK) * 400).unwrap();
    let mut picker = Picker::new(geometry, Config { random_first: 0, ..Config::default() });
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for piece in picker.geometry().pieces() {
        (0..1 + rng.next_u32() % 15).for_each(|_| picker.add_have(piece, &mut Cursor::new()));
    }
    let all = Bitfield::with_all(400);
    let view =
        PeerView { have: Have::Some(&all), allowed: None, suggested: &[], avoid: &[], manner: Manner::Whole };
    let mut out = Vec::new();
    picker.pick(PeerKey(0), view, &mut Cursor::new(), 400, &mut rng, &mut out);
    let counts: Vec<_> = out.iter().map(|block| picker.availability(block.piece())).collect();
    assert_eq!(counts.len(), 400);
    assert!(counts.is_sorted(), "{counts:?}");
    let order = pieces(&out);
    let ascending = order.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!((100..300).contains(&ascending), "equals are mixed: {ascending}");
}

#[test]
fn a_peer_without_the_rare_pieces_is_served_nearly_from_its_rarest() {
    let pieces = 20_000;
    let geometry = Geometry::contiguous(u64::from(BLOCK), u64::from(BLOCK) * u64::from(pieces)).unwrap();
    let mut picker = Picker::new(geometry, Config { random_first: 0, ..Config::default() });
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut mine = Bitfield::new(pieces);
    for piece in picker.geometry().pieces() {
        // All pieces of even number are rare and elsewhere; of the others, a few are rarer than the rest.
        let count = if piece.get() % 2 == 0 { 1 } else { 2 + (piece.get() / 2 % 10) };
        (0..count).for_each(|_| picker.add_have(piece, &mut Cursor::new()));
        if piece.get() % 2 == 1 {
            mine.set(piece.get());
        }
    }
    let view = PeerView {
        have: Have::Some(&mine),
        allowed: None,
        suggested: &[],
        avoid: &[],
        manner: Manner::Whole,
    };
    let (mut out, mut cursor) = (Vec::new(), Cursor::new());
    picker.pick(PeerKey(0), view, &mut cursor, 900, &mut rng, &mut out);
    assert!(out.iter().all(|block| picker.availability(block.piece()) == 2));
}
