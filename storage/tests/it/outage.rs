//! Power is lost at any moment beneath `FileStorage`: data that was not synced is dropped or torn sector by sector, and names that were
//! not synced are there or not.

use crate::mounts::{apart, tmpfs};
use crate::support::Sample;
use metainfo::Version;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use storage::testing::Random;
use storage::testing::faults::{Call, CallFault, Effect, inject};
use storage::testing::ledger::{Change, Node, node_at, record, recorded};
use storage::{FileOptions, FileStorage, MoveOptions, ScanOptions, Storage, Verdict, recheck};

const FILES: [(&str, u64); 4] = [("a", 30_000), ("b/c", 20_000), ("b/empty", 0), ("d", 40_000)];

/// What a disk has: folders with names in them, and files.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    folders: HashMap<Node, BTreeMap<String, Node>>,
    files: HashMap<Node, Vec<u8>>,
}

impl Disk {
    /// Takes in all beneath a folder; all of it is durable.
    fn add(&mut self, folder: &Path) {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            names.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), node_at(&path));
            if path.is_dir() {
                self.add(&path);
            } else {
                self.files.insert(node_at(&path), fs::read(&path).unwrap());
            }
        }
        self.folders.insert(node_at(folder), names);
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { folder, name, file } => {
                self.files.entry(*file).or_default();
                self.folders.entry(*folder).or_default().insert(name.clone(), *file);
            }
            Change::MakeFolder { folder, name, made } => {
                self.folders.entry(*made).or_default();
                self.folders.entry(*folder).or_default().insert(name.clone(), *made);
            }
            Change::Rename { from, old, to, new } => {
                if let Some(node) = self.folders.entry(*from).or_default().remove(old) {
                    self.folders.entry(*to).or_default().insert(new.clone(), node);
                }
            }
            Change::Remove { folder, name } => {
                self.folders.entry(*folder).or_default().remove(name);
            }
            Change::Write { file, offset, bytes } => {
                let kept = self.files.entry(*file).or_default();
                let at = usize::try_from(*offset).unwrap();
                kept.resize(kept.len().max(at + bytes.len()), 0);
                kept[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Truncate { file, len } => {
                self.files.entry(*file).or_default().resize(usize::try_from(*len).unwrap(), 0);
            }
            Change::Sync { .. }
            | Change::FailedSync { .. }
            | Change::SyncAll { .. }
            | Change::FailedSyncAll { .. } => {}
        }
    }

    /// What is left when the power is lost after these changes. Names: all that are durable and, of the others, those before
    /// some moment, as a journal keeps them. Data: what is durable, and any of the other sectors.
    fn after_outage(&self, changes: &[Change], random: &mut Random) -> Self {
        let mut left = self.clone();
        // Each disk has its own.
        let mut moments = HashMap::new();
        let odds = [0, 0, 2, 50, 98, 100][random.below(6)];
        for (at, change) in changes.iter().enumerate() {
            let is_synced = |nodes: &[Node]| {
                changes[at..].iter().any(|later| match later {
                    Change::Sync { node } => nodes.contains(node),
                    Change::SyncAll { device } => nodes.iter().any(|node| node.0 == *device),
                    _ => false,
                })
            };
            // The next sync of the file failed: the system takes its pages for written, and they are not.
            let is_lost = |node: Node| {
                let mut syncs = changes[at..].iter().filter_map(|later| match later {
                    Change::Sync { node: synced } if *synced == node => Some(false),
                    Change::FailedSync { node: failed } if *failed == node => Some(true),
                    Change::FailedSyncAll { device } if *device == node.0 => Some(true),
                    _ => None,
                });
                syncs.next().unwrap_or(false)
            };
            let mut is_before = |folder: &Node| {
                at < *moments.entry(folder.0).or_insert_with(|| random.below(changes.len() + 1))
            };
            let is_kept = match change {
                Change::Create { folder, .. }
                | Change::MakeFolder { folder, .. }
                | Change::Remove { folder, .. } => is_before(folder) || is_synced(&[*folder]),
                Change::Rename { from, to, .. } => is_before(to) || is_synced(&[*from, *to]),
                Change::Truncate { file, .. } => random.below(100) < odds || is_synced(&[*file]),
                Change::Write { file, offset, bytes } if !is_synced(&[*file]) || is_lost(*file) => {
                    for (sector, bytes) in (0..).zip(bytes.chunks(512)) {
                        if random.below(100) < odds {
                            let (file, offset) = (*file, offset + sector * 512);
                            left.apply(&Change::Write { file, offset, bytes: bytes.to_vec() });
                        }
                    }
                    false
                }
                _ => true,
            };
            if is_kept {
                left.apply(change);
            }
        }
        left
    }

    /// Writes what is beneath a folder to a real one.
    fn restore(&self, folder: Node, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for (name, node) in self.folders.get(&folder).into_iter().flatten() {
            match self.files.get(node) {
                Some(bytes) => fs::write(to.join(name), bytes).unwrap(),
                None => self.restore(*node, &to.join(name)),
            }
        }
    }
}

