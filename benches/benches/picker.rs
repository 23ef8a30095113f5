//! Cost of the picker's operations in a small swarm and in a hundred times as large a one. Nothing may grow with
//! pieces or peers but by misses of the processor's caches.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use metainfo::{Block, Geometry, PieceIndex};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;
use std::time::{Duration, Instant};
use swarm::engine::picker::{Config, Cursor, Have, Manner, PeerKey, PeerView, Picker};
use wire::peer::Bitfield;

/// Pieces and peers: 2 GiB and 200 GiB in pieces of 1 MiB, and as many pieces as a torrent may have.
const SIZES: [(u32, u32); 3] = [(2_048, 20), (204_800, 2_000), (2_097_152, 200)];

struct World {
    picker: Picker,
    peers: Vec<Bitfield>,
    cursors: Vec<Cursor>,
    rng: ChaCha8Rng,
    out: Vec<Block>,
    passed: Vec<PieceIndex>,
}

impl World {
    /// Peers have a piece with the odds that `odds` gives for it, of 256.
    fn new((pieces, peers): (u32, u32), odds: impl Fn(u32, u32) -> u8) -> Self {
        let geometry = Geometry::contiguous(1 << 20, u64::from(pieces) << 20).expect("a geometry");
        let config = Config { target: peers as usize * 3 / 2, random_first: 0, ..Config::default() };
        let mut picker = Picker::new(geometry, config);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let peers: Vec<_> = (0..peers)
            .map(|peer| {
                let mut bits = Bitfield::new(pieces);
                let mut random = vec![0; pieces as usize];
                rng.fill_bytes(&mut random);
                for (piece, random) in (0..pieces).zip(random) {
                    if random < odds(peer, piece) {
                        bits.set(piece);
                    }
                }
                picker.add_bitfield(&bits);
                bits
            })
            .collect();
        let cursors = vec![Cursor::new(); peers.len()];
        Self { picker, peers, cursors, rng, out: Vec::new(), passed: Vec::new() }
    }

    fn pick(&mut self, peer: usize, manner: Manner, count: usize) {
        let view = PeerView {
            have: Have::Some(&self.peers[peer]),
            allowed: None,
            suggested: &[],
            avoid: &[],
            manner,
        };
        let (key, cursor) = (PeerKey(peer as u32), &mut self.cursors[peer]);
        self.out.clear();
        self.picker.pick(key, view, cursor, count, &mut self.rng, &mut self.out);
    }

    /// Picks, receives and writes so many blocks; pieces that are full pass. Time spent per block.
    fn download(&mut self, blocks: u64, manner: Manner, count: usize) -> Duration {
        let (mut done, mut spent) = (0, Duration::ZERO);
        while done < blocks {
            let start = Instant::now();
            while done < blocks && self.passed.len() < self.picker.geometry().piece_count() as usize / 4 {
                let peer = self.rng.next_u32() as usize % self.peers.len();
                self.pick(peer, manner, count);
                done += self.out.len().max(1) as u64;
                self.deliver(PeerKey(peer as u32));
            }
            spent += start.elapsed();
            for piece in self.passed.drain(..) {
                self.picker.lost(piece);
            }
        }
        spent
    }

    fn deliver(&mut self, peer: PeerKey) {
        for &block in &self.out {
            black_box(self.picker.received(block, peer));
            self.picker.written(block);
            if block.index() == 63 {
                // The last block of a piece is picked last.
                self.picker.piece_passed(block.piece());
                self.passed.push(block.piece());
            }
        }
    }

    fn piece(&mut self) -> PieceIndex {
        let count = self.picker.geometry().piece_count();
        let index = self.rng.next_u32() % count;
        self.picker.geometry().piece(index).expect("a piece")
    }
}

fn name((pieces, peers): (u32, u32)) -> String {
    format!("{pieces}x{peers}")
}

/// A block from pick to written, and its share of the piece's begin and end.
fn blocks(c: &mut Criterion) {
    let mut group = c.benchmark_group("picker/block");
    for size in SIZES {
        let mut world = World::new(size, |_, _| 128);
        for (label, manner, count) in
            [("fast, 16 a pick", Manner::Whole, 16), ("slow, 1 a pick", Manner::Share, 1)]
        {
            group.bench_function(BenchmarkId::new(label, name(size)), |b| {
                b.iter_custom(|blocks| world.download(blocks, manner, count));
            });
        }
    }
    group.finish();
}

/// A block from peers that have one piece in 256.
fn sparse(c: &mut Criterion) {
    let mut group = c.benchmark_group("picker/block of sparse peers");
    for size in SIZES {
        let mut world = World::new(size, |_, _| 1);
        group.bench_function(BenchmarkId::from_parameter(name(size)), |b| {
            b.iter_custom(|blocks| world.download(blocks, Manner::Share, 1));
        });
    }
    group.finish();
}

/// A block from peers that have none of the rare half of the pieces.
fn without_rare(c: &mut Criterion) {
    let mut group = c.benchmark_group("picker/block of peers without the rare half");
    for size in SIZES {
        let mut world = World::new(size, |peer, piece| match (peer, piece % 2) {
            (0, 0) => 255,
            (_, 0) => 0,
            _ => 128,
        });
        group.bench_function(BenchmarkId::from_parameter(name(size)), |b| {
            b.iter_custom(|blocks| world.download(blocks, Manner::Share, 1));
        });
    }
    group.finish();
}

/// A have, and the taking back of one.
fn haves(c: &mut Criterion) {
    let mut group = c.benchmark_group("picker/have");
    for size in SIZES {
        let mut world = World::new(size, |_, _| 2);
        group.bench_function(BenchmarkId::from_parameter(name(size)), |b| {
            b.iter(|| {
                let (piece, peer) = (world.piece(), world.rng.next_u32() as usize % world.cursors.len());
                world.picker.add_have(piece, &mut world.cursors[peer]);
                let other = world.piece();
                world.picker.remove_have(other);
            });
        });
    }
    group.finish();
}

/// A piece leaves the order of missing pieces and enters it again.
fn pieces(c: &mut Criterion) {
    let mut group = c.benchmark_group("picker/piece passed and lost");
    for size in SIZES {
        let mut world = World::new(size, |_, _| 2);
        group.bench_function(BenchmarkId::from_parameter(name(size)), |b| {
            b.iter(|| {
                let piece = world.piece();
                world.picker.piece_passed(piece);
                world.picker.lost(piece);
            });
        });
    }
    group.finish();
}

/// A pick for a peer that has nothing open, while other pieces open and close.
fn nothing_open(c: &mut Criterion) {
    let mut group = c.benchmark_group("picker/pick with nothing open");
    for size in SIZES {
        let mut world = World::new(size, |_, piece| if piece % 2 == 0 { 255 } else { 1 });
        for piece in world.picker.geometry().pieces().collect::<Vec<_>>() {
            if piece.get() % 2 == 0 || world.peers[0].get(piece.get()) {
                world.picker.piece_passed(piece);
            }
        }
        group.bench_function(BenchmarkId::from_parameter(name(size)), |b| {
            b.iter(|| {
                let piece = world.piece();
                if !world.peers[0].get(piece.get()) {
                    world.picker.piece_passed(piece);
                    world.picker.lost(piece);
                }
                world.pick(0, Manner::Share, 1);
                assert!(world.out.is_empty());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, blocks, sparse, without_rare, haves, pieces, nothing_open);
criterion_main!(benches);
