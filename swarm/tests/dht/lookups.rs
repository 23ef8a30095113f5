//! How far lookups go and what they cost, in a network of 10,000 nodes.

use std::net::SocketAddr;

use swarm::engine::dht::{Announce, DhtConfig, DhtEvent, Id};

use crate::net::{Net, peer, percentile};

const ANNOUNCE: Announce = Announce { port: 7000, implied_port: false, seed: false };

#[test]
fn a_fresh_node_finds_a_peer_in_few_hops_and_queries_among_ten_thousand() {
    let mut net = Net::settled(4242, 10_000);
    let (mut hops, mut queries, mut totals, mut end_hops, mut seconds) =
        (vec![], vec![], vec![], vec![], vec![]);
    for round in 0..300 {
        let hash = Id::random(&mut net.rng);
        let seeder = (round * 31 + 7) % 10_000;
        net.nodes[seeder].is_passive = false;
        let stored =
            net.complete(seeder, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap()).stored;
        assert_eq!(stored, 8);
        net.nodes[seeder].is_passive = true;

        // Knows one node, and asks at once.
        let (addr, bootstrap) = (net.address(), vec![net.nodes[round * 13 % 10_000].addr]);
        let fresh = net.add(addr, DhtConfig { read_only: true, bootstrap, ..DhtConfig::default() });
        let begin = net.now;
        let stats = net.complete(fresh, |dht, now| dht.get_peers(now, hash, None).unwrap());
        let found = net.nodes[fresh].events.iter().find_map(|event| match event {
            DhtEvent::Peers { peers, .. } => Some(peers.clone()),
            _ => None,
        });
        let wanted: Vec<SocketAddr> = vec![peer(net.nodes[seeder].addr.ip())];
        assert_eq!(found, Some(wanted), "round {round}");
        let first = stats.first.unwrap();
        hops.push(first.hops);
        queries.push(first.queries);
        totals.push(stats.queries);
        end_hops.push(stats.hops);
        seconds.push(u32::try_from((net.now - begin).as_millis()).unwrap());
        net.leave(fresh);
    }
    let [median, worst] = [50, 99].map(|percent| {
        [&mut hops, &mut queries, &mut totals, &mut end_hops, &mut seconds]
            .map(|values| percentile(values, percent))
    });
    println!(
        "hops, queries to the first peer; queries, hops, milliseconds in all: median {median:?}, p99 {worst:?}"
    );
    let [hops, queries, totals, ..] = median;
    assert!(hops <= 5 && queries <= 40 && totals <= 40, "{median:?}");
    assert!(worst[0] <= 8, "{worst:?}");
}
