//! Peers, disks and sources that leave at the wrong moment, and what they must not leave behind.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use metainfo::{Block, Builder};
use storage::Buf;
use swarm::engine::picker::Priority;
use swarm::engine::{Close, Event, Time, Violation};
use swarm::sim::{Access, Content, DiskSpeed, Heard, NodeId, Role, Scripted, World};
use wire::peer::{ExtendedHandshake, Message, Request, Reserved};

use super::arena::{Arena, BLOCK, bytes, first_block};

const PIECE: u32 = 64 * 1024;

fn content(pieces: u32) -> Content {
    Content::new(1, (pieces * PIECE) as usize, PIECE)
}

fn block(index: u32, number: u32) -> Request {
    Request { index, begin: number * BLOCK, len: BLOCK }
}

fn slow_disk() -> DiskSpeed {
    DiskSpeed { seek: Duration::from_millis(500), ..DiskSpeed::default() }
}

#[test]
fn a_block_that_a_source_and_a_peer_were_asked_for_comes_from_the_peer() {
    let content = content(4);
    let mut world = World::new(1);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    let node = world.node_mut(leech);
    let (key, now) = (node.torrent, Time::ZERO);
    let source = node.engine.add_source(now, key, 100).unwrap();
    assert!(node.engine.source_next(now, source).is_some(), "it claims everything");
    world.introduce(leech, seed);
    assert!(world.run_until_complete(&[leech], Time::from_secs(60)).is_some());
}

#[test]
fn a_source_that_gives_up_leaves_no_block_behind() {
    let content = content(2);
    let mut world = World::new(2);
    let leech = world.add(&content, Role::Leech, Access::default());
    let node = world.node_mut(leech);
    let (key, now) = (node.torrent, Time::ZERO);
    let first = node.engine.add_source(now, key, 1).unwrap();
    // It has more under way than one claim has blocks.
    let mut under_way: Vec<(Block, Buf)> =
        std::iter::from_fn(|| node.engine.source_next(now, first)).take(6).collect();
    assert_eq!(under_way.len(), 6);
    node.engine.handle_source_failed(now, first, under_way.remove(0).1);
    node.engine.remove_source(now, first);
    let second = node.engine.add_source(now, key, 1).unwrap();
    let mut given = 0;
    while let Some((block, mut data)) = node.engine.source_next(now, second) {
        let range =
            content.torrent.geometry().range_at(block.piece().get(), block.begin(), block.len(), BLOCK);
        data.space()[..block.len() as usize].copy_from_slice(content.range(range.unwrap()));
        node.engine.handle_source_block(now, second, block, data);
        given += 1;
    }
    assert_eq!(given, 8, "every block is asked of the second");
    world.introduce(leech, leech);
    assert!(world.run_until_complete(&[leech], Time::from_secs(10)).is_some());
}

#[test]
fn who_waits_for_the_buffers_of_a_peer_that_left_is_served_then() {
    let content = content(4);
    let mut world = World::new(3);
    let victim = world.add_with(&content, Role::Seed, Access::default(), slow_disk(), |config| {
        config.read_credit = 2 * BLOCK as usize;
    });
    let to = world.addr(victim);
    let (_, _) =
        Scripted::new(&content).dials(to).enter(&mut world, Access::default(), |line, heard| match heard {
            Heard::Open => line.say(Message::Interested),
            Heard::Message(Message::Unchoke) => {
                line.say(Message::Request(block(0, 0)));
                line.say(Message::Request(block(1, 0)));
                line.wake_in(Duration::from_millis(300));
            }
            Heard::Wake => line.close(),
            _ => {}
        });
    let (_, log) =
        Scripted::new(&content).dials(to).enter(&mut world, Access::default(), |line, heard| match heard {
            Heard::Open => line.say(Message::Interested),
            Heard::Message(Message::Unchoke) => line.wake_in(Duration::from_millis(150)),
            Heard::Wake => line.say(Message::Request(block(2, 0))),
            _ => {}
        });
    world.run_until(Time::from_secs(20), |_| false);
    assert_eq!(log.borrow().payload, BLOCK as usize);
}

