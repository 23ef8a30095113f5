//! Announces to the local network (BEP 14): who has a turn.

use std::time::Duration;

use storage::StoreId;
use swarm::engine::{AddTorrent, Config, Time, TorrentKey};
use swarm::sim::{Access, Content, NodeId, Role, World};
use wire::peer::Bitfield;

/// Adds torrents that are complete, and whose files nobody asks for.
fn add_more(world: &mut World, id: NodeId, count: u32, paused: bool) -> Vec<([u8; 20], TorrentKey)> {
    let now = world.now;
    let engine = &mut world.node_mut(id).engine;
    let added = (0..count).map(|n| {
        let meta = Content::new(u64::from(n) + 100, 1 << 16, 1 << 16).torrent;
        let name = meta.id().0;
        let add = AddTorrent::new(meta, StoreId(n + 100), Bitfield::with_all(1));
        (name, engine.add_torrent(now, AddTorrent { paused, ..add }).unwrap())
    });
    added.collect()
}

#[test]
fn paused_torrents_take_no_turn_and_have_one_when_they_run() {
    let content = Content::new(1, 1 << 20, 64 * 1024);
    let mut world = World::new(1);
    world.on_one_lan();
    let node = world.add(&content, Role::Seed, Access::default());
    let mut sleepers = add_more(&mut world, node, 100, true);
    world.touch(node);
    world.run_until(Time::from_secs(3600), |_| false);
    let id = content.torrent.id().0;
    let sent = &world.node(node).local;
    // Once more after the first minute.
    assert!((12..=14).contains(&sent.len()), "every five minutes, not {} times", sent.len());
    assert!(sent.iter().all(|(_, hashes)| hashes[..] == [id]));

    // One that is paused later is silent too; one that goes on is announced as soon as the pace allows.
    let (now, (name, woken)) = (world.now, sleepers.remove(7));
    let engine = &mut world.node_mut(node).engine;
    let key = engine.torrent_key(content.torrent.id()).unwrap();
    engine.pause(now, key);
    engine.resume(now, woken);
    world.touch(node);
    let end = now + Duration::from_secs(1000);
    world.run_until(end, |_| false);
    let since: Vec<_> = world.node(node).local.iter().filter(|(at, _)| *at > now).collect();
    assert!(since.first().is_some_and(|(at, _)| *at <= now + Duration::from_secs(60)), "{since:?}");
    assert!(since.iter().all(|(_, hashes)| hashes[..] == [name]), "{since:?}");
}

#[test]
fn a_packet_names_all_torrents_that_are_due() {
    let content = Content::new(2, 1 << 20, 64 * 1024);
    let mut world = World::new(2);
    world.on_one_lan();
    let node = world.add(&content, Role::Seed, Access::default());
    add_more(&mut world, node, 9, false);
    world.touch(node);
    world.run_until(Time::from_secs(400), |_| false);
    let sent = &world.node(node).local;
    assert_eq!(sent.iter().map(|(_, hashes)| hashes.len()).max(), Some(10), "{sent:?}");
    let mut all: Vec<_> = sent.iter().take(2).flat_map(|(_, hashes)| hashes.clone()).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10);
}

#[test]
fn without_it_nothing_is_announced_and_nothing_believed() {
    let content = Content::new(3, 1 << 20, 64 * 1024);
    let mut world = World::new(3);
    world.on_one_lan();
    let off = |config: &mut Config| config.lsd = false;
    let quiet = world.add_with(&content, Role::Leech, Access::default(), Default::default(), off);
    let seed = world.add(&content, Role::Seed, Access::default());
    world.run_until(Time::from_secs(1000), |_| false);
    assert!(world.node(quiet).local.is_empty() && !world.node(seed).local.is_empty());
    assert!(world.node(quiet).dials.is_empty());
}
