//! Pieces that are said to be there and may not be: they are checked before anything else is done about them.
//!
//! A piece that cannot be read is not offered or served any more, as all peers are told at once, but it is not fetched either before a check says that it is
//! wrong: what is on disk may be good, and the reason may pass. A piece that stays unreadable is fetched anew, twice at
//! most; then it rests until it can be read. That is so if its bytes cannot be read. If its file cannot even be opened, the
//! bytes are as good as they were: nothing is fetched then until the file can be, which is tried again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use metainfo::PieceIndex;
use storage::{Hashes, Job, Operation, StorageError, Trouble};
use wire::peer::Bitfield;

use super::keeping::{BACK_OFF, Unseen};
use super::peer::Peer;
use super::{PeerKey, Shard};
use crate::engine::TorrentKey;
use crate::engine::changes::Columns;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Event;
use crate::engine::picker::Priority;
use crate::engine::time::Time;

/// Pieces that are withdrawn at a time because a file is gone or too short; more are when they are asked for.
const WITHDRAWN: usize = 1024;
/// Pieces of one torrent that are checked at a time.
const CHECKS: usize = 2;
/// Checks in a row that may end in an error before the piece counts as lost.
const TRIES: u32 = 3;
/// Between two checks of pieces that nobody asks for: a disk that came back has other things to do.
const SWEEP: Duration = Duration::from_millis(250);
/// Times that a piece is fetched anew because it could not be read.
const LOSSES: u32 = 2;

impl Shard {
    /// A piece that we said we have cannot be read: peers are told, that they ask others for it.
    pub(super) fn read_failed(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex, error: &StorageError) {
        if !self.torrents[slot].have.get(piece.get()) {
            return;
        }
        for other in self.lost_with(slot, piece, error) {
            self.withdraw(cx, slot, other);
            let keeping = &mut self.torrents[slot].keeping;
            keeping.forget(other);
            keeping.doubts.entry(other).or_default().again_at = Some(cx.now);
        }
        self.withdraw(cx, slot, piece);
        self.doubt(cx, slot, piece, error);
        self.look_into(cx, slot, error);
        if error.is_gone() {
            self.storage_failed(cx, slot, error.clone());
        }
    }

    /// Other pieces that cannot be read for the same reason: the file is not there, or ends before them.
    fn lost_with(&self, slot: usize, piece: PieceIndex, error: &StorageError) -> Vec<PieceIndex> {
        let torrent = &self.torrents[slot];
        let from = match error.trouble() {
            Trouble::Missing => 0,
            Trouble::Short => error.offset.unwrap_or(u64::MAX),
            _ => return Vec::new(),
        };
        let Some(layout) = torrent.meta.as_deref().map(metainfo::Torrent::layout) else { return Vec::new() };
        let geometry = torrent.geometry();
        let mut segments = layout.segments(geometry.whole(piece));
        let is_it = |index: usize| {
            layout.files().get(index).is_some_and(|file| error.path.ends_with(file.path.as_str()))
        };
        let Some(index) = segments.find(|segment| is_it(segment.file)).map(|segment| segment.file) else {
            return Vec::new();
        };
        let start = layout.files().get(index).map_or(u64::MAX, |file| file.offset.saturating_add(from));
        let pieces = layout.file_pieces(index).into_iter().flatten();
        let pieces = pieces.filter_map(|index| geometry.piece(index).ok()).filter(|other| {
            let end = geometry.piece_start(*other) + u64::from(geometry.piece_len(*other));
            *other != piece && end > start && torrent.have.get(other.get())
        });
        pieces.take(WITHDRAWN).collect()
    }

    /// Takes back what we said of a piece.
    pub(super) fn withdraw(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        if torrent.have.clear(piece.get()) {
            let is_waited_for = torrent.keeping.told_complete;
            let doubt = torrent.keeping.doubts.entry(piece).or_default();
            (doubt.is_withdrawn, doubt.is_waited_for) = (true, is_waited_for);
            self.ledger.mark(slot, Columns::PROGRESS | Columns::FILES);
            self.renege(cx, slot, piece);
        }
    }

