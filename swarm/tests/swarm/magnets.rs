//! Torrents of which only the hashes are known at first (BEP 9).

use std::time::Duration;

use swarm::engine::picker::Priority;
use swarm::engine::{Activity, Time};
use swarm::sim::{Access, Content, Role, World};

use super::arena::{PIECE, PIECES};

fn content(seed: u64) -> Content {
    Content::new(seed, (PIECES * PIECE) as usize, PIECE)
}

#[test]
fn a_magnet_and_one_seed_end_in_a_complete_copy() {
    let content = content(1);
    let mut world = World::new(1);
    let seed = world.add(&content, Role::Seed, Access::default());
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let node = world.node(magnet);
    let status = node.engine.torrent_status(world.now, node.torrent).unwrap();
    assert_eq!(status.activity, Activity::Metadata { have: 0, pieces: None, peers: 0 });
    world.introduce(magnet, seed);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some());
    world.check();
    let status = |id| world.node(id).engine.torrent_status(world.now, world.node(id).torrent).unwrap();
    assert_eq!(status(magnet).activity, Activity::Seeding);
    assert_eq!(status(magnet).pieces_done, PIECES);
    assert_eq!(status(magnet).totals.wasted, 0);
}

#[test]
fn what_the_user_chose_before_holds_for_the_first_request() {
    let content = content(2);
    let mut world = World::new(2);
    let seed = world.add(&content, Role::Seed, Access::default());
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let skipped = (0..PIECES).filter(|piece| piece % 4 != 1).map(|piece| (piece, Priority::Skip));
    world.node_mut(magnet).choices = skipped.collect();
    world.introduce(magnet, seed);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some());
    let end = world.now + Duration::from_secs(5);
    world.run_until(end, |_| false);
    let node = world.node(magnet);
    let have: Vec<u32> = node.engine.have(node.torrent).unwrap().iter_ones().collect();
    assert_eq!(have, (0..PIECES).filter(|piece| piece % 4 == 1).collect::<Vec<_>>());
    let status = node.engine.torrent_status(world.now, node.torrent).unwrap();
    assert_eq!(status.totals.downloaded, u64::from(PIECES / 4 * PIECE), "nothing else was asked for");
}

#[test]
fn magnets_get_everything_from_each_other_once_one_knows_more() {
    let content = content(3);
    let mut world = World::new(3);
    let seed = world.add(&content, Role::Seed, Access::symmetric(1_000_000));
    let magnets: Vec<_> =
        (0..5).map(|_| world.add(&content, Role::Magnet, Access::symmetric(1_000_000))).collect();
    // A chain: each knows the one before only, so metadata has to pass through all.
    for pair in magnets.windows(2) {
        world.introduce(pair[1], pair[0]);
    }
    world.introduce(magnets[0], seed);
    assert!(world.run_until_complete(&magnets, Time::from_secs(120)).is_some());
    world.check();
}
