//! Files that somebody removes, replaces or brings back while they are in use.

use std::time::Duration;

use metainfo::Builder;
use storage::Operation;
use swarm::engine::picker::Priority;
use swarm::engine::{Activity, Event, PieceOrder, Time};
use swarm::sim::{Access, Content, Failing, Node, NodeId, Role, SimStore, World};
use wire::peer::Bitfield;

const PIECE: u32 = 64 * 1024;
const FILE: usize = 2 << 20;
/// Pieces of each of the two files.
const PIECES: u32 = FILE as u32 / PIECE;

fn content(seed: u64) -> Content {
    let names = ["a", "b"];
    let builder = names
        .iter()
        .fold(Builder::folder("t"), |builder, name| builder.file([String::from(*name)], FILE as u64));
    Content::build(seed, 2 * FILE, builder.piece_length(PIECE))
}

fn status(world: &World, id: NodeId) -> swarm::engine::TorrentStatus {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs")
}

fn count(world: &World, id: NodeId, fits: fn(&Event) -> bool) -> usize {
    world.node(id).events.iter().filter(|(_, event)| fits(event)).count()
}

fn troubles(world: &World, id: NodeId) -> usize {
    count(world, id, |event| matches!(event, Event::StorageFailed { .. }))
}

fn bans(world: &World, id: NodeId) -> usize {
    count(world, id, |event| matches!(event, Event::PeerBanned { .. }))
}

fn pass(world: &mut World, seconds: u64) {
    world.run_until(world.now + Duration::from_secs(seconds), |_| false);
}

#[test]
fn a_download_whose_file_is_removed_fetches_it_again_and_blames_nobody() {
    for (seed, replaced) in [(1, false), (2, true), (3, false), (4, true)] {
        let content = content(seed);
        let mut world = World::new(seed);
        let from = world.add(&content, Role::Seed, Access::symmetric(400_000));
        let to = world.add(&content, Role::Leech, Access::symmetric(400_000));
        world.introduce(to, from);
        world.run_until(Time::from_secs(60), |world| status(world, to).pieces_done > PIECES);
        let before = status(&world, to).pieces_done;
        let store = world.node(to).store.clone();
        if replaced {
            store.replace_file(0);
        } else {
            store.remove_file(0);
        }
        let end = world.now + Duration::from_secs(8);
        let noticed = |world: &World| status(world, to).pieces_done < before;
        assert!(world.run_until(end, noticed) || replaced, "seed {seed}: lost pieces are still claimed");
        let end = world.now + Duration::from_secs(200);
        let whole = |world: &World| {
            status(world, to).pieces_done == 2 * PIECES
                && content.torrent.geometry().pieces().all(|piece| world.node(to).store.is_right(piece))
        };
        assert!(world.run_until(end, whole), "seed {seed}: {:?}", status(&world, to));
        assert_eq!((troubles(&world, to), bans(&world, to)), (usize::from(!replaced), 0), "seed {seed}");
        let most = (2 * FILE + FILE + FILE / 4) as u64;
        assert!(status(&world, to).totals.downloaded <= most, "seed {seed}: only what was lost comes again");
    }
}

#[test]
fn a_download_is_not_complete_while_something_of_it_is_doubtful() {
    let deeds = [SimStore::remove_file, SimStore::replace_file, SimStore::cut_file];
    for (seed, deed) in (31..).zip(deeds) {
        let content = content(seed);
        let mut world = World::new(seed);
        let from = world.add(&content, Role::Seed, Access::symmetric(4_000_000));
        let to = world.add(&content, Role::Leech, Access::symmetric(4_000_000));
        world.introduce(to, from);
        world.run_until(Time::from_secs(60), |world| status(world, to).pieces_done + 3 > 2 * PIECES);
        let broken = Failing {
            operation: Operation::Write,
            nth: 0,
            lasting: false,
            kind: std::io::ErrorKind::UnexpectedEof,
        };
        // A write notices it.
        world.node(to).store.fail(Some(broken));
        deed(&world.node(to).store, 0);
        let is_complete =
            |world: &World| count(world, to, |event| matches!(event, Event::Complete { .. })) > 0;
        let end = world.now + Duration::from_secs(200);
        assert!(world.run_until(end, is_complete), "seed {seed}: {:?}", status(&world, to));
        let wrong: Vec<_> =
            content.torrent.geometry().pieces().filter(|p| !world.node(to).store.is_right(*p)).collect();
        assert_eq!((status(&world, to).pieces_done, wrong), (2 * PIECES, Vec::new()), "seed {seed}");
        let most = (2 * FILE + FILE + FILE / 4) as u64;
        assert!(status(&world, to).totals.downloaded <= most, "seed {seed}: only what was lost comes again");
        assert_eq!(bans(&world, to), 0, "seed {seed}");
    }
}

