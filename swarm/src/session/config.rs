//! How a session runs, and why it cannot start.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use std::sync::Arc;

use storage::DiskConfig;
use storage::record::Store;
use wire::peer::PeerId;

use super::dht::DhtSettings;
use crate::engine;
use crate::reactor::ListenError;

/// Settings of a session. [`SessionConfig::default`] suits a desktop machine: it listens on a free port of every
/// address, without limits.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Connections, slots, rate limits and patience. Its peer id is replaced by a fresh one at every start.
    pub engine: engine::Config,
    /// Threads of the disk.
    pub disk: DiskConfig,
    /// Addresses to listen on; none listens on [`SessionConfig::port`] of every address.
    pub listen: Vec<SocketAddr>,
    /// The port where no address is given; 0 chooses a free one.
    pub port: u16,
    /// How it takes part in the DHT; `None` leaves it alone.
    pub dht: Option<DhtSettings>,
    /// What all randomness comes from; `None` asks the system.
    pub entropy: Option<[u8; 32]>,
    /// Where torrents are recorded, so that they go on where they were; `None` records nothing. It is let go
    /// when the session ended and no handle to it or to one of its torrents is left.
    pub store: Option<Arc<dyn Store>>,
    /// Payload files that are kept open, all torrents together.
    pub open_files: usize,
    /// Certificates of authorities (DER) that HTTPS trusts besides those of the system, as of one's own tracker.
    pub roots: Vec<Vec<u8>>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            engine: engine::Config::new(PeerId::new(PeerId::PREFIX, [0; 12])),
            disk: DiskConfig::default(),
            listen: Vec::new(),
            port: 0,
            dht: Some(DhtSettings::default()),
            entropy: None,
            store: None,
            open_files: 128,
            roots: Vec::new(),
        }
    }
}

/// Why a session cannot start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on, for example because another program has the port.
    Listen(ListenError),
    /// The system gives no random bytes.
    Entropy(String),
    /// The system gives no thread.
    Thread(io::Error),
    /// The call did not come from within a tokio runtime.
    NoRuntime,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Entropy(why) => write!(f, "no random bytes from the system: {why}"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Self::NoRuntime => f.write_str("a session has to be started within a tokio runtime"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(error) => Some(error),
            Self::Thread(error) => Some(error),
            Self::Entropy(_) | Self::NoRuntime => None,
        }
    }
}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> Self {
        Self::Listen(error)
    }
}
