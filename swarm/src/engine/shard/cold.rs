//! Torrents that run without being open: what they are is recorded, and read when a peer or the user needs it.
//!
//! ```text
//!   add_cold ──▶ trackers, DHT, local network, handshakes; no pieces
//!                    │ a peer came that may need something
//!                    ▼
//!      Idle ──▶ Hesitating ──▶ Queued ──Engine::next_wanted──▶ Opening ──▶ furnish: a torrent like any other
//!        ▲          │             │                               │
//!        └──────────┴─ all left ──┘              not_opened ──────┘ Idle again, and left alone for a while
//! ```
//!
//! A peer of a cold torrent is told nothing after the handshake: its first message has to say which pieces we have, and
//! that is known when the files were looked at. What it says meanwhile is kept as that of a magnet's peers is.

use std::time::Duration;

use rand::RngExt;
use storage::StorageError;

use super::awaited::Awaited;
use super::early::Claim;
use super::peer::Pieces;
use super::torrent::{Activity, Torrent};
use super::{PeerKey, Shard};
use crate::engine::TorrentKey;
use crate::engine::adding::{AddCold, Outline};
use crate::engine::candidates::Source;
use crate::engine::close::Close;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Event;
use crate::engine::scope::Scope;
use crate::engine::time::Time;
use crate::engine::tracker::{self, Families};

/// A peer that says nothing of its pieces for this long has none: without the Fast extension that is how it is said.
const HESITATION: Duration = Duration::from_secs(2);
/// Peers wait for at most this long, all that came meanwhile too.
const PATIENCE: Duration = Duration::from_secs(30);
/// Until a torrent dials again that may not now.
const NO_DIALS: Duration = Duration::from_secs(15);

/// What is known of a torrent that is not open.
pub(crate) struct Cold {
    pub(crate) outline: Outline,
    stage: Stage,
    /// When the first of the peers came that wait.
    since: Time,
    /// Why it could not be opened, and when that is tried again.
    failed: Option<(StorageError, Time)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// Peers are there that did not show whether they need anything.
    Hesitating,
    /// A peer waits, by this number in the order of all.
    Queued(u64),
    /// The application opens it.
    Opening,
}

impl Torrent {
    /// What is known of it, if it is not open.
    pub(crate) fn cold(&self) -> Option<&Cold> {
        self.awaits.as_ref()?.cold.as_ref()
    }

    fn cold_mut(&mut self) -> Option<&mut Cold> {
        self.awaits.as_mut()?.cold.as_mut()
    }
}

impl Cold {
    /// What is recorded.
    pub(super) fn new(now: Time, outline: Outline) -> Self {
        Self { outline, stage: Stage::Idle, since: now, failed: None }
    }

    /// What a torrent does that is not paused.
    pub(super) fn activity(&self) -> Activity {
        match &self.failed {
            Some((error, _)) => Activity::Failed(error.clone()),
            None => Activity::Cold { finished: self.outline.finished },
        }
    }

    /// When it is tried again to open it.
    pub(crate) fn retry_at(&self) -> Option<Time> {
        self.failed.as_ref().map(|(_, at)| *at)
    }

    /// Bytes that are missing, as trackers are told.
    pub(super) fn left(&self) -> u64 {
        self.outline.size.saturating_sub(self.outline.done)
    }
}

impl Shard {
    /// Runs a torrent without opening it.
    pub(crate) fn add_cold(&mut self, cx: &mut Cx, add: &AddCold) -> Option<TorrentKey> {
        let outline = add.outline;
        let config = tracker::Config {
            private: outline.private,
            complete: outline.complete,
            key: cx.rng.random(),
            families: Families::Both,
        };
        let key = self.enlist(cx, add.hashes.id(), config, &add.trackers, add.paused)?;
        self.answer_to_both(key, &add.hashes);
        let slot = key.slot();
        let torrent = &mut self.torrents[slot];
        let cold = Cold::new(cx.now, outline);
        torrent.awaits = Some(Box::new(Awaited::cold(add.hashes, cold)));
        torrent.tracker.recall(cx.now, &add.recalled);
        torrent.candidates.set_complete(cx.now, outline.finished);
        torrent.activity = torrent.next_activity();
        self.list_locally(cx, slot);
        self.mode_changed(cx, slot);
        if outline.finished {
            cx.out.event(Event::Complete { torrent: key });
        }
        self.run_tracker(cx, slot);
        self.add_peers(cx, key, &add.peers, Source::Resume, Scope::Loopback);
        Some(key)
    }

