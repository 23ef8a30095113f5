//! Torrents of which only the hashes are known at first (BEP 9).

use std::time::Duration;

use metainfo::Builder;
use swarm::engine::metadata::{PIECE as META_PIECE, pieces_of};
use swarm::engine::picker::Priority;
use swarm::engine::{Activity, Close, Event, Time, Violation};
use swarm::sim::{Access, Content, Heard, Line, NodeId, Role, Scripted, World};
use wire::peer::{ExtendedHandshake, Extensions, Message, MetadataMessage, Reserved};

use super::arena::{PIECE, PIECES};

/// The id by which scripted peers take metadata messages.
const META: u8 = 7;

fn content(seed: u64) -> Content {
    Content::new(seed, (PIECES * PIECE) as usize, PIECE)
}

/// A torrent whose info dictionary has seven pieces.
pub(super) fn wordy(seed: u64) -> Content {
    worded(seed, 6 * META_PIECE)
}

/// A torrent whose info dictionary has somewhat more bytes than this.
pub(super) fn worded(seed: u64, bytes: usize) -> Content {
    let len = (PIECES * PIECE) as usize;
    let words = char::from(b'a' + (seed % 26) as u8).to_string().repeat(bytes);
    Content::build(seed, len, Builder::single("content.bin", len as u64).piece_length(PIECE).source(words))
}

/// Says an extension handshake that offers metadata of this size.
pub(super) fn offer(line: &mut Line<'_>, metadata_size: Option<u64>) {
    let extensions = Extensions::from_iter([("ut_metadata", META)]);
    say_extended(line, &ExtendedHandshake { extensions, metadata_size, ..ExtendedHandshake::default() });
}

pub(super) fn say_extended(line: &mut Line<'_>, handshake: &ExtendedHandshake) {
    let mut payload = Vec::new();
    handshake.encode(&mut payload);
    line.say(Message::Extended { id: 0, payload: &payload });
}

/// Says a metadata message by the id that the engine tells everybody.
pub(super) fn say_metadata(line: &mut Line<'_>, message: MetadataMessage<'_>) {
    let mut payload = Vec::new();
    message.encode(&mut payload);
    line.say(Message::Extended { id: 2, payload: &payload });
}

/// The piece of metadata that a message asks for.
pub(super) fn asked(heard: &Heard<'_>) -> Option<u32> {
    let Heard::Message(Message::Extended { id: META, payload }) = heard else { return None };
    match MetadataMessage::parse(payload) {
        Ok(Some(MetadataMessage::Request { piece })) => Some(piece),
        _ => None,
    }
}

/// The piece of the right metadata.
fn right_piece<'a>(line: &Line<'a>, piece: u32) -> &'a [u8] {
    let info = line.content.torrent.info_bytes();
    let start = (piece as usize * META_PIECE).min(info.len());
    &info[start..(start + META_PIECE).min(info.len())]
}

/// Gives the metadata, and nothing else.
pub(super) fn give_metadata(line: &mut Line<'_>, heard: Heard<'_>) {
    let size = line.content.torrent.info_bytes().len() as u64;
    if matches!(heard, Heard::Handshake(_)) {
        offer(line, Some(size));
    }
    if let Some(piece) = asked(&heard) {
        let data = right_piece(line, piece).to_vec();
        say_metadata(line, MetadataMessage::Data { piece, total_size: Some(size), data: &data });
    }
}

fn left_for(world: &World, id: NodeId, wanted: &Close) -> usize {
    let is = |event: &Event| matches!(event, Event::PeerLeft { reason, .. } if reason == wanted);
    world.node(id).events.iter().filter(|(_, event)| is(event)).count()
}

#[test]
fn a_magnet_and_one_seed_end_in_a_complete_copy() {
    let content = content(1);
    let mut world = World::new(1);
    let seed = world.add(&content, Role::Seed, Access::default());
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let node = world.node(magnet);
    let status = node.engine.torrent_status(world.now, node.torrent).unwrap();
    assert_eq!(status.activity, Activity::Metadata { have: 0, pieces: None, peers: 0 });
    world.introduce(magnet, seed);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some());
    world.check();
    let status = |id| world.node(id).engine.torrent_status(world.now, world.node(id).torrent).unwrap();
    assert_eq!(status(magnet).activity, Activity::Seeding);
    assert_eq!(status(magnet).pieces_done, PIECES);
    assert_eq!(status(magnet).totals.wasted, 0);
}

