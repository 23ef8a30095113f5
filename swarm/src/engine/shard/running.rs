//! Torrents come and go.

use metainfo::{Geometry, InfoHashes, PieceIndex, TorrentId};
use rand::RngExt;
use storage::{Job, Pieces};
use wire::peer::Bitfield;

use super::Shard;
use super::budget::bitfield_bytes;
use super::keeping::{self, Keeping};
use super::ordering::Ordering;
use super::torrent::{Activity, NO_STORE, Torrent, Totals};
use super::verifying::Verification;
use crate::engine::TorrentKey;
use crate::engine::adding::{AddTorrent, Unseen};
use crate::engine::blame::Blame;
use crate::engine::candidates::{self, Candidates, Sources};
use crate::engine::close::Close;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Event;
use crate::engine::pex::Roll;
use crate::engine::picker::{self, Picker, Priority};
use crate::engine::rate::Rate;
use crate::engine::resume::PartialPiece;
use crate::engine::tracker::{self, Families, Schedule};

impl Shard {
    pub(crate) fn torrent(&self, key: TorrentKey) -> Option<&Torrent> {
        self.torrents.get(key.slot()).filter(|torrent| torrent.key == key)
    }

    pub(crate) fn torrent_mut(&mut self, key: TorrentKey) -> Option<&mut Torrent> {
        self.torrents.get_mut(key.slot()).filter(|torrent| torrent.key == key)
    }

    pub(crate) fn add_torrent(&mut self, cx: &mut Cx, add: AddTorrent) -> Option<TorrentKey> {
        let meta = add.meta.clone();
        let config = tracker::Config {
            private: meta.private(),
            complete: add.have.is_full(),
            key: cx.rng.random(),
            families: Families::Both,
        };
        let complete = config.complete;
        let key = self.enlist(cx, meta.id(), config, meta.trackers(), add.paused)?;
        self.answer_to_both(key, meta.info_hashes());
        self.torrents[key.slot()].tracker.recall(cx.now, &add.trackers);
        self.fill(cx, key.slot(), add, []);
        self.list_locally(cx, key.slot());
        self.mode_changed(cx, key.slot());
        if complete {
            cx.out.event(Event::Complete { torrent: key });
        }
        self.run_tracker(cx, key.slot());
        Some(key)
    }

    /// Takes a torrent up, of which nothing is known yet but its name. `None` when it runs already.
    pub(super) fn enlist(
        &mut self,
        cx: &mut Cx,
        id: TorrentId,
        config: tracker::Config,
        trackers: &[Vec<String>],
        paused: bool,
    ) -> Option<TorrentKey> {
        if self.by_id.contains_key(&id) {
            return None;
        }
        self.generation = self.generation.wrapping_add(1);
        let entry = self.torrents.vacant_entry();
        let key = TorrentKey { slot: u32::try_from(entry.key()).ok()?, generation: self.generation };
        let mut keeping = Keeping::new(&Bitfield::new(0));
        keeping.paused = paused;
        keeping.told_stopped = paused;
        let mut schedule = Schedule::new(config, trackers, &mut cx.rng);
        if !paused {
            schedule.start();
        }
        let sources = if config.private { Sources::PRIVATE } else { Sources::ALL };
        let book = candidates::Config { sources, ..candidates::Config::default() };
        entry.insert(Torrent {
            key,
            id,
            also: None,
            limit_nodes: cx.limits.add_torrent(cx.now),
            limits: wire::peer::Limits::DEFAULT,
            activity: Activity::Downloading,
            keeping,
            ordering: Ordering::default(),
            meta: None,
            awaits: None,
            store: NO_STORE,
            have: Bitfield::new(0),
            picker: Picker::new(Geometry::empty(), picker::Config::default()),
            blame: Blame::new(Geometry::empty()),
            peers: Vec::new(),
            hungry: Vec::new(),
            advice: <_>::default(),
            candidates: Candidates::new(book, cx.rng.random()),
            pex: Roll::default(),
            needed_at: cx.now,
            completed: None,
            tracker: schedule,
            totals: Totals::default(),
            down_rate: Rate::new(),
            up_rate: Rate::new(),
        });
        self.by_id.insert(id, key);
        self.ledger.insert(key.slot(), id);
        let ours = [true, false].map(|ipv4| self.external.address(ipv4));
        self.torrents[key.slot()].rank_candidates(cx.now, ours, self.listen_port);
        Some(key)
    }

