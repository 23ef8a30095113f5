//! Torrents of which peers must not tell each other (BEP 27), and magnet links of which it is not known yet.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use metainfo::Builder;
use swarm::engine::candidates::Source;
use swarm::engine::scope::Scope;
use swarm::engine::{Close, Time};
use swarm::sim::{Access, Content, Heard, Line, NodeId, Role, Scripted, World};
use wire::peer::{ExtendedHandshake, Message, MetadataMessage, Reserved};

use super::arena::PIECE;
use super::exchange::{LEN, content, hello, named, say_pex};

fn private(seed: u64) -> Content {
    Content::build(seed, LEN, Builder::single("content.bin", LEN as u64).piece_length(PIECE).private(true))
}

/// All that a watcher of one swarm heard: extension handshakes and messages of extensions.
#[derive(Default)]
struct Watched {
    handshakes: Vec<ExtendedHandshake>,
    pex: usize,
    metadata: usize,
    rejects: usize,
}

fn watch(world: &mut World, content: &Content, of: NodeId) -> Rc<RefCell<Watched>> {
    let watched = Rc::new(RefCell::new(Watched::default()));
    let log = watched.clone();
    let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
        Heard::Handshake(_) => {
            hello(line);
            line.say(Message::Interested);
            line.wake_in(Duration::from_secs(5));
        }
        Heard::Wake => {
            let mut payload = Vec::new();
            MetadataMessage::Request { piece: 0 }.encode(&mut payload);
            line.say(Message::Extended { id: 2, payload: &payload });
            say_pex(line, &named(["60.1.2.3:7000".parse().unwrap()]));
            line.wake_in(Duration::from_secs(70));
        }
        Heard::Message(Message::Extended { id, payload }) => {
            let mut log = log.borrow_mut();
            match id {
                0 => log.handshakes.push(ExtendedHandshake::parse(payload).unwrap()),
                11 => log.pex += 1,
                12 => match MetadataMessage::parse(payload) {
                    Ok(Some(MetadataMessage::Reject { .. })) => log.rejects += 1,
                    _ => log.metadata += 1,
                },
                _ => {}
            }
        }
        _ => {}
    };
    let peer = Scripted::new(content).dials(world.addr(of));
    peer.enter(world, Access::default(), script);
    watched
}

#[test]
fn a_private_torrent_gives_nothing_away() {
    for is_private in [true, false] {
        let content = if is_private { private(7) } else { content(7) };
        let mut world = World::new(7);
        world.on_one_lan();
        let seed = world.add(&content, Role::Seed, Access::symmetric(200_000));
        let leeches = [0; 3].map(|_| world.add(&content, Role::Leech, Access::symmetric(200_000)));
        for leech in leeches {
            world.introduce(leech, seed);
        }
        let watched: Vec<_> = leeches.iter().map(|id| watch(&mut world, &content, *id)).collect();
        assert!(world.run_until_complete(&leeches, Time::from_secs(300)).is_some());
        world.run_until(Time::from_secs(900), |_| false);
        for (id, watched) in leeches.into_iter().zip(&watched) {
            let watched = watched.borrow();
            let offers = |name| watched.handshakes.iter().any(|said| said.extensions.id(name).is_some());
            let sized = watched.handshakes.iter().any(|said| said.metadata_size.is_some());
            assert!(!watched.handshakes.is_empty() && watched.rejects + watched.metadata > 0);
            assert_eq!([offers("ut_pex"), offers("ut_metadata"), sized], [!is_private; 3]);
            assert_eq!([watched.pex > 0, watched.metadata > 0], [!is_private; 2]);
            let node = world.node(id);
            assert_eq!(!node.local.is_empty(), !is_private);
            let stranger = node.dials.iter().any(|(_, addr)| addr.port() == 7000);
            assert_eq!(stranger, !is_private, "a peer named by a peer");
        }
    }
}

