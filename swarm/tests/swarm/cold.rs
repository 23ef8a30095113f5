//! Torrents that run without being open.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use metainfo::{Builder, InfoHashV1, InfoHashes, Version};
use storage::{Operation, StorageError};
use swarm::engine::dht::DhtConfig;
use swarm::engine::tracker::{Announce, Event as Announced};
use swarm::engine::{
    Action, Activity, AddCold, Close, Config, Engine, Event, Outline, Time, TorrentKey, TrackerMemo,
};
use swarm::sim::{Access, Content, DiskSpeed, Heard, Line, Log, NodeId, Role, Scripted, World};
use wire::peer::{Bitfield, ExtendedHandshake, Message, PeerId, Reserved};

use super::arena::{PIECE, PIECES};

const TRACKER: &str = "http://tracker.example/announce";

fn content(private: bool) -> Content {
    let len = (PIECES * PIECE) as usize;
    let builder = Builder::single("content.bin", len as u64).piece_length(PIECE);
    Content::build(1, len, builder.tracker(TRACKER).private(private))
}

fn activity(world: &World, id: NodeId) -> Activity {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).unwrap().activity
}

fn closed(world: &World, id: NodeId, wanted: &Close) -> usize {
    let is = |event: &Event| matches!(event, Event::PeerLeft { reason, .. } if reason == wanted);
    world.node(id).events.iter().filter(|(_, event)| is(event)).count()
}

/// A seed that is cold.
fn seed(world: &mut World, content: &Content) -> NodeId {
    world.add(content, Role::Cold(Bitfield::with_all(PIECES)), Access::default())
}

/// A peer that dials a node, with what it says after its handshake.
fn caller(
    world: &mut World,
    content: &Content,
    to: NodeId,
    say: impl Fn(&mut Line<'_>) + 'static,
) -> (NodeId, Rc<RefCell<Log>>) {
    let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
        if let Heard::Handshake(_) = heard {
            say(line);
        }
    };
    Scripted::new(content).dials(world.addr(to)).enter(world, Access::symmetric(1_000_000), script)
}

#[test]
fn a_cold_seed_is_found_and_opened_when_somebody_needs_it() {
    let content = content(false);
    let mut world = World::new(1);
    let seed = seed(&mut world, &content);
    world.run_until(Time::from_secs(10), |_| false);
    let status = world.node(seed).engine.torrent_status(world.now, world.node(seed).torrent).unwrap();
    assert_eq!(status.activity, Activity::Cold { finished: true });
    assert_eq!((status.done, status.pieces_done, status.pieces), (u64::from(PIECES * PIECE), PIECES, PIECES));
    assert_eq!(world.node(seed).furnished, None, "nobody needs it");
    let leech = world.add(&content, Role::Leech, Access::default());
    assert!(world.run_until_complete(&[leech], Time::from_secs(60)).is_some());
    world.check();
    assert_eq!(activity(&world, seed), Activity::Seeding);
    let addr = world.addr(seed);
    let told: Vec<_> = world.tracker(TRACKER).announces.iter().filter(|(_, from, _)| *from == addr).collect();
    assert!(matches!(told[..], [(_, _, Announced::Started)]), "{told:?}");
    let events = &world.node(seed).events;
    let complete = events.iter().filter(|(_, event)| matches!(event, Event::Complete { .. }));
    assert_eq!(complete.count(), 1, "it was at the start");
}

#[test]
fn a_cold_download_is_opened_by_its_first_peer_and_ends() {
    let content = content(false);
    let mut world = World::new(2);
    let mut half = Bitfield::new(PIECES);
    (0..PIECES / 2).for_each(|piece| _ = half.set(piece));
    let cold = world.add(&content, Role::Cold(half), Access::default());
    assert_eq!(activity(&world, cold), Activity::Cold { finished: false });
    let _seed = world.add(&content, Role::Seed, Access::default());
    assert!(world.run_until_complete(&[cold], Time::from_secs(60)).is_some());
    let node = world.node(cold);
    let status = node.engine.torrent_status(world.now, node.torrent).unwrap();
    assert_eq!(status.totals.downloaded, u64::from(PIECES / 2 * PIECE), "only what is missing");
    world.check();
}

