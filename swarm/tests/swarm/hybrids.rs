//! Torrents with two names: hybrids, which v1 peers know by one hash and v2 peers by another (BEP 52).

use std::time::Duration;

use metainfo::{Builder, InfoHashes, Version};
use swarm::engine::tracker::Event as Announced;
use swarm::engine::{Activity, AddMagnet, Config, Engine, Event, Time};
use swarm::sim::{Access, Content, DiskSpeed, Role, Scripted, World};
use wire::peer::PeerId;

use super::arena::{PIECE, PIECES};

const TRACKER: &str = "http://tracker.example/announce";

fn hybrid(seed: u64) -> Content {
    let len = (PIECES * PIECE) as usize;
    let builder = Builder::single("content.bin", len as u64).piece_length(PIECE).version(Version::Hybrid);
    Content::build(seed, len, builder.tracker(TRACKER))
}

/// Its v2 hash, which is all that is known of it.
fn by_v2(content: &Content) -> Role {
    Role::Named(InfoHashes::v2_only(content.torrent.info_hashes().v2().unwrap()))
}

fn without_pex(config: &mut Config) {
    config.pex = false;
}

#[test]
fn who_knows_the_v2_hash_alone_gets_a_hybrid_from_who_goes_by_the_v1_hash() {
    let content = hybrid(1);
    let mut world = World::new(1);
    let seed = world.add(&content, Role::Seed, Access::default());
    let magnet = world.add(&content, by_v2(&content), Access::default());
    let name = |world: &World| world.node(magnet).engine.torrent_id(world.node(magnet).torrent);
    assert_eq!(name(&world), content.torrent.info_hashes().v2().map(|v2| v2.truncated()));
    world.introduce(magnet, seed);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(60)).is_some());
    assert_eq!(name(&world), Some(content.torrent.id()));
    world.check();
}

#[test]
fn it_is_announced_and_dials_by_its_v1_hash_once_that_is_known() {
    let content = hybrid(2);
    let mut world = World::new(2);
    world.tracker(TRACKER);
    let seed = world.add_with(&content, Role::Seed, Access::default(), DiskSpeed::default(), without_pex);
    let magnet =
        world.add_with(&content, by_v2(&content), Access::default(), DiskSpeed::default(), without_pex);
    world.run_until(Time::from_secs(30), |_| false);
    assert!(
        !world.node(magnet).dials.iter().any(|(_, to)| *to == world.addr(seed)),
        "a name it does not know"
    );
    // It has nothing but the metadata, and nobody told it of the seed.
    let hash = content.torrent.info_hashes().v2().unwrap().truncated();
    let knows = Scripted::new(&content).named(hash.0);
    let (knows, _) = knows.enter(&mut world, Access::default(), super::magnets::give_metadata);
    world.introduce(magnet, knows);
    assert!(world.run_until_complete(&[magnet], Time::from_secs(90)).is_some());
    let addr = world.addr(magnet);
    let started = world
        .tracker(TRACKER)
        .announces
        .iter()
        .filter(|(_, from, event)| *from == addr && *event == Announced::Started);
    assert_eq!(started.count(), 2, "once by each name");
    world.check();
}

#[test]
fn peers_may_ask_by_either_name_and_a_name_belongs_to_one_torrent() {
    let content = hybrid(3);
    let hashes = content.torrent.info_hashes();
    let (v1, v2) = (hashes.v1().unwrap(), hashes.v2().unwrap());
    let mut world = World::new(3);
    let seed = world.add(&content, Role::Seed, Access::default());
    for name in [v1.0, v2.truncated().0] {
        let peer = Scripted::new(&content).named(name).dials(world.addr(seed));
        let (_, log) = peer.enter(&mut world, Access::default(), |_, _| {});
        let end = world.now + std::time::Duration::from_secs(5);
        world.run_until(end, |_| false);
        assert_eq!((log.borrow().handshakes, log.borrow().open()), (1, 1));
    }
    let now = world.now;
    let node = world.node_mut(seed);
    let magnet = |hashes| AddMagnet::new(hashes);
    for known in [InfoHashes::v1_only(v1), InfoHashes::v2_only(v2)] {
        assert!(node.engine.add_magnet(now, &magnet(known)).is_none(), "it runs already");
    }
    node.engine.remove_torrent(now, node.torrent);
    let mut engine = Engine::new(Config::new(PeerId::new(PeerId::PREFIX, [0; 12])), [0; 32]);
    let [one, other] = [InfoHashes::v1_only(v1), InfoHashes::v2_only(v2)]
        .map(|known| engine.add_magnet(now, &magnet(known)).unwrap());
    assert!(!engine.rename(now, other, content.torrent.id()), "another torrent has that name");
    assert_eq!(engine.torrent_id(other), Some(v2.truncated()));
    engine.remove_torrent(now, one);
    assert!(engine.rename(now, other, content.torrent.id()));
    assert_eq!([hashes.id(), v2.truncated()].map(|id| engine.torrent_key(id)), [Some(other); 2]);
    engine.remove_torrent(now, other);
    assert_eq!([hashes.id(), v2.truncated()].map(|id| engine.torrent_key(id)), [None; 2]);
}

