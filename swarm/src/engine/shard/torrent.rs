//! One running torrent: what is there, who is connected, and what is wanted next.

use std::net::IpAddr;
use std::sync::Arc;

use metainfo::{BLOCK, Geometry, PieceIndex, TorrentId};
use storage::{StorageError, StoreId};
use wire::peer::{Bitfield, Limits};

use crate::engine::TorrentKey;
use crate::engine::blame::Blame;
use crate::engine::candidates::Candidates;
use crate::engine::cx::LimitNodes;
use crate::engine::pex::Roll;
use crate::engine::picker::{Manner, PeerKey, Picker, Priority, STRANDS};
use crate::engine::rate::Rate;
use crate::engine::time::Time;
use crate::engine::tracker::{self, Schedule};

use super::advice::Advice;
use super::awaited::Awaited;
use super::cold::Cold;
use super::keeping::Keeping;
use super::ordering::Ordering;
use super::peer::{Peer, Sender};

/// A peer whose window is at least this part of a piece takes whole pieces: it needs about 3 s a window.
const WINDOWS_PER_PIECE: u32 = 8;
/// Bytes per second from which on pieces are hashed together, a tenth of what one core hashes one by one at the least; and
/// the seconds that those together may take.
const FASTEST: u64 = 32 << 20;
const TOGETHER_SECONDS: u64 = 4;
/// Pieces worked on at a time at least.
const LEAST_PIECES: usize = 4;
/// Peers asked for in one announce, while more are wanted.
const NUM_WANT: u32 = 100;
/// What trackers are told to be missing while nobody knows how much it is: not nothing, which would be a seed, and the number
/// that libtorrent tells.
const UNKNOWN_LEFT: u64 = 16 * 1024;
/// The store of a torrent without pieces; no job ever names it.
pub(crate) const NO_STORE: StoreId = StoreId(u32::MAX);

/// What a torrent does.
#[derive(Clone, Debug, PartialEq)]
pub enum Activity {
    /// It fetches what is wanted, and uploads.
    Downloading,
    /// All that is wanted is there; it uploads.
    Seeding,
    /// It uploads what is there; fetching stopped because of its storage. It is tried again after a while.
    Failed(StorageError),
    /// What its files hold is being checked; it uploads what was.
    Checking {
        /// Pieces that were checked.
        done: u32,
        /// Pieces to check.
        total: u32,
    },
    /// It does nothing until it is resumed.
    Paused,
    /// It runs without being open: it is announced, and opened when a peer or the user needs it.
    Cold {
        /// All that is wanted of it is there, as is recorded.
        finished: bool,
    },
    /// It was added by its hashes alone, and looks for peers that have its info dictionary (BEP 9).
    Metadata {
        /// Pieces of 16 KiB received.
        have: u32,
        /// Pieces of the whole; `None` when nobody said.
        pieces: Option<u32>,
        /// Connected peers that say to have it.
        peers: usize,
    },
    /// Its info dictionary is there, and it asks peers for the hashes of its pieces, which are not in it (BEP 52).
    Layers {
        /// Requests that were answered.
        have: u32,
        /// Requests of up to 512 hashes that it takes.
        requests: u32,
        /// Connected peers that may have them: who did not give what it was last asked for is not counted.
        peers: usize,
    },
}

impl Activity {
    /// Whether all that is wanted is there.
    pub fn is_seeding(&self) -> bool {
        *self == Self::Seeding
    }
}

