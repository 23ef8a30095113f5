//! Records of a long-running session, in one database.
//!
//! Each sheet has a table of its own, so that a start reads the summaries only, and a save does not write the torrent file
//! again. A save of many torrents is one transaction. The database locks its file while it is open.

use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition};
use storage::record::{Damage, Key, Lease, Listing, Record, Source, State, Store, StoreError, Summary};

type Sheets = TableDefinition<'static, &'static [u8], &'static [u8]>;

const SUMMARIES: Sheets = TableDefinition::new("summaries");
const STATES: Sheets = TableDefinition::new("states");
const SOURCES: Sheets = TableDefinition::new("sources");
/// Sheets that cannot be read, by torrent and table; kept for whoever wants to look at them.
const ASIDE: Sheets = TableDefinition::new("aside");
/// Memory for parts of the database. What is read is read once.
const CACHE: usize = 4 << 20;

/// Keeps all records in one database file, which nobody else can open meanwhile. A torrent has one record, whatever its folder.
pub struct RedbStore {
    path: PathBuf,
    database: Database,
    /// What was set aside when it was opened.
    damaged: Option<StoreError>,
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the database of this file, or makes it. One that is damaged is moved aside, named by [`RedbStore::damaged`],
    /// and made anew.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it; or when the file cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|cause| StoreError::io("make", folder, cause))?;
        }
        match make(&path) {
            Ok(database) => Ok(Self { path, database, damaged: None }),
            Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
                Err(StoreError::Locked { path, by: None })
            }
            Err(error) if is_damage(&error) => {
                let aside = set_aside(&path)?;
                tracing::warn!(%error, aside = %aside.display(), "the records were damaged");
                let damaged =
                    StoreError::Damaged { path: path.clone(), damage: Damage::Foreign, aside: Some(aside) };
                let database = make(&path).map_err(|error| refused("make", &path, &error))?;
                Ok(Self { path, database, damaged: Some(damaged) })
            }
            Err(error) => Err(refused("open", &path, &error)),
        }
    }

    /// What was set aside when the database was opened, to be told: the torrents in it are to be added again, and what is on
    /// disk of them is found by a check.
    pub fn damaged(&self) -> Option<&StoreError> {
        self.damaged.as_ref()
    }

    fn read(&self, table: Sheets, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let get = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            Ok(transaction.open_table(table)?.get(id)?.map(|value| value.value().to_vec()))
        };
        get().map_err(|error| refused("read", &self.path, &error))
    }

    fn write(
        &self,
        write: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let commit = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            // So that the next start after a crash takes no longer than any other.
            transaction.set_quick_repair(true);
            write(&transaction)?;
            Ok(transaction.commit()?)
        };
        commit().map_err(|error| refused("write", &self.path, &error))
    }

    /// Moves all sheets of a torrent out of the way, and says so.
    fn put_aside(&self, id: &[u8], damage: Damage) -> StoreError {
        let moved = self.write(|transaction| {
            let mut aside = transaction.open_table(ASIDE)?;
            for (number, table) in (0_u8..).zip([SUMMARIES, STATES, SOURCES]) {
                if let Some(value) = transaction.open_table(table)?.remove(id)? {
                    aside.insert([id, &[number]].concat().as_slice(), value.value())?;
                }
            }
            Ok(())
        });
        let aside = moved.is_ok().then(|| self.name("aside", id));
        StoreError::Damaged { path: self.name("record", id), damage, aside }
    }

    /// A record in the database, as a person would look for it.
    fn name(&self, what: &str, id: &[u8]) -> PathBuf {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        self.path.join(format!("{what} {hex}"))
    }
}

