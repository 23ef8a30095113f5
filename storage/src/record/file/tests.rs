use super::super::tests::sample;
use super::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// One call fails.
    Once,
    /// It and all that follow.
    ForGood,
    /// The power fails instead of the call: nothing more is done, and what was not made durable is torn.
    PowerLoss,
}

/// The system's files, until the nth call that changes something.
#[derive(Clone)]
pub(super) struct Faulty {
    left: Arc<AtomicU32>,
    fault: Fault,
    error: ErrorKind,
    is_dead: Arc<AtomicBool>,
    unsynced: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Faulty {
    pub(super) fn new(nth: u32, fault: Fault, error: ErrorKind) -> Self {
        Self { left: Arc::new(nth.into()), fault, error, is_dead: Arc::default(), unsynced: Arc::default() }
    }

    pub(super) fn struck(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn pass(&self) -> io::Result<()> {
        let fail = || Err(io::Error::from(self.error));
        if self.is_dead.load(Ordering::Relaxed) {
            return fail();
        }
        match self.left.load(Ordering::Relaxed) {
            0 => Ok(()),
            1 => {
                self.left.store(0, Ordering::Relaxed);
                self.is_dead.store(self.fault != Fault::Once, Ordering::Relaxed);
                if self.fault == Fault::PowerLoss {
                    for path in self.unsynced.lock().unwrap().iter() {
                        if let Ok(bytes) = std::fs::read(path) {
                            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
                        }
                    }
                }
                fail()
            }
            left => {
                self.left.store(left - 1, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

impl Files for Faulty {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        System.make_folder(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        System.list(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        System.read(path)
    }
    fn exists(&self, path: &Path) -> bool {
        System.exists(path)
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.unsynced.lock().unwrap().insert(path.into());
        // A write that fails may have written a part.
        if let Err(error) = self.pass() {
            if self.fault != Fault::PowerLoss {
                System.write(path, &bytes[..bytes.len() / 3])?;
            }
            return Err(error);
        }
        System.write(path, bytes)
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.unsynced.lock().unwrap().remove(path);
        System.sync(path)
    }
    fn sync_many(&self, folder: &Path, paths: &[PathBuf]) -> io::Result<()> {
        self.pass()?;
        self.unsynced.lock().unwrap().retain(|path| !paths.contains(path));
        System.sync_many(folder, paths)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?;
        System.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        System.remove(path)
    }
}

#[test]
fn whatever_call_fails_the_record_is_the_old_or_the_new_one() {
    let (old, mut new) = (sample(1), sample(1));
    new.summary.generation += 1;
    new.state.generation += 1;
    let source = |record: &Record| Record { source: None, ..record.clone() };
    let errors = [
        ErrorKind::StorageFull,
        ErrorKind::ReadOnlyFilesystem,
        ErrorKind::PermissionDenied,
        ErrorKind::Other,
    ];
    let mut injected = 0;
    for (fault, error) in [Fault::Once, Fault::ForGood, Fault::PowerLoss]
        .into_iter()
        .flat_map(|fault| errors.iter().map(move |error| (fault, *error)))
    {
        for nth in 1.. {
            // What a sync is worth is simulated: it need not cost anything.
            let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            FileStore::open(dir.path()).unwrap().save(std::slice::from_ref(&old)).unwrap();
            let faulty = Faulty::new(nth, fault, error);
            let store = FileStore::with(dir.path().into(), Box::new(faulty.clone())).unwrap();
            let saved = store.save(std::slice::from_ref(&new));
            if !faulty.struck() {
                saved.unwrap();
                break;
            }
            injected += 1;
            let saved = saved.expect_err("a call failed");
            let StoreError::Io { path, cause, .. } = &saved else { panic!("{saved}") };
            assert!(path.starts_with(dir.path()) && cause.kind() == error, "{saved}");
            let found = FileStore::open(dir.path()).unwrap().load(&old.key()).unwrap().expect("it is there");
            let is_old_or_new = source(&found) == source(&old) || source(&found) == source(&new);
            assert!(is_old_or_new, "{fault:?} {error} at call {nth}: {found:?}");
            if fault == Fault::Once {
                // The cause is gone: the next save succeeds.
                store.save(std::slice::from_ref(&new)).unwrap();
                assert_eq!(store.load(&new.key()).unwrap().as_ref(), Some(&new));
                assert!(store.files.list(dir.path()).unwrap().len() == 2, "nothing is left over");
            }
        }
    }
    assert_eq!(injected, 3 * 4 * 8, "write, sync, rename and sync of two files");
}

#[test]
fn a_damaged_record_is_set_aside_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let record = sample(2);
    for n in 1..=2 {
        store.save(std::slice::from_ref(&record)).unwrap();
        let path = store.path(&record.key());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = store.load(&record.key()).unwrap_err();
        let StoreError::Damaged { aside: Some(aside), .. } = &error else { panic!("{error}") };
        assert!(aside.to_string_lossy().ends_with(&format!(".record.damaged-{n}")), "{error}");
        assert_eq!(std::fs::read(aside).unwrap(), bytes);
        assert!(error.to_string().contains("it was set aside as"), "{error}");
        assert_eq!(store.load(&record.key()).unwrap(), None);
    }
}

#[test]
fn a_record_of_a_newer_program_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let record = sample(2);
    let summary = record.summary.encode();
    for start in [0, summary.len()] {
        store.save(std::slice::from_ref(&record)).unwrap();
        let path = store.path(&record.key());
        let mut bytes = std::fs::read(&path).unwrap();
        let end = if start == 0 { summary.len() } else { bytes.len() };
        bytes[start + 8] = super::super::VERSION + 1;
        let sum = crc32c::crc32c(&bytes[start..end - 4]);
        bytes[end - 4..end].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let error = store.load(&record.key()).unwrap_err();
        assert!(error.is_newer() && matches!(error, StoreError::Damaged { aside: None, .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn one_bad_record_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    store.save(&[sample(1), sample(2), sample(3)]).unwrap();
    std::fs::write(store.path(&sample(2).key()), b"").unwrap();
    let listing = store.list().unwrap();
    assert_eq!((listing.summaries.len(), listing.problems.len()), (2, 1));
    store.remove(&sample(1).key()).unwrap();
    store.remove(&sample(1).key()).unwrap();
    assert_eq!(store.list().unwrap().summaries, [sample(3).summary]);
}

#[test]
fn two_never_use_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [FileStore::open(dir.path()).unwrap(), FileStore::open(dir.path()).unwrap()];
    let key = sample(1).key();
    for _ in 0..3 {
        let lease = stores[0].lease(&key).unwrap();
        let error = stores[1].lease(&key).unwrap_err();
        let by = Some(std::process::id());
        assert!(matches!(&error, StoreError::Locked { by: found, .. } if *found == by), "{error}");
        stores[1].lease(&sample(2).key()).unwrap();
        drop(lease);
    }
    stores[1].lease(&key).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "locks leave nothing behind");
}

#[test]
fn the_right_to_a_record_goes_to_one_of_many() {
    let dir = tempfile::tempdir().unwrap();
    let holders = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = FileStore::open(dir.path()).unwrap();
                let mut got = 0;
                while got < 200 {
                    let Ok(lease) = store.lease(&sample(1).key()) else { continue };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                    got += 1;
                    holders.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            });
        }
    });
}
