//! Moving, renaming and removing: one complete copy at every moment, and nothing of anybody else's.

use crate::support::{Sample, Tree, read};
use metainfo::Version;
use std::fs;
use std::io::IoSlice;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::{
    FileOptions, FileStorage, MoveOptions, Moved, Operation, Progress, Storage, Trouble, Verdict, recheck,
};

const FILES: [(&str, u64); 4] = [("a", 100_000), ("b/c", 70_000), ("b/d/e", 0), ("f", 5 << 20)];

fn sample() -> Sample {
    Sample::folder(Version::V1, 65_536, &FILES)
}

fn open(root: &Path, sample: &Sample, options: FileOptions) -> FileStorage {
    FileStorage::create(root, sample.torrent.clone(), options).unwrap()
}

/// A whole download in `root`.
fn seeded(root: &Path, sample: &Sample) -> FileStorage {
    let storage = open(root, sample, FileOptions::default());
    sample.write_to(&storage);
    storage
}

fn is_whole(storage: &FileStorage, sample: &Sample) -> bool {
    recheck(storage, &sample.torrent, &Default::default()).is_complete()
}

/// Folders on one file system, and on two where there is a second.
fn pairs() -> Vec<(tempfile::TempDir, tempfile::TempDir)> {
    let here = || tempfile::tempdir().unwrap();
    let mut pairs = vec![(here(), here())];
    match crate::support::elsewhere() {
        Some(there) => pairs.push((here(), there)),
        None => eprintln!("skipped: no second file system to move to"),
    }
    pairs
}

#[test]
fn a_torrent_is_moved_while_it_is_open() {
    let sample = sample();
    for (from, to) in pairs() {
        let storage = seeded(from.path(), &sample);
        fs::write(from.path().join("t/foreign"), "mine").unwrap();
        let goal = to.path().join("new/place");
        let moved = storage.relocate(&goal, &MoveOptions::default()).unwrap();
        assert!(moved.is_whole && moved.files == 4 && moved.left_behind.is_empty(), "{moved:?}");
        assert!(is_whole(&storage, &sample));
        assert_eq!(storage.root(), goal);
        assert_eq!(Tree::of(from.path()).names(), ["t", "t/foreign"]);
        assert_eq!(Tree::of(&goal).names(), ["t", "t/a", "t/b", "t/b/c", "t/b/d", "t/b/d/e", "t/f"]);
        assert_eq!(storage.created().len(), 7);
        let range = sample.range(0, 0, 100);
        storage.write(range, &[IoSlice::new(sample.bytes(range))]).unwrap();
        storage.sync().unwrap();
        assert!(is_whole(&open(&goal, &sample, FileOptions::default()), &sample));
    }
}

#[test]
fn the_same_place_by_another_spelling_is_left_alone() {
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    let (home, link) = (dir.path().join("home"), dir.path().join("link"));
    let storage = seeded(&home, &sample);
    symlink(&home, &link).unwrap();
    let before = Tree::of(&home);
    let spellings = [
        home.clone(),
        link,
        dir.path().join("home/../home/."),
        PathBuf::from(format!("{}//home//", dir.path().display())),
    ];
    for spelling in spellings {
        let moved = storage.relocate(&spelling, &MoveOptions::default()).unwrap();
        assert_eq!(moved, Moved { is_whole: true, ..Moved::default() }, "{}", spelling.display());
        assert!(Tree::of(&home) == before, "{}", spelling.display());
    }
    assert!(is_whole(&storage, &sample));
}

#[test]
fn a_link_to_the_old_place_inside_the_new_one_is_no_way_to_lose_files() {
    let sample = sample();
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let storage = seeded(from.path(), &sample);
    symlink(from.path().join("t"), to.path().join("t")).unwrap();
    let before = Tree::of(from.path());
    storage.relocate(to.path(), &MoveOptions::default()).unwrap_err();
    assert!(Tree::of(from.path()) == before && is_whole(&storage, &sample));
    // The very same file, by a second name.
    fs::remove_file(to.path().join("t")).unwrap();
    fs::create_dir(to.path().join("t")).unwrap();
    fs::hard_link(from.path().join("t/a"), to.path().join("t/a")).unwrap();
    assert!(storage.relocate(to.path(), &MoveOptions::default()).unwrap().is_whole);
    assert!(is_whole(&storage, &sample));
}

#[test]
fn what_is_in_the_way_keeps_all_where_it_is() {
    let sample = sample();
    for (from, to) in pairs() {
        let storage = seeded(from.path(), &sample);
        fs::create_dir(to.path().join("t")).unwrap();
        fs::write(to.path().join("t/f"), "somebody else's").unwrap();
        let before = (Tree::of(from.path()), Tree::of(to.path()));
        let error = storage.relocate(to.path(), &MoveOptions::default()).unwrap_err();
        assert_eq!((error.trouble(), error.path), (Trouble::Exists, to.path().join("t/f")));
        assert!((Tree::of(from.path()), Tree::of(to.path())) == before);
        assert!(storage.moving_to().is_none() && is_whole(&storage, &sample));
    }
}

