//! What somebody else does to files while they are in use.

use crate::support::{Sample, read};
use metainfo::Version;
use std::fs::{self, File};
use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use storage::{Allocation, FileChange, FileOptions, FileStorage, Storage, StorageError, Trouble};

/// Two files of three pieces each, `t/a` and `t/b`.
fn sample() -> Sample {
    Sample::folder(Version::V1, 16_384, &[("a", 49_152), ("b", 49_152)])
}

fn open(dir: &Path, sample: &Sample) -> FileStorage {
    FileStorage::open(dir, sample.torrent.clone(), FileOptions::default()).unwrap()
}

fn put(storage: &FileStorage, sample: &Sample, piece: u32) -> Result<(), StorageError> {
    let range = sample.range(piece, 0, 16_384);
    storage.write(range, &[IoSlice::new(sample.bytes(range))])
}

fn get(storage: &FileStorage, sample: &Sample, piece: u32) -> Result<Vec<u8>, StorageError> {
    read(storage, sample.range(piece, 0, 16_384), 16_384)
}

/// The file, the first byte, and what is behind it if bytes are lost.
fn told(changes: &[FileChange]) -> Vec<(usize, u64, Option<Trouble>)> {
    let tell = |change: &FileChange| {
        let lost = change.lost.as_ref().map(|error| {
            let name = ["t/a", "t/b"][change.file];
            assert!(error.path.ends_with(name), "{error}");
            error.trouble()
        });
        (change.file, change.from, lost)
    };
    changes.iter().map(tell).collect()
}

fn look(storage: &FileStorage) -> Vec<(usize, u64, Option<Trouble>)> {
    told(&storage.look().unwrap())
}

/// What somebody else does to the file `t/a`, in the folder beside which is another.
type Harm = fn(&Path, &Path);

fn remove(file: &Path, _: &Path) {
    fs::remove_file(file).unwrap();
}

fn rename_away(file: &Path, beside: &Path) {
    fs::rename(file, beside.join("a")).unwrap();
}

fn replace(file: &Path, beside: &Path) {
    let other = beside.join("other");
    fs::write(&other, vec![7; 49_152]).unwrap();
    fs::rename(&other, file).unwrap();
}

fn cut(file: &Path, _: &Path) {
    File::options().write(true).open(file).unwrap().set_len(20_000).unwrap();
}

fn spoil(file: &Path, _: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[40_000] ^= 1;
    let when = fs::metadata(file).unwrap().modified().unwrap() + std::time::Duration::from_secs(5);
    fs::write(file, bytes).unwrap();
    File::options().write(true).open(file).unwrap().set_modified(when).unwrap();
}

const HARMS: [(Harm, u64, Option<Trouble>); 4] = [
    (remove, 0, Some(Trouble::Missing)),
    (rename_away, 0, Some(Trouble::Missing)),
    (replace, 0, None),
    (cut, 20_000, Some(Trouble::Short)),
];