/// Two disks in memory, and a third to look at what is left.
pub(crate) struct World {
    pub(crate) sample: Sample,
    pub(crate) home: PathBuf,
    pub(crate) goal: PathBuf,
    left: PathBuf,
}

impl World {
    pub(crate) fn new(dir: &Path, two: bool) -> Self {
        Self::of(dir, Sample::folder(Version::V1, 16_384, &FILES), two)
    }

    pub(crate) fn of(dir: &Path, sample: Sample, two: bool) -> Self {
        let disks = ["one", "two", "left"].map(|name| dir.join(name));
        disks.iter().for_each(|disk| tmpfs(disk, "64m"));
        let [one, two_, left] = disks;
        let (home, goal) = (one.join("home"), if two { two_.join("goal") } else { one.join("goal") });
        fs::create_dir(&home).unwrap();
        fs::create_dir(&goal).unwrap();
        Self { sample, home, goal, left }
    }

    pub(crate) fn open(&self, root: &Path, options: FileOptions) -> FileStorage {
        FileStorage::open(root, self.sample.torrent.clone(), options).unwrap()
    }

    pub(crate) fn disk(&self) -> Disk {
        let mut disk = Disk::default();
        disk.add(&self.home);
        disk.add(&self.goal);
        disk
    }

    /// Loses the power many times, at random moments in these changes and at their end. `look` gets the folders and how many
    /// changes there were.
    pub(crate) fn lose_power(
        &self,
        disk: &Disk,
        changes: &[Change],
        times: u64,
        look: impl Fn(&Path, &Path, usize),
    ) {
        for seed in 0..times {
            let mut random = Random(seed);
            let moment = if seed % 8 == 0 { changes.len() } else { random.below(changes.len() + 1) };
            let left = disk.after_outage(&changes[..moment], &mut random);
            let [home, goal] = ["home", "goal"].map(|name| self.left.join(name));
            for (node, to) in [(&self.home, &home), (&self.goal, &goal)] {
                let _ = fs::remove_dir_all(to);
                left.restore(node_at(node), to);
            }
            eprintln!("seed {seed}, after {moment} of {} changes", changes.len());
            look(&home, &goal, moment);
        }
    }
}

fn good(storage: &FileStorage, sample: &Sample) -> Vec<bool> {
    let options = ScanOptions { threads: 1, ..Default::default() };
    let found = recheck(storage, &sample.torrent, &options);
    found.verdicts.into_iter().map(|verdict| verdict == Verdict::Good).collect()
}

pub(crate) fn is_whole(storage: &FileStorage, sample: &Sample) -> bool {
    good(storage, sample).into_iter().all(|good| good)
}

fn move_without_loss(dir: &Path, two: bool) {
    let world = World::new(dir, two);
    let storage = world.open(&world.home, FileOptions::default());
    world.sample.write_to(&storage);
    let (disk, created) = (world.disk(), storage.created());
    let (moved, changes) = record(|| storage.relocate(&world.goal, &MoveOptions::default()));
    assert!(moved.unwrap().is_whole);
    assert_eq!(changes.iter().any(|change| matches!(change, Change::Write { .. })), two);
    world.lose_power(&disk, &changes, 1500, |home, goal, moment| {
        if moment == changes.len() {
            assert!(is_whole(&world.open(goal, FileOptions::default()), &world.sample), "at the end");
        }
        let moving_to = Some(goal.to_path_buf());
        let options = FileOptions { moving_to, created: created.clone(), ..FileOptions::default() };
        let storage = world.open(home, options);
        assert!(is_whole(&storage, &world.sample), "after the outage");
        assert!(storage.relocate(goal, &MoveOptions::default()).unwrap().is_whole);
        assert!(is_whole(&storage, &world.sample), "when the move went on");
    });
}

