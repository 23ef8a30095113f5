//! Databases that are damaged or lost, and what their spare sheets make of that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use metainfo::{InfoHashV1, InfoHashV2, InfoHashes, TorrentId};
use storage::record::{
    Choices, Damage, Flags, Key, Outline, Record, Source, SpareSheets, State, Store, StoreError, Summary,
    Tracker,
};
use tempfile::TempDir;

use super::tests::{folder, sample as plain};
use super::{RedbStore, SOURCES, STATES, SUMMARIES, spares_of};

const COUNT: u8 = 12;

/// Torrents of all kinds, each with choices of its own: v1, v2 and hybrid, private ones, magnets, seeds, paused ones.
fn sample(n: u8, generation: u64) -> Record {
    let mut record = plain(n, generation);
    let (v1, v2) = (InfoHashV1([n; 20]), InfoHashV2([n; 32]));
    record.summary.hashes = match n % 3 {
        0 => InfoHashes::v1_only(v1),
        1 => InfoHashes::v2_only(v2),
        _ => InfoHashes::hybrid(v1, v2),
    };
    let no_metadata = n.is_multiple_of(4);
    record.summary.dir = format!("/srv/{n}").into();
    record.summary.flags = Flags {
        private: n.is_multiple_of(2),
        paused: n.is_multiple_of(5),
        seed_only: n.is_multiple_of(7),
        no_metadata,
        ..Flags::default()
    };
    record.state.choices = Choices {
        priorities: vec![n % 4, 0, 2],
        names: vec![(1, format!("renamed {n}").into())],
        down_limit: Some(n.into()),
        trackers: vec![format!("udp://added.test:{n}")],
        ..Choices::default()
    };
    let tracker = Tracker { url: "http://own.test/a".into(), id: None, next: Some(generation), works: true };
    record.summary.outline = (!no_metadata).then(|| Outline {
        pieces: 3,
        pieces_done: 3,
        trackers: vec![(0, tracker)],
        names: vec![format!("torrent {n}").into()],
        ..Outline::default()
    });
    if no_metadata {
        record.source = Some(Source::Magnet(format!("magnet:?xt=urn:btih:{n}&tr=http://secret.test")));
    }
    record
}

fn id(n: u8) -> TorrentId {
    sample(n, 0).summary.hashes.id()
}

fn key(n: u8) -> Key {
    sample(n, 0).key()
}

fn settle(store: &RedbStore) {
    while !store.base.pending().ids.is_empty() {
        store.base.keep_some().unwrap();
    }
}

fn database(dir: &TempDir) -> PathBuf {
    dir.path().join("session.redb")
}

/// A database with all samples, all of them spared.
fn filled(dir: &TempDir) -> RedbStore {
    let store = RedbStore::open(database(dir)).unwrap();
    store.save(&(1..=COUNT).map(|n| sample(n, 1)).collect::<Vec<_>>()).unwrap();
    settle(&store);
    store.save(&(1..=COUNT).map(|n| Record { source: None, ..sample(n, 2) }).collect::<Vec<_>>()).unwrap();
    assert_eq!(store.base.pending().ids, BTreeSet::new(), "nothing was chosen");
    store
}

