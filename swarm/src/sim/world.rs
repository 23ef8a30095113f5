//! A swarm on virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use metainfo::InfoHashes;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wire::peer::{Bitfield, PeerId};

use super::actor::{Actor, StreamId};
use super::audit::Audit;
use super::connections::{Dialler, Stream};
use super::content::Content;
use super::disk::{DiskSpeed, SimDisk};
use super::network::{Access, Network};
use super::node::{Machine, Node, NodeId, What};
use super::store::SimStore;
use super::tracker::SimTracker;
use crate::engine::candidates::Source;
use crate::engine::scope::Scope;
use crate::engine::tracker::{AnnounceId, AnnounceReply, Failure};
use crate::engine::{
    AddCold, AddMagnet, AddTorrent, Config, Engine, Outline, PartialPiece, ResumeState, Time, TorrentKey,
};

/// What a node starts with.
#[derive(Clone, Debug)]
pub enum Role {
    /// Everything, and nothing is ever written.
    Seed,
    /// Nothing.
    Leech,
    /// Nothing; it reads back what it fetched before it counts.
    Verifying,
    /// These pieces.
    Partial(Bitfield),
    /// These pieces, and nothing is ever written.
    SeedOf(Bitfield),
    /// Nothing, not even the metainfo: the hashes and trackers of a magnet.
    Magnet,
    /// The same with these hashes, whatever they are.
    Named(InfoHashes),
    /// A magnet, but all of it turns out to be on the disk.
    Found,
    /// These pieces, as is recorded; it is not open until a peer needs it.
    Cold(Bitfield),
}

/// What a node finds on its disk.
struct Resumed {
    have: Bitfield,
    partial: Vec<PartialPiece>,
    unverified: bool,
    /// What it is known by, if it is to be looked for.
    magnet: Option<InfoHashes>,
    /// It is not open.
    cold: bool,
    /// Nothing is to be written.
    seed_only: bool,
    /// What it fetches is read back.
    verify: bool,
}

impl Resumed {
    /// Checked pieces, and nothing else of note.
    fn with(have: Bitfield) -> Self {
        Self {
            have,
            partial: Vec::new(),
            unverified: false,
            magnet: None,
            cold: false,
            seed_only: false,
            verify: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    Wake(usize),
    /// A dial reaches its target.
    Dialled {
        from: usize,
        dialler: Dialler,
        to: SocketAddr,
    },
    /// The dialler learns whether it was accepted.
    Answered {
        from: usize,
        dialler: Dialler,
        to: SocketAddr,
        stream: Option<StreamId>,
    },
    /// A chunk is at the receiver's link.
    Reach {
        stream: StreamId,
        side: usize,
    },
    /// A chunk is through it.
    Arrival {
        stream: StreamId,
        side: usize,
    },
    /// A sender tries again at its crowded uplink.
    Turn {
        stream: StreamId,
        side: usize,
    },
    /// The sender learns that the receiver has read.
    Room {
        stream: StreamId,
        side: usize,
    },
    Closed {
        stream: StreamId,
        side: usize,
    },
    Reply {
        to: usize,
        at: u64,
    },
    /// A datagram arrives.
    Datagram {
        at: u64,
    },
}

/// A swarm on virtual time.
pub struct World {
    /// The current moment.
    pub now: Time,
    /// The seed that replays this run.
    pub seed: u64,
    /// What the network does.
    pub network: Network,
    pub(super) rng: ChaCha8Rng,
    pub(super) machines: Vec<Machine>,
    pub(super) by_addr: BTreeMap<SocketAddr, usize>,
    /// An entry is never used twice.
    pub(super) streams: Vec<Option<Stream>>,
    queue: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    pub(super) order: u64,
    pub(super) trackers: BTreeMap<String, SimTracker>,
    pub(super) replies: BTreeMap<u64, (TorrentKey, AnnounceId, Result<AnnounceReply, Failure>)>,
    /// Datagrams on the way: from which machine, where to, and what.
    pub(super) datagrams: BTreeMap<u64, (usize, SocketAddr, Vec<u8>)>,
    /// Machines that a step touched and that were not looked at since.
    pub(super) touched: Vec<usize>,
    /// When all that changed was last looked at as a whole.
    checked: Time,
    /// Machines enter a local network.
    lan: bool,
}

/// What a record would say of a torrent with these pieces.
fn cold(torrent: &metainfo::Torrent, have: &Bitfield) -> AddCold {
    let geometry = torrent.geometry();
    let held = have.iter_ones().filter_map(|index| geometry.piece(index).ok());
    let outline = Outline {
        private: torrent.private(),
        complete: have.is_full(),
        finished: have.is_full(),
        size: torrent.layout().payload(),
        done: held.map(|piece| u64::from(geometry.piece_len(piece))).sum(),
        pieces: geometry.piece_count(),
        pieces_done: have.count_ones(),
    };
    AddCold {
        hashes: *torrent.info_hashes(),
        outline,
        trackers: torrent.trackers().to_vec(),
        recalled: Vec::new(),
        peers: Vec::new(),
        paused: false,
    }
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            seed,
            network: Network::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            machines: Vec::new(),
            by_addr: BTreeMap::new(),
            streams: Vec::new(),
            queue: BinaryHeap::new(),
            order: 0,
            trackers: BTreeMap::new(),
            replies: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            touched: Vec::new(),
            checked: Time::ZERO,
            lan: false,
        }
    }