    /// What storage holds of a piece is doubtful: it is checked as soon as may be.
    pub(super) fn doubt(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex, error: &StorageError) {
        let torrent = &mut self.torrents[slot];
        let keeping = &mut torrent.keeping;
        let is_news = match error.trouble() {
            Trouble::Missing | Trouble::Short | Trouble::Exists => keeping.told.insert(error.path.clone()),
            _ => keeping.doubts.values().all(|doubt| doubt.again_at.is_none()),
        };
        keeping.forget(piece);
        keeping.doubts.entry(piece).or_default().again_at = Some(cx.now);
        if is_news && keeping.trouble.is_none() && !error.is_gone() {
            cx.out.event(Event::StorageFailed { torrent: torrent.key, error: error.clone() });
        }
        self.check_doubts(cx, slot);
    }

    /// Says which pieces nobody could look at, and tries to check them.
    pub(super) fn check_unseen(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &self.torrents[slot];
        if let Some(unseen) = &torrent.keeping.unseen {
            cx.out.event(Event::StorageFailed { torrent: torrent.key, error: unseen.why.clone() });
            self.check_doubts(cx, slot);
        }
    }

    /// Has those doubtful pieces checked whose time has come.
    pub(super) fn check_doubts(&mut self, cx: &mut Cx, slot: usize) {
        let keeping = &mut self.torrents[slot].keeping;
        let mut next = None;
        if let Some(unseen) = &mut keeping.unseen
            && let Some(at) = unseen.again_at
        {
            if at <= cx.now {
                unseen.again_at = None;
                let (checking, known) = (&keeping.checking, keeping.to_check.len());
                // Unless a check of all is under way.
                let pieces = unseen.pieces.iter().filter(|piece| known == 0 && !checking.contains(piece));
                keeping.to_check.extend(pieces);
            } else {
                next = Some(at);
            }
        }
        for (piece, doubt) in &mut keeping.doubts {
            let Some(at) = doubt.again_at.filter(|_| !doubt.is_queued) else { continue };
            if at <= cx.now {
                doubt.is_queued = true;
                if !keeping.checking.contains(piece) && !keeping.to_check.contains(piece) {
                    keeping.to_check.push_back(*piece);
                }
            } else {
                next = Some(next.map_or(at, |known: crate::engine::Time| known.min(at)));
            }
        }
        if let Some(at) = next {
            cx.torrent_timers.set(slot, TorrentTimer::Recheck, at);
        }
        self.pump_checks(cx, slot);
    }

    /// Checks the pieces that are nothing but padding: nobody is asked for them, and they are there if their hashes say so.
    pub(super) fn check_padding(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let missing = torrent.picker.padding().filter(|piece| !torrent.have.get(piece.get()));
        torrent.keeping.to_check.extend(missing);
        self.pump_checks(cx, slot);
    }

    /// Keeps a few checks under way, unless they would only fail.
    fn pump_checks(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let keeping = &mut torrent.keeping;
        while keeping.may_check() && keeping.checking.len() < CHECKS {
            let Some(piece) = keeping.to_check.pop_front() else { return };
            if keeping.checking.insert(piece) {
                cx.out.jobs.push(Job::Check { store: torrent.store, piece });
            }
        }
    }

    /// Checks one piece of those that nobody has looked at since the files were gone, when no other is being checked.
    pub(super) fn sweep(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let keeping = &mut torrent.keeping;
        if !keeping.may_check() {
            // It goes on with the recovery.
            return;
        }
        let unverified = keeping.unverified.iter().flat_map(Bitfield::iter_ones);
        let next = unverified.into_iter().find(|piece| torrent.have.get(*piece));
        let Some(piece) = next.and_then(|piece| torrent.picker.geometry().piece(piece).ok()) else {
            keeping.sweeps = false;
            keeping.unverified.take_if(|bits| bits.is_clear());
            // What is known of it is worth a record.
            return cx.out.event(Event::Synced { torrent: torrent.key });
        };
        if keeping.checking.is_empty() && keeping.to_check.is_empty() {
            keeping.to_check.push_back(piece);
            self.pump_checks(cx, slot);
        }
        cx.torrent_timers.set(slot, TorrentTimer::Sweep, cx.now + SWEEP);
    }

