//! Torrents that go on where they were.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metainfo::Magnet;
use storage::record::{FileStore, Key, Store, StoreError};
use swarm::session::{
    AddError, AddOptions, Check, Event, MagnetOptions, RedbStore, Selection, Session, SessionConfig, Torrent,
};
use tempfile::TempDir;

use crate::world::{Content, add, config, end, event, keeping, seeder, session, soon};

/// A session that keeps all that it needs to start its torrents.
pub(crate) async fn recording(state: &Path) -> Session {
    let path = state.join("session.redb");
    let store = soon(async {
        loop {
            match RedbStore::open(&path) {
                // Tasks of the session before let it go in the background.
                Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
                store => return Arc::new(store.unwrap()),
            }
        }
    })
    .await;
    Session::start(SessionConfig { store: Some(store), ..config() }).await.unwrap()
}

/// Adds, and tells how many bytes were hashed for it.
pub(crate) async fn resume(session: &Session, options: AddOptions) -> (Torrent, bool) {
    let mut events = session.events();
    let torrent = add_when_free(session, options).await;
    let mut was_checked = false;
    loop {
        match soon(events.next()).await.unwrap() {
            Event::Checking { .. } => was_checked = true,
            Event::Added { .. } => return (torrent, was_checked),
            _ => {}
        }
    }
}

/// Adds as soon as a session that was dropped, and ends in the background, lets the record go.
async fn add_when_free(session: &Session, options: AddOptions) -> Torrent {
    soon(async {
        loop {
            match session.add(options.clone()).await {
                Err(AddError::Store(StoreError::Locked { .. })) => tokio::task::yield_now().await,
                added => return added.unwrap(),
            }
        }
    })
    .await
}

/// The record of a content in a folder.
pub(crate) fn record(state: &Path, content: &Content, dir: &Path) -> storage::record::Record {
    let key = Key { id: content.meta.id(), dir: dir.canonicalize().unwrap() };
    FileStore::open(state).unwrap().load(&key).unwrap().expect("it is recorded")
}

/// Three files of four pieces each.
pub(crate) fn content(seed: u64) -> Content {
    Content::folder(seed, &[131_072, 131_072, 131_072], |builder| builder)
}

