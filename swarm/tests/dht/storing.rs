//! What one node stores, others find.

use std::net::SocketAddr;
use std::time::Duration;

use swarm::engine::dht::{
    Announce, DhtConfig, DhtEvent, Id, Mutable, PutMutable, target_of_immutable, target_of_mutable,
};

use crate::net::{Net, v6};

#[test]
fn peers_are_announced_found_and_counted() {
    let mut net = Net::joined(1, 60);
    let hash = Id::random(&mut net.rng);
    for (who, seed, implied_port) in [(10, true, false), (11, false, true), (12, false, false)] {
        let announce = Announce { port: 7000, implied_port, seed };
        let stats = net.complete(who, |dht, now| dht.get_peers(now, hash, Some(announce)).unwrap());
        assert_eq!((stats.stored, stats.refused), (8, 0));
    }
    let stats = net.complete(50, |dht, now| dht.get_peers(now, hash, None).unwrap());
    let mut found: Vec<SocketAddr> = Vec::new();
    for event in net.told(50) {
        if let DhtEvent::Peers { peers, .. } = event {
            found.extend(peers);
        }
    }
    found.sort();
    let ips = [10, 11, 12].map(|who: usize| net.nodes[who].addr.ip());
    let mut wanted = [(ips[0], 7000), (ips[1], 6881), (ips[2], 7000)].map(SocketAddr::from);
    wanted.sort();
    assert_eq!((found.as_slice(), stats.peers), (&wanted[..], 3));

    net.complete(51, |dht, now| dht.scrape(now, hash).unwrap());
    let counts = net.told(51).into_iter().find_map(|event| match event {
        DhtEvent::Scraped { seeds, peers, .. } => Some((seeds.round(), peers.round())),
        _ => None,
    });
    assert_eq!(counts, Some((1.0, 2.0)));
    let (addr, bootstrap) = (net.address(), vec![net.nodes[0].addr]);
    let shy = net.add(addr, DhtConfig { read_only: true, bootstrap, ..DhtConfig::default() });
    net.complete(shy, |dht, now| dht.scrape(now, hash).unwrap());
    assert!(
        net.told(shy).iter().any(|event| matches!(event, DhtEvent::Scraped { seeds, .. } if *seeds > 0.5))
    );

    net.run(Duration::from_secs(1900));
    let stats = net.complete(52, |dht, now| dht.get_peers(now, hash, None).unwrap());
    assert_eq!(stats.peers, 0, "announcements expire");
}

#[test]
fn immutable_items_of_any_size_are_found() {
    let mut net = Net::joined(2, 60);
    for len in [0, 10, 900, 996] {
        let value = [format!("{len}:").into_bytes(), vec![b'x'; len]].concat();
        let put = value.clone();
        let stats = net.complete(20, |dht, now| dht.put_immutable(now, put).unwrap());
        assert_eq!(stats.stored, 8, "{len}");
        let target = target_of_immutable(&value);
        // One that is known there; one that is not and is asked for a proof of its address first; and one that is asked nothing.
        let stranger = net.join();
        let (addr, bootstrap) = (net.address(), vec![net.nodes[0].addr]);
        let shy = net.add(addr, DhtConfig { read_only: true, bootstrap, ..DhtConfig::default() });
        for who in [30, stranger, shy] {
            net.complete(who, |dht, now| dht.get_immutable(now, target).unwrap());
            let found = net.told(who);
            assert!(
                found.iter().any(
                    |event| matches!(event, DhtEvent::Immutable { value: found, .. } if *found == value)
                ),
                "{len}: {found:?}"
            );
        }
    }
}

