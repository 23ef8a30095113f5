use std::time::Duration;

use swarm::engine::Time;
use swarm::sim::{Access, Content, Role, World};

const MIB: usize = 1 << 20;

#[test]
fn a_leech_takes_everything_from_a_seed() {
    let content = Content::new(1, 4 * MIB + 1234, 256 * 1024);
    let mut world = World::new(1);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    world.introduce(leech, seed);
    let took = world.run_until_complete(&[leech], Time::from_secs(60)).expect("complete within a minute");
    // 4 MiB at 2 MB/s is 2.1 s; handshake, unchoke and slow start take the rest.
    assert!(took < Duration::from_millis(3500), "{took:?}");
    world.check();
}

#[test]
fn rate_limits_are_kept() {
    use swarm::engine::Direction;
    let content = Content::new(2, 2 * MIB, 64 * 1024);
    let mut world = World::new(2);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    let now = world.now;
    world.node_mut(seed).engine.set_session_limit(now, Direction::Write, Some(200_000));
    world.introduce(leech, seed);
    let took = world.run_until_complete(&[leech], Time::from_secs(60)).expect("complete within a minute");
    let rate = (2 * MIB) as f64 / took.as_secs_f64();
    assert!((150_000.0..205_000.0).contains(&rate), "{rate} bytes per second");
}
