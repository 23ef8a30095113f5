//! Plays commands, queries, answers true and false, and the passing of time, read from bytes, to a DHT node.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use swarm::engine::dht::{Announce, Dht, DhtConfig, DhtEvent, DhtState, Id, LookupId, Mutable, PutMutable};
use swarm::engine::time::Time;
use wire::krpc::{Body, Method, MutableItem, NodeInfo, Nodes, Packet, Query, Refusal, Reply, Want};

/// Plays `data`.
///
/// # Panics
/// When the node breaks a rule.
pub(crate) fn run(data: &[u8]) {
    let (setup, rest) = data.split_first().unwrap_or((&0, &[]));
    let mut game = Game::new(*setup);
    let mut rest = rest;
    while let [what, value, after @ ..] = rest {
        rest = after;
        game.step(*what, *value, &mut rest);
        game.settle();
    }
    game.end();
}

struct Game {
    dht: Dht,
    now: Time,
    /// Commands that are not over.
    open: Vec<LookupId>,
    /// Queries that the node sent, and where to.
    asked: Vec<(SocketAddr, Vec<u8>)>,
    /// Bytes from and to each address; plenty from those that may have proven themselves.
    traffic: BTreeMap<SocketAddr, (usize, usize)>,
    /// The last token that the node gave.
    token: Vec<u8>,
}

fn address(value: u8) -> SocketAddr {
    let last = value / 8;
    match value % 8 {
        0 => ([127, 0, 0, 1], 1000 + u16::from(last)).into(),
        1 => ([10, 0, 0, last], 6881).into(),
        2 => ([8, 8, last, 8], 6881).into(),
        3 => ([8, 8, 8, last], 6881).into(),
        4 => SocketAddr::new([0x2606, 0x4700, last.into(), 0, 0, 0, 0, 1].into(), 6881),
        5 => SocketAddr::new(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last.into()]), 6881),
        6 => ([224, 0, 0, last], u16::from(last % 2)).into(),
        _ => ([9, last, 1, 1], 6881).into(),
    }
}

/// An id that an address has, or one that it cannot have.
fn id(addr: SocketAddr, value: u8) -> Id {
    let mut rng = ChaCha8Rng::seed_from_u64(value.into());
    if value.is_multiple_of(4) { Id([value; 20]) } else { Id::of_address(addr.ip(), &mut rng) }
}

fn target(value: u8) -> Id {
    let mut id = [0; 20];
    id[0] = value & 0x83;
    Id(id)
}

impl Game {
    fn new(setup: u8) -> Self {
        let nodes = (0..setup % 64).map(|n| (id(address(n), n | 1), address(n))).collect();
        let config = DhtConfig {
            ipv6: setup & 1 == 0,
            read_only: setup & 7 == 7,
            version: (setup & 2 == 0).then_some(*b"UK01"),
            own: vec![address(3)],
            bootstrap: vec![address(2), address(12)],
            saved: (setup & 4 == 0).then_some(DhtState { nodes, ..DhtState::default() }),
            lookups: 4,
            in_flight: 24,
            ..DhtConfig::default()
        };
        let now = Time::from_secs(1);
        Self {
            dht: Dht::new(config, ChaCha8Rng::seed_from_u64(1), now),
            now,
            open: Vec::new(),
            asked: Vec::new(),
            traffic: BTreeMap::new(),
            token: Vec::new(),
        }
    }

    fn step(&mut self, what: u8, value: u8, rest: &mut &[u8]) {
        match what % 8 {
            0 => self.command(what / 8, value),
            1 => self.pass(Duration::from_millis(u64::from(value) * 40)),
            2 => self.pass(Duration::from_secs(u64::from(value) * 10)),
            3 => {
                let at = usize::from(value).min(rest.len());
                let (packet, after) = rest.split_at(at);
                *rest = after;
                self.receive(address(what / 8), packet);
            }
            4 => self.query(what / 8, value),
            _ => self.answer(what, value),
        }
    }

    fn command(&mut self, what: u8, value: u8) {
        let (dht, now, target) = (&mut self.dht, self.now, target(value));
        let item = [b'i', b'0' + value % 10, b'e'];
        let begun = match what % 14 {
            0 => dht.get_peers(now, target, None),
            1 => dht.get_peers(
                now,
                target,
                Some(Announce { port: 7, implied_port: value & 1 == 0, seed: true }),
            ),
            2 => dht.scrape(now, target),
            3 => dht.find_nodes(now, target),
            4 => dht.get_immutable(now, target),
            5 => dht.put_immutable(now, item.to_vec()),
            6 => dht.get_mutable(now, Mutable::public_key(&[1; 32]), &[]),
            7 => {
                let cas = (value & 1 == 0).then_some(i64::from(value));
                dht.put_mutable(
                    now,
                    PutMutable { secret: [1; 32], salt: Vec::new(), value: item.to_vec(), cas },
                )
            }
            8 => dht.put_signed(now, Mutable::sign(&[1; 32], Vec::new(), value.into(), item.to_vec())),
            9 => dht.ping(now, address(value)),
            10 => dht.sample(now, address(value), target),
            11 => {
                dht.add_node(now, address(value));
                return;
            }
            12 => {
                dht.bootstrap(now, &[address(value)]);
                return;
            }
            _ => {
                if !self.open.is_empty() {
                    let id = self.open.swap_remove(usize::from(value) % self.open.len());
                    dht.cancel(now, id);
                }
                return;
            }
        };
        self.open.extend(begun);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.dht.handle_timeout(self.now);
        assert!(self.dht.next_timeout() > self.now, "{:?} at {:?}", self.dht.next_timeout(), self.now);
    }

