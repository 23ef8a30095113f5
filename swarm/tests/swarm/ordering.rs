//! Orders, priorities of files and deadlines.

use std::time::Duration;

use metainfo::Builder;
use swarm::engine::picker::Priority;
use swarm::engine::{Event, PieceOrder, Time, file_priorities};
use swarm::sim::{Access, Content, NodeId, Role, World};

const PIECE: usize = 64 * 1024;

/// The pieces of a node in the order in which they passed.
fn passed(world: &World, id: NodeId) -> Vec<u32> {
    let done = |(_, event): &(Time, Event)| match event {
        Event::PieceDone { piece, .. } => Some(piece.get()),
        _ => None,
    };
    world.node(id).events.iter().filter_map(done).collect()
}

fn pair(content: &Content, seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let access = Access::symmetric(400_000);
    let from = world.add(content, Role::Seed, access);
    let to = world.add(content, Role::Leech, access);
    (world, from, to)
}

#[test]
fn a_sequential_torrent_comes_from_its_beginning_to_its_end() {
    let content = Content::new(1, 64 * PIECE, PIECE as u32);
    let (mut world, from, to) = pair(&content, 1);
    let (now, torrent) = (world.now, world.node(to).torrent);
    world.node_mut(to).engine.set_order(now, torrent, PieceOrder::Sequential);
    world.introduce(to, from);
    assert!(world.run_until_complete(&[to], Time::from_secs(60)).is_some());
    let order = passed(&world, to);
    // But for what the seed allowed while it choked (BEP 6).
    let astray = order.iter().zip(0..).filter(|(piece, at)| piece.abs_diff(*at) > 6).count();
    assert!(astray <= 2, "{order:?}");
}

#[test]
fn the_ends_of_files_come_first_if_wanted_and_may_still_be_skipped() {
    let pieces = [10, 20, 30];
    let mut builder = Builder::folder("files");
    for (index, count) in pieces.iter().enumerate() {
        builder = builder.file([format!("{index}.bin")], (count * PIECE) as u64);
    }
    let content = Content::build(2, 60 * PIECE, builder.piece_length(PIECE as u32));
    let (mut world, from, to) = pair(&content, 2);
    let (now, torrent) = (world.now, world.node(to).torrent);
    let engine = &mut world.node_mut(to).engine;
    engine.set_order(now, torrent, PieceOrder::FirstLast);
    // The second file is not wanted: not even its ends are.
    let files = [Priority::Normal, Priority::Skip, Priority::Low];
    engine.set_priorities(now, torrent, file_priorities(&content.torrent, &files));
    world.introduce(to, from);
    assert!(world.run_until_complete(&[to], Time::from_secs(60)).is_some());
    let order = passed(&world, to);
    // But for what the seed allowed while it choked (BEP 6).
    let first = &order[..6];
    assert!([0, 9, 30, 59].iter().all(|end| first.contains(end)), "{order:?}");
    assert!(order.iter().all(|piece| !(10..30).contains(piece)));
    let normal = order[..14].iter().filter(|piece| **piece < 10).count();
    assert!(normal >= 9, "normal before low: {order:?}");
    // The choice made for the ends is remembered.
    let now = world.now;
    let engine = &mut world.node_mut(to).engine;
    engine.set_order(now, torrent, PieceOrder::Rarest);
    world.touch(to);
    world.run_until(now + Duration::from_secs(20), |_| false);
    assert_eq!(passed(&world, to).len(), 40);
}

#[test]
fn files_that_share_a_piece_give_it_the_highest_of_their_priorities() {
    let mut builder = Builder::folder("files");
    for (name, len) in [("a", PIECE * 3 / 2), ("b", PIECE), ("c", PIECE / 2), ("d", 0)] {
        builder = builder.file([name], len as u64);
    }
    let content = Content::build(3, 3 * PIECE, builder.piece_length(PIECE as u32));
    let priorities = |files: &[Priority]| -> Vec<Priority> {
        file_priorities(&content.torrent, files).into_iter().map(|(_, priority)| priority).collect()
    };
    use Priority::{High, Low, Normal, Skip};
    assert_eq!(priorities(&[Skip, High, Low, High]), [Skip, High, High]);
    assert_eq!(priorities(&[Low, Skip, Skip, Skip]), [Low, Low, Skip]);
    assert_eq!(priorities(&[]), [Normal, Normal, Normal]);
    assert_eq!(priorities(&[Skip, Skip, Skip, High]), [Skip, Skip, Skip]);
}

#[test]
fn pieces_with_deadlines_come_in_time_though_peers_are_slow_or_stall() {
    for seed in 0..6 {
        let content = Content::new(seed, 400 * PIECE, PIECE as u32);
        let mut world = World::new(seed);
        let reader = world.add(&content, Role::Leech, Access::symmetric(2_000_000));
        let mut others = Vec::new();
        for at in 0..6 {
            // Some are very slow, and one goes away in the middle.
            let rate = if at < 3 { 400_000 } else { 4_000 };
            others.push(world.add(&content, Role::Seed, Access::symmetric(rate)));
        }
        others.iter().for_each(|other| world.introduce(reader, *other));
        world.run_until(Time::from_secs(10), |_| false);
        // A film at 200 kB/s, from the middle on.
        let (start, torrent) = (world.now, world.node(reader).torrent);
        let geometry = content.torrent.geometry();
        let film: Vec<_> = (200..230)
            .map(|index| geometry.piece(index).expect("it has 400"))
            .zip(0u32..)
            .map(|(piece, at)| (piece, start + Duration::from_secs(3) + Duration::from_millis(330) * at))
            .collect();
        world.node_mut(reader).engine.set_deadlines(start, torrent, film.clone());
        world.touch(reader);
        world.run_until(start + Duration::from_secs(2), |_| false);
        world.switch_off(others[0]);
        world.run_until(start + Duration::from_secs(30), |_| false);
        let events = &world.node(reader).events;
        let late = |(piece, deadline): &&(metainfo::PieceIndex, Time)| {
            let is_it = |e: &Event| matches!(e, Event::PieceDone { piece: p, .. } if p == piece);
            !events.iter().any(|(at, event)| is_it(event) && at <= deadline)
        };
        let late: Vec<_> = film.iter().filter(late).map(|(piece, _)| piece.get()).collect();
        assert!(late.len() <= 2, "seed {seed}: late are {late:?}");
        let node = world.node(reader);
        let totals = node.engine.torrent_status(world.now, torrent).expect("it runs").totals;
        assert!(totals.wasted * 10 < totals.downloaded, "seed {seed}: {totals:?}");
        world.check();
    }
}