/// What a program that is killed now leaves.
fn killed(dir: &TempDir) -> TempDir {
    let copy = folder();
    std::fs::copy(database(dir), database(&copy)).unwrap();
    let (from, to) = (spares_of(&database(dir)), spares_of(&database(&copy)));
    if from.exists() {
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    copy
}

fn listed(store: &RedbStore) -> BTreeSet<TorrentId> {
    store.list().unwrap().summaries.iter().map(|summary| summary.hashes.id()).collect()
}

fn all() -> BTreeSet<TorrentId> {
    (1..=COUNT).map(id).collect()
}

/// That all is there but what the disk tells.
fn assert_relisted(store: &RedbStore, n: u8, what: &str) {
    let (found, expected) = (store.load(&key(n)).unwrap().expect(what), sample(n, 2).spare());
    assert_eq!(found, Record { summary: found.summary.clone(), ..expected.clone() }, "{what}");
    let summary = Summary { times: expected.summary.times, ..found.summary.clone() };
    assert_eq!(summary, expected.summary, "{what}");
    assert_eq!(found.claims_anything(), !found.summary.flags.no_metadata, "{what}: what is there is checked");
    assert!(!found.summary.flags.complete && found.summary.done == 0, "{what}");
}

#[test]
fn whatever_happens_to_the_database_its_torrents_are_listed_again() {
    type Harm = fn(&Path);
    fn cut_to(path: &Path, percent: u64) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() * percent / 100).unwrap();
    }
    fn fill(path: &Path, len: usize, byte: u8) {
        let mut bytes = std::fs::read(path).unwrap();
        let len = len.min(bytes.len());
        bytes[..len].fill(byte);
        std::fs::write(path, bytes).unwrap();
    }
    let harms: [(&str, Harm); 8] = [
        ("gone", |path| std::fs::remove_file(path).unwrap()),
        ("empty", |path| cut_to(path, 0)),
        ("half", |path| cut_to(path, 50)),
        ("nearly all", |path| cut_to(path, 99)),
        ("garbage in front", |path| fill(path, 512, 0xa5)),
        ("zeros in front", |path| fill(path, 4096, 0)),
        ("all zeros", |path| fill(path, usize::MAX, 0)),
        ("another file", |path| std::fs::write(path, "no database").unwrap()),
    ];
    let dir = folder();
    drop(filled(&dir));
    for (name, harm) in harms {
        let dir = killed(&dir);
        harm(&database(&dir));
        let bytes = std::fs::read(database(&dir)).unwrap_or_default();
        let store = RedbStore::open(database(&dir)).unwrap();
        assert_eq!(listed(&store), all(), "{name}");
        let told = store.damaged().expect(name);
        let StoreError::Damaged { aside, relisted, .. } = &told else { panic!("{name}: {told}") };
        assert_eq!(*relisted, usize::from(COUNT), "{name}");
        assert!(told.to_string().contains("12 torrents are listed again"), "{name}: {told}");
        assert_eq!(aside.is_none(), bytes.is_empty(), "{name}: {told}");
        if let Some(aside) = aside {
            assert_eq!(std::fs::read(aside).unwrap(), bytes, "{name}");
            assert!(told.to_string().contains(&*aside.to_string_lossy()), "{name}: {told}");
        }
        (1..=COUNT).for_each(|n| assert_relisted(&store, n, name));
        assert!(store.base.pending().ids.is_empty(), "{name}: their spares are as good as they were");
        drop(store);
        let store = RedbStore::open(database(&dir)).unwrap();
        assert!(store.damaged().is_none() && listed(&store) == all(), "{name}: all is well again");
    }
}

#[test]
fn a_byte_that_is_wrong_loses_no_torrent() {
    let dir = folder();
    drop(filled(&dir));
    let good = std::fs::read(database(&dir)).unwrap();
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let mut opened = 0;
    for at in used.iter().copied().step_by(used.len() / 60) {
        let dir = killed(&dir);
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        std::fs::write(database(&dir), &bad).unwrap();
        // Some look as if a newer database had written them.
        let Ok(store) = RedbStore::open(database(&dir)) else { continue };
        opened += 1;
        for n in 1..=COUNT {
            let record = (0..4).find_map(|_| store.load(&key(n)).ok().flatten());
            let record = record.unwrap_or_else(|| panic!("byte {at}: torrent {n} is lost"));
            let expected = sample(n, 2);
            assert_eq!(record.state.choices, expected.state.choices, "byte {at}: torrent {n}");
            assert_eq!(
                (record.source, record.summary.dir),
                (expected.source, expected.summary.dir),
                "byte {at}"
            );
        }
        drop(store);
        assert_eq!(listed(&RedbStore::open(database(&dir)).unwrap()), all(), "byte {at}");
    }
    assert!(opened > 50, "{opened}");
}

#[test]
fn a_sheet_that_is_lost_is_taken_from_the_spare_one() {
    let dir = folder();
    let store = filled(&dir);
    for (n, table) in (1..).zip([SUMMARIES, STATES, SOURCES]) {
        let spoil = store.base.write(|transaction| {
            transaction.open_table(table)?.insert(&id(n).0[..], &b"nonsense"[..])?;
            Ok(())
        });
        spoil.unwrap();
        let error = store.load(&key(n)).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { aside: Some(_), .. }), "{error}");
        let record = store.load(&key(n)).unwrap().unwrap();
        let expected = sample(n, 2);
        assert_eq!(record.source, expected.source);
        assert_eq!(record.state.choices, expected.state.choices);
        assert_eq!(record.summary.generation, record.state.generation);
        assert_eq!(record.state.pieces.is_empty(), n != 3, "what is there is checked, if it is not known");
    }
    drop(store);
    // Of a summary nobody sees but at the start.
    let store = RedbStore::open(database(&dir)).unwrap();
    let spoil = |table: super::Sheets| {
        let spoilt = store.base.write(|transaction| {
            transaction.open_table(table)?.insert(&id(5).0[..], &b"nonsense"[..])?;
            Ok(())
        });
        spoilt.unwrap();
    };
    spoil(SUMMARIES);
    drop(store);
    let store = RedbStore::open(database(&dir)).unwrap();
    assert_eq!(listed(&store), all());
    let told = store.damaged().unwrap();
    assert!(matches!(told, StoreError::Damaged { aside: Some(_), relisted: 1, .. }), "{told}");
    assert_relisted(&store, 5, "its summary was damaged");
}

