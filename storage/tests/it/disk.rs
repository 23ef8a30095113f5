//! The threads: everything is answered, in the right order, also at the end and after a panic.

use crate::support::Sample;
use metainfo::{PieceRange, Version};
use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use storage::{
    Buf, Completion, Disk, DiskConfig, FileOptions, FileStorage, Job, MemoryStorage, Pieces, Storage,
    StorageError, StoreId, Token, recheck,
};

/// A disk and the bell it rings.
fn disk(threads: usize) -> (Disk, Receiver<()>) {
    let (ring, bell) = channel();
    let ring = Mutex::new(ring);
    let config = DiskConfig { threads, linger: Duration::from_millis(5), ..DiskConfig::default() };
    let wake = move || {
        // At the end nobody listens any more.
        let _ = ring.lock().unwrap().send(());
    };
    (Disk::new(config, wake), bell)
}

/// Waits until `enough` holds of all answers.
fn await_answers(
    disk: &Disk,
    bell: &Receiver<()>,
    enough: impl Fn(&[Completion]) -> bool,
) -> Vec<Completion> {
    let mut answers = Vec::new();
    loop {
        disk.drain(&mut answers);
        if enough(&answers) {
            return answers;
        }
        bell.recv_timeout(Duration::from_secs(300)).expect("the disk rings when there are answers");
    }
}

fn verdicts(answers: &[Completion]) -> usize {
    answers.iter().filter(|answer| matches!(answer, Completion::Piece { .. })).count()
}

/// All blocks of a torrent, so that neighbours in the list are of different pieces and often out of order.
fn jobs(sample: &Sample, store: StoreId) -> Vec<Job> {
    let geometry = sample.torrent.geometry();
    let blocks = geometry.blocks_per_piece();
    (0..blocks)
        .map(|at| (at ^ 1).min(blocks))
        .flat_map(|at| geometry.pieces().filter_map(move |piece| geometry.block(piece, at)))
        .map(|block| Job::Write { store, block, data: Buf::from(sample.bytes(block.range())) })
        .collect()
}

