//! Reading a download back before it counts as complete, where that is asked for.
//!
//! ```text
//!          all that is wanted is there       durable             all of it matched
//!   Due ─────────────────────────────▶ sync ─────────▶ Running ──────────────────▶ Done: complete
//!    ▲                                                    │                          │
//!    └────────────── something is to be fetched (anew) ◀──┴──────────────────────────┘
//! ```

use super::Shard;
use super::torrent::{Activity, Torrent};
use crate::engine::cx::Cx;
use crate::engine::output::Event;

/// Whether a download is read back before it counts as complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verification {
    /// Nobody asked for it.
    #[default]
    Off,
    /// When all that is wanted is there.
    Due,
    /// It is being read.
    Running {
        /// Pieces that were there, and are not as they are to be.
        lost: u32,
    },
    /// It was.
    Done,
}

impl Verification {
    /// Of a torrent that is added.
    pub(super) fn new(is_asked: bool, is_complete: bool) -> Self {
        match (is_asked, is_complete) {
            (false, _) => Self::Off,
            (true, false) => Self::Due,
            (true, true) => Self::Done,
        }
    }

    /// Something is to be fetched.
    pub(super) fn downloads(&mut self) {
        if *self == Self::Done {
            *self = Self::Due;
        }
    }

    /// A piece was lost.
    pub(super) fn lost(&mut self) {
        if let Self::Running { lost } = self {
            *lost += 1;
        }
    }

    /// Whether something is to be read back yet.
    pub(super) fn is_ahead(self) -> bool {
        matches!(self, Self::Due | Self::Running { .. })
    }
}

impl Torrent {
    /// The same, unless that is to be read back before it counts.
    pub(super) fn unless_unverified(&self, activity: Activity) -> Activity {
        if activity.is_seeding() && self.keeping.verification.is_ahead() {
            Activity::Checking { done: 0, total: self.geometry().piece_count() }
        } else {
            activity
        }
    }
}

impl Shard {
    /// Reads a torrent back if that is due: when it is durable, and nothing of it is doubtful.
    pub(super) fn verify(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &self.torrents[slot];
        let keeping = &torrent.keeping;
        let is_due = matches!(torrent.activity, Activity::Checking { .. })
            && keeping.verification == Verification::Due
            && keeping.recheck.is_none();
        if !is_due || keeping.in_doubt().next().is_some() {
            return;
        }
        if keeping.is_unsynced() || keeping.sync.is_some() {
            return self.sync(cx, slot);
        }
        let key = torrent.key;
        self.torrents[slot].keeping.verification = Verification::Running { lost: 0 };
        self.recheck(cx, key);
    }

    /// All pieces were read.
    pub(super) fn verified(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let Verification::Running { lost } = torrent.keeping.verification else { return };
        // What could not be read is tried again; then all is read once more.
        let is_right = lost == 0 && torrent.keeping.in_doubt().next().is_none();
        torrent.keeping.verification = if is_right { Verification::Done } else { Verification::Due };
        cx.out.event(Event::Verified { torrent: torrent.key, lost });
    }
}
