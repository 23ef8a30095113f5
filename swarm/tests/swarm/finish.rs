//! The end of a download, and how near to the optimum whole swarms come.

use std::time::Duration;

use metainfo::Builder;
use swarm::engine::Time;
use swarm::sim::{Access, Content, DiskSpeed, Heard, Line, NodeId, Role, Scripted, World};
use wire::peer::{Bitfield, Message};

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

/// A seed and three leeches, all of them as fast as memory; what each of these got twice, in blocks.
fn blocks_wasted_on_one_machine(seed: u64, len: usize, piece_length: u32) -> Vec<u64> {
    let content = Content::new(seed, len, piece_length);
    let mut world = World::new(seed);
    let access = Access::symmetric(1_000_000_000).latency(Duration::from_micros(25));
    let disk = DiskSpeed { seek: Duration::from_micros(10), rate: 2_000_000_000 };
    let mut add = |role| world.add_with(&content, role, access, disk, |_| {});
    let nodes: Vec<_> =
        [Role::Seed, Role::Leech, Role::Leech, Role::Leech].into_iter().map(&mut add).collect();
    for (n, node) in nodes.iter().enumerate() {
        nodes[..n].iter().for_each(|other| world.introduce(*node, *other));
    }
    assert!(world.run_until_complete(&nodes[1..], Time::from_secs(1)).is_some(), "seed {seed}");
    let until = world.now + Duration::from_secs(1);
    world.run_until(until, |_| false);
    nodes[1..].iter().map(|node| status(&world, *node).totals.wasted.div_ceil(16 * 1024)).collect()
}

#[test]
fn small_torrents_among_peers_as_fast_as_memory_waste_under_one_percent() {
    for (len, piece_length) in
        [(MIB, 16 * 1024), (3 * MIB, 64 * 1024), (3 * MIB, 256 * 1024), (8 * MIB, 256 * 1024)]
    {
        let blocks = (len / (16 * 1024)) as u64;
        let (mut all, mut most) = (0, 0);
        for seed in 0..8 {
            let wasted = blocks_wasted_on_one_machine(seed, len, piece_length);
            all += wasted.iter().sum::<u64>();
            most = most.max(wasted.into_iter().max().unwrap_or(0));
        }
        // One block of a torrent of 64 is more than one percent.
        assert!(all * 100 < 24 * blocks, "{all} of {} blocks twice", 24 * blocks);
        assert!(most <= (blocks / 100).max(1), "{most} of {blocks} blocks twice");
    }
}

#[test]
fn peers_that_fall_silent_at_the_end_hold_it_up_for_moments_only() {
    for (seed, answers) in [(0, 0), (1, 1), (2, 20), (3, 60), (4, 90)] {
        let content = Content::new(seed, 3 * MIB, 64 * 1024);
        let mut world = World::new(seed);
        let access = Access::symmetric(100_000_000).latency(Duration::from_micros(100));
        let leech = world.add(&content, Role::Leech, access);
        let honest = world.add(&content, Role::Seed, access);
        let mut left = answers;
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(_) => {
                line.say(Message::HaveAll);
                line.say(Message::Unchoke);
            }
            Heard::Message(Message::Request(request)) if left > 0 => {
                left -= 1;
                line.serve(request);
            }
            _ => {}
        };
        let (silent, _) = Scripted::new(&content).enter(&mut world, access, script);
        world.introduce(leech, silent);
        world.introduce(leech, honest);
        let took = world.run_until_complete(&[leech], Time::from_secs(60)).expect("complete");
        assert!(took < Duration::from_secs(2), "silent after {answers} answers: {took:?}");
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

/// The content has 4 MiB, which takes each node ten seconds to send once: less than two turns of the choker. UNCHOKE_SWARM_MIB
/// gives it more, and takes as much longer.
#[test]
fn two_hundred_nodes_finish_near_the_fluid_bound() {
    const NODES: usize = 200;
    const UP: u64 = 400_000;
    let more = std::env::var("UNCHOKE_SWARM_MIB").ok().and_then(|mib| mib.parse::<usize>().ok());
    let len = more.unwrap_or(4) * MIB;
    let builder = Builder::single("content.bin", len as u64).piece_length(32 * 1024);
    let content = Content::build(3, len, builder.tracker("http://tracker.example/announce"));
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
    let once = len as f64 / UP as f64;
    let all = (NODES * len) as f64 / ((NODES + 1) as u64 * UP) as f64;
    let factor = took.as_secs_f64() / once.max(all);
    let given = status(&world, seed).totals.uploaded as f64 / len as f64;
    println!("{factor:.2} times the bound; the seed gave {given:.2} copies");
    assert!(factor < 1.75, "{took:?} is {factor:.2} times the bound");
    assert!(given < 1.65, "the seed gave {given:.2} copies");
    world.check();
}
