//! What goes into a [`Dht`](super::Dht) and what comes out of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::id::Id;
use super::state::DhtState;

/// How a node is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhtConfig {
    /// Take part in the IPv4 DHT: there is a socket for it.
    pub ipv4: bool,
    /// Take part in the IPv6 DHT (BEP 32): there is a socket for it.
    pub ipv6: bool,
    /// Ask, but answer nobody and be in nobody's table (BEP 43): for short runs, and behind NATs that let nobody in.
    pub read_only: bool,
    /// What our packets say of the program: two letters and a version.
    pub version: Option<[u8; 4]>,
    /// Addresses that we are known to have, as others see them. Without, votes of other nodes tell.
    pub external: Vec<IpAddr>,
    /// Our own addresses, which are never asked.
    pub own: Vec<SocketAddr>,
    /// Nodes to begin with when there are no others.
    pub bootstrap: Vec<SocketAddr>,
    /// The ids and nodes of the last run.
    pub saved: Option<DhtState>,
    /// Lookups that run at a time; as many as 16 times more wait.
    pub lookups: usize,
    /// Queries that are under way at a time.
    pub in_flight: usize,
    /// Queries a second that get an answer, all askers together. A fifth of them is kept for nodes that are known.
    pub answers: u32,
    /// Neither ask nor keep global nodes whose id is not of their address (BEP 42). Without, those whose id is come first, in the
    /// table and in lookups; many programs have no such id yet, and they hold peers too.
    pub enforce_secure_ids: bool,
}

impl Default for DhtConfig {
    fn default() -> Self {
        Self {
            ipv4: true,
            ipv6: true,
            read_only: false,
            version: None,
            external: Vec::new(),
            own: Vec::new(),
            bootstrap: Vec::new(),
            saved: None,
            lookups: 16,
            in_flight: 128,
            answers: 250,
            enforce_secure_ids: false,
        }
    }
}

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom. The family says over which socket.
    pub to: SocketAddr,
    /// From which of our addresses: the one that was asked there, whose answers the asker waits for. The system chooses
    /// where there is none.
    pub from: Option<IpAddr>,
    /// What, at most 1400 bytes.
    pub bytes: Vec<u8>,
}

/// Names a command that has outcomes, until its [`DhtEvent::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LookupId(pub(super) u64);

/// What a peer of ours says of itself when it is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The port at which it listens.
    pub port: u16,
    /// It listens at the port that our packets come from, whatever a NAT makes of that, as with uTP on the same socket. Nodes
    /// that do not know this take `port`.
    pub implied_port: bool,
    /// Whether it has everything (BEP 33).
    pub seed: bool,
}

/// Which lookups go first where not all can run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Somebody waits for it: what is asked by the application.
    Asked,
    /// A torrent has nobody to download from.
    Wanted,
    /// Anything else. Leaves a quarter of the lookups and a fifth of the questions to the others.
    Rest,
}

/// A new version of a mutable item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutMutable {
    /// The secret half of the key, 32 bytes of entropy (an ed25519 seed).
    pub secret: [u8; 32],
    /// Tells items of one key apart: at most 64 bytes.
    pub salt: Vec<u8>,
    /// The value as it is bencoded: canonical, at most 1000 bytes.
    pub value: Vec<u8>,
    /// Put only if this is the sequence number that is stored now.
    pub cas: Option<i64>,
}

/// A mutable item whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutable {
    /// Whose item it is.
    pub key: [u8; 32],
    /// Which of the key's items it is.
    pub salt: Vec<u8>,
    /// Its version.
    pub seq: i64,
    /// The value as it is bencoded.
    pub value: Vec<u8>,
    /// What the key's owner signed it with.
    pub signature: [u8; 64],
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// This many commands are under way or wait: all that there may be.
    Full(usize),
    /// A value of this many bytes; at most 1000 can be stored.
    Value(usize),
    /// The value is not canonical bencode.
    Bencode,
    /// A salt of this many bytes; there may be 64.
    Salt(usize),
    /// The signature does not match, or the sequence number is negative.
    Signature,
    /// The address is one that cannot be asked: of a family without a socket, our own, port 0, multicast.
    Address(SocketAddr),
}

