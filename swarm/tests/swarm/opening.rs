//! Attacks before and during the handshake (cases 1 to 6 of the list of hostile behaviours).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use swarm::engine::{Close, Event, Time};
use swarm::sim::{Access, Heard, Role};
use wire::peer::{PeerId, Reserved};

use super::arena::Arena;

fn closed_within(log: &swarm::sim::Log, limit: Duration) -> bool {
    log.opened.len() == log.closed.len()
        && log.opened.iter().zip(&log.closed).all(|(from, to)| *to - *from <= limit)
}

#[test]
fn bytes_that_are_no_handshake_end_the_connection_at_once() {
    let cases: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", &[0xff; 4096], &[0; 68], b"\x13BitTorrent protocoL"];
    for (seed, bytes) in cases.into_iter().enumerate() {
        let mut arena = Arena::new(seed as u64);
        let log = arena.attack(
            |peer, to| peer.mute().dials(to),
            move |line, heard| {
                if heard == Heard::Open {
                    line.raw(bytes);
                }
            },
        );
        arena.finish();
        assert!(closed_within(&log.borrow(), Duration::from_millis(100)), "{:?}", log.borrow());
        assert_eq!(log.borrow().bytes, 0, "and nothing is revealed");
    }
}

#[test]
fn half_a_handshake_a_byte_at_a_time_ends_after_the_handshake_time_in_total() {
    let mut arena = Arena::new(1);
    let mut hello = [0; 68];
    hello[..20].copy_from_slice(b"\x13BitTorrent protocol");
    hello[28..48].copy_from_slice(&arena.content.torrent.id().0);
    let mut sent = 0;
    let log = arena.attack(
        |peer, to| peer.mute().dials(to),
        move |line, heard| {
            if matches!(heard, Heard::Open | Heard::Wake) && sent < hello.len() {
                line.raw(&hello[sent..=sent]);
                sent += 1;
                line.wake_in(Duration::from_secs(1));
            }
        },
    );
    arena.finish();
    arena.run(20);
    assert!(closed_within(&log.borrow(), Duration::from_secs(15)), "{:?}", log.borrow());
}

#[test]
fn who_asks_for_an_unknown_torrent_learns_nothing() {
    let mut arena = Arena::new(2);
    let log = arena.attack(
        |peer, to| peer.mute().dials(to),
        |line, heard| {
            if heard == Heard::Open {
                line.handshake(Reserved::NONE, [7; 20], PeerId([7; 20]));
            }
        },
    );
    arena.finish();
    assert!(closed_within(&log.borrow(), Duration::from_millis(100)));
    assert_eq!(log.borrow().bytes, 0);
}

/// Address number `n` of an attacker that has many.
fn alias(n: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x6400_0000 + n * 257)), 4000)
}

#[test]
fn two_thousand_silent_connections_keep_no_honest_peer_out() {
    let mut arena = Arena::new(3);
    let log = arena.attack(
        |mut peer, to| {
            for n in 0..2000 {
                peer = peer.dials_from(to, Some(alias(n)));
            }
            peer.mute()
        },
        |_, _| {},
    );
    arena.run(1);
    arena.meet();
    let start = arena.world.now;
    let joined = arena.world.run_until(start + Duration::from_secs(2), |world| {
        let events = &world.node(arena.victim).events;
        events.iter().filter(|(_, event)| matches!(event, Event::PeerJoined { .. })).count() == 2
    });
    assert!(joined, "the honest peers are in within 2 s");
    arena.finish();
    assert!(log.borrow().open() <= 200, "{} silent connections are kept", log.borrow().open());
    arena.run(11);
    assert_eq!(log.borrow().open(), 0);
}

#[test]
fn a_thousand_handshakes_that_then_idle_keep_no_honest_peer_out() {
    let mut arena = Arena::new(4);
    let log = arena.attack(
        |mut peer, to| {
            for n in 0..1000 {
                peer = peer.dials_from(to, Some(alias(n)));
            }
            peer
        },
        |_, _| {},
    );
    arena.run(5);
    assert!(log.borrow().open() >= 100, "they are in: {}", log.borrow().open());
    arena.meet();
    arena.finish();
    assert!(log.borrow().open() <= 500);
    assert!(arena.held() < 4 << 20, "{} bytes held", arena.held());
}

