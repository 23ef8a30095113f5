//! Who gets how much: rarest first, tit for tat, and turns at a seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swarm::engine::Time;
use swarm::sim::{Access, Content, DiskSpeed, Heard, NodeId, Role, Scripted, World};
use wire::peer::{Bitfield, Message, Request};

const MIB: usize = 1 << 20;

fn mesh(world: &mut World, nodes: &[NodeId]) {
    for (n, node) in nodes.iter().enumerate() {
        nodes[..n].iter().for_each(|other| world.introduce(*node, *other));
    }
}

fn totals(world: &World, id: NodeId) -> swarm::engine::Totals {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs").totals
}

#[test]
fn every_piece_stays_when_the_only_seed_leaves_after_little_more_than_a_copy() {
    for seed in 0..2 {
        let len = 8 * MIB;
        let content = Content::new(seed, len, 32 * 1024);
        let mut world = World::new(seed);
        let access = Access::symmetric(400_000);
        let only = world.add_with(&content, Role::Seed, access, DiskSpeed::default(), |config| {
            config.upload_slots = Some(4);
        });
        let mut nodes: Vec<_> = (0..12).map(|_| world.add(&content, Role::Leech, access)).collect();
        nodes.push(only);
        mesh(&mut world, &nodes);
        nodes.pop();
        let copies = |world: &World| totals(world, only).uploaded as f64 / len as f64;
        let whole = |world: &World| {
            let mut union = Bitfield::new(content.torrent.geometry().piece_count());
            nodes.iter().for_each(|id| {
                let node = world.node(*id);
                union.or(node.engine.have(node.torrent).expect("it runs"));
            });
            union.is_full()
        };
        let mut next = 0.9;
        world.run_until(Time::from_secs(300), |world| {
            let due = copies(world) >= next;
            next += if due { 0.01 } else { 0.0 };
            due && whole(world)
        });
        println!("seed {seed}: {:.2} copies", copies(&world));
        assert!(copies(&world) < 1.5, "seed {seed}: {:.2} copies until every piece was out", copies(&world));
        world.switch_off(only);
        let all = world.run_until_complete(&nodes, Time::from_secs(600));
        assert!(all.is_some(), "seed {seed}: pieces were lost with the seed");
    }
}

#[test]
fn who_gives_more_gets_more_and_who_gives_nothing_gets_least() {
    // Each starts with a half of its own, so that there is always something to trade.
    let content = Content::new(2, 48 * MIB, 64 * 1024);
    let mut world = World::new(2);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut add = |up: u64, slots: usize| {
        let mut half = Bitfield::new(content.torrent.geometry().piece_count());
        (0..half.len()).filter(|_| rng.random_bool(0.5)).for_each(|piece| {
            half.set(piece);
        });
        let access = Access { up, ..Access::default() };
        world.add_with(&content, Role::Partial(half), access, DiskSpeed::default(), |config| {
            config.upload_slots = Some(slots);
        })
    };
    let generous: Vec<_> = (0..6).map(|_| add(100_000, 4)).collect();
    let modest: Vec<_> = (0..6).map(|_| add(25_000, 4)).collect();
    let greedy: Vec<_> = (0..4).map(|_| add(100_000, 0)).collect();
    mesh(&mut world, &[&generous[..], &modest, &greedy].concat());
    // The first rounds are a lottery.
    world.run_until(Time::from_secs(30), |_| false);
    let got = |world: &World, group: &[NodeId]| -> Vec<u64> {
        group.iter().map(|id| totals(world, *id).downloaded).collect()
    };
    let groups = [&generous, &modest, &greedy];
    let before = groups.map(|group| got(&world, group));
    world.run_until(Time::from_secs(180), |_| false);
    let after = groups.map(|group| got(&world, group));
    let mean = |group: usize| {
        let gained = after[group].iter().sum::<u64>() - before[group].iter().sum::<u64>();
        gained as f64 / after[group].len() as f64
    };
    let (most, some, least) = (mean(0), mean(1), mean(2));
    for (after, before) in after[0].iter().zip(&before[0]) {
        let part = (after - before) as f64 / most;
        assert!((0.6..1.5).contains(&part), "equals are treated as equals: {part} of the mean");
    }
    // What one can give in that time, and gets back.
    let (much, little) = (100_000.0 * 150.0, 25_000.0 * 150.0);
    assert!((0.6..1.4).contains(&(most / much)) && (0.6..1.4).contains(&(some / little)), "{most} {some}");
    assert!(least < most / 3.0, "who gives nothing lives of trials: {most} {least}");
}

#[test]
fn equal_peers_have_equal_time_at_a_seed() {
    const PEERS: usize = 12;
    let content = Content::new(3, 4 * MIB, 64 * 1024);
    let mut world = World::new(3);
    let access = Access { up: 60_000, ..Access::default() };
    let seed = world.add_with(&content, Role::Seed, access, DiskSpeed::default(), |config| {
        config.upload_slots = Some(4);
    });
    let to = world.addr(seed);
    let minutes = 30;
    let open: Rc<RefCell<Vec<Duration>>> = Rc::new(RefCell::new(vec![Duration::ZERO; PEERS]));
    for peer in 0..PEERS {
        let (open, mut since, mut next) = (open.clone(), None, 0);
        Scripted::new(&content).dials(to).enter(&mut world, Access::default(), move |line, heard| {
            let mut ask = |line: &mut swarm::sim::Line<'_>| {
                next = (next + 1) % 64;
                line.say(Message::Request(Request { index: next, begin: 0, len: 16384 }));
            };
            match heard {
                Heard::Open => {
                    line.say(Message::HaveNone);
                    line.say(Message::Interested);
                    line.wake_in(Duration::from_secs(minutes * 60 - 1));
                }
                Heard::Message(Message::Unchoke) => {
                    since = Some(line.now);
                    (0..4).for_each(|_| ask(line));
                }
                Heard::Message(Message::Piece { .. }) if since.is_some() => ask(line),
                Heard::Message(Message::Choke) | Heard::Wake => {
                    if let Some(since) = since.take() {
                        open.borrow_mut()[peer] += line.now - since;
                    }
                }
                _ => {}
            }
        });
    }
    world.run_until(Time::from_secs(minutes * 60), |_| false);
    let times: Vec<f64> = open.borrow().iter().map(Duration::as_secs_f64).collect();
    let mean = times.iter().sum::<f64>() / PEERS as f64;
    // Four slots and the optimistic one.
    assert!(mean >= (minutes * 60) as f64 * 4.0 / PEERS as f64 * 0.9, "the slots are used: {mean}");
    for time in &times {
        assert!((0.8..1.2).contains(&(time / mean)), "{time} of {mean} s: {times:?}");
    }
}
