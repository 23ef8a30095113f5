//! Peers that tell each other about peers (BEP 11), and about the local network (BEP 14); and torrents of which they must not (BEP
//! 27).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use metainfo::Builder;
use swarm::engine::candidates::Source;
use swarm::engine::scope::Scope;
use swarm::engine::{Close, Event, Time, Violation};
use swarm::sim::{Access, Content, DiskSpeed, Heard, Line, NodeId, Role, Scripted, World};
use wire::peer::{
    DontHave, ExtendedHandshake, Extensions, Message, MetadataMessage, PexFlags, PexMessage, PexPeer,
    Reserved,
};

use super::arena::{Arena, PIECE, PIECES};

const LEN: usize = (PIECES * PIECE) as usize;

fn content(seed: u64) -> Content {
    Content::new(seed, LEN, PIECE)
}

fn private(seed: u64) -> Content {
    Content::build(seed, LEN, Builder::single("content.bin", LEN as u64).piece_length(PIECE).private(true))
}

fn knows(world: &World, a: NodeId, b: NodeId) -> bool {
    let node = world.node(a);
    let peers = node.engine.peers(world.now, node.torrent);
    peers.iter().any(|peer| peer.addr.ip() == world.addr(b).ip())
}

/// Says what we take, ids 11 to 13.
fn hello(line: &mut Line<'_>) {
    let extensions = Extensions::from_iter([("ut_pex", 11), ("ut_metadata", 12), ("lt_donthave", 13)]);
    let size = line.content.torrent.info_bytes().len() as u64;
    let said = ExtendedHandshake {
        extensions,
        metadata_size: Some(size),
        port: Some(7000),
        ..ExtendedHandshake::default()
    };
    let mut payload = Vec::new();
    said.encode(&mut payload);
    line.say(Message::Extended { id: 0, payload: &payload });
}

fn say_pex(line: &mut Line<'_>, message: &PexMessage) {
    let mut payload = Vec::new();
    message.encode(&mut payload);
    line.say(Message::Extended { id: 1, payload: &payload });
}

fn named(addrs: impl IntoIterator<Item = SocketAddr>) -> PexMessage {
    let added = addrs.into_iter().map(|addr| PexPeer { addr, flags: PexFlags::REACHABLE }).collect();
    PexMessage { added, dropped: Vec::new() }
}

#[test]
fn a_friend_of_a_friend_is_found_within_a_minute() {
    let content = content(1);
    let mut world = World::new(1);
    let [a, b, c] = [0; 3].map(|_| world.add(&content, Role::Leech, Access::default()));
    world.introduce(a, b);
    world.introduce(b, c);
    assert!(world.run_until(Time::from_secs(60), |world| knows(world, a, c)), "by peer exchange alone");
    let node = world.node(a);
    let peers = node.engine.peers(world.now, node.torrent);
    let found = peers.iter().find(|peer| peer.addr.ip() == world.addr(c).ip()).unwrap();
    assert!(found.sources.has(Source::Pex) || !found.outgoing, "{found:?}");
    world.check();
}

#[test]
fn a_chain_of_magnets_becomes_a_swarm() {
    let content = content(2);
    let mut world = World::new(2);
    let seed = world.add(&content, Role::Seed, Access::symmetric(300_000));
    let magnets: Vec<_> =
        (0..20).map(|_| world.add(&content, Role::Magnet, Access::symmetric(300_000))).collect();
    for pair in magnets.windows(2) {
        world.introduce(pair[1], pair[0]);
    }
    world.introduce(magnets[0], seed);
    assert!(world.run_until_complete(&magnets, Time::from_secs(300)).is_some());
    let most = magnets.iter().map(|id| world.node(*id).dials.len()).max().unwrap();
    assert!(most > 2, "they found more than their neighbours");
    world.check();
}

