//! Limits of rates and connections.

use std::time::Duration;

use swarm::engine::{Direction, Time};
use swarm::sim::{Access, Content, DiskSpeed, NodeId, Role, World};

const MIB: usize = 1 << 20;

fn downloaded(world: &World, id: NodeId) -> u64 {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs").totals.downloaded
}

/// Bytes per second that the leech gets between 3 s and 13 s.
fn rate(limit: impl FnOnce(&mut World, NodeId, NodeId)) -> f64 {
    let content = Content::new(1, 32 * MIB, 256 * 1024);
    let mut world = World::new(1);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    limit(&mut world, seed, leech);
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(3), |_| false);
    let before = downloaded(&world, leech);
    world.run_until(Time::from_secs(13), |_| false);
    (downloaded(&world, leech) - before) as f64 / 10.0
}

#[test]
fn each_limit_is_kept_and_used() {
    for direction in [Direction::Read, Direction::Write] {
        let pick = |seed: NodeId, leech: NodeId| if direction == Direction::Read { leech } else { seed };
        for limit in [50_000, 250_000, 1_000_000] {
            let session = rate(|world, seed, leech| {
                let now = world.now;
                world.node_mut(pick(seed, leech)).engine.set_session_limit(now, direction, Some(limit));
            });
            let torrent = rate(|world, seed, leech| {
                let now = world.now;
                let node = world.node_mut(pick(seed, leech));
                node.engine.set_torrent_limit(now, node.torrent, direction, Some(limit));
            });
            for (got, of) in [(session, "session"), (torrent, "torrent")] {
                let part = got / limit as f64;
                assert!((0.85..1.02).contains(&part), "{direction:?} {limit} of the {of}: {got}");
            }
        }
    }
    let free = rate(|_, _, _| {});
    assert!(free > 1_900_000.0, "without a limit: {free}");
}

#[test]
fn a_limit_holds_for_all_peers_together_and_is_shared_fairly() {
    let content = Content::new(2, 16 * MIB, 256 * 1024);
    let mut world = World::new(2);
    let seed = world.add(&content, Role::Seed, Access::default());
    let now = world.now;
    world.node_mut(seed).engine.set_session_limit(now, Direction::Write, Some(400_000));
    let leeches: Vec<_> = (0..4)
        .map(|_| {
            world.add_with(&content, Role::Leech, Access::default(), DiskSpeed::default(), |config| {
                config.upload_slots = Some(0);
                config.pex = false;
            })
        })
        .collect();
    leeches.iter().for_each(|leech| world.introduce(*leech, seed));
    world.run_until(Time::from_secs(30), |_| false);
    let got: Vec<_> = leeches.iter().map(|id| downloaded(&world, *id)).collect();
    let sum: u64 = got.iter().sum();
    assert!((9_500_000..=12_100_000).contains(&sum), "{got:?}");
    let least = got.iter().min().copied().unwrap_or(0);
    assert!(least * 4 > sum / 2, "nobody is left out: {got:?}");
}

#[test]
fn connection_limits_are_kept() {
    let content = Content::new(3, 2 * MIB, 64 * 1024);
    let mut world = World::new(3);
    let seed =
        world.add_with(&content, Role::Seed, Access::symmetric(100_000), DiskSpeed::default(), |config| {
            config.max_torrent_connections = 5;
        });
    let leeches: Vec<_> = (0..20)
        .map(|_| {
            world.add_with(&content, Role::Leech, Access::default(), DiskSpeed::default(), |config| {
                config.max_connections = 4;
            })
        })
        .collect();
    for (n, leech) in leeches.iter().enumerate() {
        world.introduce(*leech, seed);
        leeches[..n].iter().for_each(|other| world.introduce(*leech, *other));
    }
    for _ in 0..40 {
        let until = world.now + Duration::from_millis(500);
        world.run_until(until, |_| false);
        let peers = |id: NodeId| {
            let node = world.node(id);
            node.engine.peers(world.now, node.torrent).len()
        };
        assert!(peers(seed) <= 5);
        let most = leeches.iter().map(|id| peers(*id)).max();
        assert!(most <= Some(4), "{most:?}");
    }
    assert!(world.run_until_complete(&leeches, Time::from_secs(600)).is_some());
}
