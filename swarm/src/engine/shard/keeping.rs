//! How safe the bytes of a torrent are: what is durable, what is doubtful, what waits for its storage.
//!
//! ```text
//!              passed              Sync issued           Synced
//!   (written) -------> fresh -----------------> in sync --------> clean
//!                        ^                         |
//!                        |                         | failed
//!                        |                         v
//!   doubtful --- a check passes <-- a later sync -- tainted
//! ```
//!
//! Before the sync that follows a failed one, storage writes anew what the failed one may have lost, as far as the system
//! still has it. What a tainted piece holds after that is read and hashed before the piece is fresh again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use metainfo::{Block, PieceIndex};
use storage::{Buf, StorageError};
use wire::peer::Bitfield;

use super::torrent::Activity;
use super::verifying::Verification;
use crate::engine::picker::PeerKey;
use crate::engine::time::Time;

/// First and longest wait between a storage failure and the next try.
pub(super) const BACK_OFF: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

pub(crate) struct Keeping {
    /// Pieces that matched and were synced after it.
    pub(super) clean: Bitfield,
    /// Pieces that matched since the last sync was asked for.
    pub(super) fresh: Vec<PieceIndex>,
    /// The sync under way.
    pub(super) sync: Option<SyncUnderWay>,
    /// When the last sync was asked for.
    pub(super) synced_at: Time,
    /// Syncs there were; names them.
    pub(super) syncs: u64,
    /// Blocks of pieces in progress that are synced.
    pub(super) safe: BTreeMap<PieceIndex, Vec<u32>>,
    /// Blocks were written since the last sync was asked for.
    pub(super) dirty: bool,
    /// Pieces with bytes that a failed sync may have lost: they are checked after the next one that works.
    pub(super) tainted: BTreeSet<PieceIndex>,
    /// Blocks that the disk has and did not answer.
    pub(super) writing: usize,

    /// Why nothing is written now.
    pub(super) trouble: Option<Trouble>,
    /// How long the next trouble lasts at least; zero after things went well.
    pub(super) wait: Duration,
    /// Blocks that could not be written, to be tried again; first those that the disk refused.
    pub(super) kept: VecDeque<(Block, Buf)>,
    /// Its device has less room than the floor.
    pub(super) is_low: bool,

    /// Pieces that could not be read, or did not match when they were.
    pub(super) doubts: BTreeMap<PieceIndex, Doubt>,
    /// Pieces in progress with bytes in a file that somebody did something to: they are read back before they count.
    pub(super) suspect: BTreeSet<PieceIndex>,
    /// Storage is looking what others did.
    pub(super) looks: bool,
    /// Pieces that may be there and cannot be read, which keeps everything from being fetched.
    pub(super) unseen: Option<Unseen>,
    /// Files that are not there or not whole, as was told.
    pub(super) told: BTreeSet<PathBuf>,
    /// Pieces to be checked, in this order.
    pub(super) to_check: VecDeque<PieceIndex>,
    /// Pieces being checked.
    pub(super) checking: BTreeSet<PieceIndex>,
    /// Since when pieces that are checked anew are not told to peers that come; those that were there were told of them.
    pub(super) hushed: Option<Time>,
    /// Pieces in a recheck of all: done and in total.
    pub(super) recheck: Option<(u32, u32)>,
    /// Pieces that are said to be there and are checked before they are first served.
    pub(super) unverified: Option<Bitfield>,
    /// They are being checked in the background, one after the other, since the files were gone.
    pub(super) sweeps: bool,
    /// Whether a download is read back before it counts as complete.
    pub(super) verification: Verification,
    /// Lost pieces that a record may yet claim: fetched anew when it was saved without them.
    pub(super) held: BTreeSet<PieceIndex>,
    /// Peers that wait for such a check.
    pub(super) awaiting: Vec<(PeerKey, u32)>,

    /// A record claims its pieces.
    pub(super) recorded: bool,
    /// Nothing is ever written.
    pub(super) seed_only: bool,
    pub(super) paused: bool,
    /// It was told that the pause is complete.
    pub(super) told_stopped: bool,
    /// It was told that all that is wanted is there.
    pub(super) told_complete: bool,
    /// All of it may have been there when it was added: some could not be looked at, and nothing was found missing since.
    pub(super) began_whole: bool,
}

pub(super) struct SyncUnderWay {
    pub(super) token: u64,
    pub(super) pieces: Vec<PieceIndex>,
    pub(super) partial: BTreeMap<PieceIndex, Vec<u32>>,
}