    /// A peer waits for a piece that nobody has checked yet.
    pub(super) fn check_for(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex, key: PeerKey) {
        let generation = self.peers[key.slot()].generation;
        let keeping = &mut self.torrents[slot].keeping;
        if !keeping.awaiting.contains(&(key, generation)) {
            keeping.awaiting.push((key, generation));
        }
        if !keeping.checking.contains(&piece) && !keeping.to_check.contains(&piece) {
            // Before those that nobody waits for.
            keeping.to_check.push_front(piece);
            self.pump_checks(cx, slot);
        }
    }

    /// A check ended.
    pub(super) fn check_done(
        &mut self,
        cx: &mut Cx,
        slot: usize,
        piece: PieceIndex,
        result: Result<Hashes, StorageError>,
    ) {
        let keeping = &mut self.torrents[slot].keeping;
        let (is_recheck, is_unseen) = (keeping.recheck.is_some(), keeping.is_unseen(piece));
        if let Some(doubt) = keeping.doubts.get_mut(&piece) {
            doubt.is_queued = false;
        }
        if let Some((done, _)) = &mut keeping.recheck {
            *done += 1;
        }
        match result {
            Ok(Hashes::Match) => self.is_there(cx, slot, piece),
            // What contradicts itself is told when it is fetched.
            Ok(Hashes::Differ | Hashes::Contradict) => self.lose(cx, slot, piece),
            Err(error) if (is_recheck || is_unseen) && is_lack(&error) => self.lose(cx, slot, piece),
            Err(error) if is_unseen => self.is_still_unseen(cx, slot, error),
            Err(error) => self.is_unreadable(cx, slot, piece, error),
        }
        self.end_unseen(cx, slot);
        let keeping = &mut self.torrents[slot].keeping;
        if keeping.to_check.is_empty() && keeping.checking.is_empty() {
            let is_over = keeping.recheck.take().is_some();
            keeping.hushed.take_if(|_| keeping.doubts.is_empty());
            let is_told = !keeping.told.is_empty() && keeping.trouble.is_none();
            if keeping.doubts.values().all(|doubt| doubt.again_at.is_none()) {
                keeping.told.clear();
                if is_told {
                    cx.out.event(Event::StorageRecovered { torrent: self.torrents[slot].key });
                }
            }
            if is_over {
                self.verified(cx, slot);
            } else {
                self.verify(cx, slot);
            }
        }
        self.pump_checks(cx, slot);
        if is_recheck {
            self.ledger.mark(slot, Columns::PROGRESS);
        }
        if self.torrents[slot].is_held_up() && self.torrents[slot].keeping.sweeps {
            // Nothing else is left to do.
            self.sweep(cx, slot);
        }
        self.review(cx, slot);
        let awaiting = std::mem::take(&mut self.torrents[slot].keeping.awaiting);
        for (key, generation) in awaiting {
            if self.peers.get(key.slot()).is_some_and(|peer: &Peer| peer.generation == generation) {
                self.pump_uploads(cx, key);
            }
        }
    }

    /// A piece that nobody could look at still cannot be.
    fn is_still_unseen(&mut self, cx: &mut Cx, slot: usize, error: StorageError) {
        if let Some(unseen) = &mut self.torrents[slot].keeping.unseen {
            unseen.why = error.clone();
        }
        if error.is_gone() {
            self.storage_failed(cx, slot, error);
        }
        self.review(cx, slot);
    }

    /// If all pieces were tried that nobody could look at: those that are left are tried later, and if there are none, things
    /// go on.
    fn end_unseen(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let keeping = &mut torrent.keeping;
        let Some(unseen) = &mut keeping.unseen else { return };
        if unseen.pieces.is_empty() {
            keeping.unseen = None;
            if keeping.trouble.is_none() {
                cx.out.event(Event::StorageRecovered { torrent: torrent.key });
            }
            self.review(cx, slot);
        } else if keeping.to_check.is_empty() && keeping.checking.is_empty() && unseen.again_at.is_none() {
            unseen.wait(cx.now);
            self.check_doubts(cx, slot);
        }
    }

