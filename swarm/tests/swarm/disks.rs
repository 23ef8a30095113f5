//! Disks that are slow, broken or full.

use std::time::Duration;

use storage::Operation;
use swarm::engine::{Activity, Event, Time};
use swarm::sim::{Access, Content, DiskSpeed, Failing, NodeId, Role, SimStore, World};
use wire::peer::Bitfield;

const MIB: usize = 1 << 20;

fn status(world: &World, id: NodeId) -> swarm::engine::TorrentStatus {
    let node = world.node(id);
    node.engine.torrent_status(world.now, node.torrent).expect("it runs")
}

fn bans(world: &World, id: NodeId) -> usize {
    world.node(id).events.iter().filter(|(_, event)| matches!(event, Event::PeerBanned { .. })).count()
}

/// A leech that finds nobody but who it is told of, and tells nobody of others.
fn loner(world: &mut World, content: &Content, access: Access) -> NodeId {
    world.add_with(content, Role::Leech, access, DiskSpeed::default(), |config| config.pex = false)
}

#[test]
fn a_slow_disk_holds_its_peers_back_and_memory_stays_bounded() {
    let content = Content::new(1, 8 * MIB, 256 * 1024);
    let mut world = World::new(1);
    let slow = DiskSpeed { seek: Duration::from_millis(1), rate: 500_000 };
    let seeds: Vec<_> = (0..4).map(|_| world.add(&content, Role::Seed, Access::default())).collect();
    let leech = world.add_with(&content, Role::Leech, Access::symmetric(8_000_000), slow, |config| {
        config.write_credit = 512 * 1024;
    });
    seeds.iter().for_each(|seed| world.introduce(leech, *seed));
    let took = world.run_until_complete(&[leech], Time::from_secs(200)).expect("complete");
    assert!(took < Duration::from_secs(30), "the disk is used all the time: {took:?}");
    let held = world.node(leech).most_held;
    assert!(held < MIB, "{held} bytes held");
    let snubbed = world.node(leech).events.iter().any(|(_, event)| matches!(event, Event::PeerLeft { .. }));
    assert!(!snubbed || world.node(leech).completed.is_some());
    assert!(
        status(&world, leech).totals.wasted < (8 * MIB * 2 / 100) as u64,
        "{:?}",
        status(&world, leech).totals
    );
}

#[test]
fn a_disk_error_bans_nobody_and_makes_no_loop() {
    let content = Content::new(2, 4 * MIB, 64 * 1024);
    let mut world = World::new(2);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = loner(&mut world, &content, Access::default());
    let other = loner(&mut world, &content, Access::symmetric(500_000));
    let broken = content.torrent.geometry().piece(20).expect("it has 64 pieces");
    world.node(leech).store.break_piece(broken);
    world.introduce(leech, seed);
    world.introduce(other, leech);
    world.run_until(Time::from_secs(300), |_| false);
    assert!(matches!(status(&world, leech).activity, Activity::Failed(_)));
    assert_eq!((bans(&world, leech), bans(&world, seed)), (0, 0));
    let failed = world.node(leech).events.iter().filter(|(_, e)| matches!(e, Event::StorageFailed { .. }));
    assert_eq!(failed.count(), 1, "it is told once");
    assert!(status(&world, leech).totals.downloaded <= 2 * 4 * MIB as u64);
    // What is there is still served.
    assert_eq!(status(&world, other).pieces_done, status(&world, leech).pieces_done);
    assert!(status(&world, other).pieces_done > 0);
    world.check();
}

#[test]
fn a_full_disk_stops_the_download_and_nothing_else() {
    let content = Content::new(3, 4 * MIB, 64 * 1024);
    let mut world = World::new(3);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    world.node(leech).store.fill_up_after(Some(MIB as u64));
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(120), |_| false);
    assert!(matches!(status(&world, leech).activity, Activity::Failed(_)));
    assert!(status(&world, leech).pieces_done <= 16);
    assert!(status(&world, leech).totals.downloaded < 3 * MIB as u64);
    assert_eq!(bans(&world, leech), 0);
    world.check();
}

