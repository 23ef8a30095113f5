use swarm::engine::Time;
use swarm::engine::picker::Priority;
use swarm::sim::{Access, Content, Role, World};

#[test]
fn only_what_is_wanted_is_fetched_and_more_when_more_is_wanted() {
    let content = Content::new(5, 3 << 20, 64 * 1024);
    let mut world = World::new(5);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    let key = world.node(leech).torrent;
    let pieces: Vec<_> = content.torrent.geometry().pieces().collect();
    let now = world.now;
    let skipped = pieces.iter().skip(8).map(|piece| (*piece, Priority::Skip));
    world.node_mut(leech).engine.set_priorities(now, key, skipped);
    world.introduce(leech, seed);

    let status = |world: &World| world.node(leech).engine.torrent_status(world.now, key).unwrap();
    assert!(world.run_until(Time::from_secs(60), |world| status(world).activity.is_seeding()));
    assert_eq!((status(&world).pieces_done, status(&world).done), (8, 8 * 64 * 1024));
    world.check();

    let now = world.now;
    let all = pieces.iter().map(|piece| (*piece, Priority::Normal));
    world.node_mut(leech).engine.set_priorities(now, key, all);
    assert!(!status(&world).activity.is_seeding());
    world.check();
    let everything = pieces.len() as u32;
    assert!(world.run_until(Time::from_secs(120), |world| status(world).pieces_done == everything));
    world.check();
}