    /// Peers may ask for a torrent with two hashes by either (BEP 52). It goes by the first; who runs by the other one already
    /// keeps it.
    pub(super) fn answer_to_both(&mut self, key: TorrentKey, hashes: &InfoHashes) {
        let torrent = &mut self.torrents[key.slot()];
        let other = hashes.v2().map(|v2| v2.truncated()).filter(|id| *id != torrent.id);
        if let Some(other) = other
            && *self.by_id.entry(other).or_insert(key) == key
        {
            torrent.also = Some(other);
        }
    }

    /// A torrent that was known by its v2 hash alone turned out to be a hybrid: it goes by its v1 hash, since the peers of its v1
    /// swarm know no other, and still answers to the old one. `false` when another torrent has that name.
    pub(crate) fn rename(&mut self, cx: &mut Cx, key: TorrentKey, id: TorrentId) -> bool {
        let Some(torrent) = self.torrents.get_mut(key.slot()).filter(|torrent| torrent.key == key) else {
            return false;
        };
        if torrent.id == id {
            return true;
        }
        if *self.by_id.entry(id).or_insert(key) != key {
            return false;
        }
        torrent.also = Some(std::mem::replace(&mut torrent.id, id));
        torrent.tracker.start_anew();
        self.ledger.remove(key.slot());
        self.ledger.insert(key.slot(), id);
        self.run_tracker(cx, key.slot());
        true
    }

    /// Gives a torrent its pieces.
    pub(super) fn fill(
        &mut self,
        cx: &mut Cx,
        slot: usize,
        add: AddTorrent,
        priorities: impl IntoIterator<Item = (PieceIndex, Priority)>,
    ) {
        let geometry = add.meta.geometry();
        let pads = add.meta.pads();
        let mut picker = Picker::with_pads(geometry.clone(), pads.clone(), picker::Config::default());
        picker.have_all_of(&add.have);
        if let Some(unseen) = &add.unseen {
            // Not to be fetched; whether they are there is found out when they can be read.
            picker.have_all_of(&unseen.pieces);
        }
        for partial in &add.partial {
            picker.adopt(partial.piece, &partial.blocks);
        }
        if add.seed_only {
            let missing: Vec<_> = geometry.pieces().filter(|piece| !picker.has(*piece)).collect();
            picker.set_priorities(missing.into_iter().map(|piece| (piece, Priority::Skip)));
        } else {
            picker.set_priorities(priorities);
        }
        for PartialPiece { piece, blocks } in add.partial {
            if picker.is_partial(piece) {
                cx.out.jobs.push(Job::Adopt { store: add.store, piece, blocks });
            }
        }
        let began_whole = add.unseen.as_ref().is_some_and(|unseen| {
            (0..add.have.len()).all(|piece| add.have.get(piece) || unseen.pieces.get(piece))
        });
        let unseen = add.unseen.filter(|unseen| !unseen.pieces.is_clear()).map(|Unseen { pieces, why }| {
            let pieces = pieces.iter_ones().filter_map(|piece| geometry.piece(piece).ok()).collect();
            keeping::Unseen::new(pieces, why, cx.now)
        });
        let finished = picker.finished() && unseen.is_none();
        let torrent = &mut self.torrents[slot];
        let known = &torrent.keeping;
        torrent.keeping = Keeping {
            paused: known.paused,
            told_stopped: known.told_stopped,
            seed_only: add.seed_only,
            recorded: add.recorded,
            verification: Verification::new(add.verify && !add.seed_only, finished),
            told_complete: finished,
            began_whole,
            unseen,
            unverified: (add.unverified && !add.have.is_clear()).then(|| add.have.clone()),
            ..Keeping::new(&add.have)
        };
        torrent.limits = wire::peer::Limits::for_pieces(geometry.piece_count());
        torrent.store = add.store;
        torrent.have = add.have;
        torrent.picker = picker;
        torrent.blame = Blame::with_pads(geometry.clone(), pads);
        torrent.meta = Some(add.meta);
        torrent.activity = torrent.next_activity();
        torrent.retarget();
        torrent.candidates.set_complete(cx.now, finished);
        self.by_store.insert(add.store, slot);
        self.arm_idle(cx, slot);
        self.check_padding(cx, slot);
        self.check_unseen(cx, slot);
        self.limit_pieces(cx, slot);
        for key in self.torrents[slot].peers.clone() {
            let bytes = bitfield_bytes(self.torrents[slot].geometry());
            let before = std::mem::replace(&mut self.peers[key.slot()].counted_bits, bytes);
            self.bitfields = self.bitfields - before + bytes;
        }
    }

