//! What every backend has to do.

use crate::support::{Sample, read};
use metainfo::Version;
use std::io::{ErrorKind, IoSlice};
use storage::{Fault, FaultyStorage, MemoryStorage, Pieces, Storage};

fn samples() -> Vec<Sample> {
    let files = [("a", 0), ("b/c", 70_000), ("b/d", 1), ("e/f/g", 0), ("h", 40_000), ("i", 3), ("z", 0)];
    let mut samples: Vec<_> =
        [Version::V1, Version::V2, Version::Hybrid].map(|v| Sample::folder(v, 32_768, &files)).into();
    samples.push(Sample::single(Version::V1, 16_384, 50_001));
    samples
}

/// The suite. `make` gives an empty backend for a torrent.
fn suite(make: impl Fn(&Sample) -> Box<dyn Storage>) {
    for sample in samples() {
        what_was_not_written_is_not_found(&sample, &*make(&sample));
        what_was_written_is_read(&sample, &*make(&sample));
        any_range_is_written_and_read(&sample, &*make(&sample));
        threads_do_not_disturb_each_other(&sample, &*make(&sample));
    }
}

fn what_was_not_written_is_not_found(sample: &Sample, storage: &dyn Storage) {
    let error = read(storage, sample.range(0, 0, 10), 10).unwrap_err();
    assert_eq!(error.cause.kind(), ErrorKind::NotFound);
    storage.prepare().unwrap();
    storage.sync().unwrap();
}

fn what_was_written_is_read(sample: &Sample, storage: &dyn Storage) {
    storage.prepare().unwrap();
    sample.write_to(storage);
    storage.prepare().unwrap();
    storage.sync().unwrap();
    for range in sample.pieces() {
        for step in [usize::MAX, 5000, 16_384] {
            assert!(read(storage, range, step.min(range.len() as usize)).unwrap() == sample.bytes(range));
        }
        let mut cached = vec![0xAA; range.len() as usize];
        if let Some(result) = storage.read_cached(range, &mut cached) {
            result.unwrap();
            assert!(cached == sample.bytes(range));
        }
    }
}

fn any_range_is_written_and_read(sample: &Sample, storage: &dyn Storage) {
    let geometry = sample.torrent.geometry();
    // Backwards and in odd parts, from slices of odd lengths.
    for piece in geometry.pieces().rev() {
        let len = geometry.piece_len(piece);
        let mut end = len;
        while end > 0 {
            let begin = end.saturating_sub(9_973);
            let range = sample.range(piece.get(), begin, end - begin);
            let slices: Vec<_> = sample.bytes(range).chunks(1_001).map(IoSlice::new).collect();
            storage.write(range, &slices).unwrap();
            end = begin;
        }
        let middle = sample.range(piece.get(), len / 3, len - len / 3);
        assert!(read(storage, middle, 777).unwrap() == sample.bytes(middle));
    }
    for range in sample.pieces() {
        assert!(read(storage, range, 4_096).unwrap() == sample.bytes(range));
    }
}

fn threads_do_not_disturb_each_other(sample: &Sample, storage: &dyn Storage) {
    std::thread::scope(|scope| {
        for first in 0..3 {
            scope.spawn(move || {
                for range in sample.pieces().skip(first).step_by(3) {
                    storage.write(range, &[IoSlice::new(sample.bytes(range))]).unwrap();
                    assert!(read(storage, range, 10_000).unwrap() == sample.bytes(range));
                }
            });
        }
    });
}

fn memory(sample: &Sample) -> MemoryStorage {
    MemoryStorage::with_pads(sample.torrent.geometry().clone(), sample.torrent.pads())
}

#[test]
fn memory_passes_the_suite() {
    suite(|sample| Box::new(memory(sample)));
}

#[test]
fn a_backend_that_loses_power_passes_the_suite_while_it_has_some() {
    suite(|sample| {
        let geometry = sample.torrent.geometry().clone();
        Box::new(storage::testing::PowerLoss::with_pads(geometry, sample.torrent.pads()))
    });
}

#[test]
fn a_faulty_backend_without_a_fault_passes_the_suite() {
    let fault = Fault { operation: None, nth: u64::MAX, lasting: false, kind: ErrorKind::Other, torn: false };
    suite(|sample| Box::new(FaultyStorage::new(memory(sample), fault)));
}

#[cfg(feature = "files")]
#[test]
fn files_pass_the_suite() {
    use std::cell::RefCell;
    use std::sync::Arc;
    use storage::{Allocation, FileOptions, FileStorage, OpenFiles};

    let (none, sparse, full) = (Allocation::None, Allocation::Sparse, Allocation::Full);
    for (allocation, limit) in [(none, 64), (sparse, 64), (full, 64), (sparse, 1)] {
        let open_files = Arc::new(OpenFiles::new(limit));
        let options = FileOptions { allocation, open_files, ..FileOptions::default() };
        let dirs = RefCell::new(Vec::new());
        suite(|sample| {
            let dir = tempfile::tempdir().unwrap();
            let storage =
                FileStorage::create(&dir.path().join("new"), sample.torrent.clone(), options.clone());
            dirs.borrow_mut().push(dir);
            Box::new(storage.unwrap())
        });
        assert!(options.open_files.is_empty(), "a storage that ended left files open");
    }
}