impl std::fmt::Display for NotTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(count) => write!(f, "{count} lookups are under way, which is the most"),
            Self::Value(len) => write!(f, "a value of {len} bytes, but 1000 is the most"),
            Self::Bencode => f.write_str("the value is not canonical bencode"),
            Self::Salt(len) => write!(f, "a salt of {len} bytes, but 64 is the most"),
            Self::Signature => f.write_str("the item's signature does not match"),
            Self::Address(addr) => write!(f, "{addr} cannot be asked"),
        }
    }
}

impl std::error::Error for NotTaken {}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum DhtEvent {
    /// Peers of the torrent that were not told before.
    Peers {
        /// By this lookup.
        lookup: LookupId,
        /// The node that told; the unspecified address, if they announced themselves to us.
        from: SocketAddr,
        /// Where they are. Checked: a node names addresses of its own scope or wider only.
        peers: Vec<SocketAddr>,
    },
    /// A peer announced itself here, whether anybody looks for it or not.
    Announced {
        /// The torrent.
        hash: Id,
        /// Where the peer is. It showed that it gets what is sent to this address.
        peer: SocketAddr,
    },
    /// The immutable item, bencoded. Its hash is right.
    Immutable {
        /// By this lookup.
        lookup: LookupId,
        /// The value as it is bencoded.
        value: Vec<u8>,
    },
    /// A mutable item, newer than what was told before. Its signature is right.
    Mutable {
        /// By this lookup.
        lookup: LookupId,
        /// The item.
        item: Mutable,
    },
    /// How many peers a torrent has, by the filters of all nodes asked (BEP 33).
    Scraped {
        /// By this lookup.
        lookup: LookupId,
        /// Seeds, about.
        seeds: f64,
        /// Others, about.
        peers: f64,
    },
    /// A node answered a ping.
    Pong {
        /// To this command.
        lookup: LookupId,
        /// The node's address.
        from: SocketAddr,
        /// Its id.
        id: Id,
        /// How long it took.
        rtt: Duration,
    },
    /// Some of the torrents that a node knows peers of (BEP 51).
    Samples {
        /// To this command.
        lookup: LookupId,
        /// The node.
        from: SocketAddr,
        /// Info-hashes.
        hashes: Vec<Id>,
        /// How many it has.
        num: u32,
        /// Wait this long before asking it again.
        interval: Duration,
        /// Nodes close to the target of the question.
        nodes: Vec<(Id, SocketAddr)>,
    },
    /// The command is over; nothing more comes of it.
    Done {
        /// Which.
        lookup: LookupId,
        /// How it went.
        stats: LookupStats,
    },
    /// Others see us at this address; our id of that family belongs to it.
    ExternalAddress {
        /// The address.
        ip: IpAddr,
    },
    /// The table is in use: as many nodes answered as a lookup wants, or all there are.
    Bootstrapped {
        /// Nodes in the tables of both families that answered.
        nodes: usize,
    },
}

impl DhtEvent {
    /// The command that it is about, if it is about one.
    pub fn lookup(&self) -> Option<LookupId> {
        match self {
            Self::Peers { lookup, .. }
            | Self::Immutable { lookup, .. }
            | Self::Mutable { lookup, .. }
            | Self::Scraped { lookup, .. }
            | Self::Pong { lookup, .. }
            | Self::Samples { lookup, .. }
            | Self::Done { lookup, .. } => Some(*lookup),
            Self::Announced { .. } | Self::ExternalAddress { .. } | Self::Bootstrapped { .. } => None,
        }
    }
}

/// How a lookup went, both families together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupStats {
    /// Packets that asked, those that store included.
    pub queries: u32,
    /// Answers to them.
    pub answers: u32,
    /// Nodes that answered what was looked for.
    pub nodes: u32,
    /// Questions without an answer.
    pub timeouts: u32,
    /// Nodes that stored what was announced or put.
    pub stored: u32,
    /// Nodes that refused to.
    pub refused: u32,
    /// Peers told.
    pub peers: u32,
    /// How long the chain of nodes was that led to the closest one.
    pub hops: u32,
    /// How long the chain was that led to the first result, and how many had been asked by then.
    pub first: Option<First>,
    /// The item was not put because another version is stored.
    pub conflict: Option<i64>,
    /// The sequence number that a mutable item was put with.
    pub seq: Option<i64>,
}

/// The way to the first result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// The length of the chain of nodes: 1 if a node that we knew had it.
    pub hops: u32,
    /// Queries sent by then.
    pub queries: u32,
}
