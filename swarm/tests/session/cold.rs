//! Torrents of an earlier run that run without being open.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use metainfo::{InfoHashV1, InfoHashes};
use storage::record::{
    FileStore, Flags, Key, Lease, Listing, NAME_RULES, Outline, Record, Source, State, Store, StoreError,
    Summary, Times, Totals, Tracker,
};
use swarm::engine::changes::Columns;
use swarm::engine::{Activity, TorrentStatus};
use swarm::session::{AddError, AddOptions, Event, RedbStore, Restored, Session, SessionConfig, Torrent};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::resume::recording;
use crate::world::{Content, add, config, end, event, session, soon, tracker};

fn content(seed: u64) -> Content {
    Content::folder(seed, &[131_072, 131_072, 131_072], |builder| builder)
}

/// A session with all that is recorded, and the only torrent of it.
async fn restored(state: &Path) -> (Session, Torrent) {
    let session = recording(state).await;
    let torrent = restore_one(&session).await;
    (session, torrent)
}

/// Ends a session of which this is the last handle to a torrent.
async fn close(session: Session, torrent: Torrent) {
    drop(torrent);
    end([session]).await;
}

async fn restore_one(session: &Session) -> Torrent {
    let Restored { mut torrents, refused, problems } = soon(session.restore_all()).await.unwrap();
    assert!(refused.is_empty() && problems.is_empty(), "{refused:?} {problems:?}");
    assert_eq!(torrents.len(), 1);
    torrents.remove(0)
}

async fn status(torrent: &Torrent) -> TorrentStatus {
    soon(torrent.status()).await.unwrap()
}

fn is_cold(status: &TorrentStatus) -> bool {
    matches!(status.activity, Activity::Cold { .. })
}

/// Records a torrent that is complete in a folder.
async fn record_seed(state: &Path, content: &Content, dir: &Path) {
    let session = recording(state).await;
    let torrent = add(&session, AddOptions::download(content.meta.clone(), dir)).await;
    soon(torrent.wait_complete()).await.unwrap();
    close(session, torrent).await;
}

#[tokio::test]
async fn a_recorded_seed_is_found_by_its_tracker_and_gives_all() {
    let tracker = tracker().await;
    let url = tracker.http_url();
    let content = Content::folder(500, &[131_072, 131_072, 131_072], |builder| builder.tracker(url));
    let (dir, state, goal) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    record_seed(state.path(), &content, dir.path()).await;
    let (seed, cold) = restored(state.path()).await;
    let shown = status(&cold).await;
    assert_eq!(shown.activity, Activity::Cold { finished: true });
    assert_eq!((shown.done, shown.pieces_done, shown.pieces), (3 * 131_072, 12, 12));
    assert_eq!((cold.name(), cold.meta()), ("things".into(), None));
    soon(cold.wait_complete()).await.unwrap();
    let changes = soon(seed.changes_since(0, Columns::ALL)).await.unwrap();
    assert_eq!(changes.upserts.len(), 1);
    let mut events = seed.events();
    soon(cold.announce_now()).await.unwrap();
    event(&mut events, |event| matches!(event, Event::TrackerAnswered { .. })).await;
    assert!(is_cold(&status(&cold).await), "nobody needs it");

    let leech = session().await;
    let copy = add(&leech, AddOptions::download(content.meta.clone(), goal.path())).await;
    soon(copy.wait_complete()).await.unwrap();
    content.assert_all(goal.path());
    assert_eq!(status(&cold).await.activity, Activity::Seeding);
    assert_eq!(cold.meta().unwrap().info_hashes(), content.meta.info_hashes());
    let sent = status(&cold).await.totals.uploaded;
    end([leech]).await;
    drop(changes);
    close(seed, cold).await;
    let (again, cold) = restored(state.path()).await;
    assert_eq!(cold.earlier().uploaded, sent, "it is recorded");
    close(again, cold).await;
    // It did nothing, and loses nothing.
    let (again, cold) = restored(state.path()).await;
    assert_eq!(cold.earlier().uploaded, sent);
    close(again, cold).await;
}

