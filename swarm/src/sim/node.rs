//! One machine of a simulated swarm.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use metainfo::{Edit, Torrent};
use storage::{Completion, Job};
use wire::peer::Bitfield;

use super::actor::Actor;
use super::audit::Audit;
use super::content::Content;
use super::disk::SimDisk;
use super::network::{Access, Wire};
use super::store::SimStore;
use crate::engine::layers::Layers;
use crate::engine::picker::Priority;
use crate::engine::{AddTorrent, ConnId, Engine, Event, ResumeState, Search, SourceId, Time, TorrentKey};

/// Names a node of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A node that runs the engine.
pub struct Node {
    /// Its address.
    pub addr: SocketAddr,
    /// Its engine.
    pub engine: Engine,
    /// What it runs.
    pub torrent: TorrentKey,
    /// Its copy.
    pub store: Arc<SimStore>,
    /// What it runs, as metainfo and bytes.
    pub content: Content,
    /// What its engine told, and when.
    pub events: Vec<(Time, Event)>,
    /// What its user chose before it knew its pieces.
    pub choices: Vec<(u32, Priority)>,
    /// What turns out to be on its disk when it knows its pieces.
    pub(super) found: Bitfield,
    /// Whether it opens what is cold as soon as a peer needs it; else the test does.
    pub opens: bool,
    /// When it knew its pieces, if it was added by its hashes or cold.
    pub furnished: Option<Time>,
    /// When it was complete.
    pub completed: Option<Time>,
    /// Its record: what its engine said to remember at the last sync.
    pub saved: Option<ResumeState>,
    /// The most bytes that its engine held for peers at a time.
    pub most_held: usize,
    /// What its engine dialled, and when.
    pub dials: Vec<(Time, SocketAddr)>,
    /// What it announced to the local network, and when.
    pub local: Vec<(Time, Vec<[u8; 20]>)>,
    /// Datagrams that its engine sent, when, and where to.
    pub datagrams: Vec<(Time, SocketAddr, Vec<u8>)>,
    /// Sources that may ask for their next block.
    pub ready_sources: Vec<SourceId>,
    /// Sources that sent wrong data.
    pub banned_sources: Vec<SourceId>,
    /// What it turned out to be, while piece layers lack.
    pub(super) found_out: Option<Arc<Torrent>>,
    pub(super) disk: SimDisk,
    /// Stream and side by connection.
    pub(super) streams: BTreeMap<ConnId, (usize, usize)>,
    pub(super) jobs: Vec<Job>,
    pub(super) completions: Vec<Completion>,
    pub(super) audit: Audit,
    /// It was switched off.
    pub(super) gone: bool,
}

/// Anything with an address.
pub(super) struct Machine {
    pub(super) addr: SocketAddr,
    pub(super) access: Access,
    pub(super) wire: Wire,
    pub(super) what: What,
    /// The earliest wake-up that is in the queue.
    pub(super) wake_at: Option<Time>,
}

pub(super) enum What {
    Engine(Box<Node>),
    Actor(Box<dyn Actor>),
}

impl Node {
    /// The metadata is there: opens the files and lets the engine begin, unless it cannot check pieces yet.
    pub(super) fn furnish(&mut self, now: Time, info: &[u8]) {
        let meta = Arc::new(Torrent::from_info(info).expect("metadata that matches its hash"));
        if meta.info_hashes().v1().is_some() || meta.has_piece_layers() {
            return self.open(now, meta);
        }
        assert_eq!(self.engine.seek_layers(now, self.torrent, &meta), Search::Begun);
        self.found_out = Some(meta);
    }

    /// The piece layers are there too.
    pub(super) fn found_layers(&mut self, now: Time, layers: &Layers) {
        let Some(meta) = self.found_out.take() else { return };
        let mut edit = Edit::from_info(meta.info_bytes()).expect("it was parsed before");
        edit.set_piece_layers(layers.iter());
        let file = edit.finish().expect("layers of a small torrent");
        self.open(now, Arc::new(Torrent::parse(&file).expect("layers that were proven")));
    }

    /// Opens its files, as far as it is its turn.
    pub fn open_wanted(&mut self, now: Time) {
        while let Some(torrent) = self.engine.next_wanted() {
            if torrent == self.torrent {
                self.open(now, self.content.torrent.clone());
            }
        }
    }

    fn open(&mut self, now: Time, meta: Arc<Torrent>) {
        let store = self.disk.attach(self.store.clone(), meta.clone());
        let geometry = meta.geometry().clone();
        let choices = self.choices.iter().filter_map(|(index, p)| Some((geometry.piece(*index).ok()?, *p)));
        let add = AddTorrent::new(meta, store, self.found.clone());
        assert!(self.engine.furnish(now, self.torrent, add, choices), "what it looked for");
        self.furnished = Some(now);
    }

    /// Pieces that it says to have and that are not right on its disk. Must always be empty.
    pub fn false_claims(&self) -> Vec<u32> {
        let (have, claimed) = (self.engine.have(self.torrent), self.engine.unverified(self.torrent));
        if self.store.is_tampered() {
            return Vec::new();
        }
        let is_claimed = |index: &u32| claimed.is_some_and(|bits| bits.get(*index));
        let pieces = have.iter().flat_map(|bits| bits.iter_ones()).filter(|index| !is_claimed(index));
        let geometry = self.content.torrent.geometry();
        pieces.filter(|index| geometry.piece(*index).is_ok_and(|piece| !self.store.is_right(piece))).collect()
    }
}
