//! What is asked of a tracker, and what comes back.

use std::fmt;
use std::net::SocketAddr;

use wire::tracker::udp::Request as Packet;
use wire::tracker::{AnnounceReply, AnnounceRequest, ScrapeCounts};

use crate::engine::time::Time;

/// More requests at a time are not taken.
pub const MAX_REQUESTS: usize = 4096;
/// As many torrents fit the packet of a scrape (BEP 15).
pub const MAX_SCRAPE: usize = 74;

/// Names one request; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

/// What a tracker answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To an announce.
    Announce(AnnounceReply),
    /// To a scrape, in the order of the request; may be shorter.
    Scrape(Vec<ScrapeCounts>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No answer to any of the transmissions, which takes over two hours: cancel earlier if that is too long.
    TimedOut,
    /// The tracker refused, in these words.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Refused(reason) => write!(f, "the tracker refused: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

/// Why a request was not taken at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// [`MAX_REQUESTS`] are under way.
    Full,
    /// A scrape of none or more than [`MAX_SCRAPE`] torrents; how many.
    Scrape(usize),
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "more than {MAX_REQUESTS} requests under way"),
            Self::Scrape(found) => write!(f, "expected 1 to {MAX_SCRAPE} torrents to scrape, got {found}"),
        }
    }
}

impl std::error::Error for NotTaken {}

#[derive(Debug)]
pub(super) enum Question {
    Announce { request: AnnounceRequest, url_data: Vec<u8> },
    Scrape(Vec<[u8; 20]>),
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) to: SocketAddr,
    pub(super) question: Question,
    pub(super) transaction: u32,
    pub(super) attempt: u32,
    /// Set while the request itself is under way, not its connection.
    pub(super) deadline: Option<Time>,
    /// The tracker said once that the connection id is wrong.
    pub(super) reconnected: bool,
}

impl Request {
    /// The packet to send with this connection id.
    pub(super) fn packet(&self, connection: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        let transaction = self.transaction;
        match &self.question {
            Question::Announce { request, url_data } => Packet::Announce {
                connection,
                transaction,
                announce: request.clone(),
                url_data: url_data.into(),
            },
            Question::Scrape(hashes) => Packet::Scrape { connection, transaction, hashes: hashes.into() },
        }
        .encode(&mut out);
        out
    }
}
