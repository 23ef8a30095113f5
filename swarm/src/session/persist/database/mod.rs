//! Records of a long-running session, in one database.
//!
//! Each sheet has a table of its own, so that a start reads the summaries only, and a save does not write the torrent file
//! again. A save of many torrents is one transaction. The database locks its file while it is open.

mod file;
mod records;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Database, ReadableDatabase, TableDefinition, TableHandle};
use storage::record::{Damage, FileStore, SessionLeases, Store, StoreError};

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

#[cfg(test)]
mod tests;
