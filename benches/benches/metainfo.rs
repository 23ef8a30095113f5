//! Parsing of torrents, beside the other crate that reads them, and what storage asks of a torrent all the time.
//!
//! ```text
//! cargo bench -p unchoke-benches --bench metainfo -- --warm-up-time 0.5 --measurement-time 1
//! ```

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use metainfo::{Builder, Edit, Magnet, Torrent, Version, path};

criterion_group!(benches, parse, look_up, small);
criterion_main!(benches);

fn parse(c: &mut Criterion) {
    for (name, input) in inputs() {
        let mut group = c.benchmark_group(format!("metainfo/parse/{name}"));
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function("unchoke", |b| b.iter(|| Torrent::parse(black_box(&input)).unwrap()));
        if Torrent::parse(&input).unwrap().info_hashes().v2().is_none() {
            group.bench_function("lava_torrent", |b| {
                b.iter(|| lava_torrent::torrent::v1::Torrent::read_from_bytes(black_box(&input)).unwrap());
            });
        }
        group.finish();
    }
}

/// Segments and digests of all pieces, of a torrent of 20,000 files.
fn look_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("metainfo/look_up");
    for (name, version) in [("v1", Version::V1), ("hybrid", Version::Hybrid)] {
        let torrent = Torrent::parse(&folder(20_000, version)).unwrap();
        let geometry = torrent.geometry();
        group.throughput(Throughput::Elements(u64::from(geometry.piece_count())));
        group.bench_function(format!("segments/{name}"), |b| {
            b.iter(|| {
                let of = |piece| torrent.layout().segments(geometry.whole(piece)).count();
                geometry.pieces().map(of).sum::<usize>()
            });
        });
        group.bench_function(format!("piece_check/{name}"), |b| {
            b.iter(|| {
                geometry
                    .pieces()
                    .filter(|&piece| black_box(torrent.piece_check(piece)).v1().is_some())
                    .count()
            });
        });
    }
    group.finish();
}

fn small(c: &mut Criterion) {
    let magnet = "magnet:?xt=urn:btih:c0fda1edafdbdbb96443424e0b3899af7159d10e&dn=a%20name\
                  &tr=udp%3A%2F%2Ftracker.example%3A6969&tr=http%3A%2F%2Fother.example%2Fannounce";
    c.bench_function("metainfo/magnet", |b| b.iter(|| Magnet::parse(black_box(magnet)).unwrap()));
    c.bench_function("metainfo/clean_part", |b| {
        b.iter(|| path::clean_part(black_box(b"An ordinary name of a file (2024).mkv")));
    });
    let file = single(1 << 30, 16384, Version::V1);
    c.bench_function("metainfo/edit", |b| {
        b.iter(|| {
            let mut edit = Edit::new(black_box(&file)).unwrap();
            edit.set_comment(Some("another remark"));
            edit.finish().unwrap()
        });
    });
}

fn inputs() -> [(&'static str, Vec<u8>); 5] {
    [
        ("small", single(10 << 20, 65536, Version::V1)),
        ("pieces_1_mb", single(52_429 << 14, 16384, Version::V1)),
        ("files_20000", folder(20_000, Version::V1)),
        ("files_20000_hybrid", folder(20_000, Version::Hybrid)),
        ("layer_1_mb_v2", single(32_768 << 14, 16384, Version::V2)),
    ]
}

fn single(length: u64, piece_length: u32, version: Version) -> Vec<u8> {
    finish(Builder::single("a file.bin", length).piece_length(piece_length).version(version))
}

/// Files of 3 to 100 KiB, 40 to a folder.
fn folder(files: u64, version: Version) -> Vec<u8> {
    let add = |builder: Builder, i: u64| {
        let length = 3000 + i * 7919 % 100_000;
        builder.file([format!("folder {:03}", i / 40), format!("some file name {i}.dat")], length)
    };
    finish((0..files).fold(Builder::folder("many files").piece_length(65536).version(version), add))
}

/// With made-up digests: nothing here looks at content.
fn finish(builder: Builder) -> Vec<u8> {
    let mut draft = builder.tracker("udp://tracker.example:6969").prepare().unwrap();
    for piece in draft.geometry().clone().pieces() {
        let seed = piece.get().to_be_bytes();
        if draft.version() != Version::V2 {
            draft.set_v1(piece, std::array::from_fn(|i| seed[i % 4] ^ i as u8)).unwrap();
        }
        if draft.version() != Version::V1 {
            draft.set_v2(piece, std::array::from_fn(|i| seed[i % 4] ^ !(i as u8))).unwrap();
        }
    }
    draft.finish().unwrap()
}