#[test]
fn what_the_user_chose_before_holds_for_the_first_request() {
    let content = content(2);
    let mut world = World::new(2);
    let seed = world.add(&content, Role::Seed, Access::default());
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let skipped = (0..PIECES).filter(|piece| piece % 4 != 1).map(|piece| (piece, Priority::Skip));
    world.node_mut(magnet).choices = skipped.collect();
    world.introduce(magnet, seed);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some());
    let end = world.now + Duration::from_secs(5);
    world.run_until(end, |_| false);
    let node = world.node(magnet);
    let have: Vec<u32> = node.engine.have(node.torrent).unwrap().iter_ones().collect();
    assert_eq!(have, (0..PIECES).filter(|piece| piece % 4 == 1).collect::<Vec<_>>());
    let status = node.engine.torrent_status(world.now, node.torrent).unwrap();
    assert_eq!(status.totals.downloaded, u64::from(PIECES / 4 * PIECE), "nothing else was asked for");
}

#[test]
fn magnets_get_everything_from_each_other_once_one_knows_more() {
    let content = content(3);
    let mut world = World::new(3);
    let seed = world.add(&content, Role::Seed, Access::symmetric(1_000_000));
    let mut magnet = || {
        // Else they would learn of the seed.
        let adjust = |config: &mut swarm::engine::Config| config.pex = false;
        world.add_with(&content, Role::Magnet, Access::symmetric(1_000_000), Default::default(), adjust)
    };
    let magnets: Vec<_> = (0..5).map(|_| magnet()).collect();
    // A chain: each knows the one before only, so metadata has to pass through all.
    for pair in magnets.windows(2) {
        world.introduce(pair[1], pair[0]);
    }
    world.introduce(magnets[0], seed);
    assert!(world.run_until_complete(&magnets, Time::from_secs(120)).is_some());
    world.check();
}

#[test]
fn the_first_payload_comes_after_a_handful_of_round_trips() {
    let content = content(4);
    let mut world = World::new(4);
    let seed = world.add(&content, Role::Seed, Access::default());
    let magnet = world.add(&content, Role::Magnet, Access::default());
    world.introduce(magnet, seed);
    let got = |world: &World| {
        let node = world.node(magnet);
        node.engine.torrent_status(world.now, node.torrent).is_some_and(|status| status.totals.downloaded > 0)
    };
    assert!(world.run_until(Time::from_secs(5), got));
    // A round trip is 40 ms: open, handshake, metadata, interest, request; and a block takes 8 ms on each of two links.
    assert!(world.now < Time::from_millis(5 * 40 + 30), "{:?}", world.now);
    let furnished = world.node(magnet).furnished.unwrap();
    assert!(furnished < Time::from_millis(3 * 40 + 10), "{furnished:?}");
}

#[test]
fn liars_silent_ones_and_absurd_sizes_do_not_hold_a_magnet_up() {
    for seed in 0..6 {
        let content = wordy(seed);
        assert_eq!(pieces_of(content.torrent.info_bytes().len() as u64), 7);
        let mut world = World::new(seed);
        let magnet = world.add(&content, Role::Magnet, Access::default());
        let size = content.torrent.info_bytes().len() as u64;
        let mut liars = Vec::new();
        for way in 0..10 {
            let claimed = match way {
                0 => Some(2 << 30),
                1 => Some(u64::MAX),
                2 => Some(64 << 20),
                3 => Some(size - 1),
                4 => None,
                _ => Some(size),
            };
            let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
                if matches!(heard, Heard::Handshake(_)) {
                    line.say(Message::HaveAll);
                    offer(line, claimed);
                    if way == 1 {
                        let negative = b"d1:md11:ut_metadatai7ee13:metadata_sizei-5ee";
                        line.say(Message::Extended { id: 0, payload: negative });
                    }
                }
                let Some(piece) = asked(&heard) else { return };
                let len = right_piece(line, piece).len().max(1);
                let total_size = claimed;
                match way {
                    5 => {}
                    6 => say_metadata(line, MetadataMessage::Reject { piece }),
                    // Another size with each piece, and in further handshakes.
                    7 => {
                        offer(line, Some(size + u64::from(piece)));
                        let data = right_piece(line, piece);
                        say_metadata(line, MetadataMessage::Data { piece, total_size: Some(1), data });
                    }
                    _ => say_metadata(line, MetadataMessage::Data { piece, total_size, data: &vec![9; len] }),
                }
            };
            let peer = Scripted::new(&content).dials(world.addr(magnet));
            liars.push(peer.enter(&mut world, Access::default(), script).0);
        }
        world.run_until(Time::from_millis(1500), |_| false);
        let seeds: Vec<_> = (0..10).map(|_| world.add(&content, Role::Seed, Access::default())).collect();
        for honest in &seeds {
            world.introduce(magnet, *honest);
        }
        let furnished = |world: &World| world.node(magnet).furnished.is_some();
        assert!(world.run_until(Time::from_secs(12), furnished), "seed {seed}: no metadata");
        assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some(), "seed {seed}");
        world.check();
        assert!(world.node(magnet).most_held < 4 << 20, "{}", world.node(magnet).most_held);
        let honest: Vec<_> = seeds.iter().map(|id| world.addr(*id)).collect();
        for (_, event) in &world.node(magnet).events {
            if let Event::PeerBanned { addr, .. } = event {
                assert!(!honest.contains(addr), "seed {seed}: an honest peer was banned");
            }
        }
    }
}

