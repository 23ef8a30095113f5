use super::super::super::tests::{mutate, sample};
use super::super::tests::{Fault, Faulty};
use super::*;

fn put(spares: &SpareSheets, records: &[Record]) -> Result<(), StoreError> {
    spares.prepare(records).and_then(|ready| spares.place_all(&ready))
}

fn id(n: u8) -> TorrentId {
    sample(n).summary.hashes.id()
}

/// What a sync is worth is simulated: it need not cost anything.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn spares_are_kept_replaced_and_removed_each_by_itself() {
    let dir = folder();
    let spares = SpareSheets::new(dir.path().join("session.spares"));
    assert_eq!((spares.ids().unwrap(), spares.load(id(1)).unwrap()), (BTreeSet::new(), None));
    spares.remove(id(1)).unwrap();
    // More than are synced one by one.
    let all: Vec<_> = (1..=40).map(sample).collect();
    put(&spares, &all).unwrap();
    assert_eq!(spares.ids().unwrap(), all.iter().map(|record| record.summary.hashes.id()).collect());
    assert_eq!(spares.load(id(1)).unwrap(), Some(sample(1).spare()));
    let mut chosen = Record { source: None, ..sample(1) };
    chosen.state.choices.up_limit = Some(7);
    put(&spares, &[chosen.clone()]).unwrap();
    let expected = Record { source: sample(1).source, ..chosen.spare() };
    assert_eq!(spares.load(id(1)).unwrap(), Some(expected), "its source stays");
    assert!(spares.has_source(id(1)));
    spares.remove(id(1)).unwrap();
    assert_eq!((spares.load(id(1)).unwrap(), spares.has_source(id(1))), (None, false));
    assert_eq!((spares.ids().unwrap().len(), names(spares.dir()).len()), (39, 78));
}

#[test]
fn whatever_call_fails_the_spare_is_the_old_or_the_new_one() {
    let (old, mut new) = (sample(1), sample(1));
    new.state.choices.up_limit = Some(9);
    new.source = Some(Source::Magnet("magnet:?".into()));
    let [old, new] = [old.spare(), new.spare()];
    let mut injected = 0;
    for fault in [Fault::Once, Fault::ForGood, Fault::PowerLoss] {
        for nth in 1.. {
            let dir = folder();
            put(&SpareSheets::new(dir.path()), &[old.clone(), sample(2)]).unwrap();
            let faulty = Faulty::new(nth, fault, ErrorKind::StorageFull);
            let spares = SpareSheets::with(dir.path().into(), Box::new(faulty.clone()));
            let written = put(&spares, &[new.clone(), sample(3)]);
            if !faulty.struck() {
                written.unwrap();
                break;
            }
            injected += 1;
            let error = written.expect_err("a call failed");
            assert!(matches!(error, StoreError::Io { .. }), "{error}");
            let spares = SpareSheets::new(dir.path());
            let ids = spares.ids().unwrap();
            assert!(ids.contains(&id(1)) && ids.contains(&id(2)) && ids.len() <= 3, "{ids:?}");
            let found = spares.load(id(1)).unwrap().unwrap();
            let is = |other: &Record| (&found.summary, &found.state) == (&other.summary, &other.state);
            // A source that is newer than its sheet says what the torrent is by now.
            assert!(is(&old) || is(&new) && found.source == new.source, "{fault:?} at call {nth}: {found:?}");
            assert!(found.source == old.source || found.source == new.source);
            assert_eq!(spares.load(id(2)).unwrap(), Some(sample(2).spare()), "{fault:?} at call {nth}");
            if let Some(third) = spares.load(id(3)).unwrap() {
                assert_eq!(third, sample(3).spare(), "{fault:?} at call {nth}");
            }
            assert!(names(dir.path()).iter().all(|name| !name.ends_with(".new")), "nothing is left over");
            put(&spares, std::slice::from_ref(&new)).unwrap();
            assert_eq!(spares.load(id(1)).unwrap().as_ref(), Some(&new));
        }
    }
    assert_eq!(injected, 3 * 10, "4 writes, a sync, 4 renames, and a sync of the folder");
}

#[test]
fn a_removal_that_fails_is_told_and_one_that_does_not_is_durable() {
    for nth in 1..=3 {
        let dir = folder();
        put(&SpareSheets::new(dir.path()), &[sample(1)]).unwrap();
        let faulty = Faulty::new(nth, Fault::Once, ErrorKind::Other);
        let spares = SpareSheets::with(dir.path().into(), Box::new(faulty.clone()));
        spares.remove(id(1)).unwrap_err();
        assert!(faulty.struck());
        spares.remove(id(1)).unwrap();
        assert_eq!(names(dir.path()).len(), 0);
    }
}

#[test]
fn ten_thousand_damaged_spares_are_all_noticed() {
    let dir = folder();
    let spares = SpareSheets::new(dir.path());
    let record = sample(1);
    put(&spares, std::slice::from_ref(&record)).unwrap();
    let places = ["spare", "source"].map(|what| spares.place(id(1), what));
    let good = places.each_ref().map(|path| std::fs::read(path).unwrap());
    for seed in 0..10_000_u64 {
        let which = usize::from(seed % 4 == 0);
        let mut bytes = good[which].clone();
        mutate(&mut bytes, seed);
        if bytes == good[which] {
            continue;
        }
        std::fs::write(&places[which], &bytes).unwrap();
        let error = spares.load(id(1)).expect_err("it is damaged");
        let StoreError::Damaged { aside: Some(aside), path, .. } = &error else {
            panic!("seed {seed}: {error}")
        };
        assert_eq!((path, &std::fs::read(aside).unwrap()), (&places[which], &bytes), "seed {seed}");
        std::fs::remove_file(aside).unwrap();
        let left = spares.load(id(1)).unwrap();
        assert_eq!(left, (which == 1).then(|| Record { source: None, ..record.spare() }), "seed {seed}");
        std::fs::write(&places[which], &good[which]).unwrap();
    }
    assert_eq!(spares.load(id(1)).unwrap(), Some(record.spare()));
}

#[test]
fn a_spare_of_another_torrent_is_not_believed() {
    let dir = folder();
    let spares = SpareSheets::new(dir.path());
    put(&spares, &[sample(1)]).unwrap();
    std::fs::rename(spares.place(id(1), "spare"), spares.place(id(2), "spare")).unwrap();
    let error = spares.load(id(2)).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { damage: Damage::Broken, aside: Some(_), .. }), "{error}");
    assert_eq!(spares.ids().unwrap(), BTreeSet::new());
}

#[test]
fn a_spare_of_a_newer_program_stays_as_it_is() {
    let record = sample(1);
    let summary = record.spare().summary.encode().len();
    for (what, start) in [("spare", 0), ("spare", summary), ("source", 0)] {
        let dir = folder();
        let spares = SpareSheets::new(dir.path());
        put(&spares, std::slice::from_ref(&record)).unwrap();
        let path = spares.place(id(1), what);
        let mut bytes = std::fs::read(&path).unwrap();
        let end = if (what, start) == ("spare", 0) { summary } else { bytes.len() };
        bytes[start + 8] = super::super::super::VERSION + 1;
        let sum = crc32c::crc32c(&bytes[start..end - 4]);
        bytes[end - 4..end].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let error = spares.load(id(1)).unwrap_err();
        assert!(error.is_newer() && matches!(error, StoreError::Damaged { aside: None, .. }), "{error}");
        put(&spares, std::slice::from_ref(&record)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what} at {start}");
    }
}
