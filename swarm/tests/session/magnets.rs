//! Torrents that are added by a magnet.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use metainfo::{InfoHashes, Magnet, TorrentId};
use storage::record::{Order, Store};
use swarm::engine::Activity;
use swarm::engine::changes::Columns;
use swarm::session::{
    AddError, AddOptions, AsBefore, Choice, Event, FilesError, MagnetOptions, PieceOrder, Priority,
    RedbStore, Selection, Session, SessionConfig, Torrent, Unavailable, WaitError,
};
use tempfile::TempDir;

use crate::joined::{TRACKERS, urls};
use crate::world::{Content, add, config, end, event, seeder, session, soon, tracker};

/// A magnet that names these peers.
pub(crate) fn magnet(content: &Content, of: &Session) -> Magnet {
    let peers = of.listening().iter().map(|at| (at.ip().to_string(), at.port())).collect();
    Magnet { peers, ..Magnet::new(*content.meta.info_hashes()) }
}

/// One that hears of no peer but those that it is told of.
pub(crate) fn alone() -> SessionConfig {
    let mut config = SessionConfig { dht: None, ..config() };
    config.engine.lsd = false;
    config
}

pub(crate) async fn add_magnet(session: &Session, options: MagnetOptions) -> Torrent {
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
    assert_eq!(add_magnet(&leech, options()).await.id(), torrent.id(), "it is the same one");
    assert_eq!(leech.torrents().len(), 1);
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
async fn a_folder_and_names_that_are_chosen_before_it_is_known_hold_from_the_start() {
    let content = Content::folder(48, &[100_000, 50_000, 70_000], |builder| builder);
    let (from, dir) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = Session::start(alone()).await.unwrap();
    let named = Magnet::new(*content.meta.info_hashes());
    let torrent = add_magnet(&leech, MagnetOptions::download(named, dir.path().join("old"))).await;
    assert!(torrent.move_to(dir.path().join("new")).await.unwrap().is_whole);
    assert_eq!(torrent.rename_file(1, "a/first").await.unwrap(), "a/first");
    assert_eq!(torrent.rename_file(1, "b//one.bin").await.unwrap(), "b/one.bin");
    assert_eq!(torrent.rename_file(2, "two.bin").await.unwrap(), "two.bin");
    for (file, path) in [(0, "TWO.bin"), (0, "..")] {
        let refused = torrent.rename_file(file, path).await;
        assert!(matches!(refused, Err(FilesError::Storage(_))), "{path}: {refused:?}");
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    let new = dir.path().join("new");
    content.assert_files(&new, &[0]);
    assert!(!dir.path().join("old").exists());
    let folder = new.join("things");
    let at = |name: &str| [folder.join(name), new.join(name)].into_iter().find(|path| path.exists());
    for (file, name) in [(1, "b/one.bin"), (2, "two.bin")] {
        let found = std::fs::read(at(name).unwrap()).unwrap();
        assert!(found == content.bytes(file), "file {file} differs");
        let own = new.join(content.meta.layout().files()[file].path.as_str());
        assert!(!own.exists(), "file {file} never had its own name");
    }
    // From here on they are moved and renamed.
    assert_eq!(soon(torrent.rename_file(2, "three.bin")).await.unwrap(), "three.bin");
    assert!(at("two.bin").is_none() && at("three.bin").is_some());
    end([leech, seed]).await;
}

#[tokio::test]
async fn what_cannot_be_named_so_is_refused_and_metadata_alone_have_no_folder() {
    let content = Content::folder(49, &[100_000, 50_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = Session::start(alone()).await.unwrap();
    let other = content.meta.layout().files()[1].path.as_str().to_owned();
    for (file, path) in [(7, "x".to_owned()), (0, other)] {
        let names = vec![(file, path)];
        let options = MagnetOptions::download(magnet(&content, &seed), to.path());
        let torrent = add_magnet(&leech, MagnetOptions { names, ..options }).await;
        let refused = soon(torrent.wait_complete()).await;
        let is_why = |error: &AddError| match error {
            AddError::NoSuchFile { index, files } => (*index, *files, file) == (7, 2, 7),
            AddError::Storage(_) => file == 0,
            _ => false,
        };
        assert!(matches!(&refused, Err(WaitError::Refused(error)) if is_why(error)), "{refused:?}");
        soon(async {
            while leech.torrent(content.meta.id()).is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    let torrent = add_magnet(&leech, MagnetOptions::metadata(Magnet::new(*content.meta.info_hashes()))).await;
    assert_eq!(torrent.move_to(to.path()).await, Err(FilesError::NotOpen));
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    soon(torrent.wait_metadata()).await.unwrap();
    assert_eq!(soon(torrent.move_to(to.path())).await, Err(FilesError::NotOpen));
    assert_eq!(soon(torrent.rename_file(0, "x")).await, Err(FilesError::NotOpen));
    end([leech, seed]).await;
}

#[tokio::test]
async fn what_is_learnt_before_it_is_known_is_recorded() {
    let content = Content::folder(50, &[100_000], |builder| builder);
    let (from, dir) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let store = store(dir.path());
    let start = || Session::start(SessionConfig { store: Some(store.clone()), ..alone() });
    let tracker = tracker().await;
    let named = Magnet { trackers: vec![tracker.http_url()], ..Magnet::new(*content.meta.info_hashes()) };
    let to = dir.path().join("folder");
    let leech = start().await.unwrap();
    let mut events = leech.events();
    let torrent = add_magnet(&leech, MagnetOptions::download(named, &to)).await;
    event(&mut events, |event| matches!(event, Event::TrackerAnswered { .. })).await;
    // A peer that is not there yet, or not any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    torrent.add_peers(vec![gone.local_addr().unwrap()]).await.unwrap();
    end([leech]).await;
    let summary = store.list().unwrap().summaries.remove(0);
    let key = storage::record::Key { id: content.meta.id(), dir: summary.dir.clone() };
    let mut record = store.load(&key).unwrap().unwrap();
    assert_eq!(record.state.peers, [gone.local_addr().unwrap()]);
    assert_eq!((record.state.trackers.len(), record.state.trackers[0].works), (1, true));
    assert_eq!(record.state.trackers[0].next, None, "it was told of the end");
    // As a run that was killed leaves it.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    record.state.trackers[0].next = Some(now.as_millis() as u64 + 15 * 60 * 1000);
    record.state.peers = seed.listening().to_vec();
    store.save(&[record]).unwrap();
    let leech = start().await.unwrap();
    let torrent = soon(leech.restore(&summary)).await.unwrap();
    let shown = torrent.trackers().await.unwrap();
    let next = shown[0].next_announce.unwrap();
    assert!(next > std::time::Duration::from_secs(13 * 60), "{next:?}");
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(&to);
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_link_that_is_added_again_leaves_what_was_chosen() {
    let (content, dir) = (wanted(), TempDir::new().unwrap());
    let store = store(dir.path());
    let start = || Session::start(SessionConfig { store: Some(store.clone()), ..alone() });
    let named = Magnet::new(*content.meta.info_hashes());
    let record = || {
        let key = storage::record::Key { id: content.meta.id(), dir: dir.path().canonicalize().unwrap() };
        store.load(&key).unwrap().unwrap()
    };
    let usual = MagnetOptions::download(named, dir.path());
    let chosen = MagnetOptions {
        files: Selection::Files(vec![1, 3]).into(),
        names: vec![(3, "renamed".into())],
        order: PieceOrder::FirstLast,
        up_limit: Some(40_000_000),
        ..usual.clone()
    };
    let session = start().await.unwrap();
    add_magnet(&session, chosen).await.set_priorities(vec![(3, Priority::High)]).await.unwrap();
    end([session]).await;
    let before = record();
    let session = start().await.unwrap();
    let as_before =
        AsBefore { files: true, order: true, down_limit: true, up_limit: true, ..AsBefore::default() };
    let torrent = add_magnet(&session, MagnetOptions { as_before, ..usual.clone() }).await;
    assert_eq!((record().state.choices, record().source), (before.state.choices, before.source.clone()));
    torrent.set_order(PieceOrder::Sequential).await.unwrap();
    end([session]).await;
    assert_eq!((record().state.choices.order, record().source), (Order::Sequential, before.source.clone()));
    let session = start().await.unwrap();
    add_magnet(&session, usual).await;
    end([session]).await;
    assert_ne!(record().source, before.source, "what the options say counts");
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
async fn chosen_files_that_are_there_already_make_it_complete() {
    let content = Content::folder(46, &[100_000, 300_000, 100_000], |builder| builder);
    let (from, to) = (content.placed(), content.placed());
    std::fs::remove_file(to.path().join(content.meta.layout().files()[0].path.as_str())).unwrap();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let mut events = leech.events();
    let named = Magnet { select: vec![2..=2], ..magnet(&content, &seed) };
    let torrent = add_magnet(&leech, MagnetOptions::download(named, to.path())).await;
    // Whoever waits learns of it by what is told, not by looking at the right moment.
    event(&mut events, |event| matches!(event, Event::Complete { .. })).await;
    soon(torrent.wait_complete()).await.unwrap();
    assert_eq!(torrent.status().await.unwrap().totals.downloaded, 0);
    end([leech, seed]).await;
}

#[tokio::test]
async fn readers_of_changes_learn_what_it_is_before_its_files_are_open() {
    let content = Content::folder(47, &[100_000], |builder| builder);
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = Session::start(alone()).await.unwrap();
    let torrent = add_magnet(&leech, MagnetOptions::metadata(Magnet::new(*content.meta.info_hashes()))).await;
    let columns = Columns::IDENTITY | Columns::FILES;
    let mut revision = leech.changes_since(0, columns).await.unwrap().revision;
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    soon(torrent.wait_metadata()).await.unwrap();
    let files = soon(async {
        loop {
            let changes = leech.changes_since(revision, columns).await.unwrap();
            revision = changes.revision;
            if let Some(files) = changes.upserts.into_iter().find_map(|change| change.files) {
                return files;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(files.len(), 1);
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

/// Names the folder of the process that is killed.
const VARIABLE: &str = "UNCHOKE_TEST_MAGNETS";
const NAME: &str = "magnets::what_was_chosen_before_a_kill_is_chosen_after_it";

pub(crate) fn store(dir: &Path) -> Arc<RedbStore> {
    Arc::new(RedbStore::open(dir.join("session.redb")).unwrap())
}

fn wanted() -> Content {
    Content::folder(45, &[100_000, 200_000, 100_000, 100_000], |builder| builder)
}

/// The process that is killed: chooses, says so, and waits for metadata that do not come.
async fn choose_and_wait(dir: &Path) -> ! {
    let session = Session::start(SessionConfig { store: Some(store(dir)), ..alone() }).await.unwrap();
    let hashes = *wanted().meta.info_hashes();
    let named = Magnet { select: vec![0..=1], ..Magnet::new(hashes) };
    let torrent = session.add_magnet(MagnetOptions::download(named, dir.join("first"))).await.unwrap();
    torrent.set_priorities(vec![(0, Priority::Skip), (3, Priority::High)]).await.unwrap();
    torrent.set_order(PieceOrder::Sequential).await.unwrap();
    torrent.set_limits(Some(50_000_000), Some(40_000_000)).await.unwrap();
    torrent.move_to(dir.join("moved")).await.unwrap();
    torrent.rename_file(3, "renamed/three.bin").await.unwrap();
    torrent.add_tracker(TRACKERS[1].into()).await.unwrap();
    let more = Magnet { trackers: vec![TRACKERS[0].into()], ..Magnet::new(hashes) };
    session.add_magnet(MagnetOptions::download(more, dir.join("second"))).await.unwrap();
    println!("chosen");
    std::future::pending().await
}

#[tokio::test]
async fn what_was_chosen_before_a_kill_is_chosen_after_it() {
    if let Some(dir) = std::env::var_os(VARIABLE) {
        choose_and_wait(Path::new(&dir)).await;
    }
    let dir = TempDir::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(VARIABLE, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let chosen = said.any(|line| line.contains("chosen"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(chosen, "the process that is killed failed");
    let content = wanted();
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let store = store(dir.path());
    let session = Session::start(SessionConfig { store: Some(store.clone()), ..config() }).await.unwrap();
    let listing = session.recorded().await.unwrap();
    assert_eq!(listing.summaries.len(), 1);
    let torrent = soon(session.restore(&listing.summaries[0])).await.unwrap();
    let mut asked = urls(&torrent).await;
    asked.sort();
    assert_eq!(asked, TRACKERS[..2]);
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    let folder = dir.path().join("moved");
    content.assert_files(&folder, &[1]);
    assert!(std::fs::read(folder.join("renamed/three.bin")).unwrap() == content.bytes(3));
    assert!(!dir.path().join("first").exists() && !dir.path().join("second").exists());
    let files = content.meta.layout().files();
    for file in [0, 2, 3] {
        assert!(!folder.join(files[file].path.as_str()).exists(), "file {file} was not wanted");
    }
    end([session]).await;
    let summary = store.list().unwrap().summaries.remove(0);
    let key = storage::record::Key { id: content.meta.id(), dir: summary.dir };
    let choices = store.load(&key).unwrap().unwrap().state.choices;
    assert_eq!((choices.priorities, choices.order), (vec![0, 2, 0, 3], Order::Sequential));
    assert_eq!((choices.down_limit, choices.up_limit), (Some(50_000_000), Some(40_000_000)));
    assert_eq!(choices.names, [(3, "renamed/three.bin".into())]);
    end([seed]).await;
}
