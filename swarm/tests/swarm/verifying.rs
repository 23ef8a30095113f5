//! Downloads that are read back before they count as complete.

use std::io::ErrorKind;

use storage::Operation;
use swarm::engine::{Activity, Event, Time, TorrentStatus};
use swarm::sim::{Access, Content, Failing, NodeId, Role, World};

const MIB: usize = 1 << 20;

/// A seed, and who reads back what it fetches of it: 32 pieces.
fn pair(seed: u64, role: Role) -> (World, NodeId, NodeId) {
    let content = Content::new(seed, 2 * MIB, 64 * 1024);
    let mut world = World::new(seed);
    let from = world.add(&content, Role::Seed, Access::symmetric(1_000_000));
    let to = world.add(&content, role, Access::symmetric(1_000_000));
    world.introduce(to, from);
    (world, from, to)
}

fn status(world: &World, id: NodeId) -> TorrentStatus {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs")
}

/// What was told of it that matters here, in order.
fn told(world: &World, id: NodeId) -> Vec<&Event> {
    let told = world.node(id).events.iter().map(|(_, event)| event);
    told.filter(|event| matches!(event, Event::Verified { .. } | Event::Complete { .. })).collect()
}

/// Damages a piece behind everybody's back when so many are there.
fn damage(world: &mut World, id: NodeId, piece: u32, when: u32) {
    assert!(world.run_until(Time::from_secs(60), |world| status(world, id).pieces_done >= when));
    let geometry = world.node(id).content.torrent.geometry();
    let piece = geometry.piece(piece).expect("it has 32 pieces");
    assert!(world.node(id).engine.have(world.node(id).torrent).is_some_and(|have| have.get(piece.get())));
    world.node(id).store.corrupt(piece, 4321);
}

/// The first piece that is there.
fn first(world: &World, id: NodeId) -> u32 {
    let have = world.node(id).engine.have(world.node(id).torrent).expect("it is open");
    have.iter_ones().next().expect("something is there")
}

#[test]
fn a_download_is_complete_when_it_was_read_back() {
    let (mut world, _, leech) = pair(1, Role::Verifying);
    let is_checked = |world: &World| matches!(status(world, leech).activity, Activity::Checking { .. });
    assert!(world.run_until(Time::from_secs(60), is_checked));
    assert_eq!(told(&world, leech), [] as [&Event; 0], "it is not complete yet");
    world.run_until_complete(&[leech], Time::from_secs(60)).expect("complete");
    let torrent = world.node(leech).torrent;
    assert_eq!(told(&world, leech), [&Event::Verified { torrent, lost: 0 }, &Event::Complete { torrent }]);
    assert_eq!(status(&world, leech).totals.downloaded, 2 * MIB as u64);
    world.check();
}

#[test]
fn what_was_damaged_between_write_and_completion_is_fetched_anew() {
    let (mut world, _, leech) = pair(2, Role::Verifying);
    assert!(world.run_until(Time::from_secs(60), |world| status(world, leech).pieces_done >= 10));
    let piece = first(&world, leech);
    damage(&mut world, leech, piece, 10);
    world.run_until_complete(&[leech], Time::from_secs(120)).expect("complete");
    let torrent = world.node(leech).torrent;
    let expected = [
        &Event::Verified { torrent, lost: 1 },
        &Event::Verified { torrent, lost: 0 },
        &Event::Complete { torrent },
    ];
    assert_eq!(told(&world, leech), expected);
    assert_eq!(status(&world, leech).totals.downloaded, 2 * MIB as u64 + 64 * 1024);
    assert_eq!(status(&world, leech).activity, Activity::Seeding);
    world.check();
}

#[test]
fn whoever_does_not_ask_for_it_is_complete_at_once() {
    let (mut world, _, leech) = pair(3, Role::Leech);
    assert!(world.run_until(Time::from_secs(60), |world| status(world, leech).pieces_done >= 10));
    let piece = first(&world, leech);
    damage(&mut world, leech, piece, 10);
    world.run_until_complete(&[leech], Time::from_secs(60)).expect("complete");
    let torrent = world.node(leech).torrent;
    assert_eq!(told(&world, leech), [&Event::Complete { torrent }]);
}

#[test]
fn a_disk_that_cannot_be_read_or_synced_for_a_while_only_delays_it() {
    let (mut world, _, leech) = pair(4, Role::Verifying);
    let is_checked = |world: &World| matches!(status(world, leech).activity, Activity::Checking { .. });
    assert!(world.run_until(Time::from_secs(60), |world| status(world, leech).pieces_done >= 10));
    let sync = Failing { operation: Operation::Sync, nth: 0, lasting: true, kind: ErrorKind::Other };
    world.node(leech).store.fail(Some(sync));
    assert!(!world.run_until(Time::from_secs(90), |world| !told(world, leech).is_empty()));
    world.node(leech).store.fail(None);
    assert!(world.run_until(Time::from_secs(300), is_checked));
    let geometry = world.node(leech).content.torrent.geometry();
    let piece = geometry.piece(31).expect("it has 32 pieces");
    world.node(leech).store.break_piece(piece);
    let end = world.now + std::time::Duration::from_secs(20);
    let is_complete = |world: &World| world.node(leech).completed.is_some();
    assert!(!world.run_until(end, is_complete), "a piece cannot be read");
    world.node(leech).store.mend();
    world.run_until_complete(&[leech], Time::from_secs(900)).expect("complete");
    let torrent = world.node(leech).torrent;
    let told = told(&world, leech);
    assert!(
        told.ends_with(&[&Event::Verified { torrent, lost: 0 }, &Event::Complete { torrent }]),
        "{told:?}"
    );
    world.check();
}