pub(crate) struct Torrent {
    pub(crate) key: TorrentKey,
    pub(crate) id: TorrentId,
    /// Another name by which peers may ask for it: of hybrids, which have two (BEP 52).
    pub(crate) also: Option<TorrentId>,
    /// What it is; `None` as long as only its hashes are known.
    pub(crate) meta: Option<Arc<metainfo::Torrent>>,
    /// Why it has no pieces, as long as it has none.
    pub(crate) awaits: Option<Box<Awaited>>,
    /// Where its bytes are; [`NO_STORE`] while it has no pieces.
    pub(crate) store: StoreId,
    pub(crate) limits: Limits,
    pub(crate) limit_nodes: LimitNodes,
    pub(crate) activity: Activity,
    /// Pieces that are checked and handed to the file system.
    pub(crate) have: Bitfield,
    pub(crate) picker: Picker,
    pub(crate) keeping: Keeping,
    pub(crate) ordering: Ordering,
    pub(crate) advice: Advice,
    pub(crate) blame: Blame<Sender>,
    pub(crate) peers: Vec<PeerKey>,
    /// Peers with room in their window for which there was nothing to ask.
    pub(crate) hungry: Vec<PeerKey>,
    pub(crate) candidates: Candidates,
    /// Whom peers are told about.
    pub(crate) pex: Roll,
    /// When something was needed of it last: it was opened, had a peer, or its user asked.
    pub(crate) needed_at: Time,
    /// When it became complete, if it did in this run.
    pub(crate) completed: Option<Time>,
    pub(crate) tracker: Schedule,
    pub(crate) totals: Totals,
    pub(crate) down_rate: Rate,
    pub(crate) up_rate: Rate,
}

/// Bytes moved since the torrent was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload received in blocks that were still missing when they began to come.
    pub downloaded: u64,
    /// Payload sent.
    pub uploaded: u64,
    /// Payload that came twice, too late, or did not match its hash. What is known to be of no use from its header is counted
    /// here only.
    pub wasted: u64,
}

impl Torrent {
    /// Whether it is known to have v2 hashes alone: each file begins at a piece.
    pub(super) fn is_v2_only(&self) -> bool {
        self.meta.as_ref().is_some_and(|meta| meta.info_hashes().v1().is_none())
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        self.picker.geometry()
    }

    /// Pieces that are there, as far as is known: also those whose check is not over.
    pub(crate) fn claimed(&self) -> Bitfield {
        let mut have = self.have.clone();
        for piece in self.keeping.in_doubt().filter(|piece| self.picker.has(*piece)) {
            have.set(piece.get());
        }
        have
    }

    /// Pieces that may be there and are not clean.
    pub(crate) fn doubtful(&self) -> Bitfield {
        let mut doubtful = self.have.clone();
        for piece in self.keeping.in_doubt().chain(self.unjudged()) {
            doubtful.set(piece.get());
        }
        for piece in self.keeping.tainted.iter().filter(|piece| self.picker.has(**piece)) {
            doubtful.set(piece.get());
        }
        doubtful.and_not(&self.keeping.clean());
        doubtful
    }

    /// A piece is to be checked anew; peers are not told, unless it turns out to be lost.
    pub(super) fn hush(&mut self, now: Time, piece: PieceIndex) {
        if self.have.clear(piece.get()) {
            self.keeping.hushed.get_or_insert(now);
        }
    }

    /// Pieces of which all blocks are written, and that did not pass or fail yet.
    fn unjudged(&self) -> impl Iterator<Item = PieceIndex> {
        let full = self.picker.partials().filter(|piece| piece.is_written());
        full.map(|piece| piece.piece())
    }

    /// Whether nothing of it is at the disk: no block, no sync, no check, no piece that is being judged.
    pub(super) fn rests(&self) -> bool {
        let keeping = &self.keeping;
        let is_judged = |piece| keeping.doubts.get(&piece).is_some_and(|doubt| doubt.again_at.is_some());
        keeping.writing == 0
            && keeping.sync.is_none()
            && keeping.checking.is_empty()
            && self.unjudged().all(is_judged)
    }

    pub(crate) fn downloads(&self) -> bool {
        self.activity == Activity::Downloading
    }

    /// What it does now, by what is there and how its storage does.
    pub(super) fn next_activity(&self) -> Activity {
        let keeping = &self.keeping;
        if let Some(cold) = self.cold() {
            return if keeping.paused { Activity::Paused } else { cold.activity() };
        }
        match keeping.activity(self.is_done() && !self.is_held_up()) {
            Activity::Downloading if self.awaits.is_some() => {
                Activity::Metadata { have: 0, pieces: None, peers: 0 }
            }
            activity => self.unless_unverified(activity),
        }
    }

