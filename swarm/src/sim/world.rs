//! A swarm on virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use metainfo::TorrentId;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use slab::Slab;
use wire::peer::{Bitfield, PeerId};

use super::content::Content;
use super::disk::{DiskSpeed, SimDisk};
use super::network::{Access, Network, Pipe};
use super::node::{Machine, Node, NodeId, What};
use super::store::SimStore;
use crate::engine::candidates::Source;
use crate::engine::scope::Scope;
use crate::engine::tracker::{AnnounceReply, Event as Announced};
use crate::engine::{Action, AddTorrent, Config, ConnId, Direction, Engine, Event, Time, Transfer};

/// A scripted peer: it sees the raw bytes of each of its connections and answers with raw bytes.
pub trait Actor {
    /// A connection is open; what to say first.
    fn opened(&mut self, now: Time, stream: usize) -> Vec<u8>;
    /// Bytes came; what to answer.
    fn received(&mut self, now: Time, stream: usize, bytes: &[u8]) -> Vec<u8>;
    /// The connection is closed.
    fn closed(&mut self, now: Time, stream: usize);
    /// Whether it reads at all now; while it does not, the other side finds no room.
    fn reads(&self, _stream: usize) -> bool {
        true
    }
    /// Called at the time asked for; what to say on which streams, and when to be called again.
    fn wake(&mut self, _now: Time) -> (Vec<(usize, Vec<u8>)>, Option<Time>) {
        (Vec::new(), None)
    }
}

/// What a node starts with.
#[derive(Clone, Debug)]
pub enum Role {
    /// Everything.
    Seed,
    /// Nothing.
    Leech,
    /// These pieces.
    Partial(Bitfield),
}

/// A stream between two machines.
struct Stream {
    ends: [End; 2],
    /// `pipes[side]` is what side sends.
    pipes: [Pipe; 2],
}

#[derive(Clone, Copy)]
struct End {
    machine: usize,
    /// Engine's name; unused by actors.
    conn: Option<ConnId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Wake(usize),
    /// A dial reaches its target.
    Dialled {
        from: usize,
        conn: ConnId,
        to: SocketAddr,
    },
    /// The dialler learns that it was accepted, or not.
    Answered {
        from: usize,
        conn: ConnId,
        stream: Option<usize>,
    },
    Arrival {
        stream: usize,
        side: usize,
    },
    Room {
        stream: usize,
        side: usize,
    },
    Closed {
        stream: usize,
        side: usize,
    },
    Reply {
        to: usize,
        at: u64,
    },
}

