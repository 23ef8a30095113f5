//! Peers that ask for what they may not have (cases 19 to 25 of the list of hostile behaviours).

use std::time::{Duration, Instant};

use swarm::engine::{Close, Time, Violation};
use swarm::sim::{Access, Content, Heard, Line, Role, Scripted, World};
use wire::peer::{HashRequest, Message, Request, Reserved};

use super::arena::{Arena, BLOCK, PIECE, PIECES, bytes, first_block};

/// Requests that no torrent of the arena's shape can serve.
fn impossible() -> Vec<Request> {
    let last = PIECES - 1;
    [
        (0, PIECE, BLOCK),
        (0, PIECE - 1, 2),
        (0, u32::MAX, BLOCK),
        (0, u32::MAX - 1, 2),
        (0, 0, u32::MAX),
        (0, 0, 0),
        (0, 0, (128 << 10) + 1),
        (0, 0, PIECE + 1),
        (last + 1, 0, BLOCK),
        (u32::MAX, u32::MAX, u32::MAX),
        (last, 0, BLOCK),
    ]
    .map(|(index, begin, len)| Request { index, begin, len })
    .to_vec()
}

#[test]
fn what_cannot_be_served_is_rejected_and_never_read() {
    let mut arena = Arena::new(1);
    let log = arena.caller(|line, heard| match heard {
        Heard::Open => line.say(Message::Interested),
        Heard::Message(Message::Unchoke) => {
            impossible().into_iter().for_each(|request| line.say(Message::Request(request)));
        }
        _ => {}
    });
    arena.run(2);
    assert_eq!(log.borrow().count("reject"), impossible().len());
    assert_eq!((log.borrow().payload, log.borrow().open()), (0, 1));
    arena.finish();
}

#[test]
fn half_a_million_requests_fill_a_bounded_queue_and_end_the_connection() {
    for fast in [true, false] {
        let mut arena = Arena::new(3);
        let reserved = if fast { Reserved::NONE.with_fast() } else { Reserved::NONE };
        let flood = bytes(Message::Request(first_block(0))).repeat(100_000);
        arena.attack(
            |peer, to| peer.reserved(reserved).dials(to).deaf(),
            move |line, heard| {
                if heard == Heard::Open {
                    line.say(Message::Interested);
                    line.wake_in(Duration::from_secs(1));
                } else if heard == Heard::Wake {
                    line.raw(&flood);
                }
            },
        );
        let began = Instant::now();
        arena.finish();
        assert_eq!(arena.reasons(), [Close::Violation(Violation::RequestFlood)], "fast: {fast}");
        assert!(arena.held() < 2 << 20, "{} bytes held", arena.held());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn who_asks_and_never_reads_costs_a_bounded_buffer_and_is_closed_in_the_end() {
    let mut arena = Arena::new(4);
    let log = arena.attack(
        |peer, to| peer.dials(to).deaf(),
        |line, heard| {
            if matches!(heard, Heard::Open | Heard::Wake) {
                if heard == Heard::Open {
                    line.say(Message::Interested);
                }
                (0..8).for_each(|index| line.say(Message::Request(first_block(index))));
                line.say(Message::KeepAlive);
                line.wake_in(Duration::from_millis(500));
            }
        },
    );
    arena.finish();
    assert!(arena.held() < 2 << 20, "{} bytes held", arena.held());
    arena.run(600);
    assert!(arena.held() < 2 << 20, "{} bytes held", arena.held());
    assert_eq!(log.borrow().open(), 0, "{:?}", arena.reasons());
}

#[test]
fn requests_and_cancels_in_turn_leave_nothing_behind() {
    let mut arena = Arena::new(5);
    let request = bytes(Message::Request(first_block(1)));
    let cancel = bytes(Message::Cancel(first_block(1)));
    let churn = [request, cancel].concat().repeat(50_000);
    let log = arena.caller(move |line, heard| match heard {
        Heard::Open => line.say(Message::Interested),
        Heard::Message(Message::Unchoke) => line.raw(&churn),
        _ => {}
    });
    let began = Instant::now();
    arena.finish();
    arena.run(20);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(arena.held() < 2 << 20, "{} bytes held", arena.held());
    let log = log.borrow();
    if log.open() == 1 {
        assert_eq!(log.count("piece") + log.count("reject"), 50_000, "each request has one answer");
    }
}

#[test]
fn hash_requests_of_any_shape_are_rejected() {
    let mut arena = Arena::new(6);
    let shapes = [(0, 0, 2, 0), (31, 0, 512, 60), (u32::MAX, u32::MAX, u32::MAX, u32::MAX), (0, 7, 3, 0)];
    let log = arena.caller(move |line, heard| {
        if heard == Heard::Open {
            for (base, index, length, proofs) in shapes {
                line.say(Message::HashRequest(HashRequest {
                    pieces_root: [9; 32],
                    base_layer: base,
                    index,
                    length,
                    proof_layers: proofs,
                }));
            }
        }
    });
    arena.finish();
    assert_eq!(log.borrow().count("hash_reject"), shapes.len());
    assert_eq!(log.borrow().open(), 1);
}
#[test]
fn nothing_is_served_to_who_is_choked_but_what_was_allowed() {
    // The victim has no slot.
    let mut arena = Arena::with(2, |config| config.upload_slots = Some(0));
    let allowed = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let told = allowed.clone();
    let log = arena.caller(move |line, heard| match heard {
        Heard::Open => {
            line.say(Message::Interested);
            line.wake_in(Duration::from_millis(500));
        }
        Heard::Message(Message::AllowedFast(index)) => told.borrow_mut().push(index),
        Heard::Wake => (0..PIECES).for_each(|index| line.say(Message::Request(first_block(index)))),
        _ => {}
    });
    arena.run(3);
    let (log, allowed) = (log.borrow(), allowed.borrow());
    assert_eq!(log.count("unchoke"), 0);
    assert!(allowed.len() <= 10);
    assert_eq!(log.count("piece"), allowed.len());
    assert_eq!(log.count("reject"), PIECES as usize - allowed.len());
}

#[test]
fn a_seed_names_each_piece_to_one_of_those_whom_it_serves() {
    let content = Content::new(5, (PIECES * PIECE) as usize, PIECE);
    let mut world = World::new(5);
    let seed = world.add(&content, Role::Seed, Access::default());
    let named = std::rc::Rc::new(std::cell::RefCell::new([Vec::new(), Vec::new()]));
    let mut logs = Vec::new();
    for who in 0..2 {
        let named = named.clone();
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(_) => line.say(Message::Interested),
            Heard::Message(Message::Suggest(index)) => {
                named.borrow_mut()[who].push(index);
                line.say(Message::Request(first_block(index)));
            }
            _ => {}
        };
        let to = world.addr(seed);
        let (_, log) = Scripted::new(&content).dials(to).enter(&mut world, Access::default(), script);
        logs.push(log);
    }
    world.run_until(Time::from_secs(20), |_| false);
    assert!(logs.iter().all(|log| log.borrow().count("allowed_fast") == 0));
    let named = named.borrow();
    assert!(named.iter().all(|pieces| pieces.len() >= 8), "{named:?}");
    let mut all = named.concat();
    all.sort_unstable();
    assert_eq!(all, (0..PIECES).collect::<Vec<_>>());
}
