//! When records are written, and what a disk that hangs holds up.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metainfo::TorrentId;
use storage::record::{FileStore, Key, Lease, Listing, Record, Store, StoreError};
use swarm::session::{AddOptions, PieceOrder, Selection, Session, SessionConfig};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::resume::{content, record};
use crate::world::{Content, add, config, end, soon};

/// Keeps records in files, and tells of each save. A save of one torrent hangs for as long as somebody holds the gate.
#[derive(Debug)]
struct Watched {
    files: FileStore,
    gated: Option<TorrentId>,
    gate: Mutex<()>,
    /// The torrents of each save, when it begins.
    saves: mpsc::UnboundedSender<Vec<TorrentId>>,
}

impl Watched {
    fn new(state: &Path, gated: Option<TorrentId>) -> (Arc<Self>, mpsc::UnboundedReceiver<Vec<TorrentId>>) {
        let (saves, begun) = mpsc::unbounded_channel();
        let files = FileStore::open(state).unwrap();
        (Arc::new(Self { files, gated, gate: Mutex::new(()), saves }), begun)
    }

    async fn session(self: &Arc<Self>) -> Session {
        Session::start(SessionConfig { store: Some(self.clone()), ..config() }).await.unwrap()
    }
}

impl Store for Watched {
    fn list(&self) -> Result<Listing, StoreError> {
        self.files.list()
    }
    fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.files.load(key)
    }
    fn save(&self, records: &[Record]) -> Result<(), StoreError> {
        let ids: Vec<_> = records.iter().map(|record| record.key().id).collect();
        let hangs = self.gated.is_some_and(|gated| ids.contains(&gated));
        let _ = self.saves.send(ids);
        let _open = hangs.then(|| self.gate.lock().unwrap());
        self.files.save(records)
    }
    fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.files.remove(key)
    }
    fn lease(&self, key: &Key) -> Result<Lease, StoreError> {
        self.files.lease(key)
    }
}

/// Holds the gate on a thread of its own until it is dropped.
struct Shut(Option<(std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>)>);

impl Shut {
    fn new(store: &Arc<Watched>) -> Self {
        let (held, is_held) = std::sync::mpsc::channel();
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let store = store.clone();
        let holder = std::thread::spawn(move || {
            let _gate = store.gate.lock().unwrap();
            held.send(()).unwrap();
            let _ = opened.recv();
        });
        is_held.recv().unwrap();
        Self(Some((open, holder)))
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        if let Some((open, holder)) = self.0.take() {
            drop(open);
            holder.join().unwrap();
        }
    }
}

/// A folder on another device than the usual one, if this machine has one.
fn elsewhere(usual: &Path) -> Option<TempDir> {
    let dir = TempDir::new_in("/dev/shm").ok()?;
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    (device(dir.path()) != device(usual)).then_some(dir)
}

async fn saved(begun: &mut mpsc::UnboundedReceiver<Vec<TorrentId>>, id: TorrentId) {
    soon(async { while !begun.recv().await.unwrap().contains(&id) {} }).await;
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_neither_others_nor_the_user_nor_the_end() {
    let (one, two, state) = (content(112), content(113), TempDir::new().unwrap());
    let at = one.placed();
    let Some(other) = elsewhere(at.path()) else {
        eprintln!("skipped: there is no second device");
        return;
    };
    two.write(other.path());
    let (store, mut begun) = Watched::new(state.path(), Some(one.meta.id()));
    let session = store.session().await;
    let first = add(&session, AddOptions::download(one.meta.clone(), at.path())).await;
    let second = add(&session, AddOptions::download(two.meta.clone(), other.path())).await;
    let shut = Shut::new(&store);
    while begun.try_recv().is_ok() {}
    soon(first.set_order(PieceOrder::Sequential)).await.unwrap();
    saved(&mut begun, first.id()).await;
    // While its save hangs it can be chosen anew, and the other torrent is saved.
    soon(first.select(&Selection::Files(vec![0]))).await.unwrap();
    soon(second.select(&Selection::Files(vec![1]))).await.unwrap();
    saved(&mut begun, second.id()).await;
    let late = soon(session.shutdown(Duration::from_secs(3))).await.unwrap_err();
    assert_eq!(late.unsaved, ["things"], "{late}");
    assert!(late.to_string().contains("\"things\" is older"), "{late}");
    let kept = record(state.path(), &two, other.path());
    assert_eq!((kept.state.choices.priorities, kept.summary.flags.paused), (vec![0, 2, 0], false));
    drop((shut, first, second));
}

#[tokio::test]
async fn what_was_chosen_during_a_save_is_in_the_next_one() {
    let (content, state) = (content(114), TempDir::new().unwrap());
    let at = content.placed();
    let (store, mut begun) = Watched::new(state.path(), Some(content.meta.id()));
    let session = store.session().await;
    let torrent = add(&session, AddOptions::download(content.meta.clone(), at.path())).await;
    let shut = Shut::new(&store);
    while begun.try_recv().is_ok() {}
    soon(torrent.set_order(PieceOrder::Sequential)).await.unwrap();
    saved(&mut begun, torrent.id()).await;
    soon(torrent.select(&Selection::Files(vec![2]))).await.unwrap();
    drop(shut);
    saved(&mut begun, torrent.id()).await;
    end([session]).await;
    let choices = record(state.path(), &content, at.path()).state.choices;
    assert_eq!((choices.priorities, choices.order), (vec![0, 0, 2], storage::record::Order::Sequential));
}

/// A minute later.
async fn period() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn now_and_then_only_what_moved_is_saved_and_much_of_it_at_once() {
    let (state, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let contents: Vec<Content> = (120..130).map(content).collect();
    let places: Vec<_> = contents.iter().map(Content::placed).collect();
    let (store, mut begun) = Watched::new(state.path(), None);
    let session = store.session().await;
    for (content, at) in contents.iter().zip(&places) {
        add(&session, AddOptions::seed(content.meta.clone(), at.path())).await;
    }
    period().await;
    // All of them are looked at closer, and are as they were recorded when they were added.
    let mut added = Vec::new();
    while let Ok(saved) = begun.try_recv() {
        added.extend(saved);
    }
    assert_eq!(added.len(), 10);
    let (leech, _leeching) = {
        let leech = crate::world::session().await;
        let peers = session.listening().to_vec();
        let options = AddOptions { peers, ..AddOptions::download(contents[3].meta.clone(), to.path()) };
        let torrent = add(&leech, options).await;
        soon(torrent.wait_complete()).await.unwrap();
        (leech, torrent)
    };
    end([leech]).await;
    // What was sent is counted now and then; until it is, nothing is saved.
    let mut saved = None;
    for _ in 0..100 {
        period().await;
        saved = tokio::time::timeout(Duration::from_millis(300), begun.recv()).await.ok().flatten();
        if saved.is_some() {
            break;
        }
    }
    assert_eq!(saved, Some(vec![contents[3].meta.id()]));
    let mut choosing = JoinSet::new();
    for torrent in session.torrents() {
        choosing.spawn(async move { torrent.set_order(PieceOrder::Sequential).await });
    }
    soon(choosing.join_all()).await.into_iter().for_each(|chosen| chosen.unwrap());
    let mut saves = Vec::new();
    while saves.iter().map(Vec::len).sum::<usize>() < 10 {
        saves.push(soon(begun.recv()).await.unwrap());
    }
    assert!(saves.len() < 4, "together: {saves:?}");
    end([session]).await;
}