    /// Whether something that was there is lost and not fetched yet, or doubtful, though nothing else is missing: nobody is told
    /// that it is all there then.
    pub(super) fn is_held_up(&self) -> bool {
        let keeping = &self.keeping;
        if keeping.told_complete || keeping.seed_only || !self.is_done() {
            return false;
        }
        let is_wanted =
            |piece: &PieceIndex| self.picker.has(*piece) && self.picker.priority(*piece) != Priority::Skip;
        let swept = keeping.swept().filter(|piece| self.have.get(*piece));
        !keeping.held.is_empty()
            || keeping.in_doubt().any(|piece| is_wanted(&piece))
            || swept.filter_map(|piece| self.geometry().piece(piece).ok()).any(|piece| is_wanted(&piece))
    }

    /// Whether it wants anything of others: pieces, or to know what it is.
    pub(crate) fn wants(&self) -> bool {
        self.downloads() || self.awaits.is_some() && !self.is_done()
    }

    /// Whether it is known to be private (BEP 27).
    pub(crate) fn is_private(&self) -> bool {
        self.meta.as_ref().is_some_and(|meta| meta.private())
            || self.awaits.as_ref().is_some_and(|awaits| awaits.private)
    }

    /// Whether it is known not to be.
    pub(crate) fn is_public(&self) -> bool {
        self.meta.as_ref().is_some_and(|meta| !meta.private())
    }

    /// Whether others may be told of it: it is known not to be private. Of what a cold one is, it is recorded.
    pub(crate) fn may_be_told(&self) -> bool {
        self.is_public() || self.cold().is_some_and(|cold| !cold.outline.private)
    }

    /// How a peer takes part in pieces: a fast one takes whole ones, so that they come in order.
    pub(crate) fn manner(&self, now: Time, peer: &Peer) -> Manner {
        if self.blame.is_suspect(peer.sender()) {
            Manner::Alone
        } else if self.is_fast(peer) {
            if self.outruns_hash(now, peer) { Manner::Several } else { Manner::Whole }
        } else {
            Manner::Share
        }
    }

    /// Sets how many pieces are worked on at a time, by how many peers there are to work on them.
    pub(crate) fn retarget(&mut self) {
        self.picker.set_target((self.peers.len() * 3 / 2).max(LEAST_PIECES));
    }

    /// Ranks candidates by our own addresses, IPv4 and IPv6 (BEP 40).
    pub(crate) fn rank_candidates(&mut self, now: Time, ours: [Option<IpAddr>; 2], port: Option<u16>) {
        let [v4, v6] = ours;
        let v4 = v4.and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None });
        let v6 = v6.and_then(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None });
        self.candidates.set_external(now, v4, v6, port.unwrap_or_default());
    }

    /// Whether a peer gets a whole piece done in a few of its windows.
    fn is_fast(&self, peer: &Peer) -> bool {
        WINDOWS_PER_PIECE * peer.down.window.target() >= self.geometry().blocks_per_piece()
    }

    /// Whether it pays to hash several pieces of a peer together: it sends so fast that hashing is a good part of the
    /// work, and a piece is not put off for more than a moment.
    fn outruns_hash(&self, now: Time, peer: &Peer) -> bool {
        let rate = peer.down.window.rate(now);
        let together = u64::from(self.geometry().blocks_per_piece() * BLOCK) * STRANDS as u64;
        rate >= FASTEST && together <= rate * TOGETHER_SECONDS
    }

    pub(crate) fn announce_totals(&self, max_peers: usize) -> tracker::Totals {
        tracker::Totals {
            uploaded: self.totals.uploaded,
            downloaded: self.totals.downloaded,
            left: self.left(),
            partial_seed: self.is_done() && self.left() > 0,
            num_want: if self.peers.len() < max_peers { NUM_WANT } else { 0 },
        }
    }

    /// Bytes that it does not have, as trackers are told.
    fn left(&self) -> u64 {
        match &self.awaits {
            None => self.picker.missing_bytes(),
            Some(awaits) => awaits.cold.as_ref().map_or(UNKNOWN_LEFT, Cold::left),
        }
    }

    /// Whether it has all the pieces that it wants: as a seed, or as a partial seed (BEP 21).
    pub(crate) fn is_done(&self) -> bool {
        match &self.awaits {
            None => self.picker.finished(),
            Some(awaits) => awaits.cold.as_ref().is_some_and(|cold| cold.outline.finished),
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        match &self.awaits {
            None => self.have.is_full(),
            Some(awaits) => awaits.cold.as_ref().is_some_and(|cold| cold.outline.complete),
        }
    }
}
