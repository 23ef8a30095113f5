//! Peers that have nothing for each other part, and do not come back as long as that is so (BEP 21).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use metainfo::Builder;
use swarm::engine::candidates::Source;
use swarm::engine::changes::Columns;
use swarm::engine::picker::Priority;
use swarm::engine::tracker::Event as Announced;
use swarm::engine::{Close, Event, Time};
use swarm::sim::{Access, Content, Heard, Line, NodeId, Role, Scripted, World};
use wire::peer::{Bitfield, DontHave, ExtendedHandshake, Extensions, Message, PexFlags, PexMessage};

use super::arena::{PIECE, PIECES};

const HOUR: Time = Time::from_secs(3600);
/// Before a peer is dropped that sends no keep-alives.
const SOON: Time = Time::from_secs(200);

fn content(seed: u64) -> Content {
    Content::new(seed, (PIECES * PIECE) as usize, PIECE)
}

/// A node that has the first pieces, and wants nothing more.
fn partial_seed(world: &mut World, content: &Content, have: u32) -> NodeId {
    let mut bits = Bitfield::new(PIECES);
    (0..have).for_each(|piece| _ = bits.set(piece));
    let id = world.add(content, Role::Partial(bits), Access::default());
    want(world, id, have, Priority::Skip);
    id
}

/// Sets how much the pieces from `first` on are wanted.
fn want(world: &mut World, id: NodeId, first: u32, priority: Priority) {
    let now = world.now;
    let node = world.node_mut(id);
    let pieces: Vec<_> = node.content.torrent.geometry().pieces().skip(first as usize).collect();
    let key = node.torrent;
    node.engine.set_priorities(now, key, pieces.into_iter().map(|piece| (piece, priority)));
    world.touch(id);
}

fn parted(world: &World, id: NodeId) -> usize {
    let is = |event: &Event| matches!(event, Event::PeerLeft { reason: Close::Redundant, .. });
    world.node(id).events.iter().filter(|(_, event)| is(event)).count()
}

/// How often one dialled the other.
fn dials(world: &World, from: NodeId, to: NodeId) -> usize {
    world.node(from).dials.iter().filter(|(_, addr)| *addr == world.addr(to)).count()
}

fn say_extended(line: &mut Line<'_>, said: &ExtendedHandshake) {
    let mut payload = Vec::new();
    said.encode(&mut payload);
    line.say(Message::Extended { id: 0, payload: &payload });
}

#[test]
fn who_wants_nothing_of_each_other_parts_for_good() {
    for other_is_seed in [true, false] {
        let content = content(1);
        let mut world = World::new(1);
        let a = partial_seed(&mut world, &content, 16);
        let b = if other_is_seed {
            world.add(&content, Role::Seed, Access::default())
        } else {
            partial_seed(&mut world, &content, 8)
        };
        world.introduce(a, b);
        world.run_until(Time::from_secs(60), |_| false);
        world.introduce(b, a);
        world.run_until(HOUR, |_| false);
        assert!(parted(&world, a) + parted(&world, b) > 0, "other is a seed: {other_is_seed}");
        for id in [a, b] {
            let node = world.node(id);
            assert_eq!(node.engine.peers(world.now, node.torrent).len(), 0);
            assert!(node.dials.len() <= 2, "other is a seed: {other_is_seed}: {:?}", node.dials);
        }
        want(&mut world, a, 16, Priority::Normal);
        let end = world.now + Duration::from_secs(10);
        let is_back = |world: &World| {
            let node = world.node(a);
            !node.engine.peers(world.now, node.torrent).is_empty()
        };
        assert!(world.run_until(end, is_back), "when more is wanted they meet at once");
        world.check();
    }
}

