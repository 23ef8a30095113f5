//! Real disks that fill up, go away, come back and are something else: each test in a mount namespace of its own, of which
//! nothing is left. Where that is not allowed they say so and are skipped.

use crate::support::{Sample, Tree, read};
use metainfo::Version;
use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use storage::{
    Allocation, FileOptions, FileStorage, MoveOptions, OpenFiles, Storage, StorageError, Trouble, recheck,
};

const INSIDE: &str = "UNCHOKE_TEST_FOLDER";

/// Runs the test of this name anew, in a mount namespace, where it gets an empty folder.
pub(crate) fn apart(name: &str, test: impl Fn(&Path)) {
    if !try_apart(name, test) {
        eprintln!("skipped: no mount namespace can be had here");
    }
}

/// Runs the test of this name with a folder in memory, where syncs cost nothing; where none can be mounted, with one on a disk.
pub(crate) fn in_memory(name: &str, test: impl Fn(&Path)) {
    let inside = |folder: &Path| {
        let memory = folder.join("memory");
        tmpfs(&memory, "64m");
        test(&memory);
    };
    if !try_apart(name, inside) {
        test(tempfile::tempdir().unwrap().path());
    }
}

/// Whether it was possible.
fn try_apart(name: &str, test: impl Fn(&Path)) -> bool {
    if let Some(folder) = std::env::var_os(INSIDE) {
        test(Path::new(&folder));
        return true;
    }
    let unshare = |options: &str| {
        let probe = "mount -t tmpfs none /tmp && umount /tmp";
        let probe = Command::new("unshare").args([options, "sh", "-c", probe]).output();
        probe.is_ok_and(|probe| probe.status.success()).then(|| options.to_owned())
    };
    let Some(options) = unshare("-m").or_else(|| unshare("-mr")) else { return false };
    let folder = tempfile::tempdir().unwrap();
    let test = Command::new("unshare")
        .arg(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&test.stdout), String::from_utf8_lossy(&test.stderr));
    assert!(test.status.success() && said.contains("1 passed"), "{said}");
    true
}

pub(crate) fn sh(command: &str, arguments: &[&Path]) -> bool {
    Command::new("sh").args(["-c", command, "sh"]).args(arguments).status().unwrap().success()
}

pub(crate) fn tmpfs(at: &Path, size: &str) {
    fs::create_dir_all(at).unwrap();
    assert!(sh(&format!("mount -t tmpfs -o size={size} none \"$1\""), &[at]));
}

fn open(root: &Path, sample: &Sample) -> FileStorage {
    FileStorage::open(root, sample.torrent.clone(), FileOptions::default()).unwrap()
}

/// Writes the pieces that are not there, and says how far it came.
fn write_from(storage: &FileStorage, sample: &Sample, first: usize) -> (usize, Option<StorageError>) {
    for (at, range) in sample.pieces().enumerate().skip(first) {
        if let Err(error) = storage.write(range, &[IoSlice::new(sample.bytes(range))]) {
            return (at, Some(error));
        }
    }
    (sample.pieces().count(), None)
}

fn is_whole(storage: &FileStorage, sample: &Sample) -> bool {
    recheck(storage, &sample.torrent, &Default::default()).is_complete()
}

