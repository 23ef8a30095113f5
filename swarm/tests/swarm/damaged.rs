//! A seed of which a part cannot be read: the rest of it comes at full speed.

use std::time::Duration;

use swarm::engine::{Event, Time};
use swarm::sim::{Access, Content, NodeId, Role, Scripted, World};
use wire::peer::Message;

use super::honest;

const PIECE: u32 = 64 * 1024;
const PIECES: u32 = 160;

fn content(seed: u64) -> Content {
    Content::new(seed, (PIECES * PIECE) as usize, PIECE)
}

fn done(world: &World, id: NodeId) -> u32 {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs").pieces_done
}

/// How long it takes until so many pieces are there.
fn time_until(world: &mut World, id: NodeId, pieces: u32) -> Duration {
    let start = world.now;
    let end = start + Duration::from_secs(300);
    let came = world.run_until(end, |world| done(world, id) >= pieces);
    assert!(came, "{} of {pieces} pieces after 300 s", done(world, id));
    world.check();
    world.now - start
}

fn whole(seed: u64) -> Duration {
    let content = content(seed);
    let mut world = World::new(seed);
    let from = world.add(&content, Role::Seed, Access::default());
    let to = world.add(&content, Role::Leech, Access::default());
    world.introduce(to, from);
    time_until(&mut world, to, PIECES)
}

#[test]
fn pieces_that_a_seed_cannot_read_do_not_hold_up_the_others() {
    for seed in 0..3 {
        let content = content(seed);
        let mut world = World::new(seed);
        let from = world.add(&content, Role::Seed, Access::default());
        let to = world.add(&content, Role::Leech, Access::default());
        let broken: Vec<_> = content.torrent.geometry().pieces().skip(40).take(64).collect();
        broken.iter().for_each(|piece| world.node(from).store.break_piece(*piece));
        world.introduce(to, from);
        let took = time_until(&mut world, to, PIECES - 64);
        let all = whole(seed);
        assert!(took < all * 2, "seed {seed}: {took:?}, and {all:?} where nothing is broken");
        let now = world.now;
        world.run_until(now + Duration::from_secs(3), |_| false);
        assert_eq!(done(&world, from), PIECES - 64, "what it cannot read it does not have");
        let node = world.node(from);
        let status = node.engine.torrent_status(world.now, node.torrent).expect("it runs");
        assert_eq!(status.done, u64::from((PIECES - 64) * PIECE));
        let told =
            node.events.iter().filter(|(_, event)| matches!(event, Event::StorageFailed { .. })).count();
        assert_eq!(told, 1);
    }
}

#[test]
fn what_can_be_read_again_is_offered_again() {
    let content = content(7);
    let mut world = World::new(7);
    let from = world.add(&content, Role::Seed, Access::default());
    let to = world.add(&content, Role::Leech, Access::default());
    let broken = content.torrent.geometry().pieces().nth(80).expect("it has more");
    world.node(from).store.break_piece(broken);
    world.introduce(to, from);
    time_until(&mut world, to, PIECES - 1);
    world.node(from).store.mend();
    let took = time_until(&mut world, to, PIECES);
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert_eq!(done(&world, from), PIECES);
}

#[test]
fn a_peer_that_rejects_some_pieces_without_a_word_gives_the_others_at_full_speed() {
    for seed in 10..13 {
        let content = content(seed);
        let mut world = World::new(seed);
        let to = world.add(&content, Role::Leech, Access::default());
        let script = honest::seed(|line, request| match request.index {
            40..88 => line.say(Message::Reject(request)),
            _ => line.serve(request),
        });
        let peer = Scripted::new(&content).dials(world.addr(to));
        let (_, log) = peer.enter(&mut world, Access::default(), script);
        let took = time_until(&mut world, to, PIECES - 48);
        let all = whole(seed);
        assert!(took < all * 5, "seed {seed}: {took:?}, and {all:?} where nothing is rejected");
        // And it is not asked for the rest in a hurry.
        let before = log.borrow().requests.len();
        let now = world.now;
        world.run_until(now + Duration::from_secs(60), |_| false);
        let asked = log.borrow().requests.len() - before;
        assert!((5..=600).contains(&asked), "seed {seed}: {asked} requests in 60 s");
        assert!(world.now > Time::from_secs(60));
    }
}