#[test]
fn a_move_that_was_stopped_goes_on_or_back() {
    let sample = sample();
    let Some(to) = crate::support::elsewhere() else {
        return eprintln!("skipped: no second file system to move to");
    };
    for back in [false, true] {
        for reopened in [false, true] {
            let from = tempfile::tempdir().unwrap();
            let goal = to.path().join(format!("{back}{reopened}"));
            let mut storage = seeded(from.path(), &sample);
            let cancel = AtomicBool::new(false);
            let progress = |progress: Progress| {
                // In the middle of the last file.
                cancel.store(progress.done > 2_000_000, Ordering::Relaxed);
            };
            let options = MoveOptions { cancel: Some(&cancel), progress: Some(&progress) };
            let moved = storage.relocate(&goal, &options).unwrap();
            assert!(!moved.is_whole && is_whole(&storage, &sample));
            assert_eq!(storage.moving_to(), Some(goal.clone()));
            let names = Tree::of(&goal).names();
            assert!(names.contains(&"t/b/c".into()) && !names.iter().any(|name| name.ends_with("moving")));
            if reopened {
                let options = FileOptions {
                    moving_to: storage.moving_to(),
                    created: storage.created(),
                    ..FileOptions::default()
                };
                storage = open(from.path(), &sample, options);
                assert!(is_whole(&storage, &sample));
            }
            let (end, left) = if back { (from.path(), &*goal) } else { (&*goal, from.path()) };
            assert!(storage.relocate(end, &MoveOptions::default()).unwrap().is_whole);
            assert!(is_whole(&open(end, &sample, FileOptions::default()), &sample));
            assert!(Tree::of(left).names().is_empty(), "{:?}", Tree::of(left).names());
        }
    }
}

#[test]
fn a_copy_that_was_whole_when_the_process_was_killed_is_taken() {
    let sample = sample();
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let storage = seeded(from.path(), &sample);
    let created = storage.created();
    drop(storage);
    fs::create_dir(to.path().join("t")).unwrap();
    fs::copy(from.path().join("t/f"), to.path().join("t/f")).unwrap();
    let moving_to = Some(to.path().to_path_buf());
    let options = FileOptions { moving_to, created, ..FileOptions::default() };
    let storage = open(from.path(), &sample, options);
    assert!(is_whole(&storage, &sample));
    assert!(storage.relocate(to.path(), &MoveOptions::default()).unwrap().is_whole);
    assert!(is_whole(&storage, &sample) && Tree::of(from.path()).names().is_empty());
}

#[test]
fn what_is_written_while_its_file_is_copied_is_not_lost() {
    let Some(to) = crate::support::elsewhere() else {
        return eprintln!("skipped: no second file system to move to");
    };
    let from = tempfile::tempdir().unwrap();
    let sample = Sample::single(Version::V1, 65_536, 8 << 20);
    let storage = seeded(from.path(), &sample);
    // The first bytes are written anew all the time: the last ones count.
    let (written, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let range = sample.range(0, 0, 8);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let number = written.fetch_add(1, Ordering::Relaxed) + 1;
                storage.write(range, &[IoSlice::new(&number.to_le_bytes())]).unwrap();
            }
        });
        while written.load(Ordering::Relaxed) <= 10 {
            std::thread::yield_now();
        }
        let moved = [&to, &from, &to].map(|to| storage.relocate(to.path(), &MoveOptions::default()));
        is_over.store(true, Ordering::Relaxed);
        assert!(moved.iter().all(|moved| moved.as_ref().is_ok_and(|moved| moved.is_whole)), "{moved:?}");
    });
    let number = written.load(Ordering::Relaxed);
    assert_eq!(read(&storage, range, 8).unwrap(), number.to_le_bytes());
    storage.sync().unwrap();
    assert_eq!(fs::read(to.path().join("file.bin")).unwrap()[..8], number.to_le_bytes());
    assert_eq!(&fs::read(to.path().join("file.bin")).unwrap()[8..], &sample.file(0)[8..]);
}

