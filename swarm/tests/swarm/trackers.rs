//! Swarms that find each other by trackers.

use std::time::Duration;

use metainfo::Builder;
use swarm::engine::candidates::Source;
use swarm::engine::scope::Scope;
use swarm::engine::tracker::Event as Announced;
use swarm::engine::{Close, Event, Time};
use swarm::sim::{Access, Content, Heard, Line, NodeId, Role, Scripted, World};
use wire::peer::{ExtendedHandshake, Extensions, Message, MetadataMessage};

const FIRST: &str = "http://first.example/announce";
const SECOND: &str = "http://second.example/announce";
const LEN: usize = 1 << 20;

fn content(private: bool) -> Content {
    let tiers = vec![vec![FIRST.into()], vec![SECOND.into()]];
    let builder = Builder::single("content.bin", LEN as u64).piece_length(64 * 1024);
    Content::build(7, LEN, builder.tracker_tiers(tiers).private(private))
}

fn told(world: &mut World, url: &str, id: NodeId) -> Vec<Announced> {
    let addr = world.addr(id);
    let announces = world.tracker(url).announces.iter();
    announces.filter(|(_, from, _)| *from == addr).map(|(.., event)| *event).collect()
}

#[test]
fn a_swarm_finds_itself_by_its_tracker() {
    let content = content(false);
    let mut world = World::new(1);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leeches: Vec<_> = (0..10).map(|_| world.add(&content, Role::Leech, Access::default())).collect();
    assert!(world.run_until_complete(&leeches, Time::from_secs(60)).is_some());
    world.run_until(Time::from_secs(100), |_| false);
    assert_eq!(told(&mut world, FIRST, seed), [Announced::Started]);
    assert_eq!(told(&mut world, FIRST, leeches[0]), [Announced::Started, Announced::Completed]);
    assert_eq!(told(&mut world, SECOND, seed), [], "the second tier is for need");
    let node = world.node_mut(leeches[0]);
    let (now, key) = (Time::from_secs(100), node.torrent);
    node.engine.remove_torrent(now, key);
    world.introduce(seed, leeches[1]);
    world.run_until(Time::from_secs(4000), |_| false);
    let events = told(&mut world, FIRST, leeches[0]);
    assert_eq!(events.last(), Some(&Announced::Stopped), "{events:?}");
    assert!((2..=4).contains(&told(&mut world, FIRST, seed).len()), "once each interval");
}

#[test]
fn the_next_tier_helps_when_the_first_is_down() {
    for private in [false, true] {
        let content = content(private);
        let mut world = World::new(2);
        world.tracker(FIRST).down = true;
        let _seed = world.add(&content, Role::Seed, Access::default());
        let leech = world.add(&content, Role::Leech, Access::default());
        assert!(world.run_until_complete(&[leech], Time::from_secs(60)).is_some(), "private: {private}");
        assert_eq!(told(&mut world, SECOND, leech)[0], Announced::Started);
    }
}

#[test]
fn a_tracker_on_the_internet_names_no_address_of_our_own_networks() {
    let narrower = [
        "127.0.0.1:7000",
        "127.8.8.8:7000",
        "192.168.1.9:7000",
        "10.1.2.3:7000",
        "172.16.0.1:7000",
        "100.64.0.1:7000",
        "169.254.1.1:7000",
        "0.0.0.0:7000",
        "224.0.0.1:7000",
        "9.9.9.9:0",
        "[::1]:7000",
        "[fe80::1]:7000",
        "[fd00::1]:7000",
        "[::ffff:192.168.1.9]:7000",
        "[2001:0:4136:e378::1]:7000",
    ];
    let content = content(false);
    let mut world = World::new(9);
    let global: std::net::SocketAddr = "9.9.9.9:7000".parse().unwrap();
    world.tracker(FIRST).extra = narrower.iter().map(|addr| addr.parse().unwrap()).collect();
    world.tracker(FIRST).extra.push(global);
    let leech = world.add(&content, Role::Leech, Access::default());
    world.run_until(Time::from_secs(100), |_| false);
    let dials = &world.node(leech).dials;
    assert!(!dials.is_empty() && dials.iter().all(|(_, addr)| *addr == global), "{dials:?}");
}

#[test]
fn a_private_torrent_takes_peers_of_its_tracker_only() {
    let content = content(true);
    let mut world = World::new(3);
    world.tracker(FIRST).interval = 60;
    let leech = world.add(&content, Role::Leech, Access::default());
    // It runs the same torrent, and no tracker names it.
    let stray = world.add(&self::content(true), Role::Seed, Access::default().nat());
    let addr = world.addr(stray);
    for source in [Source::Pex, Source::Dht, Source::Lsd] {
        let now = world.now;
        let node = world.node_mut(leech);
        let key = node.torrent;
        node.engine.add_peers(now, key, &[addr], source, Scope::Global);
    }
    world.run_until(Time::from_millis(30), |_| false);
    assert_eq!(world.node(leech).dials, [], "nobody but the tracker is believed");
    assert!(world.run_until_complete(&[leech], Time::from_secs(60)).is_none_or(|_| true));
}

