//! What the parts of a session share, and how they reach the reactor.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore, broadcast, oneshot};

use super::announcer::Desk;
use super::claims::Claims;
use super::cold;
use super::dht;
use super::event::Event;
use super::finishing;
use super::http::{Http, HttpConfig};
use super::log;
use super::magnet;
use super::persist::Saver;
use super::registry::Registry;
use super::resolve::Resolver;
use crate::reactor::{Gone, Handle, Plane};
use storage::OpenFiles;
use storage::record::Store;
use wire::peer::PeerId;

/// Commands on their way to the reactor; fewer than its queue takes, so that sending never waits.
pub(super) const COMMANDS: usize = 256;
/// How long the reactor may take for a command. It takes milliseconds unless the machine is stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What the parts of a session share.
pub(super) struct Link {
    pub(super) reactor: Handle,
    pub(super) commands: Arc<Semaphore>,
    pub(super) registry: Arc<Registry>,
    pub(super) claims: Arc<Claims>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) desk: Desk,
    /// Where records are kept, if they are.
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) saver: Saver,
    pub(super) finisher: finishing::Desk,
    pub(super) dht: dht::Desk,
    /// Where nodes reach us, over IPv4 and IPv6; `None` without the DHT.
    pub(super) dht_addresses: Option<[Option<SocketAddr>; 2]>,
    /// Whether peers are looked for on the local network.
    pub(super) lsd: bool,
    /// Torrents that await their metadata.
    pub(super) magnets: magnet::Desk,
    /// Torrents that run without being open.
    pub(super) cold: cold::Desk,
    pub(super) open_files: Arc<OpenFiles>,
    /// One check at a time: it uses all processors already, and disks dislike two.
    pub(super) checks: Arc<Semaphore>,
    pub(super) listening: Vec<SocketAddr>,
    pub(super) peer_id: PeerId,
    /// Where the revisions of changes begin.
    pub(super) first_revision: u64,
    pub(super) resolver: Resolver,
    pub(super) http_config: HttpConfig,
    pub(super) http: OnceCell<Http>,
}

/// Why a session or a torrent did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The session is over.
    Over,
    /// The torrent was removed.
    Removed,
    /// No answer for this long.
    Stuck(Duration),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over => f.write_str("the session is over"),
            Self::Removed => f.write_str("the torrent was removed"),
            Self::Stuck(wait) => write!(f, "no answer from the session within {} s", wait.as_secs()),
        }
    }
}

impl std::error::Error for Unavailable {}

impl From<Gone> for Unavailable {
    fn from(_: Gone) -> Self {
        Self::Over
    }
}

impl Link {
    /// Runs `ask` on the reactor's thread and waits for what it returns. When the future is dropped, `ask` may still run.
    pub(super) async fn ask<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Plane) -> R + Send + 'static,
    ) -> Result<R, Unavailable> {
        let asked = async {
            let permit = self.commands.clone().acquire_owned().await.map_err(|_| Unavailable::Over)?;
            let (reply, answer) = oneshot::channel();
            self.reactor.run(move |plane| {
                let _permit = permit;
                // Whoever gave up has no use for the answer.
                let _ = reply.send(ask(plane));
            })?;
            answer.await.map_err(|_| Unavailable::Over)
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(Unavailable::Stuck(PATIENCE)))
    }

    /// Tells whoever listens, and the log.
    pub(super) fn tell(&self, event: Event) {
        log::write(&event);
        // It fails when nobody listens.
        let _ = self.events.send(event);
    }

    /// The port that peers reach us at.
    pub(super) fn port(&self) -> u16 {
        self.listening.first().map_or(0, SocketAddr::port)
    }
}
