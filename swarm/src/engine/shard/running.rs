//! Torrents come and go.

use rand::RngExt;
use storage::Job;

use super::Shard;
use super::keeping::Keeping;
use super::torrent::{Torrent, Totals};
use crate::engine::TorrentKey;
use crate::engine::api::AddTorrent;
use crate::engine::blame::Blame;
use crate::engine::candidates::{self, Candidates, Sources};
use crate::engine::close::Close;
use crate::engine::cx::{Cx, TorrentTimer};
use crate::engine::output::Event;
use crate::engine::picker::{self, Picker};
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
        let id = add.meta.id();
        if self.by_id.contains_key(&id) {
            return None;
        }
        self.generation = self.generation.wrapping_add(1);
        let entry = self.torrents.vacant_entry();
        let key = TorrentKey { slot: u32::try_from(entry.key()).ok()?, generation: self.generation };
        let mut picker = Picker::new(add.meta.geometry().clone(), picker::Config::default());
        picker.have_all_of(&add.have);
        for partial in &add.partial {
            picker.adopt(partial.piece, &partial.blocks);
        }
        let complete = add.have.is_full();
        let mut keeping = Keeping::new(&add.have);
        keeping.paused = add.paused;
        keeping.told_stopped = add.paused;
        keeping.seed_only = add.seed_only;
        keeping.told_complete = picker.finished();
        keeping.unverified = (add.unverified && !add.have.is_clear()).then(|| add.have.clone());
        let config = tracker::Config {
            private: add.meta.private(),
            complete,
            key: cx.rng.random(),
            families: Families::Both,
        };
        let mut schedule = Schedule::new(config, add.meta.trackers(), &mut cx.rng);
        if !add.paused {
            schedule.start();
        }
        let sources = if add.meta.private() { Sources::PRIVATE } else { Sources::ALL };
        let book = candidates::Config { sources, ..candidates::Config::default() };
        entry.insert(Torrent {
            key,
            id,
            limit_nodes: cx.limits.add_torrent(cx.now),
            limits: wire::peer::Limits::for_pieces(add.meta.geometry().piece_count()),
            activity: keeping.activity(picker.finished()),
            keeping,
            store: add.store,
            have: add.have,
            picker,
            blame: Blame::new(add.meta.geometry().clone()),
            peers: Vec::new(),
            hungry: Vec::new(),
            candidates: Candidates::new(book, cx.rng.random()),
            tracker: schedule,
            totals: Totals::default(),
            down_rate: Rate::new(),
            up_rate: Rate::new(),
            meta: add.meta,
        });
        self.by_id.insert(id, key);
        self.ledger.insert(key.slot(), id);
        self.by_store.insert(add.store, key.slot());
        let ours = [true, false].map(|ipv4| self.external.address(ipv4));
        self.torrents[key.slot()].rank_candidates(cx.now, ours, self.listen_port);
        self.mode_changed(cx, key.slot());
        let torrent = &mut self.torrents[key.slot()];
        torrent.candidates.set_complete(cx.now, torrent.picker.finished());
        if complete {
            cx.out.event(Event::Complete { torrent: key });
        }
        for PartialPiece { piece, blocks } in add.partial {
            if torrent.picker.is_partial(piece) {
                cx.out.jobs.push(Job::Adopt { store: add.store, piece, blocks });
            }
        }
        self.run_tracker(cx, key.slot());
        Some(key)
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
        let keeping = &self.torrents[slot].keeping;
        if keeping.trouble.is_none() && (keeping.dirty || !keeping.fresh.is_empty()) {
            self.sync(cx, slot);
        }
        for (_, data) in std::mem::take(&mut self.torrents[slot].keeping.kept) {
            cx.kept -= data.capacity();
            cx.pool.give(data);
        }
        self.torrents[slot].tracker.stop();
        self.run_tracker(cx, slot);
        let torrent = self.torrents.remove(slot);
        self.ledger.remove(slot);
        cx.limits.remove(torrent.limit_nodes);
        cx.torrent_timers.remove(slot);
        self.by_id.remove(&torrent.id);
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
                TorrentTimer::Sync => self.sync(cx, slot),
                TorrentTimer::Retry => self.retry(cx, slot),
                TorrentTimer::Recheck => self.check_doubts(cx, slot),
                TorrentTimer::Settle => self.tell_stopped(cx, slot),
            }
        }
    }
}
