//! What the disk costs above hashing and writing: the plan alone, the threads, rechecking.
//!
//! The CPU time of a process does not fit criterion's table; it is printed beside it, per GiB.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use metainfo::{BLOCK, Builder, Geometry, PieceIndex, PieceRange, Torrent};
use rustix::time::{ClockId, clock_gettime};
use sha1::{Digest, Sha1};
use std::hint::black_box;
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use storage::plan::{Plan, PlanConfig, Store};
use storage::{
    Buf, Completion, Disk, DiskConfig, FileOptions, FileStorage, Hashes, Job, PieceDigest, PieceHasher,
    Pieces, ScanOptions, Storage, StorageError, StoreId, Token, recheck,
};

const PIECE: u32 = 1 << 20;
const LEN: u64 = 256 << 20;

/// Keeps nothing and checks nothing, so that what is left is the plan.
struct Nothing(Geometry);

impl Storage for Nothing {
    fn read(&self, _: PieceRange, _: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        Ok(())
    }

    fn write(&self, _: PieceRange, _: &[IoSlice<'_>]) -> Result<(), StorageError> {
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

impl Pieces for Nothing {
    fn geometry(&self) -> &Geometry {
        &self.0
    }

    fn hasher(&self, _: PieceIndex) -> PieceHasher {
        PieceHasher::v2(0)
    }

    fn verify(&self, _: PieceIndex, _: PieceDigest) -> Option<Hashes> {
        Some(Hashes::Match)
    }
}

struct PlanBench {
    plan: Plan,
    store: StoreId,
    nothing: Arc<Nothing>,
    spare: Vec<Buf>,
    answers: Vec<Completion>,
}

impl PlanBench {
    fn new() -> Self {
        let geometry = Geometry::contiguous(PIECE.into(), 64 * u64::from(PIECE)).expect("a geometry");
        let nothing = Arc::new(Nothing(geometry));
        let mut plan = Plan::new(PlanConfig::default());
        let store = plan.attach(nothing.clone());
        let spare = (0..64).map(|_| Buf::with_capacity(BLOCK as usize)).collect();
        Self { plan, store, nothing, spare, answers: Vec::new() }
    }

    fn execute(&mut self) {
        let mut scratch = Vec::new();
        let store = Store { storage: self.nothing.clone(), pieces: self.nothing.clone() };
        while let Some(mut order) = self.plan.next_order() {
            order.execute(|_| Some(store.clone()), &mut scratch);
            self.plan.done(order);
        }
        self.plan.drain(&mut self.answers);
        for answer in self.answers.drain(..) {
            match answer {
                Completion::Written { buffers, .. } => self.spare.extend(buffers),
                Completion::Read { data, .. } => self.spare.push(data),
                _ => {}
            }
        }
    }

    fn buf(&mut self) -> Buf {
        let mut data = self.spare.pop().expect("all buffers came back");
        data.set_len(BLOCK as usize);
        data
    }

    fn write_piece(&mut self, order: impl Fn(u32) -> u32) {
        let piece = self.nothing.0.piece(3).expect("a piece");
        for at in 0..64 {
            let block = self.nothing.0.block(piece, order(at)).expect("a block");
            let data = self.buf();
            self.plan.push(Job::Write { store: self.store, block, data });
        }
        self.execute();
    }

    fn read_piece(&mut self) {
        for at in 0..64 {
            let range = self.nothing.0.range_at(3, at * BLOCK, BLOCK, BLOCK).expect("a range");
            let data = self.buf();
            self.plan.push(Job::Read { store: self.store, token: Token(at.into()), range, data });
        }
        self.execute();
    }
}

fn plan(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan, 64 blocks");
    group.throughput(Throughput::Elements(64));
    let mut bench = PlanBench::new();
    group.bench_function("written in order", |b| b.iter(|| bench.write_piece(|at| at)));
    group.bench_function("written in pairs swapped", |b| b.iter(|| bench.write_piece(|at| at ^ 1)));
    group.bench_function("written backwards", |b| b.iter(|| bench.write_piece(|at| 63 - at)));
    group.bench_function("read", |b| b.iter(|| bench.read_piece()));
    group.finish();
}

/// A piece in which all blocks are alike, so that any buffer can be any block.
fn bytes() -> Vec<u8> {
    (0..PIECE).map(|at| ((at % BLOCK) ^ ((at % BLOCK) >> 9)) as u8).collect()
}

fn torrent() -> Arc<Torrent> {
    let builder = Builder::single("file.bin", LEN).piece_length(PIECE);
    let mut feed = builder.prepare().expect("a torrent").feed();
    let bytes = bytes();
    (0..LEN / u64::from(PIECE)).for_each(|_| feed.update(&bytes));
    Arc::new(Torrent::parse(&feed.finish().expect("all bytes")).expect("what was just made"))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn files(folder: &tempfile::TempDir, torrent: &Arc<Torrent>) -> Arc<FileStorage> {
    let storage = FileStorage::open(folder.path(), torrent.clone(), FileOptions::default());
    Arc::new(storage.expect("a folder"))
}

/// CPU time of all threads so far, in seconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Measures it, then runs it a few times more for the CPU time that it takes.
fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut run: impl FnMut()) {
    group.bench_function(name, |b| b.iter(&mut run));
    let mut costs: Vec<f64> = (0..7)
        .map(|_| {
            let before = cpu();
            run();
            (cpu() - before) * (1u64 << 30) as f64 / LEN as f64
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    eprintln!("{name}: {:.2} CPU s/GiB ({:.2}-{:.2})", costs[3], costs[0], costs[6]);
}

/// The floor: one thread that hashes and writes 256 KiB at a time over a file that is there.
fn hash_and_write(path: &Path, bytes: &[u8]) {
    let file = std::fs::File::options().write(true).create(true).truncate(false).open(path).expect("a file");
    let mut at = 0;
    while at < LEN {
        let mut hash = Sha1::new();
        for part in bytes.chunks(256 << 10) {
            hash.update(part);
            file.write_all_at(part, at).expect("room");
            at += part.len() as u64;
        }
        black_box(hash.finalize());
    }
}

/// A leech without a network: all blocks in order through the disk, as many under way as there are buffers.
fn download(disk: &Disk, bell: &Receiver<()>, store: StoreId, torrent: &Torrent, spare: &mut Vec<Buf>) {
    let geometry = torrent.geometry();
    let mut blocks = geometry.pieces().flat_map(|p| (0..64).filter_map(move |at| geometry.block(p, at)));
    let (mut jobs, mut answers, mut verdicts) = (Vec::new(), Vec::new(), 0);
    while verdicts < geometry.piece_count() {
        // As many as a turn of a reactor would bring.
        while jobs.len() < 16 && !spare.is_empty() {
            let Some(block) = blocks.next() else { break };
            jobs.extend(spare.pop().map(|data| Job::Write { store, block, data }));
        }
        let is_stuck = jobs.is_empty();
        disk.submit(&mut jobs);
        disk.drain(&mut answers);
        if answers.is_empty() && is_stuck {
            bell.recv_timeout(Duration::from_secs(10)).expect("the disk answers");
        }
        for answer in answers.drain(..) {
            match answer {
                Completion::Written { buffers, result, .. } => {
                    result.expect("room");
                    spare.extend(buffers);
                }
                Completion::Piece { result, .. } => {
                    assert!(result.expect("a verdict").is_match());
                    verdicts += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn disk(c: &mut Criterion) {
    let (torrent, bytes, folder) = (torrent(), bytes(), folder());
    let path = folder.path().join("file.bin");
    let mut group = c.benchmark_group("256 MiB");
    group.sample_size(10).throughput(Throughput::Bytes(LEN));
    // Touched once, so that the page cache has its memory.
    hash_and_write(&path, &bytes);
    measure(&mut group, "hash and write, plain", || hash_and_write(&path, &bytes));
    for threads in [1, 2] {
        let (ring, bell) = channel();
        let config = DiskConfig { threads, ..DiskConfig::default() };
        let disk = Disk::new(config, move || ring.send(()).unwrap_or_default());
        let store = disk.attach(files(&folder, &torrent), torrent.clone());
        let mut spare: Vec<Buf> = (0..512).map(|_| Buf::from(&bytes[..BLOCK as usize])).collect();
        measure(&mut group, &format!("disk, {threads} threads"), || {
            download(&disk, &bell, store, &torrent, &mut spare);
        });
    }
    group.finish();
}

fn scan(c: &mut Criterion) {
    let (torrent, bytes, folder) = (torrent(), bytes(), folder());
    hash_and_write(&folder.path().join("file.bin"), &bytes);
    let storage = files(&folder, &torrent);
    let mut group = c.benchmark_group("recheck of 256 MiB");
    group.sample_size(10).throughput(Throughput::Bytes(LEN));
    for (threads, buffer) in [(1, 64 << 10), (1, 256 << 10), (1, 1 << 20), (2, 256 << 10)] {
        let options = ScanOptions { threads, buffer, ..ScanOptions::default() };
        let name = format!("{threads} threads, {} KiB at once", buffer >> 10);
        measure(&mut group, &name, || assert!(recheck(&*storage, &torrent, &options).is_complete()));
    }
    group.finish();

    let range = torrent.geometry().range_at(7, 65_536, BLOCK, BLOCK).expect("a range");
    let (mut data, mut plain) = (Buf::with_capacity(BLOCK as usize), vec![0; BLOCK as usize]);
    let mut group = c.benchmark_group("cached block");
    group.throughput(Throughput::Bytes(BLOCK.into()));
    group.bench_function("read", |b| {
        b.iter(|| storage.read(range, &mut [IoSliceMut::new(&mut plain)]).expect("a read"));
    });
    let disk = Disk::new(DiskConfig { threads: 1, ..DiskConfig::default() }, || {});
    let store = disk.attach(storage.clone(), torrent.clone());
    group.bench_function("read_cached", |b| b.iter(|| black_box(disk.read_cached(store, range, &mut data))));
    group.finish();
}

criterion_group!(benches, plan, disk, scan);
criterion_main!(benches);