#[test]
fn slow_liars_do_not_hold_a_magnet_up() {
    // Each spoils what others send with its first answer, and then answers as late as it may.
    let slowly = Duration::from_millis(7_500);
    for seed in 0..4 {
        println!("seed {seed}");
        let content = wordy(seed);
        let size = content.torrent.info_bytes().len() as u64;
        let mut world = World::new(seed);
        let magnet = world.add(&content, Role::Magnet, Access::default());
        for liar in 0..20 {
            // Half of them claim the right size, the others two by two the same wrong ones.
            let claimed = if liar % 2 == 0 { size } else { size + 20_000 * (liar / 4 + 1) };
            let mut waiting = std::collections::VecDeque::new();
            let mut hurries = liar % 2 == 0;
            let lie = move |line: &mut Line<'_>, piece: u32| {
                let len = (claimed - u64::from(piece) * META_PIECE as u64).min(META_PIECE as u64) as usize;
                let total_size = Some(claimed);
                say_metadata(line, MetadataMessage::Data { piece, total_size, data: &vec![9; len] });
            };
            let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
                Heard::Handshake(_) => {
                    line.say(Message::HaveAll);
                    offer(line, Some(claimed));
                }
                Heard::Wake => waiting.drain(..).for_each(|piece| lie(line, piece)),
                heard => match asked(&heard) {
                    Some(piece) if std::mem::take(&mut hurries) => lie(line, piece),
                    Some(piece) => {
                        waiting.push_back(piece);
                        line.wake_in(slowly);
                    }
                    None => {}
                },
            };
            Scripted::new(&content).dials(world.addr(magnet)).enter(&mut world, Access::default(), script);
        }
        world.run_until(Time::from_secs(3), |_| false);
        let honest = world.add(&content, Role::Seed, Access::default());
        world.introduce(magnet, honest);
        let furnished = |world: &World| world.node(magnet).furnished.is_some();
        assert!(world.run_until(Time::from_secs(60), furnished), "seed {seed}: no metadata in a minute");
        println!("seed {seed}: {:?}", world.now);
        let addr = world.addr(honest);
        let banned = |event: &Event| matches!(event, Event::PeerBanned { addr: of, .. } if *of == addr);
        assert!(!world.node(magnet).events.iter().any(|(_, event)| banned(event)));
        world.check();
    }
}

#[test]
fn a_lone_liar_is_out_and_not_asked_again() {
    let content = wordy(5);
    let mut world = World::new(5);
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let size = content.torrent.info_bytes().len() as u64;
    let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
        if matches!(heard, Heard::Handshake(_)) {
            offer(line, Some(size));
        }
        if let Some(piece) = asked(&heard) {
            let data = vec![9; right_piece(line, piece).len()];
            say_metadata(line, MetadataMessage::Data { piece, total_size: Some(size), data: &data });
        }
    };
    let (liar, log) = Scripted::new(&content).enter(&mut world, Access::default(), script);
    world.introduce(magnet, liar);
    world.run_until(Time::from_secs(3600), |_| false);
    assert_eq!(left_for(&world, magnet, &Close::Violation(Violation::BadData)), 1);
    assert_eq!((log.borrow().handshakes, log.borrow().open()), (1, 0));
    let node = world.node(magnet);
    let status = node.engine.torrent_status(world.now, node.torrent).unwrap();
    assert_eq!(status.activity, Activity::Metadata { have: 0, pieces: None, peers: 0 });
}

