//! The nth system call of a kind fails, for every n, once and for good: nothing good is destroyed, nothing outside the torrent is
//! touched, the error says which file and why, and when the cause is gone all goes on.

use crate::mounts::in_memory;
use crate::support::{Sample, Tree, memory_dir};
use metainfo::Version;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::plan::{Plan, PlanConfig, Store};
use storage::testing::faults::{Call, CallFault, Effect, inject};
use storage::{
    Buf, Completion, FileOptions, FileStorage, Job, MoveOptions, Storage as _, StorageError, Token, recheck,
};

const EINTR: i32 = 4;
const EFFECTS: [Effect; 7] = [
    Effect::Fail(5),
    Effect::Fail(28),
    Effect::Fail(30),
    Effect::Fail(13),
    Effect::Fail(24),
    Effect::Fail(EINTR),
    Effect::Short,
];

const FILES: [(&str, u64); 4] = [("a", 60_000), ("b/c", 40_000), ("b/empty", 0), ("d", 70_000)];

fn sample() -> Sample {
    Sample::folder(Version::V1, 32_768, &FILES)
}

/// A torrent's folder `home`, another one `goal`, and what is nobody's business around and in them.
struct World {
    sample: Sample,
    here: tempfile::TempDir,
    there: tempfile::TempDir,
}

impl World {
    /// On one file system.
    fn new() -> Self {
        Self::within(memory_dir(), memory_dir())
    }

    /// With its own folder in this one.
    fn beneath(folder: &Path) -> Self {
        Self::within(tempfile::tempdir_in(folder).unwrap(), memory_dir())
    }

    fn within(here: tempfile::TempDir, there: tempfile::TempDir) -> Self {
        for dir in [here.path(), there.path()] {
            fs::write(dir.join("foreign"), "around").unwrap();
        }
        let world = Self { sample: sample(), here, there };
        fs::create_dir_all(world.home().join("t/b")).unwrap();
        fs::write(world.home().join("t/b/foreign"), "inside").unwrap();
        world
    }

    fn home(&self) -> PathBuf {
        self.here.path().join("home")
    }

    fn goal(&self) -> PathBuf {
        self.there.path().join("goal")
    }

    fn open(&self, options: FileOptions) -> FileStorage {
        FileStorage::create(&self.home(), self.sample.torrent.clone(), options).unwrap()
    }

    fn seeded(&self) -> FileStorage {
        let storage = self.open(FileOptions::default());
        self.sample.write_to(&storage);
        storage
    }

    fn check_foreign(&self) {
        for dir in [self.here.path(), self.there.path()] {
            assert_eq!(fs::read(dir.join("foreign")).unwrap(), b"around");
        }
        assert_eq!(fs::read(self.home().join("t/b/foreign")).unwrap(), b"inside");
    }

    /// The error names a place of this torrent, and what was injected.
    fn check_error(&self, error: &StorageError, fault: CallFault) {
        let ours = [self.home(), self.goal()];
        assert!(ours.iter().any(|root| error.path.starts_with(root)), "{fault:?}: {error}");
        if let Effect::Fail(number) = fault.effect {
            assert_eq!(error.cause.raw_os_error(), Some(number), "{fault:?}: {error}");
        }
    }
}

fn is_whole(storage: &FileStorage, sample: &Sample) -> bool {
    recheck(storage, &sample.torrent, &storage::ScanOptions { threads: 1, ..Default::default() })
        .is_complete()
}

/// Strikes every call of every kind that `run` makes, in every way. `run` gets a fresh world, does its work under the fault
/// and gives back the errors that it met; `after` looks at what is left and does the rest.
fn strike_all<T>(
    make: impl Fn() -> World,
    prepare: impl Fn(&World) -> T,
    run: impl Fn(&World, &T) -> Vec<StorageError>,
    after: impl Fn(&World, T, bool),
) -> u64 {
    let mut runs = 0;
    for call in Call::ALL {
        let count = {
            let world = make();
            let ready = prepare(&world);
            let (errors, struck) =
                inject(CallFault { call: Some(call), ..CallFault::NONE }, || run(&world, &ready));
            assert!(errors.is_empty(), "{errors:?}");
            after(&world, ready, true);
            struck.calls
        };
        for effect in EFFECTS {
            for lasting in [false, true] {
                // A call that is interrupted for ever is none that a system makes.
                if lasting && effect == Effect::Fail(EINTR) {
                    continue;
                }
                for nth in 0..count {
                    let fault = CallFault { call: Some(call), nth, lasting, effect };
                    let world = make();
                    let ready = prepare(&world);
                    let (errors, struck) = inject(fault, || run(&world, &ready));
                    assert!(struck.struck > 0, "{fault:?} struck nothing");
                    errors.iter().for_each(|error| world.check_error(error, fault));
                    if matches!(effect, Effect::Short | Effect::Fail(EINTR)) {
                        assert!(errors.is_empty(), "{fault:?}: {errors:?}");
                    }
                    world.check_foreign();
                    after(&world, ready, errors.is_empty());
                    world.check_foreign();
                    runs += 1;
                }
            }
        }
    }
    runs
}