#[test]
fn mutable_items_grow_and_conflicts_are_told() {
    let mut net = Net::joined(3, 60);
    let key = Mutable::public_key(&[7; 32]);
    let put = |value: &str, cas: Option<i64>| PutMutable {
        secret: [7; 32],
        salt: b"salt".to_vec(),
        value: value.into(),
        cas,
    };
    let read = |net: &mut Net, who: usize| {
        net.complete(who, |dht, now| dht.get_mutable(now, key, b"salt").unwrap());
        net.told(who).into_iter().rev().find_map(|event| match event {
            DhtEvent::Mutable { item, .. } => Some((item.seq, String::from_utf8(item.value).unwrap())),
            _ => None,
        })
    };
    assert_eq!(read(&mut net, 9), None);
    let cases = [
        (put("5:first", Some(4)), 8, Some(1), None), // nothing is there to compare with
        (put("6:second", None), 8, Some(2), None),
        (put("5:third", Some(1)), 0, None, Some(2)),
        (put("5:third", Some(2)), 8, Some(3), None),
    ];
    for (who, (new, stored, seq, conflict)) in (20..).zip(cases) {
        let stats = net.complete(who, |dht, now| dht.put_mutable(now, new).unwrap());
        assert_eq!((stats.stored, stats.seq, stats.conflict), (stored, seq, conflict));
    }
    assert_eq!(read(&mut net, 40), Some((3, "5:third".into())));

    // Kept alive by somebody without the key; not put back.
    let old = Mutable::sign(&[7; 32], b"salt".into(), 2, b"6:second".into());
    let same = Mutable::sign(&[7; 32], b"salt".into(), 3, b"5:third".into());
    let stats = net.complete(41, |dht, now| dht.put_signed(now, old).unwrap());
    assert_eq!((stats.stored, stats.conflict), (0, Some(3)));
    let stats = net.complete(41, |dht, now| dht.put_signed(now, same).unwrap());
    assert_eq!((stats.stored, stats.conflict), (8, None));
    assert_eq!(target_of_mutable(&key, b"salt"), Mutable::sign(&[7; 32], b"salt".into(), 0, vec![]).target());
}

#[test]
fn a_node_tells_samples_of_its_torrents() {
    let mut net = Net::joined(4, 30);
    let mut hashes = Vec::new();
    for _ in 0..5 {
        let hash = Id::random(&mut net.rng);
        let announce = Announce { port: 7000, implied_port: false, seed: false };
        net.complete(10, |dht, now| dht.get_peers(now, hash, Some(announce)).unwrap());
        hashes.push(hash);
    }
    let mut told = Vec::new();
    for who in 0..9 {
        let addr = net.nodes[who].addr;
        net.complete(20, |dht, now| dht.sample(now, addr, hashes[0]).unwrap());
        for event in net.told(20) {
            if let DhtEvent::Samples { hashes, num, interval, nodes, .. } = event {
                assert!(hashes.len() <= usize::try_from(num).unwrap() && !nodes.is_empty());
                assert_eq!(interval, Duration::from_secs(600));
                told.extend(hashes);
            }
        }
    }
    assert!(!told.is_empty() && told.iter().all(|hash| hashes.contains(hash)), "{told:?}");
}

#[test]
fn a_node_of_both_families_joins_and_announces_in_both() {
    // Told of an IPv4 node only: those of the other family come with its answers (BEP 32).
    let mut net = Net::dual(5, false);
    net.run(Duration::from_secs(120));
    let status = net.dht(39).status();
    assert!(status.good[0] >= 8 && status.good[1] >= 8, "{status:?}");
    assert_ne!(net.dht(39).id(true), net.dht(39).id(false), "an id for each address (BEP 45)");
    let hash = Id::random(&mut net.rng);
    let announce = Announce { port: 7000, implied_port: false, seed: false };
    let stats = net.complete(7, |dht, now| dht.get_peers(now, hash, Some(announce)).unwrap());
    assert_eq!(stats.stored, 16);
    net.complete(30, |dht, now| dht.get_peers(now, hash, None).unwrap());
    let mut found = Vec::new();
    for event in net.told(30) {
        if let DhtEvent::Peers { peers, .. } = event {
            found.extend(peers);
        }
    }
    assert_eq!(found.iter().filter(|peer| peer.is_ipv4()).count(), 1, "{found:?}");
    assert_eq!(found.iter().filter(|peer| peer.is_ipv6()).count(), 1, "{found:?}");
}

