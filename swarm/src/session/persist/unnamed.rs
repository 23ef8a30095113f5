//! Starts on disks that tell nothing of a folder that lasts.

use std::path::Path;
use std::sync::Arc;

use storage::record::{FileStore, Key, Store};
use storage::testing::fuse::pretend;
use tempfile::TempDir;

use super::strikes::{session, start, whole};
use crate::session::options::{AddError, AddOptions};

fn markers(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with(".unchoke-")).count()
}

fn is_refused(started: Result<impl Sized, AddError>) -> bool {
    matches!(started, Err(AddError::Storage(error)) if error.is_gone())
}

#[tokio::test]
async fn a_disk_in_the_place_of_another_that_looks_like_it_is_not_written_to() {
    let (dir, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (disk, away) = (dir.path().join("disk"), dir.path().join("away"));
    let options = AddOptions::download(whole(&disk), &disk);
    let session = session(state.path()).await;
    let store: Arc<dyn Store> = Arc::new(FileStore::open(state.path()).unwrap());
    pretend(true);
    for round in 0..2 {
        assert!(start(&session.link, &options).unwrap().have.is_full(), "round {round}");
        assert_eq!(markers(&disk), 1);
    }
    // They give their first folders the same number.
    let with_number_of = |other: &Path, has_marker: bool| {
        let summary = store.list().unwrap().summaries.remove(0);
        let key = Key { id: summary.hashes.id(), dir: summary.dir };
        let mut record = store.load(&key).unwrap().unwrap();
        let folder = record.summary.folder.as_mut().unwrap();
        folder.inode = storage::RootId::of(other).unwrap().inode;
        folder.marker = folder.marker.filter(|_| has_marker);
        store.save(&[record]).unwrap();
    };
    std::fs::rename(&disk, &away).unwrap();
    std::fs::create_dir(&disk).unwrap();
    let seed = AddOptions::seed(options.torrent.clone(), &disk);
    for has_marker in [true, false] {
        with_number_of(&disk, has_marker);
        assert!(is_refused(start(&session.link, &options)), "{has_marker}");
        assert!(is_refused(start(&session.link, &seed)), "{has_marker}");
        assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0);
    }
    std::fs::remove_dir(&disk).unwrap();
    std::fs::rename(&away, &disk).unwrap();
    with_number_of(&disk, false);
    assert!(start(&session.link, &seed).unwrap().have.is_full(), "its files are known");
    assert!(start(&session.link, &options).unwrap().have.is_full());
    pretend(false);
}
