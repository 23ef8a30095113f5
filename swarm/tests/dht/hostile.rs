//! What hostile nodes can do: not much.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swarm::engine::dht::{Announce, Dht, DhtConfig, DhtEvent, Id, Mutable};
use swarm::engine::time::Time;
use wire::krpc::{Body, Method, MutableItem, NodeInfo, Nodes, Packet, Query, Reply, Want, code};

use crate::net::{Net, peer};
use crate::sys_heap::live;

pub(crate) const ANNOUNCE: Announce = Announce { port: 7000, implied_port: false, seed: false };
const BOTH: Option<Want> = Some(Want { v4: true, v6: true });

pub(crate) fn encode(transaction: &[u8], body: Body<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet::new(transaction, body).encode(&mut bytes);
    bytes
}

pub(crate) fn query(id: Id, method: Method<'_>) -> Vec<u8> {
    encode(b"aa", Body::Query(Query { id: id.0, method }))
}

pub(crate) fn get_peers(hash: Id, want: Option<Want>, scrape: bool) -> Method<'static> {
    Method::GetPeers { info_hash: hash.0, want, no_seeds: false, scrape }
}

/// The token in the answer to a query.
pub(crate) fn token(dht: &mut Dht, now: Time, from: SocketAddr, method: Method<'_>) -> Vec<u8> {
    dht.handle_packet(now, from, &query(Id([9; 20]), method));
    let answers: Vec<_> = std::iter::from_fn(|| dht.poll_transmit()).collect();
    let mut tokens = answers.iter().filter_map(|answer| match Packet::parse(&answer.bytes).unwrap().body {
        Body::Reply(reply) => reply.token.map(<[u8]>::to_vec),
        _ => None,
    });
    tokens.next_back().expect("a token")
}

/// A node that knows 100 others of both families, and has a torrent with 100 peers and a long item.
pub(crate) fn rich(seed: u64) -> (Dht, Time, ChaCha8Rng, Id, Mutable) {
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut now = Time::from_secs(1000);
    let mut dht = Dht::new(DhtConfig::default(), ChaCha8Rng::seed_from_u64(seed), now);
    for _ in 0..400 {
        let v4: SocketAddr = ([8, rng.random(), rng.random(), rng.random()], 6881).into();
        let v6 = SocketAddr::new([0x2600, rng.random(), rng.random(), 0, 0, 0, 0, 1].into(), 6881);
        for addr in [v4, v6] {
            dht.vouch(now, Id::of_address(addr.ip(), &mut rng), addr);
        }
    }
    let hash = Id::random(&mut rng);
    let item = Mutable::sign(&[3; 32], Vec::new(), 1, [b"900:".as_slice(), &[b'x'; 900]].concat());
    for n in 0..100_u8 {
        now += Duration::from_millis(20);
        let from: SocketAddr = ([9, 1, n, 1], 5).into();
        let token = token(&mut dht, now, from, get_peers(hash, None, false));
        let (info_hash, port) = (hash.0, 7);
        let announce = Method::AnnouncePeer {
            info_hash,
            port,
            implied_port: false,
            token: &token,
            name: None,
            seed: false,
        };
        dht.handle_packet(now, from, &query(Id([9; 20]), announce));
    }
    let from: SocketAddr = ([9, 2, 2, 2], 5).into();
    let token = token(&mut dht, now, from, Method::Get { target: item.target().0, seq: None, want: None });
    let mutable = MutableItem { key: &item.key, salt: &[], seq: 1, cas: None, signature: &item.signature };
    let put = Method::Put { token: &token, value: &item.value, mutable: Some(mutable) };
    dht.handle_packet(now, from, &query(Id([9; 20]), put));
    while dht.poll_transmit().is_some() {}
    let status = dht.status();
    assert!(status.peers == 100 && status.items == 1 && status.good[0] > 100, "{status:?}");
    (dht, now + Duration::from_secs(60), rng, hash, item)
}