#[test]
fn a_torrent_that_was_removed_does_not_come_back() {
    let dir = folder();
    let store = filled(&dir);
    // Its spare is just being written.
    let ready = store.base.spares.prepare([&sample(2, 3)]).unwrap();
    for n in [1, 2] {
        store.remove(&key(n)).unwrap();
    }
    let left: BTreeSet<_> = (3..=COUNT).map(id).collect();
    let dirs = [killed(&dir), {
        store.base.pending().ids.extend([id(1), id(2)]);
        settle(&store);
        store.base.spares.discard(&ready);
        drop(store);
        killed(&dir)
    }];
    for dir in &dirs {
        assert_eq!(listed(&RedbStore::open(database(dir)).unwrap()), left, "with the database");
        std::fs::remove_file(database(dir)).unwrap();
        let store = RedbStore::open(database(dir)).unwrap();
        assert_eq!(listed(&store), left, "and without it");
        assert!(store.load(&key(1)).unwrap().is_none() && store.load(&key(2)).unwrap().is_none());
        // Added again, it is what it is then.
        store.save(&[Record { state: State::new(3), ..sample(1, 0) }]).unwrap();
        assert_eq!(store.load(&key(1)).unwrap().unwrap().state.choices, Choices::default());
    }
}

#[test]
fn a_program_that_is_killed_between_the_database_and_the_spares_loses_nothing() {
    let dir = folder();
    let store = filled(&dir);
    let chosen = |n: u8, limit: u64| {
        let mut record = Record { source: None, ..sample(n, 3) };
        record.state.choices.up_limit = Some(limit);
        record
    };
    // Saved, and its spare is not yet; new, and it has none; its spare is in place, and the database does not know; its spare
    // was removed, and the record not yet.
    store.save(&[chosen(1, 11), sample(COUNT + 1, 1)]).unwrap();
    store.save(&[chosen(2, 22)]).unwrap();
    let spares = SpareSheets::new(spares_of(&database(&dir)));
    let ready = spares.prepare([&chosen(2, 22)]).unwrap();
    spares.place_all(&ready).unwrap();
    spares.remove(id(3)).unwrap();
    let copy = killed(&dir);
    let late = BTreeSet::from([id(1), id(COUNT + 1), id(2), id(3)]);
    let store = RedbStore::open(database(&copy)).unwrap();
    assert_eq!(store.base.pending().ids, late);
    settle(&store);
    drop(store);
    std::fs::remove_file(database(&copy)).unwrap();
    let store = RedbStore::open(database(&copy)).unwrap();
    assert_eq!(listed(&store).len(), usize::from(COUNT) + 1);
    let limit = |n| store.load(&key(n)).unwrap().unwrap().state.choices.up_limit;
    assert_eq!((limit(1), limit(2), limit(3)), (Some(11), Some(22), None));
    assert_eq!(store.load(&key(COUNT + 1)).unwrap().unwrap().source, sample(COUNT + 1, 1).source);

    // The database is lost before they are written: the choice of before counts, and a torrent that is seconds old is lost.
    let copy = killed(&dir);
    std::fs::remove_file(database(&copy)).unwrap();
    let store = RedbStore::open(database(&copy)).unwrap();
    let limit = |n| store.load(&key(n)).unwrap().map(|record| record.state.choices.up_limit);
    assert_eq!((limit(1), limit(2), limit(3), limit(COUNT + 1)), (Some(None), Some(Some(22)), None, None));
}

#[test]
fn what_is_chosen_while_a_spare_is_written_is_spared_again() {
    let dir = folder();
    let store = filled(&dir);
    let chosen = |limit: u64| {
        let mut record = Record { source: None, ..sample(1, 3) };
        record.state.choices.up_limit = Some(limit);
        record
    };
    store.save(&[chosen(1)]).unwrap();
    let read = store.base.take_some().unwrap();
    store.save(&[chosen(2)]).unwrap();
    // It was in a transaction already when the others were read.
    store.base.pending().ids.clear();
    store.base.keep(&read).unwrap();
    assert_eq!(store.base.pending().ids, BTreeSet::from([id(1)]));
    settle(&store);
    drop(store);
    std::fs::remove_file(database(&dir)).unwrap();
    let store = RedbStore::open(database(&dir)).unwrap();
    assert_eq!(store.load(&key(1)).unwrap().unwrap().state.choices.up_limit, Some(2));
}