#[test]
fn a_peer_that_uploads_only_is_dialled_once_and_anew_when_it_wants_more() {
    // What it says in further handshakes after a second, and how often it is dialled then.
    for (again, stays) in [(None, false), (Some(false), true)] {
        let content = content(2);
        let mut world = World::new(2);
        let leech = world.add(&content, Role::Leech, Access::default());
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(_) => {
                line.say(Message::HaveNone);
                say_extended(
                    line,
                    &ExtendedHandshake { upload_only: Some(true), ..ExtendedHandshake::default() },
                );
                line.wake_in(Duration::from_secs(1));
            }
            Heard::Wake if again.is_some() => {
                say_extended(line, &ExtendedHandshake { upload_only: again, ..ExtendedHandshake::default() });
            }
            _ => {}
        };
        let (peer, log) = Scripted::new(&content).enter(&mut world, Access::default(), script);
        world.introduce(leech, peer);
        world.run_until(Time::from_secs(5), |_| false);
        assert_eq!(log.borrow().open(), 1, "it may want more as long as we do");
        let seed = world.add(&content, Role::Seed, Access::symmetric(1_000_000));
        world.introduce(leech, seed);
        assert!(world.run_until_complete(&[leech], Time::from_secs(60)).is_some());
        world.run_until(if stays { SOON } else { HOUR }, |_| false);
        let open = log.borrow().open();
        assert_eq!((dials(&world, leech, peer), open), (1, usize::from(stays)), "said again: {again:?}");
    }
}

#[test]
fn who_may_yet_need_the_metadata_of_us_stays() {
    for takes_metadata in [true, false] {
        let content = content(3);
        let mut world = World::new(3);
        let seed = world.add(&content, Role::Seed, Access::default());
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
            if matches!(heard, Heard::Handshake(_)) {
                let names = takes_metadata.then_some(("ut_metadata", 7));
                say_extended(
                    line,
                    &ExtendedHandshake {
                        extensions: Extensions::from_iter(names),
                        upload_only: Some(true),
                        ..ExtendedHandshake::default()
                    },
                );
            }
        };
        let (peer, log) = Scripted::new(&content).enter(&mut world, Access::default(), script);
        world.introduce(seed, peer);
        world.run_until(Time::from_secs(60), |_| false);
        assert_eq!(log.borrow().open(), usize::from(takes_metadata));
    }
}

/// Tells us of who the node that it dials is connected to.
fn listener(world: &mut World, content: &Content, to: NodeId) -> Rc<RefCell<Vec<PexMessage>>> {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let log = heard.clone();
    let peer = Scripted::new(content).dials(world.addr(to));
    peer.enter(world, Access::default(), move |line, event| match event {
        Heard::Handshake(_) => {
            let extensions = Extensions::from_iter([("ut_pex", 11)]);
            say_extended(line, &ExtendedHandshake { extensions, ..ExtendedHandshake::default() });
        }
        Heard::Message(Message::Extended { id: 11, payload }) => {
            log.borrow_mut().push(PexMessage::parse(payload).unwrap());
        }
        _ => {}
    });
    heard
}

#[test]
fn what_a_peer_gains_or_loses_later_is_told_and_remembered() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Does {
        Gains,
        Loses,
        WantsNothing,
    }
    for does in [Does::Gains, Does::Loses, Does::WantsNothing] {
        let content = content(4);
        let mut world = World::new(4);
        let leech = world.add(&content, Role::Leech, Access::default());
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(_) => {
                match does {
                    Does::Gains => line.say(Message::Bitfield(&[0xff, 0xff, 0xff, 0xfe])),
                    Does::Loses => line.say(Message::HaveAll),
                    Does::WantsNothing => line.say(Message::HaveNone),
                }
                line.wake_in(Duration::from_secs(5));
            }
            Heard::Wake => match does {
                Does::Gains => line.say(Message::Have(PIECES - 1)),
                Does::Loses => {
                    let mut payload = Vec::new();
                    DontHave(7).encode(&mut payload);
                    line.say(Message::Extended { id: 3, payload: &payload });
                }
                Does::WantsNothing => {
                    let said = ExtendedHandshake { upload_only: Some(true), ..ExtendedHandshake::default() };
                    say_extended(line, &said);
                }
            },
            _ => {}
        };
        let (peer, log) = Scripted::new(&content).enter(&mut world, Access::default(), script);
        world.introduce(leech, peer);
        world.run_until(Time::from_secs(10), |_| false);
        let heard = listener(&mut world, &content, leech);
        world.run_until(Time::from_secs(20), |_| false);
        let addr = world.addr(peer);
        let told = heard.borrow().iter().flat_map(|m| m.added.clone()).find(|named| named.addr == addr);
        let is_done = does != Does::Loses;
        assert_eq!(told.map(|named| named.flags.has(PexFlags::SEED)), Some(is_done), "{does:?}");
        let seed = world.add(&content, Role::Seed, Access::symmetric(1_000_000));
        world.introduce(leech, seed);
        assert!(world.run_until_complete(&[leech], Time::from_secs(60)).is_some());
        world.run_until(if is_done { HOUR } else { SOON }, |_| false);
        let open = log.borrow().open();
        assert_eq!((dials(&world, leech, peer), open), (1, usize::from(!is_done)), "{does:?}");
        world.check();
    }
}