#[test]
fn what_peers_say_before_is_believed_or_punished_afterwards() {
    let content = content(6);
    let bytes = (PIECES / 8) as usize;
    // What a peer says before the metadata is there, and whether it may stay.
    let cases: &[(&[Message<'_>], bool)] = &[
        (&[Message::HaveAll], true),
        (&[Message::HaveNone, Message::Have(3), Message::AllowedFast(3)], true),
        (&[Message::Bitfield(&[0xff; 4]), Message::Have(31)], true),
        (&[Message::Have(0), Message::Have(31)], true),
        (&[Message::Unchoke, Message::Interested, Message::Suggest(9999)], true),
        (&[Message::Bitfield(&[0xff; 5])], false),
        (&[Message::Bitfield(&[0xff; 3])], false),
        (&[Message::HaveNone, Message::Have(PIECES)], false),
        (&[Message::HaveNone, Message::AllowedFast(PIECES)], false),
        (&[Message::Have(u32::MAX)], false),
    ];
    assert_eq!(bytes, 4);
    for (case, (said, stays)) in cases.iter().enumerate() {
        let mut world = World::new(case as u64);
        let magnet = world.add(&content, Role::Magnet, Access::default());
        let mut messages = Vec::new();
        said.iter().for_each(|message| message.encode(&mut messages));
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(_) => line.raw(&messages),
            Heard::Message(Message::Interested) => line.say(Message::Unchoke),
            Heard::Message(Message::Request(request)) => line.serve(request),
            _ => {}
        };
        let (_, log) =
            Scripted::new(&content).dials(world.addr(magnet)).enter(&mut world, Access::default(), script);
        world.run_until(Time::from_secs(2), |_| false);
        assert_eq!(log.borrow().requests.len(), 0, "nothing is asked for before");
        let seed = world.add(&content, Role::Seed, Access::symmetric(400_000));
        world.introduce(magnet, seed);
        assert!(world.run_until(Time::from_secs(20), |world| world.node(magnet).furnished.is_some()));
        let end = world.now + Duration::from_millis(500);
        world.run_until(end, |_| false);
        world.check();
        assert_eq!(log.borrow().open() == 1, *stays, "case {case}: {said:?}");
        assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some());
    }
}

#[test]
fn a_million_pieces_that_nobody_can_check_cost_a_bounded_amount() {
    let content = content(7);
    let mut world = World::new(7);
    let magnet = world.add(&content, Role::Magnet, Access::symmetric(50_000_000));
    for _ in 0..100 {
        let script = |line: &mut Line<'_>, heard: Heard<'_>| {
            if matches!(heard, Heard::Handshake(_)) {
                line.say(Message::Bitfield(&[0xff; 256 * 1024]));
            }
        };
        let peer = Scripted::new(&content).dials(world.addr(magnet));
        peer.enter(&mut world, Access::symmetric(50_000_000), script);
    }
    world.run_until(Time::from_secs(20), |_| false);
    let node = world.node(magnet);
    let peers = node.engine.torrent_status(world.now, node.torrent).unwrap().peers;
    assert_eq!(peers, 100, "each of them may have the metadata");
    let held = node.engine.memory().early;
    assert!((7 << 20..=8 << 20).contains(&held), "as much as there is room for: {held}");
    assert!(node.most_held >= held && node.most_held < 40 << 20, "{}", node.most_held);
}

#[test]
fn nobody_keeps_the_metadata_away_by_naming_many_pieces() {
    let content = content(11);
    let mut world = World::new(11);
    let magnet = world.add(&content, Role::Magnet, Access::symmetric(50_000_000));
    for attacker in 0..132 {
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
            if matches!(heard, Heard::Handshake(_)) {
                if attacker < 32 {
                    line.say(Message::Have(2_097_151));
                } else {
                    line.say(Message::Bitfield(&[0xff; 256 * 1024]));
                }
            }
        };
        let peer = Scripted::new(&content).dials(world.addr(magnet));
        peer.enter(&mut world, Access::symmetric(50_000_000), script);
    }
    world.run_until(Time::from_secs(20), |_| false);
    let size = content.torrent.info_bytes().len() as u64;
    let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
        match heard {
            Heard::Handshake(_) => {
                line.say(Message::Bitfield(&[0xff; 4]));
                offer(line, Some(size));
            }
            Heard::Message(Message::Interested) => line.say(Message::Unchoke),
            Heard::Message(Message::Request(request)) => line.serve(request),
            _ => {}
        }
        if let Some(piece) = asked(&heard) {
            let data = right_piece(line, piece);
            say_metadata(line, MetadataMessage::Data { piece, total_size: Some(size), data });
        }
    };
    let honest = Scripted::new(&content).dials(world.addr(magnet));
    let (_, log) = honest.enter(&mut world, Access::symmetric(50_000_000), script);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(40)).is_some());
    assert_eq!((log.borrow().handshakes, log.borrow().open()), (1, 1));
    assert_eq!(
        left_for(&world, magnet, &Close::Limit),
        69,
        "all but 31 of the bitfields were forgotten before"
    );
    world.check();
}

