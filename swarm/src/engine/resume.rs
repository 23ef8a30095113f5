//! What of a torrent survives the end of the process.

use std::net::SocketAddr;
use std::time::Duration;

use metainfo::PieceIndex;
use wire::peer::Bitfield;

use super::shard::Totals;

/// A piece of which some blocks are at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialPiece {
    /// Which piece.
    pub piece: PieceIndex,
    /// Its blocks that were written and synced, in order.
    pub blocks: Vec<u32>,
}

/// What may be relied on after a crash or a power cut, and what makes the next start quick. It is a claim about files: whoever
/// reads it back compares their sizes and times first.
#[derive(Clone, Debug, PartialEq)]
pub struct ResumeState {
    /// Pieces that matched their hash and were synced after it, and that nothing was heard of since that would make one doubt
    /// it.
    pub clean: Bitfield,
    /// Pieces that matched their hash. Those that are not clean are to be checked again, unless the process ended in order.
    pub have: Bitfield,
    /// Pieces that may be there and are not clean: to be checked by whoever takes the torrent up again. None, when it was told
    /// that it [stopped](super::Event::Stopped) clean.
    pub doubtful: Bitfield,
    /// Pieces of `have` that nobody has checked yet (see [`AddTorrent::unverified`](super::AddTorrent::unverified)).
    pub unverified: Option<Bitfield>,
    /// Pieces in progress, and their blocks that were written and synced.
    pub partial: Vec<PartialPiece>,
    /// What moved since the torrent was added.
    pub totals: Totals,
    /// Peers that are connected or were not known to fail, the best first, 100 at most. To be added again as
    /// [`Source::Resume`](super::candidates::Source::Resume).
    pub candidates: Vec<SocketAddr>,
    /// How the trackers stand.
    pub trackers: Vec<TrackerMemo>,
    /// Whether it was paused.
    pub paused: bool,
}

/// How a tracker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerMemo {
    /// Its address, with its secrets: to be kept, not to be shown.
    pub url: String,
    /// What it wants to be told again (BEP 3).
    pub tracker_id: Option<Vec<u8>>,
    /// How long it asked to be left alone yet; `None` when a new session may begin at once.
    pub next_in: Option<Duration>,
    /// Whether the last announce was answered.
    pub works: bool,
}
