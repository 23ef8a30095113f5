use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use metainfo::{InfoHashV1, InfoHashes};
use redb::StorageBackend;
use storage::record::{
    Flags, Key, NAME_RULES, PieceSet, Record, Source, State, Store, Summary, Times, Totals,
};

pub(super) fn sample(n: u8, generation: u64) -> Record {
    let summary = Summary {
        generation,
        hashes: InfoHashes::v1_only(InfoHashV1([n; 20])),
        name: format!("torrent {n}"),
        dir: "/srv".into(),
        folder: None,
        flags: Flags::default(),
        size: 1,
        done: 0,
        totals: Totals::default(),
        times: Times::default(),
        name_rules: NAME_RULES,
        outline: None,
    };
    let state = State { generation, pieces: PieceSet::all(3), ..State::new(3) };
    Record { summary, state, source: Some(Source::Torrent(vec![n; 100])) }
}

#[test]
fn records_survive_and_sources_are_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/session.redb");
    let store = RedbStore::open(&path).unwrap();
    store.save(&[sample(1, 1), sample(2, 1)]).unwrap();
    store.save(&[Record { source: None, ..sample(1, 2) }]).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Locked { .. })));
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.load(&sample(1, 0).key()).unwrap(), Some(sample(1, 2)));
    assert_eq!(store.list().unwrap().summaries.len(), 2);
    let elsewhere = Key { dir: "/other".into(), ..sample(1, 0).key() };
    assert_eq!(store.load(&elsewhere).unwrap(), None);
    store.remove(&sample(1, 0).key()).unwrap();
    assert_eq!(store.load(&sample(1, 0).key()).unwrap(), None);
    assert!(store.damaged().is_none());
}

#[test]
fn a_damaged_database_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session.redb");
    for n in 1..=2 {
        std::fs::write(&path, vec![7; 50_000]).unwrap();
        let store = RedbStore::open(&path).unwrap();
        let Some(StoreError::Damaged { aside: Some(aside), .. }) = store.damaged() else {
            panic!("{store:?}")
        };
        assert_eq!(aside, dir.path().join(format!("session.redb.damaged-{n}")));
        assert_eq!(std::fs::read(&aside).unwrap(), vec![7; 50_000]);
        assert_eq!(store.list().unwrap().problems.len(), 1);
        store.save(&[sample(1, 1)]).unwrap();
    }
}

#[test]
fn a_damaged_record_goes_aside_and_a_newer_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path().join("session.redb")).unwrap();
    store.save(&[sample(1, 1), sample(2, 1), sample(3, 1)]).unwrap();
    let mut newer = sample(3, 1).summary.encode();
    let at = newer.len() - 4;
    newer[8] = storage::record::VERSION + 1;
    let sum = crc32c::crc32c(&newer[..at]);
    newer[at..].copy_from_slice(&sum.to_le_bytes());
    let spoil = |table: Sheets, n: u8, bytes: &[u8]| {
        store.base.write(|transaction| {
            transaction.open_table(table)?.insert(&[n; 20][..], bytes)?;
            Ok(())
        })
    };
    spoil(STATES, 1, b"nonsense").unwrap();
    spoil(SUMMARIES, 3, &newer).unwrap();
    let listing = store.list().unwrap();
    assert_eq!((listing.summaries.len(), listing.problems.len()), (2, 1));
    assert!(listing.problems[0].is_newer());
    let error = store.load(&sample(1, 0).key()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { aside: Some(_), .. }), "{error}");
    // The torrent stays in the list, and what it is stays known.
    assert_eq!(store.list().unwrap().summaries.len(), 2);
    let rebuilt = store.load(&sample(1, 0).key()).unwrap().unwrap();
    assert_eq!((&rebuilt.summary, &rebuilt.source), (&sample(1, 1).summary, &sample(1, 1).source));
    assert_eq!(rebuilt.state, State { generation: 1, ..State::new(0) });
    let error = store.load(&sample(3, 0).key()).unwrap_err();
    assert!(error.is_newer() && matches!(error, StoreError::Damaged { aside: None, .. }), "{error}");
    store.save(&[sample(3, 2)]).unwrap();
    assert_eq!(store.base.read(SUMMARIES, &[3; 20]).unwrap().unwrap(), newer);
}

/// A file of which one call fails.
#[derive(Debug)]
struct Flaky {
    file: redb::backends::FileBackend,
    left: Arc<AtomicU32>,
}

impl Flaky {
    fn strike(&self) -> Result<(), std::io::Error> {
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(1) => Err(std::io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Flaky {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.strike()?;
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.strike()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.strike()?;
        self.file.write(offset, data)
    }
}

#[test]
fn a_disk_that_cannot_be_read_for_a_moment_costs_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session.redb");
    RedbStore::open(&path).unwrap().save(&[sample(1, 1)]).unwrap();
    let names = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let (before, mut failed) = (names(), 0);
    for nth in 1.. {
        let left = Arc::new(AtomicU32::new(nth));
        let of_disk = left.clone();
        let create = move |path: &std::path::Path| {
            let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
            let file = redb::backends::FileBackend::new(file)?;
            redb::Builder::new().create_with_backend(Flaky { file, left: of_disk.clone() })
        };
        let opened = RedbStore::open_by(path.clone(), Box::new(create));
        if left.load(Ordering::Relaxed) > 0 {
            assert!(opened.unwrap().damaged().is_none());
            break;
        }
        failed += 1;
        assert!(opened.is_err(), "read {nth} failed: {opened:?}");
        assert_eq!(names(), before, "the file stays, after read {nth}");
    }
    assert!(failed > 0);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.load(&sample(1, 0).key()).unwrap(), Some(sample(1, 1)));
}