    /// The torrent for which a peer has waited for longest; the application opens it now.
    pub(crate) fn next_wanted(&mut self) -> Option<TorrentKey> {
        let (_, key) = self.wanted.pop_first()?;
        if let Some(cold) = self.torrent_mut(key).and_then(Torrent::cold_mut) {
            cold.stage = Stage::Opening;
        }
        Some(key)
    }

    /// The application opens a torrent. Whether it is cold.
    pub(crate) fn opening(&mut self, key: TorrentKey) -> bool {
        let Some(cold) = self.torrent_mut(key).and_then(Torrent::cold_mut) else { return false };
        if let Stage::Queued(turn) = std::mem::replace(&mut cold.stage, Stage::Opening) {
            self.wanted.remove(&turn);
        }
        true
    }

    /// A torrent could not be opened: whoever waits goes, and nobody comes before it may be tried again.
    pub(crate) fn not_opened(&mut self, cx: &mut Cx, key: TorrentKey, error: StorageError, wait: Duration) {
        let Some(cold) = self.torrent_mut(key).and_then(Torrent::cold_mut) else { return };
        if let Stage::Queued(turn) = std::mem::replace(&mut cold.stage, Stage::Idle) {
            self.wanted.remove(&turn);
        }
        let Some(cold) = self.torrent_mut(key).and_then(Torrent::cold_mut) else { return };
        cold.failed = Some((error, cx.now + wait));
        self.dismiss(cx, key.slot());
        self.review(cx, key.slot());
    }

    /// Whether peers of a cold torrent may come: not while it is known that it cannot be opened, nor when as many wait
    /// for others as may.
    pub(super) fn admits_to_cold(&self, cx: &Cx, torrent: &Torrent) -> Result<(), Close> {
        let Some(cold) = torrent.cold() else { return Ok(()) };
        if cold.retry_at().is_some_and(|at| cx.now < at) {
            return Err(Close::Unready);
        }
        if self.waiting < cx.config.max_waiting { Ok(()) } else { Err(Close::Limit) }
    }

    /// Keeps a torrent from dialling whom it would have to turn away, or to keep waiting. Whether it did.
    pub(super) fn holds_dials(&self, cx: &mut Cx, slot: usize) -> bool {
        let Some(torrent) = self.torrents.get(slot).filter(|torrent| torrent.cold().is_some()) else {
            return false;
        };
        // Half of the places are for those who come by themselves.
        let holds = self.admits_to_cold(cx, torrent).is_err() || 2 * self.waiting >= cx.config.max_waiting;
        if holds {
            cx.torrent_timers.set(slot, TorrentTimer::Dial, cx.now + NO_DIALS);
        }
        holds
    }

    /// A peer came. Whether its torrent is cold.
    pub(super) fn waits(&mut self, cx: &mut Cx, key: PeerKey) -> bool {
        let slot = self.peers[key.slot()].torrent.slot();
        let Some(cold) = self.torrents[slot].cold_mut() else { return false };
        let is_first = cold.stage == Stage::Idle;
        if is_first {
            cold.stage = Stage::Hesitating;
        }
        let is_needed = is_first && !cold.outline.finished;
        self.peers[key.slot()].waits = true;
        self.waiting += 1;
        if self.torrents[slot].peers.len() == 1 {
            if let Some(cold) = self.torrents[slot].cold_mut() {
                cold.since = cx.now;
            }
            cx.torrent_timers.set(slot, TorrentTimer::Cold, cx.now + HESITATION);
        }
        if is_needed {
            self.want(cx, slot);
        }
        true
    }

