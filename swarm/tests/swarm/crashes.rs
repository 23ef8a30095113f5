//! The end comes at any moment: a kill, or a power cut that loses, tears and reorders what was not synced.
//!
//! The suite runs 80 seeds; `UNCHOKE_CRASH_SEEDS=10000` runs as many as it says.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swarm::engine::{Config, Event, Time};
use swarm::sim::{Access, Content, DiskSpeed, NodeId, Role, World};

const PIECE: u32 = 64 * 1024;
const PIECES: u32 = 20;
/// What was verified longer ago than this is never forgotten.
const MEMORY: Duration = Duration::from_secs(5);

fn seeds() -> u64 {
    std::env::var("UNCHOKE_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(80)
}

fn content() -> Content {
    Content::new(77, (PIECES * PIECE) as usize - 40_000, PIECE)
}

fn adjust(config: &mut Config) {
    config.dials_per_second = 1000;
}

/// Ends a node and looks at what its record says: everything in it must be on the disk, and what passed a while ago must be in
/// it.
fn end(world: &mut World, id: NodeId, power_cut: Option<u64>) {
    // A record may be written at any moment.
    if world.seed.is_multiple_of(2) && power_cut.is_some() {
        let (now, node) = (world.now, world.node_mut(id));
        node.saved = node.engine.resume_state(now, node.torrent);
    }
    world.switch_off(id);
    let node = world.node(id);
    if let Some(seed) = power_cut {
        node.store.cut_power(seed);
    }
    let geometry = node.content.torrent.geometry();
    let clean = node.saved.as_ref().map(|state| &state.clean);
    for index in clean.iter().flat_map(|clean| clean.iter_ones()) {
        let piece = geometry.piece(index).expect("it has as many");
        assert!(node.store.is_right(piece), "seed {}: piece {index} was said to be safe", world.seed);
    }
    for (at, event) in &node.events {
        if let Event::PieceDone { piece, .. } = event
            && *at + MEMORY < world.now
        {
            let is_known = clean.is_some_and(|clean| clean.get(piece.get()));
            assert!(is_known, "seed {}: piece {} of {at:?} is forgotten", world.seed, piece.get());
        }
    }
}

fn fetched(world: &World, id: NodeId) -> u64 {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs").totals.downloaded
}

/// A download that ends some times and is taken up again.
pub(crate) fn run(content: &Content, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut world = World::new(seed);
    let rate = rng.random_range(60_000..800_000);
    let source = world.add_with(content, Role::Seed, Access::symmetric(rate), DiskSpeed::default(), adjust);
    let other = world.add_with(content, Role::Leech, Access::symmetric(rate), DiskSpeed::default(), adjust);
    let disk = DiskSpeed {
        seek: Duration::from_micros(rng.random_range(50..8_000)),
        rate: rng.random_range(1_000_000..100_000_000),
    };
    let mut node = world.add_with(content, Role::Leech, Access::symmetric(rate), disk, adjust);
    world.node(node).store.power_may_fail();
    for _ in 0..rng.random_range(1..4) {
        world.introduce(node, source);
        world.introduce(node, other);
        let until = world.now + Duration::from_millis(rng.random_range(50..12_000));
        world.run_until(until, |_| false);
        let power_cut = rng.random_bool(0.6).then(|| rng.random());
        end(&mut world, node, power_cut);
        let saved = world.node(node).saved.clone();
        let next = world.start_again(node, saved.as_ref(), disk, adjust);
        world.check();
        node = next;
        world.node_mut(node).saved = saved;
    }
    world.introduce(node, source);
    world.introduce(node, other);
    let limit = world.now + Duration::from_secs(120);
    assert!(world.run_until_complete(&[node], limit).is_some(), "seed {seed}: it never ends");
    world.check();
    let banned =
        |id| world.node(id).events.iter().any(|(_, event)| matches!(event, Event::PeerBanned { .. }));
    assert!(!banned(node) && !banned(other), "seed {seed}: a peer was banned for what a crash did");
}

#[test]
fn a_crash_at_any_moment_loses_nothing_that_was_safe() {
    let content = content();
    for seed in 0..seeds() {
        run(&content, seed);
    }
}

#[test]
fn an_orderly_stop_forgets_nothing() {
    let content = content();
    for seed in 0..30 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new(seed);
        let source = world.add_with(&content, Role::Seed, Access::default(), DiskSpeed::default(), adjust);
        let disk = DiskSpeed { seek: Duration::from_millis(2), rate: 3_000_000 };
        let node = world.add_with(&content, Role::Leech, Access::symmetric(1_000_000), disk, adjust);
        world.node(node).store.power_may_fail();
        world.introduce(node, source);
        world.run_until(Time::from_millis(rng.random_range(10..3_000)), |_| false);
        let (now, torrent) = (world.now, world.node(node).torrent);
        world.node_mut(node).engine.pause(now, torrent);
        world.touch(node);
        let stopped = |world: &World| {
            let told = |(_, event): &(Time, Event)| matches!(event, Event::Stopped { clean: true, .. });
            world.node(node).events.iter().any(told)
        };
        assert!(world.run_until(now + Duration::from_secs(10), stopped), "seed {seed}: it does not stop");
        let state = world.node(node).engine.resume_state(world.now, torrent).expect("it is still there");
        assert_eq!(state.clean, state.have, "seed {seed}");
        assert!(state.paused);
        world.node_mut(node).saved = Some(state.clone());
        let received = fetched(&world, node);
        let partial: usize = state.partial.iter().map(|piece| piece.blocks.len()).sum();
        let kept = u64::from(state.clean.count_ones()) * u64::from(PIECE) + partial as u64 * 16_384;
        assert!(kept >= received, "seed {seed}: {kept} of {received} bytes kept");
        end(&mut world, node, Some(seed));
        let again = world.start_again(node, Some(&state), disk, adjust);
        world.introduce(again, source);
        assert!(world.run_until_complete(&[again], world.now + Duration::from_secs(60)).is_some());
        // Whatever was fetched before the stop is not fetched again.
        let whole = content.torrent.geometry().total();
        assert!(received + fetched(&world, again) <= whole + 2 * u64::from(PIECE), "seed {seed}");
    }
}
