//! Files: what is made, what is left alone, what cannot be escaped.

use crate::support::{Sample, memory_dir, read};
use metainfo::{Attributes, Builder, Version};
use std::fs;
use std::io::{ErrorKind, IoSlice};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Allocation, FileOptions, FileStorage, OpenFiles, Operation, Storage, Verdict, recheck};

fn open(dir: &tempfile::TempDir, sample: &Sample) -> FileStorage {
    FileStorage::open(dir.path(), sample.torrent.clone(), FileOptions::default()).unwrap()
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<_> = walk(dir.path())
        .iter()
        .map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn walk(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| [vec![path.clone()], walk(&path)].concat())
        .collect()
}

#[test]
fn files_are_laid_out_as_the_torrent_says_and_pads_are_not() {
    let files = [("a/b", 20_000), ("a/empty", 0), ("c", 40_000)];
    let sample = Sample::folder(Version::Hybrid, 32_768, &files);
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir, &sample);
    sample.write_to(&storage);
    assert_eq!(names(&dir), ["t", "t/a", "t/a/b", "t/a/empty", "t/c"]);
    for (index, file) in sample.torrent.layout().files().iter().enumerate().filter(|(_, f)| !f.is_pad()) {
        assert!(fs::read(dir.path().join(file.path.as_str())).unwrap() == sample.file(index));
        assert_eq!(storage.file_len(index), Ok(file.length));
    }
    let mut created = storage.created();
    created.sort();
    assert_eq!(created, ["t", "t/a", "t/a/b", "t/a/empty", "t/c"].map(PathBuf::from));
}

#[test]
fn reading_makes_nothing() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 20_000), ("empty", 0)]);
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir, &sample);
    assert!(read(&storage, sample.range(0, 0, 100), 100).is_err());
    assert_eq!(recheck(&storage, &sample.torrent, &Default::default()).count(Verdict::Missing), 2);
    assert_eq!(storage.file_len(0).unwrap_err().cause.kind(), ErrorKind::NotFound);
    assert!(names(&dir).is_empty() && storage.created().is_empty());
}

#[test]
fn what_was_there_before_is_neither_truncated_nor_claimed() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 20_000)]);
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("t")).unwrap();
    fs::write(dir.path().join("t/a"), vec![7; 50_000]).unwrap();
    let storage = open(&dir, &sample);
    let range = sample.range(1, 0, 100);
    storage.write(range, &[IoSlice::new(sample.bytes(range))]).unwrap();
    let bytes = fs::read(dir.path().join("t/a")).unwrap();
    assert_eq!(bytes.len(), 50_000);
    assert!(bytes[..16_384].iter().chain(&bytes[16_484..]).all(|&byte| byte == 7));
    assert_eq!(&bytes[16_384..16_484], sample.bytes(range));
    assert!(storage.created().is_empty());
}

#[test]
fn a_file_that_ends_early_says_where() {
    let sample = Sample::single(Version::V1, 16_384, 50_000);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file.bin"), &sample.file(0)[..20_000]).unwrap();
    let error = read(&open(&dir, &sample), sample.range(1, 0, 16_384), 16_384).unwrap_err();
    assert_eq!((error.operation, error.offset), (Operation::Read, Some(20_000)));
    assert_eq!(error.cause.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(error.path, dir.path().join("file.bin"));
}

#[test]
fn no_planted_link_is_followed() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a/b", 20_000), ("empty", 0)]);
    let plants: [(&str, &str); 4] = [("t", ""), ("t/a", ""), ("t/a/b", "/b"), ("t/empty", "/empty")];
    for (link, target) in plants {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(outside.path().join("a")).unwrap();
        fs::write(outside.path().join("b"), sample.file(0)).unwrap();
        let link = dir.path().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(format!("{}{target}", outside.path().display()), &link).unwrap();
        let before = walk(outside.path());
        let storage = open(&dir, &sample);
        let range = sample.range(0, 0, 16_384);
        assert!(storage.write(range, &[IoSlice::new(&[9; 16_384])]).is_err(), "{}", link.display());
        if !link.ends_with("empty") {
            assert!(read(&storage, range, 16_384).is_err(), "{}", link.display());
        }
        assert_eq!(walk(outside.path()), before);
        assert!(fs::read(outside.path().join("b")).unwrap() == sample.file(0));
    }
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let sample = Sample::single(Version::V1, 16_384, 100);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.bin");
    let status = std::process::Command::new("mkfifo").arg(&path).status();
    if !status.is_ok_and(|status| status.success()) {
        fs::create_dir(&path).unwrap();
    }
    let storage = open(&dir, &sample);
    let range = sample.range(0, 0, 100);
    assert!(read(&storage, range, 100).is_err());
    assert!(storage.write(range, &[IoSlice::new(&[0; 100])]).is_err());
    assert!(storage.file_len(0).is_err());
}

#[test]
fn executables_are_made_executable() {
    let attributes = Attributes { executable: true, ..Attributes::default() };
    let builder = Builder::folder("t").file_with(["run"], 100, attributes).file(["read"], 100);
    let sample = Sample::of(builder.prepare().unwrap());
    let dir = tempfile::tempdir().unwrap();
    sample.write_to(&open(&dir, &sample));
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    assert_ne!(mode("t/run") & 0o100, 0);
    assert_eq!(mode("t/read") & 0o111, 0);
}

