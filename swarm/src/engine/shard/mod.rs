//! The torrents that run and their peers.

mod advice;
mod awaited;
mod budget;
mod choking;
mod cold;
mod cooling;
mod dialling;
mod disk;
mod donthave;
mod doubts;
mod download;
mod early;
mod endgame;
mod exchange;
mod extensions;
mod invariant;
mod keeping;
mod layers;
mod ledger;
mod local;
mod magnets;
mod members;
mod metadata;
mod nodes;
mod ordering;
mod peer;
mod receive;
mod running;
mod selection;
mod shunned;
mod sources;
mod syncing;
mod torrent;
mod tracking;
mod trouble;
mod upload;
mod verifying;
mod watching;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use metainfo::TorrentId;
use rand::Rng;
use slab::Slab;
use storage::{StoreId, Token};

use super::TorrentKey;
use super::choker::{self, Choker, Slots as UploadSlots};
use super::close::Close;
use super::config::Config;
use super::cx::Cx;
use super::external::External;
use super::link::{ConnId, Direction};
use super::lsd::Lsd;
use super::picker::PeerKey;
use super::rx::{ReadSlices, Slots};
use super::time::Time;
use super::tx::WriteSlices;
pub(crate) use cold::Cold;
pub(crate) use dialling::FEW_PEERS;
pub(crate) use peer::{Peer, Sender};
pub use sources::SourceId;
pub(crate) use torrent::Torrent;
pub use torrent::{Activity, Totals};

/// All torrents of one thread.
pub(crate) struct Shard {
    pub(crate) torrents: Slab<Torrent>,
    pub(crate) by_id: HashMap<TorrentId, TorrentKey>,
    by_store: HashMap<StoreId, usize>,
    pub(crate) peers: Slab<Peer>,
    pub(crate) choker: Choker,
    external: External,
    pub(crate) lsd: Lsd<(usize, local::Name)>,
    pub(crate) ledger: ledger::Ledger,
    /// Told to peers, so that they can dial us (BEP 10, `p`).
    pub(crate) listen_port: Option<u16>,
    /// Peers with an open slot, all torrents together.
    unchoked: usize,
    /// Bytes that what peers have may take, all peers together.
    bitfields: usize,
    /// Bytes of info dictionaries that are not all there, all torrents together.
    metadata: usize,
    /// Bytes of what peers say of pieces that nobody knows yet, all torrents together.
    early: usize,
    /// Peers that wait for cold torrents to be open.
    waiting: usize,
    /// Cold torrents that such peers need, by whose turn it is.
    wanted: BTreeMap<u64, TorrentKey>,
    /// Turns that were given.
    turns: u64,
    /// Peers that wait for read credit.
    thirsty: VecDeque<PeerKey>,
    /// Grows with every peer; tells a peer from an earlier one in the same slot.
    generation: u32,
    /// To be ended when the current call is done with them.
    doomed: Vec<(PeerKey, u32, Close)>,
    /// Who sent wrong data, for the hub to refuse.
    pub(crate) banned: Vec<Sender>,
    /// Connections that ended, for the engine to forget.
    pub(crate) gone: Vec<ConnId>,
    /// Torrents that ran out of candidates, for the engine to look for more in the DHT.
    pub(crate) lonely: BTreeSet<TorrentKey>,
    /// Nodes of the DHT that peers told of.
    pub(crate) nodes: Vec<SocketAddr>,
    /// Where nodes of the DHT reach us over IPv4 and IPv6: told to peers.
    pub(crate) dht_ports: [Option<u16>; 2],
    /// Torrents that may have candidates to dial.
    dialers: BTreeSet<usize>,
    /// Sources that deliver ranges; a torrent has a handful.
    sources: Vec<sources::Source>,
    /// Sources there ever were.
    source_count: u32,
    /// Whose turn to dial it is.
    dial_turn: usize,
    /// Reused by the picker.
    picked: Vec<metainfo::Block>,
}