#[test]
fn whoever_waits_is_told_what_there_is_first() {
    for fast in [true, false] {
        let content = content(false);
        let mut world = World::new(3);
        let seed = seed(&mut world, &content);
        world.node_mut(seed).opens = false;
        let heard = Rc::new(RefCell::new(Vec::new()));
        let notes = heard.clone();
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| match heard {
            Heard::Handshake(_) => line.say(Message::Interested),
            Heard::Message(Message::HaveAll) => notes.borrow_mut().push("have_all"),
            Heard::Message(Message::Bitfield(_)) => notes.borrow_mut().push("bitfield"),
            Heard::Message(Message::Unchoke) => notes.borrow_mut().push("unchoke"),
            Heard::Message(Message::Extended { .. }) => notes.borrow_mut().push("extended"),
            Heard::Message(Message::Suggest(_)) => {}
            Heard::Message(_) => notes.borrow_mut().push("other"),
            Heard::Open | Heard::Wake => {}
        };
        let reserved = Reserved::NONE.with_extended();
        let reserved = if fast { reserved.with_fast() } else { reserved };
        let peer = Scripted::new(&content).reserved(reserved).dials(world.addr(seed));
        peer.enter(&mut world, Access::default(), script);
        world.run_until(Time::from_secs(20), |_| false);
        assert!(heard.borrow().is_empty(), "{:?}", heard.borrow());
        let now = world.now;
        world.node_mut(seed).open_wanted(now);
        world.touch(seed);
        world.run_until(Time::from_secs(40), |_| false);
        let first = if fast { "have_all" } else { "bitfield" };
        assert_eq!(heard.borrow()[..], [first, "extended", "unchoke"], "fast: {fast}");
        world.check();
    }
}

#[test]
fn who_needs_nothing_does_not_open_it() {
    let content = content(false);
    type Says = fn(&mut Line<'_>);
    let said: [(Says, bool); 6] = [
        (|line| line.say(Message::HaveAll), false),
        (|line| line.say(Message::Bitfield(&[0xff; PIECES as usize / 8])), false),
        (|line| super::magnets::say_extended(line, &uploads_only()), false),
        (|line| line.say(Message::HaveNone), true),
        (|line| line.say(Message::Bitfield(&[0x7f; PIECES as usize / 8])), true),
        // Without a word it has nothing.
        (|_| {}, true),
    ];
    for (number, (say, needs)) in said.into_iter().enumerate() {
        let mut world = World::new(4);
        let seed = seed(&mut world, &content);
        let (_, log) = caller(&mut world, &content, seed, say);
        world.run_until(Time::from_secs(20), |_| false);
        assert_eq!(world.node(seed).furnished.is_some(), needs, "{number}");
        assert_eq!(closed(&world, seed, &Close::Redundant), usize::from(!needs), "{number}");
        assert_eq!(log.borrow().open(), usize::from(needs), "{number}");
        world.check();
    }
}

fn uploads_only() -> ExtendedHandshake {
    ExtendedHandshake { upload_only: Some(true), ..ExtendedHandshake::default() }
}

#[test]
fn nobody_waits_for_long_and_who_goes_leaves_the_queue() {
    let content = content(false);
    let mut world = World::new(5);
    let seed = seed(&mut world, &content);
    world.node_mut(seed).opens = false;
    let (_, log) = caller(&mut world, &content, seed, |line| line.say(Message::HaveNone));
    world.run_until(Time::from_secs(25), |_| false);
    assert_eq!(log.borrow().open(), 1);
    world.run_until(Time::from_secs(40), |_| false);
    assert_eq!(log.borrow().open(), 0);
    assert_eq!(closed(&world, seed, &Close::Unready), 1);
    assert_eq!(world.node_mut(seed).engine.next_wanted(), None, "nobody waits");
    // The next one is heard as the first was.
    let now = world.now;
    caller(&mut world, &content, seed, |line| line.say(Message::HaveNone));
    world.run_until(now + Duration::from_secs(5), |_| false);
    let key = world.node(seed).torrent;
    assert_eq!(world.node_mut(seed).engine.next_wanted(), Some(key));
    world.check();
}

#[test]
fn what_cannot_be_opened_says_why_and_is_left_alone_for_a_while() {
    let content = content(false);
    let mut world = World::new(6);
    let seed = seed(&mut world, &content);
    world.node_mut(seed).opens = false;
    let (_, log) = caller(&mut world, &content, seed, |line| line.say(Message::HaveNone));
    world.run_until(Time::from_secs(5), |_| false);
    let error = StorageError::new(Operation::Open, "/mnt/gone", None, ErrorKind::NotFound.into());
    let (now, key) = (world.now, world.node(seed).torrent);
    let engine = &mut world.node_mut(seed).engine;
    assert_eq!(engine.next_wanted(), Some(key));
    engine.not_opened(now, key, error.clone(), Duration::from_secs(60));
    world.touch(seed);
    world.run_until(Time::from_secs(10), |_| false);
    assert_eq!(log.borrow().open(), 0);
    assert_eq!(log.borrow().count("have_all"), 0, "nothing is claimed");
    assert_eq!(activity(&world, seed), Activity::Failed(error));
    for (wait, lets_in) in [(20, 0), (70, 1)] {
        let end = now + Duration::from_secs(wait);
        world.run_until(end, |_| false);
        let (_, log) = caller(&mut world, &content, seed, |line| line.say(Message::HaveNone));
        world.run_until(end + Duration::from_secs(3), |_| false);
        assert_eq!(log.borrow().open(), lets_in, "after {wait} s");
    }
    let now = world.now;
    world.node_mut(seed).open_wanted(now);
    world.touch(seed);
    world.run_until(now + Duration::from_secs(5), |_| false);
    assert_eq!(activity(&world, seed), Activity::Seeding);
    world.check();
}

#[test]
fn a_cold_one_is_paused_and_goes_on() {
    let content = content(false);
    let mut world = World::new(7);
    let seed = seed(&mut world, &content);
    world.node_mut(seed).opens = false;
    let (_, log) = caller(&mut world, &content, seed, |line| line.say(Message::HaveNone));
    world.run_until(Time::from_secs(5), |_| false);
    let (now, node) = (world.now, world.node_mut(seed));
    let key = node.torrent;
    node.engine.pause(now, key);
    assert_eq!(node.engine.next_wanted(), None);
    world.touch(seed);
    world.run_until(Time::from_secs(10), |_| false);
    assert_eq!((log.borrow().open(), activity(&world, seed)), (0, Activity::Paused));
    assert!(
        world.node(seed).events.iter().any(|(_, event)| matches!(event, Event::Stopped { clean: true, .. }))
    );
    let now = world.now;
    let node = world.node_mut(seed);
    node.opens = true;
    node.engine.resume(now, key);
    let leech = world.add(&content, Role::Leech, Access::default());
    assert!(world.run_until_complete(&[leech], Time::from_secs(90)).is_some());
    world.check();
}

#[test]
fn a_cold_hybrid_is_found_by_either_of_its_names() {
    let len = (PIECES * PIECE) as usize;
    let builder = Builder::single("content.bin", len as u64).piece_length(PIECE).version(Version::Hybrid);
    let content = Content::build(9, len, builder);
    let hashes = content.torrent.info_hashes();
    let names = [InfoHashes::v1_only(hashes.v1().unwrap()), InfoHashes::v2_only(hashes.v2().unwrap())];
    for name in names {
        let mut world = World::new(9);
        let seed = seed(&mut world, &content);
        let magnet = world.add(&content, Role::Named(name), Access::default());
        world.introduce(magnet, seed);
        assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some(), "{name:?}");
        world.check();
    }
}