#[test]
fn messages_come_once_a_minute_and_name_only_who_is_there() {
    let mut arena = Arena::new(3);
    arena.meet();
    let honest: Vec<_> = (0..3).map(|n| arena.world.addr(NodeId(n))).collect();
    let heard = Rc::new(RefCell::new(Vec::new()));
    let log = heard.clone();
    arena.caller(move |line, event| match event {
        Heard::Handshake(_) => hello(line),
        Heard::Message(Message::Extended { id: 11, payload }) => {
            log.borrow_mut().push((line.now, PexMessage::parse(payload).unwrap()));
        }
        _ => {}
    });
    // Others come and go, so that there is something to tell.
    for second in 0..30 {
        let (peer, stays) = (second, Duration::from_secs(20));
        arena.caller(move |line, event| match event {
            Heard::Handshake(_) => {
                hello(line);
                line.wake_in(stays + Duration::from_secs(peer));
            }
            Heard::Wake => line.close(),
            _ => {}
        });
        arena.run(10);
    }
    let heard = heard.borrow();
    assert!(heard.len() >= 3, "{}", heard.len());
    let mut told = std::collections::BTreeSet::new();
    for (n, (at, message)) in heard.iter().enumerate() {
        assert!(n == 0 || *at >= heard[n - 1].0 + Duration::from_secs(59), "message {n}");
        for peer in &message.added {
            assert!(told.insert(peer.addr), "{} was told of already", peer.addr);
            let is_known = honest.contains(&peer.addr) || peer.addr.port() == 7000;
            assert!(is_known, "{} is nobody", peer.addr);
        }
        assert!(message.dropped.iter().all(|addr| told.remove(addr)));
    }
    assert!(heard.iter().any(|(_, message)| !message.dropped.is_empty()));
    assert!(heard.iter().flat_map(|(_, m)| &m.added).any(|peer| peer.flags.has(PexFlags::SEED)));
}

#[test]
fn lists_of_a_stranger_are_bounded_and_lead_nowhere_they_must_not() {
    let mut arena = Arena::new(4);
    let own = arena.world.addr(arena.victim);
    let bad: Vec<SocketAddr> =
        ["127.0.0.1:7000", "10.0.0.1:7000", "192.168.1.1:7000", "224.0.0.1:7000", "0.0.0.0:7000"]
            .iter()
            .map(|text| text.parse().unwrap())
            .chain([own])
            .collect();
    let (evil, many) = (bad.clone(), 1000u32);
    let seen = own.ip();
    let log = arena.caller(move |line, event| {
        if !matches!(event, Heard::Handshake(_) | Heard::Wake) {
            return;
        }
        if matches!(event, Heard::Handshake(_)) {
            let said = ExtendedHandshake { your_ip: Some(seen), ..ExtendedHandshake::default() };
            let mut payload = Vec::new();
            said.encode(&mut payload);
            line.say(Message::Extended { id: 0, payload: &payload });
            hello(line);
            say_pex(line, &named(evil.iter().copied()));
        }
        for n in 0..30 {
            let list = (0..200).map(|i| {
                let [_, b, c, d] = (n * 200 + i + many).to_be_bytes();
                SocketAddr::from(([60, b, c, d], 7000))
            });
            say_pex(line, &named(list));
        }
        line.wake_in(Duration::from_secs(1));
    });
    arena.finish();
    arena.run(30);
    assert_eq!(log.borrow().open(), 0);
    assert!(arena.reasons().contains(&Close::Violation(Violation::ExchangeFlood)));
    let dials = &arena.world.node(arena.victim).dials;
    assert!(dials.iter().all(|(_, addr)| !bad.contains(addr)), "{dials:?}");
    let strangers: std::collections::BTreeSet<_> =
        dials.iter().map(|(_, addr)| *addr).filter(|addr| addr.port() == 7000).collect();
    assert!(strangers.len() <= 150, "{} strangers were dialled", strangers.len());
}