#[test]
fn what_cannot_be_read_does_not_hold_up_what_was_asked_for_after_it() {
    let content = content(4);
    let mut world = World::new(4);
    let victim = world.add_with(&content, Role::Seed, Access::default(), slow_disk(), |config| {
        config.read_credit = 2 * BLOCK as usize;
    });
    world.node(victim).store.break_piece(content.torrent.geometry().piece(0).unwrap());
    let to = world.addr(victim);
    let (_, log) =
        Scripted::new(&content).dials(to).enter(&mut world, Access::default(), |line, heard| match heard {
            Heard::Open => line.say(Message::Interested),
            Heard::Message(Message::Unchoke) => {
                for request in [block(0, 0), block(0, 2), block(1, 0)] {
                    line.say(Message::Request(request));
                }
            }
            _ => {}
        });
    world.run_until(Time::from_secs(20), |_| false);
    let log = log.borrow();
    assert_eq!((log.count("reject"), log.payload), (2, BLOCK as usize));
}

#[test]
fn tiny_requests_are_queued_like_others() {
    let mut arena = Arena::new(5);
    let tiny = bytes(Message::Request(Request { len: 1, ..first_block(0) })).repeat(20_000);
    arena.attack(
        |peer, to| peer.dials(to).deaf(),
        move |line, heard| {
            if heard == Heard::Open {
                line.say(Message::Interested);
                line.wake_in(Duration::from_secs(1));
            } else if heard == Heard::Wake {
                line.raw(&tiny);
            }
        },
    );
    arena.finish();
    assert_eq!(arena.reasons(), [Close::Violation(Violation::RequestFlood)]);
    assert!(arena.held() < 2 << 20, "{} bytes held", arena.held());
}

#[test]
fn a_peer_that_rejects_some_and_then_delivers_is_asked_again() {
    let content = content(32);
    let mut world = World::new(6);
    let leech = world.add(&content, Role::Leech, Access::default());
    let to = world.addr(leech);
    let (mut served, mut held) = (0, Vec::new());
    Scripted::new(&content).dials(to).enter(&mut world, Access::default(), move |line, heard| match heard {
        Heard::Open => {
            line.say(Message::HaveAll);
            line.say(Message::Unchoke);
        }
        Heard::Message(Message::Request(request)) if (8..14).contains(&served) => {
            served += 1;
            held.push(request);
            if let [rejected @ .., a, b] = &held[..]
                && rejected.len() == 4
            {
                rejected.iter().for_each(|request| line.say(Message::Reject(*request)));
                line.serve(*a);
                line.serve(*b);
            }
        }
        Heard::Message(Message::Request(request)) => {
            served += 1;
            line.serve(request);
        }
        _ => {}
    });
    assert!(world.run_until_complete(&[leech], Time::from_secs(30)).is_some());
}

#[test]
fn a_peer_names_one_port_of_its_own() {
    let content = content(4);
    let mut world = World::new(7);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    let to = world.addr(leech);
    let mut ports = Vec::new();
    for port in 2000..6000 {
        let mut payload = Vec::new();
        ExtendedHandshake { port: Some(port), ..ExtendedHandshake::default() }.encode(&mut payload);
        ports.extend(bytes(Message::Extended { id: 0, payload: &payload }));
    }
    let neighbour = "10.0.0.9:5000".parse().unwrap();
    Scripted::new(&content).dials_from(to, Some(neighbour)).enter(
        &mut world,
        Access::symmetric(20_000_000),
        move |line, heard| {
            if heard == Heard::Open {
                line.raw(&ports);
            }
        },
    );
    world.run_until(Time::from_secs(5), |_| false);
    world.introduce(leech, seed);
    assert!(world.run_until_complete(&[leech], Time::from_secs(30)).is_some());
}

#[test]
fn candidates_of_a_tracker_that_a_private_torrent_left_are_not_dialled() {
    const FIRST: &str = "http://first.example/announce";
    const SECOND: &str = "http://second.example/announce";
    let tiers = vec![vec![FIRST.into()], vec![SECOND.into()]];
    let builder =
        Builder::single("content.bin", 1 << 20).piece_length(PIECE).tracker_tiers(tiers).private(true);
    let content = Content::build(7, 1 << 20, builder);
    let mut world = World::new(8);
    world.tracker(FIRST).interval = 60;
    let stranger = "90.9.9.9:6881".parse().unwrap();
    world.tracker(FIRST).extra.push(stranger);
    let leech = world.add(&content, Role::Leech, Access::default());
    world.run_until(Time::from_secs(30), |_| false);
    let dialled = |world: &World, after: Time| {
        world.node(leech).dials.iter().filter(|(at, addr)| *at > after && *addr == stranger).count()
    };
    assert!(dialled(&world, Time::ZERO) > 0);
    world.tracker(FIRST).down = true;
    let end = Time::from_secs(600);
    let moved = |world: &mut World| !world.tracker(SECOND).announces.is_empty();
    while !moved(&mut world) && world.now < end {
        let next = world.now + Duration::from_secs(1);
        world.run_until(next, |_| false);
    }
    assert!(moved(&mut world));
    let left = world.now + Duration::from_secs(1);
    world.run_until(left + Duration::from_secs(7200), |_| false);
    assert_eq!(dialled(&world, left), 0);
}

