//! What a storage says of its own deeds, so that those of others are noticed.

use crate::support::Sample;
use metainfo::Version;
use std::fs;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use storage::record::{Baseline, FileStamp};
use storage::{FileOptions, FileStorage, MoveOptions, OpenFiles, Storage, Touched};

const FILES: [(&str, u64); 2] = [("a", 65_536), ("b", 65_536)];

fn stamps(storage: &FileStorage) -> Vec<Option<FileStamp>> {
    storage.file_stamps().into_iter().map(|stamp| stamp.map(Into::into)).collect()
}

/// What a save does.
fn doubted(baseline: &mut Baseline, storage: &FileStorage) -> Vec<usize> {
    let (touched, stamps) = storage.take_touched();
    let stamps: Vec<_> = stamps.into_iter().map(|stamp| stamp.map(Into::into)).collect();
    baseline.update(&stamps, &touched);
    baseline.doubted().collect()
}

fn write(storage: &FileStorage, sample: &Sample, piece: u32) {
    storage.write(sample.range(piece, 0, 100), &[IoSlice::new(&[7; 100])]).unwrap();
}

fn open(root: &Path, sample: &Sample) -> FileStorage {
    // One at a time: a file is found by its name whenever the other was used.
    let options = FileOptions { open_files: Arc::new(OpenFiles::new(1)), ..FileOptions::default() };
    FileStorage::create(root, sample.torrent.clone(), options).unwrap()
}

#[test]
fn its_own_writes_and_moves_are_explained_and_a_file_made_anew_is_not() {
    let sample = Sample::folder(Version::V1, 65_536, &FILES);
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir.path().join("old"), &sample);
    let mut baseline = Baseline::new(stamps(&storage));
    write(&storage, &sample, 0);
    write(&storage, &sample, 1);
    assert_eq!(doubted(&mut baseline, &storage), []);
    assert_eq!(baseline.stamps(), stamps(&storage));
    assert_eq!(storage.take_touched().0, [Touched::default(); 2], "it was told already");

    storage.relocate(&dir.path().join("new"), &MoveOptions::default()).unwrap();
    write(&storage, &sample, 0);
    assert_eq!(doubted(&mut baseline, &storage), []);
    assert_eq!(baseline.stamps(), stamps(&storage));

    // Gone; written to by us, who make another.
    write(&storage, &sample, 1);
    assert_eq!(doubted(&mut baseline, &storage), []);
    fs::remove_file(dir.path().join("new/t/a")).unwrap();
    storage.look().unwrap();
    write(&storage, &sample, 0);
    assert_eq!(doubted(&mut baseline, &storage), [0]);
    fs::write(dir.path().join("new/t/b"), [8; 65_536]).unwrap();
    assert_eq!(doubted(&mut baseline, &storage), [0, 1]);
}

#[test]
fn what_others_did_before_a_move_is_noticed_after_it() {
    let sample = Sample::folder(Version::V1, 65_536, &FILES);
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir.path().join("old"), &sample);
    write(&storage, &sample, 0);
    write(&storage, &sample, 1);
    let mut baseline = Baseline::new(stamps(&storage));
    storage.take_touched();
    fs::write(dir.path().join("old/t/a"), [8; 65_536]).unwrap();
    storage.relocate(&dir.path().join("new"), &MoveOptions::default()).unwrap();
    assert_eq!(doubted(&mut baseline, &storage), [0]);
    // There and back, and between the two.
    storage.relocate(&dir.path().join("old"), &MoveOptions::default()).unwrap();
    fs::write(dir.path().join("old/t/b"), [8; 65_536]).unwrap();
    storage.relocate(&dir.path().join("new"), &MoveOptions::default()).unwrap();
    assert_eq!(doubted(&mut baseline, &storage), [0, 1]);
}
