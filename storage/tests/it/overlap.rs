//! Syncs that overlap writes, and syncs of a whole file system that fail: what a later sync says is durable is so.

use crate::mounts::apart;
use crate::outage::{World, is_whole};
use crate::support::Sample;
use metainfo::Version;
use std::fs;
use std::io::IoSlice;
use std::sync::Arc;
use storage::testing::faults::{Call, CallFault, Effect, before, inject};
use storage::testing::ledger::{Change, record};
use storage::{FileOptions, Storage};

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
