//! Torrents with v2 hashes alone: every file begins at a piece, and the last piece of each may be short (BEP 52).

use std::time::Duration;

use metainfo::{Builder, Version};
use swarm::engine::{Event, Time};
use swarm::sim::{Access, Content, Heard, NodeId, Role, Scripted, World};
use wire::peer::{Bitfield, Message, Request};

use super::{crashes, honest};

const PIECE: u32 = 64 * 1024;

/// Files of more than a piece, of one, of a block and less, of a byte, and of nothing; the last one fits its pieces.
const LENGTHS: [usize; 9] = [300_000, 1, 0, 16_384, 16_385, 65_536, 65_537, 7, 131_072];

fn content(seed: u64) -> Content {
    let mut builder = Builder::folder("many").version(Version::V2).piece_length(PIECE);
    for (at, len) in LENGTHS.iter().enumerate() {
        builder = builder.file([format!("{at:03}.bin")], *len as u64);
    }
    Content::build(seed, LENGTHS.iter().sum(), builder)
}

/// Bytes in each file's last piece that is not full.
fn tails() -> Vec<u32> {
    LENGTHS.iter().map(|len| *len as u32 % PIECE).filter(|tail| *tail > 0).collect()
}

fn payload() -> u64 {
    LENGTHS.iter().sum::<usize>() as u64
}

/// What a node counts when it has everything.
fn assert_whole(world: &World, id: NodeId) {
    let node = world.node(id);
    assert!(node.completed.is_some() && node.engine.have(node.torrent).is_some_and(Bitfield::is_full));
    let status = node.engine.torrent_status(world.now, node.torrent).expect("it runs");
    assert_eq!((status.wanted, status.done, status.in_progress), (payload(), payload(), 0));
    let geometry = node.content.torrent.geometry();
    assert!(geometry.pieces().all(|piece| node.store.is_right(piece)));
}

#[test]
fn pieces_that_are_short_in_the_middle_are_transferred_as_they_are() {
    for seed in 0..4 {
        let content = content(seed);
        let mut world = World::new(seed);
        let from = world.add(&content, Role::Seed, Access::default());
        let to = world.add(&content, Role::Leech, Access::default());
        assert_eq!(world.node(to).engine.torrent_id(world.node(to).torrent), Some(content.torrent.id()));
        world.introduce(to, from);
        assert!(world.run_until_complete(&[to], Time::from_secs(60)).is_some(), "seed {seed}");
        world.check();
        assert_whole(&world, to);
        let status = world.node(to).engine.torrent_status(world.now, world.node(to).torrent);
        let totals = status.expect("it runs").totals;
        assert_eq!((totals.downloaded, totals.wasted), (payload(), 0), "seed {seed}");
    }
}

#[test]
fn a_swarm_of_them_shares_what_a_slow_seed_gives() {
    for seed in 10..14 {
        let content = content(seed);
        let mut world = World::new(seed);
        let from = world.add(&content, Role::Seed, Access { up: 100_000, ..Access::default() });
        let others: Vec<_> = (0..4).map(|_| world.add(&content, Role::Leech, Access::default())).collect();
        for (at, one) in others.iter().enumerate() {
            world.introduce(*one, from);
            others[..at].iter().for_each(|other| world.introduce(*one, *other));
        }
        assert!(world.run_until_complete(&others, Time::from_secs(120)).is_some(), "seed {seed}");
        world.check();
        others.iter().for_each(|id| assert_whole(&world, *id));
    }
}

#[test]
fn a_block_at_the_end_of_a_file_is_asked_for_as_long_as_it_is() {
    let content = content(20);
    let mut world = World::new(20);
    let to = world.add(&content, Role::Leech, Access::default());
    let script = honest::seed(|line, request| line.serve(request));
    let peer = Scripted::new(&content).dials(world.addr(to));
    let (_, log) = peer.enter(&mut world, Access::default(), script);
    assert!(world.run_until_complete(&[to], Time::from_secs(60)).is_some());
    let geometry = content.torrent.geometry();
    let mut asked: Vec<_> = log.borrow().requests.iter().map(|(_, request)| *request).collect();
    let key = |request: &Request| (request.index, request.begin);
    asked.sort_by_key(key);
    asked.dedup();
    let blocks = geometry.pieces().flat_map(|piece| {
        let blocks = (0..geometry.blocks_in(piece)).filter_map(move |at| geometry.block(piece, at));
        blocks.map(|block| Request { index: block.piece().get(), begin: block.begin(), len: block.len() })
    });
    assert_eq!(asked, blocks.collect::<Vec<_>>());
    let short = geometry.pieces().map(|piece| geometry.piece_len(piece)).filter(|len| *len < PIECE);
    assert_eq!(short.collect::<Vec<_>>(), tails(), "the test has pieces that are short in the middle");
}