#[test]
fn a_seed_that_cannot_read_a_piece_says_so_and_another_one_helps() {
    let content = Content::new(4, 2 * MIB, 64 * 1024);
    let mut world = World::new(4);
    let bad = world.add(&content, Role::Seed, Access::default());
    let good = world.add(&content, Role::Seed, Access::symmetric(100_000));
    let leech = world.add(&content, Role::Leech, Access::default());
    let geometry = content.torrent.geometry();
    for index in [3, 9, 31] {
        world.node(bad).store.break_piece(geometry.piece(index).expect("it has 32 pieces"));
    }
    world.introduce(leech, bad);
    world.run_until(Time::from_secs(60), |_| false);
    assert_eq!(status(&world, leech).pieces_done, 29);
    assert_eq!(bans(&world, leech), 0);
    world.introduce(leech, good);
    assert!(world.run_until_complete(&[leech], Time::from_secs(120)).is_some());
    assert_eq!(bans(&world, leech), 0);
}

fn failures(world: &World, id: NodeId) -> usize {
    world.node(id).events.iter().filter(|(_, event)| matches!(event, Event::StorageFailed { .. })).count()
}

fn recoveries(world: &World, id: NodeId) -> usize {
    let recovered = |(_, event): &&(Time, Event)| matches!(event, Event::StorageRecovered { .. });
    world.node(id).events.iter().filter(recovered).count()
}

#[test]
fn a_full_disk_that_gets_room_goes_on_by_itself_and_fetches_nothing_twice() {
    let content = Content::new(5, 8 * MIB, 256 * 1024);
    let mut world = World::new(5);
    let seeds: Vec<_> = (0..3).map(|_| world.add(&content, Role::Seed, Access::default())).collect();
    let leech = world.add(&content, Role::Leech, Access::default());
    world.node(leech).store.fill_up_after(Some(3 * MIB as u64 + 12_345));
    seeds.iter().for_each(|seed| world.introduce(leech, *seed));
    world.run_until(Time::from_secs(100), |_| false);
    let Activity::Failed(error) = status(&world, leech).activity else { panic!("it goes on") };
    assert!(error.is_full(), "{error}");
    assert_eq!((failures(&world, leech), recoveries(&world, leech)), (1, 0), "it is told once");
    assert!(status(&world, leech).retry_in.is_some_and(|wait| wait <= Duration::from_secs(60)));
    world.node(leech).store.fill_up_after(None);
    let room_at = world.now;
    assert!(world.run_until(room_at + Duration::from_secs(61), |world| recoveries(world, leech) == 1));
    let end = world.now + Duration::from_secs(30);
    assert!(world.run_until_complete(&[leech], end).is_some());
    let twice = status(&world, leech).totals.downloaded - 8 * MIB as u64;
    assert!(twice <= 2 * 256 * 1024, "{twice} bytes were fetched twice");
    assert_eq!(failures(&world, leech), 1);
}

#[test]
fn writes_that_never_work_do_not_drain_the_swarm() {
    let content = Content::new(6, 4 * MIB, 64 * 1024);
    let mut world = World::new(6);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    let failing =
        Failing { operation: Operation::Write, nth: 0, lasting: true, kind: std::io::ErrorKind::Other };
    world.node(leech).store.fail(Some(failing));
    world.introduce(leech, seed);
    // The probe says that all is well: only writing tells.
    world.run_until(Time::from_secs(3600), |_| false);
    assert_eq!((failures(&world, leech), bans(&world, leech)), (1, 0));
    let fetched = status(&world, leech).totals.downloaded;
    assert!(fetched <= 4 * MIB as u64 + MIB as u64, "{fetched} bytes fetched");
    let writes = world.node(leech).store.calls()[1];
    assert!(writes < 400, "{writes} tries in an hour");
    world.node(leech).store.fail(None);
    let end = world.now + Duration::from_secs(80);
    assert!(world.run_until_complete(&[leech], end).is_some());
    let fetched = status(&world, leech).totals.downloaded;
    assert!(fetched <= 2 * 4 * MIB as u64, "{fetched} bytes fetched");
}