#[tokio::test]
async fn a_download_goes_on_by_itself_and_its_choices_hold() {
    let content = content(501);
    let (source, state, goal) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _) = crate::world::seeder(&content, source.path()).await;
    let first = recording(state.path()).await;
    let options = AddOptions::download(content.meta.clone(), goal.path());
    let torrent = add(&first, options).await;
    soon(torrent.set_limits(Some(1 << 30), None)).await.unwrap();
    close(first, torrent).await;
    let (session, torrent) = restored(state.path()).await;
    soon(torrent.add_peers(seed.listening().to_vec())).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(goal.path());
    close(session, torrent).await;
    end([seed]).await;
    let store = opened(|| RedbStore::open(state.path().join("session.redb"))).await;
    let key = Key { id: content.meta.id(), dir: goal.path().canonicalize().unwrap() };
    let record = store.load(&key).unwrap().unwrap();
    assert_eq!(record.state.choices.down_limit, Some(1 << 30));
    assert!(record.summary.flags.complete);
    let outline = record.summary.outline.unwrap();
    assert_eq!((outline.pieces, outline.pieces_done, outline.down_limit), (12, 12, Some(1 << 30)));
    assert_eq!(outline.names, [Path::new("things")]);
}

#[tokio::test]
async fn what_the_user_asks_for_opens_it() {
    let content = content(502);
    let (dir, state, other) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    record_seed(state.path(), &content, dir.path()).await;
    let goal = other.path().join("goal");
    for asked in 0..5 {
        let (session, torrent) = restored(state.path()).await;
        assert!(is_cold(&status(&torrent).await));
        assert_eq!(torrent.reader(0).err(), Some(swarm::session::FilesError::NotOpen));
        match asked {
            0 => {
                let files = soon(torrent.files()).await.unwrap();
                assert_eq!(files.iter().map(|file| file.done).sum::<u64>(), 3 * 131_072);
            }
            1 => soon(torrent.set_priorities(Vec::new())).await.unwrap(),
            2 => assert_eq!(soon(torrent.wait_metadata()).await.unwrap().id(), content.meta.id()),
            3 => assert_eq!(soon(torrent.rename_file(0, "things/new.bin")).await.unwrap(), "things/new.bin"),
            _ => assert!(soon(torrent.move_to(&goal)).await.unwrap().is_whole),
        }
        assert_eq!(status(&torrent).await.activity, Activity::Seeding, "{asked}");
        // Of no effect any more.
        soon(torrent.open()).await.unwrap();
        end([session]).await;
    }
    assert!(goal.join("things/new.bin").exists());
}

#[tokio::test]
async fn limits_and_removal_need_no_files() {
    let content = content(503);
    let (dir, state) = (content.placed(), TempDir::new().unwrap());
    record_seed(state.path(), &content, dir.path()).await;
    let (session, torrent) = restored(state.path()).await;
    soon(torrent.set_limits(None, Some(777))).await.unwrap();
    soon(torrent.add_tracker("http://127.0.0.1:1/announce".into())).await.unwrap();
    assert!(is_cold(&status(&torrent).await));
    let known = soon(session.recorded()).await.unwrap().summaries;
    let outline = known[0].outline.as_ref().unwrap();
    assert_eq!((outline.up_limit, outline.trackers.len()), (Some(777), 1), "at once");
    close(session, torrent).await;
    let (session, torrent) = restored(state.path()).await;
    let known = soon(session.recorded()).await.unwrap().summaries;
    assert_eq!(known[0].outline.as_ref().unwrap().up_limit, Some(777));
    assert_eq!(soon(torrent.trackers()).await.unwrap().len(), 1);
    soon(torrent.open()).await.unwrap();
    assert_eq!(soon(torrent.trackers()).await.unwrap().len(), 1);
    close(session, torrent).await;
    let (session, torrent) = restored(state.path()).await;
    let known = soon(session.recorded()).await.unwrap().summaries;
    assert_eq!(known[0].outline.as_ref().unwrap().up_limit, Some(777), "it was chosen, whichever way");
    assert_eq!(soon(torrent.trackers()).await.unwrap().len(), 1);
    soon(torrent.remove()).await.unwrap();
    assert_eq!(soon(session.recorded()).await.unwrap().summaries, []);
    content.assert_all(dir.path());
    end([session]).await;
}