#[test]
fn metadata_is_given_twice_a_minute_and_who_goes_on_asking_is_dropped() {
    let content = wordy(8);
    let mut world = World::new(8);
    let seed = world.add(&content, Role::Seed, Access::symmetric(10_000_000));
    let given = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = given.clone();
    let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
        Heard::Handshake(_) => {
            offer(line, None);
            for piece in 0..200_000 {
                say_metadata(line, MetadataMessage::Request { piece: piece % 7 });
            }
        }
        Heard::Message(Message::Extended { id: META, payload }) => {
            if let Ok(Some(MetadataMessage::Data { piece, data, .. })) = MetadataMessage::parse(payload) {
                assert_eq!(data, right_piece(line, piece));
                count.set(count.get() + 1);
            }
        }
        _ => {}
    };
    let (_, log) = Scripted::new(&content).dials(world.addr(seed)).enter(
        &mut world,
        Access::symmetric(10_000_000),
        script,
    );
    world.run_until(Time::from_secs(30), |_| false);
    assert!(given.get() <= 14, "{} pieces", given.get());
    assert_eq!(log.borrow().open(), 0);
    assert!(left_for(&world, seed, &Close::Violation(Violation::MetadataFlood)) == 1);
    assert!(world.node(seed).most_held < 1 << 20);
}

#[test]
fn who_takes_metadata_slowly_gets_it_all() {
    let content = wordy(9);
    let mut world = World::new(9);
    let seed = world.add(&content, Role::Seed, Access::default());
    let pieces = std::rc::Rc::new(std::cell::RefCell::new(std::collections::BTreeSet::new()));
    let (got, end) = (pieces.clone(), 7);
    let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
        Heard::Handshake(_) => {
            offer(line, None);
            (0..end).for_each(|piece| say_metadata(line, MetadataMessage::Request { piece }));
            say_metadata(line, MetadataMessage::Request { piece: end });
            say_metadata(line, MetadataMessage::Request { piece: u32::MAX });
        }
        Heard::Message(Message::Extended { id: META, payload }) => match MetadataMessage::parse(payload) {
            Ok(Some(MetadataMessage::Data { piece, total_size, data })) => {
                assert_eq!(data, right_piece(line, piece));
                assert_eq!(total_size, Some(line.content.torrent.info_bytes().len() as u64));
                got.borrow_mut().insert(piece);
            }
            Ok(Some(MetadataMessage::Reject { piece })) => assert!(piece >= end),
            other => panic!("{other:?}"),
        },
        _ => {}
    };
    let peer = Scripted::new(&content).reserved(Reserved::NONE.with_extended()).dials(world.addr(seed));
    let (_, log) = peer.enter(&mut world, Access::symmetric(20_000), script);
    world.run_until(Time::from_secs(30), |_| false);
    assert_eq!(pieces.borrow().len(), 7);
    assert_eq!(log.borrow().open(), 1);
}

#[test]
fn a_magnet_with_very_many_pieces_on_its_disk_tells_all_of_them_to_those_who_are_there() {
    let content = Content::new(12, 60_000 * 1024, 1024);
    let mut world = World::new(12);
    let access = Access::symmetric(50_000_000);
    let slow = |config: &mut swarm::engine::Config| config.down_limit = Some(20_000);
    let leech = world.add_with(&content, Role::Leech, access, Default::default(), slow);
    let magnet = world.add(&content, Role::Found, access);
    world.introduce(magnet, leech);
    assert!(world.run_until(Time::from_secs(20), |world| world.node(magnet).furnished.is_some()));
    let end = world.now + Duration::from_secs(60);
    let knows_all = |world: &World| {
        let node = world.node(leech);
        node.engine.peers(world.now, node.torrent).iter().any(|peer| peer.progress == 1.0)
    };
    assert!(world.run_until(end, knows_all));
    assert_eq!(left_for(&world, magnet, &Close::Stopped), 0);
    world.check();
}