/// A storage failure that lasts.
pub(super) struct Trouble {
    pub(super) error: StorageError,
    pub(super) retry_at: Time,
    pub(super) stage: Stage,
    /// It is the floor of free space, not an error.
    pub(super) is_floor: bool,
    /// Files went missing: what was written may be gone too.
    pub(super) was_gone: bool,
    /// A sync is to be tried again.
    pub(super) needs_sync: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    /// A probe is under way.
    Probing,
    /// One kept block is being written.
    Trial,
}

/// A piece that was there and may not be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// Checks that ended in an error, in a row.
    pub(super) tries: u32,
    /// Times that it was fetched anew for it.
    pub(super) losses: u32,
    /// It is to be checked again then.
    pub(super) again_at: Option<Time>,
    /// It is among those to be checked, or being checked, for that.
    pub(super) is_queued: bool,
    /// It was lost while nothing was wanted any more, and is not fetched anew because its file is not there.
    pub(super) is_waited_for: bool,
    /// Peers were told that we do not have it, and are to be told when we have it again.
    pub(super) is_withdrawn: bool,
}

/// Pieces that nobody could look at; they are tried all together.
pub(super) struct Unseen {
    pub(super) pieces: BTreeSet<PieceIndex>,
    /// Why the last try failed.
    pub(super) why: StorageError,
    /// When they are tried again; nothing while they are.
    pub(super) again_at: Option<Time>,
    /// How long to wait after the next try that fails.
    pub(super) wait: Duration,
}

impl Unseen {
    pub(super) fn new(pieces: BTreeSet<PieceIndex>, why: StorageError, now: Time) -> Self {
        Self { pieces, why, again_at: Some(now), wait: BACK_OFF[0] }
    }

    /// They were tried, and some are left.
    pub(super) fn wait(&mut self, now: Time) {
        self.again_at = Some(now + self.wait);
        self.wait = (self.wait * 2).min(BACK_OFF[1]);
    }
}

impl Keeping {
    pub(super) fn new(have: &Bitfield) -> Self {
        Self {
            clean: have.clone(),
            fresh: Vec::new(),
            sync: None,
            synced_at: Time::ZERO,
            syncs: 0,
            safe: BTreeMap::new(),
            dirty: false,
            tainted: BTreeSet::new(),
            writing: 0,
            trouble: None,
            wait: Duration::ZERO,
            kept: VecDeque::new(),
            is_low: false,
            doubts: BTreeMap::new(),
            suspect: BTreeSet::new(),
            looks: false,
            unseen: None,
            told: BTreeSet::new(),
            to_check: VecDeque::new(),
            checking: BTreeSet::new(),
            hushed: None,
            recheck: None,
            unverified: None,
            sweeps: false,
            verification: Verification::Off,
            held: BTreeSet::new(),
            awaiting: Vec::new(),
            recorded: false,
            seed_only: false,
            paused: false,
            told_stopped: false,
            told_complete: false,
            began_whole: false,
        }
    }

    /// What the torrent does, given whether all that is wanted is there.
    pub(super) fn activity(&self, finished: bool) -> Activity {
        if self.paused {
            Activity::Paused
        } else if let Some(trouble) = &self.trouble {
            Activity::Failed(trouble.error.clone())
        } else if let Some(unseen) = &self.unseen {
            Activity::Failed(unseen.why.clone())
        } else if let Some((done, total)) = self.recheck {
            Activity::Checking { done, total }
        } else if finished {
            Activity::Seeding
        } else {
            Activity::Downloading
        }
    }

    /// Pieces that matched and were synced after it, without those that are doubtful since.
    pub(crate) fn clean(&self) -> Bitfield {
        let mut clean = self.clean.clone();
        if let Some(unverified) = &self.unverified {
            clean.and_not(unverified);
        }
        clean
    }

