//! Torrents are added, whole, by their hashes or without being opened, and removed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metainfo::{InfoHashes, PieceIndex, Torrent, TorrentId};
use storage::{StorageError, StoreId};
use wire::peer::Bitfield;

use super::TorrentKey;
use super::api::Engine;
use super::close::Close;
use super::picker::Priority;
use super::resume::{PartialPiece, TrackerMemo};
use super::time::Time;

/// What to run.
pub struct AddTorrent {
    /// Its metainfo.
    pub meta: Arc<metainfo::Torrent>,
    /// Where its bytes are, as the disk named it.
    pub store: StoreId,
    /// The pieces that are there and were checked.
    pub have: Bitfield,
    /// Pieces in progress whose blocks an earlier run wrote. They are read back when the rest is there, and fetched anew if
    /// they turn out wrong.
    pub partial: Vec<PartialPiece>,
    /// The pieces of `have` are only said to be there: each is checked before it is first served, and is missing if it is
    /// wrong.
    pub unverified: bool,
    /// Pieces besides those of `have` that may be there, and could not be read.
    pub unseen: Option<Unseen>,
    /// A record outside claims its pieces, and [`Engine::recorded`] tells when it was saved: a piece that turns out wrong is not
    /// written over before the record was saved without it.
    pub recorded: bool,
    /// Nothing is ever written: a piece that gets lost is not fetched.
    pub seed_only: bool,
    /// When all that is wanted was fetched it is made durable, read back and checked before it counts as complete. What does not match is
    /// fetched anew, and then all is read again.
    pub verify: bool,
    /// It waits until it is [resumed](Engine::resume).
    pub paused: bool,
    /// What an earlier run remembered of its trackers, also of those that are added next.
    pub trackers: Vec<TrackerMemo>,
}

/// Pieces that may be there. They are checked as soon as they can be read, and until then nothing is fetched.
#[derive(Clone, Debug)]
pub struct Unseen {
    /// Which they are.
    pub pieces: Bitfield,
    /// Why they could not be read.
    pub why: StorageError,
}

impl AddTorrent {
    /// A torrent that runs, and fetches what is missing.
    pub fn new(meta: Arc<metainfo::Torrent>, store: StoreId, have: Bitfield) -> Self {
        Self {
            meta,
            store,
            have,
            partial: Vec::new(),
            unverified: false,
            unseen: None,
            recorded: false,
            seed_only: false,
            verify: false,
            paused: false,
            trackers: Vec::new(),
        }
    }
}

/// What to look for, when only the hashes of a torrent are known.
#[derive(Clone, Debug)]
pub struct AddMagnet {
    /// Its hashes; all of them have to match.
    pub hashes: InfoHashes,
    /// Trackers in tiers (`tr`).
    pub trackers: Vec<Vec<String>>,
    /// Peers that the magnet names (`x.pe`).
    pub peers: Vec<SocketAddr>,
    /// What an earlier run remembered of its trackers.
    pub recalled: Vec<TrackerMemo>,
    /// It waits until it is [resumed](Engine::resume).
    pub paused: bool,
}

impl AddMagnet {
    /// A torrent to look for by its hashes alone.
    pub fn new(hashes: InfoHashes) -> Self {
        Self { hashes, trackers: Vec::new(), peers: Vec::new(), recalled: Vec::new(), paused: false }
    }
}

/// What to run without opening it: what it is and how far it is is recorded.
#[derive(Clone, Debug)]
pub struct AddCold {
    /// Its hashes.
    pub hashes: InfoHashes,
    /// How far it is.
    pub outline: Outline,
    /// All its trackers, in tiers.
    pub trackers: Vec<Vec<String>>,
    /// What an earlier run remembered of them.
    pub recalled: Vec<TrackerMemo>,
    /// Peers that were worth dialling.
    pub peers: Vec<SocketAddr>,
    /// It waits until it is [resumed](Engine::resume).
    pub paused: bool,
}

/// How far a torrent is that is not open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// It is private (BEP 27).
    pub private: bool,
    /// All of it is there.
    pub complete: bool,
    /// All that is wanted of it is there.
    pub finished: bool,
    /// Its bytes.
    pub size: u64,
    /// Those that are there.
    pub done: u64,
    /// Its pieces; 0 when that is not known.
    pub pieces: u32,
    /// Those that are there.
    pub pieces_done: u32,
}

/// What became of the wish to look for piece layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Peers are asked.
    Begun,
    /// Searches of other torrents hold the memory that it takes: try later.
    Full,
    /// It takes more memory than there is for it.
    TooLarge,
    /// The torrent is gone, is whole, or does not wait for layers.
    Gone,
}

impl Engine {
    /// Runs a torrent. `None` when it runs already.
    pub fn add_torrent(&mut self, now: Time, add: AddTorrent) -> Option<TorrentKey> {
        self.cx.at(now);
        let key = self.shard.add_torrent(&mut self.cx, add)?;
        self.seek_peers(key);
        self.maintain();
        Some(key)
    }

    /// Looks for a torrent of which only the hashes are known: trackers, peers and timers run, and its info dictionary is
    /// fetched from peers (BEP 9). [`Event::Metadata`](super::Event::Metadata) comes with it, and then it waits for
    /// [`Engine::furnish`]. `None` when it runs already.
    pub fn add_magnet(&mut self, now: Time, add: &AddMagnet) -> Option<TorrentKey> {
        self.cx.at(now);
        let key = self.shard.add_magnet(&mut self.cx, add)?;
        self.seek_peers(key);
        self.maintain();
        Some(key)
    }

