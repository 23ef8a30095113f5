//! Links that are long, lossy, or closed from one side.

use std::time::Duration;

use swarm::engine::Time;
use swarm::sim::{Access, Content, Role, World};

const MIB: usize = 1 << 20;

#[test]
fn a_long_fat_link_is_used_in_full() {
    // 100 Mbit/s and a round trip of 200 ms: 2.5 MB are under way.
    let access = Access::symmetric(12_500_000).latency(Duration::from_millis(50));
    let content = Content::new(1, 48 * MIB, MIB as u32);
    let mut world = World::new(1);
    world.network.window = 8 * MIB;
    let seed = world.add(&content, Role::Seed, access);
    let leech = world.add(&content, Role::Leech, access);
    world.introduce(leech, seed);
    let done = |world: &World, part: u32| {
        let node = world.node(leech);
        node.engine.have(node.torrent).is_some_and(|have| have.count_ones() >= part)
    };
    assert!(world.run_until(Time::from_secs(30), |world| done(world, 24)));
    let half = world.now;
    assert!(half < Time::from_millis(4000), "slow start and the first half took {half:?}");
    assert!(world.run_until(Time::from_secs(30), |world| done(world, 46)));
    let rate = (22 * MIB) as f64 / (world.now - half).as_secs_f64();
    assert!(rate > 0.93 * 12_500_000.0, "{rate} bytes per second");
}

#[test]
fn a_lossy_link_costs_time_and_nothing_else() {
    let content = Content::new(2, 4 * MIB, 64 * 1024);
    let mut world = World::new(2);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default().loss(0.05));
    world.introduce(leech, seed);
    let took = world.run_until_complete(&[leech], Time::from_secs(60)).expect("complete within a minute");
    assert!(took < Duration::from_secs(20), "{took:?}");
    let node = world.node(leech);
    let status = node.engine.torrent_status(world.now, node.torrent).unwrap();
    assert_eq!(status.totals.wasted, 0);
}

#[test]
fn who_cannot_be_dialled_dials() {
    let content = Content::new(3, MIB, 64 * 1024);
    let mut world = World::new(3);
    let seed = world.add(&content, Role::Seed, Access::default().nat());
    let open = world.add(&content, Role::Leech, Access::default());
    let closed = world.add(&content, Role::Leech, Access::default().nat());
    for (a, b) in [(seed, open), (open, seed), (closed, seed), (open, closed), (closed, open)] {
        world.introduce(a, b);
    }
    assert!(world.run_until_complete(&[open, closed], Time::from_secs(60)).is_some());
}

#[test]
fn a_swarm_survives_nodes_that_come_and_go() {
    let content = Content::new(4, 4 * MIB, 64 * 1024);
    let mut world = World::new(4);
    let seed = world.add(&content, Role::Seed, Access::symmetric(300_000));
    let mut alive = Vec::new();
    for round in 0..12 {
        let leech = world.add(&content, Role::Leech, Access::symmetric(300_000));
        world.introduce(leech, seed);
        alive.iter().for_each(|other| world.introduce(leech, *other));
        alive.push(leech);
        if round % 3 == 2 {
            world.switch_off(alive.remove(round % alive.len()));
        }
        let until = world.now + Duration::from_secs(2);
        world.run_until(until, |_| false);
    }
    assert!(world.run_until_complete(&alive, Time::from_secs(200)).is_some());
    world.check();
}
