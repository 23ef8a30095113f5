//! Files that somebody removes, replaces and brings back while their torrent runs.

use std::path::Path;
use std::time::Duration;

use metainfo::TorrentId;
use storage::Trouble;
use swarm::engine::PieceOrder;
use swarm::session::{AddOptions, Event, Events, Session, SessionConfig, Torrent};

use crate::resume::content;
use crate::world::{Content, add, config, end, event, seeder, session, soon};

/// A session that looks often, and syncs never but at the end.
async fn watchful() -> Session {
    let mut config: SessionConfig = config();
    config.engine.look_interval = Duration::from_millis(20);
    config.engine.sync_interval = Duration::from_secs(3600);
    Session::start(config).await.unwrap()
}

fn file(content: &Content, dir: &Path, at: usize) -> std::path::PathBuf {
    dir.join(content.meta.layout().files()[at].path.as_str())
}

/// Waits until so many pieces are there.
async fn pieces(events: &mut Events, torrent: &Torrent, enough: impl Fn(u32) -> bool) {
    soon(async {
        while !enough(torrent.status().await.unwrap().pieces_done) {
            events.next().await.unwrap();
        }
    })
    .await;
}

/// Waits until it is told that a file is not there.
async fn missing(events: &mut Events, id: TorrentId, path: &Path) {
    let told = |event: &Event| match event {
        Event::StorageFailed { torrent, error } => {
            assert_eq!((error.trouble(), error.path.as_path()), (Trouble::Missing, path), "{error}");
            *torrent == id
        }
        _ => false,
    };
    event(events, told).await;
}

#[tokio::test]
async fn a_file_that_is_removed_during_a_download_is_told_of_and_comes_again() {
    let content = content(500);
    let (from, to) = (content.placed(), tempfile::TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let session = watchful().await;
    let mut events = session.events();
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        order: PieceOrder::Sequential,
        down_limit: Some(150_000),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&session, options).await;
    pieces(&mut events, &torrent, |done| done >= 5).await;
    let path = file(&content, to.path(), 0);
    std::fs::remove_file(&path).unwrap();
    missing(&mut events, torrent.id(), &path).await;
    torrent.set_limits(None, None).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    pieces(&mut events, &torrent, |done| done == 12).await;
    content.assert_all(to.path());
    let came = torrent.status().await.unwrap().totals.downloaded;
    assert!((4 * 131_072..5 * 131_072).contains(&came), "{came} bytes came: the file of 128 KiB twice");
    end([session, seed]).await;
    content.assert_all(to.path());
}

#[tokio::test]
async fn a_seed_tells_which_file_is_gone_serves_the_rest_and_goes_on_when_it_is_back_and_right() {
    let content = content(501);
    let (dir, to) = (content.placed(), tempfile::TempDir::new().unwrap());
    let from = watchful().await;
    let mut events = from.events();
    let seeding = add(&from, AddOptions::seed(content.meta.clone(), dir.path())).await;
    let (path, away) = (file(&content, dir.path(), 1), dir.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    // It is noticed when somebody comes, not before.
    let session = session().await;
    let options = AddOptions {
        peers: from.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&session, options).await;
    missing(&mut events, torrent.id(), &path).await;
    assert_eq!(seeding.status().await.unwrap().pieces_done, 8);
    assert!(seeding.status().await.unwrap().activity.is_seeding());

    // Something else in its place is not served.
    std::fs::write(&path, vec![7; 131_072]).unwrap();
    event(&mut events, |event| matches!(event, Event::PieceFailed { .. })).await;
    assert_eq!(seeding.status().await.unwrap().pieces_done, 8);
    std::fs::rename(&away, &path).unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    pieces(&mut events, &seeding, |done| done == 12).await;
    assert_eq!(torrent.status().await.unwrap().totals.wasted, 0);
    content.assert_all(to.path());
    end([session, from]).await;
    content.assert_all(dir.path());
}