#[test]
fn a_disk_that_turns_read_only_is_still_served_from() {
    let content = Content::new(7, 4 * MIB, 64 * 1024);
    let mut world = World::new(7);
    let seed = world.add(&content, Role::Seed, Access::symmetric(500_000));
    let leech = world.add(&content, Role::Leech, Access::symmetric(500_000));
    let other = world.add(&content, Role::Leech, Access::symmetric(500_000));
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(4), |_| false);
    let kind = std::io::ErrorKind::ReadOnlyFilesystem;
    for operation in [Operation::Write, Operation::Open] {
        world.node(leech).store.fail(Some(Failing { operation, nth: 0, lasting: true, kind }));
        world.run_until(world.now + Duration::from_secs(3), |_| false);
    }
    assert!(matches!(status(&world, leech).activity, Activity::Failed(error) if error.is_read_only()));
    world.introduce(other, leech);
    let there = status(&world, leech).pieces_done;
    world.run_until(world.now + Duration::from_secs(30), |_| false);
    assert!(there > 10 && status(&world, other).pieces_done >= there, "what is there is served");
    world.node(leech).store.fail(None);
    let end = world.now + Duration::from_secs(90);
    assert!(world.run_until_complete(&[leech, other], end).is_some());
}

#[test]
fn a_device_that_comes_back_is_gone_on_with_and_not_checked_as_a_whole() {
    let content = Content::new(8, 4 * MIB, 64 * 1024);
    let mut world = World::new(8);
    let seed = world.add(&content, Role::Seed, Access::symmetric(500_000));
    let leech = world.add(&content, Role::Leech, Access::symmetric(500_000));
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(4), |_| false);
    world.node(leech).store.set_gone(true);
    world.run_until(world.now + Duration::from_secs(90), |_| false);
    assert!(matches!(status(&world, leech).activity, Activity::Failed(error) if error.is_gone()));
    let reads = world.node(leech).store.calls()[0];
    world.node(leech).store.set_gone(false);
    let back = world.now;
    let end = world.now + Duration::from_secs(90);
    assert!(world.run_until_complete(&[leech], end).is_some());
    let twice = status(&world, leech).totals.downloaded - 4 * MIB as u64;
    assert!(twice <= 2 * 64 * 1024, "{twice} bytes were fetched twice");
    let (spent, read) = (world.now - back, world.node(leech).store.calls()[0] - reads);
    assert!(read < 40 + 4 * spent.as_secs(), "{read} reads: only pieces in progress are read again at once");
    assert_eq!(bans(&world, leech), 0);
    // The others are read one after the other.
    let end = world.now + Duration::from_secs(30);
    assert!(world.run_until(end, |world| resume(world, leech).clean.is_full()));
}

#[test]
fn a_folder_that_comes_back_empty_is_noticed_before_it_is_relied_on() {
    let content = Content::new(9, 4 * MIB, 64 * 1024);
    let mut world = World::new(9);
    let seed = world.add(&content, Role::Seed, Access::symmetric(500_000));
    let leech = loner(&mut world, &content, Access::symmetric(500_000));
    let other = loner(&mut world, &content, Access::symmetric(500_000));
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(4), |_| false);
    let store = world.node(leech).store.clone();
    store.set_gone(true);
    world.run_until(world.now + Duration::from_secs(10), |_| false);
    store.wipe();
    store.set_gone(false);
    world.run_until(world.now + Duration::from_secs(70), |_| false);
    assert_eq!(recoveries(&world, leech), 1);
    // Whoever asks for what is not there is refused.
    world.introduce(other, leech);
    let end = world.now + Duration::from_secs(300);
    assert!(world.run_until_complete(&[other], end).is_some());
    // What nobody asked for is found too; then all of it is fetched anew.
    let end = world.now + Duration::from_secs(300);
    let done = |world: &World| {
        let node = world.node(leech);
        content.torrent.geometry().pieces().all(|piece| node.store.is_right(piece))
    };
    assert!(world.run_until(end, done), "all of it is there again");
    assert_eq!((bans(&world, leech), bans(&world, other)), (0, 0));
}

