//! Torrents that are added by a magnet.

use metainfo::{Builder, InfoHashes, Magnet, TorrentId, Version};
use swarm::engine::Activity;
use swarm::session::{
    AddError, AddOptions, Choice, Event, MagnetOptions, Selection, Session, Torrent, Unavailable, WaitError,
};
use tempfile::TempDir;

use crate::world::{Content, add, end, event, seeder, session, soon, tracker};

/// A magnet that names these peers.
fn magnet(content: &Content, of: &Session) -> Magnet {
    let peers = of.listening().iter().map(|at| (at.ip().to_string(), at.port())).collect();
    Magnet { peers, ..Magnet::new(*content.meta.info_hashes()) }
}

async fn add_magnet(session: &Session, options: MagnetOptions) -> Torrent {
    soon(session.add_magnet(options)).await.unwrap()
}

#[tokio::test]
async fn a_magnet_becomes_a_torrent_that_is_downloaded() {
    let content = Content::folder(30, &[100_000, 0, 300_000], |b| b.tracker("http://not.asked.invalid/"));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let tracker = tracker().await;
    _seeding.add_tracker(tracker.http_url()).await.unwrap();
    let leech = session().await;
    let mut events = leech.events();
    let named = Magnet {
        name: Some("a name".into()),
        trackers: vec![tracker.http_url()],
        web_seeds: vec!["http://seed.invalid/".into()],
        ..magnet(&content, &seed)
    };
    let folder = to.path().join("new/folder");
    let torrent = add_magnet(&leech, MagnetOptions::download(named, &folder)).await;
    assert_eq!(torrent.id(), content.meta.id());
    let metadata = event(&mut events, |event| matches!(event, Event::Metadata { .. })).await;
    assert_eq!(metadata.torrent(), Some(content.meta.id()));
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(&folder);
    let meta = torrent.meta().unwrap();
    assert_eq!((meta.info_bytes(), torrent.name().as_str()), (content.meta.info_bytes(), "things"));
    assert_eq!(meta.trackers(), [[tracker.http_url()]]);
    assert_eq!(meta.web_seeds(), ["http://seed.invalid/"]);
    assert_eq!(torrent.files().await.unwrap().len(), 3);
    end([leech, seed]).await;
}

#[tokio::test]
async fn before_it_is_known_it_has_a_name_and_no_files_and_goes_without_a_trace() {
    let content = Content::folder(31, &[100_000], |builder| builder);
    let to = TempDir::new().unwrap();
    let leech = session().await;
    let options = || {
        let named = Magnet { name: Some("a name".into()), ..Magnet::new(*content.meta.info_hashes()) };
        MagnetOptions::download(named, to.path().join("folder"))
    };
    let torrent = add_magnet(&leech, options()).await;
    assert_eq!((torrent.name().as_str(), torrent.meta().is_none()), ("a name", true));
    assert_eq!(torrent.files().await.unwrap(), []);
    let status = torrent.status().await.unwrap();
    assert_eq!(status.activity, Activity::Metadata { have: 0, pieces: None, peers: 0 });
    assert_eq!(leech.add_magnet(options()).await.unwrap_err(), AddError::Duplicate(content.meta.id()));
    soon(torrent.remove()).await.unwrap();
    assert_eq!(torrent.status().await, Err(Unavailable::Removed));
    assert!(std::fs::read_dir(to.path()).unwrap().next().is_none(), "nothing was made");
    let again = add_magnet(&leech, options()).await;
    assert_eq!(soon(again.trackers()).await.unwrap(), []);
    end([leech]).await;
    assert!(std::fs::read_dir(to.path()).unwrap().next().is_none(), "nothing was made");
}

#[tokio::test]
async fn what_is_chosen_before_it_is_known_holds_before_the_first_request() {
    let content = Content::folder(32, &[100_000, 300_000, 100_000], |builder| builder);
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let third = || Selection::Files(vec![2]);
    for way in ["so", "options", "handle"] {
        let (leech, to) = (session().await, TempDir::new().unwrap());
        let mut named = magnet(&content, &seed);
        if way == "so" {
            named.select = vec![2..=2, 7..=9];
        }
        let mut options = MagnetOptions::download(named, to.path());
        if way == "options" {
            options.files = third().into();
        }
        let peers = std::mem::take(&mut options.magnet.peers);
        let torrent = add_magnet(&leech, options).await;
        if way == "handle" {
            torrent.select(&third()).await.unwrap();
        }
        let ip = peers[0].0.parse().unwrap();
        torrent.add_peers(vec![std::net::SocketAddr::new(ip, peers[0].1)]).await.unwrap();
        soon(torrent.wait_complete()).await.unwrap();
        content.assert_files(to.path(), &[2]);
        let files = content.meta.layout().files();
        assert!(!to.path().join(files[0].path.as_str()).exists(), "{way}: nothing else was asked for");
        let status = torrent.status().await.unwrap();
        assert!(status.totals.downloaded < 140_000, "{way}: {status:?}");
        end([leech]).await;
    }
    end([seed]).await;
}

