//! How nodes get into the network, stay there and come back.

use std::time::Duration;

use swarm::engine::dht::{DhtConfig, DhtEvent, DhtState, Id};

use crate::net::Net;

#[test]
fn a_node_joins_knows_its_neighbours_and_has_the_id_of_its_address() {
    let mut net = Net::joined(11, 300);
    let node = net.join();
    net.run(Duration::from_secs(60));
    assert!(net.nodes[node].events.iter().any(|event| matches!(event, DhtEvent::Bootstrapped { .. })));
    let ip = net.nodes[node].addr.ip();
    assert!(net.nodes[node].events.contains(&DhtEvent::ExternalAddress { ip }));
    let own = net.dht(node).id(true).unwrap();
    assert!(own.belongs_to(ip), "{own} at {ip}");
    let mut all: Vec<Id> = net.nodes[..node].iter().map(|node| node.dht.id(true).unwrap()).collect();
    all.sort_by_key(|id| own.distance(id));
    let known: Vec<Id> = net.dht(node).nodes(true, own, 8).into_iter().map(|(id, _)| id).collect();
    let right = known.iter().filter(|id| all[..8].contains(id)).count();
    assert!(right >= 7, "{right} of 8");
    net.nodes.iter().for_each(|node| node.dht.check());
}

#[test]
fn a_table_that_was_saved_needs_no_bootstrap_nodes() {
    let mut net = Net::joined(12, 200);
    let saved = DhtState::decode(&net.dht(100).save().encode()).unwrap();
    assert!(saved.nodes.len() > 30, "{}", saved.nodes.len());
    let addr = net.nodes[100].addr;
    net.leave(100);
    // Half of those that it knew are gone too.
    for index in (1..200).step_by(2) {
        net.leave(index);
    }
    let back = net.add(addr, DhtConfig { saved: Some(saved.clone()), ..DhtConfig::default() });
    assert_eq!(net.dht(back).id(true), saved.id4, "the id stays");
    net.run(Duration::from_secs(60));
    let status = net.dht(back).status();
    assert!(status.good[0] >= 20, "{status:?}");
    let target = Id::random(&mut net.rng);
    let stats = net.complete(back, |dht, now| dht.find_nodes(now, target).unwrap());
    assert!(stats.answers >= 8, "{stats:?}");
}

#[test]
fn a_new_address_brings_a_new_id_and_the_table_goes_along() {
    let mut net = Net::joined(13, 100);
    let before = net.dht(50).id(true).unwrap();
    net.nodes[50].events.clear();
    let addr = net.address();
    net.relocate(50, addr);
    net.run(Duration::from_secs(3600));
    let after = net.dht(50).id(true).unwrap();
    assert!(after != before && after.belongs_to(addr.ip()));
    assert!(net.nodes[50].events.contains(&DhtEvent::ExternalAddress { ip: addr.ip() }));
    assert!(net.dht(50).status().good[0] >= 20);
    let knows =
        |node: &crate::net::Node| node.dht.nodes(true, after, 1).first().map(|(id, _)| *id) == Some(after);
    assert!(net.nodes.iter().filter(|node| knows(node)).count() >= 8, "others know it by its new id");
}

#[test]
fn an_hour_without_a_network_costs_no_nodes() {
    let mut net = Net::joined(17, 60);
    let before = net.dht(30).status();
    net.loss = 1.0;
    net.run(Duration::from_secs(3600));
    assert_eq!(net.dht(30).status().nodes, before.nodes);
    net.loss = 0.0;
    net.run(Duration::from_secs(60));
    let target = Id::random(&mut net.rng);
    let stats = net.complete(30, |dht, now| dht.find_nodes(now, target).unwrap());
    assert!(stats.answers >= 8 && stats.timeouts == 0, "{stats:?}");
}

#[test]
fn a_read_only_node_asks_and_is_in_nobodys_table() {
    let mut net = Net::joined(14, 60);
    let (addr, bootstrap) = (net.address(), vec![net.nodes[0].addr]);
    let shy = net.add(addr, DhtConfig { read_only: true, bootstrap, ..DhtConfig::default() });
    net.run(Duration::from_secs(120));
    let target = net.dht(shy).id(true).unwrap();
    assert!(net.dht(shy).status().good[0] >= 8);
    for node in &net.nodes[..shy] {
        assert!(node.dht.nodes(true, target, 60).iter().all(|(_, known)| *known != addr));
    }
    let answers = net.complete(0, |dht, now| dht.ping(now, addr).unwrap()).answers;
    assert_eq!(answers, 0, "it answers nobody");
}

#[test]
fn pings_are_answered_and_silence_is_told() {
    let mut net = Net::joined(15, 5);
    let addr = net.nodes[3].addr;
    let id = net.dht(3).id(true).unwrap();
    net.complete(1, |dht, now| dht.ping(now, addr).unwrap());
    assert!(
        net.nodes[1].events.iter().any(|event| matches!(event, DhtEvent::Pong { id: got, .. } if *got == id))
    );
    let nobody = net.address();
    let stats = net.complete(1, |dht, now| dht.ping(now, nobody).unwrap());
    assert_eq!((stats.answers, stats.timeouts), (0, 1));
    let now = net.now;
    for wrong in ["9.9.9.9:0", "224.0.0.1:5", "[2606:4700::1]:5"] {
        assert!(net.dht(1).ping(now, wrong.parse().unwrap()).is_err(), "{wrong}");
    }
}

#[test]
fn lookups_wait_for_their_turn_and_can_be_cancelled() {
    let mut net = Net::joined(16, 60);
    let hash = Id::random(&mut net.rng);
    let now = net.now;
    let ids: Vec<_> = std::iter::from_fn(|| net.dht(9).get_peers(now, hash, None).ok()).collect();
    assert_eq!(ids.len(), 17 * 16);
    let (kept, dropped) = ids.split_at(ids.len() / 2);
    dropped.iter().for_each(|id| net.dht(9).cancel(now, *id));
    net.settle(9);
    for id in kept {
        net.wait(9, *id);
    }
    let done = net.nodes[9].events.iter().filter(|event| matches!(event, DhtEvent::Done { .. })).count();
    assert_eq!(done, kept.len());
}