#[test]
fn a_seed_whose_file_is_removed_serves_the_rest_and_goes_on_when_it_is_back() {
    let content = content(11);
    let mut world = World::new(11);
    let from = world.add(&content, Role::Seed, Access::symmetric(500_000));
    let to = world.add(&content, Role::Leech, Access::symmetric(500_000));
    world.introduce(to, from);
    world.run_until(Time::from_secs(30), |world| status(world, to).pieces_done > 4);
    world.node(from).store.remove_file(1);
    let end = world.now + Duration::from_secs(8);
    assert!(world.run_until(end, |world| status(world, from).pieces_done == PIECES));
    // Minutes later it is still there that it waits for it, and nothing was fetched.
    pass(&mut world, 300);
    assert!(status(&world, to).pieces_done >= PIECES);
    assert_eq!((status(&world, from).pieces_done, status(&world, from).unreadable), (PIECES, PIECES));
    assert_eq!((troubles(&world, from), status(&world, from).totals.downloaded), (1, 0));
    world.node(from).store.restore_file(1);
    let end = world.now + Duration::from_secs(60);
    assert!(world.run_until_complete(&[to], end).is_some());
    assert_eq!(status(&world, from).pieces_done, 2 * PIECES);
    assert_eq!(count(&world, from, |event| matches!(event, Event::StorageRecovered { .. })), 1);
    assert_eq!((bans(&world, from), bans(&world, to)), (0, 0));
}

#[test]
fn a_seed_takes_up_what_is_right_again_while_others_have_it() {
    let content = content(13);
    let mut world = World::new(13);
    let from = world.add(&content, Role::Seed, Access::symmetric(50_000));
    let mut half = Bitfield::new(2 * PIECES);
    (PIECES..2 * PIECES).for_each(|piece| assert!(half.set(piece)));
    let to = world.add(&content, Role::Partial(half), Access::symmetric(50_000));
    world.introduce(to, from);
    world.run_until(Time::from_secs(30), |world| status(world, to).pieces_done > PIECES);
    world.node(from).store.replace_file(1);
    let end = world.now + Duration::from_secs(20);
    assert!(world.run_until(end, |world| status(world, from).pieces_done == PIECES));
    world.node(from).store.restore_file(1);
    let end = world.now + Duration::from_secs(20);
    assert!(world.run_until(end, |world| status(world, from).pieces_done == 2 * PIECES));
    assert!(world.run_until_complete(&[to], end + Duration::from_secs(60)).is_some());
    assert_eq!((bans(&world, from), bans(&world, to)), (0, 0));
}

#[test]
fn a_seed_of_a_part_fetches_nothing_whatever_is_asked_of_it() {
    let content = content(14);
    let mut world = World::new(14);
    let mut half = Bitfield::new(2 * PIECES);
    (PIECES..2 * PIECES).for_each(|piece| assert!(half.set(piece)));
    let from = world.add(&content, Role::SeedOf(half), Access::symmetric(500_000));
    let whole = world.add(&content, Role::Seed, Access::symmetric(500_000));
    let to = world.add(&content, Role::Leech, Access::symmetric(500_000));
    world.introduce(from, whole);
    world.introduce(to, from);
    pass(&mut world, 10);
    let (now, pieces) = (world.now, content.torrent.geometry().pieces());
    let Node { engine, torrent, .. } = world.node_mut(from);
    engine.set_priorities(now, *torrent, pieces.map(|piece| (piece, Priority::High)));
    engine.set_order(now, *torrent, PieceOrder::Sequential);
    engine.set_deadlines(now, *torrent, content.torrent.geometry().pieces().map(|p| (p, now)).collect());
    world.touch(from);
    pass(&mut world, 60);
    let status = |id| status(&world, id);
    assert_eq!((status(from).totals.downloaded, status(from).pieces_done), (0, PIECES));
    assert_eq!((status(to).pieces_done, status(from).activity), (PIECES, Activity::Seeding));
}

#[test]
fn what_a_seed_has_in_a_file_that_was_replaced_is_checked_before_it_is_served() {
    let content = content(12);
    let mut world = World::new(12);
    let from = world.add(&content, Role::Seed, Access::symmetric(500_000));
    let to = world.add(&content, Role::Leech, Access::symmetric(500_000));
    world.introduce(to, from);
    world.run_until(Time::from_secs(30), |world| status(world, to).pieces_done > 4);
    world.node(from).store.replace_file(1);
    pass(&mut world, 6);
    let late = world.add(&content, Role::Leech, Access::symmetric(500_000));
    world.introduce(late, from);
    pass(&mut world, 120);
    assert_eq!(status(&world, from).pieces_done, PIECES, "found by looking at it");
    assert_eq!((bans(&world, late), status(&world, late).totals.wasted), (0, 0));
}