#[test]
fn an_address_that_may_be_forged_is_sent_three_bytes_for_one_at_most() {
    let (mut dht, mut now, mut rng, hash, item) = rich(1);
    let methods = |id: Id| {
        let target = item.target().0;
        let token = b"12345678";
        vec![
            Method::Ping,
            Method::FindNode { target: id.0, want: None },
            Method::FindNode { target: id.0, want: BOTH },
            get_peers(hash, None, false),
            get_peers(hash, BOTH, false),
            get_peers(hash, None, true),
            Method::Get { target, seq: None, want: None },
            Method::Get { target, seq: Some(5), want: BOTH },
            Method::SampleInfohashes { target: id.0, want: BOTH },
            Method::AnnouncePeer {
                info_hash: hash.0,
                port: 1,
                implied_port: false,
                token,
                name: None,
                seed: false,
            },
            Method::Put { token, value: b"i1e", mutable: None },
            Method::Other { name: b"x", target: None, want: None },
            Method::Other { name: b"y", target: Some(id.0), want: BOTH },
        ]
    };
    let mut worst: f64 = 0.0;
    for round in 0..400_u32 {
        let victim: SocketAddr = match round % 2 {
            0 => ([7, rng.random(), rng.random(), rng.random()], 5).into(),
            _ => SocketAddr::new([0x2601, rng.random(), rng.random(), 0, 0, 0, 0, 1].into(), 5),
        };
        let (mut came, mut went) = (0, 0);
        for _ in 0..30 {
            let id = Id::of_address(victim.ip(), &mut rng);
            let all = methods(id);
            let method = all[rng.random_range(0..all.len())].clone();
            let packet = match rng.random_range(0..12) {
                0 => b"d1:ade1:q4:ping1:t2:aa1:y1:qe".to_vec(),
                _ => query(id, method),
            };
            came += packet.len();
            dht.handle_packet(now, victim, &packet);
            now += Duration::from_millis(rng.random_range(0..500));
            dht.handle_timeout(now);
            let sent = std::iter::from_fn(|| dht.poll_transmit()).filter(|packet| packet.to == victim);
            went += sent.map(|packet| packet.bytes.len()).sum::<usize>();
            assert!(went <= 3 * came, "{went} bytes for {came}");
            worst =
                worst.max(f64::from(u32::try_from(went).unwrap()) / f64::from(u32::try_from(came).unwrap()));
        }
        now += Duration::from_secs(10);
    }
    println!("at most {worst:.2} bytes for one");
    assert!(worst > 1.0, "nothing was answered");
    dht.check();
}

#[test]
fn an_address_gets_five_answers_a_second_and_others_still_get_theirs() {
    let (mut dht, start, _, hash, _) = rich(2);
    let (flooder, other): (SocketAddr, SocketAddr) = (([7, 7, 7, 7], 5).into(), ([7, 8, 8, 8], 5).into());
    let (mut answers, mut others) = (Vec::new(), 0);
    for milli in 0..10_000 {
        let now = start + Duration::from_millis(milli);
        dht.handle_packet(now, flooder, &query(Id([5; 20]), get_peers(hash, None, false)));
        if milli % 1000 == 500 {
            dht.handle_packet(now, other, &query(Id([6; 20]), Method::Ping));
        }
        while let Some(packet) = dht.poll_transmit() {
            if packet.to == flooder {
                answers.push(now);
            } else if packet.to == other {
                others += 1;
            }
        }
    }
    assert!((45..=50).contains(&answers.len()), "{}", answers.len());
    assert!(answers.windows(6).all(|six| six[5] - six[0] >= Duration::from_secs(1)));
    assert_eq!(others, 10);
}

