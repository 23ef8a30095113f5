//! Peers that send wrong data, or none (cases 26 to 31 of the list of hostile behaviours).

use std::time::Duration;

use swarm::engine::{Close, Event, Time, Violation};
use swarm::sim::{Access, Content, Heard, Role, Scripted, World};
use wire::peer::{Message, Request, Reserved};

use super::arena::{Arena, BLOCK, PIECE, PIECES};
use super::honest;

fn failed_pieces(arena: &Arena) -> usize {
    let events = &arena.world.node(arena.victim).events;
    events.iter().filter(|(_, event)| matches!(event, Event::PieceFailed { .. })).count()
}

#[test]
fn who_sends_only_wrong_data_is_banned_after_two_pieces_at_most() {
    let mut arena = Arena::new(1);
    let log = arena.caller(honest::seed(|line, request| line.piece(request, |data| data[7] ^= 1)));
    arena.run(10);
    assert!(arena.banned());
    assert!(failed_pieces(&arena) <= 2, "{} pieces failed", failed_pieces(&arena));
    assert_eq!(arena.reasons(), [Close::Violation(Violation::BadData)]);
    arena.finish();
    assert_eq!(log.borrow().open(), 0);
}

#[test]
fn only_the_guilty_one_is_banned_when_several_had_a_hand_in_a_piece() {
    for seed in 0..8 {
        let mut arena = Arena::new(seed);
        arena.meet();
        let mut n = 0;
        arena.caller(honest::seed(move |line, request| {
            n += 1;
            line.piece(request, |data| {
                if n % 5 == 0 {
                    data[n % data.len()] ^= 0x40;
                }
            });
        }));
        // Sends right data, slowly, so that it has a hand in many pieces.
        let slow = Access { up: 60_000, ..Access::default() };
        let to = arena.world.addr(arena.victim);
        let script = honest::seed(|line, request| line.serve(request));
        let (good, good_log) = Scripted::new(&arena.content).dials(to).enter(&mut arena.world, slow, script);
        arena.finish();
        let good = arena.world.addr(good).ip();
        let banned = arena.world.node(arena.victim).events.iter().filter_map(|(_, event)| match event {
            Event::PeerBanned { addr, .. } => Some(addr.ip()),
            _ => None,
        });
        let banned: Vec<_> = banned.collect();
        assert!(!banned.contains(&good), "seed {seed}: an honest peer was banned");
        assert_eq!(banned.len(), 1, "seed {seed}: {} pieces failed", failed_pieces(&arena));
        assert!(good_log.borrow().count("request") > 0);
    }
}

#[test]
fn blocks_that_nobody_asked_for_are_dropped_and_end_the_connection_at_a_mebibyte() {
    let mut arena = Arena::new(3);
    let log = arena.caller(|line, heard| {
        if heard == Heard::Open {
            for n in 0..200 {
                let request = Request { index: PIECES / 2 + n % 16, begin: 0, len: BLOCK };
                line.piece(request, |data| data.fill(0xbb));
            }
        }
    });
    arena.finish();
    assert_eq!(arena.reasons(), [Close::Violation(Violation::UnaskedBlocks)]);
    assert_eq!(log.borrow().open(), 0);
    assert_eq!(failed_pieces(&arena), 0, "nothing of it was kept");
    assert!(arena.held() < 1 << 20);
}

#[test]
fn blocks_of_the_wrong_size_or_place_end_the_connection() {
    let shift: [fn(Request) -> Request; 6] = [
        |r| Request { len: r.len - 1, ..r },
        |r| Request { begin: r.begin + 1, len: r.len - 1, ..r },
        |r| Request { begin: 0, len: 2 * BLOCK, ..r },
        |r| Request { begin: PIECE, ..r },
        |r| Request { index: PIECES, ..r },
        |r| Request { begin: u32::MAX - 3, ..r },
    ];
    for (seed, shift) in shift.into_iter().enumerate() {
        let mut arena = Arena::new(seed as u64);
        arena.caller(honest::seed(move |line, request| {
            let Request { index, begin, len } = shift(request);
            line.say(Message::Piece { index, begin, len });
            line.raw(&vec![0xbb; len as usize]);
        }));
        arena.finish();
        let reasons = arena.reasons();
        let fits =
            matches!(reasons[..], [Close::Violation(Violation::WrongBlock | Violation::OutOfBounds(_))]);
        assert!(fits, "case {seed}: {reasons:?}");
        assert_eq!(failed_pieces(&arena), 0);
    }
}

#[test]
fn a_block_that_comes_five_times_counts_once() {
    let mut arena = Arena::new(5);
    arena.caller(honest::seed(|line, request| (0..5).for_each(|_| line.serve(request))));
    arena.finish();
    assert_eq!(failed_pieces(&arena), 0);
    let node = arena.world.node(arena.victim);
    let status = node.engine.torrent_status(arena.world.now, node.torrent).unwrap();
    assert_eq!(status.done, status.wanted);
    assert!(status.totals.wasted < 2 << 20, "{} bytes wasted", status.totals.wasted);
}

