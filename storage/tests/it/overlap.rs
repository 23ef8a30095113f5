//! Syncs that overlap writes, and syncs of a whole file system that fail: what a later sync says is durable is so.

use crate::mounts::{apart, tmpfs};
use crate::outage::{World, is_whole};
use crate::support::Sample;
use metainfo::Version;
use std::fs;
use std::io::IoSlice;
use std::sync::Arc;
use storage::testing::faults::{Call, CallFault, Effect, before, inject};
use storage::testing::fuse::pretend;
use storage::testing::ledger::{Change, record};
use storage::{FileOptions, OpenFiles, Storage};

fn fail_sync(nth: u64) -> CallFault {
    CallFault { call: Some(Call::Sync), nth, lasting: false, effect: Effect::Fail(5) }
}

#[test]
fn what_is_written_while_a_sync_runs_is_durable_after_the_next() {
    apart("overlap::what_is_written_while_a_sync_runs_is_durable_after_the_next", |dir| {
        // The next sync may fail; then what was written is to be written again, and the one after it counts.
        for fails in [false, true] {
            let folder = dir.join(fails.to_string());
            fs::create_dir(&folder).unwrap();
            let world = World::new(&folder, false);
            let disk = world.disk();
            let ((), changes) = record(|| {
                let storage = Arc::new(world.open(&world.home, FileOptions::default()));
                let all: Vec<_> = world.sample.pieces().collect();
                let (last, first) = all.split_last().unwrap();
                for range in first {
                    storage.write(*range, &[IoSlice::new(world.sample.bytes(*range))]).unwrap();
                }
                storage.sync().unwrap();
                let other = storage.clone();
                let sync = move || std::thread::spawn(move || other.sync()).join().unwrap().unwrap();
                let bytes = world.sample.bytes(*last);
                let (written, was_synced) =
                    before(Call::Write, 0, sync, || storage.write(*last, &[IoSlice::new(bytes)]));
                written.unwrap();
                assert!(was_synced);
                if fails {
                    inject(fail_sync(0), || storage.sync()).0.unwrap_err();
                }
                storage.sync().unwrap();
            });
            world.lose_power(&disk, &changes, 100, |home, _, moment| {
                let storage = world.open(home, FileOptions::default());
                assert!(moment < changes.len() || is_whole(&storage, &world.sample), "fails: {fails}");
            });
        }
    });
}

#[test]
fn a_sync_of_the_whole_file_system_that_fails_is_a_failure() {
    apart("overlap::a_sync_of_the_whole_file_system_that_fails_is_a_failure", |dir| {
        let names: Vec<String> = (0..70).map(|at| format!("{at}")).collect();
        let files: Vec<(&str, u64)> = names.iter().map(|name| (&name[..], 1000)).collect();
        // Errors of the disk are told. A system that knows no such call has its files synced one by one.
        for (errno, is_told) in [(5, true), (28, true), (122, true), (30, true), (38, false), (22, false)] {
            let folder = dir.join(errno.to_string());
            fs::create_dir(&folder).unwrap();
            let world = World::of(&folder, Sample::folder(Version::V1, 16_384, &files), false);
            let disk = world.disk();
            let ((), changes) = record(|| {
                let storage = world.open(&world.home, FileOptions::default());
                world.sample.write_to(&storage);
                let fault = CallFault { effect: Effect::Fail(errno), ..fail_sync(0) };
                let (synced, _) = inject(fault, || storage.sync());
                assert_eq!(synced.is_err(), is_told, "{errno}: {synced:?}");
                if is_told {
                    storage.sync().unwrap();
                }
            });
            let has_failed = changes.iter().any(|change| matches!(change, Change::FailedSyncAll { .. }));
            assert_eq!(has_failed, is_told, "{errno}");
            world.lose_power(&disk, &changes, 16, |home, _, moment| {
                let storage = world.open(home, FileOptions::default());
                assert!(moment < changes.len() || is_whole(&storage, &world.sample), "{errno}");
            });
        }
    });
}

/// A torrent of 70 files.
fn many() -> Sample {
    let names: Vec<String> = (0..70).map(|at| format!("{at}")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (&name[..], 1000)).collect();
    Sample::folder(Version::V1, 16_384, &files)
}

fn syncs_all(changes: &[Change]) -> usize {
    changes.iter().filter(|change| matches!(change, Change::SyncAll { .. })).count()
}

#[test]
fn where_a_sync_of_the_whole_file_system_is_a_lie_each_file_is_synced() {
    apart("overlap::where_a_sync_of_the_whole_file_system_is_a_lie_each_file_is_synced", |dir| {
        let world = World::of(dir, many(), false);
        let disk = world.disk();
        for is_lie in [true, false] {
            pretend(is_lie);
            let ((), mut changes) = record(|| {
                let storage = world.open(&world.home, FileOptions::default());
                world.sample.write_to(&storage);
                storage.sync().unwrap();
            });
            pretend(false);
            assert_eq!(syncs_all(&changes), usize::from(!is_lie));
            if is_lie {
                changes.retain(|change| !matches!(change, Change::SyncAll { .. }));
                world.lose_power(&disk, &changes, 16, |home, _, moment| {
                    let storage = world.open(home, FileOptions::default());
                    assert!(moment < changes.len() || is_whole(&storage, &world.sample));
                });
            }
        }
    });
}

#[test]
fn files_on_a_mount_below_are_synced_after_a_crash_too() {
    apart("overlap::files_on_a_mount_below_are_synced_after_a_crash_too", |dir| {
        let world = World::of(dir, many(), false);
        tmpfs(&world.home.join("t"), "8m");
        let storage = world.open(&world.home, FileOptions::default());
        world.sample.write_to(&storage);
        drop(storage);
        let ((), changes) = record(|| {
            let storage = world.open(&world.home, FileOptions::default());
            (0..70).for_each(|index| storage.mark_unsynced(index));
            storage.sync().unwrap();
        });
        let synced = changes.iter().filter(|change| matches!(change, Change::Sync { .. })).count();
        assert!(syncs_all(&changes) == 0 && synced >= 70, "{synced}");
    });
}

#[test]
fn what_the_system_says_of_a_file_that_is_closed_for_another_is_heard() {
    apart("overlap::what_the_system_says_of_a_file_that_is_closed_for_another_is_heard", |dir| {
        // On the first kind each file is synced before it is closed; on the other one all of them are after that.
        for is_lie in [true, false] {
            let folder = dir.join(is_lie.to_string());
            fs::create_dir(&folder).unwrap();
            let world =
                World::of(&folder, Sample::folder(Version::V1, 16_384, &[("a", 1000), ("b", 1000)]), false);
            let disk = world.disk();
            pretend(is_lie);
            let ((), changes) = record(|| {
                let open_files = Arc::new(OpenFiles::new(1));
                let storage = world.open(&world.home, FileOptions { open_files, ..FileOptions::default() });
                let (written, hit) = inject(fail_sync(0), || {
                    world.sample.write_to(&storage);
                    storage.sync()
                });
                assert!(written.is_err() && hit.struck == 1, "{is_lie}");
                storage.sync().unwrap();
            });
            pretend(false);
            assert_eq!(syncs_all(&changes), usize::from(!is_lie), "{is_lie}");
            world.lose_power(&disk, &changes, 16, |home, _, moment| {
                let storage = world.open(home, FileOptions::default());
                assert!(moment < changes.len() || is_whole(&storage, &world.sample), "{is_lie}");
            });
        }
    });
}
