//! The control plane on the caller's tokio: torrents to run, HTTP, DNS, and what else waits.
//!
//! A [`Session`] starts the [reactor](crate::reactor)'s thread and speaks with it by bounded commands. It has one task, for
//! announces; a [`Torrent`] is a name and costs nothing. What happens is told on one stream of [`Event`]s.

mod add;
mod announce_queue;
mod announcer;
mod at_rest;
mod changes;
mod claims;
mod cold;
mod config;
mod dht;
mod event;
mod files_error;
mod finishing;
pub mod http;
mod identity;
mod link;
mod log;
mod magnet;
mod observer;
mod options;
mod persist;
mod reader;
mod registry;
mod relocating;
mod removing;
pub mod resolve;
mod restore;
mod scrape;
mod selection;
mod stop;
mod torrent;
pub mod tracker_server;
mod view;
mod wanted;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use metainfo::TorrentId;
use storage::OpenFiles;
use tokio::sync::{OnceCell, Semaphore, broadcast, watch};
use tokio::task::AbortHandle;
use wire::peer::PeerId;

use crate::engine::Direction;
use crate::engine::dht::{DhtConfig, DhtState};
use crate::reactor::{Plane, ReactorConfig};

pub use crate::engine::PieceOrder;
pub use crate::engine::picker::Priority;
pub use at_rest::AtRest;
pub use changes::{Change, Changes};
pub use cold::Restored;
pub use config::{SessionConfig, StartError};
pub use dht::{Bootstrap, Dht, DhtError, DhtSettings, Lookup, Pong, ROUTERS, Scrape, Status as DhtStatus};
pub use event::{Event, Events, Recalled};
pub use files_error::FilesError;
pub use link::Unavailable;
pub use magnet::{Choice, MagnetOptions};
pub use options::{AddError, AddOptions, AsBefore, Check, Placing};
pub use persist::RedbStore;
pub use reader::Reader;
pub use scrape::ScrapeError;
pub use selection::Selection;
pub use stop::Late;
pub use torrent::{Torrent, WaitError};
pub use view::{FileProgress, TrackerState, TrackerView};
pub use wire::tracker::ScrapeCounts;

use link::Link;

/// Torrents that run, with the thread that moves their bytes. Clones share it; it ends when the last one is dropped, or
/// properly by [`Session::shutdown`].
#[derive(Clone)]
pub struct Session {
    link: Arc<Link>,
    owner: Arc<Owner>,
}

/// Ends the session when it is dropped.
struct Owner {
    link: Arc<Link>,
    tasks: Vec<AbortHandle>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Closes when the thread ends.
    ended: watch::Receiver<()>,
}

