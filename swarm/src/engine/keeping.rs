//! What an application asks about the safety of a torrent's bytes: pause, sync, recheck, and what to remember.

use std::net::SocketAddr;

use storage::StoreId;
use wire::peer::Bitfield;

use super::TorrentKey;
use super::api::Engine;
use super::resume::{PartialPiece, ResumeState};
use super::shard::Torrent;
use super::time::Time;

/// Peers that are worth remembering.
const REMEMBERED_PEERS: usize = 100;

impl Engine {
    /// Stops a torrent but keeps it: its peers are closed, its trackers told, what was written is made durable. Neither the DHT nor the
    /// local network hears of it any more.
    /// [`Event::Stopped`](super::Event::Stopped) follows when it is at rest, after 10 s at the latest.
    pub fn pause(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        self.stop_seeking(key);
        self.shard.pause(&mut self.cx, key);
        self.maintain();
    }

    /// As [`Engine::pause`] before the end: [`Event::Stopped`](super::Event::Stopped) follows also when the torrent is paused already.
    pub fn wind_down(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        self.stop_seeking(key);
        self.shard.wind_down(&mut self.cx, key);
        self.maintain();
    }

    /// Runs a torrent again that was paused.
    pub fn resume(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        if self.shard.unpause(&mut self.cx, key) {
            self.seek_peers(key);
        }
        self.maintain();
    }

    /// Makes what was written of a torrent durable now. [`Event::Synced`](super::Event::Synced) follows, unless a
    /// storage failure does.
    pub fn sync(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        self.shard.sync_now(&mut self.cx, key);
        self.maintain();
    }

    /// Checks anew what a torrent's files hold. Nothing is fetched meanwhile.
    pub fn recheck(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        self.shard.recheck(&mut self.cx, key);
        self.maintain();
    }

    /// Says how many bytes are free on the device of a store, to be looked at every few seconds while it is written to. Below
    /// [`Config::min_free`](super::Config::min_free) its torrent stops writing until there is room again.
    pub fn set_space(&mut self, now: Time, store: StoreId, free: u64) {
        self.cx.at(now);
        self.shard.set_space(&mut self.cx, store, free);
        self.maintain();
    }

    /// Says that the record of a torrent was saved and claims these pieces: the clean ones of an [`Engine::resume_state`] that
    /// is older than no other that was recorded. See [`AddTorrent::recorded`](super::AddTorrent::recorded).
    pub fn recorded(&mut self, now: Time, key: TorrentKey, claims: &Bitfield) {
        self.cx.at(now);
        self.shard.recorded(&mut self.cx, key, claims);
        self.maintain();
    }

    /// Those pieces of [`Engine::have`] that nobody has checked yet; `None` when all were.
    pub fn unverified(&self, key: TorrentKey) -> Option<&Bitfield> {
        self.shard.torrent(key)?.keeping.unverified()
    }

    /// What to remember of a torrent: best asked for after [`Event::Synced`](super::Event::Synced) and
    /// [`Event::Stopped`](super::Event::Stopped). O(pieces / 64 + candidates).
    pub fn resume_state(&self, now: Time, key: TorrentKey) -> Option<ResumeState> {
        let torrent = self.shard.torrent(key)?;
        let partial = torrent.keeping.safe_blocks();
        Some(ResumeState {
            clean: torrent.keeping.clean(),
            have: torrent.claimed(),
            doubtful: torrent.doubtful(),
            unverified: torrent.keeping.unverified().cloned(),
            partial: partial.map(|(piece, blocks)| PartialPiece { piece, blocks: blocks.to_vec() }).collect(),
            totals: torrent.totals,
            candidates: best_candidates(torrent),
            trackers: torrent.tracker.memos(now),
            paused: torrent.keeping.is_paused(),
        })
    }
}

fn best_candidates(torrent: &Torrent) -> Vec<SocketAddr> {
    let mut known: Vec<_> = torrent
        .candidates
        .iter()
        .filter(|(_, info)| info.connected || info.failures == 0)
        .map(|(addr, info)| (!info.connected, addr))
        .collect();
    // Those that are connected first, else in order of address: stable from one record to the next.
    known.sort_unstable();
    known.into_iter().take(REMEMBERED_PEERS).map(|(_, addr)| addr).collect()
}
