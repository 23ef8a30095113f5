//! Peers that choke, fall silent, or know less than we do.

use std::time::Duration;

use swarm::engine::{Close, Time, Timeout};
use swarm::sim::{Access, Content, Heard, Role, Scripted, World};
use wire::peer::{Message, Request, Reserved};

use super::arena::{Arena, BLOCK, PIECE, PIECES, first_block};
use super::honest;

#[test]
fn a_choke_loses_nothing_whenever_it_comes() {
    for fast in [true, false] {
        for every in [1, 2, 3, 7] {
            let content = Content::new(every, (PIECES * PIECE) as usize, PIECE);
            let mut world = World::new(every);
            let leech = world.add(&content, Role::Leech, Access::default());
            let reserved = if fast { Reserved::NONE.with_fast() } else { Reserved::NONE };
            let to = world.addr(leech);
            let (mut served, mut choking) = (0, true);
            let script = move |line: &mut swarm::sim::Line<'_>, heard: Heard<'_>| match heard {
                Heard::Handshake(_) => line.say(Message::Bitfield(&[0xff; (PIECES / 8) as usize])),
                Heard::Message(Message::Interested) | Heard::Wake if choking => {
                    choking = false;
                    line.say(Message::Unchoke);
                }
                Heard::Message(Message::Request(request)) if choking && fast => {
                    line.say(Message::Reject(request));
                }
                Heard::Message(Message::Request(_)) if choking => {}
                Heard::Message(Message::Request(request)) => {
                    line.serve(request);
                    served += 1;
                    if served % every == 0 {
                        choking = true;
                        line.say(Message::Choke);
                        line.wake_in(Duration::from_millis(120));
                    }
                }
                _ => {}
            };
            let (_, log) = Scripted::new(&content).reserved(reserved).dials(to).enter(
                &mut world,
                Access::default(),
                script,
            );
            let done = world.run_until_complete(&[leech], Time::from_secs(120));
            assert!(done.is_some(), "fast: {fast}, choke after {every}: {:?}", log.borrow());
            let node = world.node(leech);
            let status = node.engine.torrent_status(world.now, node.torrent).unwrap();
            assert_eq!(status.totals.wasted, 0, "fast: {fast}, choke after {every}");
            assert_eq!(log.borrow().opened.len(), 1);
            world.check();
        }
    }
}

#[test]
fn blocks_that_were_on_their_way_at_a_choke_are_no_offence() {
    // Without BEP 6 the choke says that the requests are dropped, yet this peer serves them all the same.
    let content = Content::new(2, (PIECES * PIECE) as usize, PIECE);
    let mut world = World::new(2);
    let leech = world.add(&content, Role::Leech, Access::default());
    let to = world.addr(leech);
    let mut choking = false;
    let script = move |line: &mut swarm::sim::Line<'_>, heard: Heard<'_>| match heard {
        Heard::Handshake(_) => line.say(Message::Bitfield(&[0xff; (PIECES / 8) as usize])),
        Heard::Message(Message::Interested) | Heard::Wake => {
            choking = false;
            line.say(Message::Unchoke);
        }
        Heard::Message(Message::Request(request)) => {
            if !choking {
                choking = true;
                line.say(Message::Choke);
                line.wake_in(Duration::from_millis(200));
            }
            line.serve(request);
        }
        _ => {}
    };
    let (_, log) = Scripted::new(&content).reserved(Reserved::NONE).dials(to).enter(
        &mut world,
        Access::default(),
        script,
    );
    world.run_until(Time::from_secs(30), |_| false);
    assert_eq!((log.borrow().opened.len(), log.borrow().open()), (1, 1), "it is no reason to part");
    world.check();
}

#[test]
fn a_peer_without_the_fast_extension_takes_and_gives() {
    let content = Content::new(3, (PIECES * PIECE) as usize, PIECE);
    let mut world = World::new(3);
    let leech = world.add(&content, Role::Leech, Access::default());
    let to = world.addr(leech);
    let script = honest::seed(|line, request| line.serve(request));
    let (_, old) = Scripted::new(&content).reserved(Reserved::NONE).dials(to).enter(
        &mut world,
        Access::default(),
        script,
    );
    assert!(world.run_until_complete(&[leech], Time::from_secs(60)).is_some());
    assert_eq!(old.borrow().count("allowed_fast") + old.borrow().count("have_none"), 0);

    // And the other way: it asks for everything, whole pieces at a time.
    let (_, taker) = Scripted::new(&content).reserved(Reserved::NONE).dials(to).enter(
        &mut world,
        Access::default(),
        |line, heard| match heard {
            Heard::Open => line.say(Message::Interested),
            Heard::Message(Message::Unchoke) => {
                (0..PIECES)
                    .for_each(|index| line.say(Message::Request(Request { index, begin: 0, len: PIECE })));
            }
            _ => {}
        },
    );
    let end = world.now + Duration::from_secs(30);
    world.run_until(end, |_| false);
    assert_eq!(taker.borrow().payload, (PIECES * PIECE) as usize);
    assert_eq!(taker.borrow().count("bitfield"), 1);
}

#[test]
fn quiet_connections_are_kept_alive_and_dead_ones_are_dropped() {
    let mut arena = Arena::new(4);
    arena.finish();
    let wants = |line: &mut swarm::sim::Line<'_>, heard: Heard<'_>| {
        if matches!(heard, Heard::Open | Heard::Wake) {
            if heard == Heard::Wake {
                line.say(Message::KeepAlive);
            }
            line.wake_in(Duration::from_secs(100));
        }
    };
    let polite = arena.caller(wants);
    let dead = arena.caller(|_, _| {});
    arena.run(700);
    assert_eq!(polite.borrow().open(), 1);
    assert!((4..=8).contains(&polite.borrow().count("keep_alive")), "{:?}", polite.borrow());
    assert_eq!(dead.borrow().open(), 0);
    let lived = dead.borrow().closed[0] - dead.borrow().opened[0];
    assert!((Duration::from_secs(120)..Duration::from_secs(300)).contains(&lived), "{lived:?}");
    assert!(arena.reasons().contains(&Close::Timeout(Timeout::Idle)));
}

#[test]
fn a_request_ends_in_one_answer_even_when_it_is_taken_back() {
    let mut arena = Arena::new(5);
    let log = arena.caller(|line, heard| match heard {
        Heard::Open => line.say(Message::Interested),
        Heard::Message(Message::Unchoke) => {
            (0..16).for_each(|index| line.say(Message::Request(first_block(index))));
            (0..16).step_by(2).for_each(|index| line.say(Message::Cancel(first_block(index))));
        }
        _ => {}
    });
    arena.run(5);
    let log = log.borrow();
    assert_eq!(log.count("piece") + log.count("reject"), 16, "{log:?}");
    assert_eq!(log.payload, log.count("piece") * BLOCK as usize);
    assert!(log.count("reject") >= 1);
}
