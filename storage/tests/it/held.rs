//! Files that a program uses are locked, so that another one that comes to them by another path keeps off.

use crate::support::{Sample, Tree};
use metainfo::Version;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use storage::{FileOptions, FileStorage, MoveOptions, Storage, Trouble};

fn sample() -> Sample {
    Sample::folder(Version::V1, 65_536, &[("a", 100_000), ("b/c", 70_000)])
}

fn open(root: &Path, sample: &Sample, options: FileOptions) -> FileStorage {
    FileStorage::create(root, sample.torrent.clone(), options).unwrap()
}

/// Another program's lock: of an open file of its own.
fn others(path: &Path, is_sole: bool) -> Option<File> {
    let file = File::open(path).unwrap();
    if is_sole { file.try_lock() } else { file.try_lock_shared() }.ok().map(|()| file)
}

#[test]
fn who_may_write_has_the_files_alone_from_when_they_are_made_until_it_ends() {
    let (sample, dir) = (sample(), tempfile::tempdir().unwrap());
    let real = dir.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, dir.path().join("link")).unwrap();
    let storage = open(&dir.path().join("link"), &sample, FileOptions::default());
    storage.hold(true).unwrap();
    sample.write_to(&storage);
    assert!(others(&real, true).is_some(), "others may use the folder for other torrents");
    assert!(others(&real.join("t"), false).is_none());
    // One of the same process, as of another torrent with the same folder.
    open(&real, &sample, FileOptions::default()).hold(true).unwrap();
    drop(storage);
    assert!(others(&real.join("t"), true).is_some());
}

#[test]
fn what_another_program_uses_is_named_and_not_written() {
    let (sample, dir) = (sample(), tempfile::tempdir().unwrap());
    fs::create_dir(dir.path().join("t")).unwrap();
    for (is_sole, others_alone, is_refused) in
        [(true, true, true), (true, false, true), (false, true, true), (false, false, false)]
    {
        let other = others(&dir.path().join("t"), others_alone).unwrap();
        let storage = open(dir.path(), &sample, FileOptions::default());
        match storage.hold(is_sole) {
            Ok(()) => assert!(!is_refused, "{is_sole} {others_alone}"),
            Err(error) => {
                assert!(is_refused && error.trouble() == Trouble::InUse, "{error}");
                assert_eq!(error.path, dir.path().join("t"));
            }
        }
        other.unlock().unwrap();
    }
    // It came to be used between the start and the first write.
    fs::remove_dir(dir.path().join("t")).unwrap();
    let storage = open(dir.path(), &sample, FileOptions::default());
    storage.hold(true).unwrap();
    fs::create_dir(dir.path().join("t")).unwrap();
    let _other = others(&dir.path().join("t"), true).unwrap();
    let first = sample.pieces().next().unwrap();
    let error = storage.write(first, &[std::io::IoSlice::new(sample.bytes(first))]).unwrap_err();
    assert_eq!(error.trouble(), Trouble::InUse, "{error}");
    assert_eq!(Tree::of(dir.path()).names(), ["t"]);
}

#[test]
fn torrents_of_one_file_each_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Sample::single(Version::V1, 16_384, 100_000);
    fs::write(dir.path().join("other.bin"), "of another torrent").unwrap();
    let _other = others(&dir.path().join("other.bin"), true).unwrap();
    let suffix = Some(".part".to_owned());
    let storage = open(dir.path(), &sample, FileOptions { suffix, ..FileOptions::default() });
    storage.hold(true).unwrap();
    sample.write_to(&storage);
    assert!(others(&dir.path().join("file.bin.part"), false).is_none());
    storage.finish_file(0).unwrap();
    assert!(others(&dir.path().join("file.bin"), false).is_none());
}

#[test]
fn files_are_held_where_they_are_moved_to() {
    for goal in [Some(tempfile::tempdir().unwrap()), crate::support::elsewhere()].into_iter().flatten() {
        let (sample, home) = (sample(), tempfile::tempdir().unwrap());
        let storage = open(home.path(), &sample, FileOptions::default());
        storage.hold(true).unwrap();
        sample.write_to(&storage);
        fs::create_dir(goal.path().join("t")).unwrap();
        let other = others(&goal.path().join("t"), false).unwrap();
        let before = Tree::of(home.path());
        let error = storage.relocate(goal.path(), &MoveOptions::default()).unwrap_err();
        assert_eq!((error.trouble(), error.path), (Trouble::InUse, goal.path().join("t")));
        assert!(storage.moving_to().is_none() && Tree::of(home.path()) == before);
        other.unlock().unwrap();
        // Somebody else's by the next attempt, to see that it is let go.
        fs::write(home.path().join("t/foreign"), "theirs").unwrap();
        assert!(storage.relocate(goal.path(), &MoveOptions::default()).unwrap().is_whole);
        assert!(others(&goal.path().join("t"), false).is_none());
        assert!(others(&home.path().join("t"), true).is_some());
    }
}