    /// A piece was read and matched.
    fn is_there(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        if let Some(unverified) = &mut torrent.keeping.unverified {
            unverified.clear(piece.get());
        }
        let mut was_withdrawn = torrent.keeping.saw(piece);
        if let Some(doubt) = torrent.keeping.doubts.get_mut(&piece) {
            (doubt.tries, doubt.again_at) = (0, None);
            was_withdrawn |= std::mem::take(&mut doubt.is_withdrawn);
        }
        // What was read may yet be only in memory, if a sync failed meanwhile.
        if torrent.keeping.may_check() {
            torrent.keeping.tainted.remove(&piece);
        }
        if !torrent.picker.has(piece) {
            self.passed(cx, slot, piece);
            let torrent = &mut self.torrents[slot];
            if torrent.keeping.seed_only {
                // Only now, so that it is never counted among what peers have for us.
                torrent.picker.set_priority(piece, Priority::Normal);
            }
            return;
        }
        torrent.keeping.held.remove(&piece);
        let (is_new, hushed) = (torrent.have.set(piece.get()), torrent.keeping.hushed);
        self.ledger.mark(slot, Columns::PROGRESS | Columns::FILES);
        if was_withdrawn {
            self.tell_have(cx, slot, piece);
        } else if is_new {
            self.tell_have_since(cx, slot, piece, hushed.unwrap_or(Time::ZERO));
        }
        if !self.torrents[slot].keeping.clean.get(piece.get()) {
            self.is_fresh(cx, slot, piece);
        }
    }

    /// A piece could not be read again.
    fn is_unreadable(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex, error: StorageError) {
        self.withdraw(cx, slot, piece);
        let torrent = &mut self.torrents[slot];
        let doubt = torrent.keeping.doubts.entry(piece).or_default();
        doubt.tries += 1;
        let is_missing = error.trouble() == Trouble::Missing;
        let is_lacking = is_lack(&error);
        // Whoever takes a file away of what is complete, or is not to be written, may bring it back.
        let is_waited_for = torrent.keeping.seed_only || doubt.is_waited_for && is_missing;
        let tries = if is_lacking { 1 } else { TRIES };
        let is_lost = doubt.tries >= tries && doubt.losses < LOSSES && torrent.keeping.trouble.is_none();
        if is_lost && !is_waited_for {
            if is_lacking || error.operation == Operation::Read {
                return self.lose(cx, slot, piece);
            }
            return self.unsee(cx, slot, piece, error);
        }
        let wait = (BACK_OFF[0] * (1 << doubt.tries.min(5))).min(BACK_OFF[1]);
        let wait = if doubt.tries >= TRIES { BACK_OFF[1] } else { wait.max(Duration::from_secs(1)) };
        doubt.again_at = Some(cx.now + wait);
        if error.is_gone() {
            self.storage_failed(cx, slot, error);
        }
        self.check_doubts(cx, slot);
    }

    /// A piece is there as far as is known, and nobody can look at it.
    fn unsee(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex, why: StorageError) {
        let torrent = &mut self.torrents[slot];
        let keeping = &mut torrent.keeping;
        keeping.doubts.remove(&piece);
        let is_first = keeping.unseen.is_none();
        let unseen = keeping.unseen.get_or_insert_with(|| Unseen::new(BTreeSet::new(), why.clone(), cx.now));
        unseen.pieces.insert(piece);
        if is_first {
            unseen.again_at = None;
            unseen.wait(cx.now);
            cx.out.event(Event::StorageFailed { torrent: torrent.key, error: why });
        }
        self.review(cx, slot);
        self.check_doubts(cx, slot);
    }