/// Peers that promise everything and deliver nothing must not hold up the rest for over 30 s.
#[test]
fn blocks_that_do_not_come_are_asked_of_others_within_30_seconds() {
    for fast in [true, false] {
        let reserved = if fast { Reserved::NONE.with_fast() } else { Reserved::NONE };
        let silent = || honest::seed(|_, _| {});
        let mut arena = Arena::new(6);
        for _ in 0..5 {
            arena.attack(|peer, to| peer.reserved(reserved).dials(to), silent());
        }
        // They have the victim's attention first.
        arena.run(1);
        let start = arena.world.now;
        arena.finish();
        assert!(arena.world.now - start < Duration::from_secs(35), "{:?}", arena.world.now - start);
        assert!(!arena.banned());
    }
}

#[test]
fn a_block_that_trickles_is_asked_of_others() {
    let mut arena = Arena::new(7);
    let mut served = false;
    arena.caller(move |line, heard| match heard {
        Heard::Handshake(_) => line.say(Message::HaveAll),
        Heard::Message(Message::Interested) => line.say(Message::Unchoke),
        Heard::Message(Message::Request(Request { index, begin, len })) if !served => {
            served = true;
            line.say(Message::Piece { index, begin, len });
            line.wake_in(Duration::from_secs(1));
        }
        Heard::Wake => {
            line.raw(&[1]);
            line.wake_in(Duration::from_secs(1));
        }
        _ => {}
    });
    arena.run(1);
    let start = arena.world.now;
    arena.finish();
    assert!(arena.world.now - start < Duration::from_secs(35), "{:?}", arena.world.now - start);
    arena.run(200);
    arena.world.check();
}

#[test]
fn who_chokes_after_each_request_gets_few_and_holds_nobody_up() {
    for fast in [true, false] {
        let reserved = if fast { Reserved::NONE.with_fast() } else { Reserved::NONE };
        let mut arena = Arena::new(8);
        let log = arena.attack(
            |peer, to| peer.reserved(reserved).dials(to),
            move |line, heard| match heard {
                Heard::Handshake(_) => {
                    let all = [0xff; (PIECES / 8) as usize];
                    line.say(Message::Bitfield(&all));
                }
                Heard::Message(Message::Interested) => line.say(Message::Unchoke),
                Heard::Message(Message::Request(request)) => {
                    line.say(Message::Choke);
                    if fast {
                        line.say(Message::Reject(request));
                    }
                    line.wake_in(Duration::from_millis(100));
                }
                Heard::Wake => line.say(Message::Unchoke),
                _ => {}
            },
        );
        arena.run(30);
        let asked = log.borrow().count("request");
        assert!(asked < 30 * 50, "{asked} requests in 30 s");
        let start = arena.world.now;
        arena.finish();
        assert!(arena.world.now - start < Duration::from_secs(35), "{:?}", arena.world.now - start);
    }
}

#[test]
fn who_rejects_everything_is_asked_ten_times_a_second_at_most() {
    let mut arena = Arena::new(9);
    let log = arena.caller(honest::seed(|line, request| line.say(Message::Reject(request))));
    arena.run(60);
    let asked = log.borrow().requests.len();
    assert!((20..=600).contains(&asked), "{asked} requests in 60 s");
    arena.finish();
}

#[test]
fn a_reject_of_nothing_ends_the_connection() {
    let mut arena = Arena::new(10);
    let request = Request { index: 0, begin: 0, len: BLOCK };
    arena.says(super::arena::bytes(Message::Reject(request)));
    arena.finish();
    assert_eq!(arena.reasons(), [Close::Violation(Violation::UnaskedReject)]);
}

#[test]
fn a_liar_among_many_ruins_nothing() {
    let content = Content::new(11, 4 << 20, PIECE);
    let mut world = World::new(11);
    let seed = world.add(&content, Role::Seed, Access::default());
    let script = honest::seed(|line, request| line.piece(request, |data| data[0] ^= 1));
    let (liar, log) = Scripted::new(&content).enter(&mut world, Access::default(), script);
    let leeches: Vec<_> = (0..10).map(|_| world.add(&content, Role::Leech, Access::default())).collect();
    for (n, leech) in leeches.iter().enumerate() {
        world.introduce(*leech, liar);
        world.introduce(*leech, seed);
        leeches[..n].iter().for_each(|other| world.introduce(*leech, *other));
    }
    assert!(world.run_until_complete(&leeches, Time::from_secs(120)).is_some());
    let liar = world.addr(liar).ip();
    for leech in &leeches {
        let banned = world.node(*leech).events.iter().filter_map(|(_, event)| match event {
            Event::PeerBanned { addr, .. } => Some(addr.ip()),
            _ => None,
        });
        assert!(banned.into_iter().all(|ip| ip == liar));
    }
    assert!(log.borrow().opened.len() <= 2 * leeches.len());
}
