//! What the engine asks of its driver, and what it tells.

use std::collections::VecDeque;
use std::net::SocketAddr;

use metainfo::{PieceIndex, TorrentId};
use storage::{Job, StorageError};

use super::TorrentKey;
use super::close::Close;
use super::dht::DhtEvent;
use super::layers::Layers;
use super::link::ConnId;
use super::metadata::Info;
use super::shard::SourceId;
use super::tracker::{Announce, AnnounceId};

/// Something the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Open a connection; answer with `handle_connected` or `handle_dial_failed`.
    Dial {
        /// Its name from now on.
        conn: ConnId,
        /// Where to.
        addr: SocketAddr,
    },
    /// Close a connection and forget its name.
    Close {
        /// Which one.
        conn: ConnId,
    },
    /// Ask a tracker; say when by `handle_announce_begun`, and answer with `handle_announced`.
    Announce {
        /// For which torrent.
        torrent: TorrentKey,
        /// Its name.
        id: TorrentId,
        /// What to ask.
        announce: Announce,
    },
    /// The answer to this announce is of no interest any more.
    CancelAnnounce {
        /// For which torrent.
        torrent: TorrentKey,
        /// Which one.
        announce: AnnounceId,
    },
    /// A source may ask for its next block.
    SourceReady {
        /// Which one.
        source: SourceId,
    },
    /// A source sent wrong data and is used no more.
    SourceBanned {
        /// Which one.
        source: SourceId,
    },
    /// What came of a lookup of the application in the DHT, or of the DHT itself.
    Dht(DhtEvent),
    /// Announce torrents to the local network: one packet to each group that can be reached (BEP 14).
    Lsd {
        /// Where we listen.
        port: u16,
        /// The torrents: as many as go into one packet.
        hashes: Vec<[u8; 20]>,
        /// By this we know our own announces.
        cookie: String,
    },
    /// Tell whoever watches.
    Event(Event),
}

/// Something that happened, for whoever watches.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A piece was checked and is there now.
    PieceDone {
        /// Of which torrent.
        torrent: TorrentKey,
        /// Which piece.
        piece: PieceIndex,
    },
    /// A piece did not match its hash and is fetched again.
    PieceFailed {
        /// Of which torrent.
        torrent: TorrentKey,
        /// Which piece.
        piece: PieceIndex,
    },
    /// Of the hashes that a hybrid has for a piece one matched and the other did not: no bytes can be right, and nobody is to
    /// blame (BEP 52). The torrent was paused.
    PieceContradicts {
        /// Of which torrent.
        torrent: TorrentKey,
        /// Which piece.
        piece: PieceIndex,
    },
    /// A piece that a record may claim is lost. It is fetched anew when [`Engine::recorded`](super::Engine::recorded) says
    /// that no record claims it.
    Unclaimed {
        /// Of which torrent.
        torrent: TorrentKey,
        /// Which piece.
        piece: PieceIndex,
    },
    /// All wanted pieces are there and handed to the file system.
    Complete {
        /// Which torrent.
        torrent: TorrentKey,
    },
    /// A torrent is open and done, has no peer, and nothing was needed of it for [`Config::cool_after`](super::Config::cool_after). It may be put back
    /// by [`Engine::cool`](super::Engine::cool); told again after as long if it is not.
    Idle {
        /// Which torrent.
        torrent: TorrentKey,
    },
    /// A download was read back; see [`AddTorrent::verify`](super::AddTorrent::verify).
    Verified {
        /// Which torrent.
        torrent: TorrentKey,
        /// Pieces that were there, and do not match any more: they are fetched anew.
        lost: u32,
    },
    /// Something cannot be read or written. Whether the torrent stopped downloading for it, its activity tells.
    StorageFailed {
        /// Which torrent.
        torrent: TorrentKey,
        /// What failed, on which file, why.
        error: StorageError,
    },
    /// Storage works again; the torrent goes on.
    StorageRecovered {
        /// Which torrent.
        torrent: TorrentKey,
    },
    /// What passed lately is durable now: see [`Engine::resume_state`](super::Engine::resume_state).
    Synced {
        /// Which torrent.
        torrent: TorrentKey,
    },
    /// A torrent that was paused is at rest: nothing of it is at the disk any more.
    Stopped {
        /// Which torrent.
        torrent: TorrentKey,
        /// Whether all that is there was made durable.
        clean: bool,
    },
    /// A peer finished its handshake.
    PeerJoined {
        /// Of which torrent.
        torrent: TorrentKey,
        /// Its address.
        addr: SocketAddr,
    },
    /// A connection with a peer ended.
    PeerLeft {
        /// Of which torrent.
        torrent: TorrentKey,
        /// Its address.
        addr: SocketAddr,
        /// Why.
        reason: Close,
    },
    /// A peer sent wrong data and is not spoken to any more.
    PeerBanned {
        /// Of which torrent.
        torrent: TorrentKey,
        /// Its address.
        addr: SocketAddr,
    },
    /// The info dictionary of a torrent that was added by its hashes is there and matches them. Open its files, check what
    /// they hold, and hand it to [`Engine::furnish`](super::Engine::furnish).
    Metadata {
        /// Which torrent.
        torrent: TorrentKey,
        /// The dictionary as it was written.
        info: Info,
    },
    /// The piece layers that [`Engine::seek_layers`](super::Engine::seek_layers) asked for are there, and proven.
    Layers {
        /// Which torrent.
        torrent: TorrentKey,
        /// All that lacked.
        layers: Layers,
    },
    /// A torrent was added by a v1 and a v2 hash that are of two torrents: its info dictionary will not come.
    Contradiction {
        /// Which torrent.
        torrent: TorrentKey,
    },
    /// A peer needs a torrent that is not open: see [`Engine::next_wanted`](super::Engine::next_wanted).
    Wanted {
        /// Which torrent.
        torrent: TorrentKey,
    },
    /// The torrent was removed; nothing of it is in flight any more.
    Removed {
        /// Its name.
        id: TorrentId,
    },
}

/// Where the parts of the engine put what they want done.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) actions: VecDeque<Action>,
    pub(crate) jobs: Vec<Job>,
}

impl Outbox {
    pub(crate) fn event(&mut self, event: Event) {
        self.actions.push_back(Action::Event(event));
    }
}