#[test]
fn a_flood_from_everywhere_costs_a_bounded_share_of_memory_and_answers() {
    let (mut dht, start, mut rng, ..) = rich(3);
    let before = live();
    let mut answers = 0;
    for n in 0..200_000_u32 {
        let now = start + Duration::from_micros(u64::from(n) * 50);
        let from: SocketAddr = (rng.next_u32().to_be_bytes(), rng.random_range(1..9999)).into();
        let hash = Id::random(&mut rng);
        let id = Id::of_address(from.ip(), &mut rng);
        let method = match n % 3 {
            0 => get_peers(hash, BOTH, true),
            1 => Method::Get { target: hash.0, seq: None, want: None },
            _ => Method::AnnouncePeer {
                info_hash: hash.0,
                port: 1,
                implied_port: false,
                token: b"guessed!",
                name: None,
                seed: false,
            },
        };
        dht.handle_packet(now, from, &query(id, method));
        if n % 100 == 0 {
            dht.handle_timeout(now);
        }
        answers += std::iter::from_fn(|| dht.poll_transmit()).count();
    }
    let grown = live() - before;
    println!("{answers} packets out for 200,000 in, in 10 s; {grown} bytes more");
    assert!(answers <= 11 * 300, "{answers}");
    assert!(grown <= 256 * 1024, "{grown}");
    dht.check();
}

#[test]
fn announcements_need_a_token_and_what_they_fill_is_bounded() {
    let (mut dht, mut now, ..) = rich(4);
    let (ours, other): (SocketAddr, SocketAddr) = (([7, 7, 7, 7], 5).into(), ([7, 7, 8, 8], 5).into());
    let hash = Id([4; 20]);
    let good = token(&mut dht, now, ours, get_peers(hash, None, false));
    let announce = |token: &'static [u8]| Method::AnnouncePeer {
        info_hash: [4; 20],
        port: 9,
        implied_port: false,
        token,
        name: None,
        seed: false,
    };
    let good: &'static [u8] = good.leak();
    for (from, token, wanted) in
        [(other, good, Some(code::PROTOCOL)), (ours, &b""[..], Some(code::PROTOCOL)), (ours, good, None)]
    {
        now += Duration::from_secs(2);
        dht.handle_packet(now, from, &query(Id([5; 20]), announce(token)));
        let answers: Vec<_> =
            std::iter::from_fn(|| dht.poll_transmit()).filter(|packet| packet.to == from).collect();
        let got = match Packet::parse(&answers[0].bytes).unwrap().body {
            Body::Error(refusal) => Some(refusal.code),
            _ => None,
        };
        assert_eq!(got, wanted);
    }
    let before = (dht.status().torrents, live());
    for n in 0..10_000_u32 {
        now += Duration::from_millis(250);
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        let announce = Method::AnnouncePeer {
            info_hash: hash,
            port: 9,
            implied_port: false,
            token: good,
            name: None,
            seed: false,
        };
        let put =
            Method::Put { token: good, value: &[b"900:".as_slice(), &[b'x'; 900]].concat(), mutable: None };
        dht.handle_packet(now, ours, &query(Id([5; 20]), announce));
        dht.handle_packet(now, ours, &query(Id([5; 20]), put));
        while dht.poll_transmit().is_some() {}
    }
    let status = dht.status();
    assert!(status.torrents > before.0 && status.torrents <= 2000, "{status:?}");
    assert!(live() - before.1 < 2 << 20, "{}", live() - before.1);
}