#[test]
fn below_the_floor_of_free_space_nothing_is_written() {
    let content = Content::new(10, 4 * MIB, 64 * 1024);
    let mut world = World::new(10);
    let seed = world.add(&content, Role::Seed, Access::symmetric(500_000));
    let leech = world.add(&content, Role::Leech, Access::symmetric(500_000));
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(3), |_| false);
    let say = |world: &mut World, free: u64| {
        let (now, node) = (world.now, world.node_mut(leech));
        node.engine.set_space(now, storage::StoreId(0), free);
        world.touch(leech);
    };
    say(&mut world, 15 << 20);
    world.run_until(Time::from_secs(5), |_| false);
    let writes = world.node(leech).store.calls()[1];
    world.run_until(Time::from_secs(200), |_| false);
    assert_eq!(world.node(leech).store.calls()[1], writes);
    assert!(matches!(status(&world, leech).activity, Activity::Failed(error) if error.is_full()));
    say(&mut world, 17 << 20);
    assert!(world.run_until_complete(&[leech], Time::from_secs(240)).is_some());
}

#[test]
fn a_seed_that_was_not_checked_checks_what_it_serves() {
    let content = Content::new(11, 2 * MIB, 64 * 1024);
    let mut world = World::new(11);
    let geometry = content.torrent.geometry();
    let store = SimStore::with(content.clone(), geometry.pieces());
    for index in [2, 7] {
        store.corrupt(geometry.piece(index).expect("it has 32 pieces"), 777);
    }
    let doubtful = world.add_unverified(&content, store, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    world.introduce(leech, doubtful);
    world.run_until(Time::from_secs(60), |_| false);
    assert_eq!(status(&world, leech).pieces_done, 30);
    let failed = |(_, event): &&(Time, Event)| matches!(event, Event::PieceFailed { .. });
    assert_eq!(world.node(leech).events.iter().filter(failed).count(), 0, "no wrong byte leaves it");
    assert_eq!(status(&world, doubtful).activity, Activity::Downloading);
    // Somebody has the rest: both get it.
    let good = world.add(&content, Role::Seed, Access::default());
    world.introduce(doubtful, good);
    let whole =
        |world: &World| status(world, leech).pieces_done == 32 && status(world, doubtful).pieces_done == 32;
    assert!(world.run_until(Time::from_secs(160), whole));
    assert_eq!((bans(&world, leech), bans(&world, doubtful)), (0, 0));
}

#[test]
fn a_recheck_finds_what_changed_and_keeps_the_rest() {
    let content = Content::new(12, 2 * MIB, 64 * 1024);
    let mut world = World::new(12);
    let seed = world.add(&content, Role::Seed, Access::default());
    // A download that is complete.
    let leech = world.add(&content, Role::Partial(Bitfield::with_all(32)), Access::default());
    let geometry = content.torrent.geometry();
    world.node(leech).store.corrupt(geometry.piece(5).expect("it has 32 pieces"), 4321);
    let (now, torrent) = (world.now, world.node(leech).torrent);
    world.node_mut(leech).engine.recheck(now, torrent);
    world.touch(leech);
    assert_eq!(status(&world, leech).activity, Activity::Checking { done: 0, total: 32 });
    assert!(world.run_until(Time::from_secs(10), |world| !matches!(
        status(world, leech).activity,
        Activity::Checking { .. }
    )));
    assert_eq!(
        (status(&world, leech).pieces_done, status(&world, leech).activity),
        (31, Activity::Downloading)
    );
    world.introduce(leech, seed);
    assert!(world.run_until(Time::from_secs(60), |world| status(world, leech).pieces_done == 32));
    assert_eq!(status(&world, leech).totals.downloaded, 64 * 1024);
    let clean = |world: &World| {
        let state = world.node(leech).engine.resume_state(world.now, torrent);
        state.is_some_and(|state| state.clean.is_full())
    };
    assert!(world.run_until(Time::from_secs(70), clean), "what was checked is clean after a sync");
}

#[test]
fn who_comes_during_a_recheck_learns_of_every_piece() {
    let content = Content::new(14, 2 * MIB, 64 * 1024);
    let mut world = World::new(14);
    let slow = DiskSpeed { seek: Duration::from_millis(100), ..DiskSpeed::default() };
    let seed = world.add_with(&content, Role::Seed, Access::default(), slow, |_| {});
    let early = world.add(&content, Role::Leech, Access::symmetric(100_000));
    world.introduce(early, seed);
    world.run_until(Time::from_secs(2), |_| false);
    let (now, torrent) = (world.now, world.node(seed).torrent);
    world.node_mut(seed).engine.recheck(now, torrent);
    world.touch(seed);
    let is_half =
        |world: &World| matches!(status(world, seed).activity, Activity::Checking { done: 16.., .. });
    assert!(world.run_until(now + Duration::from_secs(60), is_half));
    let late = world.add(&content, Role::Leech, Access::symmetric(100_000));
    world.switch_off(early);
    world.introduce(late, seed);
    assert!(world.run_until_complete(&[late], Time::from_secs(120)).is_some());
}

#[test]
fn a_paused_torrent_does_nothing_until_it_is_resumed() {
    let content = Content::new(13, 2 * MIB, 64 * 1024);
    let mut world = World::new(13);
    let seed = world.add(&content, Role::Seed, Access::symmetric(200_000));
    let leech = world.add(&content, Role::Leech, Access::symmetric(200_000));
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(3), |_| false);
    let (now, torrent) = (world.now, world.node(leech).torrent);
    world.node_mut(leech).engine.pause(now, torrent);
    world.touch(leech);
    world.introduce(seed, leech);
    world.run_until(Time::from_secs(100), |_| false);
    let before = status(&world, leech);
    assert_eq!((before.activity, before.peers), (Activity::Paused, 0));
    assert!(before.pieces_done > 2 && before.pieces_done < 32);
    let now = world.now;
    world.node_mut(leech).engine.resume(now, torrent);
    world.touch(leech);
    assert!(world.run_until_complete(&[leech], Time::from_secs(200)).is_some());
    assert!(status(&world, leech).totals.downloaded <= (2 * MIB + 64 * 1024) as u64);
}