/// An engine with cold torrents, and no world around it.
struct Bare {
    engine: Engine,
    keys: Vec<TorrentKey>,
}

impl Bare {
    fn new(count: u32, adjust: impl Fn(u32, &mut AddCold)) -> Self {
        let mut engine = Engine::new(Config::new(PeerId::new(PeerId::PREFIX, [0; 12])), [0; 32]);
        engine.set_listen_port(6881);
        let keys = (0..count).map(|n| {
            let mut hash = [7; 20];
            hash[..4].copy_from_slice(&n.to_be_bytes());
            let outline = Outline {
                complete: true,
                finished: true,
                size: 1000,
                done: 1000,
                pieces: 8,
                pieces_done: 8,
                private: false,
            };
            let mut add = AddCold {
                hashes: InfoHashes::v1_only(InfoHashV1(hash)),
                outline,
                trackers: vec![vec![TRACKER.into()]],
                recalled: Vec::new(),
                peers: Vec::new(),
                paused: false,
            };
            adjust(n, &mut add);
            engine.add_cold(Time::ZERO, &add).unwrap()
        });
        let keys = keys.collect();
        Self { engine, keys }
    }

    fn announces(&mut self) -> Vec<(TorrentKey, Announce)> {
        let actions = std::iter::from_fn(|| self.engine.poll_action());
        let announces = actions.filter_map(|action| match action {
            Action::Announce { torrent, announce, .. } => Some((torrent, announce)),
            _ => None,
        });
        announces.collect()
    }
}