#[test]
fn one_address_does_not_empty_the_store() {
    let (mut dht, mut now, mut rng, ..) = rich(5);
    let own = dht.id(true).unwrap();
    let mut store = |dht: &mut Dht, from: SocketAddr, hash: Id| {
        now += Duration::from_millis(110);
        let token = token(dht, now, from, get_peers(hash, None, false));
        now += Duration::from_millis(110);
        let announce = Method::AnnouncePeer {
            info_hash: hash.0,
            port: 9,
            implied_port: false,
            token: &token,
            name: None,
            seed: false,
        };
        dht.handle_packet(now, from, &query(Id([5; 20]), announce));
        while dht.poll_transmit().is_some() {}
        dht.handle_timeout(now);
        while dht.poll_transmit().is_some() {}
        while dht.poll_event().is_some() {}
        now
    };
    let hashes: Vec<Id> = (0..20).map(|_| Id::random(&mut rng)).collect();
    for (n, hash) in (1..).zip(&hashes) {
        store(&mut dht, ([7, 1, n, 1], 5).into(), *hash);
    }
    let mut end = Time::ZERO;
    for n in 0..2100 {
        // Beside our id, as whoever announces may have it.
        let hash = own.beside(16 + n % 8, &mut rng);
        store(&mut dht, ([7, 7, 7, 7], 5).into(), hash);
        // And of another network, over the other family.
        let v6 = SocketAddr::new([0x2601, 1, 1, u16::try_from(n).unwrap(), 0, 0, 0, 1].into(), 5);
        end = store(&mut dht, v6, own.beside(20, &mut rng));
    }
    let status = dht.status();
    assert!(status.torrents >= 1000 && status.torrents <= 4000, "{status:?}");
    for hash in hashes {
        end += Duration::from_millis(250);
        dht.handle_packet(end, ([7, 9, 9, 9], 5).into(), &query(Id([5; 20]), get_peers(hash, None, false)));
        let answers: Vec<_> = std::iter::from_fn(|| dht.poll_transmit()).collect();
        let has_peer = |bytes: &[u8]| matches!(Packet::parse(bytes).unwrap().body, Body::Reply(reply) if !reply.values.is_empty());
        assert!(answers.iter().any(|answer| has_peer(&answer.bytes)), "{hash} is gone");
    }
}

#[test]
fn a_torrent_full_of_one_network_still_gives_tokens_to_others() {
    let (mut dht, mut now, ..) = rich(6);
    let hash = Id([6; 20]);
    for n in 0..500 {
        now += Duration::from_millis(500);
        let from = SocketAddr::new([0x2601, 7, 7, 7, 0, 0, 0, n].into(), 5);
        let token = token(&mut dht, now, from, get_peers(hash, None, false));
        let announce = Method::AnnouncePeer {
            info_hash: hash.0,
            port: 9,
            implied_port: false,
            token: &token,
            name: None,
            seed: false,
        };
        now += Duration::from_millis(500);
        dht.handle_packet(now, from, &query(Id([5; 20]), announce));
        while dht.poll_transmit().is_some() {}
    }
    let peers = dht.status().peers;
    assert_eq!(peers, 600);
    // One that takes part in the same family, and one in the other.
    now += Duration::from_secs(1);
    for from in ["[2602:1:1::1]:5", "9.3.3.3:5"] {
        assert_eq!(token(&mut dht, now, from.parse().unwrap(), get_peers(hash, None, false)).len(), 8);
    }
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let mut net = Net::joined(21, 30);
    let now = net.now;
    let (victim, asked) = (net.nodes[5].addr, net.nodes[6].addr);
    let before = net.dht(5).save();
    let hash = Id::random(&mut net.rng);
    net.dht(5).get_peers(now, hash, None).unwrap();
    let sent: Vec<_> = std::iter::from_fn(|| net.dht(5).poll_transmit()).collect();
    assert!(!sent.is_empty());
    let reply = |values| Body::Reply(Reply { values, ..Reply::new([1; 20]) });
    for packet in &sent {
        let transaction = Packet::parse(&packet.bytes).unwrap().transaction.to_vec();
        let lie = encode(&transaction, reply(vec![peer([7, 7, 7, 7].into())]));
        // From another port, from elsewhere, with a transaction that there is none of, and as an echo.
        let port = SocketAddr::new(packet.to.ip(), packet.to.port() + 1);
        let elsewhere = net.address();
        assert!(!net.dht(5).handle_packet(now, port, &lie));
        assert!(!net.dht(5).handle_packet(now, elsewhere, &lie));
        let guess = encode(b"\x01\x02\x03\x04", reply(Vec::new()));
        assert!(!net.dht(5).handle_packet(now, packet.to, &guess));
        assert!(!net.dht(5).handle_packet(now, packet.to, &packet.bytes), "an echo of our own query");
        assert!(!net.dht(5).handle_packet(now, victim, &packet.bytes), "from our own address");
    }
    let deep = [vec![b'l'; 20_000], vec![b'd'; 20_000], [b"d1:a".as_slice(), &[b'l'; 1900]].concat()];
    deep.iter().for_each(|bytes| assert!(!net.dht(5).handle_packet(now, asked, bytes)));
    assert_eq!(net.dht(5).save(), before);
    assert_eq!(net.dht(5).poll_event(), None);
    assert_eq!(net.dht(5).poll_transmit(), None);
}

