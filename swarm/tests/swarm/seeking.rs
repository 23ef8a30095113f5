//! Torrents that find their peers in the DHT (BEP 5), and those that must not (BEP 27).

use std::collections::BTreeMap;
use std::time::Duration;

use metainfo::{Builder, InfoHashes, Version};
use storage::StoreId;
use swarm::engine::{AddMagnet, AddTorrent, Time};
use swarm::sim::{Access, Content, NodeId, Role, World};
use wire::peer::Bitfield;

const PIECE: u32 = 32 * 1024;
const LEN: usize = 40 * PIECE as usize;

fn content(seed: u64) -> Content {
    Content::new(seed, LEN, PIECE)
}

fn hybrid() -> Builder {
    Builder::single("content.bin", LEN as u64).piece_length(PIECE).version(Version::Hybrid)
}

/// Machines that run something else and are there to be nodes.
fn nodes(world: &mut World, count: u64) -> Vec<NodeId> {
    let other = Content::new(900, 1000, PIECE);
    let nodes: Vec<_> = (0..count).map(|_| world.add(&other, Role::Seed, Access::default())).collect();
    for (at, node) in nodes.iter().enumerate() {
        world.join_dht(*node, &nodes[..at.min(2)]);
    }
    world.run_until(Time::from_secs(60), |_| false);
    nodes
}