    pub(crate) fn remove_torrent(&mut self, cx: &mut Cx, key: TorrentKey) {
        if self.torrent(key).is_none() {
            return;
        }
        let slot = key.slot();
        for peer in self.torrents[slot].peers.clone() {
            self.leave(cx, peer, Close::Stopped);
        }
        let ids: Vec<_> = self.sources_of(key).collect();
        for id in ids {
            self.remove_source(cx, id);
        }
        // Nobody waits for it, but what was written is durable before the store is closed.
        if self.torrents[slot].keeping.is_unsynced() {
            self.sync(cx, slot);
        }
        for (_, data) in std::mem::take(&mut self.torrents[slot].keeping.kept) {
            cx.kept -= data.capacity();
            cx.pool.give(data);
        }
        self.thaw(cx, slot);
        self.torrents[slot].tracker.stop();
        self.run_tracker(cx, slot);
        let torrent = self.torrents.remove(slot);
        self.ledger.remove(slot);
        self.unlist_locally(slot);
        cx.limits.remove(torrent.limit_nodes);
        cx.torrent_timers.remove(slot);
        self.metadata -= torrent.awaits.as_ref().map_or(0, |awaits| awaits.held);
        self.by_id.remove(&torrent.id);
        torrent.also.map(|also| self.by_id.remove(&also));
        self.by_store.remove(&torrent.store);
        self.dialers.remove(&slot);
        cx.out.event(Event::Removed { id: torrent.id });
    }

    pub(crate) fn torrent_timer(&mut self, cx: &mut Cx, slot: usize, timer: TorrentTimer) {
        if self.torrents.contains(slot) {
            match timer {
                TorrentTimer::Dial => {
                    self.dialers.insert(slot);
                }
                TorrentTimer::Tracker => self.run_tracker(cx, slot),
                TorrentTimer::Metadata => self.metadata_due(cx, slot),
                TorrentTimer::Layers => self.layers_due(cx, slot),
                TorrentTimer::Cold => self.waited(cx, slot),
                TorrentTimer::Idle => self.look_idle(cx, slot),
                TorrentTimer::Sync => self.sync(cx, slot),
                TorrentTimer::Retry => self.retry(cx, slot),
                TorrentTimer::Recheck => self.check_doubts(cx, slot),
                TorrentTimer::Sweep => self.sweep(cx, slot),
                TorrentTimer::Look => self.look(cx, slot),
                TorrentTimer::Deadline => self.look_at_deadlines(cx, slot),
                TorrentTimer::Settle => self.tell_stopped(cx, slot),
                // The engine's, which has the DHT.
                TorrentTimer::Seek => {}
            }
        }
    }
}
