//! Torrents of which only the hashes are known, until they are whole.
//!
//! ```text
//!   add_magnet ──▶ peers, trackers, timers run; no pieces ──Event::Metadata──▶ the application opens files
//!                                                                                │
//!                  a torrent like any other ◀──────────── furnish ◀──────────────┘
//! ```

use metainfo::{InfoHashes, PieceIndex};
use rand::RngExt;

use super::awaited::Awaited;
use super::early::{Claim, Early};
use super::metadata::AHEAD;
use super::peer::Pieces;
use super::{PeerKey, Shard};
use crate::engine::TorrentKey;
use crate::engine::adding::{AddMagnet, AddTorrent};
use crate::engine::candidates::{Source, Sources};
use crate::engine::changes::Columns;
use crate::engine::close::Close;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Event;
use crate::engine::picker::Priority;
use crate::engine::scope::Scope;
use crate::engine::tracker::{self, Families};
use wire::peer::{ExtendedHandshake, Message};

impl Shard {
    /// Looks for a torrent.
    pub(crate) fn add_magnet(&mut self, cx: &mut Cx, add: &AddMagnet) -> Option<TorrentKey> {
        let config = tracker::Config {
            private: false,
            complete: false,
            key: cx.rng.random(),
            families: Families::Both,
        };
        let key = self.enlist(cx, add.hashes.id(), config, &add.trackers, add.paused)?;
        self.answer_to_both(key, &add.hashes);
        let torrent = &mut self.torrents[key.slot()];
        torrent.awaits = Some(Box::new(Awaited::new(add.hashes)));
        torrent.tracker.hurry();
        torrent.tracker.recall(cx.now, &add.recalled);
        torrent.activity = torrent.next_activity();
        self.mode_changed(cx, key.slot());
        self.run_tracker(cx, key.slot());
        self.add_peers(cx, key, &add.peers, Source::Link, Scope::Loopback);
        Some(key)
    }

    /// Takes what a peer says of pieces that nobody knows yet. Over the share of all, what the greatest talker said is
    /// forgotten, and the peer stays: it may have the metadata.
    pub(super) fn early_claim(&mut self, cx: &mut Cx, key: PeerKey, claim: Claim<'_>) -> Result<(), Close> {
        let Some(early) = &mut self.peers[key.slot()].early else { return Ok(()) };
        let before = early.held();
        let result = early.claim(claim);
        self.early = self.early + early.held() - before;
        while self.early > cx.shares.early {
            let talkers = self.peers.iter_mut().filter_map(|(_, peer)| peer.early.as_deref_mut());
            let Some(greatest) = talkers.max_by_key(|early| early.held()) else { break };
            self.early -= greatest.held();
            greatest.lose();
        }
        if result.is_ok() {
            self.may_have_layers(cx, key);
            self.claims_while_cold(cx, key, claim);
        }
        result
    }

    /// Makes a torrent whole.
    pub(crate) fn furnish(
        &mut self,
        cx: &mut Cx,
        key: TorrentKey,
        add: AddTorrent,
        priorities: impl IntoIterator<Item = (PieceIndex, Priority)>,
    ) -> bool {
        let slot = key.slot();
        let Some(torrent) = self.torrent_mut(key) else { return false };
        let looked_for = torrent.awaits.as_ref().map(|awaits| awaits.hashes);
        if !looked_for.is_some_and(|hashes| are_of(&hashes, add.meta.info_hashes())) {
            return false;
        }
        if !self.rename(cx, key, add.meta.id()) {
            return false;
        }
        self.answer_to_both(key, add.meta.info_hashes());
        self.thaw(cx, slot);
        let was_finished = self.torrents[slot].is_done();
        let awaits = self.torrents[slot].awaits.take();
        let was_cold = awaits.as_ref().is_some_and(|awaits| awaits.cold.is_some());
        self.metadata -= awaits.as_ref().map_or(0, |awaits| awaits.held);
        cx.torrent_timers.cancel(slot, TorrentTimer::Metadata);
        cx.torrent_timers.cancel(slot, TorrentTimer::Layers);
        self.fill(cx, slot, add, priorities);
        let torrent = &mut self.torrents[slot];
        // What is wanted may be there already, although not all is.
        let finished = torrent.keeping.told_complete;
        torrent.tracker.set_nature(torrent.is_private(), torrent.is_complete());
        if torrent.is_private() {
            let others = awaits.map(|awaits| awaits.named_by_others(torrent.tracker.current()));
            self.keep_one_tracker(cx, slot, others.unwrap_or_default());
            self.go_private(cx, slot);
        }
        self.list_locally(cx, slot);
        let said = ExtendedHandshake { upload_only: self.set_mode(slot), ..self.what_it_is(cx, slot, true) };
        if !was_cold {
            self.say_to_all(cx, slot, &said);
        }
        for peer in self.torrents[slot].peers.clone() {
            self.catch_up(cx, peer);
        }
        if finished && !was_finished {
            cx.out.event(Event::Complete { torrent: key });
        }
        self.run_tracker(cx, slot);
        self.arm_dial(cx, slot);
        true
    }