#[test]
fn a_magnet_that_turns_out_private_drops_who_it_may_not_use() {
    let content = private(8);
    let mut world = World::new(8);
    world.on_one_lan();
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let info = |line: &Line<'_>| line.content.torrent.info_bytes().to_vec();
    // Seeds of a private torrent do not give its metadata, so somebody else has to.
    let give = move |after: Duration| {
        move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(_) if after.is_zero() => hello(line),
            Heard::Handshake(_) => line.wake_in(after),
            Heard::Wake => hello(line),
            Heard::Message(Message::Extended { id: 12, payload }) => {
                if let Ok(Some(MetadataMessage::Request { piece })) = MetadataMessage::parse(payload) {
                    let (data, mut out) = (info(line), Vec::new());
                    let total_size = Some(data.len() as u64);
                    MetadataMessage::Data { piece, total_size, data: &data }.encode(&mut out);
                    line.say(Message::Extended { id: 2, payload: &out });
                }
            }
            _ => {}
        }
    };
    let sources = [Source::User, Source::Tracker, Source::Dht, Source::Pex, Source::Lsd, Source::Link];
    let peers: Vec<_> = sources
        .iter()
        .map(|source| {
            let script = give(Duration::from_secs(if *source == Source::User { 10 } else { 0 }));
            let silent = |_: &mut Line<'_>, _: Heard<'_>| {};
            if *source == Source::User {
                Scripted::new(&content).enter(&mut world, Access::default(), script)
            } else {
                Scripted::new(&content).enter(&mut world, Access::default(), silent)
            }
        })
        .collect();
    let caller = watch(&mut world, &content, magnet);
    for ((peer, _), source) in peers.iter().zip(sources) {
        let (now, addr) = (world.now, world.addr(*peer));
        let node = world.node_mut(magnet);
        let torrent = node.torrent;
        node.engine.add_peers(now, torrent, &[addr], source, Scope::Loopback);
    }
    world.run_until(Time::from_secs(8), |_| false);
    assert!(peers.iter().all(|(_, log)| log.borrow().open() == 1), "all are used before");
    assert_eq!(caller.borrow().pex, 0);
    world.run_until(Time::from_secs(200), |_| false);
    assert!(world.node(magnet).furnished.is_some());
    let open: Vec<_> = peers.iter().map(|(_, log)| log.borrow().open()).collect();
    assert_eq!(open, [1, 1, 0, 0, 0, 0], "what may name peers of a private torrent");
    let left =
        world.node(magnet).events.iter().filter(|(_, event)| {
            matches!(event, swarm::engine::Event::PeerLeft { reason: Close::Private, .. })
        });
    assert_eq!(left.count(), 4);
    assert!(world.node(magnet).local.is_empty());
    let last = caller.borrow().handshakes.last().cloned().unwrap();
    assert_eq!(last.metadata_size, None);
    assert_eq!(caller.borrow().pex, 0);
    world.check();
}

#[test]
fn a_magnet_that_is_said_to_be_private_is_at_once() {
    let content = private(10);
    let mut world = World::new(10);
    world.on_one_lan();
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let silent = |line: &mut Line<'_>, heard: Heard<'_>| {
        if matches!(heard, Heard::Handshake(_)) {
            hello(line);
        }
    };
    let to = world.addr(magnet);
    // Two dial it: one that the local network told of, one that nobody told of.
    let [(told, log), (_, untold)] =
        [0; 2].map(|_| Scripted::new(&content).dials(to).enter(&mut world, Access::default(), silent));
    world.run_until(Time::from_secs(1), |_| false);
    let id = content.torrent.id().0;
    let announce = wire::lsd::Announce { port: 7000, hashes: vec![id].into(), cookie: None };
    let from = world.addr(told);
    world.overhear(magnet, from, &announce);
    world.run_until(Time::from_secs(2), |_| false);
    assert_eq!([log.borrow().open(), untold.borrow().open()], [1, 1]);
    let now = world.now;
    let node = world.node_mut(magnet);
    node.engine.declare_private(now, node.torrent);
    world.overhear(magnet, "192.168.1.9:6771".parse().unwrap(), &announce);
    world.run_until(Time::from_secs(60), |_| false);
    assert_eq!([log.borrow().open(), untold.borrow().open()], [0, 1]);
    world.run_until(Time::from_secs(400), |_| false);
    assert!(
        world.node(magnet).dials.iter().all(|(_, addr)| addr.ip().to_string() != "192.168.1.9"),
        "a neighbour"
    );
    assert!(world.node(magnet).local.is_empty());
    world.check();
}