    /// Runs a torrent without opening it: it is announced and looked for as any other, and peers may come. When one of them may
    /// need something, [`Event::Wanted`](super::Event::Wanted) comes, and [`Engine::next_wanted`] says whose turn it is. Peers are told
    /// nothing until [`Engine::furnish`]; for 30 s they wait. `None` when it runs already.
    pub fn add_cold(&mut self, now: Time, add: &AddCold) -> Option<TorrentKey> {
        self.cx.at(now);
        let key = self.shard.add_cold(&mut self.cx, add)?;
        self.seek_peers(key);
        self.maintain();
        Some(key)
    }

    /// The torrent to be opened next, of those that are not open and that a peer needs: the one for which one has waited longest.
    /// [`Engine::furnish`] or [`Engine::not_opened`] is to follow. A torrent whose peers went is none of them any more.
    pub fn next_wanted(&mut self) -> Option<TorrentKey> {
        self.shard.next_wanted()
    }

    /// The application opens a torrent by itself. Whether it is one that is not open; [`Engine::furnish`] or
    /// [`Engine::not_opened`] is to follow then.
    pub fn opening(&mut self, key: TorrentKey) -> bool {
        self.shard.opening(key)
    }

    /// A torrent could not be opened: peers that wait for it are let go, and none is let in for as long as `wait`. Its
    /// activity says why.
    pub fn not_opened(&mut self, now: Time, key: TorrentKey, error: StorageError, wait: Duration) {
        self.cx.at(now);
        self.shard.not_opened(&mut self.cx, key, error, wait);
        self.maintain();
    }

    /// Puts a torrent back to the form that [`Engine::add_cold`] gives one, if it is idle still as [`Event::Idle`](super::Event::Idle) told: under the
    /// same key, with its trackers and totals, without its metainfo, pieces and store. The store is given back, to be closed; no job names
    /// it any more. What the torrent has is to be recorded before. It is opened again as any cold torrent is.
    pub fn cool(&mut self, now: Time, key: TorrentKey) -> Option<StoreId> {
        self.cx.at(now);
        let store = self.shard.cool(&mut self.cx, key);
        self.maintain();
        store
    }

    /// Something is needed of a torrent that no peer asks for: it is not idle for a while.
    pub fn needed(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        self.shard.needed(&self.cx, key);
    }

    /// The info dictionary of a torrent that was added by its hashes says that it is private. That counts at once (BEP 27), not
    /// only when its files are open: it is not looked for in the DHT any more, and parts with peers that it may not use.
    ///
    /// It keeps the trackers that it has: its metadata name none, so those of its link are the ones that know it. As of any
    /// private torrent, one of them at a time is used.
    pub fn declare_private(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        self.shard.declare_private(&mut self.cx, key);
        self.leave_the_open(key);
        self.maintain();
    }

    /// The application knows what a torrent is that was added by its hashes, and lacks piece layers (BEP 52):
    /// peers that know it are asked for them. [`Event::Layers`](super::Event::Layers) comes with them, and then it waits for
    /// [`Engine::furnish`].
    pub fn seek_layers(&mut self, now: Time, key: TorrentKey, meta: &Torrent) -> Search {
        self.cx.at(now);
        let search = self.shard.seek_layers(&mut self.cx, key, meta);
        self.maintain();
        search
    }

    /// The application knows now what a torrent is that was added by its hashes: readers of
    /// [`Engine::changes_since`] are to look at it again.
    pub fn described(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        self.shard.described(key);
    }

    /// If a torrent is private, it is not looked for any more, and dials that it may not make are ended.
    fn leave_the_open(&mut self, key: TorrentKey) {
        let Some(torrent) = self.shard.torrent(key).filter(|torrent| torrent.is_private()) else { return };
        let dropped = self.hub.go_private(key, |addr| torrent.candidates.get(addr).is_some());
        for stranger in dropped {
            self.end_stranger(stranger, &Close::Private);
        }
        self.stop_seeking(key);
    }

    /// The info dictionary of a torrent that was added by its v2 hash alone says that it is a hybrid (BEP 52): from now on its name
    /// is the v1 hash, by which it is announced and looked for. Peers may ask for it by either. `false` when another
    /// torrent has that name, or this one is gone.
    pub fn rename(&mut self, now: Time, key: TorrentKey, id: TorrentId) -> bool {
        self.cx.at(now);
        let old = self.torrent_id(key);
        let done = self.shard.rename(&mut self.cx, key, id);
        if done && old != Some(id) {
            self.stop_seeking(key);
            self.seek_peers(key);
        }
        self.maintain();
        done
    }

    /// Makes a torrent that was added by its hashes, or without being opened, a whole one, under the same key. What peers said of their pieces counts
    /// now; who said what cannot be is dropped. `priorities` hold before the first request goes out. A private
    /// torrent forgets the peers that it may not use (BEP 27). It stays paused or running as it is, whatever `add` says. Whether it
    /// was done: not for a torrent that is whole already, or has other hashes, or a [name](Self::rename) that another one has.
    pub fn furnish(
        &mut self,
        now: Time,
        key: TorrentKey,
        add: AddTorrent,
        priorities: impl IntoIterator<Item = (PieceIndex, Priority)>,
    ) -> bool {
        self.cx.at(now);
        let done = self.shard.furnish(&mut self.cx, key, add, priorities);
        if done {
            // Now it may be announced, or must not even be looked for.
            self.stop_seeking(key);
            self.seek_peers(key);
            self.leave_the_open(key);
        }
        self.maintain();
        done
    }

    /// Stops a torrent and forgets it: its peers are closed and its trackers told. What its files hold stays.
    pub fn remove_torrent(&mut self, now: Time, key: TorrentKey) {
        self.cx.at(now);
        self.stop_seeking(key);
        self.shard.remove_torrent(&mut self.cx, key);
        self.maintain();
    }
}