#[test]
fn who_spoils_what_is_checked_by_a_tree_is_banned_and_nobody_else() {
    for seed in 30..34 {
        let content = content(seed);
        let mut world = World::new(seed);
        let from = world.add(&content, Role::Seed, Access { up: 60_000, ..Access::default() });
        let to = world.add(&content, Role::Leech, Access::default());
        let script = honest::seed(|line, request| line.piece(request, |data| data[0] ^= 1));
        let liar = Scripted::new(&content).dials(world.addr(to));
        let (liar, _) = liar.enter(&mut world, Access::default(), script);
        world.introduce(to, from);
        assert!(world.run_until_complete(&[to], Time::from_secs(120)).is_some(), "seed {seed}");
        world.check();
        assert_whole(&world, to);
        let banned = world.node(to).events.iter().filter_map(|(_, event)| match event {
            Event::PeerBanned { addr, .. } => Some(addr.ip()),
            _ => None,
        });
        assert_eq!(banned.collect::<Vec<_>>(), [world.addr(liar).ip()], "seed {seed}");
    }
}

#[test]
fn it_may_be_killed_or_lose_power_at_any_time() {
    for seed in 0..20 {
        crashes::run(&content(seed), seed);
    }
}

#[test]
fn files_are_left_out_without_a_byte_of_them() {
    use swarm::engine::picker::Priority::{Normal, Skip};
    let content = content(40);
    let mut world = World::new(40);
    let from = world.add(&content, Role::Seed, Access::default());
    let to = world.add(&content, Role::Leech, Access::default());
    let files = content.torrent.layout().files().len();
    let wanted: Vec<_> = (0..files).map(|at| if at % 2 == 0 { Normal } else { Skip }).collect();
    let pieces = swarm::engine::file_priorities(&content.torrent, &wanted);
    let now = world.now;
    let node = world.node_mut(to);
    node.engine.set_priorities(now, node.torrent, pieces);
    world.touch(to);
    world.introduce(to, from);
    let after = world.now + Duration::from_secs(20);
    world.run_until(after, |_| false);
    let node = world.node(to);
    let status = node.engine.torrent_status(world.now, node.torrent).expect("it runs");
    let sum = content.torrent.layout().files().iter().step_by(2).map(|file| file.length).sum::<u64>();
    assert_eq!((status.wanted, status.done, status.totals.downloaded), (sum, sum, sum));
}

#[test]
fn who_asks_beyond_the_end_of_a_file_as_older_libtorrents_do_gets_zeros_to_the_end_of_the_block() {
    const BLOCK: u32 = 16 * 1024;
    let content = content(50);
    let mut world = World::new(50);
    let seed = world.add(&content, Role::Seed, Access::default());
    let geometry = content.torrent.geometry().clone();
    let ends = geometry.pieces().filter(|piece| geometry.piece_len(*piece) < PIECE).map(|piece| {
        let begin = (geometry.blocks_in(piece) - 1) * BLOCK;
        (Request { index: piece.get(), begin, len: BLOCK }, geometry.piece_len(piece) - begin)
    });
    let ends: Vec<_> = ends.filter(|(_, there)| *there < BLOCK).collect();
    assert_eq!(ends.len(), 5);
    let beyond = Request { index: ends[1].0.index, begin: ends[1].0.begin + BLOCK, len: BLOCK };
    let too_long = Request { len: BLOCK + 1, ..ends[0].0 };
    let last = geometry.piece_count() - 1;
    let over = Request { index: last, begin: PIECE - BLOCK, len: BLOCK + 1 };
    let refused = [beyond, too_long, over];
    let asked = ends.clone();
    let answers = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let heard_of = answers.clone();
    let script = move |line: &mut swarm::sim::Line<'_>, heard: Heard<'_>| match heard {
        Heard::Handshake(_) => line.say(Message::Interested),
        Heard::Message(Message::Unchoke) => {
            asked.iter().for_each(|(request, _)| line.say(Message::Request(*request)));
            refused.iter().for_each(|request| line.say(Message::Request(*request)));
        }
        Heard::Message(Message::Reject(request)) => heard_of.borrow_mut().push((request, false)),
        Heard::Message(Message::Piece { index, begin, len }) => {
            heard_of.borrow_mut().push((Request { index, begin, len }, true));
        }
        _ => {}
    };
    let peer = Scripted::new(&content).dials(world.addr(seed));
    let (_, log) = peer.enter(&mut world, Access::default(), script);
    world.run_until(Time::from_secs(30), |_| answers.borrow().len() == ends.len() + 3);
    world.check();
    let answers = answers.borrow();
    for (request, _) in ends {
        assert!(answers.contains(&(request, true)), "{request:?}");
    }
    for request in refused {
        assert!(answers.contains(&(request, false)), "{request:?}");
    }
    assert_eq!(log.borrow().open(), 1);
}