#[test]
fn dials_under_way_are_ended_and_no_node_is_told_of_when_a_magnet_proves_private() {
    let content = private(13);
    let mut world = World::new(13);
    let magnet = world.add(&content, Role::Magnet, Access::default());
    world.join_dht(magnet, &[]);
    let reserved = Reserved::NONE.with_fast().with_extended().with_dht();
    let said = Rc::new(RefCell::new(Vec::new()));
    let far = Access::default().latency(Duration::from_secs(2));
    let mut enter = |name: &'static str, access: Access| {
        let said = said.clone();
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(handshake) => {
                said.borrow_mut().push((name, handshake.reserved.dht()));
                hello(line);
            }
            Heard::Message(Message::Port(_)) => panic!("{name} is told of a node"),
            _ => {}
        };
        Scripted::new(&content).reserved(reserved).enter(&mut world, access, script)
    };
    let (near, near_log) = enter("near", Access::default());
    let (open, open_log) = enter("open", far);
    let (member, member_log) = enter("member", far);
    for (peer, source) in [(near, Source::Tracker), (open, Source::Dht), (member, Source::Tracker)] {
        let (now, addr) = (world.now, world.addr(peer));
        let node = world.node_mut(magnet);
        node.engine.add_peers(now, node.torrent, &[addr], source, Scope::Loopback);
    }
    world.run_until(Time::from_secs(1), |_| false);
    let counts = |log: &Rc<RefCell<swarm::sim::Log>>| (log.borrow().handshakes, log.borrow().open());
    assert_eq!([&near_log, &open_log, &member_log].map(counts), [(1, 1), (0, 1), (0, 1)]);
    let now = world.now;
    let node = world.node_mut(magnet);
    node.engine.declare_private(now, node.torrent);
    world.touch(magnet);
    world.run_until(Time::from_secs(60), |_| false);
    assert_eq!([&near_log, &open_log, &member_log].map(counts), [(1, 1), (0, 0), (1, 1)]);
    // It was not known before: the first one heard of the DHT, but not where our node is.
    assert_eq!(*said.borrow(), [("near", true), ("member", false)]);
    world.check();
}

#[test]
fn a_magnet_tells_where_its_node_is_once_it_is_known_not_to_be_private() {
    let content = content(14);
    let mut world = World::new(14);
    let magnet = world.add(&content, Role::Magnet, Access::default());
    world.join_dht(magnet, &[]);
    let told = Rc::new(RefCell::new(Vec::new()));
    let log = told.clone();
    let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
        Heard::Handshake(_) => hello(line),
        Heard::Message(Message::Port(_)) => log.borrow_mut().push(line.now),
        _ => {}
    };
    Scripted::new(&content)
        .reserved(Reserved::NONE.with_fast().with_extended().with_dht())
        .dials(world.addr(magnet))
        .enter(&mut world, Access::default(), script);
    world.run_until(Time::from_secs(10), |_| false);
    assert_eq!(*told.borrow(), []);
    let seed = world.add(&content, Role::Seed, Access::default());
    world.introduce(magnet, seed);
    world.run_until(Time::from_secs(30), |_| false);
    let furnished = world.node(magnet).furnished.unwrap();
    assert_eq!(told.borrow().len(), 1);
    assert!(told.borrow()[0] >= furnished);
    world.check();
}