#[test]
fn a_move_to_another_disk_loses_nothing_when_power_is_lost() {
    apart("outage::a_move_to_another_disk_loses_nothing_when_power_is_lost", |dir| {
        move_without_loss(dir, true);
    });
}

#[test]
fn a_move_on_one_disk_loses_nothing_when_power_is_lost() {
    apart("outage::a_move_on_one_disk_loses_nothing_when_power_is_lost", |dir| {
        move_without_loss(dir, false);
    });
}

#[test]
fn a_move_that_ended_before_names_were_synced_goes_on_without_loss() {
    apart("outage::a_move_that_ended_before_names_were_synced_goes_on_without_loss", |dir| {
        for nth in 0..9 {
            let folder = dir.join(nth.to_string());
            fs::create_dir(&folder).unwrap();
            let world = World::new(&folder, true);
            let storage = world.open(&world.home, FileOptions::default());
            world.sample.write_to(&storage);
            let (disk, created) = (world.disk(), storage.created());
            let moving = |to: &Path| FileOptions {
                moving_to: Some(to.to_path_buf()),
                created: created.clone(),
                ..FileOptions::default()
            };
            let ((), changes) = record(|| {
                let fault = CallFault { call: Some(Call::Sync), nth, lasting: true, effect: Effect::Fail(5) };
                let (moved, _) = inject(fault, || storage.relocate(&world.goal, &MoveOptions::default()));
                moved.unwrap_err();
                // Another process goes on.
                let storage = world.open(&world.home, moving(&world.goal));
                assert!(storage.relocate(&world.goal, &MoveOptions::default()).unwrap().is_whole);
            });
            world.lose_power(&disk, &changes, 200, |home, goal, moment| {
                if moment == changes.len() {
                    let storage = world.open(goal, FileOptions::default());
                    assert!(is_whole(&storage, &world.sample), "at the end, sync {nth} failed");
                }
                let storage = world.open(home, moving(goal));
                assert!(is_whole(&storage, &world.sample), "after the outage, sync {nth} failed");
            });
        }
    });
}

#[test]
fn what_was_synced_to_files_is_there_when_power_is_lost() {
    apart("outage::what_was_synced_to_files_is_there_when_power_is_lost", |dir| {
        let world = World::new(dir, false);
        // The second file is skipped, so that some bytes go to the part file; in the end it is wanted.
        let options = FileOptions { skipped: vec![1], ..FileOptions::default() };
        let disk = world.disk();
        let (claims, changes) = record(|| {
            let storage = world.open(&world.home, options.clone());
            let mut claims = Vec::new();
            let mut claimed = vec![false; world.sample.pieces().count()];
            for (at, range) in world.sample.pieces().enumerate() {
                storage.write(range, &[IoSlice::new(world.sample.bytes(range))]).unwrap();
                claimed[at] = true;
                if at % 2 == 1 {
                    storage.sync().unwrap();
                    claims.push((recorded(), claimed.clone()));
                }
            }
            storage.sync().unwrap();
            claims.push((recorded(), claimed));
            storage.set_skipped(&[]).unwrap();
            claims
        });
        world.lose_power(&disk, &changes, 2000, |home, _, moment| {
            let claimed = claims.iter().rev().find(|(at, _)| *at <= moment).map(|(_, claimed)| claimed);
            for skipped in [vec![1], vec![]] {
                let storage = world.open(home, FileOptions { skipped, ..FileOptions::default() });
                let found = good(&storage, &world.sample);
                for (piece, (claimed, found)) in claimed.into_iter().flatten().zip(&found).enumerate() {
                    assert!(!claimed || *found, "piece {piece} was synced");
                }
                world.sample.write_to(&storage);
                assert!(is_whole(&storage, &world.sample));
            }
        });
    });
}

