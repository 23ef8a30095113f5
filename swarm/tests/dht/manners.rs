//! What a node asks of others, and whom it tells what: it is no burden to those who never said a word, and nobody's plaything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swarm::engine::dht::{Announce, Dht, DhtConfig, DhtEvent, Id, Urgency};
use swarm::engine::time::Time;
use wire::krpc::{Body, Method, NodeInfo, Nodes, Packet, Refusal, Reply, code};

use crate::hostile::{encode, get_peers, query, rich, token};
use crate::net::Net;

/// What nodes answer who name so many others at whom nobody is, and how many bytes they sent.
fn misleaders(net: &mut Net, count: usize, names: usize) -> (Vec<(Id, SocketAddr)>, Arc<Mutex<usize>>) {
    let sent: Arc<Mutex<usize>> = Arc::default();
    let all = (0..count).map(|n| {
        let addr = net.address();
        let id = Id::of_address(addr.ip(), &mut net.rng);
        let (sent, mut rng) = (sent.clone(), ChaCha8Rng::seed_from_u64(u64::try_from(n).unwrap()));
        let answer = move |_, from: SocketAddr, bytes: &[u8]| {
            let Ok(Packet { transaction, body: Body::Query(_), .. }) = Packet::parse(bytes) else {
                return Vec::new();
            };
            let nodes = (0..names).map(|_| {
                let addr: SocketAddr = ([5, rng.random(), rng.random(), 5], 6881).into();
                NodeInfo { id: Id::of_address(addr.ip(), &mut rng).0, addr }
            });
            let reply = Reply { nodes: Some(Nodes::v4(nodes.collect::<Vec<_>>())), ..Reply::new(id.0) };
            let bytes = encode(transaction, Body::Reply(reply));
            *sent.lock().unwrap() += bytes.len();
            vec![(from, bytes)]
        };
        net.script(addr, Box::new(answer));
        (id, addr)
    });
    (all.collect(), sent)
}

#[test]
fn who_reads_only_sends_strangers_no_more_than_three_bytes_for_one_of_who_named_them() {
    let mut net = Net::new(91);
    let (liars, said) = misleaders(&mut net, 4, 32);
    let addr = net.address();
    let bootstrap = liars.iter().map(|(_, addr)| *addr).collect();
    let external = vec![addr.ip()];
    let shy = net.add(addr, DhtConfig { read_only: true, bootstrap, external, ..DhtConfig::default() });
    for n in 0..10 {
        let target = Id::random(&mut net.rng);
        match n % 2 {
            0 => net.complete(shy, |dht, now| dht.get_immutable(now, target).unwrap()),
            _ => net.complete(shy, |dht, now| dht.scrape(now, target).unwrap()),
        };
    }
    net.strangers.retain(|addr, _| liars.iter().all(|(_, liar)| liar != addr));
    let (went, came) = (net.strangers.values().sum::<usize>(), *said.lock().unwrap());
    println!("{went} bytes to {} strangers for {came}", net.strangers.len());
    assert!(net.strangers.len() > 50 && went <= 3 * came, "{went} for {came}");
}

#[test]
fn who_asks_one_of_our_addresses_is_answered_and_pinged_from_there() {
    let (mut dht, now, _, _, item) = rich(9);
    let (v4, v6): (SocketAddr, SocketAddr) = (([7, 7, 7, 7], 5).into(), "[2601:7::7]:5".parse().unwrap());
    let hosts = [("192.0.2.1", v4), ("192.0.2.2", ([7, 7, 8, 8], 5).into()), ("2001:db8::2", v6)];
    let bad = b"d1:ade1:q4:ping1:t2:aa1:y1:qe".to_vec();
    let long = query(Id([9; 20]), Method::Get { target: item.target().0, seq: None, want: None });
    for (at, asker) in hosts {
        let at = at.parse().unwrap();
        let mut sent = 0;
        for packet in [&query(Id([9; 20]), Method::Ping), &bad, &long] {
            dht.handle_packet_at(now, Some(at), asker, packet);
        }
        // A ping goes out at once for the sake of the long answer, which is sent after a second without one.
        for now in [now, now + Duration::from_secs(1)] {
            dht.handle_timeout(now);
            for packet in std::iter::from_fn(|| dht.poll_transmit()) {
                assert_eq!(packet.from, (packet.to == asker).then_some(at), "{packet:?}");
                sent += usize::from(packet.to == asker);
            }
        }
        assert!(sent >= 4, "{sent}");
    }
    dht.handle_packet(now, ([7, 7, 9, 9], 5).into(), &query(Id([9; 20]), Method::Ping));
    let answer = dht.poll_transmit().unwrap();
    assert_eq!(answer.from, None, "nobody knows what was asked");
}