/// What a sync is worth is not what is looked at: it need not cost anything.
pub(super) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A database of 40 torrents, and the bytes of its file.
fn forty(path: &std::path::Path) -> Vec<u8> {
    let store = RedbStore::open(path).unwrap();
    store.save(&(1..=40).map(|n| sample(n, 1)).collect::<Vec<_>>()).unwrap();
    store.save(&(1..=40).map(|n| Record { source: None, ..sample(n, 2) }).collect::<Vec<_>>()).unwrap();
    drop(store);
    std::fs::read(path).unwrap()
}

#[test]
fn a_byte_that_is_wrong_costs_what_it_is_in_and_is_told() {
    let dir = folder();
    let path = dir.path().join("session.redb");
    let good = forty(&path);
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let mut losses = Vec::new();
    for at in used.iter().copied().step_by(used.len() / 50) {
        let dir = folder();
        let path = dir.path().join("session.redb");
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        std::fs::write(&path, &bad).unwrap();
        let Ok(store) = RedbStore::open(&path) else {
            assert_eq!(std::fs::read(&path).unwrap(), bad, "byte {at}: what is refused stays");
            continue;
        };
        let (mut there, mut told) = (0, store.list().unwrap().problems.len());
        for n in 1..=40 {
            let known = sample(n, 0).key();
            // Its state and its source may be damaged, or the whole file.
            let loaded = (0..4).find_map(|_| store.load(&known).inspect_err(|_| told += 1).ok());
            let loaded = loaded.unwrap_or_else(|| panic!("byte {at}: {:?}", store.load(&known)));
            there += usize::from(loaded.is_some());
        }
        let listing = store.list().unwrap();
        // One that is listed and then not found is noticed by whoever wants to run it.
        let known = listing.summaries.len();
        assert!(known >= there, "byte {at}: {known} listed, {there} found");
        assert!(known == 40 || told > 0, "byte {at}: {known} there and nothing said");
        losses.push(40 - there);
        if let Err(error) = store.save(&(1..=40).map(|n| sample(n, 3)).collect::<Vec<_>>()) {
            assert!(matches!(error, StoreError::Damaged { aside: Some(_), .. }), "byte {at}: {error}");
        }
        drop(store);
        let store = RedbStore::open(&path).unwrap();
        for n in 1..=40 {
            assert_eq!(store.load(&sample(n, 0).key()).unwrap(), Some(sample(n, 3)), "byte {at}");
        }
    }
    losses.sort_unstable();
    assert!(losses[losses.len() / 2] == 0, "mostly no torrent is lost: {losses:?}");
}

#[test]
fn a_file_that_was_cut_is_set_aside_and_one_of_a_newer_database_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session.redb");
    let good = forty(&path);
    for (len, is_damage) in
        [(0, false), (1, true), (4096, true), (good.len() / 2, true), (good.len() - 1, true)]
    {
        std::fs::write(&path, &good[..len]).unwrap();
        let store = RedbStore::open(&path).unwrap();
        let Some(StoreError::Damaged { aside, relisted: 40, .. }) = store.damaged() else {
            panic!("{len} bytes: {:?}", store.damaged())
        };
        // There is nothing in an empty file.
        assert_eq!(aside.is_some(), is_damage, "{len} bytes");
        if let Some(aside) = aside {
            assert_eq!(std::fs::read(aside).unwrap(), &good[..len]);
        }
        store.save(&[sample(1, 1)]).unwrap();
    }
    // The version of each of the two commits that the header names.
    let mut newer = good;
    [64, 192].into_iter().for_each(|at| newer[at] += 1);
    std::fs::write(&path, &newer).unwrap();
    let refused = RedbStore::open(&path).unwrap_err();
    assert!(refused.to_string().contains("format version"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), newer);
}

#[test]
fn after_an_error_of_the_disk_records_are_saved_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session.redb");
    let left = Arc::new(AtomicU32::new(0));
    let of_disk = left.clone();
    let create = move |path: &std::path::Path| {
        let file =
            std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let file = redb::backends::FileBackend::new(file)?;
        redb::Builder::new().create_with_backend(Flaky { file, left: of_disk.clone() })
    };
    let store = RedbStore::open_by(path.clone(), Box::new(create)).unwrap();
    store.save(&[sample(1, 1), sample(2, 1)]).unwrap();
    for generation in 2..6 {
        left.store(1, Ordering::Relaxed);
        let failed = store.save(&[sample(1, generation)]);
        left.store(0, Ordering::Relaxed);
        store.save(&[sample(2, generation)]).unwrap();
        let there = store.load(&sample(1, 0).key()).unwrap().unwrap().summary.generation;
        assert!(there == generation || failed.is_err() && there == generation - 1, "{failed:?}");
        store.save(&[sample(1, generation)]).unwrap();
    }
    assert!(store.damaged().is_none());
    drop(store);
    assert_eq!(RedbStore::open(&path).unwrap().load(&sample(1, 0).key()).unwrap(), Some(sample(1, 5)));
}
