//! What an application chooses about the order in which a torrent is fetched.

use metainfo::PieceIndex;

use super::TorrentKey;
use super::api::Engine;
use super::order::PieceOrder;
use super::time::Time;

impl Engine {
    /// Changes the order in which pieces of equal priority are begun. O(pieces) when ends of files come or go first.
    pub fn set_order(&mut self, now: Time, key: TorrentKey, order: PieceOrder) {
        self.cx.at(now);
        self.shard.set_order(&mut self.cx, key, order);
        self.maintain();
    }

    /// Names pieces that a reader waits for, and until when, instead of those named before: the most urgent 64 are asked
    /// for before all others, of the fastest peers, and of several when they are late. None ends it.
    pub fn set_deadlines(&mut self, now: Time, key: TorrentKey, deadlines: Vec<(PieceIndex, Time)>) {
        self.cx.at(now);
        self.shard.set_deadlines(&mut self.cx, key, deadlines);
        self.maintain();
    }
}