    fn receive(&mut self, from: SocketAddr, packet: &[u8]) {
        self.traffic.entry(from).or_default().0 += packet.len();
        self.dht.handle_packet(self.now, from, packet);
    }

    fn query(&mut self, what: u8, value: u8) {
        let from = address(value);
        let target = target(value).0;
        let token = if value & 1 == 0 { &self.token[..] } else { b"guess" };
        let want = (value & 2 == 0).then_some(Want { v4: true, v6: value & 4 == 0 });
        let item = Mutable::sign(&[1; 32], Vec::new(), (value / 16).into(), b"i7e".to_vec());
        let mutable =
            MutableItem { key: &item.key, salt: &[], seq: item.seq, cas: None, signature: &item.signature };
        let method = match what % 10 {
            0 => Method::Ping,
            1 => Method::FindNode { target, want },
            2 => Method::GetPeers {
                info_hash: target,
                want,
                no_seeds: value & 8 == 0,
                scrape: value & 16 == 0,
            },
            3 | 4 => Method::AnnouncePeer {
                info_hash: target,
                port: value.into(),
                implied_port: value & 2 == 0,
                token,
                name: None,
                seed: value & 4 == 0,
            },
            5 => Method::Get { target, seq: (value & 8 == 0).then_some(1), want },
            6 => Method::Put { token, value: b"5:value", mutable: None },
            7 => Method::Put { token, value: b"i7e", mutable: Some(mutable) },
            8 => Method::SampleInfohashes { target, want },
            _ => Method::Other { name: b"vote", target: (value & 1 == 0).then_some(target), want },
        };
        let shows_token =
            matches!(method, Method::AnnouncePeer { .. } | Method::Put { .. }) && value & 1 == 0;
        let query = Query { id: id(from, value).0, method };
        let packet = Packet { read_only: value & 32 == 0, ..Packet::new(b"aa", Body::Query(query)) };
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        if shows_token {
            self.prove(from);
        }
        self.receive(from, &bytes);
    }

    /// Answers one of the queries: rightly, with an error, from elsewhere, with another id, or with lies.
    fn answer(&mut self, what: u8, value: u8) {
        if self.asked.is_empty() {
            return;
        }
        let (to, query) = self.asked.swap_remove(usize::from(value) % self.asked.len());
        let query = Packet::parse(&query).expect("a node sends what a node can read");
        let nodes: Vec<_> = (0..value % 32)
            .map(|n| {
                let addr = address(value.wrapping_mul(31).wrapping_add(n.wrapping_mul(7)));
                NodeInfo { id: id(addr, n.wrapping_add(value)).0, addr }
            })
            .collect();
        let item = Mutable::sign(&[1; 32], Vec::new(), (value / 8).into(), b"i7e".to_vec());
        let reply = Reply {
            nodes: Some(Nodes::v4(nodes.iter().copied())),
            nodes6: Some(Nodes::v6(nodes.iter().copied())),
            values: nodes.iter().map(|node| node.addr).collect(),
            token: (value & 1 == 0).then_some(b"token"),
            value: (value & 2 == 0).then_some(&item.value),
            key: Some(&item.key),
            signature: Some(if value & 4 == 0 { &item.signature } else { &[0; 64] }),
            seq: Some(item.seq),
            ..Reply::new(id(to, if value & 8 == 0 { value } else { 1 }).0)
        };
        let (body, from) = match (what / 8) % 8 {
            0 => (Body::Error(Refusal::new(203, "no")), to),
            1 => (Body::Reply(reply), address(value)),
            _ => (Body::Reply(reply), to),
        };
        let ip = (value & 16 == 0).then(|| address(what));
        let mut bytes = Vec::new();
        Packet { ip, ..Packet::new(query.transaction, body) }.encode(&mut bytes);
        let used = self.dht.handle_packet(self.now, from, &bytes);
        assert!(from == to || !used, "an answer from elsewhere was taken");
        self.prove(to);
    }

    /// From now on the address may be sent more.
    fn prove(&mut self, addr: SocketAddr) {
        self.traffic.insert(addr, (usize::MAX / 8, 0));
    }

    fn settle(&mut self) {
        while let Some(packet) = self.dht.poll_transmit() {
            assert!(packet.bytes.len() <= 1400 && packet.to.port() != 0 && packet.to != address(3));
            let parsed = Packet::parse(&packet.bytes).expect("a node sends what a node can read");
            match parsed.body {
                Body::Query(_) => self.asked.push((packet.to, packet.bytes)),
                Body::Reply(reply) => {
                    if let Some(token) = reply.token {
                        self.token = token.to_vec();
                    }
                    self.count(packet.to, packet.bytes.len());
                }
                Body::Error(_) => self.count(packet.to, packet.bytes.len()),
            }
        }
        let excess = self.asked.len().saturating_sub(256);
        self.asked.drain(..excess);
        while let Some(event) = self.dht.poll_event() {
            if let DhtEvent::Done { lookup, .. } = event {
                let at =
                    self.open.iter().position(|open| *open == lookup).expect("an end of what was not begun");
                self.open.swap_remove(at);
            }
        }
        self.dht.check();
    }

    /// What goes to an address in answer is no more than three times what came from there.
    fn count(&mut self, to: SocketAddr, len: usize) {
        let (came, went) = self.traffic.entry(to).or_default();
        *went += len;
        assert!(*went <= 3 * *came, "{went} bytes to {to} for {came}");
    }

    /// When nobody answers any more, everything comes to its end.
    fn end(&mut self) {
        for _ in 0..40_000 {
            if self.open.is_empty() {
                return;
            }
            let next = self.dht.next_timeout();
            self.pass(next.since(self.now));
            self.settle();
        }
        panic!("{} commands never end", self.open.len());
    }
}