#[test]
fn a_full_disk_says_so_and_goes_on_when_there_is_room() {
    apart("mounts::a_full_disk_says_so_and_goes_on_when_there_is_room", |dir| {
        let sample = Sample::folder(Version::V1, 65_536, &[("a", 3 << 20), ("b", 7 << 20)]);
        let (memory, disk) = (dir.join("memory"), dir.join("disk"));
        tmpfs(&memory, "16m");
        let mut places = vec![memory];
        fs::create_dir(&disk).unwrap();
        let image = dir.join("image");
        if sh(
            "truncate -s 20m \"$1\" && mkfs.ext4 -q -m 0 \"$1\" && mount -o loop \"$1\" \"$2\"",
            &[&image, &disk],
        ) {
            places.push(disk);
        } else {
            eprintln!("skipped: no ext4 in a file");
        }
        for place in places {
            for allocation in [Allocation::None, Allocation::Sparse, Allocation::Full] {
                fs::write(place.join("ballast"), vec![1; 9 << 20]).unwrap();
                let options = FileOptions { allocation, ..FileOptions::default() };
                let root = place.join("root");
                let storage = FileStorage::create(&root, sample.torrent.clone(), options).unwrap();
                let (done, error) = write_from(&storage, &sample, 0);
                let error = error.expect("the disk is too small");
                assert!(error.is_full() && done >= 48, "{done}: {error}");
                assert!(error.path.starts_with(root.join("t")), "{error}");
                assert!(storage.free_space().unwrap() < 8 << 20);
                // What is there is served, made durable, and still there.
                storage.sync().unwrap();
                for range in sample.pieces().take(done) {
                    assert!(read(&storage, range, 65_536).unwrap() == sample.bytes(range));
                }
                assert!(write_from(&storage, &sample, done).1.is_some_and(|error| error.is_full()));
                let probe = storage.probe(true).unwrap_err();
                assert!(probe.is_full(), "{probe}");
                fs::remove_file(place.join("ballast")).unwrap();
                storage.probe(true).unwrap();
                assert_eq!(write_from(&storage, &sample, done), (160, None));
                storage.sync().unwrap();
                assert!(is_whole(&storage, &sample));
                storage.remove_created().unwrap();
                assert!(Tree::of(&root).names().is_empty());
            }
        }
    });
}

#[test]
fn a_disk_that_is_too_small_is_filled_with_what_came() {
    apart("mounts::a_disk_that_is_too_small_is_filled_with_what_came", |dir| {
        let sample = Sample::folder(Version::V1, 65_536, &[("a", 60 << 20)]);
        let root = dir.join("disk");
        tmpfs(&root, "16m");
        let storage = open(&root, &sample);
        // One piece of each mebibyte, then the next one of each.
        let pieces: Vec<_> = sample.pieces().collect();
        let scattered = (0..16).flat_map(|first| pieces.iter().skip(first).step_by(16));
        let written = scattered.map(|range| storage.write(*range, &[IoSlice::new(sample.bytes(*range))]));
        let came = written.take_while(Result::is_ok).count() * 65_536;
        assert!(came > 12 << 20, "{came} bytes fit where 16 MiB are free");
    });
}

#[test]
fn files_are_removed_where_not_a_byte_is_free() {
    apart("mounts::files_are_removed_where_not_a_byte_is_free", |dir| {
        let sample = Sample::folder(Version::V1, 65_536, &[("a", 3 << 20), ("b", 7 << 20)]);
        let root = dir.join("disk");
        tmpfs(&root, "12m");
        let storage = open(&root, &sample);
        sample.write_to(&storage);
        let mut byte = fs::File::create(root.join("ballast")).unwrap();
        while std::io::Write::write(&mut byte, &[0; 4096]).is_ok_and(|count| count > 0) {}
        assert_eq!(storage.free_space(), Ok(0));
        let removed = storage.remove_created().unwrap();
        assert!(removed.errors.is_empty() && removed.removed.len() == 3, "{removed:?}");
        assert_eq!(Tree::of(&root).names(), ["ballast"]);
    });
}

#[test]
fn a_disk_that_turned_read_only_is_still_served() {
    apart("mounts::a_disk_that_turned_read_only_is_still_served", |dir| {
        let sample = Sample::folder(Version::V1, 65_536, &[("a", 300_000), ("b", 300_000)]);
        let root = dir.join("disk");
        tmpfs(&root, "16m");
        write_from(&open(&root, &sample), &sample, 5);
        if !sh("mount -o remount,ro \"$1\"", &[&root]) {
            return eprintln!("skipped: disks cannot be remounted here");
        }
        let storage = open(&root, &sample);
        let (done, error) = write_from(&storage, &sample, 0);
        let error = error.unwrap();
        assert!(storage.probe(true).is_err_and(|error| error.is_read_only()));
        assert_eq!(storage.probe(false), Ok(()), "whoever only reads needs no more");
        assert!(done == 0 && error.is_read_only() && error.path == root.join("t/a"), "{error}");
        let last = sample.pieces().last().unwrap();
        assert!(read(&storage, last, 1000).unwrap() == sample.bytes(last));
        let moved = storage.relocate(&dir.join("new"), &MoveOptions::default()).unwrap();
        assert!(moved.is_whole && moved.left_behind.len() == 1, "{moved:?}");
        assert!(sh("mount -o remount,rw \"$1\"", &[&root]));
        let storage = open(&root, &sample);
        assert_eq!(write_from(&storage, &sample, 0).1, None);
        assert!(is_whole(&storage, &sample));
    });
}

