//! Bytes that are there already, and files that are given to another folder.

use crate::mounts::{apart, sh};
use crate::support::{Sample, Tree};
use metainfo::Version;
use std::fs;
use std::io::IoSlice;
use std::os::unix::fs::{MetadataExt, symlink};
use storage::{
    Existing, FileOptions, FileStorage, LinkMode, Linked, Storage, Trouble, find_existing, recheck,
};

const FILES: [(&str, u64); 5] = [("a", 100_000), ("b/c", 70_000), ("d", 300), ("empty", 0), ("e", 100_000)];

#[test]
fn files_with_the_same_content_are_found_and_taken_in() {
    let all = [Version::V1, Version::V2, Version::Hybrid];
    let ways = [LinkMode::Auto, LinkMode::Hard, LinkMode::Copy];
    for (version, mode) in all.into_iter().flat_map(|version| ways.map(|mode| (version, mode))) {
        let sample = Sample::folder(version, 16_384, &FILES);
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files: Vec<usize> = (0..sample.torrent.layout().files().len())
            .filter(|at| !sample.torrent.layout().files()[*at].is_pad())
            .collect();
        let name = |index: usize| match sample.torrent.layout().files()[index].path.as_str() {
            "t/a" => "x/other name",
            "t/b/c" => "y",
            "t/e" => "x/e",
            path => path.strip_prefix("t/").unwrap(),
        };
        fs::create_dir(old.path().join("x")).unwrap();
        for index in &files {
            fs::write(old.path().join(name(*index)), sample.file(*index)).unwrap();
        }
        // Of the right length, and else wrong; and a way in circles.
        fs::write(old.path().join("x/wrong"), vec![1; 100_000]).unwrap();
        symlink(old.path(), old.path().join("x/link")).unwrap();
        let before = Tree::of(&old.path().join("x"));
        let mut found = find_existing(&sample.torrent, &[new.path().into(), old.path().into()]);
        found.sort_by_key(|existing| existing.file);
        let expected: Vec<_> = files
            .iter()
            .filter(|index| !sample.file(**index).is_empty())
            .map(|index| Existing { file: *index, path: old.path().join(name(*index)) })
            .collect();
        assert_eq!(found, expected, "{version:?}");
        let storage = FileStorage::open(new.path(), sample.torrent.clone(), FileOptions::default()).unwrap();
        for existing in &found {
            assert!(storage.adopt(existing, mode).unwrap());
            assert!(!storage.adopt(existing, mode).unwrap(), "it is there");
        }
        storage.sync().unwrap();
        assert!(recheck(&storage, &sample.torrent, &Default::default()).is_complete());
        // What is written now is written to the torrent's own file.
        let range = sample.range(0, 0, 10);
        storage.write(range, &[IoSlice::new(&[0xEE; 10])]).unwrap();
        assert!(Tree::of(&old.path().join("x")) == before);
        storage.remove_created().unwrap();
        assert!(Tree::of(new.path()).names().is_empty() && Tree::of(&old.path().join("x")) == before);
    }
}

#[test]
fn finished_files_are_given_to_another_folder() {
    let sample = Sample::folder(Version::V1, 16_384, &FILES);
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let options = FileOptions { suffix: Some(".part".into()), ..FileOptions::default() };
    let storage = FileStorage::create(&home, sample.torrent.clone(), options).unwrap();
    sample.write_to(&storage);
    let whole = |folder: &std::path::Path| {
        let there = FileStorage::open(folder, sample.torrent.clone(), FileOptions::default()).unwrap();
        recheck(&there, &sample.torrent, &Default::default()).is_complete()
    };
    let all = [0, 1, 2, 3, 4];
    let (hard, copies) = (dir.path().join("hard"), dir.path().join("copies"));
    for expected in [Linked { linked: 5, ..none() }, Linked { there: 5, ..none() }] {
        assert_eq!(storage.link_to(&hard, LinkMode::Hard, &all).unwrap(), expected);
        assert!(whole(&hard) && fs::metadata(hard.join("t/a")).unwrap().nlink() == 2);
    }
    for expected in [Linked { copied: 1, ..none() }, Linked { copied: 4, there: 1, ..none() }] {
        let files = if expected.copied == 1 { &all[..1] } else { &all };
        assert_eq!(storage.link_to(&copies, LinkMode::Copy, files).unwrap(), expected);
        assert!(fs::metadata(copies.join("t/a")).unwrap().nlink() == 1);
    }
    assert!(whole(&copies));
    fs::write(copies.join("t/a"), "somebody's").unwrap();
    let error = storage.link_to(&copies, LinkMode::Copy, &all).unwrap_err();
    assert_eq!((error.trouble(), error.path), (Trouble::Exists, copies.join("t/a")));
    assert_eq!(fs::read(copies.join("t/a")).unwrap(), b"somebody's");
    if let Some(there) = crate::support::elsewhere() {
        for mode in [LinkMode::Hard, LinkMode::Auto, LinkMode::Reflink] {
            let error = storage.link_to(there.path(), mode, &all).unwrap_err();
            assert_eq!(error.operation, storage::Operation::Link, "{mode:?}: {error}");
            assert_eq!(Tree::of(there.path()).names(), ["t"], "a folder of nobody's files");
        }
        let linked = storage.link_to(there.path(), LinkMode::Copy, &all).unwrap();
        assert!(linked == Linked { copied: 5, ..none() } && whole(there.path()));
    }
    storage.remove_created().unwrap();
    assert!(whole(&hard), "what was given away stays");
}

fn none() -> Linked {
    Linked::default()
}