#[test]
fn a_seed_that_another_peer_named_is_not_dialled_by_a_seed() {
    for is_seed in [true, false] {
        let content = content(5);
        let mut world = World::new(5);
        let seed = world.add(&content, Role::Seed, Access::default());
        let (other, log) = Scripted::new(&content).enter(&mut world, Access::default(), |_, _| {});
        let flags = if is_seed { PexFlags::SEED } else { PexFlags::default() };
        let named = wire::peer::PexPeer { addr: world.addr(other), flags };
        Scripted::new(&content).dials(world.addr(seed)).enter(
            &mut world,
            Access::default(),
            move |line, heard| {
                if matches!(heard, Heard::Handshake(_)) {
                    let message = PexMessage { added: vec![named], dropped: Vec::new() };
                    let mut payload = Vec::new();
                    message.encode(&mut payload);
                    line.say(Message::Extended { id: 1, payload: &payload });
                }
            },
        );
        world.run_until(Time::from_secs(100), |_| false);
        assert_eq!(log.borrow().handshakes, usize::from(!is_seed));
    }
}

#[test]
fn trackers_are_told_of_a_partial_seed_until_it_wants_more() {
    const TRACKER: &str = "http://tracker.example/announce";
    let len = u64::from(PIECES * PIECE);
    let builder = Builder::single("content.bin", len).piece_length(PIECE);
    let content = Content::build(6, len as usize, builder.tracker_tiers(vec![vec![TRACKER.into()]]));
    let mut world = World::new(6);
    world.tracker(TRACKER).interval = 600;
    let node = partial_seed(&mut world, &content, 16);
    world.run_until(Time::from_secs(1500), |_| false);
    want(&mut world, node, 16, Priority::Normal);
    world.run_until(Time::from_secs(2200), |_| false);
    let seed = world.add(&content, Role::Seed, Access::default());
    assert!(world.run_until_complete(&[node], Time::from_secs(3000)).is_some());
    world.run_until(Time::from_secs(4500), |_| false);
    let addr = world.addr(node);
    let announces = &world.tracker(TRACKER).announces;
    let told: Vec<_> = announces.iter().filter(|(_, from, _)| *from == addr).map(|(.., e)| *e).collect();
    assert_eq!(told[..4], [Announced::Started, Announced::Paused, Announced::Paused, Announced::None]);
    let completed = told.iter().position(|event| *event == Announced::Completed).unwrap();
    assert!(told[4..].iter().all(|event| *event != Announced::Paused), "{told:?}");
    assert!(completed >= 4 && completed + 1 < told.len(), "{told:?}");
    let peers = world.node(seed).engine.peers(world.now, world.node(seed).torrent);
    assert!(peers.iter().all(|peer| !peer.sources.has(Source::Pex)));
}

#[test]
fn a_magnet_whose_wanted_pieces_are_there_seeds_from_the_start() {
    let content = content(7);
    let mut world = World::new(7);
    let seed = world.add(&content, Role::Seed, Access::default());
    let magnet = world.add(&content, Role::Magnet, Access::default());
    world.node_mut(magnet).choices = (0..PIECES).map(|piece| (piece, Priority::Skip)).collect();
    let now = world.now;
    let first = world.node_mut(magnet).engine.changes_since(now, 1, 0, Columns::ALL);
    world.introduce(magnet, seed);
    assert!(world.run_until(Time::from_secs(20), |world| world.node(magnet).furnished.is_some()));
    let now = world.now;
    let changed = world.node_mut(magnet).engine.changes_since(now, 1, first.revision, Columns::ALL);
    let [upsert] = &changed.upserts[..] else { panic!("{changed:?}") };
    for columns in [Columns::IDENTITY, Columns::PROGRESS, Columns::FILES] {
        assert!(upsert.columns.has(columns), "{upsert:?}");
    }
    world.check();
    world.run_until(Time::from_secs(100), |_| false);
    assert!(parted(&world, magnet) + parted(&world, seed) > 0);
}