    /// Adds a node that runs `content`.
    pub fn add(&mut self, content: &Content, role: Role, access: Access) -> NodeId {
        self.add_with(content, role, access, DiskSpeed::default(), |_| {})
    }

    /// Adds a node with settings of its own.
    ///
    /// # Panics
    /// Never: a fresh engine takes any torrent.
    pub fn add_with(
        &mut self,
        content: &Content,
        role: Role,
        access: Access,
        disk: DiskSpeed,
        adjust: impl FnOnce(&mut Config),
    ) -> NodeId {
        let geometry = content.torrent.geometry();
        let hashes = *content.torrent.info_hashes();
        let magnet = match role {
            Role::Magnet | Role::Found => Some(hashes),
            Role::Named(hashes) => Some(hashes),
            _ => None,
        };
        let cold = matches!(role, Role::Cold(_));
        let seed_only = matches!(role, Role::Seed | Role::SeedOf(_));
        let verify = matches!(role, Role::Verifying);
        let have = match role {
            Role::Seed | Role::Found => Bitfield::with_all(geometry.piece_count()),
            Role::Leech | Role::Verifying | Role::Magnet | Role::Named(_) => {
                Bitfield::new(geometry.piece_count())
            }
            Role::Partial(bits) | Role::SeedOf(bits) | Role::Cold(bits) => bits,
        };
        let held = have.iter_ones().filter_map(|index| geometry.piece(index).ok());
        let store = Arc::new(SimStore::with(content.clone(), held));
        let resumed = Resumed { magnet, cold, seed_only, verify, ..Resumed::with(have) };
        self.start(content, store, resumed, access, disk, adjust)
    }

    /// Starts a node anew on the disk of one that was switched off, with what an earlier [`Engine::resume_state`] said, or
    /// with nothing. It has another address.
    pub fn start_again(
        &mut self,
        old: NodeId,
        state: Option<&ResumeState>,
        disk: DiskSpeed,
        adjust: impl FnOnce(&mut Config),
    ) -> NodeId {
        let access = self.machines[old.0].access;
        let (content, store) = (self.node(old).content.clone(), self.node(old).store.clone());
        let nothing = Bitfield::new(content.torrent.geometry().piece_count());
        let resumed = Resumed {
            partial: state.map(|state| state.partial.clone()).unwrap_or_default(),
            ..Resumed::with(state.map_or(nothing, |state| state.clean.clone()))
        };
        self.start(&content, store, resumed, access, disk, adjust)
    }

    /// Starts a node that has these pieces on its disk, but trusts nobody who says so.
    pub fn add_unverified(&mut self, content: &Content, store: SimStore, access: Access) -> NodeId {
        let have = Bitfield::with_all(content.torrent.geometry().piece_count());
        let resumed = Resumed { unverified: true, ..Resumed::with(have) };
        self.start(content, Arc::new(store), resumed, access, DiskSpeed::default(), |_| {})
    }

