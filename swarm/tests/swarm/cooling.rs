//! Torrents that are put back to their cold form, and opened again.

use std::time::Duration;

use swarm::engine::tracker::Event as Announced;
use swarm::engine::{Activity, Event, Time, TorrentStatus};
use swarm::sim::{Access, Content, DiskSpeed, NodeId, Role, World};

use super::arena::{PIECE, PIECES};

const TRACKER: &str = "http://tracker.example/announce";
const WAIT: Duration = Duration::from_secs(600);

fn content() -> Content {
    let len = (PIECES * PIECE) as usize;
    let builder = metainfo::Builder::single("content.bin", len as u64).piece_length(PIECE);
    Content::build(1, len, builder.tracker(TRACKER))
}

fn node(world: &mut World, content: &Content, role: Role) -> NodeId {
    world.add_with(content, role, Access::default(), DiskSpeed::default(), |config| {
        config.cool_after = Some(WAIT);
        config.pex = false;
    })
}

fn status(world: &World, id: NodeId) -> TorrentStatus {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs")
}

/// When it was told to be idle.
fn idle(world: &World, id: NodeId) -> Vec<Time> {
    let told = world.node(id).events.iter();
    told.filter(|(_, event)| matches!(event, Event::Idle { .. })).map(|(at, _)| *at).collect()
}

/// Whether it was put back.
fn cool(world: &mut World, id: NodeId) -> bool {
    let (now, torrent) = (world.now, world.node(id).torrent);
    let store = world.node_mut(id).engine.cool(now, torrent);
    world.touch(id);
    store.is_some()
}

#[test]
fn a_seed_that_nobody_needs_is_put_back_and_opened_for_the_next_peer_with_its_totals() {
    let content = content();
    let mut world = World::new(1);
    let seed = node(&mut world, &content, Role::Seed);
    let first = world.add(&content, Role::Leech, Access::default());
    assert!(world.run_until_complete(&[first], Time::from_secs(60)).is_some());
    let sent = status(&world, seed).totals;
    assert!(sent.uploaded >= u64::from(PIECES * PIECE));
    world.run_until(Time::from_secs(3600), |world| !idle(world, seed).is_empty());
    let at = idle(&world, seed)[0];
    assert!(at >= Time::ZERO + WAIT && at < Time::from_secs(1300), "{at:?}");
    assert!(cool(&mut world, seed));
    let cold = status(&world, seed);
    assert_eq!(cold.activity, Activity::Cold { finished: true });
    assert_eq!((cold.done, cold.pieces_done, cold.pieces), (u64::from(PIECES * PIECE), PIECES, PIECES));
    assert_eq!(cold.totals, sent, "what was moved is not forgotten");
    assert!(!cool(&mut world, seed), "it is cold already");
    world.check();
    // It is announced as a seed all the time, and opened for the next one.
    let second = world.add(&content, Role::Leech, Access::default());
    let end = world.now + Duration::from_secs(3600);
    assert!(world.run_until_complete(&[second], end).is_some());
    world.check();
    assert_eq!(
        world.node(seed).events.iter().filter(|(_, e)| matches!(e, Event::Complete { .. })).count(),
        1
    );
    let addr = world.addr(seed);
    let told = world.tracker(TRACKER).announces.iter().filter(|(_, from, _)| *from == addr);
    assert!(told.skip(1).all(|(_, _, event)| *event == Announced::None), "it neither stopped nor started");
}

#[test]
fn what_has_peers_wants_pieces_or_was_just_needed_is_not_idle() {
    let content = content();
    let mut world = World::new(2);
    // Nobody has it.
    let leech = node(&mut world, &content, Role::Leech);
    let seed = node(&mut world, &Content::new(5, 1 << 20, 1 << 16), Role::Seed);
    assert!(!cool(&mut world, seed), "it was opened just now");
    world.run_until(Time::from_secs(500), |_| false);
    let (now, torrent) = (world.now, world.node(seed).torrent);
    world.node_mut(seed).engine.needed(now, torrent);
    world.run_until(Time::from_secs(1050), |_| false);
    assert_eq!((idle(&world, seed), idle(&world, leech)), (vec![], vec![]));
    world.run_until(Time::from_secs(1150), |_| false);
    assert_eq!(idle(&world, seed), [now + WAIT]);
    // It is asked for between the word and the deed.
    let now = world.now;
    world.node_mut(seed).engine.needed(now, torrent);
    assert!(!cool(&mut world, seed));
    world.run_until(Time::from_secs(4000), |_| false);
    assert!(!cool(&mut world, leech) && idle(&world, leech).is_empty());
    assert_eq!(status(&world, leech).activity, Activity::Downloading);
    let now = world.now;
    world.node_mut(seed).engine.recheck(now, torrent);
    assert!(!cool(&mut world, seed), "it is being checked");
    world.check();
}

#[test]
fn a_paused_seed_is_put_back_and_stays_paused() {
    let content = content();
    let mut world = World::new(3);
    let seed = node(&mut world, &content, Role::Seed);
    let torrent = world.node(seed).torrent;
    world.node_mut(seed).engine.pause(Time::ZERO, torrent);
    world.touch(seed);
    world.run_until(Time::from_secs(700), |_| false);
    assert_eq!(idle(&world, seed).len(), 1);
    assert!(cool(&mut world, seed));
    assert_eq!(status(&world, seed).activity, Activity::Paused);
    let now = world.now;
    world.node_mut(seed).engine.resume(now, torrent);
    world.touch(seed);
    assert_eq!(status(&world, seed).activity, Activity::Cold { finished: true });
    let leech = world.add(&content, Role::Leech, Access::default());
    let end = world.now + Duration::from_secs(3600);
    assert!(world.run_until_complete(&[leech], end).is_some());
    world.check();
}