impl Store for RedbStore {
    fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        listing.problems.extend(self.damaged.clone());
        let mut list = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_read()?;
            for entry in transaction.open_table(SUMMARIES)?.iter()? {
                let (id, value) = entry?;
                match Summary::decode(value.value()) {
                    Ok(summary) => listing.summaries.push(summary),
                    Err(damage) => {
                        let path = self.name("record", id.value());
                        listing.problems.push(StoreError::Damaged { path, damage, aside: None });
                    }
                }
            }
            Ok(())
        };
        list().map_err(|error| refused("read", &self.path, &error))?;
        Ok(listing)
    }

    fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let id = &key.id.0[..];
        let Some(summary) = self.read(SUMMARIES, id)? else { return Ok(None) };
        let (state, source) = (self.read(STATES, id)?, self.read(SOURCES, id)?);
        let decode = || -> Result<Record, Damage> {
            let summary = Summary::decode(&summary)?;
            let state = State::decode(&state.unwrap_or_default())?;
            if summary.generation != state.generation {
                return Err(Damage::Mixed);
            }
            let source = source.map(|bytes| Source::decode(&bytes)).transpose()?;
            Ok(Record { summary, state, source })
        };
        let record = decode().map_err(|damage| self.put_aside(id, damage))?;
        Ok((record.key() == *key).then_some(record))
    }

    fn save(&self, records: &[Record]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut summaries = transaction.open_table(SUMMARIES)?;
            let mut states = transaction.open_table(STATES)?;
            let mut sources = transaction.open_table(SOURCES)?;
            for record in records {
                let id = record.key().id.0;
                let id = &id[..];
                if is_newer(&summaries, id)? {
                    tracing::warn!(
                        name = record.summary.name,
                        "a newer program wrote this record; it is left alone"
                    );
                    continue;
                }
                summaries.insert(id, record.summary.encode().as_slice())?;
                states.insert(id, record.state.encode().as_slice())?;
                if let Some(source) = &record.source {
                    sources.insert(id, source.encode().as_slice())?;
                }
            }
            Ok(())
        })
    }

    fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.write(|transaction| {
            for table in [SUMMARIES, STATES, SOURCES] {
                transaction.open_table(table)?.remove(&key.id.0[..])?;
            }
            Ok(())
        })
    }

    fn lease(&self, _: &Key) -> Result<Lease, StoreError> {
        Ok(Lease::free())
    }
}

fn is_newer(summaries: &Table<'_, &'static [u8], &'static [u8]>, id: &[u8]) -> Result<bool, redb::Error> {
    let there = summaries.get(id)?;
    Ok(there.is_some_and(|there| Summary::decode(there.value()).is_err_and(|damage| damage.is_newer())))
}

/// Opens the file and sees that its tables can be read.
fn make(path: &Path) -> Result<Database, DatabaseError> {
    let database = redb::Builder::new().set_cache_size(CACHE).create(path)?;
    let prepare = || -> Result<(), redb::Error> {
        let transaction = database.begin_read()?;
        if [SUMMARIES, STATES, SOURCES, ASIDE].into_iter().all(|table| transaction.open_table(table).is_ok())
        {
            return Ok(());
        }
        drop(transaction);
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        for table in [SUMMARIES, STATES, SOURCES, ASIDE] {
            transaction.open_table(table)?;
        }
        Ok(transaction.commit()?)
    };
    prepare().map_err(|error| match error {
        redb::Error::Io(cause) => DatabaseError::Storage(StorageError::Io(cause)),
        error => DatabaseError::Storage(StorageError::Corrupted(error.to_string())),
    })?;
    Ok(database)
}

fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::UpgradeRequired(_) | DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(cause)) => {
            matches!(cause.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside =
        (1..).map(|n| path.with_file_name(format!("{name}.damaged-{n}"))).find(|aside| !aside.exists());
    let aside = aside.unwrap_or_default();
    std::fs::rename(path, &aside).map_err(|cause| StoreError::io("set aside", path, cause))?;
    Ok(aside)
}

fn refused(doing: &'static str, path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Database { doing, path: path.to_owned(), cause: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::{InfoHashV1, InfoHashes};
    use storage::record::{Flags, NAME_RULES, PieceSet, Times, Totals};

    fn sample(n: u8, generation: u64) -> Record {
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
            assert_eq!(*aside, dir.path().join(format!("session.redb.damaged-{n}")));
            assert_eq!(std::fs::read(aside).unwrap(), vec![7; 50_000]);
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
            store.write(|transaction| {
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
        assert_eq!(store.load(&sample(1, 0).key()).unwrap(), None);
        store.save(&[sample(3, 2)]).unwrap();
        assert_eq!(store.read(SUMMARIES, &[3; 20]).unwrap().unwrap(), newer);
    }
}