/// What would be recorded now.
fn resume(world: &World, id: NodeId) -> swarm::engine::ResumeState {
    let node = world.node(id);
    node.engine.resume_state(world.now, node.torrent).expect("it runs")
}

#[test]
fn what_a_failed_sync_may_have_lost_is_read_again_and_clean_in_the_same_run() {
    let content = Content::new(14, 2 * MIB, 64 * 1024);
    let mut world = World::new(14);
    let seed = world.add(&content, Role::Seed, Access::symmetric(500_000));
    let leech = world.add(&content, Role::Leech, Access::symmetric(500_000));
    let failing =
        Failing { operation: Operation::Sync, nth: 0, lasting: true, kind: std::io::ErrorKind::Other };
    world.node(leech).store.fail(Some(failing));
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(10), |_| false);
    let state = resume(&world, leech);
    assert!(state.clean.is_clear() && state.have.count_ones() > 5);
    assert!(state.have.iter_and_not(&state.doubtful).next().is_none(), "all of it is doubtful");
    let checked = world.node(leech).store.calls()[0];
    world.node(leech).store.fail(None);
    assert!(world.run_until_complete(&[leech], Time::from_secs(100)).is_some());
    let end = world.now + Duration::from_secs(45);
    assert!(world.run_until(end, |world| resume(world, leech).clean.is_full()));
    assert!(resume(&world, leech).doubtful.is_clear());
    assert!(world.node(leech).store.calls()[0] > checked, "it was read again");
    assert_eq!(status(&world, leech).totals.wasted, 0);
    world.check();
}

