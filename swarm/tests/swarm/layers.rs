//! Piece layers between peers (BEP 52): v2 torrents that are known by their hash alone, and what others ask of trees.

use std::time::Duration;

use metainfo::{Builder, Version};
use swarm::engine::{Activity, Close, Event, Time, Violation};
use swarm::sim::{Access, Content, Heard, Line, NodeId, Role, Scripted, World};
use wire::peer::{HashRequest, Hashes, Message};

use super::arena::{PIECE, PIECES};
use super::magnets::give_metadata;

type Script = Box<dyn FnMut(&mut Line<'_>, Heard<'_>)>;

fn v2(seed: u64) -> Content {
    let len = (PIECES * PIECE) as usize;
    Content::build(
        seed,
        len,
        Builder::single("content.bin", len as u64).piece_length(PIECE).version(Version::V2),
    )
}

fn activity(world: &World, id: NodeId) -> Activity {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).unwrap().activity
}

fn banned(world: &World, id: NodeId) -> usize {
    world.node(id).events.iter().filter(|(_, event)| matches!(event, Event::PeerBanned { .. })).count()
}

/// The right answer.
fn answer(line: &Line<'_>, request: &HashRequest) -> Option<Vec<[u8; 32]>> {
    let HashRequest { pieces_root, base_layer, index, length, proof_layers } = request;
    line.content.torrent.tree_hashes(pieces_root, *base_layer, *index, *length, *proof_layers)
}

/// Gives the metadata, and to requests for hashes what `say` makes of the right answer.
fn teller(
    mut say: impl FnMut(&mut Line<'_>, HashRequest, Vec<[u8; 32]>),
) -> impl FnMut(&mut Line<'_>, Heard<'_>) {
    move |line, heard| match heard {
        Heard::Message(Message::HashRequest(request)) => {
            let hashes = answer(line, &request).expect("a request that can be answered");
            say(line, request, hashes);
        }
        heard => give_metadata(line, heard),
    }
}

#[test]
fn a_v2_magnet_and_one_seed_end_in_a_complete_copy() {
    let content = v2(1);
    let mut world = World::new(1);
    let seed = world.add(&content, Role::Seed, Access::default());
    let magnet = world.add(&content, Role::Magnet, Access::default());
    world.introduce(magnet, seed);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some());
    world.check();
    assert_eq!(activity(&world, magnet), Activity::Seeding);
    let status = world.node(magnet).engine.torrent_status(world.now, world.node(magnet).torrent).unwrap();
    assert_eq!((status.pieces_done, status.totals.wasted), (PIECES, 0));
}

#[test]
fn it_waits_for_who_has_the_layers_and_says_so() {
    let content = v2(2);
    let mut world = World::new(2);
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let rejecting = teller(|line, request, _| line.say(Message::HashReject(request)));
    let (rejecting, log) = Scripted::new(&content).enter(&mut world, Access::default(), rejecting);
    world.introduce(magnet, rejecting);
    world.run_until(Time::from_secs(60), |_| false);
    assert_eq!(activity(&world, magnet), Activity::Layers { have: 0, requests: 1, peers: 0 });
    let asked = log.borrow().count("hash_request");
    assert!((2..10).contains(&asked), "it was asked {asked} times");
    let seed = world.add(&content, Role::Seed, Access::default());
    world.introduce(magnet, seed);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(120)).is_some());
    assert_eq!((banned(&world, magnet), log.borrow().open()), (0, 1));
    world.check();
}

#[test]
fn whoever_lies_about_hashes_is_banned_and_the_others_are_enough() {
    let content = v2(3);
    let mut world = World::new(3);
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let lying = || {
        teller(|line, request, mut hashes| {
            hashes[3][7] ^= 1;
            line.say(Message::Hashes(Hashes { request, hashes: &hashes }));
        })
    };
    let silent = teller(|_, _, _| {});
    let scripts: [Script; 3] = [Box::new(lying()), Box::new(silent), Box::new(lying())];
    for script in scripts {
        let (peer, _) = Scripted::new(&content).enter(&mut world, Access::default(), script);
        world.introduce(magnet, peer);
    }
    world.run_until(Time::from_secs(5), |_| false);
    let seed = world.add(&content, Role::Seed, Access::default());
    world.introduce(magnet, seed);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some());
    assert!((1..=2).contains(&banned(&world, magnet)));
    assert!(!world.node(magnet).events.iter().any(|(_, event)| match event {
        Event::PeerBanned { addr, .. } => *addr == world.addr(seed),
        _ => false,
    }));
    world.check();
}

#[test]
fn who_does_not_say_to_know_the_torrent_is_not_asked_for_hashes() {
    let content = v2(4);
    let mut world = World::new(4);
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let (knows, _) = Scripted::new(&content).enter(&mut world, Access::default(), teller(|_, _, _| {}));
    let (_, log) =
        Scripted::new(&content).dials(world.addr(magnet)).enter(&mut world, Access::default(), |_, _| {});
    world.introduce(magnet, knows);
    world.run_until(Time::from_secs(5), |_| false);
    assert_eq!(activity(&world, magnet), Activity::Layers { have: 0, requests: 1, peers: 1 });
    world.run_until(Time::from_secs(30), |_| false);
    assert_eq!((log.borrow().open(), log.borrow().count("hash_request")), (1, 0));
}

