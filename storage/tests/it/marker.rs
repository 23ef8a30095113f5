//! Folders on file systems that tell nothing of them that lasts: what is tried here is taken for one.

use crate::mounts::{apart, sh};
use crate::support::{Sample, Tree};
use metainfo::Version;
use std::fs;
use std::path::{Path, PathBuf};
use storage::testing::fuse::pretend;
use storage::{FileOptions, FileStorage, MoveOptions, RootId, StorageError};

fn sample() -> Sample {
    Sample::folder(Version::V1, 65_536, &[("a", 100_000), ("b", 100_000)])
}

fn open(root: &Path, sample: &Sample) -> FileStorage {
    FileStorage::create(root, sample.torrent.clone(), FileOptions::default()).unwrap()
}

fn expecting(root: &Path, id: &RootId, sample: &Sample) -> Result<FileStorage, StorageError> {
    FileStorage::open_expecting(root, id, sample.torrent.clone(), FileOptions::default())
}

/// Markers in a folder.
fn markers(root: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(root).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name()));
    names.filter(|name| name.to_str().unwrap().starts_with(".unchoke-")).collect()
}

#[test]
fn a_disk_without_a_name_is_known_by_its_marker() {
    let dir = tempfile::tempdir().unwrap();
    let (root, away) = (dir.path().join("disk"), dir.path().join("away"));
    let sample = sample();
    pretend(true);
    let storage = open(&root, &sample);
    storage.mark_root(None).unwrap();
    storage.mark_root(None).unwrap();
    sample.write_to(&storage);
    let id = storage.root_id().unwrap();
    assert_eq!((markers(&root).len(), id.born_ns, id.file_system), (1, None, 0));
    assert!(storage.created().contains(&markers(&root)[0]));
    drop(storage);
    // The same with another number, as many such file systems give at each mount.
    let again = expecting(&root, &RootId { inode: id.inode + 1, device: 7, ..id }, &sample).unwrap();
    assert!(id.is_same(&again.root_id().unwrap()));
    again.mark_root(None).unwrap();
    assert_eq!(markers(&root).len(), 1);
    // Another one, which they give the same number.
    fs::rename(&root, &away).unwrap();
    fs::create_dir(&root).unwrap();
    let found = RootId::of(&root).unwrap();
    let error = expecting(&root, &RootId { inode: found.inode, ..id }, &sample).unwrap_err();
    assert!(error.is_gone() && error.to_string().contains("in the place of the one recorded"), "{error}");
    assert!(!FileStorage::was_deleted(&root, &id), "it may be anywhere");
    assert!(Tree::of(&root).names().is_empty());
    fs::remove_dir(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    expecting(&root, &id, &sample).unwrap();
    pretend(false);
}

#[test]
fn a_marker_that_is_there_is_not_made_anew_and_goes_with_the_torrent() {
    let dir = tempfile::tempdir().unwrap();
    let [root, goal] = ["root", "goal"].map(|name| dir.path().join(name));
    let sample = sample();
    open(&root, &sample).mark_root(None).unwrap();
    assert_eq!(markers(&root).len(), 0, "it is known without");
    pretend(true);
    let storage = open(&root, &sample);
    storage.mark_root(None).unwrap();
    let (id, made) = (storage.root_id().unwrap(), markers(&root));
    let again = open(&root, &sample);
    again.mark_root(Some(&id)).unwrap();
    assert_eq!((markers(&root), again.root_id().unwrap()), (made, id));
    sample.write_to(&storage);
    assert!(storage.relocate(&goal, &MoveOptions::default()).unwrap().is_whole);
    assert!(expecting(&root, &id, &sample).is_ok(), "until the new folder is recorded");
    storage.mark_root(None).unwrap();
    storage.forget_left();
    assert_eq!((markers(&root).len(), markers(&goal).len()), (0, 1));
    let moved = storage.root_id().unwrap();
    assert!(moved.marker != id.marker && expecting(&goal, &moved, &sample).is_ok());
    let removed = storage.remove_created().unwrap();
    assert!(removed.kept.is_empty() && removed.errors.is_empty() && Tree::of(&goal).names().is_empty());
    pretend(false);
}

#[test]
fn a_folder_whose_mount_is_absent_was_not_deleted() {
    apart("marker::a_folder_whose_mount_is_absent_was_not_deleted", |dir| {
        let sample = sample();
        let [real, disk, plain] = ["real", "disk", "plain"].map(|name| dir.join(name));
        for path in [&real, &disk, &plain] {
            fs::create_dir(path).unwrap();
        }
        assert!(sh("mount --bind \"$1\" \"$2\"", &[&real, &disk]));
        let beneath = disk.join("down/loads");
        for root in [&disk, &beneath] {
            let id = open(root, &sample).root_id().unwrap();
            assert_eq!(usize::from(id.mount.unwrap()), root.components().count() - disk.components().count());
            fs::create_dir_all(&beneath).unwrap();
            assert!(sh("umount \"$1\"", &[&disk]));
            assert!(expecting(root, &id, &sample).unwrap_err().is_gone());
            assert!(!FileStorage::was_deleted(root, &id), "{root:?}");
            assert!(sh("mount --bind \"$1\" \"$2\"", &[&real, &disk]));
            expecting(root, &id, &sample).unwrap();
        }
        let id = RootId::of(&beneath).unwrap();
        fs::remove_dir_all(disk.join("down")).unwrap();
        assert!(FileStorage::was_deleted(&beneath, &id), "its disk is there");
        let id = RootId::of(&plain).unwrap();
        fs::remove_dir(&plain).unwrap();
        assert!(FileStorage::was_deleted(&plain, &id));
    });
}
