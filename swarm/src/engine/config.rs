//! What the engine may use, and how patient it is.

use std::time::Duration;

use wire::peer::PeerId;

/// Session-wide settings. Rates are in bytes per second, sizes in bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our id in handshakes and announces.
    pub peer_id: PeerId,
    /// Client name and version for the extension handshake (BEP 10, `v`).
    pub client: String,
    /// Connections to peers at most, all torrents together.
    pub max_connections: usize,
    /// Connections per torrent at most.
    pub max_torrent_connections: usize,
    /// Connections being opened at a time at most.
    pub max_dials: usize,
    /// Connections opened per second at most.
    pub dials_per_second: u32,
    /// Incoming connections that have not finished their handshake at most; the oldest goes first.
    pub max_handshakes: usize,
    /// Peers that wait for torrents that are not open at most (see [`Engine::add_cold`](super::Engine::add_cold)).
    pub max_waiting: usize,
    /// Unchoke slots of the session; `None` chooses by what the upload can feed.
    pub upload_slots: Option<usize>,
    /// Download limit of the session.
    pub down_limit: Option<u64>,
    /// Upload limit of the session.
    pub up_limit: Option<u64>,
    /// Bytes received that may wait for the disk; above it no payload is read from peers.
    pub write_credit: usize,
    /// Bytes read from disk that may wait for peers.
    pub read_credit: usize,
    /// Bytes that all that the network can make grow may take (see [`Memory`](super::Memory)). The credits below are cut to
    /// their shares of it. Magnets have
    /// what is left, 76 MiB with these settings; a larger info dictionary is not fetched.
    pub memory_budget: usize,
    /// How long after the first piece that matched its hash all such pieces are made durable.
    pub sync_interval: Duration,
    /// How often it is looked whether others did something to files that are read or written.
    pub look_interval: Duration,
    /// A torrent that is done, and that nobody needs for so long, may be put back to its cold form ([`Event::Idle`](super::Event::Idle),
    /// [`Engine::cool`](super::Engine::cool)); `None` leaves it open.
    pub cool_after: Option<Duration>,
    /// A torrent stops writing while its device has less room than this, in bytes (see
    /// [`Engine::set_space`](super::Engine::set_space)).
    pub min_free: u64,
    /// Spare block buffers that are kept for reuse.
    pub spare_blocks: usize,
    /// Requests of one peer that may wait; more are rejected, and four times as many rejected in a row close the connection.
    pub max_requests: usize,
    /// The longest range served in one message (128 KiB is what libtorrent serves at most).
    pub max_request_len: u32,
    /// Most requests of ours that wait at one peer.
    pub max_outstanding: u32,
    /// From opening or accepting a connection to the end of its handshake, in total.
    pub handshake_timeout: Duration,
    /// Silence after which a peer is dropped.
    pub idle_timeout: Duration,
    /// Silence of ours after which a keep-alive is sent (BEP 3).
    pub keepalive: Duration,
    /// Whether peers are told about each other (BEP 11). Never of private torrents, and not before it is known that a torrent
    /// is none.
    pub pex: bool,
    /// Whether torrents are announced to the local network (BEP 14). Never private ones.
    pub lsd: bool,
    /// Whether two complete peers part (they have nothing for each other).
    pub close_redundant: bool,
}

impl Config {
    /// Settings for a desktop machine.
    pub fn new(peer_id: PeerId) -> Self {
        Self {
            peer_id,
            client: concat!("unchoke ", env!("CARGO_PKG_VERSION")).into(),
            max_connections: 500,
            max_torrent_connections: 200,
            max_dials: 40,
            dials_per_second: 30,
            max_handshakes: 200,
            max_waiting: 100,
            upload_slots: None,
            down_limit: None,
            up_limit: None,
            write_credit: 4 << 20,
            read_credit: 8 << 20,
            memory_budget: 256 << 20,
            sync_interval: Duration::from_secs(3),
            look_interval: Duration::from_secs(5),
            cool_after: None,
            min_free: 16 << 20,
            spare_blocks: 256,
            max_requests: 500,
            max_request_len: 128 * 1024,
            max_outstanding: 500,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(240),
            keepalive: Duration::from_secs(115),
            pex: true,
            lsd: true,
            close_redundant: true,
        }
    }
}