    /// A peer says something of its pieces: only one that has all of them has no need of us, if we have all that we want.
    pub(super) fn claims_while_cold(&mut self, cx: &mut Cx, key: PeerKey, claim: Claim<'_>) {
        let peer = &self.peers[key.slot()];
        let slot = peer.torrent.slot();
        let Some(cold) = self.torrents[slot].cold() else { return };
        let is_seed = match claim {
            Claim::All => true,
            Claim::Bitfield(_) => {
                let said = peer.early.as_ref().map(|early| early.pieces(cold.outline.pieces));
                matches!(said, Some(Ok(Pieces::All)))
            }
            Claim::Allowed(_) => return,
            Claim::Have(_) | Claim::None | Claim::Lost(_) => false,
        };
        if is_seed && cold.outline.finished {
            self.part_from_idle(cx, key);
        } else {
            self.want(cx, slot);
        }
    }

    /// A peer has no use for a cold torrent, nor that for it.
    pub(super) fn part_from_idle(&mut self, cx: &Cx, key: PeerKey) {
        if cx.config.close_redundant {
            let generation = self.peers[key.slot()].generation;
            self.doomed.push((key, generation, Close::Redundant));
        }
    }

    /// A peer needs a torrent to be open; of no effect when it is.
    pub(super) fn want(&mut self, cx: &mut Cx, slot: usize) {
        let turn = self.turns;
        let torrent = &mut self.torrents[slot];
        let key = torrent.key;
        let Some(cold) = torrent.cold_mut() else { return };
        if matches!(cold.stage, Stage::Idle | Stage::Hesitating) {
            cold.stage = Stage::Queued(turn);
            self.turns += 1;
            self.wanted.insert(turn, key);
            cx.out.event(Event::Wanted { torrent: key });
        }
    }

    /// A peer of a torrent left, and was the last one perhaps: then nobody waits for it.
    pub(super) fn left_cold(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let is_alone = torrent.peers.is_empty();
        let Some(cold) = torrent.cold_mut().filter(|_| is_alone) else { return };
        match cold.stage {
            Stage::Queued(turn) => {
                cold.stage = Stage::Idle;
                self.wanted.remove(&turn);
            }
            Stage::Hesitating => cold.stage = Stage::Idle,
            Stage::Idle | Stage::Opening => {}
        }
        cx.torrent_timers.cancel(slot, TorrentTimer::Cold);
    }

    /// Peers of a cold torrent have waited for a while.
    pub(super) fn waited(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let Some(cold) = torrent.cold() else { return };
        let end = cold.since + PATIENCE;
        if cx.now >= end {
            return self.dismiss(cx, slot);
        }
        if cold.stage == Stage::Hesitating {
            self.want(cx, slot);
        }
        cx.torrent_timers.set(slot, TorrentTimer::Cold, end);
    }

    /// Nobody waits for a torrent any more: it is removed, or open.
    pub(super) fn thaw(&mut self, cx: &mut Cx, slot: usize) {
        if let Some(Cold { stage: Stage::Queued(turn), .. }) = self.torrents[slot].cold() {
            let turn = *turn;
            self.wanted.remove(&turn);
        }
        cx.torrent_timers.cancel(slot, TorrentTimer::Cold);
    }

    /// Tells a peer that waited who we are and what we have, now that it is known. Whether it waited.
    pub(super) fn greet_late(&mut self, cx: &mut Cx, key: PeerKey) -> bool {
        let peer = &mut self.peers[key.slot()];
        let waited = std::mem::take(&mut peer.waits);
        if waited {
            self.waiting -= 1;
            let is_interested = peer.peer_interested;
            self.greet(cx, key);
            if is_interested {
                self.interest_changed(cx, key);
            }
        }
        waited
    }

    /// Parts with all that wait for a torrent.
    fn dismiss(&mut self, cx: &mut Cx, slot: usize) {
        for peer in self.torrents[slot].peers.clone() {
            self.leave(cx, peer, Close::Unready);
        }
    }
}