#[tokio::test]
async fn a_seed_is_hashed_once_and_again_only_where_it_changed() {
    let content = content(100);
    let (dir, state) = (content.placed(), TempDir::new().unwrap());
    let seed = || AddOptions::seed(content.meta.clone(), dir.path());
    for was_checked in [true, false, false] {
        let session = keeping(state.path()).await;
        let (torrent, checked) = resume(&session, seed()).await;
        assert_eq!(checked, was_checked);
        assert!(torrent.status().await.unwrap().activity.is_seeding());
        // Without a proper end: nothing was written, so the record holds.
        drop((session, torrent));
    }
    // Somebody spoils one file and touches another.
    let path = |at: usize| dir.path().join(content.meta.layout().files()[at].path.as_str());
    let mut bytes = std::fs::read(path(1)).unwrap();
    bytes[40_000] ^= 1;
    std::fs::write(path(1), bytes).unwrap();
    let touched = std::fs::File::options().append(true).open(path(2)).unwrap();
    touched.set_modified(SystemTime::now() + Duration::from_secs(7)).unwrap();
    let session = keeping(state.path()).await;
    let (torrent, checked) = resume(&session, seed()).await;
    assert!(checked);
    let status = torrent.status().await.unwrap();
    assert_eq!((status.pieces_done, status.pieces), (11, 12));
    end([session]).await;
    assert_eq!(record(state.path(), &content, dir.path()).state.pieces.count(), 11);
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_stopped() {
    let content = content(101);
    let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let options = || AddOptions {
        peers: seed.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let first = keeping(state.path()).await;
    let some = AddOptions { files: Selection::Files(vec![0, 2]), ..options() };
    let (torrent, checked) = resume(&first, some).await;
    assert!(!checked, "nothing was there");
    soon(torrent.wait_complete()).await.unwrap();
    end([first]).await;
    let kept = record(state.path(), &content, to.path());
    assert_eq!((kept.summary.flags.clean, kept.summary.flags.finished), (true, true));
    assert_eq!((kept.state.pieces.count(), kept.summary.done), (8, 8 * 32_768));
    assert_eq!(kept.state.choices.priorities, [2, 0, 2]);
    assert_eq!(kept.summary.totals.downloaded, 8 * 32_768);
    assert!(kept.state.created.contains(&"things".into()), "{:?}", kept.state.created);

    let second = keeping(state.path()).await;
    let (torrent, checked) = resume(&second, options()).await;
    assert!(!checked, "the files are as they were left");
    soon(torrent.wait_complete()).await.unwrap();
    assert_eq!(torrent.status().await.unwrap().totals.downloaded, 4 * 32_768);
    end([second, seed]).await;
    content.assert_all(to.path());
    let kept = record(state.path(), &content, to.path());
    assert_eq!((kept.summary.flags.complete, kept.summary.totals.downloaded), (true, 12 * 32_768));
    assert!(kept.summary.times.completed.is_some());
}

#[tokio::test]
async fn what_is_there_is_recorded_within_seconds_and_survives_a_crash() {
    let content = content(102);
    let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        files: Selection::Files(vec![0]),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let first = keeping(state.path()).await;
    let torrent = add(&first, options.clone()).await;
    soon(torrent.wait_complete()).await.unwrap();
    let recorded = async {
        while record(state.path(), &content, to.path()).state.pieces.count() < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Sooner than it is saved anyway, once in a minute.
    tokio::time::timeout(Duration::from_secs(45), recorded).await.expect("within seconds");
    let kept = record(state.path(), &content, to.path());
    assert!(!kept.summary.flags.clean, "it may still write");
    // As after a crash: no word was said.
    drop((first, torrent));
    let second = keeping(state.path()).await;
    let mut events = second.events();
    let torrent = add_when_free(&second, options).await;
    assert_eq!(torrent.status().await.unwrap().pieces_done, 4);
    event(&mut events, |event| matches!(event, Event::Complete { .. })).await;
    assert_eq!(torrent.status().await.unwrap().totals.downloaded, 0);
    end([second, seed]).await;
}

#[tokio::test]
async fn nothing_is_made_in_the_place_of_a_folder_that_is_gone() {
    let content = content(103);
    let (home, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (mount, away) = (home.path().join("disk"), home.path().join("away"));
    std::fs::create_dir(&mount).unwrap();
    content.write(&mount);
    let download = || AddOptions::download(content.meta.clone(), &mount);
    let session = keeping(state.path()).await;
    add(&session, download()).await;
    end([session]).await;
    // As if it had been on another disk.
    let mut known = record(state.path(), &content, &mount);
    let folder = known.summary.folder.as_mut().unwrap();
    (folder.device, folder.file_system) = (folder.device ^ 1, folder.file_system ^ 1);
    FileStore::open(state.path()).unwrap().save(&[known]).unwrap();

    std::fs::rename(&mount, &away).unwrap();
    let checks = [Check::Auto, Check::Always, Check::Never];
    for (is_there, check) in
        [false, true].into_iter().flat_map(|is_there| checks.map(|check| (is_there, check)))
    {
        // Not there at all; then an empty folder, as where a disk is mounted when it is.
        if is_there && !mount.exists() {
            std::fs::create_dir(&mount).unwrap();
        }
        let session = keeping(state.path()).await;
        let refused = session.add(AddOptions { check, ..download() }).await.unwrap_err();
        let AddError::Storage(error) = refused else { panic!("{refused}") };
        assert!(error.is_gone(), "{error}");
        end([session]).await;
        assert_eq!(mount.exists(), is_there);
        assert!(!is_there || std::fs::read_dir(&mount).unwrap().next().is_none());
    }
    std::fs::remove_dir(&mount).unwrap();
    std::fs::rename(&away, &mount).unwrap();
    let session = keeping(state.path()).await;
    let (torrent, checked) = resume(&session, download()).await;
    assert!(!checked && torrent.status().await.unwrap().activity.is_seeding());
    end([session]).await;

    // Who says so gets a download in the new place.
    std::fs::rename(&mount, &away).unwrap();
    let session = keeping(state.path()).await;
    let anew = AddOptions { new_folder: true, ..download() };
    let torrent = add(&session, anew).await;
    assert_eq!(torrent.status().await.unwrap().pieces_done, 0);
    end([session]).await;
    assert!(
        record(state.path(), &content, &mount).state.created.is_empty(),
        "the old folder's are not in it"
    );
}

#[tokio::test]
async fn a_folder_that_was_deleted_is_downloaded_to_anew_but_not_seeded_from() {
    let content = content(105);
    let (home, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let dir = home.path().join("some/folder");
    let session = keeping(state.path()).await;
    std::fs::create_dir_all(&dir).unwrap();
    content.write(&dir);
    add(&session, AddOptions::download(content.meta.clone(), &dir)).await;
    end([session]).await;
    for is_made_again in [false, true] {
        std::fs::remove_dir_all(home.path().join("some")).unwrap();
        if is_made_again {
            std::fs::create_dir_all(&dir).unwrap();
        }
        let session = keeping(state.path()).await;
        session.add(AddOptions::seed(content.meta.clone(), &dir)).await.unwrap_err();
        let mut events = session.events();
        let torrent = add(&session, AddOptions::download(content.meta.clone(), &dir)).await;
        let told = event(&mut events, |event| matches!(event, Event::Anew { .. })).await;
        assert_eq!(told, Event::Anew { torrent: content.meta.id(), dir: dir.canonicalize().unwrap() });
        assert_eq!(torrent.status().await.unwrap().pieces_done, 0);
        end([session]).await;
        assert!(record(state.path(), &content, &dir).state.pieces.count() == 0);
        // What is there now counts at the next start.
        content.write(&dir);
        let session = keeping(state.path()).await;
        let options = AddOptions { check: Check::Always, ..AddOptions::download(content.meta.clone(), &dir) };
        assert!(add(&session, options).await.status().await.unwrap().activity.is_seeding());
        end([session]).await;
    }
}

#[tokio::test]
async fn a_torrent_in_a_folder_belongs_to_one_session() {
    let content = content(104);
    let (dir, other, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let sessions = [keeping(state.path()).await, keeping(state.path()).await];
    add(&sessions[0], AddOptions::seed(content.meta.clone(), dir.path())).await;
    let again = AddOptions::download(content.meta.clone(), dir.path().join("."));
    let refused = sessions[1].add(again.clone()).await.unwrap_err();
    let AddError::Store(StoreError::Locked { by, .. }) = refused else { panic!("{refused}") };
    assert_eq!(by, Some(std::process::id()));
    // Another folder is another matter.
    add(&sessions[1], AddOptions::download(content.meta.clone(), other.path())).await;
    let [first, second] = sessions;
    end([first]).await;
    let torrent = second.torrents().remove(0);
    soon(torrent.remove()).await.unwrap();
    assert_eq!(FileStore::open(state.path()).unwrap().list().unwrap().summaries.len(), 1);
    add(&second, again).await;
    end([second]).await;
}

#[tokio::test]
async fn a_damaged_record_is_set_aside_and_made_anew() {
    let content = content(105);
    let (dir, state) = (content.placed(), TempDir::new().unwrap());
    let seed = || AddOptions::seed(content.meta.clone(), dir.path());
    let session = keeping(state.path()).await;
    add(&session, seed()).await;
    end([session]).await;
    let path = FileStore::open(state.path()).unwrap().path(&record(state.path(), &content, dir.path()).key());
    std::fs::write(&path, "no record").unwrap();
    let session = keeping(state.path()).await;
    let mut events = session.events();
    let torrent = add(&session, seed()).await;
    let told = event(&mut events, |event| matches!(event, Event::RecordFailed { .. })).await;
    let Event::RecordFailed { error: StoreError::Damaged { aside: Some(aside), .. }, .. } = told else {
        panic!("{told:?}")
    };
    assert_eq!(std::fs::read(aside).unwrap(), b"no record");
    assert!(torrent.status().await.unwrap().activity.is_seeding());
    end([session]).await;
    assert!(record(state.path(), &content, dir.path()).state.pieces.is_full());
}

#[tokio::test]
async fn a_download_does_not_stop_because_it_cannot_be_recorded() {
    let content = content(106);
    let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    // A folder where the record is to be: not even root can write there.
    let store = FileStore::open(state.path()).unwrap();
    let key = Key { id: content.meta.id(), dir: to.path().canonicalize().unwrap() };
    std::fs::create_dir_all(store.path(&key).with_extension("new").join("in the way")).unwrap();
    let session = keeping(state.path()).await;
    let mut events = session.events();
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&session, options).await;
    event(&mut events, |event| matches!(event, Event::RecordFailed { .. })).await;
    soon(torrent.wait_complete()).await.unwrap();
    end([session, seed]).await;
    content.assert_all(to.path());
}

#[tokio::test]
async fn a_session_without_a_store_keeps_nothing() {
    let content = content(107);
    let dir = content.placed();
    for _ in 0..2 {
        let session = session().await;
        let (_, checked) = resume(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
        assert!(checked);
        end([session]).await;
    }
}

#[tokio::test]
async fn a_long_running_session_knows_its_torrents_again() {
    let (first, second) = (content(108), content(109));
    let (dir, part, state) = (first.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let session = recording(state.path()).await;
    add(&session, AddOptions::seed(first.meta.clone(), dir.path())).await;
    let options = AddOptions {
        files: Selection::Files(vec![1]),
        trackers: vec!["udp://127.0.0.1:1/".into()],
        up_limit: Some(1 << 20),
        ..AddOptions::download(second.meta.clone(), part.path())
    };
    add(&session, options).await;
    end([session]).await;

    let session = recording(state.path()).await;
    let mut known = session.recorded().await.unwrap().summaries;
    known.sort_by_key(|summary| summary.name.clone());
    assert_eq!(known.len(), 2);
    assert!(session.torrents().is_empty(), "they run when they are asked for");
    let mut events = session.events();
    for summary in &known {
        soon(session.restore(summary)).await.unwrap();
    }
    let seeding = session.torrent(first.meta.id()).unwrap();
    assert!(seeding.status().await.unwrap().activity.is_seeding());
    let waiting = session.torrent(second.meta.id()).unwrap();
    assert_eq!(waiting.status().await.unwrap().wanted, 131_072);
    assert_eq!(waiting.trackers().await.unwrap().len(), 1);
    soon(waiting.remove()).await.unwrap();
    event(&mut events, |event| {
        assert!(!matches!(event, Event::Checking { .. }), "nothing changed");
        matches!(event, Event::Removed { .. })
    })
    .await;
    assert_eq!(session.recorded().await.unwrap().summaries.len(), 1);
    let gone = session.restore(&known.into_iter().find(|s| s.hashes.id() == second.meta.id()).unwrap()).await;
    assert_eq!(gone.unwrap_err(), AddError::NotRecorded(second.meta.id()));
    end([session]).await;
}

#[tokio::test]
async fn a_magnet_does_not_vanish_before_its_metadata_came_nor_after() {
    let content = content(110);
    let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let id = content.meta.id();
    let magnet = Magnet::new(*content.meta.info_hashes());
    let session = recording(state.path()).await;
    let options = MagnetOptions { up_limit: Some(1 << 20), ..MagnetOptions::download(magnet, to.path()) };
    let torrent = soon(session.add_magnet(options)).await.unwrap();
    // As if it were killed.
    drop((session, torrent));

    let session = recording(state.path()).await;
    let known = session.recorded().await.unwrap().summaries;
    assert_eq!((known.len(), known[0].flags.no_metadata), (1, true));
    let torrent = soon(session.restore(&known[0])).await.unwrap();
    assert!(torrent.meta().is_none());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    end([session, seed]).await;
    // A handle keeps the database open.
    drop(torrent);

    let session = recording(state.path()).await;
    let known = session.recorded().await.unwrap().summaries;
    assert_eq!((known.len(), known[0].flags.no_metadata, known[0].flags.complete), (1, false, true));
    let torrent = soon(session.restore(&known[0])).await.unwrap();
    assert!(torrent.status().await.unwrap().activity.is_seeding());
    soon(torrent.remove()).await.unwrap();
    let again = Magnet::new(*content.meta.info_hashes());
    let torrent = soon(session.add_magnet(MagnetOptions::download(again, to.path()))).await.unwrap();
    assert_eq!(session.recorded().await.unwrap().summaries.len(), 1);
    soon(torrent.remove()).await.unwrap();
    assert!(session.recorded().await.unwrap().summaries.is_empty());
    assert!(session.torrent(id).is_none());
    end([session]).await;
    content.assert_all(to.path());
}

#[tokio::test]
async fn neither_a_magnet_nor_another_folder_takes_the_place_of_a_record() {
    let content = content(111);
    let (at, other, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let id = content.meta.id();
    let session = recording(state.path()).await;
    let torrent = soon(session.add(AddOptions::download(content.meta.clone(), at.path()))).await.unwrap();
    end([session]).await;
    drop(torrent);

    let session = recording(state.path()).await;
    let [known] = &session.recorded().await.unwrap().summaries[..] else { panic!() };
    let refused = AddError::RecordedElsewhere { id, dir: known.dir.clone() };
    let magnet = || Magnet::new(*content.meta.info_hashes());
    let elsewhere = MagnetOptions::download(magnet(), other.path());
    assert_eq!(soon(session.add_magnet(elsewhere)).await.unwrap_err(), refused);
    let elsewhere = AddOptions::download(content.meta.clone(), other.path());
    assert_eq!(soon(session.add(elsewhere.clone())).await.unwrap_err(), refused);
    for options in [MagnetOptions::metadata(magnet()), MagnetOptions::download(magnet(), at.path())] {
        let named = soon(session.add_magnet(options)).await.unwrap();
        soon(named.remove()).await.unwrap();
        assert_eq!(session.recorded().await.unwrap().summaries, std::slice::from_ref(known));
    }
    let torrent = soon(session.restore(known)).await.unwrap();
    assert!(torrent.status().await.unwrap().activity.is_seeding());
    assert_eq!(soon(session.forget(known)).await, Err(AddError::Duplicate(id)));
    end([session]).await;
    drop(torrent);

    let session = recording(state.path()).await;
    let [known] = &session.recorded().await.unwrap().summaries[..] else { panic!() };
    soon(session.forget(known)).await.unwrap();
    soon(session.add(elsewhere)).await.unwrap();
    end([session]).await;
}