    pub(crate) fn unverified(&self) -> Option<&Bitfield> {
        self.unverified.as_ref()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Blocks of pieces in progress that are synced.
    pub(crate) fn safe_blocks(&self) -> impl Iterator<Item = (PieceIndex, &[u32])> {
        self.safe.iter().map(|(piece, blocks)| (*piece, &blocks[..]))
    }

    /// Pieces that wait for a check, or are being checked.
    pub(super) fn in_doubt(&self) -> impl Iterator<Item = PieceIndex> {
        let doubts = self.doubts.iter().filter(|(_, doubt)| doubt.again_at.is_some()).map(|(piece, _)| piece);
        doubts.chain(&self.to_check).chain(&self.checking).copied().chain(self.unseen())
    }

    /// Pieces that are checked in the background.
    pub(super) fn swept(&self) -> impl Iterator<Item = u32> {
        self.unverified.iter().filter(|_| self.sweeps).flat_map(Bitfield::iter_ones)
    }

    /// When the storage is tried again.
    pub(crate) fn retry_at(&self) -> Option<Time> {
        match (&self.trouble, &self.unseen) {
            (Some(trouble), _) => (!trouble.is_floor).then_some(trouble.retry_at),
            (None, unseen) => unseen.as_ref()?.again_at,
        }
    }

    /// Pieces that nobody could look at.
    fn unseen(&self) -> impl Iterator<Item = PieceIndex> {
        self.unseen.iter().flat_map(|unseen| &unseen.pieces).copied()
    }

    /// A piece that nobody could look at was seen; whether it was one.
    pub(super) fn saw(&mut self, piece: PieceIndex) -> bool {
        self.unseen.as_mut().is_some_and(|unseen| unseen.pieces.remove(&piece))
    }

    /// Whether a sync may be asked for: what was written before writes began to fail is as good as ever, while a sync that
    /// failed is tried again only when a probe went well.
    pub(super) fn may_sync(&self) -> bool {
        self.sync.is_none()
            && self.trouble.as_ref().is_none_or(|trouble| match trouble.stage {
                Stage::Trial => true,
                Stage::Waiting | Stage::Probing => !trouble.needs_sync && !trouble.was_gone,
            })
    }

    /// Whether pieces may be checked: not while there is nothing to read from, nor before what a failed sync lost was
    /// written anew.
    pub(super) fn may_check(&self) -> bool {
        self.trouble.as_ref().is_none_or(|trouble| !trouble.needs_sync && !trouble.was_gone)
    }

    /// Whether something was written, or passed, that no sync was asked for yet.
    pub(super) fn is_unsynced(&self) -> bool {
        self.dirty || !self.fresh.is_empty()
    }

    /// Whether nothing is doubtful, waits, or is looked into.
    pub(super) fn is_at_ease(&self) -> bool {
        let is_known = self.in_doubt().next().is_none() && self.unverified.is_none();
        let is_safe = !self.is_unsynced() && self.tainted.is_empty() && self.suspect.is_empty();
        is_known
            && is_safe
            && self.trouble.is_none()
            && self.kept.is_empty()
            && self.held.is_empty()
            && self.awaiting.is_empty()
            && self.recheck.is_none()
            && !self.looks
            && !self.verification.is_ahead()
    }

    /// Pieces that were there and cannot be read.
    pub(crate) fn unreadable(&self) -> u32 {
        let doubts = self.doubts.iter().filter(|(_, doubt)| doubt.again_at.is_some());
        let others = doubts.filter(|(piece, _)| !self.is_unseen(**piece)).count() as u32;
        others + self.unseen.as_ref().map_or(0, |unseen| unseen.pieces.len() as u32)
    }

    /// Pieces that were there and may not be, each once.
    pub(crate) fn lacking(&self) -> impl Iterator<Item = PieceIndex> {
        let held = self.held.iter().filter(|piece| !self.doubts.contains_key(piece));
        let known = self.doubts.keys().chain(held).copied().filter(|piece| !self.is_unseen(*piece));
        known.chain(self.unseen())
    }

    pub(super) fn is_unseen(&self, piece: PieceIndex) -> bool {
        self.unseen.as_ref().is_some_and(|unseen| unseen.pieces.contains(&piece))
    }

    /// The wait before the next try; it doubles.
    pub(super) fn next_wait(&mut self) -> Duration {
        let [first, longest] = BACK_OFF;
        let wait = self.wait.clamp(first, longest);
        self.wait = (wait * 2).min(longest);
        wait
    }

    pub(super) fn is_unverified(&self, piece: PieceIndex) -> bool {
        self.unverified.as_ref().is_some_and(|bits| bits.get(piece.get()))
    }

    /// The piece is as good as not there: what was known of its safety is forgotten.
    pub(super) fn forget(&mut self, piece: PieceIndex) {
        self.clean.clear(piece.get());
        self.safe.remove(&piece);
        self.fresh.retain(|fresh| *fresh != piece);
        if let Some(sync) = &mut self.sync {
            sync.pieces.retain(|synced| *synced != piece);
            sync.partial.remove(&piece);
        }
    }
}