#[tokio::test]
async fn a_choice_that_cannot_be_made_refuses_the_torrent() {
    let content = Content::folder(33, &[100_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let mut events = leech.events();
    let choices = [
        (Choice::new(|_| Err("no such thing".into())), AddError::Selection("no such thing".into())),
        (Selection::Files(vec![3]).into(), AddError::NoSuchFile { index: 3, files: 1 }),
    ];
    for (files, expected) in choices {
        let options = MagnetOptions { files, ..MagnetOptions::download(magnet(&content, &seed), to.path()) };
        let torrent = add_magnet(&leech, options).await;
        let refused = event(&mut events, |event| matches!(event, Event::Refused { .. })).await;
        assert_eq!(refused, Event::Refused { torrent: content.meta.id(), error: expected });
        event(&mut events, |event| matches!(event, Event::Removed { .. })).await;
        assert!(matches!(torrent.wait_complete().await, Err(WaitError::Unavailable(Unavailable::Removed))));
    }
    assert!(std::fs::read_dir(to.path()).unwrap().next().is_none(), "nothing was made");
    end([leech, seed]).await;
}

#[tokio::test]
async fn files_that_another_torrent_has_refuse_it() {
    let one = Content::folder(34, &[100_000], |builder| builder);
    let two = Content::folder(35, &[100_000], |builder| builder);
    let (from, to) = (two.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&two, from.path()).await;
    let leech = session().await;
    add(&leech, AddOptions::download(one.meta.clone(), to.path())).await;
    let torrent = add_magnet(&leech, MagnetOptions::download(magnet(&two, &seed), to.path())).await;
    let refused = soon(torrent.wait_complete()).await;
    let by = one.meta.id();
    let is_taken = |error: &AddError| matches!(error, AddError::PathTaken { by: of, .. } if *of == by);
    assert!(matches!(&refused, Err(WaitError::Refused(error)) if is_taken(error)), "{refused:?}");
    end([leech, seed]).await;
}

#[tokio::test]
async fn what_is_there_already_is_found_and_kept() {
    let content = Content::folder(36, &[100_000, 200_000], |builder| builder);
    let (from, to) = (content.placed(), content.placed());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let torrent = add_magnet(&leech, MagnetOptions::download(magnet(&content, &seed), to.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    assert_eq!(torrent.status().await.unwrap().totals.downloaded, 0);
    end([leech, seed]).await;
}

#[tokio::test]
async fn only_the_metadata_can_be_asked_for() {
    let content = Content::folder(37, &[100_000], |builder| builder);
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let torrent = add_magnet(&leech, MagnetOptions::metadata(magnet(&content, &seed))).await;
    let meta = soon(torrent.wait_metadata()).await.unwrap();
    assert_eq!(meta.info_bytes(), content.meta.info_bytes());
    let status = torrent.status().await.unwrap();
    assert!(matches!(status.activity, Activity::Metadata { .. }), "{status:?}");
    soon(torrent.remove()).await.unwrap();
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_hybrid_is_run_by_its_v1_side_and_both_hashes_count() {
    let content = Content::folder(38, &[100_000, 70_000], |b| b.version(Version::Hybrid));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let (v1, v2) = (content.meta.info_hashes().v1().unwrap(), content.meta.info_hashes().v2().unwrap());
    let leech = session().await;
    for hashes in [InfoHashes::hybrid(v1, v2), InfoHashes::v1_only(v1)] {
        let named = Magnet { info_hashes: hashes, ..magnet(&content, &seed) };
        let torrent = add_magnet(&leech, MagnetOptions::download(named, to.path())).await;
        soon(torrent.wait_complete()).await.unwrap();
        content.assert_all(to.path());
        soon(torrent.remove()).await.unwrap();
    }
    let only = Magnet::new(InfoHashes::v2_only(v2));
    let refused = leech.add_magnet(MagnetOptions::download(only, to.path())).await.unwrap_err();
    assert_eq!(refused, AddError::V2Only(v2.truncated().to_hex()));
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_magnet_of_a_torrent_that_runs_adds_its_trackers_and_peers_unless_it_is_private() {
    for private in [false, true] {
        let content = Content::folder(39, &[100_000], |b: Builder| b.private(private));
        let (from, to) = (content.placed(), TempDir::new().unwrap());
        let (seed, _seeding) = seeder(&content, from.path()).await;
        let leech = session().await;
        let torrent = add(&leech, AddOptions::download(content.meta.clone(), to.path())).await;
        let named =
            Magnet { trackers: vec!["http://127.0.0.1:9/announce".into()], ..magnet(&content, &seed) };
        let refused = leech.add_magnet(MagnetOptions::download(named, to.path())).await.unwrap_err();
        assert_eq!(refused, AddError::Duplicate(content.meta.id()));
        assert_eq!(torrent.trackers().await.unwrap().len(), usize::from(!private));
        if private {
            assert_eq!(torrent.peers().await.unwrap(), []);
        } else {
            soon(torrent.wait_complete()).await.unwrap();
        }
        end([leech, seed]).await;
    }
}

#[tokio::test]
async fn peers_of_a_magnet_may_have_names() {
    let content = Content::folder(40, &[100_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let peers = vec![("localhost".into(), seed.port())];
    let named = Magnet { peers, ..magnet(&content, &seed) };
    let torrent = add_magnet(&leech, MagnetOptions::download(named, to.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_session_ends_while_it_awaits_metadata() {
    let leech = session().await;
    let unknown = InfoHashes::v1_only(metainfo::InfoHashV1([7; 20]));
    let torrent = add_magnet(&leech, MagnetOptions::metadata(Magnet::new(unknown))).await;
    assert_eq!(leech.torrents()[0].id(), TorrentId([7; 20]));
    let waiting = tokio::spawn({
        let torrent = torrent.clone();
        async move { torrent.wait_metadata().await }
    });
    end([leech]).await;
    assert!(soon(waiting).await.unwrap().is_err());
}