#[test]
fn a_download_through_several_threads_is_whole() {
    for threads in [1, 2, 4] {
        let sample = Sample::folder(Version::V1, 8 * 16_384, &[("a", 3_000_000), ("b/c", 0), ("d", 999_999)]);
        let dir = tempfile::tempdir().unwrap();
        let storage =
            Arc::new(FileStorage::open(dir.path(), sample.torrent.clone(), FileOptions::default()).unwrap());
        let (disk, bell) = disk(threads);
        let store = disk.attach(storage.clone(), sample.torrent.clone());
        let mut all = jobs(&sample, store);
        let count = all.len();
        while !all.is_empty() {
            let mut batch: Vec<_> = all.drain(..all.len().min(37)).collect();
            disk.submit(&mut batch);
        }
        let pieces = sample.torrent.geometry().piece_count() as usize;
        let answers = await_answers(&disk, &bell, |answers| verdicts(answers) == pieces);
        let mut written = 0;
        for answer in answers {
            match answer {
                Completion::Written { blocks, buffers, result, .. } => {
                    result.unwrap();
                    assert_eq!(blocks.len(), buffers.len());
                    written += blocks.len();
                }
                Completion::Piece { result, .. } => assert!(result.unwrap().is_match()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((written, disk.held()), (count, 0));
        assert!(recheck(&*storage, &sample.torrent, &Default::default()).is_complete());
    }
}

#[test]
fn reads_see_the_writes_before_them_and_adjacent_ones_come_back_each() {
    let sample = Sample::single(Version::V1, 8 * 16_384, 1_000_000);
    let (disk, bell) = disk(3);
    let memory = MemoryStorage::new(sample.torrent.geometry().clone());
    let store = disk.attach(Arc::new(memory), sample.torrent.clone());
    let mut all = Vec::new();
    let mut expected = HashMap::new();
    for piece in sample.pieces() {
        for at in (0..piece.len()).step_by(16_384) {
            let range = sample.range(piece.piece().get(), at, (piece.len() - at).min(16_384));
            let block = sample.torrent.geometry().block(piece.piece(), at / 16_384).unwrap();
            all.push(Job::Write { store, block, data: Buf::from(sample.bytes(range)) });
            let token = Token(expected.len() as u64);
            expected.insert(token, range);
            all.push(Job::Read { store, token, range, data: Buf::with_capacity(16_384) });
        }
    }
    disk.submit(&mut all);
    let is_read = |answer: &&Completion| matches!(answer, Completion::Read { .. });
    let answers =
        await_answers(&disk, &bell, |answers| answers.iter().filter(is_read).count() == expected.len());
    for answer in answers {
        if let Completion::Read { token, data, result, .. } = answer {
            result.unwrap();
            assert!(data.as_slice() == sample.bytes(expected[&token]));
        }
    }
}

#[test]
fn what_is_cached_is_read_on_the_spot() {
    let sample = Sample::single(Version::V1, 16_384, 50_000);
    let dir = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(dir.path(), sample.torrent.clone(), FileOptions::default()).unwrap();
    sample.write_to(&storage);
    let (disk, _bell) = disk(1);
    let store = disk.attach(Arc::new(storage), sample.torrent.clone());
    let mut data = Buf::with_capacity(16_384);
    let range = sample.range(1, 100, 16_000);
    // A file system that cannot tell what is cached gives `None`; then there is nothing to compare.
    if let Some(result) = disk.read_cached(store, range, &mut data) {
        result.unwrap();
        assert!(data.as_slice() == sample.bytes(range));
    }
    disk.detach(store);
    assert!(disk.read_cached(store, range, &mut data).is_none());
    assert!(disk.read_cached(store, range, &mut Buf::with_capacity(10)).is_none());
}

#[test]
fn dropping_the_last_handle_finishes_all_writes() {
    let sample = Sample::single(Version::V1, 8 * 16_384, 2_000_000);
    let memory = Arc::new(MemoryStorage::new(sample.torrent.geometry().clone()));
    let (disk, _bell) = disk(2);
    let store = disk.attach(memory.clone(), sample.torrent.clone());
    // Without the last job, so that something lingers.
    let mut all = jobs(&sample, store);
    all.pop();
    disk.submit(&mut all);
    let second = disk.clone();
    drop(disk);
    drop(second);
    let good = recheck(&*memory, &sample.torrent, &Default::default()).count(storage::Verdict::Good);
    assert_eq!(good, sample.torrent.geometry().piece_count() as usize - 1);
}

#[test]
fn a_detached_storage_is_let_go_after_its_jobs() {
    let sample = Sample::single(Version::V1, 8 * 16_384, 2_000_000);
    let memory = Arc::new(MemoryStorage::new(sample.torrent.geometry().clone()));
    let (disk, bell) = disk(2);
    let store = disk.attach(memory.clone(), sample.torrent.clone());
    disk.submit(&mut jobs(&sample, store));
    disk.detach(store);
    let pieces = sample.torrent.geometry().piece_count() as usize;
    await_answers(&disk, &bell, |answers| verdicts(answers) == pieces);
    disk.submit(&mut vec![Job::Sync { store, token: Token(0) }]);
    let refused = |answer: &Completion| matches!(answer, Completion::Synced { result: Err(_), .. });
    await_answers(&disk, &bell, |answers| answers.iter().any(refused));
    drop(disk);
    assert_eq!(Arc::strong_count(&memory), 1);
    assert!(recheck(&*memory, &sample.torrent, &Default::default()).is_complete());
}

/// Panics on every write to piece 1.
struct Panics(MemoryStorage);

impl Storage for Panics {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        self.0.read(range, into)
    }

    fn write(&self, range: PieceRange, data: &[IoSlice<'_>]) -> Result<(), StorageError> {
        assert_ne!(range.piece().get(), 1, "a bug in a backend");
        self.0.write(range, data)
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[test]
fn a_backend_that_panics_costs_an_error() {
    let sample = Sample::single(Version::V1, 2 * 16_384, 100_000);
    let (disk, bell) = disk(1);
    let panics = Panics(MemoryStorage::new(sample.torrent.geometry().clone()));
    let store = disk.attach(Arc::new(panics), sample.torrent.clone());
    let mut all = jobs(&sample, store);
    let blocks = all.len();
    disk.submit(&mut all);
    let answered = |answers: &[Completion]| -> usize {
        answers
            .iter()
            .map(|a| if let Completion::Written { blocks, .. } = a { blocks.len() } else { 0 })
            .sum()
    };
    let answers =
        await_answers(&disk, &bell, |answers| answered(answers) == blocks && verdicts(answers) == 3);
    for answer in answers {
        match answer {
            Completion::Written { piece, result, .. } => assert_eq!(result.is_err(), piece.get() == 1),
            Completion::Piece { piece, result, .. } => {
                assert!(result.unwrap().is_match() && piece.get() != 1);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(sample.torrent.pads().is_empty());
}

/// A backend on a device whose syncs and probes do not end before the gate opens.
struct Hangs(MemoryStorage, u64, Arc<(Mutex<bool>, Condvar)>);

impl Hangs {
    fn wait(&self) {
        let (is_open, opened) = &*self.2;
        drop(opened.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }
}

impl Storage for Hangs {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        self.0.read(range, into)
    }

    fn write(&self, range: PieceRange, data: &[IoSlice<'_>]) -> Result<(), StorageError> {
        self.0.write(range, data)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.wait();
        Ok(())
    }

    fn probe(&self, _: bool) -> Result<(), StorageError> {
        self.wait();
        Ok(())
    }

    fn device(&self) -> Option<u64> {
        Some(self.1)
    }
}

#[test]
fn disks_that_hang_in_a_sync_keep_no_other_from_its_own() {
    let sample = Sample::single(Version::V1, 2 * 16_384, 100_000);
    let memory = || MemoryStorage::new(sample.torrent.geometry().clone());
    for threads in [1, 2, 4] {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let (disk, bell) = disk(threads);
        let attach = |storage: Arc<dyn Storage>| disk.attach(storage, sample.torrent.clone());
        // Three devices hang, each with as many torrents as there could be threads.
        let hung: Vec<StoreId> =
            (0..30).map(|at| attach(Arc::new(Hangs(memory(), at % 3, gate.clone())))).collect();
        let sync = |store| Job::Sync { store, token: Token(1) };
        disk.submit(&mut hung.iter().map(|&store| sync(store)).collect());
        disk.submit(&mut hung.iter().map(|&store| Job::Probe { store, write: true }).collect());
        let well = attach(Arc::new(memory()));
        let mut all = jobs(&sample, well);
        all.push(sync(well));
        all.extend(sample.pieces().map(|range| Job::Check { store: well, piece: range.piece() }));
        all.push(Job::Probe { store: well, write: true });
        disk.submit(&mut all);
        let is_sync = |answer: &Completion| matches!(answer, Completion::Synced { store, result: Ok(()), .. } if *store == well);
        let is_probe = |answer: &Completion| matches!(answer, Completion::Probed { result: Ok(()), .. });
        await_answers(&disk, &bell, |answers| {
            answers.iter().any(is_sync) && answers.iter().any(is_probe) && verdicts(answers) == 8
        });
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        let is_synced = |answer: &&Completion| matches!(answer, Completion::Synced { .. });
        await_answers(&disk, &bell, |answers| answers.iter().filter(is_synced).count() == hung.len());
    }
}