#[test]
fn nothing_is_written_to_the_place_of_a_disk_that_is_gone() {
    apart("mounts::nothing_is_written_to_the_place_of_a_disk_that_is_gone", |dir| {
        let sample = Sample::folder(Version::V1, 65_536, &[("a", 100_000), ("b", 100_000), ("c", 0)]);
        let (disk, root) = (dir.join("disk"), dir.join("mount"));
        fs::create_dir(&disk).and_then(|()| fs::create_dir(&root)).unwrap();
        let mount = || assert!(sh("mount --bind \"$1\" \"$2\"", &[&disk, &root]));
        mount();
        let open_files = Arc::new(OpenFiles::new(1));
        let options = FileOptions { open_files, ..FileOptions::default() };
        let storage = FileStorage::open(&root, sample.torrent.clone(), options.clone()).unwrap();
        assert_eq!(write_from(&storage, &sample, 2).1, None);
        let id = storage.root_id().unwrap();
        assert!(sh("umount -l \"$1\"", &[&root]));
        let (_, error) = write_from(&storage, &sample, 0);
        let error = error.unwrap();
        assert!(error.is_gone() && error.path == root, "{error}");
        assert!(storage.check_root().unwrap_err().is_gone());
        assert!(storage.relocate(&dir.join("new"), &MoveOptions::default()).unwrap_err().is_gone());
        assert!(storage.remove_created().unwrap_err().is_gone());
        assert!([true, false].iter().all(|write| storage.probe(*write).unwrap_err().is_gone()));
        let expecting = || FileStorage::open_expecting(&root, &id, sample.torrent.clone(), options.clone());
        assert!(expecting().unwrap_err().is_gone(), "an empty folder is not the disk");
        assert!(Tree::of(&root).names().is_empty());
        fs::rename(&root, dir.join("away")).unwrap();
        assert!(expecting().unwrap_err().is_gone() && storage.check_root().unwrap_err().is_gone());
        fs::rename(dir.join("away"), &root).unwrap();
        mount();
        storage.check_root().unwrap();
        storage.probe(false).unwrap();
        storage.probe(true).unwrap();
        assert_eq!(write_from(&storage, &sample, 0).1, None);
        assert!(is_whole(&storage, &sample) && is_whole(&expecting().unwrap(), &sample));
    });
}

#[test]
fn a_disk_that_comes_back_as_another_device_is_followed_unless_writes_went_with_it() {
    let name = "mounts::a_disk_that_comes_back_as_another_device_is_followed_unless_writes_went_with_it";
    apart(name, |dir| {
        let sample = Sample::folder(Version::V1, 65_536, &[("a", 100_000), ("b", 100_000)]);
        let mount_point = dir.join("mount");
        fs::create_dir(&mount_point).unwrap();
        let format = "truncate -s 20m \"$1\" && mkfs.ext4 -q -m 0 \"$1\" && mount -o loop \"$1\" \"$2\"";
        let away = || assert!(sh("umount -l \"$1\"", &[&mount_point]));
        for (round, is_synced) in [true, false].into_iter().enumerate() {
            let [image, again, other] =
                ["image", "again", "other"].map(|name| dir.join(format!("{name}{round}")));
            if !sh(format, &[&image, &mount_point]) {
                return eprintln!("skipped: no ext4 in a file");
            }
            let root = mount_point.join("root");
            let storage = FileStorage::create(&root, sample.torrent.clone(), FileOptions::default()).unwrap();
            sample.write_to(&storage);
            storage.sync().unwrap();
            // The same disk under another number: the old one stays as long as its files are open.
            assert!(sh("sync -f \"$2\" && cp \"$1\" \"$3\"", &[&image, &mount_point, &again]));
            if !is_synced {
                write_from(&storage, &sample, 3);
            }
            away();
            assert!(storage.probe(false).unwrap_err().is_gone());
            assert!(sh(format, &[&other, &mount_point]));
            sample.write_to(
                &FileStorage::create(&root, sample.torrent.clone(), FileOptions::default()).unwrap(),
            );
            assert!(storage.probe(false).unwrap_err().is_gone(), "another disk");
            away();
            assert!(sh("mount -o loop \"$1\" \"$2\"", &[&again, &mount_point]));
            assert!(storage.check_root().unwrap_err().is_gone());
            if !is_synced {
                assert!([false, true].iter().all(|write| storage.probe(*write).unwrap_err().is_gone()));
                continue;
            }
            storage.probe(false).unwrap();
            storage.check_root().unwrap();
            assert_eq!(storage.root(), root);
            assert!(is_whole(&storage, &sample));
            fs::write(root.join("t/a"), vec![7; 100_000]).unwrap();
            assert!(!is_whole(&storage, &sample), "it reads what is there now");
            storage.probe(true).unwrap();
            sample.write_to(&storage);
            storage.sync().unwrap();
            drop(storage);
            away();
        }
    });
}