#[test]
fn a_private_torrent_drops_the_peers_of_a_tracker_that_it_leaves() {
    let content = content(true);
    let mut world = World::new(4);
    world.tracker(FIRST).interval = 60;
    let seed = world.add(&content, Role::Seed, Access::symmetric(2_000));
    let leech = world.add(&content, Role::Leech, Access::default());
    world.run_until(Time::from_secs(30), |_| false);
    let peers = |world: &World| world.node(leech).engine.peers(world.now, world.node(leech).torrent).len();
    assert_eq!(peers(&world), 1);
    world.tracker(FIRST).down = true;
    // Whichever of the two asks first finds the tracker down and leaves it.
    let left = |world: &World| {
        let mut events = [seed, leech].into_iter().flat_map(|node| &world.node(node).events);
        events.any(
            |(_, event)| matches!(event, Event::PeerLeft { reason, .. } if *reason == Close::TrackerChanged),
        )
    };
    let end = world.now + Duration::from_secs(600);
    assert!(world.run_until(end, left), "its peers go with it");
}

/// A torrent with six trackers, each in a tier of its own.
fn many_trackers(private: bool) -> Content {
    let tiers = (0..6).map(|n| vec![format!("http://t{n}.example/announce")]).collect();
    let builder = Builder::single("content.bin", LEN as u64).piece_length(64 * 1024);
    Content::build(8, LEN, builder.tracker_tiers(tiers).private(private))
}

#[test]
fn a_magnet_does_not_wait_for_silent_trackers() {
    let content = many_trackers(false);
    let mut world = World::new(8);
    for n in 0..5 {
        world.tracker(&format!("http://t{n}.example/announce")).silent = true;
    }
    let seed = world.add(&content, Role::Seed, Access::default());
    let addr = world.addr(seed);
    world.tracker("http://t5.example/announce").extra = vec![addr];
    let magnet = world.add(&content, Role::Magnet, Access::default());
    assert!(world.run_until_complete(&[magnet], Time::from_secs(20)).is_some());
    world.run_until(Time::from_secs(100), |_| false);
    assert_eq!(told(&mut world, "http://t5.example/announce", magnet)[0], Announced::Started);
    world.check();
}

#[test]
fn a_magnet_that_turns_out_private_keeps_to_the_peers_of_one_tracker() {
    let content = many_trackers(true);
    let mut world = World::new(9);
    let silent = |_: &mut Line<'_>, _: Heard<'_>| {};
    let peers: Vec<_> =
        (0..2).map(|_| Scripted::new(&content).enter(&mut world, Access::default(), silent)).collect();
    for (n, (peer, _)) in peers.iter().enumerate() {
        let addr = world.addr(*peer);
        world.tracker(&format!("http://t{n}.example/announce")).extra = vec![addr];
    }
    let magnet = world.add(&content, Role::Magnet, Access::default());
    world.run_until(Time::from_secs(4), |_| false);
    assert!(peers.iter().all(|(_, log)| log.borrow().open() == 1), "both are used before");
    // Seeds of a private torrent do not give its metadata, so somebody else has to.
    let info = content.torrent.info_bytes().to_vec();
    let giver = Scripted::new(&content).dials(world.addr(magnet));
    giver.enter(&mut world, Access::default(), move |line, heard| {
        let mut payload = Vec::new();
        let total_size = Some(info.len() as u64);
        match heard {
            Heard::Handshake(_) => ExtendedHandshake {
                extensions: Extensions::from_iter([("ut_metadata", 9)]),
                metadata_size: total_size,
                ..ExtendedHandshake::default()
            }
            .encode(&mut payload),
            Heard::Message(Message::Extended { id: 9, .. }) => {
                MetadataMessage::Data { piece: 0, total_size, data: &info }.encode(&mut payload);
            }
            _ => return,
        }
        let id = if matches!(heard, Heard::Handshake(_)) { 0 } else { 2 };
        line.say(Message::Extended { id, payload: &payload });
    });
    assert!(world.run_until(Time::from_millis(4900), |world| world.node(magnet).furnished.is_some()));
    world.run_until(Time::from_secs(30), |_| false);
    let open: Vec<_> = peers.iter().map(|(_, log)| log.borrow().open()).collect();
    assert_eq!(open, [0, 1], "the tracker that answered last is kept");
    assert_eq!(
        told(&mut world, "http://t0.example/announce", magnet),
        [Announced::Started, Announced::Stopped]
    );
    assert_eq!(told(&mut world, "http://t1.example/announce", magnet), [Announced::Started]);
    assert_eq!(told(&mut world, "http://t2.example/announce", magnet), []);
    world.check();
}