/// When a node asked for peers of its torrent; packets less than 20 s apart are one lookup.
fn lookups(world: &World, id: NodeId) -> Vec<Time> {
    let node = world.node(id);
    let hash = node.content.torrent.id().0;
    let asks = |bytes: &[u8]| has(bytes, b"9:get_peers") && has(bytes, &hash);
    let mut times: Vec<Time> = Vec::new();
    let mut last = None;
    for (at, _, _) in node.datagrams.iter().filter(|(.., bytes)| asks(bytes)) {
        if last.is_none_or(|last| *at > last + Duration::from_secs(20)) {
            times.push(*at);
        }
        last = Some(*at);
    }
    times
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_swarm_that_knows_only_the_dht_completes() {
    let mut world = World::new(11);
    let routers = nodes(&mut world, 20);
    let content = content(11);
    let seed = world.add(&content, Role::Seed, Access::default());
    world.join_dht(seed, &routers[..2]);
    let leeches: Vec<_> = (0..8).map(|_| world.add(&content, Role::Leech, Access::default())).collect();
    for leech in &leeches {
        world.join_dht(*leech, &routers[..2]);
    }
    let took = world.run_until_complete(&leeches, world.now + Duration::from_secs(600));
    assert!(took.is_some_and(|took| took < Duration::from_secs(300)), "{took:?}");
    world.check();
}

#[test]
fn a_magnet_needs_nothing_but_the_dht_and_is_not_announced_before_it_is_known() {
    let mut world = World::new(12);
    let routers = nodes(&mut world, 12);
    let content = content(12);
    let hash = content.torrent.id().0;
    let announces = |world: &World, id: NodeId| {
        let sent = world.node(id).datagrams.iter();
        sent.filter(|(.., bytes)| has(bytes, b"13:announce_peer") && has(bytes, &hash))
            .map(|(at, ..)| *at)
            .min()
    };
    let magnet = world.add(&content, Role::Magnet, Access::default());
    world.join_dht(magnet, &routers[..2]);
    world.run_until(world.now + Duration::from_secs(120), |_| false);
    assert!(!lookups(&world, magnet).is_empty());
    assert_eq!(announces(&world, magnet), None);
    let seed = world.add(&content, Role::Seed, Access::default());
    world.join_dht(seed, &routers[..2]);
    assert!(world.run_until_complete(&[magnet], world.now + Duration::from_secs(900)).is_some());
    world.run_until(world.now + Duration::from_secs(60), |_| false);
    let known = world.node(magnet).furnished.expect("it is complete");
    assert!(announces(&world, magnet).is_some_and(|at| at >= known));
}

#[test]
fn a_lone_leech_looks_ever_less_often_and_a_seed_every_quarter_of_an_hour() {
    let mut world = World::new(13);
    let routers = nodes(&mut world, 12);
    let [leech, seed] = [(Role::Leech, 13), (Role::Seed, 14)].map(|(role, at)| {
        let node = world.add(&content(at), role, Access::default());
        world.join_dht(node, &routers[..2]);
        node
    });
    let begun = world.now;
    world.run_until(begun + Duration::from_secs(3600), |_| false);
    let minutes = |id| {
        let times = lookups(&world, id);
        times.iter().map(|at| (*at - begun).as_secs() / 60).collect::<Vec<_>>()
    };
    let (leech, seed) = (minutes(leech), minutes(seed));
    assert!(leech.len() >= 6 && leech.len() <= 9 && leech[1] <= 2 && leech[2] <= 5, "{leech:?}");
    assert!(seed.len() >= 4 && seed.len() <= 5, "{seed:?}");
}

/// When a node asked others this, by torrent.
fn asked(world: &World, id: NodeId, what: &[u8]) -> BTreeMap<[u8; 20], Vec<Time>> {
    const NAME: &[u8] = b"9:info_hash20:";
    let mut times: BTreeMap<[u8; 20], Vec<Time>> = BTreeMap::new();
    for (at, _, bytes) in world.node(id).datagrams.iter().filter(|(.., bytes)| has(bytes, what)) {
        let begin = bytes.windows(NAME.len()).position(|window| window == NAME).unwrap() + NAME.len();
        times.entry(bytes[begin..begin + 20].try_into().unwrap()).or_default().push(*at);
    }
    times
}

/// Has a node seed so many torrents more, of which it alone knows.
fn seed_many(world: &mut World, id: NodeId, count: u32) -> Vec<[u8; 20]> {
    let now = world.now;
    let engine = &mut world.node_mut(id).engine;
    let seeds = (0..count).map(|n| {
        let meta = Content::new(u64::from(n) + 100, 1000, 1 << 14).torrent;
        let hash = meta.id().0;
        engine.add_torrent(now, AddTorrent::new(meta, StoreId(n + 100), Bitfield::with_all(1))).unwrap();
        hash
    });
    let seeds = seeds.collect();
    world.touch(id);
    seeds
}

#[test]
fn a_thousand_seeds_do_not_keep_a_magnet_waiting() {
    let mut world = World::new(18);
    let routers = nodes(&mut world, 12);
    let busy = world.add(&content(18), Role::Seed, Access::default());
    world.join_dht(busy, &routers[..2]);
    let seeds = seed_many(&mut world, busy, 1000);
    world.run_until(world.now + Duration::from_secs(5), |_| false);
    let now = world.now;
    let magnet = content(19).torrent;
    let engine = &mut world.node_mut(busy).engine;
    engine.add_magnet(now, &AddMagnet::new(*magnet.info_hashes())).unwrap();
    world.touch(busy);
    world.run_until(now + Duration::from_secs(2), |_| false);
    let looked = asked(&world, busy, b"9:get_peers");
    assert!(looked.contains_key(&magnet.id().0), "it waits behind seeds");
    let waiting = seeds.iter().filter(|hash| !looked.contains_key(*hash)).count();
    assert!(waiting > 500, "most seeds wait: {waiting}");
}

#[test]
fn of_many_seeds_none_is_forgotten() {
    let mut world = World::new(19);
    let routers = nodes(&mut world, 12);
    let busy = world.add(&content(18), Role::Seed, Access::default());
    world.join_dht(busy, &routers[..2]);
    let begun = world.now;
    let seeds = seed_many(&mut world, busy, 80);
    world.run_until(begun + Duration::from_secs(2000), |_| false);
    let announced = asked(&world, busy, b"13:announce_peer");
    for hash in seeds {
        let times = &announced[&hash];
        let ends = [begun].into_iter().chain(times.iter().copied()).chain([world.now]);
        let gaps = ends.clone().zip(ends.skip(1)).map(|(one, next)| next - one);
        assert!(gaps.max() < Some(Duration::from_secs(25 * 60)), "{times:?}");
    }
}

#[test]
fn a_paused_or_removed_torrent_is_announced_nowhere_and_again_when_it_is_resumed() {
    let mut world = World::new(17);
    world.on_one_lan();
    let routers = nodes(&mut world, 12);
    let content = content(17);
    let hash = content.torrent.id().0;
    let seed = world.add(&content, Role::Seed, Access::default());
    world.join_dht(seed, &routers[..2]);
    let key = world.node(seed).torrent;
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    // How often the DHT and the local network heard of it since then.
    let heard = |world: &World, since: Time| {
        let node = world.node(seed);
        let named = |(at, _, bytes): &&(Time, _, Vec<u8>)| *at >= since && has(bytes, &hash);
        let announced =
            node.datagrams.iter().filter(named).filter(|(.., bytes)| has(bytes, b"13:announce_peer"));
        let local = node.local.iter().filter(|(at, hashes)| *at >= since && hashes.contains(&hash));
        (node.datagrams.iter().filter(named).count(), announced.count(), local.count())
    };
    let mut since = world.now;
    world.run_until(since + minutes(2), |_| false);
    let (_, announced, local) = heard(&world, since);
    assert!(announced > 0 && (1..=2).contains(&local), "{announced} {local}");

    since = world.now;
    world.node_mut(seed).engine.pause(since, key);
    world.touch(seed);
    world.run_until(since + minutes(60), |_| false);
    assert_eq!(heard(&world, since), (0, 0, 0), "while it is paused");

    since = world.now;
    world.node_mut(seed).engine.resume(since, key);
    world.touch(seed);
    world.run_until(since + minutes(2), |_| false);
    let (_, announced, local) = heard(&world, since);
    assert!(announced > 0 && (1..=2).contains(&local), "as soon as it goes on: {announced} {local}");

    // In the middle of a lookup.
    world.run_until(world.now + minutes(20), |world| {
        world.node(seed).engine.dht().is_some_and(|dht| dht.status().lookups > 0)
    });
    since = world.now;
    world.node_mut(seed).engine.pause(since, key);
    world.node_mut(seed).engine.resume(since, key);
    world.node_mut(seed).engine.pause(since, key);
    world.touch(seed);
    world.run_until(since + minutes(30), |_| false);
    let (asked, announced, local) = heard(&world, since);
    assert!(asked <= 4 && (announced, local) == (0, 0), "{asked} {announced} {local}");

    since = world.now;
    world.node_mut(seed).engine.resume(since, key);
    world.node_mut(seed).engine.remove_torrent(since, key);
    world.touch(seed);
    world.run_until(since + minutes(60), |_| false);
    let (asked, announced, local) = heard(&world, since);
    assert!(asked <= 4 && (announced, local) == (0, 0), "{asked} {announced} {local}");
}

#[test]
fn two_that_are_alone_in_the_dht_meet_within_seconds() {
    let mut world = World::new(18);
    let content = content(18);
    let seed = world.add(&content, Role::Seed, Access::default());
    world.join_dht(seed, &[]);
    world.run_until(Time::from_secs(300), |_| false);
    // Nobody but the two can keep what they announce.
    let magnet = world.add(&content, Role::Magnet, Access::default());
    world.join_dht(magnet, &[seed]);
    let took = world.run_until_complete(&[magnet], world.now + Duration::from_secs(60));
    assert!(took.is_some_and(|took| took < Duration::from_secs(45)), "{took:?}");
}

#[test]
fn peers_tell_each_other_of_their_nodes() {
    let mut world = World::new(15);
    let content = content(15);
    let [a, b] = [Role::Seed, Role::Leech].map(|role| world.add(&content, role, Access::default()));
    world.join_dht(a, &[]);
    world.join_dht(b, &[]);
    world.introduce(b, a);
    world.run_until(Time::from_secs(30), |_| false);
    for node in [a, b] {
        let status = world.node(node).engine.dht().expect("it has joined").status();
        assert_eq!(status.nodes, [1, 0], "{status:?}");
    }
}

#[test]
fn a_hybrid_is_announced_and_looked_for_by_both_names() {
    let mut world = World::new(20);
    let routers = nodes(&mut world, 12);
    let content = Content::build(20, LEN, hybrid());
    let hashes = content.torrent.info_hashes();
    let (v1, v2) = (hashes.v1().unwrap(), hashes.v2().unwrap());
    let seed = world.add(&content, Role::Seed, Access::default());
    world.join_dht(seed, &routers[..2]);
    let begun = world.now;
    // Whoever knows one of the names finds it.
    for known in [InfoHashes::v1_only(v1), InfoHashes::v2_only(v2)] {
        let magnet = world.add(&content, Role::Named(known), Access::default());
        world.join_dht(magnet, &routers[..2]);
        let took = world.run_until_complete(&[magnet], world.now + Duration::from_secs(600));
        assert!(took.is_some(), "{known:?}");
        let (now, node) = (world.now, world.node_mut(magnet));
        node.engine.remove_torrent(now, node.torrent);
        world.touch(magnet);
    }
    world.run_until(begun + Duration::from_secs(3600), |_| false);
    for what in [b"9:get_peers".as_slice(), b"13:announce_peer"] {
        let asked = asked(&world, seed, what);
        for name in [v1.0, v2.truncated().0] {
            let mut times: Vec<Time> = asked[&name].clone();
            times.dedup_by(|next, at| *next < *at + Duration::from_secs(60));
            assert!((4..=6).contains(&times.len()), "{times:?}");
        }
    }
    world.check();
}

#[test]
fn no_packet_of_a_session_names_a_private_torrent() {
    let mut world = World::new(16);
    let routers = nodes(&mut world, 8);
    let content = Content::build(16, LEN, hybrid().private(true));
    let [seed, leech] = [Role::Seed, Role::Leech].map(|role| world.add(&content, role, Access::default()));
    // They know no nodes, and tell each other of none.
    world.join_dht(seed, &[]);
    world.join_dht(leech, &[]);
    // These have nodes to ask, and a private torrent nevertheless.
    let [other, alone] = [Role::Seed, Role::Leech].map(|role| world.add(&content, role, Access::default()));
    world.join_dht(other, &routers[..2]);
    world.join_dht(alone, &routers[..2]);
    world.introduce(leech, seed);
    assert!(world.run_until_complete(&[leech], world.now + Duration::from_secs(600)).is_some());
    world.run_until(world.now + Duration::from_secs(3600), |_| false);
    let hashes = content.torrent.info_hashes();
    let names = [hashes.v1().unwrap().0, hashes.v2().unwrap().truncated().0];
    for node in [seed, leech, other, alone] {
        let node = world.node(node);
        let names_it = |bytes: &[u8]| names.iter().any(|name| has(bytes, name));
        let told = node.datagrams.iter().filter(|(.., bytes)| names_it(bytes)).count();
        assert_eq!((told, node.local.len()), (0, 0), "{}", node.addr);
    }
    assert_eq!(world.node(alone).completed, None, "it was told of nobody");
    for node in [seed, leech] {
        assert_eq!(world.node(node).engine.dht().expect("it has joined").status().nodes, [0, 0]);
    }
}