#[test]
fn what_happens_to_a_file_that_is_written_is_told_once_and_nothing_is_written_before() {
    for (line, (harm, from, lost)) in HARMS.into_iter().enumerate() {
        let (sample, dir, beside) = (sample(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let storage = open(dir.path(), &sample);
        (0..2).for_each(|piece| put(&storage, &sample, piece).unwrap());
        put(&storage, &sample, 3).unwrap();
        assert!(look(&storage).is_empty());
        let file = dir.path().join("t/a");
        harm(&file, beside.path());
        let there = fs::read(&file).ok();
        // The file may be written through its old name until it is looked at; what is synced is not said to be there.
        let _ = put(&storage, &sample, 2);
        let error = storage.sync().unwrap_err();
        assert!(error.path.ends_with("t/a"), "line {line}: {error}");
        assert!(put(&storage, &sample, 2).is_err() || line > 0, "line {line}");
        assert_eq!(fs::read(&file).ok(), there, "line {line}: it was made or written to");
        put(&storage, &sample, 4).unwrap();

        assert_eq!(look(&storage), [(0, from, lost)], "line {line}");
        assert_eq!(look(&storage), [], "line {line}: it was told");
        storage.sync().unwrap();
        put(&storage, &sample, 2).unwrap();
        storage.sync().unwrap();
        assert!(get(&storage, &sample, 2).unwrap() == sample.bytes(sample.range(2, 0, 16_384)));
        assert_eq!(look(&storage), [], "line {line}: that was us");
        let away = beside.path().join("a");
        if let Ok(bytes) = fs::read(away) {
            assert!(bytes.len() <= 49_152);
        }
    }
}

#[test]
fn what_happens_to_a_file_that_is_served_is_told_once() {
    for (line, (harm, from, lost)) in HARMS.into_iter().chain([(spoil as Harm, 0, None)]).enumerate() {
        let (sample, dir, beside) = (sample(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sample.write_to(&open(dir.path(), &sample));
        let storage = open(dir.path(), &sample);
        (0..6).for_each(|piece| drop(get(&storage, &sample, piece).unwrap()));
        assert_eq!(look(&storage), []);
        harm(&dir.path().join("t/a"), beside.path());
        assert_eq!(look(&storage), [(0, from, lost)], "line {line}");
        assert_eq!(look(&storage), [], "line {line}: it was told");
        assert!(get(&storage, &sample, 3).is_ok());
        let right =
            get(&storage, &sample, 2).is_ok_and(|bytes| bytes == sample.bytes(sample.range(2, 0, 16_384)));
        assert!(!right, "line {line}: it is read from what is there now");
    }
}

#[test]
fn a_file_that_is_back_is_told_of() {
    let (sample, dir, beside) = (sample(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample.write_to(&open(dir.path(), &sample));
    let storage = open(dir.path(), &sample);
    get(&storage, &sample, 0).unwrap();
    let (file, away) = (dir.path().join("t/a"), beside.path().join("a"));
    fs::rename(&file, &away).unwrap();
    assert_eq!(look(&storage), [(0, 0, Some(Trouble::Missing))]);
    assert_eq!(get(&storage, &sample, 0).unwrap_err().cause.kind(), ErrorKind::NotFound);
    fs::rename(&away, &file).unwrap();
    assert_eq!(look(&storage), [(0, 0, None)]);
    assert!(get(&storage, &sample, 0).is_ok());
    assert_eq!(look(&storage), []);
}

#[test]
fn a_removed_file_takes_not_a_byte_more() {
    let (sample, dir) = (sample(), tempfile::tempdir().unwrap());
    let storage = open(dir.path(), &sample);
    put(&storage, &sample, 0).unwrap();
    fs::remove_file(dir.path().join("t/a")).unwrap();
    let error = put(&storage, &sample, 1).unwrap_err();
    assert_eq!(error.trouble(), Trouble::Missing);
    assert!(
        error.to_string().ends_with("somebody removed or renamed the file while it was in use"),
        "{error}"
    );
    assert!(!dir.path().join("t/a").exists());
    // A probe makes it no more than a write does.
    assert!(storage.probe(true).is_err());
    assert!(!dir.path().join("t/a").exists());
    assert_eq!(look(&storage), [(0, 0, Some(Trouble::Missing))]);
    storage.probe(true).unwrap();
    put(&storage, &sample, 1).unwrap();
    assert_eq!(fs::metadata(dir.path().join("t/a")).unwrap().len(), 32_768);
}

#[test]
fn what_is_our_own_doing_is_not_told() {
    let (sample, dir, beside) = (sample(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = FileOptions {
        allocation: Allocation::Full,
        suffix: Some(String::from(".part")),
        ..FileOptions::default()
    };
    let storage = FileStorage::open(dir.path(), sample.torrent.clone(), options).unwrap();
    let steps: [(&str, &dyn Fn()); 6] = [
        ("written", &|| (0..3).for_each(|piece| put(&storage, &sample, piece).unwrap())),
        ("finished", &|| storage.finish_file(0).unwrap()),
        ("linked elsewhere", &|| {
            storage.link_to(beside.path(), storage::LinkMode::Hard, &[0]).unwrap();
        }),
        ("written again, with bytes of its own", &|| put(&storage, &sample, 1).unwrap()),
        ("renamed", &|| drop(storage.rename_file(0, "t/c").unwrap())),
        ("synced", &|| storage.sync().unwrap()),
    ];
    for (step, run) in steps {
        run();
        assert_eq!(look(&storage), [], "{step}");
    }
    let goal: PathBuf = beside.path().join("goal");
    storage.relocate(&goal, &storage::MoveOptions::default()).unwrap();
    assert_eq!(look(&storage), [], "moved");
    assert!(get(&storage, &sample, 1).is_ok());
}

#[test]
fn a_folder_that_is_gone_is_told_as_such() {
    let (sample, dir) = (sample(), tempfile::tempdir().unwrap());
    let (root, away) = (dir.path().join("root"), dir.path().join("away"));
    fs::create_dir(&root).unwrap();
    let storage = open(&root, &sample);
    put(&storage, &sample, 0).unwrap();
    fs::rename(&root, &away).unwrap();
    assert!(storage.look().unwrap_err().is_gone());
    fs::rename(&away, &root).unwrap();
    assert_eq!(look(&storage), []);
}

#[test]
fn a_folder_that_somebody_removed_with_all_in_it_hinders_nothing_once_that_is_told() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 49_152), ("new/b", 49_152)]);
    let (dir, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let storage = open(dir.path(), &sample);
    for piece in [0, 3] {
        put(&storage, &sample, piece).unwrap();
    }
    let (folder, away) = (dir.path().join("t/new"), beside.path().join("new"));
    // It was made, and its name is not durable.
    fs::rename(&folder, &away).unwrap();
    let error = storage.sync().unwrap_err();
    assert!(error.path.ends_with("t/new/b"), "{error}");
    assert_eq!(storage.look().unwrap().len(), 1);
    storage.sync().unwrap();
    put(&storage, &sample, 1).unwrap();
    storage.sync().unwrap();
    // Whether it comes back, or is made anew.
    fs::rename(&away, &folder).unwrap();
    assert_eq!(storage.look().unwrap().len(), 1);
    put(&storage, &sample, 4).unwrap();
    storage.sync().unwrap();
    assert!(get(&storage, &sample, 3).is_ok() && get(&storage, &sample, 4).is_ok());
}

#[test]
fn many_that_write_to_a_new_file_at_once_do_not_take_each_other_for_somebody_else() {
    let sample = Sample::single(Version::V1, 16_384, 8 * 16_384);
    for _ in 0..200 {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path(), &sample);
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|threads| {
            for piece in 0..8 {
                let (storage, sample, start) = (&storage, &sample, &start);
                threads.spawn(move || {
                    start.wait();
                    put(storage, sample, piece).unwrap();
                });
            }
        });
        assert_eq!(storage.look().unwrap(), []);
    }
}