/// Writes all blocks through the plan, out of order, and syncs; again what failed, a few times. Errors that were met.
fn download(world: &World, storage: &Arc<FileStorage>, rounds: usize) -> (Vec<StorageError>, bool) {
    let (torrent, sample) = (&world.sample.torrent, &world.sample);
    let mut plan = Plan::new(PlanConfig { stripe: 2, ..PlanConfig::default() });
    let store = plan.attach(torrent.clone());
    let geometry = torrent.geometry();
    let block = |piece, at| geometry.block(geometry.piece(piece).unwrap(), at).unwrap();
    let mut todo: Vec<_> = (0..geometry.piece_count())
        .flat_map(|piece| {
            (0..geometry.blocks_in(geometry.piece(piece).unwrap())).rev().map(move |at| (piece, at))
        })
        .collect();
    let (mut errors, mut good, mut is_synced) = (Vec::new(), 0, false);
    for _ in 0..rounds {
        for (piece, at) in todo.drain(..) {
            let block = block(piece, at);
            plan.push(Job::Write { store, block, data: Buf::from(sample.bytes(block.range())) });
        }
        plan.push(Job::Sync { store, token: Token(0) });
        plan.flush();
        while let Some(mut order) = plan.next_order() {
            let found = Store { storage: storage.clone(), pieces: torrent.clone() };
            order.execute(|_| Some(found.clone()), &mut Vec::new());
            plan.done(order);
            plan.flush();
        }
        let mut answers = Vec::new();
        plan.drain(&mut answers);
        for answer in answers {
            match answer {
                Completion::Written { blocks, result: Err(error), .. } => {
                    errors.push(error);
                    todo.extend(blocks.iter().map(|block| (block.piece().get(), block.index())));
                }
                Completion::Piece { piece, result, .. } => match result {
                    Ok(hashes) => {
                        assert!(hashes.is_match(), "a wrong verdict");
                        good += 1;
                    }
                    // Written, but it could not be read back for its hash.
                    Err(error) => {
                        errors.push(error);
                        plan.push(Job::Check { store, piece });
                    }
                },
                Completion::Synced { result, .. } => {
                    is_synced = result.is_ok();
                    errors.extend(result.err());
                }
                _ => {}
            }
        }
        if good == geometry.piece_count() && is_synced && todo.is_empty() {
            return (errors, true);
        }
    }
    (errors, false)
}

#[test]
fn a_download_survives_the_failure_of_any_call() {
    let runs = strike_all(
        World::new,
        |world| Arc::new(world.open(FileOptions::default())),
        |world, storage| download(world, storage, 4).0,
        |world, storage, _| {
            assert!(download(world, &storage, 3).1, "the download does not go on");
            assert!(is_whole(&storage, &world.sample));
            let names = ["t", "t/a", "t/b", "t/b/c", "t/b/empty", "t/b/foreign", "t/d"];
            assert_eq!(Tree::of(&world.home()).names(), names);
        },
    );
    eprintln!("{runs} runs");
    assert!(runs > 300);
}

fn moves(make: impl Fn() -> World) -> u64 {
    strike_all(
        make,
        |world| (world.seeded(), FileOptions::default()),
        |world, (storage, _)| {
            storage.relocate(&world.goal(), &MoveOptions::default()).err().into_iter().collect()
        },
        |world, (storage, _), is_ok| {
            assert!(is_whole(&storage, &world.sample), "served while it is moved");
            let options = FileOptions {
                moving_to: storage.moving_to(),
                created: storage.created(),
                ..FileOptions::default()
            };
            // The process is killed here.
            let root = storage.root();
            drop(storage);
            let storage = FileStorage::open(&root, world.sample.torrent.clone(), options).unwrap();
            assert!(is_whole(&storage, &world.sample), "after a restart");
            assert!(!is_ok || root == world.goal());
            assert!(storage.relocate(&world.goal(), &MoveOptions::default()).unwrap().is_whole);
            assert!(is_whole(&storage, &world.sample), "at the end");
            assert_eq!(Tree::of(&world.goal()).names(), ["t", "t/a", "t/b", "t/b/c", "t/b/empty", "t/d"],);
        },
    )
}

