//! What a DHT node costs: a query answered, a whole lookup with the work of all nodes that it asks, and an item checked.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swarm::engine::dht::{Announce, Dht, DhtConfig, DhtEvent, Id, LookupId, Mutable};
use swarm::engine::time::Time;
use wire::krpc::{Body, Method, Packet, Query};

const NODES: usize = 1000;

/// A network without latency: what is sent is there.
struct Net {
    nodes: Vec<Dht>,
    addrs: Vec<SocketAddr>,
    by_addr: BTreeMap<SocketAddr, usize>,
    now: Time,
}

impl Net {
    fn new() -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let now = Time::from_secs(1000);
        // Private addresses: any id will do, and many may share a subnet.
        let addrs: Vec<SocketAddr> =
            (0..NODES as u32).map(|n| (Ipv4Addr::from(0x0a00_0001 + n), 6881).into()).collect();
        let config = |addr: &SocketAddr| DhtConfig { ipv6: false, own: vec![*addr], ..DhtConfig::default() };
        let mut nodes: Vec<Dht> = addrs
            .iter()
            .map(|addr| Dht::new(config(addr), ChaCha8Rng::seed_from_u64(rng.random()), now))
            .collect();
        let ids: Vec<Id> = nodes.iter().map(|node| node.id(true).expect("an id")).collect();
        for node in &mut nodes {
            let first = rng.random_range(0..NODES);
            (0..NODES).map(|n| (first + n) % NODES).for_each(|n| node.vouch(now, ids[n], addrs[n]));
        }
        let by_addr = addrs.iter().copied().zip(0..).collect();
        Self { nodes, addrs, by_addr, now }
    }

    /// Delivers packets until a lookup of a node is over. Returns how many queries it took.
    fn complete(&mut self, who: usize, lookup: LookupId) -> u32 {
        loop {
            let mut busy = vec![who];
            while let Some(from) = busy.pop() {
                while let Some(packet) = self.nodes[from].poll_transmit() {
                    let Some(&to) = self.by_addr.get(&packet.to) else { continue };
                    self.nodes[to].handle_packet(self.now, self.addrs[from], &packet.bytes);
                    busy.push(to);
                }
            }
            while let Some(event) = self.nodes[who].poll_event() {
                if let DhtEvent::Done { lookup: done, stats } = event
                    && done == lookup
                {
                    return stats.queries;
                }
            }
            // Held back by a limit of what is asked or answered in a second.
            self.now = self.nodes[who].next_timeout().max(self.now);
            self.nodes[who].handle_timeout(self.now);
        }
    }
}

fn queries(c: &mut Criterion) {
    let mut group = c.benchmark_group("dht/answer");
    group.throughput(Throughput::Elements(1));
    let mut net = Net::new();
    let hash = Id([7; 20]);
    for who in 1..100 {
        let announce = Announce { port: 7000, implied_port: false, seed: false };
        let lookup = net.nodes[who].get_peers(net.now, hash, Some(announce)).expect("room");
        net.complete(who, lookup);
        net.now += Duration::from_secs(1);
    }
    let holder = net.nodes[0].nodes(true, hash, 1)[0].1;
    let holder = net.by_addr[&holder];
    let methods = [
        ("ping", Method::Ping),
        ("find_node", Method::FindNode { target: hash.0, want: None }),
        ("get_peers", Method::GetPeers { info_hash: hash.0, want: None, no_seeds: false, scrape: false }),
    ];
    for (name, method) in methods {
        let mut bytes = Vec::new();
        Packet::new(b"aaaa", Body::Query(Query { id: [9; 20], method })).encode(&mut bytes);
        let from = net.addrs[500];
        group.bench_function(name, |b| {
            b.iter(|| {
                net.now += Duration::from_millis(250);
                net.nodes[holder].handle_packet(net.now, from, black_box(&bytes));
                net.nodes[holder].poll_transmit().expect("an answer")
            });
        });
    }
    group.finish();
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("dht/lookup");
    let mut net = Net::new();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    group.bench_function("get_peers among 1,000, all sides", |b| {
        b.iter(|| {
            net.now += Duration::from_secs(2);
            let who = rng.random_range(0..NODES);
            let lookup = net.nodes[who].get_peers(net.now, Id::random(&mut rng), None).expect("room");
            net.complete(who, lookup)
        });
    });
    group.finish();
}

fn items(c: &mut Criterion) {
    let mut group = c.benchmark_group("dht/item");
    let value = [b"900:".as_slice(), &[b'x'; 900]].concat();
    let item = Mutable::sign(&[3; 32], b"salt".to_vec(), 1, value.clone());
    group.bench_function("verify 900 bytes", |b| b.iter(|| assert!(black_box(&item).is_signed())));
    group.bench_function("sign 900 bytes", |b| {
        b.iter(|| Mutable::sign(black_box(&[3; 32]), b"salt".to_vec(), 1, value.clone()));
    });
    group.finish();
}

criterion_group!(benches, queries, lookups, items);
criterion_main!(benches);
