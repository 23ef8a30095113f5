//! Pieces that somebody had and lost (`lt_donthave`).

use std::cell::RefCell;
use std::rc::Rc;

use swarm::engine::{Close, Event, Time, Violation};
use swarm::sim::{Access, Content, Heard, Line, Role, Scripted, World};
use wire::peer::{DontHave, Message, Reserved};

use super::arena::{PIECES, first_block};
use super::exchange::{content, hello};

#[test]
fn a_piece_that_a_peer_lost_is_taken_from_others() {
    for fast in [true, false] {
        let content = content(9);
        let mut world = World::new(9);
        let leech = world.add(&content, Role::Leech, Access::default());
        let reserved =
            if fast { Reserved::NONE.with_fast().with_extended() } else { Reserved::NONE.with_extended() };
        let mut lost = std::collections::BTreeSet::new();
        let asked_after = Rc::new(RefCell::new(0));
        let count = asked_after.clone();
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(_) => {
                line.say(Message::Bitfield(&[0xff; (PIECES / 8) as usize]));
                hello(line);
            }
            Heard::Message(Message::Interested) => line.say(Message::Unchoke),
            Heard::Message(Message::Request(request)) => {
                if lost.contains(&request.index) {
                    *count.borrow_mut() += 1;
                    if fast {
                        line.say(Message::Reject(request));
                    }
                } else if request.index % 4 == 1 {
                    lost.insert(request.index);
                    let mut payload = Vec::new();
                    DontHave(request.index).encode(&mut payload);
                    line.say(Message::Extended { id: 3, payload: &payload });
                    if fast {
                        line.say(Message::Reject(request));
                    }
                } else {
                    line.serve(request);
                }
            }
            _ => {}
        };
        let (_, log) = Scripted::new(&content).reserved(reserved).dials(world.addr(leech)).enter(
            &mut world,
            Access::default(),
            script,
        );
        world.run_until(Time::from_secs(60), |_| false);
        let node = world.node(leech);
        let have = node.engine.have(node.torrent).unwrap();
        assert_eq!(have.count_ones(), PIECES * 3 / 4, "fast: {fast}");
        assert_eq!(log.borrow().open(), 1);
        // Only what was on its way already was asked for in vain: 4 blocks a piece at most.
        assert!(*asked_after.borrow() <= 4 * PIECES / 4, "fast: {fast}: {}", asked_after.borrow());
        let seen = log.borrow().requests.len();
        world.run_until(Time::from_secs(90), |_| false);
        assert_eq!(log.borrow().requests.len(), seen, "it is left alone");
        let seed = world.add(&content, Role::Seed, Access::default());
        world.introduce(leech, seed);
        assert!(world.run_until_complete(&[leech], Time::from_secs(150)).is_some(), "fast: {fast}");
        world.check();
    }
}

#[test]
fn a_seed_that_loses_and_finds_a_piece_without_end_is_out() {
    let content = Content::new(12, 3000 * 16384, 16384);
    // How often it does so, and whether it may stay.
    for (pairs, stays) in [(900, true), (100_000, false)] {
        let mut world = World::new(12);
        let leech = world.add(&content, Role::Leech, Access::symmetric(50_000_000));
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(_) => {
                line.say(Message::HaveAll);
                hello(line);
                let mut payload = Vec::new();
                DontHave(0).encode(&mut payload);
                for _ in 0..pairs {
                    line.say(Message::Extended { id: 3, payload: &payload });
                    line.say(Message::Have(0));
                }
            }
            Heard::Message(Message::Interested) => line.say(Message::Unchoke),
            Heard::Message(Message::Request(request)) if request.index == 0 => line.serve(request),
            _ => {}
        };
        let peer = Scripted::new(&content).dials(world.addr(leech));
        let (_, log) = peer.enter(&mut world, Access::symmetric(50_000_000), script);
        world.run_until(Time::from_secs(10), |_| false);
        world.check();
        assert_eq!(log.borrow().open() == 1, stays, "{pairs} times");
        let flood = Close::Violation(Violation::LossFlood);
        let left = |event: &Event| matches!(event, Event::PeerLeft { reason, .. } if *reason == flood);
        let lost = world.node(leech).events.iter().filter(|(_, event)| left(event)).count();
        assert_eq!(lost, usize::from(!stays), "{pairs} times");
    }
}

#[test]
fn peers_are_told_of_a_piece_that_we_lost() {
    let content = content(10);
    let mut world = World::new(10);
    let node = world.add(&content, Role::Seed, Access::default());
    let lost = Rc::new(RefCell::new(Vec::new()));
    let log = lost.clone();
    let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
        Heard::Handshake(_) => {
            hello(line);
            line.say(Message::Interested);
        }
        Heard::Message(Message::Unchoke) => line.say(Message::Request(first_block(5))),
        Heard::Message(Message::Extended { id: 13, payload }) => {
            log.borrow_mut().push(DontHave::parse(payload));
        }
        _ => {}
    };
    let piece = content.torrent.geometry().piece(5).unwrap();
    world.node(node).store.break_piece(piece);
    let (_, seen) =
        Scripted::new(&content).dials(world.addr(node)).enter(&mut world, Access::default(), script);
    world.run_until(Time::from_secs(200), |_| false);
    assert_eq!(*lost.borrow(), [Some(DontHave(5))]);
    assert_eq!((seen.borrow().count("reject"), seen.borrow().count("piece")), (1, 0));
}