/// What a node says that wants lookups to end with it: nodes beside the target, of which none is anybody.
fn poison(rng: &mut ChaCha8Rng, own: Id, bytes: &[u8], from: SocketAddr) -> Vec<u8> {
    let Ok(Packet { transaction, body: Body::Query(asked), .. }) = Packet::parse(bytes) else {
        return Vec::new();
    };
    let target = match asked.method {
        Method::GetPeers { info_hash, .. } => Id(info_hash),
        Method::FindNode { target, .. } | Method::Get { target, .. } => Id(target),
        _ => own,
    };
    let n: u8 = rng.random();
    let addrs: [SocketAddr; 10] = [
        ([127, 0, 0, 1], 6881).into(),
        ([10, 0, 0, n], 6881).into(),
        ([192, 168, 1, n], 6881).into(),
        ([224, 0, 0, n], 6881).into(),
        ([255, 255, 255, 255], 6881).into(),
        ([0, 0, 0, 0], 6881).into(),
        ([5, 5, 5, n], 0).into(),
        ([5, 5, 5, n], 6881).into(),
        ([5, 5, 6, n], 53).into(),
        from,
    ];
    let nodes = addrs
        .iter()
        .map(|addr| NodeInfo { id: target.beside(rng.random_range(60..150), rng).0, addr: *addr });
    let nodes = Nodes::v4(nodes.collect::<Vec<_>>());
    let values = [vec![addrs[0], addrs[1], addrs[3], addrs[6]], vec![([5, 5, 7, n], 80).into(); 50]].concat();
    let token = Some(&b"poison"[..]);
    let reply = Reply { nodes: Some(nodes), values, token, ..Reply::new(own.0) };
    encode(transaction, Body::Reply(reply))
}

#[test]
fn lookups_among_poisoners_find_the_honest_and_ask_few_who_were_made_up() {
    let made_up = among_poisoners(false);
    let is_lie = |addr: &SocketAddr| matches!(addr.ip(), IpAddr::V4(ip) if ip.octets()[..2] == [5, 5]);
    assert!(made_up.keys().all(is_lie), "asked: {made_up:?}");
    let bytes: usize = made_up.values().sum();
    // One question for each of two subnets, in each of 80 lookups and in those that nodes make for their tables.
    assert!(bytes <= 3 * 80 * 130, "{bytes} bytes");
}

#[test]
fn lookups_that_enforce_secure_ids_ask_nobody_who_was_made_up() {
    let made_up = among_poisoners(true);
    assert!(made_up.is_empty(), "asked: {made_up:?}");
}

/// Asserts that lookups find what they should among poisoners. Returns what those were sent who are neither nodes nor poisoners.
fn among_poisoners(enforces: bool) -> BTreeMap<SocketAddr, usize> {
    let mut net = Net::joined_that(22, 150, enforces);
    let mut liars = BTreeSet::new();
    for n in 0..30 {
        let addr = net.address();
        let id = Id::of_address(addr.ip(), &mut net.rng);
        let mut rng = ChaCha8Rng::seed_from_u64(n);
        let answer = move |_: Time, from: SocketAddr, bytes: &[u8]| match poison(&mut rng, id, bytes, from) {
            lie if lie.is_empty() => Vec::new(),
            lie => vec![(from, lie)],
        };
        net.script(addr, Box::new(answer));
        liars.insert(addr);
        let now = net.now;
        net.nodes.iter_mut().for_each(|node| node.dht.vouch(now, id, addr));
    }
    net.strangers.clear();
    let (mut found, mut queries) = (0, 0);
    for round in 0..40 {
        let hash = Id::random(&mut net.rng);
        net.complete(round + 1, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap());
        let wanted = peer(net.nodes[round + 1].addr.ip());
        let who = round + 60;
        let stats = net.complete(who, |dht, now| dht.get_peers(now, hash, None).unwrap());
        queries += stats.queries;
        let told: Vec<SocketAddr> = net.nodes[who]
            .events
            .drain(..)
            .filter_map(|event| match event {
                DhtEvent::Peers { peers, .. } => Some(peers),
                _ => None,
            })
            .flatten()
            .collect();
        found += usize::from(told.contains(&wanted));
        let is_fair = |peer: &SocketAddr| {
            *peer == wanted || matches!(peer.ip(), IpAddr::V4(ip) if ip.octets()[..3] == [5, 5, 7])
        };
        assert!(told.iter().all(is_fair), "{told:?}");
    }
    println!("{found} of 40 found, {} queries each", queries / 40);
    assert_eq!(found, 40);
    net.nodes.iter().for_each(|node| node.dht.check());
    net.strangers.retain(|addr, _| !liars.contains(addr));
    net.strangers
}