#[test]
fn another_disk_in_the_same_place_is_not_filled() {
    apart("mounts::another_disk_in_the_same_place_is_not_filled", |dir| {
        let sample = Sample::folder(Version::V1, 65_536, &[("a", 100_000), ("b", 100_000)]);
        let root = dir.join("mount");
        tmpfs(&root, "16m");
        let storage = open(&root, &sample);
        let id = storage.root_id().unwrap();
        assert_eq!(write_from(&storage, &sample, 3).1, None);
        tmpfs(&root, "8m");
        let (_, error) = write_from(&storage, &sample, 0);
        assert!(error.as_ref().is_some_and(StorageError::is_gone), "{error:?}");
        let expecting =
            || FileStorage::open_expecting(&root, &id, sample.torrent.clone(), FileOptions::default());
        let error = expecting().unwrap_err();
        assert!(error.is_gone() && error.to_string().contains("in the place of the one recorded"), "{error}");
        assert!(Tree::of(&root).names().is_empty());
        assert!(sh("umount \"$1\"", &[&root]));
        assert_eq!(write_from(&expecting().unwrap(), &sample, 0).1, None);
        assert!(is_whole(&storage, &sample));
    });
}

#[test]
fn the_same_folder_mounted_twice_is_one_place() {
    apart("mounts::the_same_folder_mounted_twice_is_one_place", |dir| {
        let sample = Sample::folder(Version::V1, 65_536, &[("a", 100_000), ("b", 100_000)]);
        let (home, twin, other) = (dir.join("home"), dir.join("twin"), dir.join("other"));
        for path in [&home, &twin, &other] {
            fs::create_dir(path).unwrap();
        }
        let storage = open(&home, &sample);
        sample.write_to(&storage);
        fs::create_dir(other.join("t")).unwrap();
        assert!(sh("mount --bind \"$1\" \"$2\"", &[&home, &twin]));
        assert!(sh("mount --bind \"$1\" \"$2\"", &[&home.join("t"), &other.join("t")]));
        let before = Tree::of(&home);
        for goal in [&twin, &other, &home] {
            let moved = storage.relocate(goal, &MoveOptions::default()).unwrap();
            assert!(moved.is_whole && moved.files == 0, "{moved:?}");
            assert!(Tree::of(&home) == before && is_whole(&storage, &sample), "{}", goal.display());
        }
    });
}

#[test]
fn a_move_to_a_disk_that_is_too_small_moves_nothing() {
    apart("mounts::a_move_to_a_disk_that_is_too_small_moves_nothing", |dir| {
        let sample = Sample::folder(Version::V1, 65_536, &[("a", 3 << 20), ("b", 3 << 20)]);
        let (home, goal) = (dir.join("home"), dir.join("goal"));
        fs::create_dir(&home).unwrap();
        tmpfs(&goal, "4m");
        let storage = open(&home, &sample);
        sample.write_to(&storage);
        let error = storage.relocate(&goal, &MoveOptions::default()).unwrap_err();
        assert!(error.is_full() && error.path == goal, "{error}");
        assert!(Tree::of(&goal).names().is_empty() && is_whole(&storage, &sample));
    });
}