#[test]
fn only_what_was_made_is_removed() {
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("t")).unwrap();
    fs::write(dir.path().join("t/a"), vec![1; 100_000]).unwrap();
    let storage = seeded(dir.path(), &sample);
    fs::write(dir.path().join("t/b/foreign"), "mine").unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("e"), "outside").unwrap();
    // One of the folders is now a link to the outside.
    fs::remove_dir_all(dir.path().join("t/b/d")).unwrap();
    symlink(outside.path(), dir.path().join("t/b/d")).unwrap();
    let created = storage.created();
    drop(storage);
    let storage = open(dir.path(), &sample, FileOptions { created, ..FileOptions::default() });
    let removed = storage.remove_created().unwrap();
    assert_eq!(Tree::of(dir.path()).names(), ["t", "t/a", "t/b", "t/b/d", "t/b/foreign"]);
    assert_eq!(fs::read(outside.path().join("e")).unwrap(), b"outside");
    assert_eq!(removed.removed, ["t/f", "t/b/c"].map(PathBuf::from));
    assert!(removed.kept.contains(&"t/b".into()), "{removed:?}");
    assert!(!storage.created().contains(&"t".into()), "it was there before");
}

#[test]
fn files_get_the_users_names_and_keep_them() {
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    let storage = seeded(dir.path(), &sample);
    fs::write(dir.path().join("taken"), "mine").unwrap();
    let error = storage.rename_file(1, "taken").unwrap_err();
    assert_eq!((error.operation, error.trouble()), (Operation::Rename, Trouble::Exists));
    assert_eq!(storage.rename_file(1, "x/../y/film.mkv").unwrap(), "x/y/film.mkv");
    assert!(is_whole(&storage, &sample));
    let names = ["t", "t/a", "t/b", "t/b/d", "t/b/d/e", "t/f", "taken", "x", "x/y", "x/y/film.mkv"];
    assert_eq!(Tree::of(dir.path()).names(), names);
    let options = FileOptions { names: storage.names(), ..FileOptions::default() };
    assert!(is_whole(&open(dir.path(), &sample, options), &sample));
    // Killed between the rename and its record, or before the rename.
    for done in [true, false] {
        let renaming = vec![(0, if done { "t/b/new" } else { "t/b/newer" }.into())];
        let names = storage.names();
        if done {
            storage.rename_file(0, "t/b/new").unwrap();
        }
        let names = if done { names } else { storage.names() };
        let options = FileOptions { names, renaming, created: storage.created(), ..FileOptions::default() };
        assert!(is_whole(&open(dir.path(), &sample, options), &sample));
    }
    storage.remove_created().unwrap();
    assert_eq!(Tree::of(dir.path()).names(), ["taken"]);
}

#[test]
fn unfinished_files_can_be_told_by_their_names() {
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    let options = FileOptions { suffix: Some(".part".into()), ..FileOptions::default() };
    let storage = open(dir.path(), &sample, options.clone());
    sample.write_to(&storage);
    let names = ["t", "t/a.part", "t/b", "t/b/c.part", "t/b/d", "t/b/d/e", "t/f.part"];
    assert_eq!(Tree::of(dir.path()).names(), names);
    storage.finish_file(0).unwrap();
    storage.finish_file(0).unwrap();
    fs::write(dir.path().join("t/f"), "in the way").unwrap();
    assert_eq!(storage.finish_file(3).unwrap_err().trouble(), Trouble::Exists);
    fs::remove_file(dir.path().join("t/f")).unwrap();
    assert!(is_whole(&storage, &sample));
    let again = open(dir.path(), &sample, options);
    assert!(is_whole(&again, &sample));
    assert!(again.file_stamps().iter().all(Option::is_some));
    again.finish_file(3).unwrap();
    storage.finish_file(1).unwrap();
    assert!(is_whole(&open(dir.path(), &sample, FileOptions::default()), &sample));
    storage.rename_file(0, "t/other").unwrap();
    assert_eq!(recheck(&storage, &sample.torrent, &Default::default()).count(Verdict::Missing), 0);
}

#[test]
fn files_are_read_and_made_while_the_torrent_moves_to_and_fro() {
    let sample = sample();
    for (from, to) in pairs() {
        let storage = open(from.path(), &sample, FileOptions::default());
        let pieces: Vec<_> = sample.pieces().collect();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..3 {
                    for range in &pieces {
                        storage.write(*range, &[IoSlice::new(sample.bytes(*range))]).unwrap();
                        assert!(read(&storage, *range, 65_536).unwrap() == sample.bytes(*range), "{round}");
                        let mut cached = vec![0; range.len() as usize];
                        if let Some(read) = storage.read_cached(*range, &mut cached) {
                            assert!(read.is_ok() && cached == sample.bytes(*range), "{round}");
                        }
                    }
                    storage.sync().unwrap();
                }
                is_over.store(true, Ordering::Relaxed);
            });
            let mut moves = 0;
            while !is_over.load(Ordering::Relaxed) || moves % 2 == 1 {
                let goal = if moves % 2 == 0 { to.path() } else { from.path() };
                assert!(storage.relocate(goal, &MoveOptions::default()).unwrap().is_whole);
                moves += 1;
            }
        });
        assert!(is_whole(&storage, &sample) && Tree::of(to.path()).names().is_empty());
    }
}