impl Shard {
    pub(crate) fn new(config: &Config, rng: &mut impl Rng) -> Self {
        Self {
            torrents: Slab::new(),
            by_id: HashMap::new(),
            by_store: HashMap::new(),
            peers: Slab::new(),
            choker: Choker::new(Time::ZERO, choker_config(config)),
            external: External::default(),
            lsd: Lsd::new(rng),
            ledger: ledger::Ledger::default(),
            listen_port: None,
            unchoked: 0,
            bitfields: 0,
            metadata: 0,
            early: 0,
            waiting: 0,
            wanted: BTreeMap::new(),
            turns: 0,
            thirsty: VecDeque::new(),
            generation: 0,
            doomed: Vec::new(),
            banned: Vec::new(),
            gone: Vec::new(),
            lonely: BTreeSet::new(),
            nodes: Vec::new(),
            dht_ports: [None; 2],
            dialers: BTreeSet::new(),
            dial_turn: 0,
            sources: Vec::new(),
            source_count: 0,
            picked: Vec::new(),
        }
    }

    pub(crate) fn peer_mut(&mut self, key: PeerKey) -> &mut Peer {
        &mut self.peers[key.slot()]
    }

    fn torrent_of_mut(&mut self, key: PeerKey) -> &mut Torrent {
        let slot = self.peers[key.slot()].torrent.slot();
        &mut self.torrents[slot]
    }

    fn slot_of(&self, store: StoreId) -> Option<usize> {
        self.by_store.get(&store).copied()
    }

    /// The peer that a disk job was for, if it is still here.
    fn peer_of(&self, token: Token) -> Option<PeerKey> {
        let key = PeerKey((token.0 & u64::from(u32::MAX)) as u32);
        let generation = (token.0 >> 32) as u32;
        self.peers.get(key.slot()).filter(|peer| peer.generation == generation).map(|_| key)
    }

    /// Where the next read of this peer goes.
    pub(crate) fn read_slices<'a>(
        &'a mut self,
        cx: &mut Cx,
        key: PeerKey,
        slots: &'a mut Slots,
        budget: usize,
        out: &mut ReadSlices<'a>,
    ) {
        let peer = &mut self.peers[key.slot()];
        let expected = peer.down.requests.len();
        peer.link.rx.slices(slots, &mut cx.pool, budget, expected, out);
    }

    /// The driver read `n` bytes, at least one.
    pub(crate) fn handle_read(&mut self, cx: &mut Cx, key: PeerKey, slots: &mut Slots, n: usize) {
        if let Err(reason) = self.take_in(cx, key, |rx, limits, turn| rx.advance(slots, n, limits, turn)) {
            return self.leave(cx, key, reason);
        }
        let peer = &mut self.peers[key.slot()];
        cx.ready.enlist(&mut peer.link, Direction::Read);
    }

    /// What the next write of this peer takes.
    pub(crate) fn write_slices<'a>(&'a self, key: PeerKey, budget: usize, out: &mut WriteSlices<'a>) {
        self.peers[key.slot()].link.tx.slices(budget, out);
    }

    /// The driver wrote `n` bytes.
    pub(crate) fn handle_written(&mut self, cx: &mut Cx, key: PeerKey, n: usize) {
        self.peers[key.slot()].link.last_written = cx.now;
        self.sent(cx, key, n);
        self.pump_metadata(cx, key);
        self.pump_hashes(cx, key);
        self.pump_haves(key);
        let peer = &mut self.peers[key.slot()];
        cx.ready.enlist(&mut peer.link, Direction::Write);
    }

    /// Ends the peers that the last call doomed; done when no peer is in use.
    pub(crate) fn reap(&mut self, cx: &mut Cx) {
        while let Some((key, generation, reason)) = self.doomed.pop() {
            if self.peers.get(key.slot()).is_some_and(|peer| peer.generation == generation) {
                self.leave(cx, key, reason);
            }
        }
    }
}

/// The choker's share of the settings.
pub(crate) fn choker_config(config: &Config) -> choker::Config {
    let slots = match config.upload_slots {
        Some(slots) => UploadSlots::Fixed(u32::try_from(slots).unwrap_or(u32::MAX)),
        None => UploadSlots::Automatic,
    };
    choker::Config { slots, upload_limit: config.up_limit, ..choker::Config::default() }
}