#[test]
fn full_allocation_makes_files_as_long_as_they_will_be() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 20_000), ("b", 100_000)]);
    let needed = 12_768 + 5;
    for (allocation, expected) in
        [(Allocation::Full, 100_000), (Allocation::Sparse, needed), (Allocation::None, needed)]
    {
        let dir = tempfile::tempdir().unwrap();
        let options = FileOptions { allocation, ..FileOptions::default() };
        let storage = FileStorage::open(dir.path(), sample.torrent.clone(), options).unwrap();
        let range = sample.range(2, 0, 5);
        storage.write(range, &[IoSlice::new(sample.bytes(range))]).unwrap();
        assert_eq!(storage.file_len(1), Ok(expected));
        assert_eq!(storage.file_len(0).unwrap_err().cause.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn nothing_is_reserved_unless_it_is_asked_for() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 4 << 20)]);
    let dir = tempfile::tempdir().unwrap();
    let options = FileOptions { allocation: Allocation::None, ..FileOptions::default() };
    let storage = FileStorage::open(dir.path(), sample.torrent.clone(), options).unwrap();
    for piece in [100, 3] {
        let range = sample.range(piece, 0, 16_384);
        storage.write(range, &[IoSlice::new(sample.bytes(range))]).unwrap();
    }
    storage.sync().unwrap();
    let meta = fs::metadata(dir.path().join("t/a")).unwrap();
    assert_eq!(meta.len(), 101 * 16_384);
    let room = std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
    assert!(room <= 256 << 10, "two pieces of 16 KiB take {room} bytes");
}

#[test]
fn twenty_thousand_files_need_few_descriptors() {
    let names: Vec<_> = (0..20_000).map(|at| format!("{:02}/{at:05}", at % 100)).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 10)).collect();
    let sample = Sample::folder(Version::V1, 16_384, &files);
    let dir = memory_dir();
    let open_files = Arc::new(OpenFiles::new(16));
    let options = FileOptions { open_files: open_files.clone(), ..FileOptions::default() };
    let storage = FileStorage::open(dir.path(), sample.torrent.clone(), options).unwrap();
    sample.write_to(&storage);
    assert_eq!(open_files.len(), 16);
    assert_eq!(storage.created().len(), 20_000 + 100 + 1);
    assert!(recheck(&storage, &sample.torrent, &Default::default()).is_complete());
    assert_eq!(open_files.len(), 16);
}

/// As far as the file system tells what is in memory.
#[test]
fn what_is_to_be_read_back_is_not_kept_in_memory() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 100_000), ("b", 50_000)]);
    for uncached in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let options = FileOptions { uncached, ..FileOptions::default() };
        let storage = FileStorage::open(dir.path(), sample.torrent.clone(), options).unwrap();
        sample.write_to(&storage);
        storage.sync().unwrap();
        let file = fs::File::open(dir.path().join("t/a")).unwrap();
        let (mut bytes, now) = ([0; 4096], rustix::io::ReadWriteFlags::NOWAIT);
        match rustix::io::preadv2(&file, &mut [std::io::IoSliceMut::new(&mut bytes)], 8192, now) {
            Ok(read) => assert!(read > 0 && !uncached, "it is in memory"),
            Err(rustix::io::Errno::AGAIN) => assert!(uncached, "it is on the disk only"),
            Err(error) => eprintln!("skipped: {error}"),
        }
        assert!(recheck(&storage, &sample.torrent, &Default::default()).is_complete());
    }
}

#[test]
fn few_and_many_files_are_synced() {
    for count in [3, 100] {
        let names: Vec<_> = (0..count).map(|at| format!("{at}")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), 10)).collect();
        let sample = Sample::folder(Version::V1, 16_384, &files);
        let dir = tempfile::tempdir().unwrap();
        let storage = open(&dir, &sample);
        sample.write_to(&storage);
        storage.sync().unwrap();
        // What is not to be synced again need not be there.
        fs::remove_dir_all(dir.path().join("t")).unwrap();
        storage.sync().unwrap();
    }
}

#[test]
fn a_file_that_cannot_be_synced_is_named_each_time() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 10), ("b", 10)]);
    let dir = tempfile::tempdir().unwrap();
    let options = FileOptions { open_files: Arc::new(OpenFiles::new(1)), ..FileOptions::default() };
    let storage = FileStorage::open(dir.path(), sample.torrent.clone(), options).unwrap();
    sample.write_to(&storage);
    fs::remove_file(dir.path().join("t/a")).unwrap();
    for _ in 0..2 {
        let error = storage.sync().unwrap_err();
        assert_eq!(error.path, dir.path().join("t/a"));
        assert_eq!(error.cause.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn what_is_written_to_a_folder_that_went_away_is_not_said_to_be_there() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 100), ("b", 100)]);
    let home = tempfile::tempdir().unwrap();
    let (root, away) = (home.path().join("root"), home.path().join("away"));
    fs::create_dir(&root).unwrap();
    let storage = FileStorage::open(&root, sample.torrent.clone(), FileOptions::default()).unwrap();
    sample.write_to(&storage);
    storage.sync().unwrap();
    fs::rename(&root, &away).unwrap();
    // Files that are open go on taking what is written.
    sample.write_to(&storage);
    let error = storage.sync().unwrap_err();
    assert!(error.is_gone() && error.path == root, "{error}");
    assert!(!root.exists());
    fs::rename(&away, &root).unwrap();
    storage.sync().unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let sample = Sample::single(Version::V1, 16_384, 100);
    let error =
        FileStorage::open("/nowhere/at/all".as_ref(), sample.torrent, FileOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot open /nowhere/at/all: No such file or directory (os error 2)");
}