    /// What is on disk of a piece is not what it should be: it is missing.
    fn lose(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        torrent.keeping.forget(piece);
        if let Some(unverified) = &mut torrent.keeping.unverified {
            unverified.clear(piece.get());
        }
        let mut was_withdrawn = torrent.keeping.saw(piece);
        torrent.keeping.began_whole = false;
        if let Some(doubt) = torrent.keeping.doubts.get_mut(&piece) {
            doubt.losses += 1;
            (doubt.tries, doubt.again_at) = (0, None);
            was_withdrawn |= std::mem::take(&mut doubt.is_withdrawn);
        }
        torrent.have.clear(piece.get());
        self.ledger.mark(slot, Columns::PROGRESS | Columns::FILES);
        if !self.torrents[slot].picker.has(piece) {
            if self.torrents[slot].picker.is_partial(piece) {
                self.torrents[slot].blame.forget(piece);
                self.restart(cx, slot, piece);
            }
            return;
        }
        if !was_withdrawn {
            self.renege(cx, slot, piece);
        }
        let torrent = &mut self.torrents[slot];
        torrent.keeping.verification.lost();
        cx.out.event(Event::PieceFailed { torrent: torrent.key, piece });
        if torrent.keeping.seed_only {
            torrent.picker.set_priority(piece, Priority::Skip);
            // Nobody fetches it: it is looked at again when its file changes.
            torrent.keeping.doubts.entry(piece).or_default();
        }
        if torrent.keeping.recorded {
            // If we were killed while it is written over, the next run would believe the record.
            torrent.keeping.held.insert(piece);
            cx.out.event(Event::Unclaimed { torrent: torrent.key, piece });
        } else {
            self.fetch_anew(cx, slot, piece);
        }
    }

    /// The record of a torrent was saved, and claims no more than these pieces: what it claimed before may be fetched anew.
    pub(crate) fn recorded(&mut self, cx: &mut Cx, key: TorrentKey, claims: &Bitfield) {
        let Some(torrent) = self.torrent_mut(key) else { return };
        let is_free = |piece: &PieceIndex| !claims.get(piece.get());
        let free: Vec<_> = torrent.keeping.held.extract_if(.., |piece| is_free(piece)).collect();
        for piece in free {
            self.fetch_anew(cx, key.slot(), piece);
        }
    }

    /// Lets a piece that is lost be fetched.
    fn fetch_anew(&mut self, cx: &mut Cx, slot: usize, piece: PieceIndex) {
        let torrent = &mut self.torrents[slot];
        torrent.picker.lost(piece);
        let (is_wanted, peers) = (torrent.picker.is_wanted(piece), torrent.peers.clone());
        for key in &peers {
            let peer = &mut self.peers[key.slot()];
            peer.wanted += u32::from(is_wanted && peer.has(piece));
        }
        self.review(cx, slot);
        for key in peers {
            self.update_interest(cx, key);
        }
        self.feed_hungry(cx, slot);
    }

    /// Checks every piece that is not in progress anew. Meanwhile nothing is fetched, and served is what was checked.
    pub(crate) fn recheck(&mut self, cx: &mut Cx, key: TorrentKey) {
        let Some(torrent) = self.torrent_mut(key) else { return };
        let picker = &torrent.picker;
        let pieces: Vec<_> = torrent.geometry().pieces().filter(|p| !picker.is_partial(*p)).collect();
        let keeping = &mut torrent.keeping;
        keeping.recheck = u32::try_from(pieces.len()).ok().filter(|len| *len > 0).map(|len| (0, len));
        keeping.doubts.values_mut().for_each(|doubt| doubt.is_queued = false);
        keeping.to_check = pieces.into_iter().filter(|piece| !keeping.checking.contains(piece)).collect();
        keeping.unverified = None;
        keeping.fresh.clear();
        let slot = key.slot();
        for piece in torrent.have.iter_ones() {
            torrent.keeping.clean.clear(piece);
        }
        torrent.have.clear_all();
        torrent.keeping.hushed.get_or_insert(cx.now);
        self.review(cx, slot);
        self.pump_checks(cx, slot);
    }
}

/// Whether the bytes are not there, as the system says for sure.
fn is_lack(error: &StorageError) -> bool {
    matches!(error.trouble(), Trouble::Missing | Trouble::Short)
}
