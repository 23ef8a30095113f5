//! Torrents with known content, folders that hold it, and sessions that run it.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metainfo::{Builder, Torrent as Meta};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use storage::record::{FileStore, Store};
use swarm::engine::tracker::server::Config;
use swarm::session::tracker_server::TrackerServer;
use swarm::session::{AddOptions, Event, Events, Session, SessionConfig, Torrent};
use tempfile::TempDir;

/// No test waits longer for anything, so that one that hangs ends. It is no bound on how long things take: on an idle machine
/// nothing takes a hundredth of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A torrent and its bytes, file by file.
pub(crate) struct Content {
    pub(crate) meta: Arc<Meta>,
    files: Vec<Vec<u8>>,
}

impl Content {
    /// A folder with files of these lengths.
    pub(crate) fn folder(seed: u64, lens: &[usize], with: impl FnOnce(Builder) -> Builder) -> Self {
        let mut builder = Builder::folder("things").piece_length(32 * 1024);
        for (i, len) in lens.iter().enumerate() {
            let folder = if i % 2 == 0 { "even" } else { "odd" };
            builder = builder.file([folder.to_owned(), format!("{i}.bin")], *len as u64);
        }
        Self::build(seed, lens, with(builder))
    }

    fn build(seed: u64, lens: &[usize], builder: Builder) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let draft = builder.prepare().unwrap();
        // A hybrid torrent has its files in another order.
        let sources: Vec<_> = (0..draft.layout().files().len()).filter_map(|i| draft.source(i)).collect();
        let mut feed = draft.feed();
        let files = sources.iter().map(|source| {
            let mut bytes = vec![0; lens[*source]];
            rng.fill_bytes(&mut bytes);
            feed.update(&bytes);
            bytes
        });
        let files = files.collect();
        Self { meta: Arc::new(Meta::parse(&feed.finish().unwrap()).unwrap()), files }
    }

    /// The files that are no padding, with their bytes.
    fn stored(&self) -> impl Iterator<Item = (&metainfo::File, &Vec<u8>)> {
        self.meta.layout().files().iter().filter(|file| !file.is_pad()).zip(&self.files)
    }

    /// Writes the files beneath a folder.
    pub(crate) fn write(&self, dir: &Path) {
        for (file, bytes) in self.stored() {
            let path = dir.join(file.path.as_str());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// A new folder with the files in it.
    pub(crate) fn placed(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        self.write(dir.path());
        dir
    }

    /// Panics when one of these files is not there or differs.
    pub(crate) fn assert_files(&self, dir: &Path, files: &[usize]) {
        for (at, (file, bytes)) in self.stored().enumerate().filter(|(at, _)| files.contains(at)) {
            let found = std::fs::read(dir.join(file.path.as_str())).unwrap();
            assert!(found == *bytes, "file {at} differs");
        }
    }

    /// What is in a file.
    pub(crate) fn bytes(&self, file: usize) -> &[u8] {
        &self.files[file]
    }

    /// Panics when a file is not there or differs.
    pub(crate) fn assert_all(&self, dir: &Path) {
        self.assert_files(dir, &(0..self.files.len()).collect::<Vec<_>>());
    }
}

/// A free port of loopback.
pub(crate) fn config() -> SessionConfig {
    SessionConfig { listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))], ..SessionConfig::default() }
}

/// A session on a free port of loopback.
pub(crate) async fn session() -> Session {
    Session::start(config()).await.unwrap()
}

/// A session on a free port of loopback that keeps records in a folder.
pub(crate) async fn keeping(state: &Path) -> Session {
    let store: Arc<dyn Store> = Arc::new(FileStore::open(state).unwrap());
    Session::start(SessionConfig { store: Some(store), ..config() }).await.unwrap()
}

/// The files beneath a folder, relative to it and sorted; none when it is not there.
pub(crate) fn listed(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A tracker on a free port of loopback that lets peers ask every second, and wants them to ask every hour.
pub(crate) async fn tracker() -> TrackerServer {
    let config = Config { interval: 3600, min_interval: Some(1), ..Config::default() };
    TrackerServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), config).await.unwrap()
}

/// Adds, within the patience of the tests.
pub(crate) async fn add(session: &Session, options: AddOptions) -> Torrent {
    soon(session.add(options)).await.unwrap()
}

/// A session that seeds a content.
pub(crate) async fn seeder(content: &Content, dir: &Path) -> (Session, Torrent) {
    let session = session().await;
    let torrent = add(&session, AddOptions::seed(content.meta.clone(), dir)).await;
    (session, torrent)
}

/// What a future gives, which it must within the patience of the tests.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

/// The next event that fits.
pub(crate) async fn event(events: &mut Events, mut fits: impl FnMut(&Event) -> bool) -> Event {
    soon(async {
        loop {
            let event = events.next().await.expect("the session goes on");
            if fits(&event) {
                return event;
            }
        }
    })
    .await
}

/// Ends sessions, which they must in time.
pub(crate) async fn end(sessions: impl IntoIterator<Item = Session>) {
    for session in sessions {
        session.shutdown(PATIENCE).await.unwrap();
    }
}
