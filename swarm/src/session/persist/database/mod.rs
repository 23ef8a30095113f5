//! Records of a long-running session, in one database.
//!
//! Each sheet has a table of its own, so that a start reads the summaries only, and a save does not write the torrent file
//! again. A save of many torrents is one transaction. The database locks its file while it is open.
//!
//! Beside it are spare sheets (`spare`, `keeper`), so that a file that redb cannot read loses no torrent.

mod file;
mod keeper;
#[cfg(test)]
mod lost;
mod records;
mod spare;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle};
use storage::record::{Damage, FileStore, SessionLeases, SpareSheets, StoreError, Summary};

use file::{Create, caught, refused};
use keeper::Pending;

/// What a summary is kept under, and what it is.
type Listed = (Vec<u8>, Result<Summary, Damage>);
type Sheets = TableDefinition<'static, &'static [u8], &'static [u8]>;

const SUMMARIES: Sheets = TableDefinition::new("summaries");
const STATES: Sheets = TableDefinition::new("states");
const SOURCES: Sheets = TableDefinition::new("sources");
/// Sheets that cannot be read, by torrent and table; kept for whoever wants to look at them.
const ASIDE: Sheets = TableDefinition::new("aside");
/// What was spared of each torrent last: the sums of its spare summary and state, and of its source. When the first two are not those of
/// the record any more, the last alone.
const SPARED: Sheets = TableDefinition::new("spared");
/// Memory for parts of the database. What is read is read once.
const CACHE: usize = 4 << 20;

/// Keeps all records in one database file, which nobody else can open meanwhile. A torrent has one record, whatever its folder.
///
/// What cannot be found again on the disk (the torrent, its folder, what its user chose) is kept in a file for each torrent, too: beneath
/// a folder that is named as the database and ends in `.spares`. A thread writes them a little later. To forget all
/// torrents by hand both have to be deleted.
pub struct RedbStore {
    base: Arc<Base>,
    /// Against programs that keep records in files.
    leases: Option<SessionLeases>,
}

struct Base {
    path: PathBuf,
    create: Box<Create>,
    open: RwLock<Open>,
    /// What was set aside.
    damaged: Mutex<Vec<StoreError>>,
    spares: SpareSheets,
    /// Held while spare sheets are put in place, and from before those of a torrent are removed until its record is.
    placing: Mutex<()>,
    pending: Mutex<Pending>,
    news: Condvar,
}

struct Open {
    /// `None` when it could not be opened again.
    database: Option<Database>,
    /// Counts how often it was opened.
    turn: u64,
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.base.path).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the database of this file, or makes it. One that is damaged is moved aside, named by [`RedbStore::damaged`],
    /// and made anew; its torrents are listed again by their spare sheets. If it turns out later that it is, what can be read of it is
    /// copied into a new one.
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
        let base = Base {
            spares: SpareSheets::new(spares_of(&path)),
            path,
            create,
            open: RwLock::new(Open { database: Some(database), turn: 0 }),
            damaged: Mutex::new(damaged.into_iter().collect()),
            placing: Mutex::default(),
            pending: Mutex::default(),
            news: Condvar::new(),
        };
        let store = Self { base: Arc::new(base), leases: None };
        // Each start needs all summaries: now is the time to find out that they cannot be read.
        store.base.recover()?;
        store.base.start();
        Ok(store)
    }

    /// Keeps off the torrents of programs that keep their records in these files, and keeps them off the torrents that run here:
    /// one of them and this session never write to the same files. No file stays open for it.
    ///
    /// # Errors
    /// When the lock of the session, beside its database, cannot be had.
    pub fn beside(mut self, files: FileStore) -> Result<Self, StoreError> {
        self.leases = Some(SessionLeases::new(files, self.base.path.with_extension("lock"))?);
        Ok(self)
    }

    /// What was set aside or lost last, to be told, and how many torrents are listed again by their spare sheets. Those that are not are to
    /// be added again. What is on disk of either is found by a check.
    pub fn damaged(&self) -> Option<StoreError> {
        self.base.set_aside().last().cloned()
    }
}

impl Base {
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

    /// All summaries, each with what it is kept under, or what is wrong with it.
    fn summaries(&self) -> Result<Vec<Listed>, StoreError> {
        self.with("read", |database| {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(SUMMARIES)?;
            let mut all = Vec::new();
            for entry in table.iter()? {
                let (id, value) = entry?;
                let decoded = Summary::decode(value.value()).and_then(|summary| {
                    if summary.hashes.id().0[..] == *id.value() { Ok(summary) } else { Err(Damage::Broken) }
                });
                all.push((id.value().to_vec(), decoded));
            }
            let (expected, got) = (table.len()?, all.len());
            if expected != got as u64 {
                return Err(redb::Error::Corrupted(format!("expected {expected} summaries, got {got}")));
            }
            Ok(all)
        })
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
            return StoreError::damaged(self.name("record", id), damage, None);
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
        StoreError::damaged(self.name("record", id), damage, aside)
    }

    /// A record in the database, as a person would look for it.
    fn name(&self, what: &str, id: &[u8]) -> PathBuf {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        self.path.join(format!("{what} {hex}"))
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.base.end();
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = open.database.take() {
            file::discard(database);
        }
    }
}

/// The folder of the spare sheets of a database.
fn spares_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".spares");
    name.into()
}

#[cfg(test)]
mod tests;