#[test]
fn a_move_on_one_file_system_survives_the_failure_of_any_call() {
    eprintln!("{} runs", moves(World::new));
}

#[test]
fn a_move_to_another_file_system_survives_the_failure_of_any_call() {
    in_memory("strikes::a_move_to_another_file_system_survives_the_failure_of_any_call", |folder| {
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        if device(folder) == device(memory_dir().path()) {
            return eprintln!("skipped: no second file system to move to");
        }
        eprintln!("{} runs", moves(|| World::beneath(folder)));
    });
}

#[test]
fn a_removal_survives_the_failure_of_any_call() {
    let runs = strike_all(
        World::new,
        World::seeded,
        |_, storage| match storage.remove_created() {
            Ok(removed) => removed.errors,
            Err(error) => vec![error],
        },
        |world, storage, _| {
            let errors = storage.remove_created().unwrap().errors;
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!(Tree::of(&world.home()).names(), ["t", "t/b", "t/b/foreign"]);
        },
    );
    eprintln!("{runs} runs");
}

#[test]
fn a_rename_survives_the_failure_of_any_call() {
    let suffixed = FileOptions { suffix: Some(".part".into()), ..FileOptions::default() };
    let runs = strike_all(
        World::new,
        |world| {
            let storage = world.open(suffixed.clone());
            world.sample.write_to(&storage);
            storage
        },
        |_, storage| {
            let finished = storage.finish_file(0).err();
            finished.into_iter().chain(storage.rename_file(1, "t/new/name").err()).collect()
        },
        |world, storage, _| {
            assert!(is_whole(&storage, &world.sample));
            storage.finish_file(0).unwrap();
            storage.rename_file(1, "t/new/name").unwrap();
            assert!(is_whole(&storage, &world.sample));
            assert!(Path::new(&world.home().join("t/new/name.part")).exists());
        },
    );
    eprintln!("{runs} runs");
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_again() {
    let world = World::new();
    let storage = world.seeded();
    let fault = CallFault { call: Some(Call::Sync), nth: 1, lasting: false, effect: Effect::Fail(5) };
    let (result, _) = inject(fault, || storage.sync());
    assert_eq!(result.unwrap_err().cause.raw_os_error(), Some(5));
    let before = Tree::of(&world.home());
    for expected in [3, 0] {
        let count = CallFault { call: Some(Call::Write), ..CallFault::NONE };
        let (result, writes) = inject(count, || storage.sync());
        result.unwrap();
        assert_eq!(writes.calls, expected);
    }
    assert!(Tree::of(&world.home()) == before);
}

#[test]
fn a_removal_that_needs_room_empties_no_file_that_has_another_name() {
    let mut refused = 0;
    for (errno, nth) in [28, 122].into_iter().flat_map(|errno| (0..6).map(move |nth| (errno, nth))) {
        let world = World::new();
        let storage = world.seeded();
        let library = world.here.path().join("library");
        fs::hard_link(world.home().join("t/a"), &library).unwrap();
        let fault = CallFault { call: Some(Call::Remove), nth, lasting: false, effect: Effect::Fail(errno) };
        let (removed, _) = inject(fault, || storage.remove_created());
        refused += removed.unwrap().errors.len();
        assert!(fs::read(&library).unwrap() == world.sample.file(0), "{errno} at removal {nth}");
        assert!(storage.remove_created().unwrap().errors.is_empty());
        assert!(!world.home().join("t/a").exists() && fs::read(&library).unwrap() == world.sample.file(0));
    }
    // That of the file with two names, and those of folders, which cannot be emptied.
    assert!(refused >= 2, "{refused}");
}

#[test]
fn a_probe_finds_any_failure_and_leaves_nothing_behind() {
    let runs = strike_all(
        World::new,
        World::seeded,
        |_, storage| storage.probe(true).err().into_iter().collect(),
        |world, storage, _| {
            storage.probe(true).unwrap();
            assert_eq!(Tree::of(&world.home()).names().len(), 7);
        },
    );
    eprintln!("{runs} runs");
}

#[test]
fn skipping_and_wanting_files_survives_the_failure_of_any_call() {
    let options = FileOptions { skipped: vec![1, 2], ..FileOptions::default() };
    let pieces = |storage: &FileStorage, world: &World| -> Vec<_> {
        let found = recheck(
            storage,
            &world.sample.torrent,
            &storage::ScanOptions { threads: 1, ..Default::default() },
        );
        found.verdicts.into_iter().map(|verdict| verdict == storage::Verdict::Good).collect()
    };
    let runs = strike_all(
        World::new,
        |world| {
            let storage = world.open(options.clone());
            // All pieces hold bytes of wanted files, but for the second.
            for range in world.sample.pieces().filter(|range| range.piece().get() != 2) {
                storage.write(range, &[std::io::IoSlice::new(world.sample.bytes(range))]).unwrap();
            }
            storage
        },
        |_, storage| {
            let synced = storage.sync().err();
            synced.into_iter().chain(storage.set_skipped(&[]).err()).collect()
        },
        |world, storage, is_ok| {
            let good = pieces(&storage, world);
            assert_eq!(good.iter().filter(|good| !**good).count(), 1, "{good:?}");
            drop(storage);
            // Killed, and wanted from the start in the next run.
            let storage = world.open(FileOptions::default());
            assert_eq!(pieces(&storage, world), good);
            world.sample.write_to(&storage);
            assert!(is_whole(&storage, &world.sample));
            let names = ["t", "t/a", "t/b", "t/b/c", "t/b/empty", "t/b/foreign", "t/d"];
            assert_eq!(Tree::of(&world.home()).names(), names, "{is_ok}");
        },
    );
    eprintln!("{runs} runs");
}

#[test]
fn taking_in_and_giving_files_survives_the_failure_of_any_call() {
    let all: Vec<usize> = (0..8).collect();
    let runs = strike_all(
        World::new,
        |world| {
            drop(world.seeded());
            // The first file is missing, and lies about elsewhere.
            let elsewhere = world.here.path().join("elsewhere");
            fs::write(&elsewhere, world.sample.file(0)).unwrap();
            let _ = fs::remove_file(world.home().join("t/a"));
            (world.open(FileOptions::default()), storage::Existing { file: 0, path: elsewhere })
        },
        |world, (storage, existing)| {
            let taken = storage.adopt(existing, storage::LinkMode::Copy).err();
            let given = storage.link_to(&world.goal(), storage::LinkMode::Hard, &all).err();
            let elsewhere = |error: &StorageError| error.path == existing.path;
            taken.into_iter().filter(|error| !elsewhere(error)).chain(given).collect()
        },
        |world, (storage, existing), _| {
            storage.adopt(&existing, storage::LinkMode::Copy).unwrap();
            assert_eq!(fs::read(&existing.path).unwrap(), world.sample.file(0));
            world.sample.write_to(&storage);
            assert!(is_whole(&storage, &world.sample));
            storage.link_to(&world.goal(), storage::LinkMode::Hard, &all).unwrap();
            let goal = FileStorage::open(&world.goal(), world.sample.torrent.clone(), FileOptions::default());
            assert!(is_whole(&goal.unwrap(), &world.sample));
            assert_eq!(Tree::of(&world.goal()).names().len(), 6);
        },
    );
    eprintln!("{runs} runs");
}

#[test]
fn getting_bytes_of_its_own_survives_the_failure_of_any_call() {
    let runs = strike_all(
        World::new,
        |world| {
            let other = world.here.path().join("other");
            drop(world.seeded());
            fs::hard_link(world.home().join("t/a"), &other).unwrap();
            let before = fs::read(&other).unwrap();
            (world.open(FileOptions::default()), other, before)
        },
        |world, (storage, ..)| {
            let range = world.sample.range(0, 0, 100);
            storage.write(range, &[std::io::IoSlice::new(&[9; 100])]).err().into_iter().collect()
        },
        |world, (storage, other, before), _| {
            assert!(fs::read(&other).unwrap() == before, "never through the other name");
            world.sample.write_to(&storage);
            assert!(is_whole(&storage, &world.sample));
            assert!(fs::read(&other).unwrap() == before);
            assert!(!Tree::of(&world.home()).names().iter().any(|name| name.contains(".own")));
        },
    );
    eprintln!("{runs} runs");
}