#[test]
fn the_local_network_is_told_both_names_and_a_seed_is_found_by_either() {
    let content = hybrid(5);
    let hashes = content.torrent.info_hashes();
    let (v1, v2) = (hashes.v1().unwrap(), hashes.v2().unwrap());
    for known in [InfoHashes::v1_only(v1), InfoHashes::v2_only(v2)] {
        let mut world = World::new(5);
        world.on_one_lan();
        let magnet = world.add(&content, Role::Named(known), Access::default());
        let seed = world.add_with(&content, Role::Seed, Access::default(), DiskSpeed::default(), without_pex);
        assert!(world.run_until_complete(&[magnet], Time::from_secs(90)).is_some(), "{known:?}");
        world.run_until(Time::from_secs(3600), |_| false);
        let local = &world.node(seed).local;
        assert!(local.windows(2).all(|pair| pair[1].0 >= pair[0].0 + Duration::from_secs(60)));
        for name in [v1.0, v2.truncated().0] {
            let told = local.iter().filter(|(_, hashes)| hashes.contains(&name)).count();
            assert!((12..=15).contains(&told), "{told} times in an hour");
        }
        world.check();
    }
}

#[test]
fn one_that_contradicts_itself_is_told_and_paused_and_nobody_is_banned() {
    let len = (PIECES * PIECE) as usize;
    let builder = Builder::single("content.bin", len as u64).piece_length(PIECE).version(Version::Hybrid);
    let content = Content::with_wrong_v1(6, len, builder, 5);
    let mut world = World::new(6);
    let seeds = [(); 3].map(|()| world.add(&content, Role::Seed, Access::default()));
    let leech = world.add(&content, Role::Leech, Access::default());
    let status = |world: &World| {
        let node = world.node(leech);
        node.engine.torrent_status(world.now, node.torrent).unwrap()
    };
    let mut before = 0;
    for times in 1..=2 {
        seeds.into_iter().for_each(|seed| world.introduce(leech, seed));
        let end = world.now + Duration::from_secs(60);
        world.run_until(end, |_| false);
        let told = world.node(leech).events.iter().filter(|(_, event)| match event {
            Event::PeerBanned { .. } | Event::PieceFailed { .. } | Event::Complete { .. } => {
                panic!("{event:?}")
            }
            Event::PieceContradicts { piece, .. } => piece.get() == 5,
            _ => false,
        });
        assert_eq!((told.count(), status(&world).activity), (times, Activity::Paused));
        // What is there is kept.
        assert!((before..PIECES).contains(&status(&world).pieces_done));
        before = status(&world).pieces_done;
        // It is no other when it is tried again.
        let now = world.now;
        let node = world.node_mut(leech);
        node.engine.resume(now, node.torrent);
        world.touch(leech);
    }
    world.check();
}

#[test]
fn what_is_of_two_torrents_is_told_and_nobody_is_banned() {
    let content = hybrid(4);
    let mut world = World::new(4);
    let seed = world.add(&content, Role::Seed, Access::default());
    let wrong =
        InfoHashes::hybrid(content.torrent.info_hashes().v1().unwrap(), metainfo::InfoHashV2([7; 32]));
    let magnet = world.add(&content, Role::Named(wrong), Access::default());
    world.introduce(magnet, seed);
    world.run_until(Time::from_secs(30), |_| false);
    let told = world.node(magnet).events.iter().filter(|(_, event)| match event {
        Event::PeerBanned { .. } | Event::Metadata { .. } => panic!("{event:?}"),
        event => matches!(event, Event::Contradiction { .. }),
    });
    assert_eq!(told.count(), 1);
    world.check();
}