#[test]
fn a_damaged_spare_costs_its_torrent_only_and_is_told() {
    let dir = folder();
    drop(filled(&dir));
    let mut seed = 77_u64;
    let mut next = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for round in 0..200 {
        let dir = killed(&dir);
        std::fs::remove_file(database(&dir)).unwrap();
        let (n, what) = (u8::try_from(next(COUNT.into())).unwrap() + 1, ["spare", "source"][next(2)]);
        let path = spares_of(&database(&dir)).join(format!("{}.{what}", id(n).to_hex()));
        let mut bytes = std::fs::read(&path).unwrap();
        let at = next(bytes.len());
        match next(3) {
            0 => bytes[at] ^= 1 << next(8),
            1 => bytes.truncate(at),
            _ => bytes.push(0),
        }
        std::fs::write(&path, &bytes).unwrap();
        let store = RedbStore::open(database(&dir)).unwrap();
        let problems = store.list().unwrap().problems;
        let is_told = |problem: &StoreError| matches!(problem, StoreError::Damaged { path: told, aside: Some(_), .. } if *told == path);
        assert!(problems.iter().any(is_told), "round {round}, {}: {problems:?}", path.display());
        let lost = if what == "spare" { 1 } else { 0 };
        assert_eq!(listed(&store).len(), usize::from(COUNT) - lost, "round {round}");
        for other in (1..=COUNT).filter(|other| *other != n) {
            assert_eq!(store.load(&key(other)).unwrap().unwrap().source, sample(other, 2).source);
        }
        if what == "source" {
            let record = store.load(&key(n)).unwrap().unwrap();
            assert_eq!((record.source, record.state.choices), (None, sample(n, 2).state.choices));
        }
    }
}

#[test]
fn a_spare_of_a_newer_program_is_left_alone_and_told() {
    let dir = folder();
    drop(filled(&dir));
    let path = spares_of(&database(&dir)).join(format!("{}.spare", id(1).to_hex()));
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - sample(1, 2).spare().state.encode().len();
    bytes[8] = storage::record::VERSION + 1;
    let sum = crc32c::crc32c(&bytes[..end - 4]);
    bytes[end - 4..end].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    // While the database has its record, that changes.
    let store = RedbStore::open(database(&dir)).unwrap();
    let mut record = sample(1, 3);
    record.state.choices.up_limit = Some(1);
    store.save(&[record]).unwrap();
    drop(store);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::remove_file(database(&dir)).unwrap();
    for _ in 0..2 {
        let store = RedbStore::open(database(&dir)).unwrap();
        assert_eq!(listed(&store), (2..=COUNT).map(id).collect());
        assert!(store.list().unwrap().problems.iter().any(StoreError::is_newer));
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_first_start_finds_what_has_no_spare_and_writes_it_later() {
    let dir = folder();
    drop(filled(&dir));
    std::fs::remove_dir_all(spares_of(&database(&dir))).unwrap();
    let store = RedbStore::open(database(&dir)).unwrap();
    assert_eq!((&store.base.pending().ids, store.damaged().is_none()), (&all(), true));
    assert!(!spares_of(&database(&dir)).exists(), "nothing is written on the way");
    // The thread does what it is there for, and ends.
    store.base.run(std::time::Duration::ZERO);
    assert!(store.base.pending().ids.is_empty());
    assert_eq!(store.base.spares.ids().unwrap(), all());
    drop(store);
    std::fs::write(database(&dir), "").unwrap();
    let store = RedbStore::open(database(&dir)).unwrap();
    (1..=COUNT).for_each(|n| assert_relisted(&store, n, "it was spared late"));
    let told = store.damaged().unwrap();
    assert!(matches!(told, StoreError::Damaged { damage: Damage::Lost, relisted: 12, .. }), "{told}");
}

#[test]
fn what_is_chosen_is_spared_and_progress_is_not() {
    let dir = folder();
    let store = filled(&dir);
    let record = sample(1, 9);
    let mut summary = record.summary.clone();
    store.save(&[Record { source: None, ..record }]).unwrap();
    assert!(store.base.pending().ids.is_empty(), "only a piece came");
    // Of a torrent that is not open the summary alone is written.
    summary.outline.as_mut().unwrap().up_limit = Some(3);
    store.save_summaries(vec![summary]).unwrap();
    assert_eq!(store.base.pending().ids, BTreeSet::from([id(1)]));
    // A link becomes a torrent.
    let mut known = Record { source: Some(Source::Torrent(b"d4:infodee".to_vec())), ..sample(4, 9) };
    known.summary.flags.no_metadata = false;
    store.save(&[known.clone()]).unwrap();
    assert_eq!(store.base.pending().ids, BTreeSet::from([id(1), id(4)]));
    settle(&store);
    drop(store);
    std::fs::remove_file(database(&dir)).unwrap();
    let store = RedbStore::open(database(&dir)).unwrap();
    assert_eq!(store.load(&key(4)).unwrap().unwrap().source, known.source);
    assert_eq!(store.load(&key(1)).unwrap().unwrap().summary.outline.unwrap().up_limit, Some(3));
}
