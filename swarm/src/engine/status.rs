//! What the engine shows of a torrent and its peers.

use std::net::SocketAddr;
use std::time::Duration;

use metainfo::TorrentId;

use super::adding::Outline;
use super::candidates::{Source, Sources};
use super::shard::{Activity, Cold, Peer, Torrent, Totals};
use super::time::Time;

/// A torrent at a moment. Bytes are of payload, rates in bytes per second.
#[derive(Clone, Debug, PartialEq)]
pub struct TorrentStatus {
    /// Its name.
    pub id: TorrentId,
    /// What it does.
    pub activity: Activity,
    /// Bytes in pieces that are wanted.
    pub wanted: u64,
    /// Bytes of `wanted` in pieces that were checked and written, and can be read as far as is known.
    pub done: u64,
    /// Bytes received in pieces that are not checked yet.
    pub in_progress: u64,
    /// Pieces that were checked and written.
    pub pieces_done: u32,
    /// Pieces of the torrent.
    pub pieces: u32,
    /// Pieces that were there and cannot be read now.
    pub unreadable: u32,
    /// While its storage fails: when it is tried again.
    pub retry_in: Option<Duration>,
    /// What moved since the torrent was added.
    pub totals: Totals,
    /// Payload being received.
    pub down_rate: u64,
    /// Payload being sent.
    pub up_rate: u64,
    /// Connected peers.
    pub peers: usize,
    /// Those of them that have every piece. A partial seed (BEP 21) is none: see [`PeerStatus::uploads_only`].
    pub seeds: u32,
}

/// A connected peer at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatus {
    /// Its address.
    pub addr: SocketAddr,
    /// We dialled it.
    pub outgoing: bool,
    /// Who told us of it; nobody but itself if it dialled us and is not known otherwise.
    pub sources: Sources,
    /// Its client, as it says.
    pub client: String,
    /// Part of the pieces that it has, 0 to 1.
    pub progress: f32,
    /// It says to have all that it wants (BEP 21).
    pub uploads_only: bool,
    /// Payload being received from it, bytes per second.
    pub down_rate: u64,
    /// Payload being sent to it, bytes per second.
    pub up_rate: u64,
    /// Payload received from it.
    pub downloaded: u64,
    /// Payload sent to it.
    pub uploaded: u64,
    /// Blocks asked for and not received.
    pub requests: usize,
    /// It chokes us.
    pub peer_choking: bool,
    /// It wants something of us.
    pub peer_interested: bool,
    /// We choke it.
    pub am_choking: bool,
    /// We want something of it.
    pub am_interested: bool,
    /// It does not send what was asked for.
    pub snubbed: bool,
}

impl TorrentStatus {
    pub(crate) fn of(torrent: &Torrent, now: Time) -> Self {
        match torrent.cold() {
            Some(cold) => Self::of_cold(torrent, cold, now),
            None => Self::of_open(torrent, now),
        }
    }

    /// By what is recorded.
    fn of_cold(torrent: &Torrent, cold: &Cold, now: Time) -> Self {
        let Outline { size, done, pieces, pieces_done, finished, .. } = cold.outline;
        Self {
            wanted: if finished { done } else { size },
            done,
            pieces_done,
            pieces,
            retry_in: cold.retry_at().map(|at| at - now),
            ..Self::of_open(torrent, now)
        }
    }

    fn of_open(torrent: &Torrent, now: Time) -> Self {
        let left = torrent.picker.wanted_bytes();
        let wanted = torrent.picker.have_bytes() + left;
        let picker = &torrent.picker;
        let lacking =
            torrent.keeping.lacking().filter(|piece| picker.has(*piece) && !torrent.have.get(piece.get()));
        let lacking: u64 = lacking.map(|piece| picker.payload(piece)).sum();
        Self {
            id: torrent.id,
            activity: torrent.current_activity(),
            wanted,
            done: wanted - left - lacking,
            in_progress: torrent.picker.partial_bytes(),
            pieces_done: torrent.have.count_ones(),
            pieces: torrent.geometry().piece_count(),
            unreadable: torrent.keeping.unreadable(),
            retry_in: torrent.keeping.retry_at().map(|at| at - now),
            totals: torrent.totals,
            down_rate: torrent.down_rate.get(now),
            up_rate: torrent.up_rate.get(now),
            peers: torrent.peers.len(),
            seeds: torrent.picker.seeds(),
        }
    }
}

impl PeerStatus {
    pub(crate) fn of(peer: &Peer, torrent: &Torrent, now: Time) -> Self {
        let pieces = torrent.geometry().piece_count();
        let known = peer.listens.and_then(|addr| torrent.candidates.get(addr));
        let said = peer.extended.as_ref().and_then(|e| e.client.clone());
        let client = said.or_else(|| peer.id.client().map(|c| c.to_string())).unwrap_or_default();
        Self {
            addr: peer.link.addr,
            outgoing: peer.link.outgoing,
            sources: known.map_or(Sources::of(&[Source::Incoming]), |known| known.sources),
            client,
            progress: peer.piece_count as f32 / pieces.max(1) as f32,
            uploads_only: peer.uploads_only(),
            down_rate: peer.down.window.rate(now),
            up_rate: peer.up.rate.get(now),
            downloaded: peer.down.window.total(),
            uploaded: peer.up.bytes,
            requests: peer.down.window.outstanding() as usize,
            peer_choking: peer.peer_choking,
            peer_interested: peer.peer_interested,
            am_choking: peer.am_choking,
            am_interested: peer.am_interested,
            snubbed: peer.down.window.is_snubbed(),
        }
    }
}