impl Session {
    /// Opens the listening sockets and starts the thread. To be called within a tokio runtime, which has to go on running
    /// for as long as the session does.
    ///
    /// # Errors
    /// When an address cannot be listened on, or the system lacks something.
    pub async fn start(config: SessionConfig) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let seed = config.entropy.map_or_else(system_entropy, Ok)?;
        let (id_seed, plane_seed) = split(seed);
        let peer_id = PeerId::new(PeerId::PREFIX, id_seed);
        let mut engine = config.engine;
        engine.peer_id = peer_id;
        let lsd = engine.lsd;
        let dht = config.dht.as_ref().map(dht_config);
        let reactor =
            ReactorConfig { engine, disk: config.disk, listen: config.listen, port: config.port, dht };
        let (plane, handle) = Plane::new(reactor, plane_seed)?;
        let (listening, udp) = (plane.listening(), plane.listening_udp());
        tracing::info!(?listening, "a session starts");
        let link = Arc::new(Link {
            reactor: handle,
            commands: Arc::new(Semaphore::new(link::COMMANDS)),
            registry: Arc::default(),
            claims: Arc::default(),
            events: broadcast::Sender::new(event::KEPT),
            desk: announcer::Desk::default(),
            store: config.store,
            saver: persist::Saver::default(),
            finisher: finishing::Desk::default(),
            dht: dht::Desk::default(),
            lsd,
            dht_addresses: config.dht.is_some().then_some(udp),
            magnets: magnet::Desk::default(),
            cold: cold::Desk::default(),
            open_files: Arc::new(OpenFiles::new(config.open_files)),
            checks: Arc::new(Semaphore::new(1)),
            peer_id,
            resolver: resolve::Resolver::new(),
            http_config: http_config(&listening, config.roots),
            http: OnceCell::new(),
            first_revision: first_revision(),
            listening,
        });
        let (thread, ended) = start_thread(plane, link.clone()).map_err(StartError::Thread)?;
        let announcer = runtime.spawn(announcer::run(link.clone())).abort_handle();
        let furnisher = runtime.spawn(magnet::run(link.clone())).abort_handle();
        let opener = runtime.spawn(cold::run(link.clone())).abort_handle();
        let space = runtime.spawn(persist::watch_space(link.clone())).abort_handle();
        let finisher = runtime.spawn(finishing::run(link.clone())).abort_handle();
        let mut tasks = vec![announcer, furnisher, opener, space, finisher];
        if link.store.is_some() {
            tasks.push(runtime.spawn(persist::run(link.clone())).abort_handle());
        }
        if let Some(dht) = config.dht {
            tasks.push(runtime.spawn(dht::bootstrap(link.clone(), dht.bootstrap)).abort_handle());
        }
        let owner = Owner { link: link.clone(), tasks, thread: Mutex::new(Some(thread)), ended };
        Ok(Self { link, owner: Arc::new(owner) })
    }

    /// The addresses that peers reach us at.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.link.listening
    }

    /// The port that is told to trackers and peers.
    pub fn port(&self) -> u16 {
        self.link.port()
    }

    /// Whether peers of torrents that are not private are looked for on the local network (BEP 14): not where nobody but
    /// this machine can reach us.
    pub fn hears_local_network(&self) -> bool {
        self.link.lsd && self.link.listening.iter().any(|addr| !addr.ip().is_loopback())
    }

    /// The id of this session towards peers and trackers.
    pub fn peer_id(&self) -> PeerId {
        self.link.peer_id
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        Events::new(self.link.events.subscribe())
    }

    /// A torrent that runs.
    pub fn torrent(&self, id: TorrentId) -> Option<Torrent> {
        self.link.registry.get(id).map(|entry| Torrent::new(&self.link, entry))
    }

    /// All torrents that run, in the order of their ids.
    pub fn torrents(&self) -> Vec<Torrent> {
        let running = self.link.registry.running().into_iter();
        running.map(|(_, entry)| Torrent::new(&self.link, entry)).collect()
    }

    /// Limits the rates of all torrents together, in bytes per second; `None` lifts a limit.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn set_limits(&self, down: Option<u64>, up: Option<u64>) -> Result<(), Unavailable> {
        self.link
            .ask(move |plane| {
                let now = plane.now();
                plane.engine().set_session_limit(now, Direction::Read, down);
                plane.engine().set_session_limit(now, Direction::Write, up);
            })
            .await
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("listening", &self.link.listening).finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.link.registry.close();
        self.link.registry.running().iter().for_each(|(_, entry)| entry.identity.stays_closed());
        // A thread that ended already needs no word.
        let _ = self.link.reactor.run(Plane::stop);
    }
}

fn start_thread(plane: Plane, link: Arc<Link>) -> std::io::Result<(JoinHandle<()>, watch::Receiver<()>)> {
    let (alive, ended) = watch::channel(());
    let thread = std::thread::Builder::new().name("unchoke-reactor".into()).spawn(move || {
        let _alive = alive;
        if let Err(error) = plane.run(&mut observer::Watch { link }) {
            tracing::error!(%error, "the reactor ended");
        }
    })?;
    Ok((thread, ended))
}

/// What the node of the DHT is told at the start.
fn dht_config(settings: &DhtSettings) -> DhtConfig {
    let saved = settings.saved.as_deref().and_then(DhtState::decode);
    DhtConfig { read_only: settings.read_only, version: Some(*b"UC\x01\x00"), saved, ..DhtConfig::default() }
}

/// Above all revisions of earlier runs, unless the clock was set back: readers of those start over.
fn first_revision() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(1)
}

/// A secret key for [`PutMutable`](crate::engine::dht::PutMutable), of the system's randomness.
///
/// # Errors
/// When the system gives no random bytes.
pub fn fresh_secret() -> Result<[u8; 32], StartError> {
    system_entropy()
}

fn system_entropy() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::Entropy(error.to_string()))?;
    Ok(seed)
}

/// Independent randomness for the peer id, which everybody sees, and for the rest, which nobody may guess from it.
fn split(seed: [u8; 32]) -> ([u8; 12], [u8; 32]) {
    use rand::Rng;
    use rand_chacha::rand_core::SeedableRng;
    let mut rng = rand_chacha::ChaCha20Rng::from_seed(seed);
    let (mut id, mut rest) = ([0; 12], [0; 32]);
    rng.fill_bytes(&mut id);
    rng.fill_bytes(&mut rest);
    (id, rest)
}

/// HTTP speaks from the address that is listened on, so that trackers see the one that peers reach; not from loopback,
/// from which nothing leaves the machine.
fn http_config(listening: &[SocketAddr], roots: Vec<Vec<u8>>) -> http::HttpConfig {
    let own = || listening.iter().map(SocketAddr::ip).filter(|ip| !ip.is_loopback());
    let v4 = own().find_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None });
    let v6 = own().find_map(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None });
    http::HttpConfig {
        bind_v4: v4.unwrap_or(Ipv4Addr::UNSPECIFIED),
        bind_v6: v6.unwrap_or(Ipv6Addr::UNSPECIFIED),
        roots,
        ..http::HttpConfig::default()
    }
}