#[test]
fn a_subnet_full_of_willing_nodes_gets_one_place_in_a_bucket() {
    let mut net = Net::joined(23, 60);
    let target = net.nodes[7].addr;
    let before = net.dht(7).status().nodes[0];
    for n in 0..=255 {
        let addr = SocketAddr::new(Ipv4Addr::new(5, 5, 5, n).into(), 6881);
        let id = Id::of_address(addr.ip(), &mut net.rng);
        let answer = move |_: Time, from: SocketAddr, bytes: &[u8]| match Packet::parse(bytes) {
            Ok(Packet { transaction, body: Body::Query(_), .. }) => {
                vec![(from, encode(transaction, Body::Reply(Reply::new(id.0))))]
            }
            _ => Vec::new(),
        };
        net.script(addr, Box::new(answer));
        for _ in 0..3 {
            net.send(addr, target, query(id, Method::Ping));
            net.run(Duration::from_millis(500));
        }
    }
    let gained = net.dht(7).status().nodes[0] - before;
    println!("{gained} of 256");
    assert!((1..=12).contains(&gained), "{gained}");
    net.dht(7).check();
}

#[test]
fn many_addresses_of_one_network_do_not_decide_what_our_address_is() {
    let mut rng = ChaCha8Rng::seed_from_u64(25);
    let (ours, lie): (IpAddr, IpAddr) = ("2a02:8070::5".parse().unwrap(), "2a02:8071::6".parse().unwrap());
    let config = DhtConfig { external: vec![ours], ..DhtConfig::default() };
    let mut now = Time::from_secs(1000);
    let mut dht = Dht::new(config, ChaCha8Rng::seed_from_u64(26), now);
    let mut answers = 0;
    for n in 0..256 {
        now += Duration::from_secs(2);
        let from = SocketAddr::new([0x2606, 0x4700, 7, n, 0, 0, 0, 7].into(), 6881);
        // Half of them have ids of their addresses, and half of them say in an answer that they are somebody else.
        let id = if n % 2 == 0 { Id::of_address(from.ip(), &mut rng) } else { Id::random(&mut rng) };
        let claimed = if n % 4 < 2 { id } else { Id::random(&mut rng) };
        dht.handle_packet(now, from, &query(claimed, Method::Ping));
        dht.add_node(now, from);
        while let Some(packet) = dht.poll_transmit() {
            let asked = Packet::parse(&packet.bytes).unwrap();
            if packet.to == from && matches!(asked.body, Body::Query(_)) {
                let said = Some(SocketAddr::new(lie, 5));
                let reply =
                    Packet { ip: said, ..Packet::new(asked.transaction, Body::Reply(Reply::new(id.0))) };
                let mut bytes = Vec::new();
                reply.encode(&mut bytes);
                answers += usize::from(dht.handle_packet(now, from, &bytes));
            }
        }
    }
    assert!(answers > 64, "{answers}");
    assert_eq!(dht.external(false), Some(ours));
}