#[test]
fn what_was_made_is_removed_whatever_was_done_since_it_was_recorded() {
    let sample = sample();
    let suffix = Some(".part".to_owned());
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), &sample, FileOptions { suffix: suffix.clone(), ..FileOptions::default() });
    sample.write_to(&storage);
    let created = storage.created();
    storage.finish_file(3).unwrap();
    storage.rename_file(1, "t/b/film").unwrap();
    drop(storage);
    let renaming = vec![(1, "t/b/film".to_owned())];
    let options = FileOptions { suffix, created, renaming, ..FileOptions::default() };
    let removed = open(dir.path(), &sample, options).remove_created().unwrap();
    assert!(removed.errors.is_empty() && removed.kept.is_empty(), "{removed:?}");
    assert!(Tree::of(dir.path()).names().is_empty());
}

#[test]
fn a_torrent_is_removed_from_both_folders_in_the_middle_of_a_move() {
    let sample = sample();
    let Some(to) = crate::support::elsewhere() else {
        return eprintln!("skipped: no second file system to move to");
    };
    let from = tempfile::tempdir().unwrap();
    let storage = seeded(from.path(), &sample);
    let cancel = AtomicBool::new(false);
    let progress = |_: Progress| cancel.store(true, Ordering::Relaxed);
    let options = MoveOptions { cancel: Some(&cancel), progress: Some(&progress) };
    assert!(!storage.relocate(to.path(), &options).unwrap().is_whole);
    let removed = storage.remove_created().unwrap();
    assert!(removed.errors.is_empty() && removed.kept.is_empty(), "{removed:?}");
    assert!(Tree::of(from.path()).names().is_empty() && Tree::of(to.path()).names().is_empty());
    assert!(storage.created().is_empty());
}

/// What a process that was killed leaves in the folders of a torrent.
fn leave_scratches(root: &Path, sample: &Sample) {
    let id: String = sample.torrent.id().to_string().chars().take(16).collect();
    for folder in ["", "t/", "t/b/"] {
        fs::create_dir_all(root.join(folder)).unwrap();
        for purpose in ["moving", "folding", "giving", "own", "probe"] {
            fs::write(root.join(format!("{folder}.unchoke-{id}.{purpose}")), "half of it").unwrap();
        }
    }
}

#[test]
fn what_a_killed_move_left_half_copied_goes_with_the_torrent_or_with_the_move_back() {
    let sample = sample();
    for is_back in [false, true] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let created = seeded(from.path(), &sample).created();
        [&from, &to].iter().for_each(|root| leave_scratches(root.path(), &sample));
        // Somebody else's.
        fs::write(to.path().join(".unchoke-0123456789abcdef.moving"), "other").unwrap();
        let moving_to = Some(to.path().to_path_buf());
        let again = open(from.path(), &sample, FileOptions { moving_to, created, ..FileOptions::default() });
        let whole = Tree::of(from.path()).names().into_iter().filter(|name| !name.contains(".unchoke-"));
        let whole: Vec<_> = whole.collect();
        if is_back {
            assert!(again.relocate(from.path(), &MoveOptions::default()).unwrap().is_whole);
            assert!(is_whole(&again, &sample));
            assert_eq!(Tree::of(from.path()).names(), whole);
        } else {
            let removed = again.remove_created().unwrap();
            assert!(removed.errors.is_empty() && removed.kept.is_empty(), "{removed:?}");
            assert!(Tree::of(from.path()).names().is_empty());
        }
        assert_eq!(Tree::of(to.path()).names(), [".unchoke-0123456789abcdef.moving"], "{is_back}");
    }
}

#[test]
fn the_folders_that_a_killed_move_made_go_with_the_move_back_though_the_old_ones_were_the_users() {
    let sample = sample();
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(seeded(from.path(), &sample));
    let storage = open(from.path(), &sample, FileOptions::default());
    storage.expect_folders(to.path()).unwrap();
    // It is recorded before, and killed before anything else is.
    let created = storage.created();
    drop(storage);
    leave_scratches(to.path(), &sample);
    let moving_to = Some(to.path().to_path_buf());
    let again = open(from.path(), &sample, FileOptions { moving_to, created, ..FileOptions::default() });
    assert!(again.relocate(from.path(), &MoveOptions::default()).unwrap().is_whole);
    assert!(Tree::of(to.path()).names().is_empty(), "{:?}", Tree::of(to.path()).names());
    again.remove_created().unwrap();
    assert!(is_whole(&again, &sample), "nothing was made for it");
}