#[test]
fn an_address_that_many_lookups_name_is_asked_five_times_a_second_and_all_128_times() {
    let mut net = Net::new(92);
    let victim: SocketAddr = ([5, 5, 5, 5], 6881).into();
    let (liars, _) = misleaders(&mut net, 60, 16);
    let addr = net.address();
    let index = net.add(addr, DhtConfig { external: vec![addr.ip()], ..DhtConfig::default() });
    let now = net.now;
    liars.iter().for_each(|(id, addr)| net.dht(index).vouch(now, *id, *addr));
    let id = Id::of_address(victim.ip(), &mut net.rng);
    net.dht(index).vouch(now, id, victim);
    let sent: Arc<Mutex<Vec<Time>>> = Arc::default();
    let seen = sent.clone();
    net.script(
        victim,
        Box::new(move |now, _, _| {
            seen.lock().unwrap().push(now);
            Vec::new()
        }),
    );
    // Lookups for the victim's own id, so that each wants to ask it.
    for _ in 0..200 {
        let _ = net.dht(index).get_peers(now, id, None);
    }
    net.settle(index);
    let (mut before, mut most) = (net.strangers.values().sum::<usize>(), 0);
    for _ in 0..30 {
        net.run(Duration::from_secs(1));
        let bytes = net.strangers.values().sum::<usize>();
        most = most.max(bytes - before);
        before = bytes;
    }
    let times = sent.lock().unwrap();
    println!("asked {} times; at most {most} bytes in a second", times.len());
    assert!(!times.is_empty() && times.windows(6).all(|six| six[5] - six[0] >= Duration::from_millis(850)));
    // No question is longer, and pings of the table come besides.
    assert!(most <= (2 * 128 + 16) * 110, "{most}");
}

#[test]
fn seeds_leave_questions_and_places_to_who_waits() {
    let mut net = Net::joined(93, 100);
    let announce = Announce { port: 7000, implied_port: false, seed: true };
    let now = net.now;
    // As many seeds as there is place for begin and wait.
    let mut seeds = Vec::new();
    while let Ok(id) = {
        let hash = Id::random(&mut net.rng);
        net.dht(9).seek(now, hash, Some(announce), Urgency::Rest)
    } {
        seeds.push(id);
    }
    assert_eq!(net.dht(9).status().lookups, 12, "a quarter of the places is free");
    assert!(!net.dht(9).has_place(Urgency::Rest) && net.dht(9).has_place(Urgency::Wanted));
    net.settle(9);
    net.run(Duration::from_secs(3));
    for urgency in [Urgency::Wanted, Urgency::Asked] {
        let (begun, hash) = (net.now, Id::random(&mut net.rng));
        let lookup = net.dht(9).seek(begun, hash, None, urgency).unwrap();
        net.settle(9);
        let stats = net.wait(9, lookup);
        let took = net.now - begun;
        println!("{urgency:?}: {took:?} for {} queries", stats.queries);
        assert!(took < Duration::from_secs(4) && stats.answers >= 8, "{took:?} {stats:?}");
    }
    let done = net.nodes[9].events.iter().filter(|event| matches!(event, DhtEvent::Done { .. })).count();
    assert!(done < seeds.len(), "the seeds are still at it");
    for id in seeds {
        net.wait(9, id);
    }
}

#[test]
fn in_a_flood_from_everywhere_a_node_that_is_known_keeps_its_answers() {
    let (mut dht, start, mut rng, hash, _) = rich(94);
    let (id, friend) = dht.nodes(true, dht.id(true).unwrap(), 1)[0];
    let (mut answers, mut others) = (0, 0);
    for n in 0..20_000_u64 {
        let now = start + Duration::from_micros(n * 500);
        let from: SocketAddr = ([7, rng.random(), rng.random(), rng.random()], 5).into();
        dht.handle_packet(now, from, &query(Id([5; 20]), get_peers(hash, None, false)));
        if n % 1000 == 999 {
            dht.handle_packet(now, friend, &query(id, Method::Ping));
        }
        while let Some(packet) = dht.poll_transmit() {
            *(if packet.to == friend { &mut answers } else { &mut others }) += 1;
        }
    }
    assert!(answers == 20 && others <= 11 * 260, "{answers} of 20, {others} to others");
}

#[test]
fn who_answers_with_nothing_but_errors_is_forgotten() {
    let mut net = Net::joined(95, 30);
    let addr = net.address();
    let id = Id::of_address(addr.ip(), &mut net.rng);
    let refuse = move |_, from: SocketAddr, bytes: &[u8]| match Packet::parse(bytes) {
        Ok(Packet { transaction, body: Body::Query(_), .. }) => {
            vec![(from, encode(transaction, Body::Error(Refusal::new(code::SERVER, "no"))))]
        }
        _ => Vec::new(),
    };
    net.script(addr, Box::new(refuse));
    let now = net.now;
    net.dht(7).vouch(now, id, addr);
    assert_eq!(net.dht(7).nodes(true, id, 1), [(id, addr)]);
    for _ in 0..3 {
        let target = id.beside(159, &mut net.rng);
        net.complete(7, |dht, now| dht.find_nodes(now, target).unwrap());
    }
    assert!(!net.dht(7).nodes(true, id, 1).contains(&(id, addr)));
}

