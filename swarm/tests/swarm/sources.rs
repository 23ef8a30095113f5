//! Sources of the web-seed kind: they claim ranges and deliver blocks against credit.

use std::time::Duration;

use swarm::engine::{SourceId, Time};
use swarm::sim::{Access, Content, DiskSpeed, NodeId, Role, World};

const MIB: usize = 1 << 20;

/// Lets a source deliver whatever it is let; `spoil` may change the bytes. How many bytes it delivered.
fn deliver(world: &mut World, id: NodeId, source: SourceId, spoil: impl Fn(&mut [u8])) -> usize {
    let now = world.now;
    let node = world.node_mut(id);
    let mut sum = 0;
    while let Some((block, mut data)) = node.engine.source_next(now, source) {
        let piece = block.piece();
        let geometry = node.content.torrent.geometry();
        let range =
            geometry.range_at(piece.get(), block.begin(), block.len(), block.len()).expect("its own block");
        let space = &mut data.space()[..block.len() as usize];
        space.copy_from_slice(node.content.range(range));
        spoil(space);
        sum += space.len();
        node.engine.handle_source_block(now, source, block, data);
    }
    node.ready_sources.clear();
    sum
}

/// Runs until complete, letting the source deliver every 10 ms.
fn run(world: &mut World, id: NodeId, source: SourceId, spoil: impl Fn(&mut [u8])) -> usize {
    let mut sum = 0;
    while world.node(id).completed.is_none() && world.now < Time::from_secs(60) {
        sum += deliver(world, id, source, &spoil);
        let next = world.now + Duration::from_millis(10);
        world.run_until(next, |_| false);
    }
    world.check();
    sum
}

fn world(seed: u64) -> (World, NodeId, SourceId) {
    let content = Content::new(seed, 8 * MIB, 128 * 1024);
    let mut world = World::new(seed);
    let disk = DiskSpeed { rate: 4_000_000, ..DiskSpeed::default() };
    let leech = world.add_with(&content, Role::Leech, Access::default(), disk, |config| {
        config.write_credit = 512 * 1024;
    });
    let now = world.now;
    let node = world.node_mut(leech);
    let source = node.engine.add_source(now, node.torrent, 8).expect("the torrent runs");
    (world, leech, source)
}

#[test]
fn a_source_alone_brings_everything_at_the_speed_of_the_disk() {
    let (mut world, leech, source) = world(1);
    let sum = run(&mut world, leech, source, |_| {});
    assert_eq!(sum, 8 * MIB, "each block once");
    assert!(world.now < Time::from_millis(4_000), "{:?}", world.now);
    let held = world.node(leech).most_held;
    assert!(held < 640 * 1024, "no credit, no block: {held} bytes held");
}

#[test]
fn a_source_and_peers_share_the_work() {
    let (mut world, leech, source) = world(2);
    let content = world.node(leech).content.clone();
    let seed = world.add(&content, Role::Seed, Access::default());
    world.introduce(leech, seed);
    let sum = run(&mut world, leech, source, |_| {});
    assert!(world.node(leech).completed.is_some());
    assert!((MIB..8 * MIB).contains(&sum), "{sum} bytes came from the source");
    let node = world.node(leech);
    let totals = node.engine.torrent_status(world.now, node.torrent).expect("it runs").totals;
    assert!(totals.wasted < MIB as u64 / 4, "{totals:?}");
}

#[test]
fn a_source_of_wrong_data_is_banned_and_peers_finish() {
    let (mut world, leech, source) = world(3);
    let content = world.node(leech).content.clone();
    let seed = world.add(&content, Role::Seed, Access::default());
    world.introduce(leech, seed);
    run(&mut world, leech, source, |data| data[3] ^= 1);
    assert!(world.node(leech).completed.is_some());
    assert_eq!(world.node(leech).banned_sources, [source]);
}
