//! FAT: names that differ by case only are one, no file has 4 GiB, times are coarse, and numbers of files do not last.
//!
//! What can be is tried on a file system that is taken for FAT, and all of it on a real one, where one can be mounted.

use crate::mounts::{apart, sh};
use crate::support::Sample;
use metainfo::{Torrent, Version};
use std::fs::{self, File};
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::testing::fat::pretend;
use storage::{FileOptions, FileStorage, Stamp, Storage, Trouble};

fn open(root: &Path, torrent: &Arc<Torrent>) -> FileStorage {
    FileStorage::create(root, torrent.clone(), FileOptions::default()).unwrap()
}

/// A torrent of one file of 5 GiB. What its pieces are does not matter.
fn large() -> Arc<Torrent> {
    let (length, piece_length) = (5u64 << 30, 16u64 << 20);
    let pieces = length.div_ceil(piece_length) * 20;
    let head = format!(
        "d4:infod6:lengthi{length}e4:name9:large.iso12:piece lengthi{piece_length}e6:pieces{pieces}:"
    );
    let file = [head.as_bytes(), &vec![b'x'; pieces as usize], b"ee"].concat();
    Arc::new(Torrent::parse(&file).unwrap())
}

fn a_file_that_is_too_long_is_refused_by_name(root: &Path) {
    let storage = open(root, &large());
    let geometry = large();
    let range = geometry.geometry().range_at(0, 0, 16_384, u32::MAX).unwrap();
    let error = storage.write(range, &[IoSlice::new(&[1; 16_384])]).unwrap_err();
    assert_eq!((error.trouble(), &error.path), (Trouble::TooBig, &root.join("large.iso")));
    assert!(error.to_string().ends_with("the file system cannot hold a file of 4 GiB or more"), "{error}");
    assert!(error.advice().is_some() && !root.join("large.iso").exists());
}

fn stamps(root: &Path, sample: &Sample) -> Vec<Stamp> {
    open(root, &sample.torrent).file_stamps().into_iter().flatten().collect()
}

/// Stamps stay what they are while nobody writes, also when the disk is mounted `anew`, and are others when somebody did.
fn a_file_is_known_again_by_its_stamp(root: &Path, sample: &Sample, mut anew: impl FnMut()) {
    let storage = open(root, &sample.torrent);
    sample.write_to(&storage);
    storage.sync().unwrap();
    let (before, id) = (stamps(root, sample), storage.root_id().unwrap());
    assert!(storage.look().unwrap().is_empty());
    drop(storage);
    anew();
    let after = stamps(root, sample);
    assert!(
        before.len() == 2 && before.iter().zip(&after).all(|(old, new)| old.is_same(new)),
        "{before:?} {after:?}"
    );
    assert!(id.is_same(&open(root, &sample.torrent).root_id().unwrap()));
    FileStorage::open_expecting(root, &id, sample.torrent.clone(), FileOptions::default()).unwrap();
    let file = File::options().write(true).open(root.join("t/a")).unwrap();
    let when = file.metadata().unwrap().modified().unwrap();
    file.set_modified(when + Duration::from_secs(4)).unwrap();
    drop(file);
    anew();
    let after = stamps(root, sample);
    assert!(!before[0].is_same(&after[0]) && before[1].is_same(&after[1]), "{before:?} {after:?}");
}

#[test]
fn what_is_taken_for_fat_is_treated_as_such() {
    let dir = tempfile::tempdir().unwrap();
    pretend(true);
    a_file_that_is_too_long_is_refused_by_name(&dir.path().join("large"));
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 20_000), ("b", 20_000)]);
    let root = dir.path().join("root");
    // As if they were other numbers after a mount, and times were cut to what is kept on the disk.
    let anew = || {
        for name in ["t/a", "t/b"] {
            let (path, copy) = (root.join(name), root.join("copy"));
            let when = fs::metadata(&path).unwrap().modified().unwrap();
            fs::copy(&path, &copy).unwrap();
            let cut = when.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 2 * 2;
            let file = File::options().write(true).open(&copy).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(cut)).unwrap();
            fs::rename(&copy, &path).unwrap();
        }
    };
    a_file_is_known_again_by_its_stamp(&root, &sample, anew);
    pretend(false);
}

#[test]
fn a_real_fat_keeps_to_all_of_it() {
    apart("fat::a_real_fat_keeps_to_all_of_it", |dir| {
        let (image, disk) = (dir.join("image"), dir.join("disk"));
        fs::create_dir(&disk).unwrap();
        let make = "truncate -s 40m \"$1\" && mkfs.vfat \"$1\" >/dev/null && mount -o loop \"$1\" \"$2\"";
        if !sh(make, &[&image, &disk]) {
            return eprintln!("skipped: no FAT can be made or mounted here");
        }
        let root = disk.join("root");
        a_file_that_is_too_long_is_refused_by_name(&root.join("large"));
        let sample = Sample::folder(Version::V1, 16_384, &[("a", 20_000), ("b", 20_000)]);
        let anew = || {
            assert!(sh("umount \"$2\" && mount -o loop \"$1\" \"$2\"", &[&image, &disk]));
        };
        a_file_is_known_again_by_its_stamp(&root.join("known"), &sample, anew);

        let sample = Sample::folder(Version::V1, 16_384, &[("Name", 16_384), ("name", 16_384)]);
        let storage = open(&root.join("case"), &sample.torrent);
        let put = |piece| {
            let range = sample.range(piece, 0, 16_384);
            storage.write(range, &[IoSlice::new(sample.bytes(range))])
        };
        put(0).unwrap();
        let error = put(1).unwrap_err();
        assert_eq!((error.trouble(), &error.path), (Trouble::SameFile, &root.join("case/t/name")));
        assert!(fs::read(root.join("case/t/Name")).unwrap() == sample.file(0));
        // Another case of the same name is another name.
        let sample = Sample::folder(Version::V1, 16_384, &[("Name", 16_384)]);
        let storage = open(&root.join("other"), &sample.torrent);
        sample.write_to(&storage);
        assert_eq!(storage.rename_file(0, "t/nAME").unwrap(), "t/nAME");
        let names: Vec<_> =
            fs::read_dir(root.join("other/t")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["nAME"]);
        assert!(fs::read(root.join("other/t/nAME")).unwrap() == sample.file(0));
        drop(storage);
        assert!(sh("umount \"$1\"", &[&disk]));
    });
}
