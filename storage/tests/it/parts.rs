//! Skipped files: what of them comes with wanted ones is kept in one file, served, and folded in when they are wanted.

use crate::support::{Sample, Tree, memory_dir, read};
use metainfo::Version;
use std::fs;
use std::io::IoSlice;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use storage::{FileOptions, FileStorage, MoveOptions, Progress, Storage, Verdict, recheck};

/// Pieces of 16 KiB: 0 is `a` and `b`, 1 to 4 are `b`, 4 is all but `a`, 5 and 6 are `e`.
const FILES: [(&str, u64); 5] = [("a", 10_000), ("b", 60_000), ("c", 100), ("d/empty", 0), ("e", 40_000)];

fn sample() -> Sample {
    Sample::folder(Version::V1, 16_384, &FILES)
}

fn open(dir: &Path, sample: &Sample, skipped: &[usize]) -> FileStorage {
    let options = FileOptions { skipped: skipped.to_vec(), ..FileOptions::default() };
    FileStorage::open(dir, sample.torrent.clone(), options).unwrap()
}

/// Writes the pieces that the files which are not skipped need.
fn write_wanted(storage: &FileStorage, sample: &Sample, skipped: &[usize]) -> Vec<u32> {
    let layout = sample.torrent.layout();
    let wanted: Vec<_> = (0..FILES.len()).filter(|index| !skipped.contains(index)).collect();
    let pieces: std::collections::BTreeSet<u32> =
        wanted.iter().filter_map(|index| layout.file_pieces(*index)).flatten().collect();
    for &piece in &pieces {
        let geometry = sample.torrent.geometry();
        let whole = geometry.whole(geometry.piece(piece).unwrap());
        storage.write(whole, &[IoSlice::new(sample.bytes(whole))]).unwrap();
    }
    pieces.into_iter().collect()
}

fn good(storage: &FileStorage, sample: &Sample) -> Vec<u32> {
    let found = recheck(storage, &sample.torrent, &Default::default());
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    (0..)
        .zip(found.verdicts)
        .filter(|(_, verdict)| *verdict == Verdict::Good)
        .map(|(piece, _)| piece)
        .collect()
}

fn visible(dir: &Path) -> (Vec<String>, usize) {
    let (hidden, shown): (Vec<_>, Vec<_>) =
        Tree::of(dir).names().into_iter().partition(|name| name.starts_with(".unchoke-"));
    (shown, hidden.len())
}

#[test]
fn skipped_files_are_not_made_and_their_bytes_are_kept() {
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    let skipped = [1, 2, 3];
    let storage = open(dir.path(), &sample, &skipped);
    let pieces = write_wanted(&storage, &sample, &skipped);
    storage.sync().unwrap();
    assert_eq!(pieces, [0, 4, 5, 6]);
    assert_eq!(good(&storage, &sample), pieces);
    assert_eq!(visible(dir.path()), (["t", "t/a", "t/e"].map(String::from).to_vec(), 1));
    assert!(storage.parts_stamp().is_some_and(|stamp| stamp.len < 3 * 16_384 + 8192));
    let stamps = storage.file_stamps();
    assert_eq!(stamps.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false, true]);
    assert!(stamps[1] == storage.parts_stamp() && stamps[2] == stamps[1]);
    // Also in the next run, and when nobody says any more what is skipped.
    assert_eq!(good(&open(dir.path(), &sample, &skipped), &sample), pieces);
    assert_eq!(good(&open(dir.path(), &sample, &[]), &sample), pieces);
    assert_eq!(visible(dir.path()).0.len(), 3, "reading makes nothing");
}

