//! The extension handshake (BEP 10): what we say, what is made of what comes, and handshakes that add to the first.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use metainfo::Builder;
use swarm::engine::metadata::PIECE as META_PIECE;
use swarm::engine::{Config, Time};
use swarm::sim::{Access, Content, DiskSpeed, Heard, Line, Log, NodeId, Role, Scripted, World};
use wire::peer::{
    DontHave, ExtendedHandshake, Extensions, Message, MetadataMessage, PexFlags, PexMessage, PexPeer,
    Reserved,
};

use super::arena::{PIECE, PIECES};

const LEN: usize = (PIECES * PIECE) as usize;

type Said = Rc<RefCell<Vec<ExtendedHandshake>>>;

fn content(seed: u64) -> Content {
    Content::new(seed, LEN, PIECE)
}

/// A torrent whose info dictionary has so many pieces and one more.
fn wordy(seed: u64, pieces: usize) -> Content {
    let words = "w".repeat(pieces * META_PIECE);
    Content::build(seed, LEN, Builder::single("content.bin", LEN as u64).piece_length(PIECE).source(words))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn say(line: &mut Line<'_>, said: &ExtendedHandshake) {
    let mut payload = Vec::new();
    said.encode(&mut payload);
    line.say(Message::Extended { id: 0, payload: &payload });
}

fn takes(names: &[(&str, u8)]) -> ExtendedHandshake {
    ExtendedHandshake { extensions: names.iter().copied().collect(), ..ExtendedHandshake::default() }
}

/// Someone who dials a node from an address of its choice and says one handshake.
fn caller(
    world: &mut World,
    content: &Content,
    to: NodeId,
    from: Option<SocketAddr>,
    said: ExtendedHandshake,
) -> (Said, Rc<RefCell<Log>>) {
    let heard = Said::default();
    let told = heard.clone();
    let peer = Scripted::new(content).dials_from(world.addr(to), from);
    let (_, log) = peer.enter(world, Access::default(), move |line, event| match event {
        Heard::Handshake(_) => say(line, &said),
        Heard::Message(Message::Extended { id: 0, payload }) => {
            told.borrow_mut().push(ExtendedHandshake::parse(payload).unwrap());
        }
        _ => {}
    });
    (heard, log)
}

fn run(world: &mut World, secs: u64) {
    let end = world.now + Duration::from_secs(secs);
    world.run_until(end, |_| false);
}

#[test]
fn a_handshake_says_who_we_are_and_where() {
    let (v4, v6) = ("9.9.9.9:5000", "[2606:4700::99]:5000");
    // Where a caller comes from, how many said our addresses before, and which of them it is told.
    let cases = [(v4, 3, None, Some("2606:4700::1")), (v6, 3, Some("8.8.4.4"), None), (v4, 2, None, None)];
    for (from, votes, ipv4, ipv6) in cases {
        let content = content(1);
        let mut world = World::new(1);
        let seed = world.add(&content, Role::Seed, Access::symmetric(10_000_000));
        let node = world.add_with(
            &content,
            Role::Leech,
            Access::symmetric(10_000_000),
            DiskSpeed::default(),
            |config: &mut Config| {
                config.client = "unchoke of a test".into();
                config.max_requests = 321;
            },
        );
        for voter in 1..=votes {
            for seen in ["8.8.4.4", "2606:4700::1"] {
                let last = if seen.contains(':') { voter + 100 } else { voter };
                let said = ExtendedHandshake { your_ip: Some(ip(seen)), ..ExtendedHandshake::default() };
                let from = SocketAddr::from(([7, 7, 7, last], 4000));
                caller(&mut world, &content, node, Some(from), said);
            }
        }
        world.introduce(node, seed);
        assert!(world.run_until_complete(&[node], Time::from_secs(30)).is_some());
        run(&mut world, 10);
        let (heard, _) = caller(&mut world, &content, node, Some(addr(from)), ExtendedHandshake::default());
        run(&mut world, 1);
        let said = heard.borrow()[0].clone();
        assert_eq!(said.client.as_deref(), Some("unchoke of a test"));
        assert_eq!((said.request_queue, said.port), (Some(321), Some(6881)));
        assert_eq!(said.your_ip, Some(addr(from).ip()));
        assert_eq!(said.ipv4.map(IpAddr::from), ipv4.map(ip), "{votes} votes, from {from}");
        assert_eq!(said.ipv6.map(IpAddr::from), ipv6.map(ip), "{votes} votes, from {from}");
        assert_eq!(said.metadata_size, Some(content.torrent.info_bytes().len() as u64));
        assert_eq!(said.upload_only, Some(true));
        assert!(said.complete_ago.is_some_and(|ago| (9..=12).contains(&ago)), "{said:?}");
        let names: Vec<_> = said.extensions.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }
}

#[test]
fn what_trackers_say_of_our_address_is_one_vote_among_those_of_peers() {
    const URLS: [&str; 2] = ["http://one.example/announce", "http://two.example/announce"];
    // Peers and trackers that say the same, and whether it counts.
    for (peers, trackers, counts) in [(2, 1, true), (2, 0, false), (1, 2, false), (3, 0, true)] {
        let content = Content::build(
            3,
            LEN,
            Builder::single("content.bin", LEN as u64)
                .piece_length(PIECE)
                .tracker_tiers(URLS.map(|url| vec![url.to_owned()]).to_vec()),
        );
        let mut world = World::new(3);
        let node = world.add(&content, Role::Leech, Access::symmetric(10_000_000));
        for url in URLS {
            world.tracker(url).external_ip = (trackers > 0).then(|| ip("8.8.4.4"));
            world.tracker(url).interval = 60;
        }
        for voter in 1..=peers {
            let said = ExtendedHandshake { your_ip: Some(ip("8.8.4.4")), ..ExtendedHandshake::default() };
            let from = SocketAddr::from(([7, 7, 7, voter], 4000));
            caller(&mut world, &content, node, Some(from), said);
        }
        run(&mut world, 90);
        if trackers == 2 {
            // The first one is gone, so the second one is asked.
            world.tracker(URLS[0]).down = true;
            run(&mut world, 200);
            assert!(!world.tracker(URLS[1]).announces.is_empty());
        }
        assert!(world.tracker(URLS[0]).announces.len() >= 2);
        let from = Some(addr("[2606:4700::99]:5000"));
        let (heard, _) = caller(&mut world, &content, node, from, ExtendedHandshake::default());
        run(&mut world, 1);
        let told = heard.borrow()[0].ipv4.map(IpAddr::from);
        assert_eq!(told, counts.then(|| ip("8.8.4.4")), "{peers} peers, {trackers} trackers");
    }
}

#[test]
fn a_peer_is_asked_for_no_more_than_its_queue_takes_and_may_say_so_later() {
    for (queue, most) in [(Some(2), 2), (Some(3), 3), (None, 500)] {
        let content = content(2);
        let mut world = World::new(2);
        let leech = world.add(&content, Role::Leech, Access::default());
        let peer = Scripted::new(&content).dials(world.addr(leech));
        let (_, log) = peer.enter(&mut world, Access::default(), move |line, event| match event {
            Heard::Handshake(_) => {
                line.say(Message::HaveAll);
                say(line, &ExtendedHandshake { request_queue: queue, ..ExtendedHandshake::default() });
            }
            Heard::Message(Message::Interested) => line.say(Message::Unchoke),
            _ => {}
        });
        run(&mut world, 1);
        let asked = log.borrow().requests.len();
        assert!((1..=most).contains(&asked), "{queue:?}: {asked}");
        assert!(queue.is_some() || asked > 3, "{asked}");
    }
}

#[test]
fn a_peer_with_two_addresses_is_dialled_at_the_other_when_it_is_gone() {
    // What it says of itself, and which address is dialled for it.
    let cases = [
        ("9.9.9.9:5000", "2606:4700::9", Some("[2606:4700::9]:7000")),
        ("[2606:4700::9]:5000", "9.9.9.9", Some("9.9.9.9:7000")),
        ("[2606:4700::9]:5000", "192.168.1.9", None),
        ("9.9.9.9:5000", "::1", None),
        // Its own family: that would be another peer.
        ("9.9.9.9:5000", "9.9.9.10", None),
    ];
    for (from, other, dialled) in cases {
        let content = content(3);
        let mut world = World::new(3);
        let leech = world.add(&content, Role::Leech, Access::default());
        let mut said = ExtendedHandshake { port: Some(7000), ..ExtendedHandshake::default() };
        match ip(other) {
            IpAddr::V4(ip) => said.ipv4 = Some(ip),
            IpAddr::V6(ip) => said.ipv6 = Some(ip),
        }
        let peer = Scripted::new(&content).dials_from(world.addr(leech), Some(addr(from)));
        peer.enter(&mut world, Access::default(), move |line, event| match event {
            Heard::Handshake(_) => {
                say(line, &said);
                line.wake_in(Duration::from_secs(10));
            }
            Heard::Wake => line.close(),
            _ => {}
        });
        run(&mut world, 9);
        assert_eq!(world.node(leech).dials, [], "it is here");
        run(&mut world, 20);
        let dials: Vec<_> = world.node(leech).dials.iter().map(|(_, addr)| *addr).collect();
        assert_eq!(dials.first().copied(), dialled.map(addr), "{from} says {other}");
    }
}

#[test]
fn who_is_named_is_reachable_from_who_is_told() {
    #[derive(Debug)]
    struct Case {
        from: &'static str,
        port: u16,
        /// Where the one who is told is, and whether it is told.
        told: [(&'static str, bool); 3],
    }
    let (global, private, link) = ("7.7.7.7:4000", "192.168.1.4:4000", "[fe80::4%3]:4000");
    let cases = [
        Case { from: "9.9.9.9:5000", port: 7000, told: [(global, true), (private, true), (link, true)] },
        Case { from: "192.168.1.9:5000", port: 7000, told: [(global, false), (private, true), (link, true)] },
        // Nobody may be sent to a privileged port.
        Case { from: "9.9.9.9:5000", port: 80, told: [(global, false), (private, false), (link, false)] },
        // Such an address means nothing without its interface, which a message cannot name.
        Case {
            from: "[fe80::9%3]:5000",
            port: 7000,
            told: [(global, false), (private, false), (link, false)],
        },
        // Itself.
        Case { from: "7.7.7.7:5000", port: 6000, told: [(global, false), (private, true), (link, true)] },
    ];
    for Case { from, port, told } in &cases {
        for (to, expected) in told {
            let content = content(4);
            let mut world = World::new(4);
            let node = world.add(&content, Role::Leech, Access::default());
            let said = ExtendedHandshake { port: Some(*port), ..ExtendedHandshake::default() };
            caller(&mut world, &content, node, Some(addr(from)), said);
            run(&mut world, 1);
            let named = listen(&mut world, &content, node, Some(addr(to)), Some(6000));
            run(&mut world, 20);
            let named = named.borrow().iter().flat_map(|m| m.added.clone()).count();
            assert_eq!(named > 0, *expected, "{from} at {port} is named to {to}");
        }
    }
}

/// Hears whom a node names.
fn listen(
    world: &mut World,
    content: &Content,
    to: NodeId,
    from: Option<SocketAddr>,
    port: Option<u16>,
) -> Rc<RefCell<Vec<PexMessage>>> {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let log = heard.clone();
    let peer = Scripted::new(content).dials_from(world.addr(to), from);
    peer.enter(world, Access::default(), move |line, event| match event {
        Heard::Handshake(_) => say(line, &ExtendedHandshake { port, ..takes(&[("ut_pex", 11)]) }),
        Heard::Message(Message::Extended { id: 11, payload }) => {
            log.borrow_mut().push(PexMessage::parse(payload).unwrap());
        }
        _ => {}
    });
    heard
}

#[test]
fn a_peer_of_the_link_is_dialled_again_at_its_interface() {
    let content = content(5);
    let mut world = World::new(5);
    let leech = world.add(&content, Role::Leech, Access::default());
    let from = addr("[fe80::9%3]:5000");
    let peer = Scripted::new(&content).dials_from(world.addr(leech), Some(from));
    peer.enter(&mut world, Access::default(), move |line, event| match event {
        Heard::Handshake(_) => {
            say(line, &ExtendedHandshake { port: Some(7000), ..ExtendedHandshake::default() });
            line.wake_in(Duration::from_secs(1));
        }
        Heard::Wake => line.close(),
        _ => {}
    });
    run(&mut world, 60);
    let dials: Vec<_> = world.node(leech).dials.iter().map(|(_, addr)| *addr).collect();
    assert_eq!(dials.first(), Some(&addr("[fe80::9%3]:7000")), "{dials:?}");
}

#[test]
fn two_at_one_address_do_not_take_it_from_each_other() {
    let content = content(6);
    let mut world = World::new(6);
    let node = world.add(&content, Role::Leech, Access::default());
    let said = ExtendedHandshake { port: Some(7000), ..ExtendedHandshake::default() };
    caller(&mut world, &content, node, Some(addr("9.9.9.9:5000")), said.clone());
    run(&mut world, 1);
    // A second one of the same network says the same port, and leaves.
    let second = Scripted::new(&content).dials_from(world.addr(node), Some(addr("9.9.9.9:5001")));
    second.enter(&mut world, Access::default(), move |line, event| match event {
        Heard::Handshake(_) => {
            say(line, &said);
            line.wake_in(Duration::from_secs(20));
        }
        Heard::Wake => line.close(),
        _ => {}
    });
    let heard = listen(&mut world, &content, node, None, None);
    run(&mut world, 150);
    let heard = heard.borrow();
    assert!(heard[0].added.iter().any(|peer| peer.addr == addr("9.9.9.9:7000")));
    assert!(heard.iter().all(|message| message.dropped.is_empty()), "the first is still there: {heard:?}");
    assert_eq!(world.node(node).dials, []);
}

#[test]
fn what_is_said_of_peers_is_what_is_known_of_them() {
    let content = content(7);
    let mut world = World::new(7);
    let node = world.add(&content, Role::Leech, Access::default());
    let (dialled, _) = Scripted::new(&content).enter(&mut world, Access::default(), |_, _| {});
    world.introduce(node, dialled);
    let said = |n: u16| ExtendedHandshake {
        port: Some(7000 + n),
        encryption: (n == 1).then_some(true),
        extensions: Extensions::from_iter((n == 2).then_some(("ut_holepunch", 4))),
        upload_only: (n == 3).then_some(true),
        ..ExtendedHandshake::default()
    };
    for n in 0..4 {
        caller(&mut world, &content, node, Some(SocketAddr::from(([9, 9, 9, 9], 5000 + n))), said(n));
    }
    run(&mut world, 1);
    let heard = listen(&mut world, &content, node, None, None);
    run(&mut world, 20);
    let told: Vec<_> = heard.borrow().iter().flat_map(|m| m.added.clone()).collect();
    let flags = |port: u16| told.iter().find(|peer| peer.addr.port() == port).map(|peer| peer.flags);
    assert_eq!(flags(6881), Some(PexFlags::REACHABLE), "we dialled it");
    assert_eq!(flags(7000), Some(PexFlags::default()));
    assert_eq!(flags(7001), Some(PexFlags::ENCRYPTION));
    assert_eq!(flags(7002), Some(PexFlags::HOLEPUNCH));
    assert_eq!(flags(7003), Some(PexFlags::SEED));
}

#[test]
fn who_takes_no_names_any_more_gets_none_and_without_exchange_there_is_none() {
    // What the peer says after its first handshake, whether we exchange, and whether it is told of those who come then.
    for (again, pex, is_told) in [(None, true, true), (Some(0), true, false), (None, false, false)] {
        let content = content(8);
        let mut world = World::new(8);
        let adjust = |config: &mut Config| config.pex = pex;
        let node = world.add_with(&content, Role::Leech, Access::default(), DiskSpeed::default(), adjust);
        let stranger: SocketAddr = addr("60.1.2.3:7000");
        let heard = Rc::new(RefCell::new(0));
        let log = heard.clone();
        let peer = Scripted::new(&content).dials(world.addr(node));
        peer.enter(&mut world, Access::default(), move |line, event| match event {
            Heard::Handshake(_) => {
                say(line, &takes(&[("ut_pex", 11)]));
                if let Some(id) = again {
                    say(line, &takes(&[("ut_pex", id)]));
                }
                let named = PexPeer { addr: stranger, flags: PexFlags::default() };
                let message = PexMessage { added: vec![named], dropped: Vec::new() };
                let mut payload = Vec::new();
                message.encode(&mut payload);
                line.say(Message::Extended { id: 1, payload: &payload });
            }
            Heard::Message(Message::Extended { id: 11, .. }) => *log.borrow_mut() += 1,
            _ => {}
        });
        run(&mut world, 1);
        let said = ExtendedHandshake { port: Some(7000), ..ExtendedHandshake::default() };
        caller(&mut world, &content, node, Some(addr("9.9.9.9:5000")), said);
        run(&mut world, 30);
        assert_eq!(*heard.borrow() > 0, is_told, "{again:?}, {pex}");
        let dialled = world.node(node).dials.iter().any(|(_, addr)| *addr == stranger);
        assert_eq!(dialled, pex, "what it says itself counts");
    }
}

/// Says a metadata message by the id that the engine tells everybody.
fn say_metadata(line: &mut Line<'_>, message: MetadataMessage<'_>) {
    let mut payload = Vec::new();
    message.encode(&mut payload);
    line.say(Message::Extended { id: 2, payload: &payload });
}

fn give(line: &mut Line<'_>, piece: u32) {
    let torrent = line.content.torrent.clone();
    let info = torrent.info_bytes();
    let data = info.chunks(META_PIECE).nth(piece as usize).unwrap_or_default();
    say_metadata(line, MetadataMessage::Data { piece, total_size: Some(info.len() as u64), data });
}

fn asked(payload: &[u8]) -> Option<u32> {
    match MetadataMessage::parse(payload) {
        Ok(Some(MetadataMessage::Request { piece })) => Some(piece),
        _ => None,
    }
}

#[test]
fn an_id_that_moves_is_followed_and_one_that_goes_is_left_alone() {
    for moves in [true, false] {
        let content = wordy(9, 20);
        let mut world = World::new(9);
        let magnet = world.add(&content, Role::Magnet, Access::symmetric(1_000_000));
        let size = content.torrent.info_bytes().len() as u64;
        let (late, early) = (Rc::new(RefCell::new(0)), Rc::new(RefCell::new(0)));
        let (counts, mut has_moved) = ((late.clone(), early.clone()), false);
        let script = move |line: &mut Line<'_>, event: Heard<'_>| match event {
            Heard::Handshake(_) => {
                let said = takes(&[("ut_metadata", 7)]);
                say(line, &ExtendedHandshake { metadata_size: Some(size), ..said });
            }
            Heard::Message(Message::Extended { id: 7, payload }) => {
                if let Some(piece) = asked(payload)
                    && !has_moved
                {
                    *counts.1.borrow_mut() += 1;
                    has_moved = true;
                    say(line, &takes(&[("ut_metadata", if moves { 9 } else { 0 })]));
                    // What was asked for before is answered all the same, if it goes on.
                    if moves {
                        give(line, piece);
                    }
                } else if moves && let Some(piece) = asked(payload) {
                    give(line, piece);
                }
            }
            Heard::Message(Message::Extended { id: 9, payload }) => {
                *counts.0.borrow_mut() += 1;
                if let Some(piece) = asked(payload) {
                    give(line, piece);
                }
            }
            _ => {}
        };
        let peer = Scripted::new(&content).dials(world.addr(magnet));
        peer.enter(&mut world, Access::default(), script);
        run(&mut world, 1);
        assert_eq!(*late.borrow() > 0, moves);
        if !moves {
            let activity = |world: &World| {
                let node = world.node(magnet);
                node.engine.torrent_status(world.now, node.torrent).unwrap().activity
            };
            let swarm::engine::Activity::Metadata { peers, .. } = activity(&world) else { panic!() };
            assert_eq!(peers, 0, "it takes no question any more");
            let seed = world.add(&content, Role::Seed, Access::symmetric(1_000_000));
            world.introduce(magnet, seed);
        }
        let end = world.now + Duration::from_secs(3);
        assert!(world.run_until(end, |world| world.node(magnet).furnished.is_some()), "moves: {moves}");
    }
}

#[test]
fn who_asks_for_all_pieces_of_the_metadata_at_once_gets_them() {
    let content = wordy(10, 150);
    let mut world = World::new(10);
    let seed = world.add(&content, Role::Seed, Access::symmetric(10_000_000));
    let (given, refused) = (Rc::new(RefCell::new(0)), Rc::new(RefCell::new(0)));
    let counts = (given.clone(), refused.clone());
    let peer = Scripted::new(&content).dials(world.addr(seed));
    peer.enter(&mut world, Access::symmetric(10_000_000), move |line, event| match event {
        Heard::Handshake(_) => {
            say(line, &takes(&[("ut_metadata", 7)]));
            (0..151).for_each(|piece| say_metadata(line, MetadataMessage::Request { piece }));
        }
        Heard::Message(Message::Extended { id: 7, payload }) => match MetadataMessage::parse(payload) {
            Ok(Some(MetadataMessage::Data { .. })) => *counts.0.borrow_mut() += 1,
            Ok(Some(MetadataMessage::Reject { .. })) => *counts.1.borrow_mut() += 1,
            _ => {}
        },
        _ => {}
    });
    run(&mut world, 30);
    assert_eq!((*given.borrow(), *refused.borrow()), (151, 0));
}

#[test]
fn a_piece_that_was_lost_before_anybody_knew_the_pieces_is_not_asked_for() {
    for said in [Message::Bitfield(&[0xff; 4]), Message::HaveAll] {
        let fast = said == Message::HaveAll;
        let content = content(11);
        let mut world = World::new(11);
        let magnet = world.add(&content, Role::Magnet, Access::default());
        let reserved = Reserved::NONE.with_extended();
        let reserved = if fast { reserved.with_fast() } else { reserved };
        let size = content.torrent.info_bytes().len() as u64;
        let script = move |line: &mut Line<'_>, event: Heard<'_>| match event {
            Heard::Handshake(_) => {
                line.say(if fast { Message::HaveAll } else { Message::Bitfield(&[0xff; 4]) });
                let mut payload = Vec::new();
                DontHave(5).encode(&mut payload);
                line.say(Message::Extended { id: 3, payload: &payload });
                say(line, &ExtendedHandshake { metadata_size: Some(size), ..takes(&[("ut_metadata", 7)]) });
            }
            Heard::Message(Message::Extended { id: 7, payload }) => {
                if let Some(piece) = asked(payload) {
                    give(line, piece);
                }
            }
            Heard::Message(Message::Interested) => line.say(Message::Unchoke),
            Heard::Message(Message::Request(request)) if request.index != 5 => line.serve(request),
            _ => {}
        };
        let peer = Scripted::new(&content).reserved(reserved).dials(world.addr(magnet));
        let (_, log) = peer.enter(&mut world, Access::symmetric(1_000_000), script);
        run(&mut world, 30);
        let node = world.node(magnet);
        assert_eq!(node.engine.have(node.torrent).unwrap().count_ones(), PIECES - 1, "fast: {fast}");
        assert!(log.borrow().requests.iter().all(|(_, request)| request.index != 5), "fast: {fast}");
        world.check();
    }
}