#[tokio::test]
async fn a_pause_holds_over_runs_and_ends_when_it_is_ended() {
    let content = content(507);
    let (source, state, goal) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _) = crate::world::seeder(&content, source.path()).await;
    let first = recording(state.path()).await;
    let torrent = add(&first, AddOptions::download(content.meta.clone(), goal.path())).await;
    soon(torrent.pause()).await.unwrap();
    close(first, torrent).await;
    for opens in [false, true, false] {
        let (session, torrent) = restored(state.path()).await;
        assert_eq!(status(&torrent).await.activity, Activity::Paused);
        if opens {
            // It is as before when its files are open.
            soon(torrent.open()).await.unwrap();
            assert_eq!(status(&torrent).await.activity, Activity::Paused);
        }
        close(session, torrent).await;
    }
    let (session, torrent) = restored(state.path()).await;
    soon(torrent.unpause()).await.unwrap();
    soon(torrent.add_peers(seed.listening().to_vec())).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(goal.path());
    soon(torrent.pause()).await.unwrap();
    soon(torrent.unpause()).await.unwrap();
    close(session, torrent).await;
    let (session, torrent) = restored(state.path()).await;
    assert_eq!(status(&torrent).await.activity, Activity::Cold { finished: true });
    // While it is not open, too.
    soon(torrent.pause()).await.unwrap();
    close(session, torrent).await;
    let (session, torrent) = restored(state.path()).await;
    assert_eq!(status(&torrent).await.activity, Activity::Paused);
    close(session, torrent).await;
    end([seed]).await;
}

#[tokio::test]
async fn removal_with_files_removes_what_was_made() {
    let content = content(504);
    let (source, state, goal) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _) = crate::world::seeder(&content, source.path()).await;
    let first = recording(state.path()).await;
    let options = AddOptions::download(content.meta.clone(), goal.path());
    let torrent = add(&first, AddOptions { peers: seed.listening().to_vec(), ..options }).await;
    soon(torrent.wait_complete()).await.unwrap();
    close(first, torrent).await;
    let (session, torrent) = restored(state.path()).await;
    let removed = soon(torrent.remove_with_files()).await.unwrap();
    assert!(removed.errors.is_empty(), "{removed:?}");
    assert_eq!(crate::world::listed(goal.path()), Vec::<String>::new());
    end([session, seed]).await;
}

#[tokio::test]
async fn what_is_not_there_is_told_and_not_tried_again_at_once() {
    let content = content(505);
    let (dir, state, goal) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let place = dir.path().join("place");
    std::fs::create_dir(&place).unwrap();
    std::fs::rename(dir.path().join("things"), place.join("things")).unwrap();
    let first = recording(state.path()).await;
    add(&first, AddOptions::seed(content.meta.clone(), &place)).await;
    end([first]).await;
    // As a disk that is not mounted.
    std::fs::rename(&place, dir.path().join("away")).unwrap();
    let (session, torrent) = restored(state.path()).await;
    let mut events = session.events();
    let (leech, copy) = {
        let leech = crate::world::session().await;
        let options = AddOptions::download(content.meta.clone(), goal.path());
        let peers = session.listening().to_vec();
        let copy = add(&leech, AddOptions { peers, ..options }).await;
        (leech, copy)
    };
    let told = event(&mut events, |event| matches!(event, Event::NotOpened { .. })).await;
    let Event::NotOpened { error: AddError::Storage(why), .. } = told else { panic!("{told:?}") };
    assert!(why.is_gone(), "{why}");
    let shown = status(&torrent).await;
    assert_eq!(shown.activity, Activity::Failed(why));
    assert!(shown.retry_in.is_some_and(|wait| wait > Duration::from_secs(1)));
    // Who comes meanwhile is turned away, and nothing is served.
    soon(copy.add_peers(session.listening().to_vec())).await.unwrap();
    assert_eq!(status(&copy).await.done, 0);
    // The user need not wait.
    assert!(matches!(soon(torrent.open()).await, Err(AddError::Storage(_))));
    std::fs::rename(dir.path().join("away"), &place).unwrap();
    soon(torrent.open()).await.unwrap();
    assert_eq!(status(&torrent).await.activity, Activity::Seeding);
    end([leech, session]).await;
}