#[test]
fn files_that_are_wanted_after_all_get_their_bytes() {
    let sample = sample();
    for reopened in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = open(dir.path(), &sample, &[1, 2, 3]);
        let pieces = write_wanted(&storage, &sample, &[1, 2, 3]);
        storage.set_skipped(&[2]).unwrap();
        assert_eq!(good(&storage, &sample), pieces);
        assert_eq!(visible(dir.path()).1, 1, "one file is still skipped");
        if reopened {
            storage = open(dir.path(), &sample, &[]);
            // The first write brings the rest.
            let range = sample.range(0, 0, 10);
            storage.write(range, &[IoSlice::new(sample.bytes(range))]).unwrap();
        } else {
            storage.set_skipped(&[]).unwrap();
        }
        assert_eq!(good(&storage, &sample), pieces);
        let shown = ["t", "t/a", "t/b", "t/c", "t/d", "t/d/empty", "t/e"].map(String::from).to_vec();
        storage.prepare().unwrap();
        assert_eq!(visible(dir.path()), (shown, 0));
        assert_eq!(fs::read(dir.path().join("t/c")).unwrap(), sample.file(2));
        write_wanted(&storage, &sample, &[]);
        assert!(recheck(&storage, &sample.torrent, &Default::default()).is_complete());
        storage.sync().unwrap();
        assert!(storage.created().iter().all(|path| !path.starts_with(".unchoke")));
    }
}

#[test]
fn a_skipped_file_that_is_there_is_written_in_place() {
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("t")).unwrap();
    fs::write(dir.path().join("t/b"), vec![0; 60_000]).unwrap();
    let storage = open(dir.path(), &sample, &[1]);
    let pieces = write_wanted(&storage, &sample, &[1]);
    assert_eq!(good(&storage, &sample), pieces);
    assert_eq!(visible(dir.path()).1, 0);
}

#[test]
fn the_part_file_moves_with_the_torrent_and_is_removed_with_it() {
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    let goals = [Some(tempfile::tempdir().unwrap()), crate::support::elsewhere()];
    let storage = open(dir.path(), &sample, &[1]);
    let pieces = write_wanted(&storage, &sample, &[1]);
    for goal in goals.iter().flatten() {
        assert!(storage.relocate(goal.path(), &MoveOptions::default()).unwrap().is_whole);
        assert_eq!((good(&storage, &sample), visible(goal.path()).1), (pieces.clone(), 1));
        assert!(Tree::of(dir.path()).names().is_empty());
        assert_eq!(good(&open(goal.path(), &sample, &[1]), &sample), pieces);
    }
    let last = storage.root();
    let removed = storage.remove_created().unwrap();
    assert!(removed.errors.is_empty() && Tree::of(&last).names().is_empty());
}

#[test]
fn a_part_file_that_a_killed_move_left_does_not_come_back_in_the_place_of_the_newer_one() {
    let sample = sample();
    for is_back in [true, false] {
        let (home, goal) = (memory_dir(), memory_dir());
        let storage = open(home.path(), &sample, &[1]);
        let first = sample.pieces().next().unwrap();
        storage.write(first, &[IoSlice::new(sample.bytes(first))]).unwrap();
        storage.sync().unwrap();
        let created = storage.created();
        drop(storage);
        // Killed after the copy had its name, and before the old one was removed.
        let name = created.iter().find(|path| is_part(path)).unwrap();
        fs::copy(home.path().join(name), goal.path().join(name)).unwrap();
        let moving_to = Some(goal.path().to_path_buf());
        let options = FileOptions { skipped: vec![1], moving_to, created, ..FileOptions::default() };
        let storage = FileStorage::open(home.path(), sample.torrent.clone(), options).unwrap();
        let pieces = write_wanted(&storage, &sample, &[1]);
        let (end, left) = if is_back { (&home, &goal) } else { (&goal, &home) };
        assert!(storage.relocate(end.path(), &MoveOptions::default()).unwrap().is_whole);
        assert_eq!(good(&storage, &sample), pieces, "back: {is_back}");
        assert_eq!(good(&open(end.path(), &sample, &[1]), &sample), pieces, "back: {is_back}");
        assert!(Tree::of(left.path()).names().is_empty());
        // It goes when all is wanted.
        storage.set_skipped(&[]).unwrap();
        assert_eq!(visible(end.path()).1, 0);
    }
}

#[test]
fn a_part_file_that_is_in_the_goal_of_a_killed_move_already_is_given_up_there() {
    let sample = sample();
    let (home, goal) = (memory_dir(), memory_dir());
    let storage = open(home.path(), &sample, &[1]);
    let pieces = write_wanted(&storage, &sample, &[1]);
    storage.sync().unwrap();
    let created = storage.created();
    drop(storage);
    let name = created.iter().find(|path| is_part(path)).unwrap();
    fs::rename(home.path().join(name), goal.path().join(name)).unwrap();
    let moving_to = Some(goal.path().to_path_buf());
    let options = FileOptions { moving_to, created, ..FileOptions::default() };
    let storage = FileStorage::open(home.path(), sample.torrent.clone(), options).unwrap();
    storage.set_skipped(&[1]).unwrap();
    storage.set_skipped(&[]).unwrap();
    storage.prepare().unwrap();
    assert_eq!(good(&storage, &sample), pieces);
    assert_eq!((visible(home.path()).1, visible(goal.path()).1), (0, 0));
}