#[test]
fn a_sync_that_works_after_one_that_failed_makes_all_durable() {
    apart("outage::a_sync_that_works_after_one_that_failed_makes_all_durable", |dir| {
        // As many syncs of files there are: one of each, of which the part file is one.
        for nth in 0..3 {
            let folder = dir.join(nth.to_string());
            fs::create_dir(&folder).unwrap();
            let world = World::new(&folder, false);
            let options = FileOptions { skipped: vec![1], ..FileOptions::default() };
            let disk = world.disk();
            let ((), changes) = record(|| {
                let storage = world.open(&world.home, options.clone());
                world.sample.write_to(&storage);
                let fault =
                    CallFault { call: Some(Call::Sync), nth, lasting: false, effect: Effect::Fail(5) };
                let (synced, _) = inject(fault, || storage.sync());
                assert!(synced.is_err());
                storage.sync().unwrap();
            });
            assert!(changes.iter().any(|change| matches!(change, Change::FailedSync { .. })));
            world.lose_power(&disk, &changes, 300, |home, _, moment| {
                let storage = world.open(home, options.clone());
                assert!(moment < changes.len() || is_whole(&storage, &world.sample), "sync {nth} failed");
            });
        }
    });
}

#[test]
fn renamed_files_are_found_when_power_is_lost() {
    apart("outage::renamed_files_are_found_when_power_is_lost", |dir| {
        let world = World::new(dir, false);
        let suffix = Some(".part".to_owned());
        let storage =
            world.open(&world.home, FileOptions { suffix: suffix.clone(), ..FileOptions::default() });
        world.sample.write_to(&storage);
        let disk = world.disk();
        let (_, changes) = record(|| {
            storage.finish_file(0).unwrap();
            storage.rename_file(1, "new/name").unwrap();
            storage.finish_file(1).unwrap();
            storage.finish_file(3).unwrap();
        });
        world.lose_power(&disk, &changes, 500, |home, _, _| {
            let renaming = vec![(1, "new/name".to_owned())];
            let options = FileOptions { renaming, suffix: suffix.clone(), ..FileOptions::default() };
            assert!(is_whole(&world.open(home, options), &world.sample));
        });
    });
}

#[test]
fn what_a_killed_run_made_is_durable_before_the_next_claims_it() {
    apart("outage::what_a_killed_run_made_is_durable_before_the_next_claims_it", |dir| {
        let world = World::new(dir, false);
        let disk = world.disk();
        let (claimed_at, changes) = record(|| {
            // Killed before anything was synced.
            world.sample.write_to(&world.open(&world.home, FileOptions::default()));
            // The next run finds it by a check.
            let storage = world.open(&world.home, FileOptions::default());
            assert!(is_whole(&storage, &world.sample));
            (0..FILES.len()).for_each(|index| storage.mark_unsynced(index));
            storage.sync().unwrap();
            recorded()
        });
        world.lose_power(&disk, &changes, 500, |home, _, moment| {
            let storage = world.open(home, FileOptions::default());
            assert!(moment < claimed_at || is_whole(&storage, &world.sample), "it was claimed");
        });
    });
}

#[test]
fn what_a_killed_run_left_in_the_part_file_is_durable_before_the_next_claims_it() {
    let name = "outage::what_a_killed_run_left_in_the_part_file_is_durable_before_the_next_claims_it";
    apart(name, |dir| {
        let world = World::new(dir, false);
        let disk = world.disk();
        let options = FileOptions { skipped: vec![1], ..FileOptions::default() };
        let (claimed_at, changes) = record(|| {
            // Killed before anything was synced.
            world.sample.write_to(&world.open(&world.home, options.clone()));
            let storage = world.open(&world.home, options.clone());
            assert!(is_whole(&storage, &world.sample));
            (0..FILES.len()).for_each(|index| storage.mark_unsynced(index));
            storage.sync().unwrap();
            recorded()
        });
        world.lose_power(&disk, &changes, 500, |home, _, moment| {
            let storage = world.open(home, options.clone());
            assert!(moment < claimed_at || is_whole(&storage, &world.sample), "it was claimed");
        });
    });
}