#[tokio::test]
async fn another_program_keeps_off_what_is_not_open() {
    let content = content(506);
    let (dir, state) = (content.placed(), TempDir::new().unwrap());
    let beside = || FileStore::open(state.path().join("transfers")).unwrap();
    let open = || RedbStore::open(state.path().join("session.redb"))?.beside(beside());
    let start = async || {
        let store = Some(Arc::new(opened(open).await) as Arc<dyn Store>);
        Session::start(SessionConfig { store, ..config() }).await.unwrap()
    };
    let first = start().await;
    add(&first, AddOptions::download(content.meta.clone(), dir.path())).await;
    end([first]).await;
    let key = Key { id: content.meta.id(), dir: dir.path().canonicalize().unwrap() };
    let session = start().await;
    let torrent = restore_one(&session).await;
    assert!(is_cold(&status(&torrent).await));
    let names = ["things".into()];
    assert!(matches!(beside().lease(&key), Err(StoreError::Locked { .. })));
    let other = metainfo::TorrentId([9; 20]);
    assert!(matches!(beside().lease_names(other, &key.dir, &names), Err(StoreError::Locked { .. })));
    soon(torrent.open()).await.unwrap();
    assert!(matches!(beside().lease(&key), Err(StoreError::Locked { .. })));
    close(session, torrent).await;
    // And the other way round.
    let taken = opened(|| beside().lease(&key)).await;
    let session = start().await;
    let restored = soon(session.restore_all()).await.unwrap();
    assert_eq!(restored.torrents.len(), 0);
    assert!(matches!(restored.refused[..], [(_, AddError::Store(StoreError::Locked { .. }))]));
    drop(taken);
    restore_one(&session).await;
    end([session]).await;
}

/// What is opened, when a session that ended lets it go in the background.
pub(crate) async fn opened<T>(open: impl Fn() -> Result<T, StoreError>) -> T {
    soon(async {
        loop {
            match open() {
                Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
                opened => return opened.unwrap(),
            }
        }
    })
    .await
}

/// Counts what is asked of a store.
#[derive(Debug)]
struct Counting {
    inner: RedbStore,
    lists: AtomicUsize,
    loads: AtomicUsize,
    /// Whoever loads a record says so, and waits until the other end of the gate is gone.
    gate: Mutex<Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Counting {
    fn open(state: &Path) -> Self {
        let inner = RedbStore::open(state.join("session.redb")).unwrap();
        Self { inner, lists: AtomicUsize::new(0), loads: AtomicUsize::new(0), gate: Mutex::new(None) }
    }
}

impl Store for Counting {
    fn list(&self) -> Result<Listing, StoreError> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list()
    }

    fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let gate = self.gate.lock().unwrap().take();
        if let Some((begun, gate)) = gate {
            let _ = begun.send(());
            let _ = gate.recv();
        }
        self.inner.load(key)
    }

    fn save(&self, records: &[Record]) -> Result<(), StoreError> {
        self.inner.save(records)
    }

    fn load_summary(&self, key: &Key) -> Result<Option<Summary>, StoreError> {
        self.inner.load_summary(key)
    }

    fn save_summaries(&self, summaries: Vec<Summary>) -> Result<(), StoreError> {
        self.inner.save_summaries(summaries)
    }

    fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.remove(key)
    }

    fn lease(&self, key: &Key) -> Result<Lease, StoreError> {
        self.inner.lease(key)
    }
}

