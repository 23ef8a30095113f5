//! Nodes to begin with: when they are asked, and that they are asked again.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use swarm::engine::dht::{DhtConfig, DhtState, Id};
use wire::krpc::{Body, Method, Packet};

use crate::net::Net;

/// What a run saved of which nobody is left.
fn dead(net: &mut Net) -> DhtState {
    let nodes = (0..100).map(|_| {
        let addr = net.address();
        (Id::of_address(addr.ip(), &mut net.rng), addr)
    });
    DhtState { nodes: nodes.collect(), ..DhtState::default() }
}

#[test]
fn a_saved_table_without_a_living_node_does_not_keep_a_node_out() {
    let mut net = Net::joined(71, 60);
    let (saved, addr, router) = (dead(&mut net), net.address(), net.nodes[0].addr);
    let node = net.add(addr, DhtConfig { saved: Some(saved), ..DhtConfig::default() });
    let hash = Id::random(&mut net.rng);
    let now = net.now;
    let lookup = net.dht(node).get_peers(now, hash, None).unwrap();
    net.settle(node);
    net.run(Duration::from_secs(3));
    assert_eq!(net.dht(node).status().good, [0, 0]);
    // The names of routers were looked up meanwhile: even what is under way goes on by them.
    let now = net.now;
    net.dht(node).bootstrap(now, &[router]);
    net.settle(node);
    net.run(Duration::from_secs(1));
    assert!(net.dht(node).status().good[0] >= 4, "{:?}", net.dht(node).status());
    let stats = net.wait(node, lookup);
    assert!(stats.answers >= 4, "{stats:?}");
}

#[test]
fn without_a_network_a_node_tries_ever_less_often_and_at_once_when_it_is_told_to() {
    let mut net = Net::joined(72, 60);
    let (addr, router) = (net.address(), net.nodes[0].addr);
    let node = net.add(addr, DhtConfig { bootstrap: vec![router], ..DhtConfig::default() });
    net.loss = 1.0;
    let mut asked = Vec::new();
    for _ in 0..6 {
        let before = net.dht(node).status().unanswered;
        net.run(Duration::from_secs(300));
        asked.push(net.dht(node).status().unanswered - before);
    }
    assert!(asked[0] >= 4 && asked[0] > asked[4] && asked[5] <= 2, "{asked:?}");
    net.loss = 0.0;
    let now = net.now;
    net.dht(node).bootstrap(now, &[router]);
    net.settle(node);
    net.run(Duration::from_secs(5));
    let status = net.dht(node).status();
    assert!(status.good[0] >= 1 && status.unanswered == 0, "{status:?}");
    // The others have to find each other again first.
    net.run(Duration::from_secs(120));
    assert!(net.dht(node).status().good[0] >= 8);
}

#[test]
fn who_finds_itself_in_another_network_begins_anew() {
    let mut net = Net::joined(73, 60);
    let addr = net.nodes[30].addr;
    let others: Vec<usize> = (0..60).filter(|index| *index != 30).collect();
    // All whom it knows are gone, and there are others.
    others.iter().for_each(|index| net.leave(*index));
    net.run(Duration::from_secs(1200));
    let status = net.dht(30).status();
    assert!(status.good[0] > 8 && status.unanswered >= 16, "silence alone costs nobody a place: {status:?}");
    let mut routers: Vec<SocketAddr> = Vec::new();
    for _ in 0..20 {
        let new = net.address();
        let bootstrap = routers.iter().copied().take(1).collect();
        let external = if routers.is_empty() { vec![new.ip()] } else { Vec::new() };
        net.add(new, DhtConfig { bootstrap, external, ..DhtConfig::default() });
        routers.push(new);
        net.run(Duration::from_millis(100));
    }
    net.run(Duration::from_secs(60));
    let now = net.now;
    net.dht(30).bootstrap(now, &routers[..1]);
    net.settle(30);
    net.run(Duration::from_secs(30));
    let target = Id::random(&mut net.rng);
    let stats = net.complete(30, |dht, now| dht.find_nodes(now, target).unwrap());
    assert!(stats.answers >= 8, "{stats:?} of {addr}");
    net.dht(30).check();
}

#[test]
fn lookups_whose_router_was_asked_often_enough_ask_other_nodes_meanwhile() {
    let mut net = Net::new(75);
    let (addr, router) = (net.address(), net.address());
    let node = net.add(addr, DhtConfig { external: vec![addr.ip()], ..DhtConfig::default() });
    // Whose hashes the router and the others were asked for. Nobody answers.
    let asked: [Rc<RefCell<BTreeSet<[u8; 20]>>>; 2] = Default::default();
    for n in 0..8 {
        let (at, seen) = if n == 0 { (router, &asked[0]) } else { (net.address(), &asked[1]) };
        let seen = seen.clone();
        let script = move |_, _, bytes: &[u8]| {
            let query = Packet::parse(bytes).map(|packet| packet.body);
            if let Ok(Body::Query(query)) = query
                && let Method::GetPeers { info_hash, .. } = query.method
            {
                seen.borrow_mut().insert(info_hash);
            }
            Vec::new()
        };
        net.script(at, Box::new(script));
        if n > 0 {
            let (id, now) = (Id::of_address(at.ip(), &mut net.rng), net.now);
            net.dht(node).vouch(now, id, at);
        }
    }
    let now = net.now;
    net.dht(node).bootstrap(now, &[router]);
    let hashes: BTreeSet<_> = (0..7).map(|_| Id::random(&mut net.rng)).collect();
    for hash in &hashes {
        net.dht(node).get_peers(now, *hash, None).unwrap();
    }
    net.settle(node);
    net.run(Duration::from_millis(150));
    let [by_router, by_others] = asked.map(|asked| asked.borrow().clone());
    println!("{} asked the router, {} others", by_router.len(), by_others.len());
    assert!((1..7).contains(&by_router.len()), "the router is needed, and not asked by all");
    assert_eq!(by_others, hashes.into_iter().map(|hash| hash.0).collect(), "nobody waits for it");
}