#[test]
fn trackers_are_told_what_is_recorded_when_they_may_be_asked() {
    let memo = |wait| TrackerMemo {
        url: TRACKER.into(),
        tracker_id: Some(b"id".to_vec()),
        next_in: Some(Duration::from_secs(wait)),
        works: true,
    };
    let mut bare = Bare::new(4, |n, add| match n {
        0 => {}
        1 => add.outline = Outline { complete: false, finished: false, done: 400, ..add.outline },
        2 => add.recalled = vec![memo(600)],
        _ => add.paused = true,
    });
    let keys = bare.keys.clone();
    let announces = bare.announces();
    for (key, announce) in &announces {
        assert_eq!(announce.event, Announced::Started);
        assert_eq!(announce.left, if *key == keys[0] { 0 } else { 600 });
    }
    let told = |announces: &[(TorrentKey, Announce)], key| announces.iter().any(|(told, _)| *told == key);
    assert_eq!(keys.iter().map(|key| told(&announces, *key)).collect::<Vec<_>>(), [true, true, false, false]);
    bare.engine.handle_timeout(Time::from_secs(601));
    let later = bare.announces();
    assert!(told(&later, keys[2]) && !told(&later, keys[3]));
    let (_, again) = later.iter().find(|(key, _)| *key == keys[2]).unwrap();
    assert_eq!(again.tracker_id.as_deref(), Some(&b"id"[..]));
}

#[test]
fn private_ones_are_neither_looked_for_nor_announced_in_the_open() {
    let mut bare = Bare::new(2, |n, add| add.outline.private = n == 1);
    let addr = "127.0.0.1:6881".parse().unwrap();
    bare.engine.start_dht(Time::ZERO, DhtConfig::default(), [Some(6881), None]);
    bare.engine.with_dht(Time::ZERO, |dht| dht.bootstrap(Time::ZERO, &[addr]));
    let (mut local, mut asked) = (Vec::new(), Vec::new());
    for second in 0..600 {
        bare.engine.handle_timeout(Time::from_secs(second));
        while let Some(transmit) = bare.engine.poll_datagram() {
            asked.push(transmit.bytes);
        }
        while let Some(action) = bare.engine.poll_action() {
            if let Action::Lsd { hashes, .. } = action {
                local.extend(hashes);
            }
        }
    }
    let names: Vec<_> = bare.keys.iter().map(|key| bare.engine.torrent_id(*key).unwrap().0).collect();
    let is_asked = |name: &[u8; 20]| asked.iter().any(|packet| packet.windows(20).any(|part| part == name));
    assert!(local.contains(&names[0]) && !local.contains(&names[1]));
    assert!(is_asked(&names[0]) && !is_asked(&names[1]));
}

#[test]
fn a_flood_of_handshakes_waits_in_order_and_in_bounds() {
    let mine = content(false);
    let mut world = World::new(8);
    let disk = DiskSpeed::default();
    let pieces = Bitfield::with_all(PIECES);
    let node =
        world.add_with(&mine, Role::Cold(pieces), Access::default(), disk, |config| config.max_waiting = 6);
    world.node_mut(node).opens = false;
    let names: Vec<[u8; 20]> = (0..20).map(|n| [n; 20]).collect();
    let outline =
        Outline { complete: true, finished: true, size: 1, done: 1, pieces: 1, ..Outline::default() };
    let now = world.now;
    let keys = names.iter().map(|name| {
        let hashes = InfoHashes::v1_only(InfoHashV1(*name));
        let (trackers, recalled, peers) = (Vec::new(), Vec::new(), Vec::new());
        let add = AddCold { hashes, outline, trackers, recalled, peers, paused: false };
        world.node_mut(node).engine.add_cold(now, &add).unwrap()
    });
    let keys: Vec<_> = keys.collect();
    let mut logs = Vec::new();
    for name in &names {
        let peer = Scripted::new(&mine).named(*name).dials(world.addr(node));
        let (_, log) = peer.enter(&mut world, Access::default(), |line, heard| {
            if let Heard::Handshake(_) = heard {
                line.say(Message::HaveNone);
            }
        });
        logs.push(log);
        let soon = world.now + Duration::from_secs(1);
        world.run_until(soon, |_| false);
    }
    let open: usize = logs.iter().map(|log| log.borrow().open()).sum();
    assert_eq!(open, 6, "those that came first wait, the others are turned away");
    // One of them does not want to wait: another one has its place, behind the others.
    let now = world.now;
    world.node_mut(node).engine.pause(now, keys[2]);
    world.touch(node);
    let peer = Scripted::new(&mine).named(names[19]).dials(world.addr(node));
    peer.enter(&mut world, Access::default(), |line, heard| {
        if let Heard::Handshake(_) = heard {
            line.say(Message::HaveNone);
        }
    });
    world.run_until(now + Duration::from_secs(3), |_| false);
    let wanted = std::iter::from_fn(|| world.node_mut(node).engine.next_wanted());
    let wanted: Vec<_> = wanted.collect();
    assert_eq!(wanted, [keys[0], keys[1], keys[3], keys[4], keys[5], keys[19]]);
    world.check();
}