#[test]
fn a_part_file_that_was_damaged_is_not_believed() {
    let sample = sample();
    let dir = memory_dir();
    let storage = open(dir.path(), &sample, &[1]);
    let pieces = write_wanted(&storage, &sample, &[1]);
    storage.sync().unwrap();
    let name = storage.created().into_iter().find(|path| is_part(path)).unwrap();
    drop(storage);
    let path = dir.path().join(name);
    let whole = fs::read(&path).unwrap();
    // In each byte of the header and of the table, in some of the slots, and cut short.
    for at in (0..4096 + 8 * 8).step_by(7).chain((8192..whole.len()).step_by(3001)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, &bytes).unwrap();
        let storage = open(dir.path(), &sample, &[1]);
        assert!(good(&storage, &sample).iter().all(|piece| pieces.contains(piece)));
        write_wanted(&storage, &sample, &[1]);
        assert_eq!(good(&storage, &sample), pieces, "byte {at}");
    }
    for len in [0, 10, 4096, 4100, 8192, 20_000] {
        fs::write(&path, &whole[..len]).unwrap();
        let storage = open(dir.path(), &sample, &[1]);
        write_wanted(&storage, &sample, &[1]);
        assert_eq!(good(&storage, &sample), pieces, "{len} bytes");
        assert!(
            read(&storage, sample.range(0, 0, 100), 100).unwrap() == sample.bytes(sample.range(0, 0, 100))
        );
    }
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parts")
}

#[test]
fn skipping_a_file_does_not_wait_for_a_move() {
    let Some(goal) = crate::support::elsewhere() else {
        return eprintln!("skipped: no second file system to move to");
    };
    let (sample, home) = (sample(), memory_dir());
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let home = if device(home.path()) == device(goal.path()) { tempfile::tempdir().unwrap() } else { home };
    let storage = open(home.path(), &sample, &[]);
    let first = sample.pieces().next().unwrap();
    storage.write(first, &[IoSlice::new(sample.bytes(first))]).unwrap();
    let (said, heard) = std::sync::mpsc::channel();
    let was_said = std::sync::atomic::AtomicBool::new(false);
    let heard = std::sync::Mutex::new(heard);
    let (copies, copying) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (storage, was_said, goal) = (&storage, &was_said, goal.path());
        scope.spawn(move || {
            let progress = |_: Progress| {
                let _ = copies.send(());
                // A minute is for ever; it ends the test if nobody speaks.
                let said = heard.lock().unwrap().recv_timeout(std::time::Duration::from_secs(60));
                was_said.fetch_or(said.is_ok(), std::sync::atomic::Ordering::SeqCst);
            };
            let options = MoveOptions { progress: Some(&progress), cancel: None };
            assert!(storage.relocate(goal, &options).unwrap().is_whole);
        });
        copying.recv().unwrap();
        storage.set_skipped(&[4]).unwrap();
        let _ = said.send(());
        drop(said);
    });
    assert!(was_said.load(std::sync::atomic::Ordering::SeqCst), "it waited");
    assert!(good(&storage, &sample).contains(&0));
}

#[test]
fn what_a_killed_run_left_in_the_part_file_is_made_durable_in_its_stead() {
    let sample = sample();
    let (dir, skipped) = (memory_dir(), [1, 2, 3]);
    write_wanted(&open(dir.path(), &sample, &skipped), &sample, &skipped);
    for skipped in [&skipped[..], &[]] {
        let storage = open(dir.path(), &sample, skipped);
        assert_eq!(good(&storage, &sample), [0, 4, 5, 6]);
        (0..FILES.len()).filter(|index| FILES[*index].1 > 0).for_each(|index| storage.mark_unsynced(index));
        storage.sync().unwrap();
    }
}