#[test]
fn files_share_their_bytes_where_the_file_system_can() {
    const SIZE: u64 = 8 << 20;
    apart("reuse::files_share_their_bytes_where_the_file_system_can", |dir| {
        let (image, disk) = (dir.join("image"), dir.join("disk"));
        fs::create_dir(&disk).unwrap();
        let format = "truncate -s 400m \"$1\" && (mkfs.xfs -q \"$1\" || mkfs.btrfs -q \"$1\") && mount -o loop \"$1\" \"$2\"";
        if !sh(format, &[&image, &disk]) {
            return eprintln!("skipped: neither xfs nor btrfs in a file");
        }
        let sample = Sample::folder(Version::V1, 65_536, &[("a", SIZE)]);
        let (home, given, again) = (disk.join("home"), disk.join("given"), disk.join("again"));
        let storage = FileStorage::create(&home, sample.torrent.clone(), FileOptions::default()).unwrap();
        sample.write_to(&storage);
        storage.sync().unwrap();
        let free = || {
            assert!(sh("sync -f \"$1\"", &[&disk]));
            storage.free_space().unwrap()
        };
        let before = free();
        let linked = storage.link_to(&given, LinkMode::Reflink, &[0]).unwrap();
        assert_eq!(linked, Linked { cloned: 1, ..none() });
        let other = FileStorage::create(&again, sample.torrent.clone(), FileOptions::default()).unwrap();
        assert!(other.adopt(&Existing { file: 0, path: home.join("t/a") }, LinkMode::Reflink).unwrap());
        assert!(before - free() < SIZE / 4, "they have no bytes of their own");
        // Files of their own they are nevertheless.
        let range = sample.range(3, 0, 16_384);
        other.write(range, &[IoSlice::new(&[0xEE; 16_384])]).unwrap();
        other.sync().unwrap();
        for folder in [&home, &given] {
            assert!(fs::read(folder.join("t/a")).unwrap() == sample.file(0));
            assert_eq!(fs::metadata(folder.join("t/a")).unwrap().nlink(), 1);
        }
        assert!(fs::read(again.join("t/a")).unwrap() != sample.file(0));
    });
}

#[test]
fn nothing_is_written_through_a_second_name() {
    let sample = Sample::folder(Version::V1, 16_384, &FILES);
    let dir = tempfile::tempdir().unwrap();
    let (home, theirs, given) =
        (dir.path().join("home"), dir.path().join("theirs"), dir.path().join("given"));
    // Of what somebody has, one byte is wrong.
    let mut wrong = sample.file(0).to_vec();
    wrong[50_000] ^= 1;
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("mine"), &wrong).unwrap();
    let open = || FileStorage::create(&home, sample.torrent.clone(), FileOptions::default()).unwrap();
    let storage = open();
    let existing = Existing { file: 0, path: theirs.join("mine") };
    assert!(storage.adopt(&existing, LinkMode::Hard).unwrap());
    assert_eq!(fs::metadata(theirs.join("mine")).unwrap().nlink(), 2);
    let range = sample.range(3, 0, 16_384);
    let stamps = || storage.file_stamps()[0].unwrap();
    let before = stamps();
    storage.take_touched();
    storage.write(range, &[IoSlice::new(sample.bytes(range))]).unwrap();
    assert_eq!(fs::read(theirs.join("mine")).unwrap(), wrong);
    assert_eq!(fs::read(home.join("t/a")).unwrap(), sample.file(0));
    assert_ne!(stamps().inode, before.inode);
    assert!(storage.take_touched().0[0].moved.is_some(), "it explains the new file");

    // Now what is given away, and then found to be bad; also by another run.
    sample.write_to(&storage);
    storage.sync().unwrap();
    storage.link_to(&given, LinkMode::Hard, &[0, 1]).unwrap();
    let junk = vec![7; 16_384];
    storage.write(range, &[IoSlice::new(&junk)]).unwrap();
    assert_eq!(fs::read(given.join("t/a")).unwrap(), sample.file(0));
    drop(storage);
    let storage = open();
    let at = sample.torrent.layout().file_pieces(1).unwrap().start() + 1;
    let range = sample.range(at, 0, 16_384);
    storage.write(range, &[IoSlice::new(&junk)]).unwrap();
    assert_eq!(fs::read(given.join("t/b/c")).unwrap(), sample.file(1));
    assert_ne!(fs::read(home.join("t/b/c")).unwrap(), sample.file(1));
    assert!(!Tree::of(&home).names().iter().any(|name| name.contains(".unchoke-")), "nothing is left over");
}

#[test]
fn readers_and_writers_meet_while_a_file_gets_bytes_of_its_own() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 1 << 20)]);
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    fs::create_dir_all(home.join("t")).unwrap();
    fs::write(home.join("t/a"), vec![0; 1 << 20]).unwrap();
    fs::hard_link(home.join("t/a"), dir.path().join("other")).unwrap();
    let storage = FileStorage::open(&home, sample.torrent.clone(), FileOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (storage, sample) = (&storage, &sample);
            scope.spawn(move || {
                for range in sample.pieces().filter(|range| range.piece().get() % 4 == part) {
                    storage.write(range, &[IoSlice::new(sample.bytes(range))]).unwrap();
                    assert_eq!(crate::support::read(storage, range, 5_000).unwrap(), sample.bytes(range));
                }
            });
        }
    });
    storage.sync().unwrap();
    assert!(recheck(&storage, &sample.torrent, &Default::default()).is_complete());
    assert_eq!(fs::read(dir.path().join("other")).unwrap(), vec![0; 1 << 20]);
}
