//! Nodes come and go, and many are silent. `UNCHOKE_CHURN_NODES=1000` has as many nodes as it says, instead of 600.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use swarm::engine::dht::{Announce, DhtEvent, Id};

use crate::net::{Net, peer, percentile};

#[test]
fn lookups_succeed_with_a_fifth_of_the_nodes_replaced_an_hour_and_three_tenths_silent() {
    let count = std::env::var("UNCHOKE_CHURN_NODES").ok().and_then(|count| count.parse().ok()).unwrap_or(600);
    let mut net = Net::joined(77, count);
    net.loss = 0.01;
    let first = net.nodes.len();
    // The first node is where newcomers begin; it stays.
    for index in 1..first {
        net.nodes[index].is_silent = net.rng.random_bool(0.3);
    }
    let announce = Announce { port: 7000, implied_port: false, seed: false };
    let mut living: Vec<usize> = (0..first).collect();
    let (mut lookups, mut found, mut queries) = (0, 0, Vec::new());
    // With where their peers are.
    let mut torrents: Vec<(Id, SocketAddr)> = Vec::new();
    // Half an hour, in steps of nine seconds: a tenth of the nodes go, and as many come, spread over all steps.
    for step in 0..200 {
        for _ in step * count / 2000..(step + 1) * count / 2000 {
            let place = net.rng.random_range(1..living.len());
            net.leave(living.swap_remove(place));
            let new = net.join();
            net.nodes[new].is_silent = net.rng.random_bool(0.3);
            living.push(new);
        }
        net.run(Duration::from_secs(9));
        let speakers: Vec<usize> =
            living.iter().copied().filter(|node| !net.nodes[*node].is_silent).collect();
        let speaker = |net: &mut Net| speakers[net.rng.random_range(0..speakers.len())];
        if torrents.len() < 60 {
            let hash = Id::random(&mut net.rng);
            let who = speaker(&mut net);
            net.complete(who, |dht, now| dht.get_peers(now, hash, Some(announce)).unwrap());
            torrents.push((hash, peer(net.nodes[who].addr.ip())));
        }
        for _ in 0..3 {
            // Not older than the quarter of an hour after which a client announces again.
            let recent = torrents.len().saturating_sub(60);
            let (hash, wanted) = torrents[net.rng.random_range(recent..torrents.len())];
            // Somebody else than who announced it, and heard of it from others.
            let who = loop {
                let who = speaker(&mut net);
                if net.nodes[who].addr.ip() != wanted.ip() {
                    break who;
                }
            };
            net.nodes[who].events.clear();
            let stats = net.complete(who, |dht, now| dht.get_peers(now, hash, None).unwrap());
            lookups += 1;
            let has_it =
                |event: &DhtEvent| matches!(event, DhtEvent::Peers { peers, .. } if peers.contains(&wanted));
            found += u32::from(net.nodes[who].events.iter().any(has_it));
            queries.push(stats.queries);
        }
        if torrents.len() == 60 && step % 100 == 99 {
            torrents.clear();
        }
    }
    let (median, worst) = (percentile(&mut queries, 50), percentile(&mut queries, 99));
    println!("{found} of {lookups}, queries: median {median}, p99 {worst}");
    assert!(median <= 40 && worst <= 80, "{median} {worst}");
    assert!(found * 100 > lookups * 99, "{found} of {lookups}");
    net.nodes.iter().for_each(|node| node.dht.check());
}
