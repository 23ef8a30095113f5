//! Metadata that are not checked yet: what size they are said to have, what they cost, and who takes them away again.

use std::time::Duration;

use swarm::engine::metadata::PIECE as META_PIECE;
use swarm::engine::{Activity, AddMagnet, Event, Time};
use swarm::sim::{Access, Heard, Line, Role, Scripted, World};
use wire::peer::{ExtendedHandshake, Extensions, MetadataMessage};

use super::magnets::{asked, give_metadata, offer, say_extended, say_metadata, worded, wordy};

#[test]
fn the_first_size_that_can_be_counts() {
    let content = wordy(14);
    let size = content.torrent.info_bytes().len() as u64;
    for first in [Some(0), Some(1 << 40), None] {
        let mut world = World::new(14);
        let magnet = world.add(&content, Role::Magnet, Access::default());
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
            if matches!(heard, Heard::Handshake(_)) {
                offer(line, first);
            }
            give_metadata(line, heard);
            if matches!(heard, Heard::Handshake(_)) {
                // Too late.
                offer(line, Some(size + 1));
            }
        };
        Scripted::new(&content).dials(world.addr(magnet)).enter(&mut world, Access::default(), script);
        let furnished = |world: &World| world.node(magnet).furnished.is_some();
        assert!(world.run_until(Time::from_secs(5), furnished), "{first:?}");
    }
}

#[test]
fn what_magnets_hold_of_unchecked_metadata_fits_their_share_and_they_are_whole_all_the_same() {
    const BUDGET: usize = 32 << 20;
    const SIZE: usize = 3 << 19;
    let content = worded(15, SIZE);
    let mut world = World::new(15);
    // Of 32 MiB they have three and a half with such credits.
    let adjust = |config: &mut swarm::engine::Config| {
        config.memory_budget = BUDGET;
        config.spare_blocks = 0;
    };
    let access = Access::symmetric(50_000_000);
    let magnet = world.add_with(&content, Role::Magnet, access, Default::default(), adjust);
    // Twenty claim a mebibyte and a half, and give all of it but the end.
    for liar in 0..20_u64 {
        let claimed = SIZE as u64 + liar;
        let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
            if matches!(heard, Heard::Handshake(_)) {
                offer(line, Some(claimed));
            }
            if let Some(piece) = asked(&heard).filter(|piece| *piece < 90) {
                let data = &[9; META_PIECE];
                say_metadata(line, MetadataMessage::Data { piece, total_size: Some(claimed), data });
            }
        };
        Scripted::new(&content).dials(world.addr(magnet)).enter(&mut world, access, script);
    }
    let mut most = 0;
    let mut watch = |world: &World| {
        most = most.max(world.node(magnet).engine.memory().metadata);
        world.node(magnet).furnished.is_some()
    };
    world.run_until(Time::from_secs(5), &mut watch);
    let honest = Scripted::new(&content).enter(&mut world, access, give_metadata).0;
    world.introduce(magnet, honest);
    assert!(world.run_until(Time::from_secs(120), &mut watch), "the right one is held up");
    assert!((2 * SIZE..BUDGET / 8).contains(&most), "{most} bytes");
    assert!(world.node(magnet).most_held >= most);
    assert_eq!(world.node(magnet).engine.memory().metadata, 0, "what is whole is handed over");
    world.check();
}

#[test]
fn two_magnets_share_what_there_is_and_both_are_whole() {
    // Of eight mebibytes each, with room for ten and a half.
    let [one, other] = [16, 17].map(|seed| worded(seed, 8 << 20));
    let mut world = World::new(16);
    let adjust = |config: &mut swarm::engine::Config| {
        config.memory_budget = 64 << 20;
        (config.write_credit, config.read_credit, config.spare_blocks) = (3 << 20, 6 << 20, 0);
    };
    let access = Access::symmetric(20_000_000);
    let magnet = world.add_with(&one, Role::Magnet, access, Default::default(), adjust);
    let second = AddMagnet::new(*other.torrent.info_hashes());
    let now = world.now;
    let second = world.node_mut(magnet).engine.add_magnet(now, &second).unwrap();
    for content in [&one, &other] {
        let peer = Scripted::new(content).dials(world.addr(magnet));
        peer.enter(&mut world, access, give_metadata);
    }
    let mut most = 0;
    let told = |world: &World| {
        world.node(magnet).events.iter().filter(|(_, e)| matches!(e, Event::Metadata { .. })).count()
    };
    let both = world.run_until(Time::from_secs(120), |world| {
        most = most.max(world.node(magnet).engine.memory().metadata);
        told(world) == 2
    });
    assert!(both, "{} of 2, {most} bytes", told(&world));
    assert!((8 << 20..11 << 20).contains(&most), "{most} bytes");
    assert!(world.node(magnet).engine.torrent_status(world.now, second).is_some());
}

#[test]
fn who_takes_ut_metadata_away_is_not_waited_for() {
    let content = wordy(18);
    let size = content.torrent.info_bytes().len() as u64;
    let mut world = World::new(18);
    let magnet = world.add(&content, Role::Magnet, Access::default());
    let script = move |line: &mut Line<'_>, heard: Heard<'_>| {
        if matches!(heard, Heard::Handshake(_)) {
            offer(line, Some(size));
        }
        if asked(&heard).is_some() {
            let extensions = Extensions::from_iter([("ut_metadata", 0)]);
            say_extended(line, &ExtendedHandshake { extensions, ..ExtendedHandshake::default() });
        }
    };
    Scripted::new(&content).dials(world.addr(magnet)).enter(&mut world, Access::default(), script);
    let peers = |world: &World| {
        let node = world.node(magnet);
        match node.engine.torrent_status(world.now, node.torrent).map(|status| status.activity) {
            Some(Activity::Metadata { peers, .. }) => peers,
            other => panic!("{other:?}"),
        }
    };
    assert!(world.run_until(Time::from_secs(2), |world| peers(world) == 1));
    assert!(world.run_until(Time::from_secs(3), |world| peers(world) == 0));
    let asked_at = world.now;
    let honest = Scripted::new(&content).dials(world.addr(magnet));
    honest.enter(&mut world, Access::default(), give_metadata);
    assert!(
        world.run_until(asked_at + Duration::from_secs(2), |world| world.node(magnet).furnished.is_some())
    );
}