    fn start(
        &mut self,
        content: &Content,
        store: Arc<SimStore>,
        resumed: Resumed,
        access: Access,
        disk: DiskSpeed,
        adjust: impl FnOnce(&mut Config),
    ) -> NodeId {
        let torrent = content.torrent.clone();
        let mut config = Config::new(PeerId::new(PeerId::PREFIX, self.rng.random()));
        adjust(&mut config);
        let mut entropy = [0; 32];
        self.rng.fill_bytes(&mut entropy);
        let mut engine = Engine::new(config, entropy);
        let mut disk = SimDisk::new(disk);
        let index = self.machines.len();
        let addr = self.address(index);
        engine.set_listen_port(addr.port());
        let found = resumed.have.clone();
        let key = if let Some(hashes) = resumed.magnet {
            let trackers = torrent.trackers().to_vec();
            engine.add_magnet(self.now, &AddMagnet { trackers, ..AddMagnet::new(hashes) })
        } else if resumed.cold {
            engine.add_cold(self.now, &cold(&torrent, &resumed.have))
        } else {
            let id = disk.attach(store.clone(), torrent.clone());
            let Resumed { have, partial, unverified, seed_only, verify, .. } = resumed;
            let add =
                AddTorrent { partial, unverified, seed_only, verify, ..AddTorrent::new(torrent, id, have) };
            engine.add_torrent(self.now, add)
        };
        let torrent = key.expect("a fresh engine takes any torrent");
        let node = Node {
            addr,
            engine,
            torrent,
            store,
            content: content.clone(),
            events: Vec::new(),
            choices: Vec::new(),
            found,
            furnished: None,
            found_out: None,
            opens: true,
            completed: None,
            disk,
            streams: BTreeMap::new(),
            jobs: Vec::new(),
            completions: Vec::new(),
            saved: None,
            most_held: 0,
            dials: Vec::new(),
            local: Vec::new(),
            datagrams: Vec::new(),
            ready_sources: Vec::new(),
            banned_sources: Vec::new(),
            audit: Audit::default(),
            gone: false,
        };
        self.enter(access, What::Engine(Box::new(node)))
    }

    /// Adds a peer that is no engine.
    pub fn add_actor(&mut self, access: Access, actor: Box<dyn Actor>) -> NodeId {
        self.enter(access, What::Actor(actor))
    }

    /// The tracker at a URL, as the torrents write it.
    pub fn tracker(&mut self, url: &str) -> &mut SimTracker {
        self.trackers.entry(url.into()).or_default()
    }

    fn enter(&mut self, access: Access, what: What) -> NodeId {
        let index = self.machines.len();
        let addr = self.address(index);
        self.machines.push(Machine { addr, access, wire: <_>::default(), what, wake_at: None });
        self.by_addr.insert(addr, index);
        self.schedule(self.now, Happening::Wake(index));
        NodeId(index)
    }

    /// Puts the machines that enter from now on into one local network, with addresses of its own.
    pub fn on_one_lan(&mut self) {
        self.lan = true;
    }

    pub(super) fn is_local(&self, index: usize) -> bool {
        Scope::of(self.machines[index].addr.ip()).is_some_and(Scope::is_local)
    }

    /// The machines on the local network.
    pub(super) fn locals(&self) -> impl Iterator<Item = usize> {
        (0..self.machines.len()).filter(|index| self.is_local(*index))
    }

    /// Machine `index` has an address of its own, in a range of its own.
    fn address(&self, index: usize) -> SocketAddr {
        let (high, low) = ((index / 200) as u8, (index % 200) as u8 + 1);
        let ip = if self.lan { Ipv4Addr::new(10, high, low, 7) } else { Ipv4Addr::new(90, high, low, 7) };
        SocketAddr::new(ip.into(), 6881)
    }

    /// Machines that ever entered.
    pub fn machine_count(&self) -> usize {
        self.machines.len()
    }

    /// The address of a machine.
    pub fn addr(&self, id: NodeId) -> SocketAddr {
        self.machines[id.0].addr
    }

    /// A node that runs the engine.
    ///
    /// # Panics
    /// When it is a scripted peer.
    pub fn node(&self, id: NodeId) -> &Node {
        match &self.machines[id.0].what {
            What::Engine(node) => node,
            What::Actor(_) => panic!("{id:?} is a scripted peer"),
        }
    }

