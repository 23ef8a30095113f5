//! A network of nodes on virtual time: latencies and losses are drawn from a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swarm::engine::dht::{Dht, DhtConfig, DhtEvent, Id, LookupId, LookupStats};
use swarm::engine::scope::Scope;
use swarm::engine::time::Time;
use wire::krpc::Packet;

/// What a hostile or scripted address does with a packet: the packets that it sends.
pub(crate) type Script = Box<dyn FnMut(Time, SocketAddr, &[u8]) -> Vec<(SocketAddr, Vec<u8>)>>;

pub(crate) struct Net {
    pub(crate) now: Time,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) nodes: Vec<Node>,
    /// Packets of a hundred that are lost.
    pub(crate) loss: f64,
    /// Nodes that are added enforce secure ids.
    pub(crate) enforces: bool,
    scripts: BTreeMap<SocketAddr, Script>,
    by_addr: BTreeMap<SocketAddr, usize>,
    queue: BinaryHeap<Reverse<(Time, u64, Delivery)>>,
    sent: u64,
    /// Bytes that each address that is no node was sent.
    pub(crate) strangers: BTreeMap<SocketAddr, usize>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Delivery {
    Packet { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Wake(usize),
}

pub(crate) struct Node {
    pub(crate) dht: Dht,
    pub(crate) addr: SocketAddr,
    pub(crate) events: Vec<DhtEvent>,
    /// Neither takes nor sends packets.
    pub(crate) is_silent: bool,
    /// Only answers: does nothing by itself.
    pub(crate) is_passive: bool,
    /// Knows nothing of BEP 42: does not see what others say of its address.
    pub(crate) is_unaware: bool,
    /// Its system has no IPv6 route.
    pub(crate) has_no_v6: bool,
    /// Its network drops IPv6 without a word.
    pub(crate) drops_v6: bool,
    woken: Time,
    /// Steps until all of it is checked again.
    unchecked: usize,
}

/// Nodes of a table that are looked at for each step, on average.
const LOOKS_PER_STEP: usize = 1;

impl Node {
    /// Checks what must hold: what waits after every step that touched the node, its tables as a whole after so many steps that
    /// it costs a fixed part of the run.
    fn check(&mut self) {
        self.dht.check_bounds();
        self.unchecked = self.unchecked.saturating_sub(1);
        if self.unchecked == 0 {
            self.dht.check();
            self.unchecked = self.dht.status().nodes.iter().sum::<usize>() / LOOKS_PER_STEP;
        }
    }
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self {
            now: Time::from_secs(1000),
            rng: ChaCha8Rng::seed_from_u64(seed),
            nodes: Vec::new(),
            loss: 0.0,
            enforces: false,
            scripts: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            queue: BinaryHeap::new(),
            sent: 0,
            strangers: BTreeMap::new(),
        }
    }

    /// An address of the internet that nobody has.
    pub(crate) fn address(&mut self) -> SocketAddr {
        loop {
            let addr = SocketAddr::new(Ipv4Addr::from(self.rng.next_u32()).into(), 6881);
            if Scope::of(addr.ip()) == Some(Scope::Global) && !self.by_addr.contains_key(&addr) {
                return addr;
            }
        }
    }

    /// Adds a node; returns its number.
    pub(crate) fn add(&mut self, addr: SocketAddr, config: DhtConfig) -> usize {
        let config = DhtConfig { ipv4: addr.is_ipv4(), ipv6: addr.is_ipv6(), ..config };
        self.add_dual(&[addr], config)
    }

    /// Adds a node that has several addresses, of different families.
    pub(crate) fn add_dual(&mut self, addrs: &[SocketAddr], config: DhtConfig) -> usize {
        let config = DhtConfig { own: addrs.to_vec(), enforce_secure_ids: self.enforces, ..config };
        let dht = Dht::new(config, ChaCha8Rng::seed_from_u64(self.rng.next_u64()), self.now);
        let index = self.nodes.len();
        self.nodes.push(Node {
            dht,
            addr: addrs[0],
            events: Vec::new(),
            is_silent: false,
            is_passive: false,
            is_unaware: false,
            has_no_v6: false,
            drops_v6: false,
            woken: Time::MAX,
            unchecked: 0,
        });
        self.by_addr.extend(addrs.iter().map(|addr| (*addr, index)));
        self.settle(index);
        index
    }

    /// A node that begins with the first one.
    pub(crate) fn join(&mut self) -> usize {
        let addr = self.address();
        let bootstrap = self.nodes.iter().take(1).map(|node| node.addr).collect();
        // The first one has nobody to tell it.
        let external = if self.nodes.is_empty() { vec![addr.ip()] } else { Vec::new() };
        self.add(addr, DhtConfig { bootstrap, external, ..DhtConfig::default() })
    }

    /// So many nodes that join one after the other.
    pub(crate) fn joined(seed: u64, count: usize) -> Self {
        Self::joined_that(seed, count, false)
    }

    /// The same; they may refuse nodes whose ids are not of their addresses.
    pub(crate) fn joined_that(seed: u64, count: usize, enforces: bool) -> Self {
        let mut net = Self { enforces, ..Self::new(seed) };
        for _ in 0..count {
            net.join();
            net.run(Duration::from_millis(50));
        }
        net.run(Duration::from_secs(120));
        net
    }

    /// Forty nodes of both families, number n at [`v6`]`(n)` besides, that begin with the first one; with its address of the one
    /// family, or with both.
    pub(crate) fn dual(seed: u64, knows_both: bool) -> Self {
        let mut net = Self::new(seed);
        let first = net.address();
        let external = vec![first.ip(), v6(0).ip()];
        net.add_dual(&[first, v6(0)], DhtConfig { external, ..DhtConfig::default() });
        for n in 1..40 {
            let addr = net.address();
            let bootstrap = if knows_both { vec![first, v6(0)] } else { vec![first] };
            net.add_dual(&[addr, v6(n)], DhtConfig { bootstrap, ..DhtConfig::default() });
            net.run(Duration::from_millis(500));
            if n == 1 && !knows_both {
                let seen = net.now;
                net.dht(0).add_node(seen, v6(1));
                net.settle(0);
                net.dht(1).add_node(seen, v6(0));
                net.settle(1);
            }
        }
        net.run(Duration::from_secs(180));
        net
    }

    /// What a node told since it was last asked.
    pub(crate) fn told(&mut self, index: usize) -> Vec<DhtEvent> {
        std::mem::take(&mut self.nodes[index].events)
    }

    /// Nodes that have the ids of their addresses and the tables that long-running nodes have, and do nothing by themselves.
    pub(crate) fn settled(seed: u64, count: usize) -> Self {
        Self::settled_with(seed, count, 0.0)
    }

    /// The same, but for a share of them that have ids of anywhere.
    pub(crate) fn settled_with(seed: u64, count: usize, unverified: f64) -> Self {
        let mut net = Self::new(seed);
        let mut all: Vec<(Id, SocketAddr)> = Vec::new();
        for _ in 0..count {
            let addr = net.address();
            let is_unaware = net.rng.random_bool(unverified);
            let external = if is_unaware { Vec::new() } else { vec![addr.ip()] };
            let index = net.add(addr, DhtConfig { external, ..DhtConfig::default() });
            (net.nodes[index].is_passive, net.nodes[index].is_unaware) = (true, is_unaware);
            all.push((net.nodes[index].dht.id(true).unwrap(), addr));
        }
        // Those that should have woken to join.
        net.queue.clear();
        net.nodes.iter_mut().for_each(|node| node.woken = Time::MAX);
        all.sort();
        for index in 0..count {
            let own = net.nodes[index].dht.id(true).unwrap();
            let (mut low, mut high) = (0, all.len());
            for depth in 0..32 {
                // Those that share so many bits are one half of what is left, and the other half shares more.
                let middle = low + all[low..high].partition_point(|(id, _)| bit(id, depth) == 0);
                let others = if bit(&own, depth) == 0 { middle..high } else { low..middle };
                (low, high) = if bit(&own, depth) == 0 { (low, middle) } else { (middle, high) };
                let size = [128, 64, 32, 16].get(depth).copied().unwrap_or(8);
                for _ in 0..others.len().min(size + size / 4) {
                    let (id, addr) = all[net.rng.random_range(others.clone())];
                    net.nodes[index].dht.vouch(net.now, id, addr);
                }
            }
        }
        net
    }

    /// Has a script behind an address.
    pub(crate) fn script(&mut self, addr: SocketAddr, script: Script) {
        self.scripts.insert(addr, script);
    }

    pub(crate) fn dht(&mut self, index: usize) -> &mut Dht {
        &mut self.nodes[index].dht
    }

    /// Nobody has the address any more.
    pub(crate) fn leave(&mut self, index: usize) {
        self.nodes[index].is_silent = true;
        self.by_addr.remove(&self.nodes[index].addr);
    }

    /// A node has another address from now on.
    pub(crate) fn relocate(&mut self, index: usize, addr: SocketAddr) {
        self.by_addr.remove(&self.nodes[index].addr);
        self.by_addr.insert(addr, index);
        self.nodes[index].addr = addr;
    }

    /// Sends a packet, forged or not.
    pub(crate) fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if !self.by_addr.contains_key(&to) {
            *self.strangers.entry(to).or_default() += bytes.len();
        }
        if self.rng.random_bool(self.loss) {
            return;
        }
        let latency = Duration::from_micros(self.rng.random_range(10_000..120_000));
        self.push(self.now + latency, Delivery::Packet { from, to, bytes });
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs a command of a node until it is over. Returns how it went, and leaves its events with the node.
    pub(crate) fn complete(
        &mut self,
        index: usize,
        command: impl FnOnce(&mut Dht, Time) -> LookupId,
    ) -> LookupStats {
        let id = command(&mut self.nodes[index].dht, self.now);
        self.settle(index);
        self.wait(index, id)
    }

    /// Runs until a command is over.
    pub(crate) fn wait(&mut self, index: usize, id: LookupId) -> LookupStats {
        let end = self.now + Duration::from_secs(300);
        let is_end = |event: &DhtEvent| match event {
            DhtEvent::Done { lookup, stats } if *lookup == id => Some(*stats),
            _ => None,
        };
        loop {
            if let Some(stats) = self.nodes[index].events.iter().find_map(is_end) {
                return stats;
            }
            assert!(self.step(end), "{id:?} never ends");
        }
    }

    /// Takes what a node has to say and to send, after something was done to it.
    pub(crate) fn settle(&mut self, index: usize) {
        while let Some(packet) = self.nodes[index].dht.poll_transmit() {
            assert!(packet.bytes.len() <= 1400, "{} bytes", packet.bytes.len());
            if self.nodes[index].has_no_v6 && packet.to.is_ipv6() {
                let now = self.now;
                self.nodes[index].dht.handle_unreachable(now, packet.to);
            } else if !(self.nodes[index].is_silent || self.nodes[index].drops_v6 && packet.to.is_ipv6()) {
                let from = self.source(index, packet.to);
                self.send(from, packet.to, packet.bytes);
            }
        }
        let node = &mut self.nodes[index];
        node.check();
        node.events.extend(std::iter::from_fn(|| node.dht.poll_event()));
        let next = node.dht.next_timeout();
        if next < node.woken && !node.is_passive {
            node.woken = next;
            self.push(next, Delivery::Wake(index));
        }
    }

    /// The address that a node sends from.
    fn source(&self, index: usize, to: SocketAddr) -> SocketAddr {
        let node = &self.nodes[index];
        if node.addr.is_ipv4() == to.is_ipv4() {
            return node.addr;
        }
        let mut of_node = self.by_addr.iter().filter(|(_, owner)| **owner == index);
        *of_node.find(|(addr, _)| addr.is_ipv4() == to.is_ipv4()).expect("an address of the family").0
    }

    fn push(&mut self, at: Time, delivery: Delivery) {
        self.sent += 1;
        self.queue.push(Reverse((at, self.sent, delivery)));
    }

    /// The next thing that happens, if it is before the end.
    fn step(&mut self, end: Time) -> bool {
        if self.queue.peek().is_none_or(|Reverse((at, ..))| *at > end) {
            return false;
        }
        let Some(Reverse((at, _, delivery))) = self.queue.pop() else { return false };
        self.now = self.now.max(at);
        match delivery {
            Delivery::Wake(index) => {
                self.nodes[index].woken = Time::MAX;
                if !self.nodes[index].is_silent {
                    self.nodes[index].dht.handle_timeout(self.now);
                    self.settle(index);
                }
            }
            Delivery::Packet { from, to, bytes } => {
                if let Some(script) = self.scripts.get_mut(&to) {
                    for (target, bytes) in script(self.now, from, &bytes) {
                        self.send(to, target, bytes);
                    }
                } else if let Some(index) =
                    self.by_addr.get(&to).copied().filter(|at| !self.nodes[*at].is_silent)
                {
                    let node = &mut self.nodes[index];
                    let bytes = if node.is_unaware { without_ip(bytes) } else { bytes };
                    node.dht.handle_packet(self.now, from, &bytes);
                    self.settle(index);
                }
            }
        }
        true
    }
}

/// A packet without what it says of its receiver's address.
fn without_ip(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(packet) = Packet::parse(&bytes) else { return bytes };
    let mut stripped = Vec::new();
    Packet { ip: None, ..packet }.encode(&mut stripped);
    stripped
}

/// The IPv6 address of a node of [`Net::dual`], or of none.
pub(crate) fn v6(n: usize) -> SocketAddr {
    SocketAddr::new([0x2606, 0x4700, u16::try_from(n).unwrap(), 0, 0, 0, 0, 1].into(), 6881)
}

/// The address of an IP as a peer's.
pub(crate) fn peer(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 7000)
}

fn bit(id: &Id, at: usize) -> u8 {
    (id.0[at / 8] >> (7 - at % 8)) & 1
}

/// The value below which so many of a hundred lie.
pub(crate) fn percentile(values: &mut [u32], percent: usize) -> u32 {
    values.sort_unstable();
    values[(values.len() - 1) * percent / 100]
}
