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