    /// A torrent that awaits being whole is known to be private.
    pub(crate) fn declare_private(&mut self, cx: &mut Cx, key: TorrentKey) {
        let slot = key.slot();
        let Some(torrent) = self.torrent_mut(key) else { return };
        if let Some(awaits) = torrent.awaits.as_mut().filter(|awaits| !awaits.private) {
            awaits.private = true;
            torrent.tracker.set_nature(true, false);
            let others = awaits.named_by_others(torrent.tracker.current());
            self.keep_one_tracker(cx, slot, others);
            self.go_private(cx, slot);
            let said = self.what_it_is(cx, slot, true);
            self.say_to_all(cx, slot, &said);
            self.run_tracker(cx, slot);
        }
    }

    /// Readers of changes are to look again at what a torrent is.
    pub(crate) fn described(&mut self, key: TorrentKey) {
        if self.torrent(key).is_some() {
            self.ledger.mark(key.slot(), Columns::IDENTITY | Columns::PROGRESS | Columns::FILES);
        }
    }

    /// Forgets the peers that a private torrent may not use, and parts with them. Who dialled us and was named by nobody stays.
    fn go_private(&mut self, cx: &mut Cx, slot: usize) {
        let torrent = &mut self.torrents[slot];
        let is_open = |key: &PeerKey| {
            let known = self.peers[key.slot()].listens.and_then(|addr| torrent.candidates.get(addr));
            known.is_some_and(|known| known.sources.are_open())
        };
        let dropped: Vec<PeerKey> = torrent.peers.iter().copied().filter(is_open).collect();
        torrent.candidates.purge(cx.now, Sources::PRIVATE);
        for key in dropped {
            self.leave(cx, key, Close::Private);
        }
    }

    /// What a peer said too early counts now, and it is told what we have.
    fn catch_up(&mut self, cx: &mut Cx, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let early = peer.early.take().unwrap_or_default();
        self.early -= early.held();
        let is_greeted = self.greet_late(cx, key);
        if !is_greeted {
            self.peers[key.slot()].untold = Some(0);
            self.pump_haves(key);
        }
        match self.judge(key, &early) {
            Ok(Pieces::Unsaid) => {}
            Ok(pieces) => self.announced_pieces(cx, key, pieces),
            Err(reason) => return self.leave(cx, key, reason),
        }
        self.part_if_redundant(cx, key);
        if !is_greeted {
            self.tell_node(key);
            self.allow_fast(key);
        }
        self.begin_exchange(cx, key);
        let peer = &mut self.peers[key.slot()];
        cx.ready.enlist(&mut peer.link, crate::engine::link::Direction::Write);
    }

    /// Tells a peer that came before we knew the pieces which of them we have, as its socket takes it: not all clients take
    /// a bitfield so late.
    pub(super) fn pump_haves(&mut self, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let Some(from) = peer.untold else { return };
        let have = &self.torrents[peer.torrent.slot()].have;
        for index in from..have.len() {
            if peer.link.tx.control() > AHEAD {
                peer.untold = Some(index);
                return;
            }
            if have.get(index) {
                peer.link.tx.push(&Message::Have(index));
            }
        }
        peer.untold = None;
    }

    fn judge(&mut self, key: PeerKey, early: &Early) -> Result<Pieces, Close> {
        let peer = &mut self.peers[key.slot()];
        let geometry = self.torrents[peer.torrent.slot()].geometry();
        peer.down.allowed = early.allowed(geometry)?;
        early.pieces(geometry.piece_count())
    }
}

/// Whether the hashes of a whole torrent are those that were looked for.
fn are_of(looked_for: &InfoHashes, found: &InfoHashes) -> bool {
    let v1 = looked_for.v1().is_none_or(|v1| found.v1() == Some(v1));
    v1 && looked_for.v2().is_none_or(|v2| found.v2() == Some(v2))
}