#[test]
fn without_a_route_to_ipv6_an_announce_takes_as_long_as_with_ipv4_alone() {
    let mut net = Net::dual(27, true);
    let first = net.nodes[0].addr;
    let mut joined = |has_v6: bool| {
        let addr = net.address();
        let config = DhtConfig { bootstrap: vec![first, v6(0)], ipv6: has_v6, ..DhtConfig::default() };
        let index = net.add_dual(&[addr], DhtConfig { bootstrap: Vec::new(), ..config.clone() });
        net.nodes[index].has_no_v6 = true;
        let now = net.now;
        net.dht(index).bootstrap(now, &config.bootstrap);
        net.settle(index);
        net.run(Duration::from_secs(5));
        let mut times = Vec::new();
        for round in 0..6 {
            let (start, hash) = (net.now, Id::random(&mut net.rng));
            let announce = Announce { port: 7000, implied_port: false, seed: false };
            let stats = net.complete(index, |dht, now| dht.get_peers(now, hash, Some(announce)).unwrap());
            assert_eq!(stats.stored, 8, "{stats:?}");
            times.push(net.now - start);
            assert!(round < 3 || stats.timeouts == 0, "nobody is asked in vain by now: {stats:?}");
        }
        times.sort();
        (times[3], times[5])
    };
    let (alone, both) = (joined(false), joined(true));
    println!("median and longest: with IPv4 alone {alone:?}, with dead IPv6 {both:?}");
    assert!(both.1 < alone.1 + Duration::from_millis(500), "{alone:?} {both:?}");
}

#[test]
fn two_nodes_alone_find_what_they_stored_at_each_other() {
    let mut net = Net::new(29);
    let [a, b] = [net.address(), net.address()];
    let first = net.add(a, DhtConfig { external: vec![a.ip()], ..DhtConfig::default() });
    let second = net.add(b, DhtConfig { external: vec![b.ip()], bootstrap: vec![a], ..DhtConfig::default() });
    net.run(Duration::from_secs(3));
    assert_eq!((net.dht(first).status().good, net.dht(second).status().good), ([1, 0], [1, 0]));
    let hash = Id::random(&mut net.rng);
    let announce = Announce { port: 7000, implied_port: false, seed: true };
    assert_eq!(net.complete(first, |dht, now| dht.get_peers(now, hash, Some(announce)).unwrap()).stored, 1);
    net.complete(first, |dht, now| dht.put_immutable(now, b"5:hello".to_vec()).unwrap());
    let put = PutMutable { secret: [3; 32], value: b"3:one".to_vec(), ..PutMutable::default() };
    net.complete(first, |dht, now| dht.put_mutable(now, put).unwrap());
    let announced = DhtEvent::Announced { hash, peer: SocketAddr::new(a.ip(), 7000) };
    assert!(net.told(second).contains(&announced));
    // Nobody but the second one has what the first one stored.
    let stats = net.complete(second, |dht, now| dht.get_peers(now, hash, None).unwrap());
    assert_eq!(stats.peers, 1);
    net.complete(second, |dht, now| dht.get_immutable(now, target_of_immutable(b"5:hello")).unwrap());
    net.complete(second, |dht, now| dht.get_mutable(now, Mutable::public_key(&[3; 32]), b"").unwrap());
    net.complete(second, |dht, now| dht.scrape(now, hash).unwrap());
    let told = net.told(second);
    let peers = told.iter().find_map(|event| match event {
        DhtEvent::Peers { from, peers, .. } => Some((from.ip().is_unspecified(), peers.clone())),
        _ => None,
    });
    assert_eq!(peers, Some((true, vec![SocketAddr::new(a.ip(), 7000)])));
    let has = |test: fn(&DhtEvent) -> bool| told.iter().any(test);
    assert!(has(|event| matches!(event, DhtEvent::Immutable { value, .. } if value == b"5:hello")));
    assert!(has(|event| matches!(event, DhtEvent::Mutable { item, .. } if item.value == b"3:one")));
    assert!(has(|event| matches!(event, DhtEvent::Scraped { seeds, .. } if (0.5..1.5).contains(seeds))));
    // A version that follows is known to be newer.
    let put = PutMutable { secret: [3; 32], value: b"3:two".to_vec(), ..PutMutable::default() };
    assert_eq!(net.complete(second, |dht, now| dht.put_mutable(now, put).unwrap()).seq, Some(2));
}
