//! Bytes that are there already, and files that are given to another folder.

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
    for version in [Version::V1, Version::V2, Version::Hybrid] {
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
            assert!(storage.adopt(existing).unwrap());
            assert!(!storage.adopt(existing).unwrap(), "it is there");
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
    let (hard, copies) = (dir.path().join("hard"), dir.path().join("copies"));
    for _ in 0..2 {
        let linked = storage.link_to(&hard, LinkMode::Hard).unwrap();
        assert_eq!(linked, Linked { linked: 5, copied: 0 });
        assert!(whole(&hard) && fs::metadata(hard.join("t/a")).unwrap().nlink() == 2);
    }
    assert_eq!(storage.link_to(&copies, LinkMode::Clone).unwrap(), Linked { linked: 0, copied: 5 });
    assert!(whole(&copies) && fs::metadata(copies.join("t/a")).unwrap().nlink() == 1);
    let error = storage.link_to(&copies, LinkMode::Clone).unwrap_err();
    assert_eq!((error.trouble(), error.path), (Trouble::Exists, copies.join("t/a")));
    assert!(whole(&copies));
    if let Some(there) = crate::support::elsewhere() {
        let linked = storage.link_to(there.path(), LinkMode::Hard).unwrap();
        assert!(linked == Linked { linked: 0, copied: 5 } && whole(there.path()));
    }
}
