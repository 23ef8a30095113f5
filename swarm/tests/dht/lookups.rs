//! How far lookups go and what they cost, in a network of 10,000 nodes.

use rand::RngExt;
use swarm::engine::dht::{Announce, DhtConfig, DhtEvent, Id};

use crate::net::{Net, peer, percentile};

const ANNOUNCE: Announce = Announce { port: 7000, implied_port: false, seed: false };

/// What lookups of fresh nodes came to.
#[derive(Default)]
struct Figures {
    lookups: u32,
    found: u32,
    /// Of each that found: hops and queries to the first peer; queries, hops and milliseconds in all.
    each: [Vec<u32>; 5],
}

impl Figures {
    fn at(&mut self, percent: usize) -> [u32; 5] {
        self.each.each_mut().map(|values| percentile(values, percent))
    }
}

/// One node announces; another one, which knows one node and has an empty table, asks at once.
fn look_up(net: &mut Net, figures: &mut Figures) {
    let hash = Id::random(&mut net.rng);
    let mut speaker = || loop {
        let index = net.rng.random_range(0..10_000);
        if !net.nodes[index].is_silent {
            return index;
        }
    };
    let (seeder, router) = (speaker(), speaker());
    net.nodes[seeder].is_passive = false;
    net.complete(seeder, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap());
    net.nodes[seeder].is_passive = true;

    let (addr, bootstrap) = (net.address(), vec![net.nodes[router].addr]);
    let fresh = net.add(addr, DhtConfig { read_only: true, bootstrap, ..DhtConfig::default() });
    let begin = net.now;
    let stats = net.complete(fresh, |dht, now| dht.get_peers(now, hash, None).unwrap());
    let wanted = peer(net.nodes[seeder].addr.ip());
    let has_it = |event: &DhtEvent| matches!(event, DhtEvent::Peers { peers, .. } if peers.contains(&wanted));
    figures.lookups += 1;
    if let Some(first) = stats.first.filter(|_| net.nodes[fresh].events.iter().any(has_it)) {
        figures.found += 1;
        let millis = u32::try_from((net.now - begin).as_millis()).unwrap();
        let values = [first.hops, first.queries, stats.queries, stats.hops, millis];
        figures.each.iter_mut().zip(values).for_each(|(all, value)| all.push(value));
    }
    net.leave(fresh);
}

#[test]
fn a_fresh_node_finds_a_peer_in_few_hops_and_queries_among_ten_thousand() {
    let mut net = Net::settled(4242, 10_000);
    let mut figures = Figures::default();
    (0..300).for_each(|_| look_up(&mut net, &mut figures));
    let (median, worst) = (figures.at(50), figures.at(99));
    println!(
        "hops and queries to the first peer; queries, hops, ms in all: median {median:?}, p99 {worst:?}"
    );
    assert_eq!((figures.lookups, figures.found), (300, 300));
    assert!(median[0] <= 5 && median[1] <= 40 && median[2] <= 40, "{median:?}");
    assert!(worst[0] <= 8 && worst[3] <= 8, "{worst:?}");

    // Three of ten fall silent, all at once: and nobody's table knows.
    for index in 0..10_000 {
        net.nodes[index].is_silent = net.rng.random_bool(0.3);
    }
    let mut figures = Figures::default();
    (0..300).for_each(|_| look_up(&mut net, &mut figures));
    let (median, worst) = (figures.at(50), figures.at(99));
    println!("with 30 % silent: {} of {}: median {median:?}, p99 {worst:?}", figures.found, figures.lookups);
    assert!(figures.found * 100 > figures.lookups * 99, "{} of {}", figures.found, figures.lookups);
    assert!(median[0] <= 5 && median[2] <= 40 && worst[0] <= 8, "{median:?} {worst:?}");
}
