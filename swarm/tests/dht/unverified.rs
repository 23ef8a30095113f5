//! Nodes whose ids are not of their addresses (BEP 42): many programs have such ids, and so have those who want to be near a target.

use std::net::SocketAddr;

use rand::RngExt;
use swarm::engine::dht::{DhtConfig, DhtEvent, Id};
use wire::krpc::{Body, Method, NodeInfo, Nodes, Packet, Reply};

use crate::hostile::{ANNOUNCE, encode, get_peers, query, token};
use crate::net::{Net, peer, percentile};

fn is_verified(net: &Net, index: usize) -> bool {
    let node = &net.nodes[index];
    node.dht.id(true).is_some_and(|id| id.belongs_to(node.addr.ip()))
}

/// How many nodes have ids that are not of their addresses.
fn unverified(net: &Net) -> usize {
    (0..net.nodes.len()).filter(|index| !is_verified(net, *index)).count()
}

/// The nodes of the network that are closest to a target.
fn closest(net: &Net, target: Id) -> Vec<usize> {
    let mut all: Vec<usize> = (0..net.nodes.len()).collect();
    all.sort_by_cached_key(|index| net.nodes[*index].dht.id(true).map(|id| target.distance(&id)));
    all.truncate(8);
    all
}

fn finds(net: &mut Net, who: usize, hash: Id, wanted: SocketAddr, queries: &mut Vec<u32>) -> bool {
    net.nodes[who].events.clear();
    let stats = net.complete(who, |dht, now| dht.get_peers(now, hash, None).unwrap());
    queries.push(stats.queries);
    let mut events = net.nodes[who].events.iter();
    events.any(|event| matches!(event, DhtEvent::Peers { peers, .. } if peers.contains(&wanted)))
}

#[test]
fn what_is_announced_at_nodes_without_secure_ids_is_found() {
    const NODES: usize = 2000;
    let mut net = Net::settled_with(31, NODES, 0.4);
    let (mut found, mut lookups, mut queries) = (0, 0, Vec::new());
    while lookups < 400 {
        let hash = Id::random(&mut net.rng);
        // A program that makes no difference announced at the eight closest, of which those have gone that have secure ids.
        let holders: Vec<usize> =
            closest(&net, hash).into_iter().filter(|at| !is_verified(&net, *at)).collect();
        if holders.is_empty() {
            continue;
        }
        let announcer = net.address();
        for holder in holders {
            let now = net.now;
            let dht = net.dht(holder);
            let token = token(dht, now, announcer, get_peers(hash, None, false));
            let announce = Method::AnnouncePeer {
                info_hash: hash.0,
                port: 7000,
                implied_port: false,
                token: &token,
                name: None,
                seed: false,
            };
            assert!(dht.handle_packet(now, announcer, &query(Id([9; 20]), announce)));
            while dht.poll_transmit().is_some() {}
        }
        let who = net.rng.random_range(0..NODES);
        lookups += 1;
        found += u32::from(finds(&mut net, who, hash, peer(announcer.ip()), &mut queries));
    }
    println!(
        "{found} of {lookups}, {} queries, p99 {}",
        percentile(&mut queries, 50),
        percentile(&mut queries, 99)
    );
    assert!(found * 100 > lookups * 99, "{found} of {lookups}");
    assert!(unverified(&net) * 100 > NODES * 35, "they have no other ids by now");
    net.nodes.iter().for_each(|node| node.dht.check());
}

#[test]
fn announcements_go_to_nodes_with_secure_ids_and_are_found() {
    const NODES: usize = 1000;
    let mut net = Net::settled_with(32, NODES, 0.4);
    let (mut found, mut queries) = (0, Vec::new());
    for _ in 0..100 {
        let hash = Id::random(&mut net.rng);
        let who = net.rng.random_range(0..NODES);
        let stats = net.complete(who, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap());
        assert_eq!(stats.stored, 8);
        let wanted = peer(net.nodes[who].addr.ip());
        let other = net.rng.random_range(0..NODES);
        found += u32::from(other == who || finds(&mut net, other, hash, wanted, &mut queries));
    }
    println!("{found} of 100, {} queries", percentile(&mut queries, 50));
    assert!(found > 99, "{found}");
    assert!(unverified(&net) * 100 > NODES * 35);
}