#[test]
fn no_more_peers_than_the_session_may_have_are_let_in() {
    let mut arena = Arena::with(9, |config| config.max_connections = 6);
    let logs: Vec<_> = (0..20).map(|_| arena.caller(|_, _| {})).collect();
    arena.run(5);
    let victim = arena.world.node(arena.victim);
    let peers = victim.engine.peers(arena.world.now, victim.torrent).len();
    assert!(peers <= 6, "{peers} peers");
    assert_eq!(logs.iter().map(|log| log.borrow().open()).sum::<usize>(), peers);
}

#[test]
fn a_limit_of_our_own_is_not_the_silence_of_a_peer() {
    let content = content(4);
    let mut world = World::new(10);
    let seed = world.add(&content, Role::Seed, Access::default());
    let disk = DiskSpeed::default();
    let leech = world.add_with(&content, Role::Leech, Access::default(), disk, |config| {
        config.down_limit = Some(0);
    });
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(600), |_| false);
    let left = |world: &World, id: NodeId| {
        world.node(id).events.iter().filter(|(_, event)| matches!(event, Event::PeerLeft { .. })).count()
    };
    assert_eq!((left(&world, leech), left(&world, seed)), (0, 0));
}

#[test]
fn whose_request_was_taken_back_in_the_endgame_is_asked_for_another() {
    let content = Content::new(11, 2 * BLOCK as usize, PIECE);
    let mut world = World::new(11);
    let leech = world.add(&content, Role::Leech, Access::default());
    let to = world.addr(leech);
    let everything = [0x80];
    let asked: Rc<RefCell<Vec<Request>>> = Rc::default();
    // It has both blocks to send and sends the one that the other one was asked for too.
    let doubled = asked.clone();
    Scripted::new(&content).reserved(Reserved::NONE).dials(to).enter(
        &mut world,
        Access::default(),
        move |line, heard| match heard {
            Heard::Open => {
                line.say(Message::Bitfield(&everything));
                line.say(Message::Unchoke);
                line.wake_in(Duration::from_secs(5));
            }
            Heard::Wake => doubled.borrow().iter().take(1).for_each(|request| line.serve(*request)),
            _ => {}
        },
    );
    world.run_until(Time::from_secs(2), |_| false);
    Scripted::new(&content).reserved(Reserved::NONE).dials(to).enter(
        &mut world,
        Access::default(),
        move |line, heard| match heard {
            Heard::Open => {
                line.say(Message::Bitfield(&everything));
                line.say(Message::Unchoke);
            }
            Heard::Message(Message::Request(request)) => {
                let mut asked = asked.borrow_mut();
                if !asked.is_empty() {
                    line.serve(request);
                }
                asked.push(request);
            }
            _ => {}
        },
    );
    assert!(world.run_until_complete(&[leech], Time::from_secs(10)).is_some());
}

#[test]
fn peers_are_told_when_we_want_nothing_more_and_when_we_do_again() {
    let content = content(4);
    let mut world = World::new(12);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    let to = world.addr(leech);
    let said: Rc<RefCell<Vec<Option<bool>>>> = Rc::default();
    let heard_of = said.clone();
    Scripted::new(&content).dials(to).enter(&mut world, Access::default(), move |_, heard| {
        if let Heard::Message(Message::Extended { id: 0, payload }) = heard {
            heard_of.borrow_mut().push(ExtendedHandshake::parse(payload).unwrap().upload_only);
        }
    });
    world.run_until(Time::from_secs(1), |_| false);
    let (now, key) = (world.now, world.node(leech).torrent);
    let first_two = content.torrent.geometry().pieces().take(2);
    let skipped: Vec<_> = content.torrent.geometry().pieces().skip(2).map(|p| (p, Priority::Skip)).collect();
    let all: Vec<_> =
        first_two.chain(skipped.iter().map(|(p, _)| *p)).map(|p| (p, Priority::Normal)).collect();
    world.node_mut(leech).engine.set_priorities(now, key, skipped);
    world.introduce(leech, seed);
    assert!(world.run_until_complete(&[leech], Time::from_secs(30)).is_some());
    let now = world.now;
    world.node_mut(leech).engine.set_priorities(now, key, all);
    world.run_until(Time::from_secs(120), |_| false);
    assert_eq!(*said.borrow(), [None, Some(true), Some(false), Some(true)]);
}