    /// A node that runs the engine, to change it.
    ///
    /// # Panics
    /// When it is a scripted peer.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        match &mut self.machines[id.0].what {
            What::Engine(node) => node,
            What::Actor(_) => panic!("{id:?} is a scripted peer"),
        }
    }

    /// Tells a node the address of another one.
    pub fn introduce(&mut self, node: NodeId, to: NodeId) {
        let (now, addr) = (self.now, self.addr(to));
        let node_ref = self.node_mut(node);
        let torrent = node_ref.torrent;
        node_ref.engine.add_peers(now, torrent, &[addr], Source::User, Scope::Loopback);
        self.pump(node.0);
    }

    /// Lets a node go on after its engine was told something directly.
    pub fn touch(&mut self, id: NodeId) {
        self.pump(id.0);
    }

    /// Switches a node off: its connections break and nobody reaches it any more.
    pub fn switch_off(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.gone = true;
        let streams: Vec<_> = node.streams.values().copied().collect();
        for (stream, side) in streams {
            self.close(stream, side);
        }
        let addr = self.machines[id.0].addr;
        self.by_addr.remove(&addr);
        self.trackers.values_mut().for_each(|tracker| tracker.forget(addr));
    }

    /// Runs until `done`, or until the virtual time `end`. Whether `done` came.
    pub fn run_until(&mut self, end: Time, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            if self.queue.peek().is_none_or(|Reverse((at, ..))| *at > end) {
                self.now = self.now.max(end);
                return false;
            }
            self.step();
        }
    }

    /// Runs until all these nodes are complete; how long it took.
    pub fn run_until_complete(&mut self, nodes: &[NodeId], end: Time) -> Option<Duration> {
        let start = self.now;
        let mut left: Vec<_> = nodes.to_vec();
        let done = self.run_until(end, |world| {
            while left.last().is_some_and(|id| world.node(*id).completed.is_some()) {
                left.pop();
            }
            left.is_empty()
        });
        done.then(|| self.now - start)
    }

    /// Goes to the next moment at which anything happens, and checks what must hold of the machines that it touched.
    ///
    /// # Panics
    /// When it does not hold; the seed is in the message.
    pub fn step(&mut self) {
        let Some(Reverse((at, _, happening))) = self.queue.pop() else { return };
        self.now = self.now.max(at);
        match happening {
            Happening::Wake(machine) => self.woken(machine),
            Happening::Dialled { from, dialler, to } => self.dialled(from, dialler, to),
            Happening::Answered { from, dialler, to, stream } => self.answered(from, dialler, to, stream),
            Happening::Reach { stream, side } => self.reached(stream, side),
            Happening::Arrival { stream, side } => self.arrived(stream, side),
            Happening::Turn { stream, side } => self.turn_came(stream, side),
            Happening::Room { stream, side } => self.room(stream, side),
            Happening::Closed { stream, side } => self.told_closed(stream, side),
            Happening::Reply { to, at } => self.replied(to, at),
            Happening::Datagram { at } => self.datagram(at),
        }
        self.audit();
        if self.now >= self.checked + Duration::from_secs(1) {
            self.checked = self.now;
            self.audit_rest();
        }
    }

    /// What must always hold, looked at as a whole. Each step looks at what it touched, so a test calls this at its end only.
    ///
    /// # Panics
    /// When it does not; the seed is in the message.
    pub fn check(&self) {
        for machine in &self.machines {
            let What::Engine(node) = &machine.what else { continue };
            if node.gone {
                continue;
            }
            node.check(self.seed);
        }
    }

    pub(super) fn schedule(&mut self, at: Time, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, happening)));
    }

    fn woken(&mut self, index: usize) {
        self.machines[index].wake_at = None;
        match &mut self.machines[index].what {
            What::Engine(_) => self.pump(index),
            What::Actor(_) => self.with_actor(index, |actor, io| actor.woken(io)),
        }
    }

    pub(super) fn wake_by(&mut self, index: usize, at: Time) {
        let machine = &mut self.machines[index];
        if machine.wake_at.is_none_or(|known| at < known) {
            machine.wake_at = Some(at);
            self.schedule(at, Happening::Wake(index));
        }
    }
}

impl Drop for World {
    /// A failed test says how to replay it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, at {:?}", self.seed, self.now);
        }
    }
}