#[test]
fn a_name_that_is_too_long_is_named() {
    let long = "x".repeat(250);
    let deep = vec!["x"; 18].join(&format!("{long}/"));
    let sample = Sample::folder(Version::V1, 16_384, &[(&deep, 100), (&long, 20_000)]);
    let dir = tempfile::tempdir().unwrap();
    let options = FileOptions { suffix: Some(".unfinished".into()), ..FileOptions::default() };
    let storage = FileStorage::open(dir.path(), sample.torrent.clone(), options).unwrap();
    let (_, error) = write_from(&storage, &sample, 0);
    let error = error.unwrap();
    assert_eq!(error.trouble(), Trouble::Name);
    assert!(error.path.to_str().is_some_and(|path| path.ends_with(&format!("{deep}.unfinished"))), "{error}");
    // A suffix that does not fit is left out.
    assert_eq!(write_from(&storage, &sample, 1).1, None);
    assert!(dir.path().join("t").join(long).exists());
    // The user's name helps.
    assert_eq!(storage.rename_file(0, "t/short").unwrap(), "t/short");
    assert_eq!(write_from(&storage, &sample, 0).1, None);
    assert!(is_whole(&storage, &sample));
}

#[test]
fn two_files_that_are_one_on_disk_are_not_written() {
    apart("mounts::two_files_that_are_one_on_disk_are_not_written", |dir| {
        let sample = Sample::folder(Version::V1, 16_384, &[("a", 20_000), ("b", 20_000)]);
        let path = |name: &str| -> PathBuf { dir.join("t").join(name) };
        fs::create_dir(dir.join("t")).unwrap();
        fs::write(path("a"), sample.file(0)).unwrap();
        fs::write(path("b"), "").unwrap();
        assert!(sh("mount --bind \"$1\" \"$2\"", &[&path("a"), &path("b")]));
        let storage = open(dir, &sample);
        let (done, error) = write_from(&storage, &sample, 1);
        let error = error.unwrap();
        assert_eq!((done, error.trouble(), &error.path), (1, Trouble::SameFile, &path("b")));
        assert!(error.to_string().ends_with(&format!("the same file as {}", path("a").display())));
        assert!(fs::read(path("a")).unwrap()[..16_384] == sample.file(0)[..16_384]);
        assert!(sh("umount \"$1\"", &[&path("b")]));
        assert_eq!(write_from(&storage, &sample, 0).1, None);
        assert!(is_whole(&storage, &sample));
    });
}

#[test]
fn two_files_that_were_linked_to_each_other_part() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 20_000), ("b", 20_000)]);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join("t").join(name) };
    fs::create_dir(dir.path().join("t")).unwrap();
    fs::write(path("a"), sample.file(0)).unwrap();
    fs::hard_link(path("a"), path("b")).unwrap();
    let storage = open(dir.path(), &sample);
    assert_eq!(write_from(&storage, &sample, 0).1, None);
    assert!(is_whole(&storage, &sample));
}

#[test]
fn a_file_cut_short_by_somebody_costs_its_pieces_only() {
    let sample = Sample::folder(Version::V1, 16_384, &[("a", 100_000), ("b", 100_000)]);
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), &sample);
    sample.write_to(&storage);
    let before = storage.file_stamps();
    let file = fs::File::options().write(true).open(dir.path().join("t/a")).unwrap();
    file.set_len(50_000).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1, 5)).unwrap();
    for (at, range) in sample.pieces().enumerate() {
        let mut cached = vec![0; range.len() as usize];
        if let Some(result) = storage.read_cached(range, &mut cached) {
            assert!(result.is_ok() && cached == sample.bytes(range), "piece {at}");
        }
        match read(&storage, range, 16_384) {
            Ok(bytes) => assert!(!(3..=6).contains(&at) && bytes == sample.bytes(range), "piece {at}"),
            Err(error) => {
                assert!((3..=6).contains(&at), "piece {at}");
                assert_eq!((error.trouble(), error.path), (Trouble::Short, dir.path().join("t/a")));
            }
        }
    }
    let after = storage.file_stamps();
    let same: Vec<_> =
        before.iter().zip(&after).map(|(was, is)| was.unwrap().is_same(&is.unwrap())).collect();
    assert_eq!(same, [false, true]);
    assert_eq!(after[0].map(|stamp| (stamp.len, stamp.mtime_ns)), Some((50_000, 1_000_000_005)));
}
