use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use swarm::session::{
    AddError, AddOptions, AtRest, Check, Event, FilesError, Selection, Session, SessionConfig, StartError,
    WaitError,
};
use tempfile::TempDir;

use crate::world::{Content, add, end, event, keeping, seeder, session, soon};

#[tokio::test]
async fn a_torrent_runs_once_and_again_after_its_removal() {
    let content = Content::folder(11, &[50_000], |builder| builder);
    let dir = content.placed();
    let (session, torrent) = seeder(&content, dir.path()).await;
    let again = AddOptions::seed(content.meta.clone(), dir.path());
    let id = content.meta.id();
    assert_eq!(session.add(again.clone()).await.unwrap_err(), AddError::Duplicate(id));
    let mut events = session.events();
    soon(torrent.remove()).await.unwrap();
    // What was told of its check before may still be on its way.
    let told = event(&mut events, |event| !matches!(event, Event::Complete { .. })).await;
    assert_eq!(told, Event::Removed { torrent: id });
    assert!(torrent.status().await.is_err() && torrent.remove().await.is_err());
    assert!(session.torrent(id).is_none());
    let torrent = add(&session, again).await;
    assert!(torrent.status().await.unwrap().activity.is_seeding());
    assert_eq!(session.torrents().len(), 1);
    end([session]).await;
}

#[tokio::test]
async fn two_torrents_never_share_a_file() {
    let one = Content::folder(12, &[50_000], |builder| builder);
    let two = Content::folder(13, &[50_000, 10], |builder| builder);
    let dir = one.placed();
    let (session, torrent) = seeder(&one, dir.path()).await;
    // The same folder by another name.
    let there = dir.path().join("things/..");
    let refused = session.add(AddOptions::download(two.meta.clone(), &there)).await.unwrap_err();
    let AddError::PathTaken { path, by } = refused else { panic!("{refused}") };
    assert!(path.ends_with("things/even/0.bin"), "{path:?}");
    assert_eq!(by, one.meta.id());
    let other = TempDir::new().unwrap();
    let elsewhere = add(&session, AddOptions::download(two.meta.clone(), other.path())).await;
    soon(elsewhere.remove()).await.unwrap();
    soon(torrent.remove()).await.unwrap();
    // What the other one left there is not its own.
    let refused = session.add(AddOptions::download(two.meta.clone(), &there)).await.unwrap_err();
    let AddError::Storage(error) = refused else { panic!("{refused}") };
    assert_eq!(error.trouble(), storage::Trouble::Foreign, "{error}");
    let options = AddOptions::download(two.meta.clone(), &there);
    add(&session, AddOptions { overwrite: true, ..options }).await;
    end([session]).await;
}

#[tokio::test]
async fn files_that_another_program_uses_are_neither_written_nor_removed() {
    let content = Content::folder(15, &[50_000], |builder| builder);
    let (dir, state) = (content.placed(), TempDir::new().unwrap());
    let used = dir.path().join("things");
    // As another program has them: by an open file of its own.
    let other = || std::fs::File::open(&used).unwrap();
    let session = keeping(state.path()).await;
    let download = || AddOptions::download(content.meta.clone(), dir.path());
    let theirs = other();
    theirs.lock_shared().unwrap();
    let refused = session.add(download()).await.unwrap_err();
    let AddError::Storage(error) = refused else { panic!("{refused}") };
    assert_eq!((error.trouble(), &error.path), (storage::Trouble::InUse, &used));
    let seed = add(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
    soon(seed.remove()).await.unwrap();
    theirs.unlock().unwrap();
    add(&session, download()).await;
    assert!(other().try_lock_shared().is_err());
    end([session]).await;

    let theirs = other();
    theirs.lock().unwrap();
    let store = std::sync::Arc::new(storage::record::FileStore::open(state.path()).unwrap());
    let rest = AtRest::open(store, content.meta.id(), None, dir.path()).unwrap();
    let refused = rest.remove_files().unwrap_err();
    let FilesError::Storage(error) = refused else { panic!("{refused}") };
    assert_eq!(error.trouble(), storage::Trouble::InUse);
    rest.forget().unwrap();
    content.assert_all(dir.path());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error_for_a_seed_and_made_for_a_download() {
    let content = Content::folder(14, &[50_000], |builder| builder);
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    let session = session().await;
    let refused = session.add(AddOptions::seed(content.meta.clone(), &missing)).await.unwrap_err();
    let AddError::Storage(error) = refused else { panic!("{refused}") };
    assert_eq!((error.cause.kind(), &error.path), (std::io::ErrorKind::NotFound, &missing));
    add(&session, AddOptions::download(content.meta.clone(), &missing)).await;
    assert!(missing.is_dir());
    end([session]).await;
}

#[tokio::test]
async fn a_file_that_is_not_there_cannot_be_selected() {
    let content = Content::folder(15, &[50_000], |builder| builder);
    let dir = TempDir::new().unwrap();
    let session = session().await;
    let mut options = AddOptions::download(content.meta.clone(), dir.path());
    options.files = Selection::Files(vec![0, 1]);
    let refused = session.add(options).await.unwrap_err();
    assert_eq!(refused, AddError::NoSuchFile { index: 1, files: 1 });
    end([session]).await;
}

#[tokio::test]
async fn what_cannot_be_written_ends_the_download_with_its_cause() {
    let content = Content::folder(16, &[100_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let mut events = leech.events();
    let options = AddOptions { check: Check::Never, ..AddOptions::download(content.meta.clone(), to.path()) };
    let torrent = add(&leech, options.clone()).await;
    // A folder where the file is to be: not even root can write there.
    std::fs::create_dir_all(to.path().join("things/even/0.bin")).unwrap();
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    let WaitError::Storage(error) = soon(torrent.wait_complete()).await.unwrap_err() else {
        panic!("the storage is at fault");
    };
    assert!(error.path.ends_with("things/even/0.bin"), "{error}");
    let told = event(&mut events, |event| matches!(event, Event::StorageFailed { .. })).await;
    assert_eq!(told, Event::StorageFailed { torrent: content.meta.id(), error });
    end([leech, seed]).await;
    // At the next start it is seen before anything is fetched.
    let again = session().await;
    let AddError::Storage(error) = again.add(options).await.unwrap_err() else { panic!("it is in the way") };
    assert!(error.path.ends_with("things/even/0.bin"), "{error}");
    end([again]).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_so() {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let by_port = SessionConfig { port, dht: None, ..SessionConfig::default() };
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    let by_address = SessionConfig { listen, dht: None, ..SessionConfig::default() };
    for config in [by_port, by_address] {
        let error = Session::start(config).await.unwrap_err();
        let StartError::Listen(cause) = &error else { panic!("{error}") };
        assert_eq!((cause.addr.port(), cause.cause.kind()), (port, std::io::ErrorKind::AddrInUse));
        assert!(error.to_string().starts_with("cannot listen on "), "{error}");
    }
}

#[test]
fn a_session_needs_a_runtime() {
    let mut start = std::pin::pin!(Session::start(SessionConfig::default()));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let started = std::future::Future::poll(start.as_mut(), &mut cx);
    assert!(matches!(started, std::task::Poll::Ready(Err(StartError::NoRuntime))));
}
