//! Swarms that find each other by trackers.

use std::time::Duration;

use metainfo::Builder;
use swarm::engine::candidates::Source;
use swarm::engine::scope::Scope;
use swarm::engine::tracker::Event as Announced;
use swarm::engine::{Close, Event, Time};
use swarm::sim::{Access, Content, NodeId, Role, World};

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
    let left = |world: &World| {
        world.node(leech).events.iter().any(
            |(_, event)| matches!(event, Event::PeerLeft { reason, .. } if *reason == Close::TrackerChanged),
        )
    };
    let end = world.now + Duration::from_secs(600);
    assert!(world.run_until(end, left), "its peers go with it");
    let _ = seed;
}
