//! Pads (BEP 47): never asked for, never counted, there for whoever asks.

use std::time::Duration;

use swarm::engine::{Event, Time};
use swarm::sim::{Access, Content, Heard, Role, Scripted, World};
use wire::peer::{Bitfield, Message, Request};

use super::honest;

const BLOCK: u32 = 16 * 1024;
const MIB: u32 = 1 << 20;

fn hybrid(seed: u64, piece_length: u32, files: &[usize]) -> Content {
    let mut builder = metainfo::Builder::folder("many").version(metainfo::Version::Hybrid);
    for (at, len) in files.iter().enumerate() {
        builder = builder.file([format!("{at:03}.bin")], *len as u64);
    }
    Content::build(seed, files.iter().sum(), builder.piece_length(piece_length))
}

/// Pads in the middle of pieces, over whole pieces and over the edges of blocks.
fn odd(seed: u64, wrong: Option<usize>) -> Content {
    let files = [
        (1000, false),
        (200_000, true),
        (40_000, false),
        (5, true),
        (300_000, true),
        (0, true),
        (100_000, false),
        (70_000, true),
    ];
    Content::padded(seed, 64 * 1024, &files, wrong)
}

/// Lets a leech fetch everything from a seed and checks what it counted.
fn transfer(content: &Content, seed: u64) {
    let mut world = World::new(seed);
    let from = world.add(content, Role::Seed, Access::default());
    let to = world.add(content, Role::Leech, Access::default());
    world.introduce(to, from);
    world.run_until(Time::from_secs(120), |world| world.node(to).completed.is_some());
    let after = world.now + Duration::from_secs(2);
    world.run_until(after, |_| false);
    world.check();
    let node = world.node(to);
    assert!(node.completed.is_some(), "seed {seed}");
    assert!(node.engine.have(node.torrent).is_some_and(Bitfield::is_full), "pieces of padding too");
    let (layout, files) = (content.torrent.layout(), content.torrent.layout().files());
    let blocks: u64 =
        files.iter().filter(|file| !file.is_pad() && file.length > 0).count() as u64 * 2 * u64::from(BLOCK);
    let status = node.engine.torrent_status(world.now, node.torrent).expect("it runs");
    let payload = layout.payload();
    assert_eq!((status.wanted, status.done, status.in_progress), (payload, payload, 0), "seed {seed}");
    let totals = status.totals;
    assert!(
        (payload..=payload + blocks).contains(&totals.downloaded),
        "seed {seed}: {totals:?} of {payload}"
    );
    assert_eq!(totals.wasted, 0, "seed {seed}");
}

#[test]
fn small_files_in_large_pieces_cost_what_they_weigh() {
    transfer(&hybrid(1, MIB, &[1000; 8]), 1);
    transfer(&hybrid(2, 64 * 1024, &[300_000, 1, 16_384, 16_385, 65_536, 0, 7]), 2);
}

#[test]
fn pads_may_be_anywhere() {
    for seed in 0..4 {
        transfer(&odd(seed, None), seed);
    }
}

#[test]
fn no_request_names_padding_alone_and_no_more_than_the_blocks_with_data() {
    let content = odd(5, None);
    let pads = content.pads();
    let mut world = World::new(5);
    let to = world.add(&content, Role::Leech, Access::default());
    let script = honest::seed(|line, request| line.serve(request));
    let peer = Scripted::new(&content).dials(world.addr(to));
    let (_, log) = peer.enter(&mut world, Access::default(), script);
    world.run_until(Time::from_secs(60), |world| world.node(to).completed.is_some());
    assert!(world.node(to).completed.is_some());
    let asked: Vec<_> = log.borrow().requests.iter().map(|(_, request)| *request).collect();
    for Request { index, begin, len } in asked.iter().copied() {
        let mut padding = pads.iter().filter(|pad| pad.piece().get() == index);
        let is_padding = padding.any(|pad| pad.begin() <= begin && begin + len <= pad.end());
        assert!(!is_padding, "piece {index} from {begin}, {len} bytes");
    }
    // 1000 bytes; 40,000 bytes from 201,000 on, in one piece; 100,000 bytes from 541,005 on, in two.
    assert_eq!(asked.len(), 1 + 3 + 7, "{asked:?}");
}

#[test]
fn who_asks_for_padding_gets_it() {
    let content = odd(6, None);
    let mut world = World::new(6);
    let seed = world.add(&content, Role::Seed, Access::default());
    let pad = Request { index: 1, begin: 0, len: BLOCK };
    let addr = world.addr(seed);
    let script = move |line: &mut swarm::sim::Line<'_>, heard: Heard<'_>| match heard {
        Heard::Handshake(_) => line.say(Message::Interested),
        Heard::Message(Message::Unchoke) => line.say(Message::Request(pad)),
        _ => {}
    };
    let peer = Scripted::new(&content).dials(addr);
    let (_, log) = peer.enter(&mut world, Access::default(), script);
    world.run_until(Time::from_secs(30), |_| log.borrow().payload >= BLOCK as usize);
    assert_eq!(log.borrow().payload, BLOCK as usize);
}

#[test]
fn who_spoils_a_padded_piece_alone_is_banned_at_once() {
    let content = hybrid(7, MIB, &[1000; 8]);
    let mut world = World::new(7);
    let to = world.add(&content, Role::Leech, Access::default());
    let addr = world.addr(to);
    let script = honest::seed(|line, request| line.piece(request, |data| data[7] ^= 1));
    Scripted::new(&content).dials(addr).enter(&mut world, Access::default(), script);
    world.run_until(Time::from_secs(30), |_| false);
    let events = &world.node(to).events;
    let failed = events.iter().filter(|(_, event)| matches!(event, Event::PieceFailed { .. })).count();
    assert!(failed <= 2, "{failed} pieces failed");
    assert!(events.iter().any(|(_, event)| matches!(event, Event::PeerBanned { .. })));
}

#[test]
fn a_piece_of_padding_with_a_wrong_hash_is_missing_and_asked_of_nobody() {
    let content = odd(8, Some(1));
    let mut world = World::new(8);
    let from = world.add(&content, Role::Seed, Access::default());
    let to = world.add(&content, Role::Leech, Access::default());
    world.introduce(to, from);
    world.run_until(Time::from_secs(30), |_| false);
    world.check();
    let node = world.node(to);
    let status = node.engine.torrent_status(world.now, node.torrent).expect("it runs");
    assert_eq!((status.pieces_done + 1, status.wanted), (status.pieces, status.done));
    assert!(node.engine.have(node.torrent).is_some_and(|have| !have.get(1)));
}