#[tokio::test]
async fn a_tracker_that_is_added_while_files_are_being_opened_is_recorded_at_once() {
    let content = content(508);
    let (dir, state) = (content.placed(), TempDir::new().unwrap());
    let (place, away) = (dir.path().join("place"), dir.path().join("away"));
    std::fs::create_dir(&place).unwrap();
    std::fs::rename(dir.path().join("things"), place.join("things")).unwrap();
    let store = Arc::new(Counting::open(state.path()));
    let start = async || {
        let store: Arc<dyn Store> = store.clone();
        Session::start(SessionConfig { store: Some(store), ..config() }).await.unwrap()
    };
    let first = start().await;
    let torrent = add(&first, AddOptions::seed(content.meta.clone(), &place)).await;
    close(first, torrent).await;
    // It can be opened, or not.
    for fails in [true, false] {
        let session = start().await;
        let torrent = restore_one(&session).await;
        let (begun, begins) = oneshot::channel();
        let (opens, gate) = mpsc::channel();
        *store.gate.lock().unwrap() = Some((begun, gate));
        let opening = tokio::spawn({
            let torrent = torrent.clone();
            async move { torrent.open().await }
        });
        soon(begins).await.unwrap();
        let url = format!("http://127.0.0.1:1/{fails}");
        soon(torrent.add_tracker(url.clone())).await.unwrap();
        let recorded = async || {
            let summary = soon(session.recorded()).await.unwrap().summaries.remove(0);
            summary.outline.unwrap().trackers.into_iter().any(|(_, tracker)| tracker.url == url)
        };
        assert!(recorded().await, "{url}");
        if fails {
            std::fs::rename(&place, &away).unwrap();
        }
        drop(opens);
        let opened = soon(opening).await.unwrap();
        if fails {
            std::fs::rename(&away, &place).unwrap();
        }
        assert_eq!(opened.is_err(), fails, "{opened:?}");
        assert!(recorded().await, "{url}");
        close(session, torrent).await;
    }
    let session = start().await;
    let torrent = restore_one(&session).await;
    assert_eq!(soon(torrent.trackers()).await.unwrap().len(), 2);
    close(session, torrent).await;
}

const MANY: u32 = 2_000;

fn recorded(n: u32, dir: &Path) -> Record {
    let mut hash = [0; 20];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    let tracker =
        Tracker { url: "http://127.0.0.1:1/announce".into(), id: None, next: Some(u64::MAX), works: true };
    let summary = Summary {
        generation: 0,
        hashes: InfoHashes::v1_only(InfoHashV1(hash)),
        name: format!("torrent {n}"),
        dir: dir.into(),
        folder: None,
        flags: Flags { complete: true, finished: true, clean: true, ..Flags::default() },
        size: 100,
        done: 100,
        totals: Totals { uploaded: u64::from(n), ..Totals::default() },
        times: Times::default(),
        name_rules: NAME_RULES,
        outline: Some(Outline {
            pieces: 1,
            pieces_done: 1,
            trackers: vec![(0, tracker)],
            ..Outline::default()
        }),
    };
    let source = Some(Source::Torrent(b"of no use".to_vec()));
    Record { summary, state: State::new(1), source }
}

#[tokio::test]
async fn a_start_of_thousands_reads_no_more_than_their_summaries() {
    let (dir, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = Arc::new(Counting::open(state.path()));
    store.inner.save(&(0..MANY).map(|n| recorded(n, dir.path())).collect::<Vec<_>>()).unwrap();
    let session = Session::start(SessionConfig { store: Some(store.clone()), ..config() }).await.unwrap();
    let restored = soon(session.restore_all()).await.unwrap();
    assert_eq!((restored.torrents.len(), restored.refused.len()), (MANY as usize, 0));
    let changes = soon(session.changes_since(0, Columns::ALL)).await.unwrap();
    assert_eq!(changes.upserts.len(), MANY as usize);
    for change in &changes.upserts {
        assert!(change.status.as_ref().is_some_and(is_cold));
        let number = u32::from_be_bytes(change.torrent.id().0[..4].try_into().unwrap());
        assert_eq!(change.torrent.name(), format!("torrent {number}"));
        assert_eq!(change.torrent.earlier().uploaded, u64::from(number));
        assert_eq!(change.trackers.as_ref().map(Vec::len), Some(1));
    }
    let counts = || (store.lists.load(Ordering::Relaxed), store.loads.load(Ordering::Relaxed));
    assert_eq!(counts(), (1, 0), "lists, and records read");
    let before = soon(session.recorded()).await.unwrap().summaries;
    end([session]).await;
    assert_eq!(store.inner.list().unwrap().summaries.len(), before.len());
    for (n, summary) in store.inner.list().unwrap().summaries.iter().enumerate() {
        assert_eq!(summary.totals.uploaded, n as u64);
    }
}
