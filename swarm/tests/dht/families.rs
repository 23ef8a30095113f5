//! Nodes of both address families, and networks in which one of them leads nowhere.

use std::net::SocketAddr;
use std::time::Duration;

use swarm::engine::dht::{Announce, DhtConfig, DhtEvent, Id, PutMutable};

use crate::net::{Net, v6};

const ANNOUNCE: Announce = Announce { port: 7000, implied_port: false, seed: false };

#[test]
fn what_is_put_over_both_families_is_read_over_each_alone() {
    let mut net = Net::dual(61, true);
    let first = net.nodes[0].addr;
    let v4_only = net.address();
    let readers = [(v4_only, first), (v6(100), v6(0))].map(|(addr, bootstrap)| {
        let reader = net.add(addr, DhtConfig { bootstrap: vec![bootstrap], ..DhtConfig::default() });
        net.run(Duration::from_secs(60));
        reader
    });
    let stats = net.complete(7, |dht, now| dht.put_immutable(now, b"5:hello".to_vec()).unwrap());
    assert_eq!(stats.stored, 16, "eight of each family");
    let put = PutMutable { secret: [3; 32], value: b"3:new".to_vec(), ..PutMutable::default() };
    assert_eq!(net.complete(8, |dht, now| dht.put_mutable(now, put).unwrap()).stored, 16);
    let hash = Id::random(&mut net.rng);
    assert_eq!(net.complete(9, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap()).stored, 16);
    let target = swarm::engine::dht::target_of_immutable(b"5:hello");
    let key = swarm::engine::dht::Mutable::public_key(&[3; 32]);
    for reader in readers {
        net.told(reader);
        net.complete(reader, |dht, now| dht.get_immutable(now, target).unwrap());
        net.complete(reader, |dht, now| dht.get_mutable(now, key, b"").unwrap());
        let peers = net.complete(reader, |dht, now| dht.get_peers(now, hash, None).unwrap()).peers;
        let events = net.told(reader);
        let has = |test: fn(&DhtEvent) -> bool| events.iter().any(test);
        assert!(has(|event| matches!(event, DhtEvent::Immutable { value, .. } if value == b"5:hello")));
        assert!(has(|event| matches!(event, DhtEvent::Mutable { item, .. } if item.value == b"3:new")));
        assert_eq!(peers, 1);
    }
}

#[test]
fn where_ipv6_is_dropped_without_a_word_everything_ends_and_ipv6_is_soon_left_alone() {
    let mut net = Net::dual(62, true);
    let first = net.nodes[0].addr;
    let addr = net.address();
    // Its own address is one that nobody has: what is sent there is lost too.
    let index = net.add_dual(&[addr], DhtConfig::default());
    net.nodes[index].drops_v6 = true;
    let now = net.now;
    let routers: Vec<SocketAddr> = [first].into_iter().chain((0..4).map(v6)).collect();
    net.dht(index).bootstrap(now, &routers);
    net.settle(index);
    net.run(Duration::from_secs(10));
    let mut times = Vec::new();
    for round in 0..8 {
        let (start, hash) = (net.now, Id::random(&mut net.rng));
        let value = format!("i{round}e").into_bytes();
        let target = swarm::engine::dht::target_of_immutable(&value);
        let stats = net.complete(index, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap());
        assert_eq!(stats.stored, 8, "{stats:?}");
        let stats = net.complete(index, |dht, now| dht.put_immutable(now, value).unwrap());
        assert_eq!(stats.stored, 8, "{stats:?}");
        let got = net.complete(index, |dht, now| dht.get_immutable(now, target).unwrap());
        assert!(got.first.is_some());
        let none = net.complete(index, |dht, now| dht.get_immutable(now, hash).unwrap());
        assert!(none.first.is_none() && none.answers > 0);
        times.push(net.now - start);
    }
    println!("four commands: {times:?}");
    // Each of the first ones waits for the answers of IPv6 routers, which are given up after 5 s.
    assert!(times.iter().all(|time| *time < Duration::from_secs(30)), "{times:?}");
    assert!(times[4..].iter().all(|time| *time < Duration::from_secs(6)), "{times:?}");
}