#[test]
fn the_local_network_finds_a_magnet_its_seed() {
    let content = content(5);
    let mut world = World::new(5);
    let far = world.add(&content, Role::Seed, Access::default());
    world.on_one_lan();
    let early = world.add(&content, Role::Magnet, Access::default());
    world.run_until(Time::from_secs(100), |_| false);
    assert!(world.node(early).local.is_empty(), "nobody knows yet whether it is private");
    let seed = world.add(&content, Role::Seed, Access::default());
    world.run_until_complete(&[early], Time::from_secs(120)).expect("nobody told it but the network");
    let furnished = world.node(early).furnished.unwrap();
    assert!(world.node(early).local.iter().all(|(at, _)| *at >= furnished));
    // Who comes later hears the next announce of either.
    let late = world.add(&content, Role::Magnet, Access::default());
    let took = world.run_until_complete(&[late], Time::from_secs(450)).expect("it is announced again");
    assert!(took < Duration::from_secs(320), "{took:?}");
    world.run_until(Time::from_secs(3600), |_| false);
    for id in [seed, early] {
        let sent = &world.node(id).local;
        // Once more after the first minute, and once in answer to who is new.
        assert!((10..=15).contains(&sent.len()), "every five minutes, not {} times", sent.len());
        assert!(sent.windows(2).all(|pair| pair[1].0 >= pair[0].0 + Duration::from_secs(60)));
    }
    assert!(world.node(far).dials.is_empty());
    let others = [world.addr(early), world.addr(late)];
    assert!(world.node(seed).dials.iter().all(|(_, addr)| others.contains(addr)), "not itself");
}

#[test]
fn announces_of_other_torrents_count_for_nothing_and_neighbours_may_have_global_addresses() {
    let content = content(6);
    let mut world = World::new(6);
    let node = world.add(&content, Role::Leech, Access::default());
    let id = content.torrent.id().0;
    let announce =
        |hashes: Vec<[u8; 20]>| wire::lsd::Announce { port: 7000, hashes: hashes.into(), cookie: None };
    let cases = [
        ("192.168.1.9:6771", vec![[7; 20]], false),
        ("[2606:4700::9]:6771", vec![id], true),
        ("192.168.1.9:6771", vec![[7; 20], id], true),
    ];
    for (from, hashes, counts) in cases {
        let before = world.node(node).dials.len();
        world.overhear(node, from.parse().unwrap(), &announce(hashes));
        let end = world.now + Duration::from_secs(1);
        world.run_until(end, |_| false);
        assert_eq!(world.node(node).dials.len() > before, counts, "{from}");
    }
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

#[test]
fn addresses_are_bounded_by_the_budget_whoever_names_them() {
    const BUDGET: usize = 1 << 20;
    let content = content(11);
    for way in [Source::Lsd, Source::Pex, Source::Incoming] {
        let mut world = World::new(11);
        world.on_one_lan();
        let magnet =
            world.add_with(&content, Role::Magnet, Access::default(), DiskSpeed::default(), |config| {
                config.memory_budget = BUDGET;
            });
        let id = content.torrent.id().0;
        let to = world.addr(magnet);
        let most = BUDGET / 16;
        for n in 0..600u16 {
            let host = std::net::Ipv4Addr::new(192, 168, (n >> 8) as u8 + 10, n as u8);
            match way {
                Source::Lsd => {
                    let announce = wire::lsd::Announce { port: 7000, hashes: vec![id].into(), cookie: None };
                    world.overhear(magnet, (host, 6771).into(), &announce);
                }
                Source::Pex if n % 50 == 0 => {
                    let names = (0..50).map(move |at| (host, 7000 + at).into()).collect::<Vec<_>>();
                    let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
                        if matches!(heard, Heard::Handshake(_)) {
                            hello(line);
                            say_pex(line, &named(names.clone()));
                        }
                    };
                    Scripted::new(&content).dials(to).enter(&mut world, Access::default(), script);
                }
                Source::Incoming if n < 400 => {
                    let script = |line: &mut Line<'_>, heard: Heard<'_>| {
                        if matches!(heard, Heard::Handshake(_)) {
                            hello(line);
                        }
                    };
                    Scripted::new(&content).dials(to).enter(&mut world, Access::default(), script);
                }
                _ => {}
            }
        }
        let mut held = 0;
        world.run_until(Time::from_secs(20), |world| {
            held = held.max(world.node(magnet).engine.memory().candidates);
            false
        });
        assert!(held <= most, "{way:?}: {held} bytes");
        assert!(held > most / 2, "{way:?}: {held} bytes, nothing was tried");
        world.check();
    }
}

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
        Heard::Message(Message::Unchoke) => line.say(Message::Request(super::arena::first_block(5))),
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
