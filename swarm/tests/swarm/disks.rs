//! Disks that are slow, broken or full.

use std::time::Duration;

use swarm::engine::{Activity, Event, Time};
use swarm::sim::{Access, Content, DiskSpeed, NodeId, Role, World};

const MIB: usize = 1 << 20;

fn status(world: &World, id: NodeId) -> swarm::engine::TorrentStatus {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs")
}

fn bans(world: &World, id: NodeId) -> usize {
    world.node(id).events.iter().filter(|(_, event)| matches!(event, Event::PeerBanned { .. })).count()
}

#[test]
fn a_slow_disk_holds_its_peers_back_and_memory_stays_bounded() {
    let content = Content::new(1, 8 * MIB, 256 * 1024);
    let mut world = World::new(1);
    let slow = DiskSpeed { seek: Duration::from_millis(1), rate: 500_000 };
    let seeds: Vec<_> = (0..4).map(|_| world.add(&content, Role::Seed, Access::default())).collect();
    let leech = world.add_with(&content, Role::Leech, Access::symmetric(8_000_000), slow, |config| {
        config.write_credit = 512 * 1024;
    });
    seeds.iter().for_each(|seed| world.introduce(leech, *seed));
    let took = world.run_until_complete(&[leech], Time::from_secs(200)).expect("complete");
    assert!(took < Duration::from_secs(30), "the disk is used all the time: {took:?}");
    let held = world.node(leech).most_held;
    assert!(held < MIB, "{held} bytes held");
    let snubbed = world.node(leech).events.iter().any(|(_, event)| matches!(event, Event::PeerLeft { .. }));
    assert!(!snubbed || world.node(leech).completed.is_some());
    assert!(
        status(&world, leech).totals.wasted < (8 * MIB / 50) as u64,
        "{:?}",
        status(&world, leech).totals
    );
}

#[test]
fn a_disk_error_bans_nobody_and_makes_no_loop() {
    let content = Content::new(2, 4 * MIB, 64 * 1024);
    let mut world = World::new(2);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    let other = world.add(&content, Role::Leech, Access::symmetric(500_000));
    let broken = content.torrent.geometry().piece(20).expect("it has 64 pieces");
    world.node(leech).store.break_piece(broken);
    world.introduce(leech, seed);
    world.introduce(other, leech);
    world.run_until(Time::from_secs(300), |_| false);
    assert!(matches!(status(&world, leech).activity, Activity::Failed(_)));
    assert_eq!((bans(&world, leech), bans(&world, seed)), (0, 0));
    let failed = world.node(leech).events.iter().filter(|(_, e)| matches!(e, Event::StorageFailed { .. }));
    assert_eq!(failed.count(), 1, "it is told once");
    assert!(status(&world, leech).totals.downloaded <= 2 * 4 * MIB as u64);
    // What is there is still served.
    assert_eq!(status(&world, other).pieces_done, status(&world, leech).pieces_done);
    assert!(status(&world, other).pieces_done > 0);
    world.check();
}

#[test]
fn a_full_disk_stops_the_download_and_nothing_else() {
    let content = Content::new(3, 4 * MIB, 64 * 1024);
    let mut world = World::new(3);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    world.node(leech).store.fill_up_after(Some(MIB as u64));
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(120), |_| false);
    assert!(matches!(status(&world, leech).activity, Activity::Failed(_)));
    assert!(status(&world, leech).pieces_done <= 16);
    assert!(status(&world, leech).totals.downloaded < 3 * MIB as u64);
    assert_eq!(bans(&world, leech), 0);
    world.check();
}

#[test]
fn a_seed_that_cannot_read_a_piece_says_so_and_another_one_helps() {
    let content = Content::new(4, 2 * MIB, 64 * 1024);
    let mut world = World::new(4);
    let bad = world.add(&content, Role::Seed, Access::default());
    let good = world.add(&content, Role::Seed, Access::symmetric(100_000));
    let leech = world.add(&content, Role::Leech, Access::default());
    let geometry = content.torrent.geometry();
    for index in [3, 9, 31] {
        world.node(bad).store.break_piece(geometry.piece(index).expect("it has 32 pieces"));
    }
    world.introduce(leech, bad);
    world.run_until(Time::from_secs(60), |_| false);
    assert_eq!(status(&world, leech).pieces_done, 29);
    assert_eq!(bans(&world, leech), 0);
    world.introduce(leech, good);
    assert!(world.run_until_complete(&[leech], Time::from_secs(120)).is_some());
    assert_eq!(bans(&world, leech), 0);
}