/// Announces with a token. Returns the code of the error, if there is one, and where the peer is said to be afterwards.
fn announce(
    dht: &mut Dht,
    now: Time,
    from: SocketAddr,
    hash: Id,
    token: &[u8],
    implied_port: bool,
) -> (Option<u16>, Vec<SocketAddr>) {
    let announce =
        Method::AnnouncePeer { info_hash: hash.0, port: 9999, implied_port, token, name: None, seed: false };
    dht.handle_packet(now, from, &query(Id([5; 20]), announce));
    dht.handle_packet(now, ([7, 4, 4, 4], 5).into(), &query(Id([6; 20]), get_peers(hash, None, false)));
    let (mut refused, mut peers) = (None, Vec::new());
    for answer in std::iter::from_fn(|| dht.poll_transmit()) {
        match Packet::parse(&answer.bytes).unwrap().body {
            Body::Error(refusal) => refused = Some(refusal.code),
            Body::Reply(reply) => peers.extend(reply.values),
            Body::Query(_) => {}
        }
    }
    (refused, peers)
}

#[test]
fn implied_port_is_the_port_of_the_packet() {
    let (mut dht, mut now, ..) = rich(96);
    for (n, implied, port) in [(1, true, 4321), (2, false, 9999)] {
        now += Duration::from_secs(2);
        let from: SocketAddr = ([7, 3, 3, n], 4321).into();
        let hash = Id([n; 20]);
        let token = token(&mut dht, now, from, get_peers(hash, None, false));
        let (refused, peers) = announce(&mut dht, now, from, hash, &token, implied);
        assert_eq!((refused, peers), (None, vec![SocketAddr::new(from.ip(), port)]));
    }
}

#[test]
fn a_token_is_taken_for_five_minutes_at_least_and_ten_at_most_without_a_timer() {
    for (age, refused) in [(299, None), (660, Some(code::PROTOCOL))] {
        let (mut dht, now, ..) = rich(97);
        let from: SocketAddr = ([7, 3, 3, 3], 5).into();
        let hash = Id([8; 20]);
        let token = token(&mut dht, now, from, get_peers(hash, None, false));
        let later = now + Duration::from_secs(age);
        assert_eq!(announce(&mut dht, later, from, hash, &token, false).0, refused, "{age}");
    }
}

#[test]
fn an_answer_with_more_values_than_a_packet_has_is_no_answer() {
    for values in [590, 9000] {
        let mut net = Net::new(98);
        let addr = net.address();
        let id = Id::of_address(addr.ip(), &mut net.rng);
        let answer = move |_, from: SocketAddr, bytes: &[u8]| match Packet::parse(bytes) {
            Ok(Packet { transaction, body: Body::Query(asked), .. }) => {
                let count = if matches!(asked.method, Method::GetPeers { .. }) { values } else { 0 };
                let peers = 0..count;
                let peers = peers
                    .map(|n: u32| SocketAddr::new(std::net::Ipv4Addr::from(0x0900_0000 + n).into(), 7000));
                vec![(
                    from,
                    encode(transaction, Body::Reply(Reply { values: peers.collect(), ..Reply::new(id.0) })),
                )]
            }
            _ => Vec::new(),
        };
        net.script(addr, Box::new(answer));
        let own = net.address();
        let index = net
            .add(own, DhtConfig { bootstrap: vec![addr], external: vec![own.ip()], ..DhtConfig::default() });
        net.run(Duration::from_secs(2));
        let hash = Id::random(&mut net.rng);
        let stats = net.complete(index, |dht, now| dht.get_peers(now, hash, None).unwrap());
        assert!((stats.answers, stats.peers) == (0, 0) && stats.timeouts > 0, "{values}: {stats:?}");
        net.dht(index).check();
    }
}

#[test]
fn a_node_of_a_lan_may_name_nodes_of_the_lan_and_one_of_the_internet_may_not() {
    for (of_lan, wanted) in [(true, 1), (false, 0)] {
        let mut net = Net::new(99);
        let router: SocketAddr = if of_lan { ([192, 168, 1, 1], 6881).into() } else { net.address() };
        let inside: SocketAddr = ([192, 168, 1, 77], 6881).into();
        let mut asked: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        let id = Id::of_address(router.ip(), &mut net.rng);
        let answer = move |_, from: SocketAddr, bytes: &[u8]| match Packet::parse(bytes) {
            Ok(Packet { transaction, body: Body::Query(_), .. }) => {
                let nodes = Some(Nodes::v4(vec![NodeInfo { id: [3; 20], addr: inside }]));
                vec![(from, encode(transaction, Body::Reply(Reply { nodes, ..Reply::new(id.0) })))]
            }
            _ => Vec::new(),
        };
        net.script(router, Box::new(answer));
        let own: SocketAddr = ([192, 168, 1, 5], 6881).into();
        let index = net.add(own, DhtConfig { bootstrap: vec![router], ..DhtConfig::default() });
        net.run(Duration::from_secs(1));
        let hash = Id::random(&mut net.rng);
        net.complete(index, |dht, now| dht.get_peers(now, hash, None).unwrap());
        asked.extend(net.strangers.iter().filter(|(addr, _)| **addr == inside).map(|(addr, n)| (*addr, *n)));
        assert_eq!(asked.len(), wanted);
    }
}
