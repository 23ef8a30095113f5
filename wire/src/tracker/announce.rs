use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::peer::PeerId;

/// Peers kept from one reply. The rest is dropped.
pub const MAX_PEERS: usize = 3000;

/// Why a client announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Event {
    /// The interval is over.
    #[default]
    None,
    /// First announce of this session.
    Started,
    /// The torrent was finished just now.
    Completed,
    /// Last announce of this session.
    Stopped,
    /// Still incomplete, but wants nothing more (BEP 21). Over UDP it goes as [`None`](Self::None).
    Paused,
}

/// What a client tells a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The v1 info-hash, or the v2 one cut to 20 bytes.
    pub info_hash: [u8; 20],
    /// The client's id.
    pub peer_id: PeerId,
    /// TCP port where the client listens.
    pub port: u16,
    /// Bytes uploaded since `started`.
    pub uploaded: u64,
    /// Bytes downloaded since `started`.
    pub downloaded: u64,
    /// Bytes missing.
    pub left: u64,
    /// Why now.
    pub event: Event,
    /// Recognises the client when its address changes; the same for all address families.
    pub key: u32,
    /// Peers wanted; `None` leaves it to the tracker.
    pub num_want: Option<u32>,
    /// Asks for the compact form (BEP 23). HTTP only.
    pub compact: bool,
    /// Has no use for peer ids in the dictionary form. HTTP only.
    pub no_peer_id: bool,
    /// The client's address, if the tracker cannot see it. Over UDP, IPv4 only.
    pub ip: Option<IpAddr>,
    /// The client's other address (BEP 7). HTTP only.
    pub ipv4: Option<Ipv4Addr>,
    /// The client's other address (BEP 7). HTTP only.
    pub ipv6: Option<Ipv6Addr>,
    /// What the tracker gave as `tracker id`, to be told back. HTTP only.
    pub tracker_id: Option<Vec<u8>>,
}

/// What a tracker answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnounceReply {
    /// Seconds to the next announce, as the tracker said: may be 0 or absurd.
    pub interval: Option<u32>,
    /// Seconds below which no announce is welcome.
    pub min_interval: Option<u32>,
    /// Peers that have everything.
    pub seeders: Option<u32>,
    /// Peers that do not.
    pub leechers: Option<u32>,
    /// Peers that ever finished.
    pub downloaded: Option<u32>,
    /// Other peers: at most [`MAX_PEERS`], none at port 0. Entries that name a host instead of an address are dropped.
    pub peers: Vec<SocketAddr>,
    /// Something a person should read.
    pub warning: Option<String>,
    /// To be told back in the next announce.
    pub tracker_id: Option<Vec<u8>>,
    /// Our address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
}

impl AnnounceRequest {
    /// A regular announce that asks for compact peers, with all counts 0.
    pub fn new(info_hash: [u8; 20], peer_id: PeerId, port: u16) -> Self {
        Self {
            info_hash,
            peer_id,
            port,
            uploaded: 0,
            downloaded: 0,
            left: 0,
            event: Event::None,
            key: 0,
            num_want: None,
            compact: true,
            no_peer_id: true,
            ip: None,
            ipv4: None,
            ipv6: None,
            tracker_id: None,
        }
    }
}
