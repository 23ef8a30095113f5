//! The values of the tracker protocols.

use std::net::{IpAddr, SocketAddr};

/// What an announce tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A regular announce.
    None,
    /// The first one of a session.
    Started,
    /// The last byte came.
    Completed,
    /// The last one of a session.
    Stopped,
}

/// When a refusing tracker wants to be asked again (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryIn {
    /// Not before so many minutes.
    Minutes(u32),
    /// Never.
    Never,
}

/// A tracker's answer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AnnounceReply {
    /// Seconds until the next regular announce.
    pub interval: Option<u32>,
    /// Seconds in which no other announce is to come.
    pub min_interval: Option<u32>,
    /// Peers with all bytes.
    pub seeders: Option<u32>,
    /// Peers without.
    pub leechers: Option<u32>,
    /// Peers to connect to.
    pub peers: Vec<SocketAddr>,
    /// A warning for the user.
    pub warning: Option<String>,
    /// To be echoed in later announces.
    pub tracker_id: Option<Vec<u8>>,
    /// Our address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
}
