//! What an application asks of a running torrent, and what it may look at, besides the driver's calls.

use std::net::SocketAddr;

use metainfo::{Block, PieceIndex, TorrentId};
use storage::Buf;

use super::TorrentKey;
use super::api::Engine;
use super::changes::{Columns, Delta};
use super::picker::Priority;
use super::shard::SourceId;
use super::time::Time;
use super::tracker::{TrackerId, TrackerStatus};

impl Engine {
    /// Whether a driver has something to do before it waits: bytes to move, jobs to hand to the disk, actions to take.
    pub fn has_work(&self) -> bool {
        self.has_transfer() || !self.cx.out.jobs.is_empty() || !self.cx.out.actions.is_empty()
    }

    /// The name of a torrent towards others.
    pub fn torrent_id(&self, key: TorrentKey) -> Option<TorrentId> {
        self.shard.torrent(key).map(|torrent| torrent.id)
    }

    /// The key of a running torrent.
    pub fn torrent_key(&self, id: TorrentId) -> Option<TorrentKey> {
        self.shard.by_id.get(&id).copied()
    }

    /// What changed in these columns of all torrents since a revision; zero is a new reader. The first question makes the
    /// engine note changes, with revisions above `first`. A reader that is up to date is told nothing new for a quarter
    /// of a second.
    pub fn changes_since(
        &mut self,
        now: Time,
        first: u64,
        revision: u64,
        columns: Columns,
    ) -> Delta<TorrentId> {
        self.shard.watch_changes(now, first);
        self.shard.changes_since(now, revision, columns)
    }

    /// Changes how much pieces are wanted; those that are not named stay as they are. A torrent whose wanted pieces are
    /// all there seeds, and downloads again when more are wanted. O(pieces).
    pub fn set_priorities(
        &mut self,
        now: Time,
        key: TorrentKey,
        changes: impl IntoIterator<Item = (PieceIndex, Priority)>,
    ) {
        self.cx.at(now);
        self.shard.set_priorities(&mut self.cx, key, changes);
        self.maintain();
    }

    /// Adds a tracker at the end of a tier. `None` when it is there already, or there are too many.
    pub fn add_tracker(&mut self, now: Time, key: TorrentKey, tier: u32, url: &str) -> Option<TrackerId> {
        self.cx.at(now);
        let id = self.shard.torrent_mut(key)?.tracker.add(tier, url);
        self.shard.run_tracker(&mut self.cx, key.slot());
        self.maintain();
        id
    }

    /// Takes a tracker from a torrent: it is told that the torrent left, and not asked any more. Peers that it named stay. Of
    /// no effect when it is not there.
    pub fn remove_tracker(&mut self, now: Time, key: TorrentKey, url: &str) {
        self.cx.at(now);
        if let Some(torrent) = self.shard.torrent_mut(key)
            && torrent.tracker.remove(url).is_some()
        {
            self.shard.run_tracker(&mut self.cx, key.slot());
            self.maintain();
        }
    }

    /// Gives a torrent a source that delivers ranges, such as a web seed (BEP 19); it claims up to `max_run` pieces
    /// at a time. [`Action::SourceReady`](super::Action::SourceReady) follows. `None` when there is no such torrent.
    pub fn add_source(&mut self, now: Time, key: TorrentKey, max_run: u32) -> Option<SourceId> {
        self.cx.at(now);
        self.shard.add_source(&mut self.cx, key, max_run)
    }

    /// Takes a source away; what it had claimed goes back.
    pub fn remove_source(&mut self, now: Time, source: SourceId) {
        self.cx.at(now);
        self.shard.remove_source(&mut self.cx, source);
        self.maintain();
    }

    /// The next block that a source is to fetch, and the buffer to fetch it into. `None`: nothing to do now; read nothing more
    /// until [`Action::SourceReady`](super::Action::SourceReady).
    pub fn source_next(&mut self, now: Time, source: SourceId) -> Option<(Block, Buf)> {
        self.cx.at(now);
        self.shard.source_next(&mut self.cx, source)
    }

    /// A source fetched a block that [`Engine::source_next`] named.
    pub fn handle_source_block(&mut self, now: Time, source: SourceId, block: Block, data: Buf) {
        self.cx.at(now);
        self.shard.source_block(&mut self.cx, source, block, data);
        self.maintain();
    }

    /// A source could not fetch the block that goes with this buffer.
    pub fn handle_source_failed(&mut self, now: Time, source: SourceId, data: Buf) {
        self.cx.at(now);
        self.shard.source_failed(&mut self.cx, source, data);
        self.maintain();
    }

    /// Somebody announced torrents to the local network (BEP 14). `from` is where the packet came from; it was sent to the
    /// group, not to us alone, since anybody could do that.
    pub fn handle_lsd(&mut self, now: Time, from: SocketAddr, announce: &wire::lsd::Announce<'_>) {
        self.cx.at(now);
        self.shard.heard_locally(&mut self.cx, from, announce);
        self.maintain();
    }

    /// Announces to the trackers as soon as each of them allows.
    pub fn announce_now(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        if let Some(torrent) = self.shard.torrent_mut(key) {
            torrent.tracker.announce_now(now);
            self.shard.run_tracker(&mut self.cx, key.slot());
        }
        self.maintain();
    }

    /// The trackers of a torrent, in the order in which they are tried.
    pub fn trackers(&self, key: TorrentKey) -> impl Iterator<Item = TrackerStatus<'_>> {
        self.shard.torrent(key).into_iter().flat_map(|torrent| torrent.tracker.status())
    }
}
