//! Records of a long-running session, in one database.
//!
//! Each sheet has a table of its own, so that a start reads the summaries only, and a save does not write the torrent file
//! again. A save of many torrents is one transaction. The database locks its file while it is open.

mod file;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition, TableHandle,
};
use storage::record::{
    Damage, FileStore, Key, Lease, Listing, Record, SessionLeases, Source, State, Store, StoreError, Summary,
    is_newer,
};

use file::{Create, caught, refused};

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
    create: Box<Create>,
    open: RwLock<Open>,
    /// What was set aside.
    damaged: Mutex<Vec<StoreError>>,
    /// Against programs that keep records in files.
    leases: Option<SessionLeases>,
}

struct Open {
    /// `None` when it could not be opened again.
    database: Option<Database>,
    /// Counts how often it was opened.
    turn: u64,
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the database of this file, or makes it. One that is damaged is moved aside, named by [`RedbStore::damaged`],
    /// and made anew. If it turns out later that it is, what can be read of it is copied into a new one.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it; or when the file cannot be opened, or a newer program wrote it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_by(path.into(), Box::new(file::create))
    }

    fn open_by(path: PathBuf, create: Box<Create>) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|cause| StoreError::io("make", folder, cause))?;
        }
        let (database, damaged) = file::open(&path, &*create)?;
        let open = RwLock::new(Open { database: Some(database), turn: 0 });
        let store =
            Self { path, create, open, damaged: Mutex::new(damaged.into_iter().collect()), leases: None };
        // Each start needs all summaries: now is the time to find out that they cannot be read.
        store.list()?;
        Ok(store)
    }

    /// Keeps off the torrents of programs that keep their records in these files, and keeps them off the torrents that run here:
    /// one of them and this session never write to the same files. No file stays open for it.
    ///
    /// # Errors
    /// When the lock of the session, beside its database, cannot be had.
    pub fn beside(mut self, files: FileStore) -> Result<Self, StoreError> {
        self.leases = Some(SessionLeases::new(files, self.path.with_extension("lock"))?);
        Ok(self)
    }

    /// What was set aside last, to be told: torrents that are not listed any more are to be added again, and what is on disk of
    /// them is found by a check.
    pub fn damaged(&self) -> Option<StoreError> {
        self.set_aside().last().cloned()
    }

    fn set_aside(&self) -> MutexGuard<'_, Vec<StoreError>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says so when something was set aside since there were this many of those.
    fn told<T>(&self, before: usize, value: T) -> Result<T, StoreError> {
        self.set_aside().get(before).cloned().map_or(Ok(value), Err)
    }

    /// Does something with the database; again, if that shows that it is to be mended.
    fn with<T>(
        &self,
        doing: &'static str,
        work: impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let (turn, error) = match self.attempt(&work) {
            (_, Ok(done)) => return Ok(done),
            (turn, Err(error @ (redb::Error::Corrupted(_) | redb::Error::PreviousIo))) => (turn, error),
            (_, Err(error)) => return Err(refused(doing, &self.path, &error)),
        };
        self.mend(turn, &error)?;
        self.attempt(&work).1.map_err(|error| refused(doing, &self.path, &error))
    }

    fn attempt<T>(
        &self,
        work: impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> (u64, Result<T, redb::Error>) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let done = open.database.as_ref().ok_or(redb::Error::PreviousIo);
        (open.turn, done.and_then(|database| caught(|| work(database))))
    }

    /// Puts in order what was opened in this turn, unless that was done meanwhile.
    fn mend(&self, turn: u64, error: &redb::Error) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.turn != turn {
            return Ok(());
        }
        open.turn += 1;
        let rebuilt = match (&open.database, error) {
            (Some(database), redb::Error::Corrupted(_)) => Some(file::rebuild(&self.path, database)?),
            _ => None,
        };
        if let Some(old) = open.database.take() {
            file::discard(old);
        }
        // After an error of the disk redb wants to be opened anew, and only then tries again.
        let (database, damaged) = match rebuilt {
            Some((database, damaged)) => (database, Some(damaged)),
            None => file::open(&self.path, &*self.create)?,
        };
        open.database = Some(database);
        if let Some(damaged) = damaged {
            tracing::error!(%error, %damaged, "the records were damaged");
            self.set_aside().push(damaged);
        }
        Ok(())
    }

    fn read(&self, table: Sheets, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with("read", |database| {
            let transaction = database.begin_read()?;
            Ok(transaction.open_table(table)?.get(id)?.map(|value| value.value().to_vec()))
        })
    }

    fn write(
        &self,
        write: impl Fn(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        self.with("write", |database| {
            let mut transaction = database.begin_write()?;
            // So that the next start after a crash takes no longer than any other.
            transaction.set_quick_repair(true);
            write(&transaction)?;
            Ok(transaction.commit()?)
        })
    }

    /// Moves sheets of a torrent out of the way, and says so. Those of a newer program are not damaged, and stay.
    fn put_aside(&self, id: &[u8], sheets: &[Sheets], damage: Damage) -> StoreError {
        if damage.is_newer() {
            return StoreError::Damaged { path: self.name("record", id), damage, aside: None };
        }
        let moved = self.write(|transaction| {
            let mut aside = transaction.open_table(ASIDE)?;
            for (number, table) in (0_u8..).zip([SUMMARIES, STATES, SOURCES]) {
                if !sheets.iter().any(|sheet| sheet.name() == table.name()) {
                    continue;
                }
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

impl Drop for RedbStore {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = open.database.take() {
            file::discard(database);
        }
    }
}

impl Store for RedbStore {
    fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = self.with("read", |database| {
            let mut listing = Listing::default();
            let transaction = database.begin_read()?;
            let table = transaction.open_table(SUMMARIES)?;
            for entry in table.iter()? {
                let (id, value) = entry?;
                let decoded = Summary::decode(value.value()).and_then(|summary| {
                    if summary.hashes.id().0[..] == *id.value() { Ok(summary) } else { Err(Damage::Broken) }
                });
                match decoded {
                    Ok(summary) => listing.summaries.push(summary),
                    Err(damage) => {
                        let path = self.name("record", id.value());
                        listing.problems.push(StoreError::Damaged { path, damage, aside: None });
                    }
                }
            }
            let (expected, got) = (table.len()?, listing.summaries.len() + listing.problems.len());
            if expected != got as u64 {
                return Err(redb::Error::Corrupted(format!("expected {expected} summaries, got {got}")));
            }
            Ok(listing)
        })?;
        listing.problems.extend(self.set_aside().iter().cloned());
        Ok(listing)
    }

    fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let (id, before) = (&key.id.0[..], self.set_aside().len());
        let summary = self.read(SUMMARIES, id)?;
        let (state, source) = (self.read(STATES, id)?, self.read(SOURCES, id)?);
        let Some(summary) = self.told(before, summary)? else { return Ok(None) };
        // Without a summary nobody knows the folder.
        let summary = Summary::decode(&summary)
            .map_err(|damage| self.put_aside(id, &[SUMMARIES, STATES, SOURCES], damage))?;
        let state = match state.map(|bytes| State::decode(&bytes)) {
            // It was set aside. Of no pieces, so that all that is on the disk is checked.
            None => Ok(State { generation: summary.generation, ..State::new(0) }),
            Some(Ok(state)) if state.generation != summary.generation => Err(Damage::Mixed),
            Some(decoded) => decoded,
        };
        let state = state.map_err(|damage| self.put_aside(id, &[STATES], damage))?;
        let source = source.map(|bytes| Source::decode(&bytes)).transpose();
        let source = source.map_err(|damage| self.put_aside(id, &[SOURCES], damage))?;
        let record = Record { summary, state, source };
        Ok((record.key() == *key).then_some(record))
    }

    fn elsewhere(&self, key: &Key) -> Result<Option<Summary>, StoreError> {
        let id = &key.id.0[..];
        match self.read(SUMMARIES, id)?.map(|bytes| Summary::decode(&bytes)) {
            Some(Ok(summary)) => Ok(Some(summary).filter(|summary| summary.dir != key.dir)),
            Some(Err(damage)) if damage.is_newer() => {
                Err(StoreError::Damaged { path: self.name("record", id), damage, aside: None })
            }
            // Nobody can say of what folder it was.
            Some(Err(_)) | None => Ok(None),
        }
    }

    fn save(&self, records: &[Record]) -> Result<(), StoreError> {
        let before = self.set_aside().len();
        self.write(|transaction| {
            let mut summaries = transaction.open_table(SUMMARIES)?;
            let mut states = transaction.open_table(STATES)?;
            let mut sources = transaction.open_table(SOURCES)?;
            for record in records {
                let id = record.key().id.0;
                let id = &id[..];
                let replaces_newer = there_is_newer(&summaries, id)?
                    || there_is_newer(&states, id)?
                    || record.source.is_some() && there_is_newer(&sources, id)?;
                if replaces_newer {
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
        })?;
        // It is kept; what was lost is to be known.
        self.told(before, ())
    }

    fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.write(|transaction| {
            for table in [SUMMARIES, STATES, SOURCES] {
                transaction.open_table(table)?.remove(&key.id.0[..])?;
            }
            Ok(())
        })
    }

    fn lease(&self, key: &Key) -> Result<Lease, StoreError> {
        self.leases.as_ref().map_or_else(|| Ok(Lease::free()), |leases| leases.lease(key))
    }
}

fn there_is_newer(table: &Table<'_, &'static [u8], &'static [u8]>, id: &[u8]) -> Result<bool, redb::Error> {
    Ok(table.get(id)?.is_some_and(|there| is_newer(there.value())))
}

#[cfg(test)]
mod tests;