#[test]
fn what_passed_before_the_disk_was_full_is_synced_all_the_same() {
    let content = Content::new(15, 4 * MIB, 64 * 1024);
    let mut world = World::new(15);
    let seed = world.add(&content, Role::Seed, Access::default());
    let leech = world.add(&content, Role::Leech, Access::default());
    world.node(leech).store.fill_up_after(Some(2 * MIB as u64));
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(10), |_| false);
    assert!(matches!(status(&world, leech).activity, Activity::Failed(error) if error.is_full()));
    let state = resume(&world, leech);
    assert!(state.have.count_ones() > 5);
    assert_eq!((&state.clean, state.doubtful.count_ones()), (&state.have, 0));
    let syncs = world.node(leech).store.calls()[2];
    assert!(syncs < 4, "{syncs} syncs");
    // A sync that fails meanwhile is not tried again before the disk takes blocks.
    world.run_until(Time::from_secs(600), |_| false);
    assert!(world.node(leech).store.calls()[2] - syncs < 20);
}

#[test]
fn a_torrent_that_stopped_clean_has_nothing_doubtful_whenever_it_is_asked() {
    let content = Content::new(16, 2 * MIB, 64 * 1024);
    for seed in 0..40 {
        let mut world = World::new(seed);
        let source = world.add(&content, Role::Seed, Access::symmetric(2_000_000));
        let slow = DiskSpeed { seek: Duration::from_millis(3), rate: 2_000_000 };
        let leech = world.add_with(&content, Role::Leech, Access::symmetric(2_000_000), slow, |_| ());
        world.introduce(leech, source);
        world.run_until(Time::from_millis(150 + 37 * seed), |_| false);
        let (now, torrent) = (world.now, world.node(leech).torrent);
        world.node_mut(leech).engine.pause(now, torrent);
        world.touch(leech);
        let stopped = |world: &World| {
            let told = |(_, event): &(Time, Event)| matches!(event, Event::Stopped { clean: true, .. });
            world.node(leech).events.iter().any(told)
        };
        assert!(world.run_until(now + Duration::from_secs(9), stopped), "seed {seed}");
        let done = status(&world, leech).pieces_done;
        for _ in 0..2 {
            let state = resume(&world, leech);
            assert!(state.doubtful.is_clear() && state.clean == state.have, "seed {seed}");
            assert_eq!(status(&world, leech).pieces_done, done, "seed {seed}: a verdict came after the end");
            let later = world.now + Duration::from_secs(5);
            world.run_until(later, |_| false);
        }
    }
}

#[test]
fn a_seed_whose_disk_was_gone_serves_again_and_looks_at_the_rest_by_itself() {
    let content = Content::new(17, 2 * MIB, 64 * 1024);
    let mut world = World::new(17);
    let seed = world.add(&content, Role::Seed, Access::symmetric(500_000));
    let leech = world.add(&content, Role::Leech, Access::symmetric(500_000));
    world.node(seed).store.set_gone(true);
    world.introduce(leech, seed);
    world.run_until(Time::from_secs(20), |_| false);
    assert!(matches!(status(&world, seed).activity, Activity::Failed(error) if error.is_gone()));
    world.node(seed).store.set_gone(false);
    let recovered = |world: &World| recoveries(world, seed) == 1;
    assert!(world.run_until(Time::from_secs(90), recovered));
    assert!(!resume(&world, seed).doubtful.is_clear(), "a record says that it was not looked at");
    let end = world.now + Duration::from_secs(30);
    assert!(world.run_until(end, |world| resume(world, seed).clean.is_full()), "nobody has to ask");
    assert!(resume(&world, seed).doubtful.is_clear());
    assert!(world.run_until_complete(&[leech], Time::from_secs(200)).is_some());
    assert_eq!((status(&world, seed).totals.downloaded, recoveries(&world, seed)), (0, 1));
    world.check();
}
