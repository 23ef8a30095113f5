//! Peers that say wrong things about what they have (cases 13 to 18 of the list of hostile behaviours).

use std::time::{Duration, Instant};

use swarm::engine::{Close, Violation};
use swarm::sim::Heard;
use wire::peer::{Message, Reserved};

use super::arena::{Arena, PIECES, bytes, frame};

#[test]
fn a_bitfield_of_the_wrong_shape_ends_the_connection() {
    let content_bytes = (PIECES / 8) as usize;
    let cases = [vec![0xff; content_bytes - 1], vec![0xff; content_bytes + 1], vec![], vec![0; 256 << 10]]
        .into_iter();
    for (seed, bits) in cases.enumerate() {
        let mut arena = Arena::new(seed as u64);
        arena.says(frame(bits.len() as u32 + 1, 5, &bits));
        arena.finish();
        let reasons = arena.reasons();
        let fits = matches!(reasons[..], [Close::Wire(_) | Close::Violation(Violation::Bitfield)]);
        assert!(fits, "{reasons:?}");
        assert!(arena.held() < 1 << 20);
    }
}

#[test]
fn spare_bits_end_the_connection() {
    use swarm::engine::Time;
    use swarm::sim::{Access, Content, Role, Scripted, World};
    let content = Content::new(1, 21 * 64 * 1024, 64 * 1024);
    let mut world = World::new(1);
    let victim = world.add(&content, Role::Leech, Access::default());
    let to = world.addr(victim);
    let (_, log) = Scripted::new(&content).dials(to).enter(&mut world, Access::default(), |line, heard| {
        if heard == Heard::Open {
            line.say(Message::Bitfield(&[0xff, 0xff, 0b1111_1100]));
        }
    });
    world.run_until(Time::from_secs(1), |_| false);
    assert_eq!((log.borrow().opened.len(), log.borrow().open()), (1, 0));
}

#[test]
fn a_bitfield_may_come_late_and_adds_to_what_the_peer_has() {
    let all = [0xff; (PIECES / 8) as usize];
    let none = [0; (PIECES / 8) as usize];
    let cases: [(&[Message<'_>], f32); 5] = [
        (&[Message::Bitfield(&none), Message::Bitfield(&all)], 1.0),
        (&[Message::Have(3), Message::Bitfield(&all)], 1.0),
        (&[Message::HaveNone, Message::Bitfield(&all)], 1.0),
        (&[Message::HaveAll, Message::Bitfield(&none)], 1.0),
        (&[Message::Have(3), Message::Bitfield(&none)], 1.0 / PIECES as f32),
    ];
    for (seed, (messages, progress)) in cases.into_iter().enumerate() {
        let mut arena = Arena::new(seed as u64);
        arena.says(messages.iter().flat_map(|message| bytes(*message)).collect());
        arena.run(1);
        assert_eq!(arena.reasons(), [], "{messages:?}");
        let node = arena.world.node(arena.victim);
        let peers = node.engine.peers(arena.world.now, node.torrent);
        assert!(peers.iter().any(|peer| peer.progress == progress), "{messages:?}: {peers:?}");
    }
}

#[test]
fn a_late_or_second_have_all_or_have_none_ends_the_connection() {
    let all = [0xff; (PIECES / 8) as usize];
    let cases: [&[Message<'_>]; 4] = [
        &[Message::Bitfield(&all), Message::HaveAll],
        &[Message::HaveAll, Message::HaveNone],
        &[Message::HaveNone, Message::HaveAll],
        &[Message::HaveNone, Message::HaveNone],
    ];
    for (seed, messages) in cases.into_iter().enumerate() {
        let mut arena = Arena::new(seed as u64);
        arena.says(messages.iter().flat_map(|message| bytes(*message)).collect());
        arena.finish();
        assert_eq!(arena.reasons(), [Close::Violation(Violation::LateBitfield)], "{messages:?}");
    }
}

#[test]
fn pieces_that_do_not_exist_end_the_connection() {
    for index in [PIECES, PIECES + 1, 1 << 31, u32::MAX] {
        for message in [Message::Have(index), Message::AllowedFast(index), Message::Suggest(index)] {
            let mut arena = Arena::new(u64::from(index));
            arena.says(bytes(message));
            arena.run(1);
            let reasons = arena.reasons();
            let fits = matches!(reasons[..], [Close::Violation(Violation::OutOfBounds(_))]);
            assert!(fits, "{message:?}: {reasons:?}");
        }
    }
    let mut arena = Arena::new(9);
    arena.says(bytes(Message::Have(PIECES)));
    arena.finish();
}

#[test]
fn a_piece_announced_a_million_times_counts_once() {
    let mut arena = Arena::new(2);
    let log = arena.says(bytes(Message::Have(PIECES - 1)).repeat(1_000_000));
    let began = Instant::now();
    arena.run(1);
    let node = arena.world.node(arena.victim);
    let peers = node.engine.peers(arena.world.now, node.torrent);
    assert_eq!((peers[0].progress * PIECES as f32) as u32, 1);
    arena.finish();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(log.borrow().count("interested"), 1);
}

#[test]
fn fast_messages_without_the_bit_end_the_connection() {
    let reject = wire::peer::Request { index: 0, begin: 0, len: 16384 };
    let messages = [
        Message::HaveAll,
        Message::HaveNone,
        Message::Suggest(0),
        Message::AllowedFast(0),
        Message::Reject(reject),
    ];
    for message in messages {
        let mut arena = Arena::new(3);
        arena.attack(
            |peer, to| peer.reserved(Reserved::NONE).dials(to),
            move |line, heard| {
                if heard == Heard::Open {
                    line.say(message);
                }
            },
        );
        arena.run(1);
        assert_eq!(arena.reasons(), [Close::Violation(Violation::FastNotNegotiated)], "{message:?}");
    }
}

#[test]
fn a_flood_of_allowed_pieces_and_suggestions_stays_small() {
    let mut arena = Arena::new(4);
    let words: Vec<u8> = (0..50_000)
        .flat_map(|n| [bytes(Message::AllowedFast(n % PIECES)), bytes(Message::Suggest(n % PIECES))].concat())
        .collect();
    let log = arena.says(words);
    arena.finish();
    assert!(arena.held() < 1 << 20);
    assert_eq!(log.borrow().count("request"), 0, "it said to have nothing");
}

#[test]
fn an_extended_handshake_of_any_shape_does_no_harm() {
    let mut deep = b"d1:m".to_vec();
    deep.extend([b'l'; 30_000]);
    let shapes: [&[u8]; 8] = [
        b"",
        b"de",
        b"i1e",
        b"d1:mi3e4:reqqi-1e1:pi99999999e1:v0:e",
        b"d4:reqqi0ee",
        b"d4:reqqi9223372036854775807ee",
        b"d6:yourip3:abc13:metadata_sizei-5ee",
        &deep,
    ];
    for (seed, payload) in shapes.into_iter().enumerate() {
        let mut arena = Arena::new(seed as u64);
        let log = arena.says(bytes(Message::Extended { id: 0, payload }));
        arena.finish();
        assert_eq!(log.borrow().open(), 1, "{:?}", arena.reasons());
    }
    let mut arena = Arena::new(9);
    arena.says(frame(900_002, 20, &vec![0; 900_001]));
    arena.finish();
    assert!(matches!(arena.reasons()[..], [Close::Wire(_)]));
}