/// What a colluder says its id is: one beside whatever is looked for.
fn beside(target: Id, addr: SocketAddr) -> Id {
    let mut id = target;
    if let SocketAddr::V4(addr) = addr {
        id.0[16..].copy_from_slice(&addr.ip().octets());
    }
    id
}

/// A colluder at an address: it is beside every target, names the others, and keeps nothing that it is told.
fn collude(own: SocketAddr, id: Option<Id>, others: &[SocketAddr], bytes: &[u8]) -> Option<Vec<u8>> {
    let Ok(Packet { transaction, body: Body::Query(asked), .. }) = Packet::parse(bytes) else { return None };
    let target = match asked.method {
        Method::GetPeers { info_hash, .. } | Method::AnnouncePeer { info_hash, .. } => Id(info_hash),
        Method::FindNode { target, .. } | Method::Get { target, .. } => Id(target),
        _ => Id([7; 20]),
    };
    let nodes = others.iter().map(|addr| NodeInfo { id: beside(target, *addr).0, addr: *addr });
    let nodes = Nodes::v4(nodes.collect::<Vec<_>>());
    let id = id.unwrap_or_else(|| beside(target, own));
    let reply = Reply { nodes: Some(nodes), token: Some(b"token"), ..Reply::new(id.0) };
    Some(encode(transaction, Body::Reply(reply)))
}

#[test]
fn colluders_beside_every_target_neither_hide_nor_get_what_is_announced() {
    const NODES: usize = 300;
    let mut net = Net::settled(33, NODES);
    let colluders: Vec<SocketAddr> = (0..200).map(|_| net.address()).collect();
    let mut guides = Vec::new();
    for n in 0..230 {
        // Thirty have ids of their addresses and are in the tables of all: they lead to the others.
        let guide = n >= colluders.len();
        let addr = if guide { net.address() } else { colluders[n] };
        let id = guide.then(|| Id::of_address(addr.ip(), &mut net.rng));
        guides.extend(id.map(|id| (id, addr)));
        let mut others = colluders.clone();
        others.rotate_left(n * 7 % 200);
        others.truncate(16);
        let answer = move |_, from: SocketAddr, bytes: &[u8]| {
            collude(addr, id, &others, bytes).map(|answer| (from, answer)).into_iter().collect()
        };
        net.script(addr, Box::new(answer));
    }
    let now = net.now;
    for node in &mut net.nodes {
        guides.iter().for_each(|(id, addr)| node.dht.vouch(now, *id, *addr));
    }
    let (mut found, mut queries) = (0, Vec::new());
    for round in 0..100 {
        let hash = Id::random(&mut net.rng);
        let fresh = |net: &mut Net, first: usize| {
            let addr = net.address();
            let bootstrap = vec![net.nodes[first].addr];
            let external = vec![addr.ip()];
            net.add(addr, DhtConfig { read_only: true, bootstrap, external, ..DhtConfig::default() })
        };
        let (announcer, seeker) = if round % 4 == 0 {
            (fresh(&mut net, round), fresh(&mut net, round + 100))
        } else {
            (round, round + 150)
        };
        net.complete(announcer, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap());
        let wanted = peer(net.nodes[announcer].addr.ip());
        found += u32::from(finds(&mut net, seeker, hash, wanted, &mut queries));
    }
    println!(
        "{found} of 100, {} queries, p99 {}",
        percentile(&mut queries, 50),
        percentile(&mut queries, 99)
    );
    assert!(found > 99, "{found}");
    assert!(percentile(&mut queries, 100) <= 80);
    net.nodes.iter().for_each(|node| node.dht.check());
}