#[test]
fn who_sends_hashes_without_end_is_parted_with() {
    let content = v2(5);
    let mut world = World::new(5);
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let script = teller(|line, request, _| {
        let hashes = vec![[9; 32]; 512];
        for _ in 0..70 {
            let request = HashRequest { index: 512, ..request };
            line.say(Message::Hashes(Hashes { request, hashes: &hashes }));
        }
    });
    let (peer, log) = Scripted::new(&content).enter(&mut world, Access::default(), script);
    world.introduce(magnet, peer);
    world.run_until(Time::from_secs(30), |_| false);
    assert!(!log.borrow().closed.is_empty());
    let flood = Close::Violation(Violation::HashFlood);
    let left = |event: &Event| matches!(event, Event::PeerLeft { reason, .. } if *reason == flood);
    assert!(world.node(magnet).events.iter().any(|(_, event)| left(event)));
}

/// What a seed answers to these requests of a peer, one by one.
fn answers(content: &Content, requests: Vec<HashRequest>) -> Vec<Option<Vec<[u8; 32]>>> {
    let mut world = World::new(6);
    let seed = world.add(content, Role::Seed, Access::default());
    let said = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let (heard, count) = (said.clone(), requests.len());
    Scripted::new(content).dials(world.addr(seed)).enter(&mut world, Access::default(), move |line, what| {
        match what {
            Heard::Handshake(_) => {
                requests.iter().for_each(|request| line.say(Message::HashRequest(*request)));
            }
            Heard::Message(Message::Hashes(hashes)) => {
                assert_eq!(hashes.request, requests[heard.borrow().len()], "in order");
                heard.borrow_mut().push(Some(hashes.hashes.to_vec()));
            }
            Heard::Message(Message::HashReject(request)) => {
                assert_eq!(request, requests[heard.borrow().len()], "in order");
                heard.borrow_mut().push(None);
            }
            _ => {}
        }
    });
    world.run_until(Time::from_secs(20), |_| said.borrow().len() == count);
    world.check();
    said.take()
}

#[test]
fn parts_of_known_trees_are_given_and_all_else_is_rejected() {
    let content = v2(6);
    let file = &content.torrent.layout().files()[0];
    let root = **file.root.as_ref().unwrap();
    let base = PIECE.ilog2() - 14;
    assert!(base > 0 && PIECES.is_power_of_two() && PIECES <= 512);
    let above = PIECES.ilog2();
    let whole = HashRequest {
        pieces_root: root,
        base_layer: base,
        index: 0,
        length: PIECES,
        proof_layers: above - 1,
    };
    let requests = vec![
        whole,
        HashRequest { index: PIECES - 2, length: 2, ..whole },
        HashRequest { base_layer: base + 1, length: 2, proof_layers: above - 2, ..whole },
        HashRequest { base_layer: 0, length: 2, ..whole },
        HashRequest { pieces_root: [1; 32], ..whole },
        HashRequest { index: 1, length: 2, ..whole },
        HashRequest { length: 3, ..whole },
        HashRequest { length: 2 * PIECES, ..whole },
        HashRequest { length: u32::MAX, index: u32::MAX, base_layer: u32::MAX, ..whole },
        HashRequest { proof_layers: u32::MAX, ..whole },
    ];
    let answers = answers(&content, requests);
    let lens: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(Vec::len)).collect();
    let layer = content.torrent.piece_layer(0).unwrap();
    assert_eq!(answers[0].as_deref(), Some(layer));
    let proven = 2 + above as usize - 1;
    assert_eq!(lens[1..3], [Some(proven), Some(proven - 1)]);
    assert_eq!(lens[3..], [None; 7]);
}

#[test]
fn who_asks_for_hashes_without_reading_them_costs_little_and_goes_in_the_end() {
    let content = v2(7);
    let mut world = World::new(7);
    let seed = world.add(&content, Role::Seed, Access::default());
    let root = **content.torrent.layout().files()[0].root.as_ref().unwrap();
    let (_, log) = Scripted::new(&content).deaf().dials(world.addr(seed)).enter(
        &mut world,
        Access::default(),
        move |line, heard| {
            if heard == Heard::Open || heard == Heard::Wake {
                for _ in 0..200 {
                    line.say(Message::HashRequest(HashRequest {
                        pieces_root: root,
                        base_layer: PIECE.ilog2() - 14,
                        index: 0,
                        length: PIECES,
                        proof_layers: 0,
                    }));
                }
                line.wake_in(Duration::from_millis(500));
            }
        },
    );
    world.run_until(Time::from_secs(60), |_| false);
    assert_eq!(log.borrow().closed.len(), 1);
    assert!(world.node(seed).most_held < 256 << 10, "{}", world.node(seed).most_held);
    world.check();
}