/// A swarm on virtual time.
pub struct World {
    /// The current moment.
    pub now: Time,
    /// The seed that replays this run.
    pub seed: u64,
    network: Network,
    rng: ChaCha8Rng,
    machines: Vec<Machine>,
    by_addr: BTreeMap<SocketAddr, usize>,
    streams: Slab<Stream>,
    queue: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    order: u64,
    tracked: BTreeMap<TorrentId, BTreeSet<SocketAddr>>,
    replies: BTreeMap<u64, (crate::engine::TorrentKey, crate::engine::tracker::AnnounceId, AnnounceReply)>,
    checked: Time,
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
            streams: Slab::new(),
            queue: BinaryHeap::new(),
            order: 0,
            tracked: BTreeMap::new(),
            replies: BTreeMap::new(),
            checked: Time::ZERO,
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
        let torrent = content.torrent.clone();
        let geometry = torrent.geometry();
        let have = match role {
            Role::Seed => Bitfield::with_all(geometry.piece_count()),
            Role::Leech => Bitfield::new(geometry.piece_count()),
            Role::Partial(bits) => bits,
        };
        let held = have.iter_ones().filter_map(|index| geometry.piece(index).ok());
        let store = Arc::new(SimStore::with(content.clone(), held));
        let mut config = Config::new(PeerId::new(PeerId::PREFIX, self.rng.random()));
        adjust(&mut config);
        let mut entropy = [0; 32];
        self.rng.fill_bytes(&mut entropy);
        let mut engine = Engine::new(config, entropy);
        let mut disk = SimDisk::new(disk);
        let id = disk.attach(store.clone(), torrent.clone());
        let index = self.machines.len();
        let addr = address(index);
        engine.set_listen_port(addr.port());
        let torrent = engine
            .add_torrent(self.now, AddTorrent { meta: torrent, store: id, have })
            .expect("a fresh engine takes any torrent");
        let node = Node {
            addr,
            engine,
            torrent,
            store,
            content: content.clone(),
            events: Vec::new(),
            completed: None,
            disk,
            streams: BTreeMap::new(),
            jobs: Vec::new(),
            completions: Vec::new(),
            gone: false,
        };
        self.enter(access, What::Engine(Box::new(node)))
    }

    /// Adds a scripted peer, and announces its address with the torrent's tracker.
    pub fn add_actor(&mut self, torrent: TorrentId, access: Access, actor: Box<dyn Actor>) -> NodeId {
        let id = self.enter(access, What::Actor(actor));
        self.tracked.entry(torrent).or_default().insert(self.machines[id.0].addr);
        id
    }

    fn enter(&mut self, access: Access, what: What) -> NodeId {
        let index = self.machines.len();
        let addr = address(index);
        self.machines.push(Machine { addr, access, wire: <_>::default(), what, wake_at: None });
        self.by_addr.insert(addr, index);
        self.schedule(self.now, Happening::Wake(index));
        NodeId(index)
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
        self.tracked.values_mut().for_each(|peers| {
            peers.remove(&addr);
        });
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
            left.retain(|id| world.node(*id).completed.is_none());
            left.is_empty()
        });
        done.then(|| self.now - start)
    }

    /// Goes to the next moment at which anything happens.
    pub fn step(&mut self) {
        let Some(Reverse((at, _, happening))) = self.queue.pop() else { return };
        self.now = self.now.max(at);
        match happening {
            Happening::Wake(machine) => self.woken(machine),
            Happening::Dialled { from, conn, to } => self.dialled(from, conn, to),
            Happening::Answered { from, conn, stream } => self.answered(from, conn, stream),
            Happening::Arrival { stream, side } => self.arrived(stream, side),
            Happening::Room { stream, side } => self.room(stream, side),
            Happening::Closed { stream, side } => self.told_closed(stream, side),
            Happening::Reply { to, at } => self.replied(to, at),
        }
        if self.now >= self.checked + Duration::from_secs(1) {
            self.checked = self.now;
            self.check();
        }
    }

    /// What must always hold.
    ///
    /// # Panics
    /// When it does not; the seed is in the message.
    pub fn check(&self) {
        for machine in &self.machines {
            let What::Engine(node) = &machine.what else { continue };
            let claims = node.false_claims();
            assert!(claims.is_empty(), "seed {}: {} claims {claims:?}", self.seed, machine.addr);
            node.engine.check_invariant();
            node.disk.check_invariant();
        }
    }

    fn schedule(&mut self, at: Time, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, happening)));
    }

    fn woken(&mut self, index: usize) {
        self.machines[index].wake_at = None;
        match &mut self.machines[index].what {
            What::Engine(_) => self.pump(index),
            What::Actor(actor) => {
                let (said, again) = actor.wake(self.now);
                for (stream, bytes) in said {
                    self.actor_says(index, stream, bytes);
                }
                if let Some(at) = again {
                    self.wake_by(index, at.max(self.now + Duration::from_millis(1)));
                }
            }
        }
    }

    fn wake_by(&mut self, index: usize, at: Time) {
        let machine = &mut self.machines[index];
        if machine.wake_at.is_none_or(|known| at < known) {
            machine.wake_at = Some(at);
            self.schedule(at, Happening::Wake(index));
        }
    }

    fn latency(&self, a: usize, b: usize) -> Duration {
        self.machines[a].access.latency + self.machines[b].access.latency
    }

    // ---- connections

    fn dialled(&mut self, from: usize, conn: ConnId, to: SocketAddr) {
        let back = self.latency(from, from);
        let Some(target) = self.by_addr.get(&to).copied().filter(|target| *target != from) else {
            return self.schedule(self.now + back, Happening::Answered { from, conn, stream: None });
        };
        let back = self.now + self.latency(from, target);
        let entry = self.streams.vacant_key();
        let port = 20_000 + (self.order % 40_000) as u16;
        let source = SocketAddr::new(self.machines[from].addr.ip(), port);
        let accepted = match &mut self.machines[target].what {
            What::Engine(node) => match node.engine.handle_accepted(self.now, source) {
                Some(theirs) => {
                    node.streams.insert(theirs, (entry, 1));
                    Some(Some(theirs))
                }
                None => None,
            },
            What::Actor(_) => Some(None),
        };
        let Some(theirs) = accepted else {
            return self.schedule(back, Happening::Answered { from, conn, stream: None });
        };
        let ends = [End { machine: from, conn: Some(conn) }, End { machine: target, conn: theirs }];
        self.streams.insert(Stream { ends, pipes: [Pipe::default(), Pipe::default()] });
        self.schedule(back, Happening::Answered { from, conn, stream: Some(entry) });
        if let What::Actor(actor) = &mut self.machines[target].what {
            let said = actor.opened(self.now, entry);
            self.actor_says(target, entry, said);
        }
    }

    fn answered(&mut self, from: usize, conn: ConnId, stream: Option<usize>) {
        let What::Engine(node) = &mut self.machines[from].what else { return };
        match stream.filter(|stream| self.streams.contains(*stream)) {
            Some(stream) => {
                if node.engine.knows(conn) {
                    node.streams.insert(conn, (stream, 0));
                    node.engine.handle_connected(self.now, conn);
                } else {
                    self.close(stream, 0);
                }
            }
            None => node.engine.handle_dial_failed(self.now, conn, std::io::ErrorKind::ConnectionRefused),
        }
        self.pump(from);
    }

    fn arrived(&mut self, stream: usize, side: usize) {
        let now = self.now;
        let Some(entry) = self.streams.get_mut(stream) else { return };
        if !entry.pipes[side].arrive(now) {
            return;
        }
        let end = entry.ends[1 - side];
        self.readable(stream, side, end);
    }

    fn readable(&mut self, stream: usize, side: usize, end: End) {
        match (&mut self.machines[end.machine].what, end.conn) {
            (What::Engine(node), Some(conn)) => {
                node.engine.handle_readable(conn);
                self.pump(end.machine);
            }
            (What::Actor(actor), _) if actor.reads(stream) => {
                let pipe = &mut self.streams[stream].pipes[side];
                let bytes: Vec<u8> = pipe.arrived.drain(..).collect();
                pipe.used -= bytes.len();
                let said = actor.received(self.now, stream, &bytes);
                let at = self.now + Duration::from_millis(1);
                self.schedule(at, Happening::Room { stream, side });
                self.actor_says(end.machine, stream, said);
            }
            _ => {}
        }
    }

    /// The reader took bytes: the sender may send more.
    fn room(&mut self, stream: usize, side: usize) {
        let Some(entry) = self.streams.get(stream) else { return };
        let end = entry.ends[side];
        if let (What::Engine(node), Some(conn)) = (&mut self.machines[end.machine].what, end.conn) {
            node.engine.handle_writable(conn);
            self.pump(end.machine);
        }
    }

    fn close(&mut self, stream: usize, side: usize) {
        let Some(entry) = self.streams.get_mut(stream) else { return };
        entry.pipes[side].closed = true;
        let (a, b) = (entry.ends[0].machine, entry.ends[1].machine);
        let conn = entry.ends[side].conn.take();
        let last = entry.pipes[side].on_the_way.back().map_or(self.now, |(at, _)| *at);
        let machine = self.streams[stream].ends[side].machine;
        if let (What::Engine(node), Some(conn)) = (&mut self.machines[machine].what, conn) {
            node.streams.remove(&conn);
        }
        let at = last.max(self.now + self.latency(a, b));
        self.schedule(at, Happening::Closed { stream, side });
    }

    fn told_closed(&mut self, stream: usize, side: usize) {
        let Some(entry) = self.streams.get_mut(stream) else { return };
        if entry.pipes[1 - side].closed {
            self.streams.remove(stream);
            return;
        }
        let end = entry.ends[1 - side];
        match (&mut self.machines[end.machine].what, end.conn) {
            (What::Engine(node), Some(conn)) => {
                node.engine.handle_readable(conn);
                self.pump(end.machine);
            }
            (What::Actor(actor), _) => {
                actor.closed(self.now, stream);
                self.close(stream, 1 - side);
            }
            _ => {}
        }
    }

    fn actor_says(&mut self, machine: usize, stream: usize, bytes: Vec<u8>) {
        let Some(entry) = self.streams.get(stream) else { return };
        let side = usize::from(entry.ends[1].machine == machine);
        for chunk in bytes.chunks(16 * 1024) {
            self.send(stream, side, chunk.to_vec());
        }
    }

    fn send(&mut self, stream: usize, side: usize, chunk: Vec<u8>) {
        let Some(entry) = self.streams.get_mut(stream) else { return };
        let (a, b) = (entry.ends[side].machine, entry.ends[1 - side].machine);
        if a == b {
            return;
        }
        let Ok([from, to]) = self.machines.get_disjoint_mut([a, b]) else { return };
        let from = (&from.access, &mut from.wire);
        let to = (&to.access, &mut to.wire);
        let at = entry.pipes[side].send(self.now, chunk, from, to, &self.network, &mut self.rng);
        self.schedule(at, Happening::Arrival { stream, side });
    }

    // ---- a node's turn

    /// Lets a node do all that it can do now.
    fn pump(&mut self, index: usize) {
        loop {
            let now = self.now;
            let What::Engine(node) = &mut self.machines[index].what else { return };
            if node.gone {
                return;
            }
            let mut completions = std::mem::take(&mut node.completions);
            node.disk.advance(now, &mut completions);
            for completion in completions.drain(..) {
                node.engine.handle_completion(now, completion);
            }
            node.completions = completions;
            if node.engine.next_timeout().is_some_and(|at| at <= now) {
                node.engine.handle_timeout(now);
            }
            let mut busy = self.act(index);
            while let Some(transfer) = self.engine_of(index).and_then(|engine| engine.poll_transfer(now)) {
                busy = true;
                self.transfer(index, transfer);
                self.act(index);
            }
            if !busy {
                break;
            }
        }
        let What::Engine(node) = &mut self.machines[index].what else { return };
        let next = node.engine.next_timeout().into_iter().chain(node.disk.next_event()).min();
        if let Some(at) = next {
            self.wake_by(index, at.max(self.now));
        }
    }

    fn engine_of(&mut self, index: usize) -> Option<&mut Engine> {
        match &mut self.machines[index].what {
            What::Engine(node) => Some(&mut node.engine),
            What::Actor(_) => None,
        }
    }

    fn transfer(&mut self, index: usize, transfer: Transfer) {
        let now = self.now;
        let What::Engine(node) = &mut self.machines[index].what else { return };
        let Some((stream, side)) = node.streams.get(&transfer.conn).copied() else {
            return node.engine.handle_blocked(transfer.conn, transfer.direction);
        };
        match transfer.direction {
            Direction::Read => {
                let pipe = &mut self.streams[stream].pipes[1 - side];
                let Some(n) = fill(pipe, &mut node.engine, transfer) else {
                    return node.engine.handle_blocked(transfer.conn, Direction::Read);
                };
                let drained = pipe.arrived.is_empty() && !pipe.is_over();
                node.engine.handle_read(now, transfer.conn, n, drained);
                if n > 0 {
                    let (a, b) = (self.streams[stream].ends[0].machine, self.streams[stream].ends[1].machine);
                    let at = now + self.latency(a, b);
                    self.schedule(at, Happening::Room { stream, side: 1 - side });
                }
            }
            Direction::Write => {
                let room = self.streams[stream].pipes[side].room(&self.network);
                if room == 0 {
                    return node.engine.handle_blocked(transfer.conn, Direction::Write);
                }
                let budget = transfer.budget.min(room).min(16 * 1024);
                let slices = node.engine.write_slices(Transfer { budget, ..transfer });
                let chunk: Vec<u8> = slices.as_slices().iter().flat_map(|s| s.iter().copied()).collect();
                let n = chunk.len();
                node.engine.handle_written(now, transfer.conn, n, n == room);
                self.send(stream, side, chunk);
            }
        }
    }

    /// Does what the engine asks for; whether there was anything.
    fn act(&mut self, index: usize) -> bool {
        let now = self.now;
        let mut any = false;
        loop {
            let What::Engine(node) = &mut self.machines[index].what else { return any };
            node.engine.take_jobs(&mut node.jobs);
            if !node.jobs.is_empty() {
                node.disk.submit(now, &mut node.jobs);
            }
            let Some(action) = node.engine.poll_action() else { return any };
            any = true;
            match action {
                Action::Dial { conn, addr } => {
                    let latency = self.machines[index].access.latency;
                    self.schedule(now + latency, Happening::Dialled { from: index, conn, to: addr });
                }
                Action::Close { conn } => {
                    if let Some((stream, side)) = node.streams.remove(&conn) {
                        self.close(stream, side);
                    }
                }
                Action::Announce { torrent, id, announce } => {
                    let reply = self.track(index, id, announce.event);
                    self.order += 1;
                    self.replies.insert(self.order, (torrent, announce.id, reply));
                    let happening = Happening::Reply { to: index, at: self.order };
                    self.schedule(now + Duration::from_millis(50), happening);
                }
                Action::CancelAnnounce { .. } => {}
                Action::Event(event) => {
                    if matches!(event, Event::Complete { .. }) {
                        node.completed.get_or_insert(now);
                    }
                    node.events.push((now, event));
                }
            }
        }
    }

    /// The tracker of this world.
    fn track(&mut self, index: usize, id: TorrentId, event: Announced) -> AnnounceReply {
        let me = self.machines[index].addr;
        let peers = self.tracked.entry(id).or_default();
        let mut others: Vec<_> = peers.iter().copied().filter(|addr| *addr != me).collect();
        if event == Announced::Stopped {
            peers.remove(&me);
        } else {
            peers.insert(me);
        }
        others.shuffle(&mut self.rng);
        others.truncate(50);
        AnnounceReply { interval: Some(1800), peers: others, ..AnnounceReply::default() }
    }

    fn replied(&mut self, to: usize, at: u64) {
        let Some((torrent, announce, reply)) = self.replies.remove(&at) else { return };
        let now = self.now;
        if let Some(engine) = self.engine_of(to) {
            engine.handle_announced(now, torrent, announce, Scope::Global, Ok(reply));
            self.pump(to);
        }
    }
}

/// Moves what has arrived into the engine's slices. `None` when there is nothing, `Some(0)` at the end.
fn fill(pipe: &mut Pipe, engine: &mut Engine, transfer: Transfer) -> Option<usize> {
    if pipe.arrived.is_empty() {
        return pipe.is_over().then_some(0);
    }
    let mut slices = engine.read_slices(transfer);
    let mut n = 0;
    for slice in slices.as_mut() {
        let take = slice.len().min(pipe.arrived.len());
        for (place, byte) in slice.iter_mut().zip(pipe.arrived.drain(..take)) {
            *place = byte;
        }
        n += take;
    }
    pipe.used -= n;
    Some(n)
}

/// Machine `index` has an address of its own, in a range of its own.
fn address(index: usize) -> SocketAddr {
    let ip = Ipv4Addr::new(90, (index / 200) as u8, (index % 200) as u8 + 1, 7);
    SocketAddr::new(ip.into(), 6881)
}
