//! What a schedule is given and what it gives: plain values.

use std::fmt;
use std::time::Duration;

use wire::peer::PeerId;
use wire::tracker::AnnounceRequest;

use super::Event;
use super::address::{Family, TrackerUrl};
use super::endpoint::plain_text;

/// A tracker of one [`Schedule`](super::Schedule): its number in the order in which they were added. It stays the same for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackerId(pub u32);

impl TrackerId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names one announce, so that an answer that comes too late is told from the one waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnnounceId {
    /// The tracker.
    pub tracker: TrackerId,
    /// The address family to reach it over: resolve its name to such an address, and bind to one.
    pub family: Family,
    pub(super) seq: u32,
}

/// Over which families a tracker is announced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Over both, one announce each (BEP 7).
    Both,
    /// Over one only: for a tracker that takes two announces for two users.
    Only(Family),
}

/// What a [`Schedule`](super::Schedule) has to know of its torrent at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// One tracker at a time (BEP 27).
    pub private: bool,
    /// All bytes are there already: `completed` is never told.
    pub complete: bool,
    /// Drawn once per torrent and session; the same towards all trackers.
    pub key: u32,
    /// The families this machine has.
    pub families: Families,
}

/// The numbers that an announce carries, as they are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload bytes sent to peers, ever growing; the schedule subtracts what was before `started`.
    pub uploaded: u64,
    /// Payload bytes received from peers, likewise.
    pub downloaded: u64,
    /// Bytes still missing.
    pub left: u64,
    /// Whether what is missing is not wanted (BEP 21).
    pub partial_seed: bool,
    /// How many peers to ask for.
    pub num_want: u32,
}

impl Families {
    /// Whether this one is among them.
    pub fn has(self, family: Family) -> bool {
        match self {
            Self::Both => true,
            Self::Only(only) => only == family,
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this: say when it is on its way by [`Schedule::handle_begun`](super::Schedule::handle_begun), and report the outcome by [`Schedule::handle_reply`](super::Schedule::handle_reply) or [`Schedule::handle_failure`](super::Schedule::handle_failure).
    Announce(Announce),
    /// This announce is given up: its outcome is of no interest any more.
    Cancel(AnnounceId),
    /// A private torrent changed its tracker: close every peer, they all came by this old one (BEP 27).
    DropPeersOf(TrackerId),
}

/// One announce to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// To be given back with the outcome.
    pub id: AnnounceId,
    /// Where to.
    pub url: TrackerUrl,
    /// What happened.
    pub event: Event,
    /// Bytes sent to peers since `started`.
    pub uploaded: u64,
    /// Bytes received from peers since `started`.
    pub downloaded: u64,
    /// Bytes still missing.
    pub left: u64,
    /// How many peers are wanted; none with `stopped`.
    pub num_want: u32,
    /// See [`Config::key`].
    pub key: u32,
    /// What this tracker asked to be told back.
    pub tracker_id: Option<Vec<u8>>,
    /// It is given up this long after it began.
    pub patience: Duration,
}

impl Announce {
    /// The request to encode, for a torrent known by `info_hash`, whose peers reach this client at `port`.
    pub fn request(&self, info_hash: [u8; 20], peer_id: PeerId, port: u16) -> AnnounceRequest {
        AnnounceRequest {
            uploaded: self.uploaded,
            downloaded: self.downloaded,
            left: self.left,
            event: self.event,
            key: self.key,
            num_want: Some(self.num_want),
            tracker_id: self.tracker_id.clone(),
            ..AnnounceRequest::new(info_hash, peer_id, port)
        }
    }
}

/// An announce that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The tracker answered that it will not; perhaps when to ask again (BEP 31).
    Refused(wire::tracker::Failure),
    /// It could not be reached, or what it said is no answer; why, as text for the user.
    Unreachable(String),
    /// It has no address of this family, or this machine has none. Not an error while the other family works.
    NoAddress,
    /// No answer in time.
    TimedOut,
}

impl Failure {
    pub(super) fn cleaned(self) -> Self {
        match self {
            Self::Refused(mut failure) => {
                failure.reason = plain_text(&failure.reason);
                Self::Refused(failure)
            }
            Self::Unreachable(why) => Self::Unreachable(plain_text(&why)),
            other => other,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(failure) => failure.fmt(f),
            Self::Unreachable(why) => f.write_str(why),
            Self::NoAddress => f.write_str("no address of this family"),
            Self::TimedOut => f.write_str("no answer in time"),
        }
    }
}

impl std::error::Error for Failure {}
