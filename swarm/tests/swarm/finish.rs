//! The end of a download, and how near to the optimum whole swarms come.

use std::time::Duration;

use metainfo::Builder;
use swarm::engine::Time;
use swarm::sim::{Access, Content, DiskSpeed, NodeId, Role, World};
use wire::peer::Bitfield;

const MIB: usize = 1 << 20;

fn status(world: &World, id: NodeId) -> swarm::engine::TorrentStatus {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs")
}

#[test]
fn the_endgame_wastes_under_one_percent() {
    for seed in 0..3 {
        let content = Content::new(seed, 32 * MIB, 256 * 1024);
        let mut world = World::new(seed);
        let leech = world.add(&content, Role::Leech, Access::symmetric(4_000_000));
        for rate in [30_000, 60_000, 120_000, 250_000, 500_000, 500_000, 1_000_000] {
            let access = Access::symmetric(rate).latency(Duration::from_millis(15 + seed * 20));
            let from = world.add(&content, Role::Seed, access);
            world.introduce(leech, from);
        }
        assert!(world.run_until_complete(&[leech], Time::from_secs(120)).is_some());
        let until = world.now + Duration::from_secs(10);
        world.run_until(until, |_| false);
        let totals = status(&world, leech).totals;
        assert!(totals.wasted * 100 < (32 * MIB) as u64, "seed {seed}: {totals:?}");
    }
}

#[test]
fn a_slow_peer_does_not_hold_up_the_end() {
    let content = Content::new(1, 8 * MIB, 256 * 1024);
    let mut world = World::new(1);
    let leech = world.add(&content, Role::Leech, Access::symmetric(4_000_000));
    for rate in [1_000_000, 1_000_000, 3_000, 3_000] {
        let from = world.add(&content, Role::Seed, Access::symmetric(rate));
        world.introduce(leech, from);
    }
    let took = world.run_until_complete(&[leech], Time::from_secs(120)).expect("complete");
    let best = (8 * MIB) as f64 / 2_006_000.0;
    assert!(took.as_secs_f64() < 1.35 * best, "{took:?}, best {best} s");
}

#[test]
fn parts_of_a_torrent_make_a_whole() {
    let content = Content::new(2, 4 * MIB, 64 * 1024);
    let mut world = World::new(2);
    let third = |n: u32| {
        let mut bits = Bitfield::new(64);
        (n..64).step_by(3).for_each(|piece| {
            bits.set(piece);
        });
        Role::Partial(bits)
    };
    let mut nodes: Vec<_> = (0..3).map(|n| world.add(&content, third(n), Access::default())).collect();
    nodes.push(world.add(&content, Role::Leech, Access::default()));
    for (n, node) in nodes.iter().enumerate() {
        nodes[..n].iter().for_each(|other| world.introduce(*node, *other));
    }
    assert!(world.run_until_complete(&nodes, Time::from_secs(60)).is_some());
}

#[test]
fn two_hundred_nodes_finish_near_the_fluid_bound() {
    const NODES: usize = 200;
    const LEN: usize = 4 * MIB;
    const UP: u64 = 400_000;
    let builder = Builder::single("content.bin", LEN as u64).piece_length(32 * 1024);
    let content = Content::build(3, LEN, builder.tracker("http://tracker.example/announce"));
    let mut world = World::new(3);
    let access = Access { up: UP, down: 4 * UP, ..Access::default() };
    let mut add = |role| {
        world.add_with(&content, role, access, DiskSpeed::default(), |config| {
            config.upload_slots = Some(4);
            config.max_torrent_connections = 20;
        })
    };
    let seed = add(Role::Seed);
    let nodes: Vec<_> = (0..NODES).map(|_| add(Role::Leech)).collect();
    let took = world.run_until_complete(&nodes, Time::from_secs(600)).expect("complete");
    // Nobody can be faster than this: the seed must send everything once, and all must send it to all.
    let once = LEN as f64 / UP as f64;
    let all = (NODES * LEN) as f64 / ((NODES + 1) as u64 * UP) as f64;
    let factor = took.as_secs_f64() / once.max(all);
    let given = status(&world, seed).totals.uploaded as f64 / LEN as f64;
    println!("{factor:.2} times the bound; the seed gave {given:.2} copies");
    assert!(factor < 2.5, "{took:?} is {factor:.2} times the bound");
    world.check();
}