#[test]
fn answering_half_a_handshake_is_no_way_to_hold_a_place() {
    let mut arena = Arena::new(5);
    let hash = arena.content.torrent.id().0;
    arena.attack(
        |mut peer, to| {
            for n in 0..1000 {
                peer = peer.dials_from(to, Some(alias(n)));
            }
            peer.mute()
        },
        move |line, heard| {
            if heard == Heard::Open {
                line.raw(b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0");
                line.raw(&hash);
            }
        },
    );
    arena.run(2);
    arena.meet();
    let start = arena.world.now;
    arena.world.run_until(start + Duration::from_secs(2), |_| false);
    let events = &arena.world.node(arena.victim).events;
    assert_eq!(events.iter().filter(|(_, event)| matches!(event, Event::PeerJoined { .. })).count(), 2);
    arena.finish();
}

#[test]
fn one_id_on_fifty_connections_is_one_peer() {
    let mut arena = Arena::new(6);
    let log = arena.attack(
        |mut peer, to| {
            for n in 0..50 {
                peer = peer.dials_from(to, Some(alias(n)));
            }
            peer.id(PeerId(*b"-XX0001-aaaaaaaaaaaa"))
        },
        |_, _| {},
    );
    arena.finish();
    assert_eq!(log.borrow().open(), 1);
    assert!(!arena.banned());
}

#[test]
fn who_claims_to_be_us_is_sent_away_and_nobody_is_banned() {
    let mut ours = None;
    let mut arena = Arena::with(7, |config| ours = Some(config.peer_id));
    let id = ours.expect("the settings have an id");
    let log = arena.attack(|peer, to| peer.id(id).dials(to), |_, _| {});
    arena.finish();
    arena.run(11);
    assert_eq!(log.borrow().open(), 0);
    assert!(!arena.banned());
}

#[test]
fn a_node_that_is_told_its_own_address_lets_it_be() {
    let mut arena = Arena::new(8);
    arena.world.introduce(arena.victim, arena.victim);
    arena.finish();
    arena.run(300);
    let node = arena.world.node(arena.victim);
    let own = node.dials.iter().filter(|(_, addr)| *addr == node.addr).count();
    assert!(own <= 1, "dialled itself {own} times");
    assert!(!arena.banned());
}

#[test]
fn two_nodes_that_dial_each_other_keep_one_connection() {
    for seed in 0..20 {
        let content = swarm::sim::Content::new(seed, 1 << 20, 64 * 1024);
        let mut world = swarm::sim::World::new(seed);
        let a = world.add(&content, Role::Seed, Access::default());
        let b = world.add(&content, Role::Leech, Access::symmetric(200_000));
        world.introduce(a, b);
        world.run_until(Time::from_millis(seed * 3), |_| false);
        world.introduce(b, a);
        world.run_until(Time::from_secs(2), |_| false);
        for id in [a, b] {
            let node = world.node(id);
            assert_eq!(node.engine.peers(world.now, node.torrent).len(), 1, "seed {seed}");
            let wrong = node.events.iter().find(|(_, event)| {
                matches!(event, Event::PeerLeft { reason, .. } if !matches!(reason, Close::Duplicate | Close::Eof))
            });
            assert_eq!(wrong, None, "seed {seed}");
        }
        assert!(world.run_until_complete(&[b], Time::from_secs(60)).is_some(), "seed {seed}");
    }
}

#[test]
fn a_dial_that_nobody_answers_ends_and_is_tried_again_later() {
    let mut arena = Arena::new(9);
    let id = arena.world.add(&arena.content, Role::Seed, Access::default().nat());
    arena.world.introduce(arena.victim, id);
    arena.finish();
    arena.run(60);
    let addr = arena.world.addr(id);
    let dials = arena.world.node(arena.victim).dials.iter().filter(|(_, to)| *to == addr).count();
    assert!((1..=3).contains(&dials), "{dials} dials");
}
