//! Peers that tell each other about peers (BEP 11), and about the local network (BEP 14).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use swarm::engine::candidates::Source;
use swarm::engine::{Close, Time, Violation};
use swarm::sim::{Access, Content, DiskSpeed, Heard, Line, NodeId, Role, Scripted, World};
use wire::peer::{ExtendedHandshake, Extensions, Message, PexFlags, PexMessage, PexPeer};

use super::arena::{Arena, PIECE, PIECES};

pub(super) const LEN: usize = (PIECES * PIECE) as usize;

pub(super) fn content(seed: u64) -> Content {
    Content::new(seed, LEN, PIECE)
}

fn knows(world: &World, a: NodeId, b: NodeId) -> bool {
    let node = world.node(a);
    let peers = node.engine.peers(world.now, node.torrent);
    peers.iter().any(|peer| peer.addr.ip() == world.addr(b).ip())
}

/// Says what we take, ids 11 to 13.
pub(super) fn hello(line: &mut Line<'_>) {
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

pub(super) fn say_pex(line: &mut Line<'_>, message: &PexMessage) {
    let mut payload = Vec::new();
    message.encode(&mut payload);
    line.say(Message::Extended { id: 1, payload: &payload });
}

pub(super) fn named(addrs: impl IntoIterator<Item = SocketAddr>) -> PexMessage {
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
