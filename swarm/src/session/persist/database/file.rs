//! The file of the database: opening it, and what to do when it is damaged.
//!
//! redb verifies checksums only after a crash, and panics over some of what it then meets. Both are caught here: a file
//! that cannot be opened is set aside, and one that turns out to be damaged later is copied as far as it can be read.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableError};
use storage::record::{Damage, Source, State, StoreError, Summary};

use super::{ASIDE, CACHE, SOURCES, SPARED, STATES, SUMMARIES, Sheets};

/// Opens a database file, or makes it.
pub(super) type Create = dyn Fn(&Path) -> Result<Database, DatabaseError> + Send + Sync;

/// Torrents that are copied in one transaction.
const BATCH: usize = 256;
/// More entries are not looked at: a damaged table may seem to have no end.
const MAX_TORRENTS: usize = 10_000_000;
/// redb's file formats above the one that is known up to this one are taken for those of newer programs, others for damage.
const PLAUSIBLE_FORMAT: u32 = 16;

/// Opens a database, or makes it.
pub(super) fn create(path: &Path) -> Result<Database, DatabaseError> {
    redb::Builder::new().set_cache_size(CACHE).create(path)
}

/// Opens the file; gives what had to be set aside for that.
pub(super) fn open(path: &Path, create: &Create) -> Result<(Database, Option<StoreError>), StoreError> {
    let error = match make(path, create) {
        Ok(database) => return Ok((database, None)),
        Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
            return Err(StoreError::Locked { path: path.to_owned(), by: None, torrent: None });
        }
        Err(error) if is_damage(&error) => error,
        Err(error) => return Err(refused("open", path, &error)),
    };
    let damaged = set_aside(path)?;
    tracing::warn!(%error, %damaged, "the records were damaged");
    let database = make(path, create).map_err(|error| refused("make", path, &error))?;
    Ok((database, Some(damaged)))
}

/// Copies what can be read of a damaged database into a new one, and puts that in its place.
pub(super) fn rebuild(path: &Path, old: &Database) -> Result<(Database, StoreError), StoreError> {
    let new_path = path.with_extension("rebuilt");
    match std::fs::remove_file(&new_path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", new_path, cause));
        }
        _ => {}
    }
    let new = make(&new_path, &create).map_err(|error| refused("make", &new_path, &error))?;
    copy(old, &new).map_err(|error| refused("write", &new_path, &error))?;
    let damaged = set_aside(path)?;
    // It is locked by what it is, not by its name.
    std::fs::rename(&new_path, path).map_err(|cause| StoreError::io("replace", path, cause))?;
    sync_folder(path)?;
    Ok((new, damaged))
}

/// Does something with a database, and takes a panic for what it is: a damaged file.
pub(super) fn caught<T, E: From<StorageError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(StorageError::Corrupted(text(&*panic).to_owned()).into()))
}

/// Drops a database, whose last words may be a panic too.
pub(super) fn discard(database: Database) {
    // It was reported when it happened, and the file is not used any more.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
}

pub(super) fn refused(doing: &'static str, path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Database { doing, path: path.to_owned(), cause: error.to_string() }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it broke off")
}

/// Opens the file and sees that its tables can be read, and all that a start needs.
fn make(path: &Path, create: &Create) -> Result<Database, DatabaseError> {
    caught(|| {
        let database = create(path)?;
        prepare(&database).map_err(|error| match error {
            redb::Error::Io(cause) => StorageError::Io(cause),
            redb::Error::Corrupted(what) => StorageError::Corrupted(what),
            error @ (redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }) => StorageError::Corrupted(error.to_string()),
            error => StorageError::Io(std::io::Error::other(error.to_string())),
        })?;
        Ok(database)
    })
}

fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    let mut is_whole = true;
    for table in [SUMMARIES, STATES, SOURCES, ASIDE, SPARED] {
        match transaction.open_table(table) {
            Ok(_) => {}
            Err(TableError::TableDoesNotExist(_)) => is_whole = false,
            // A disk that cannot be read now is no reason to write.
            Err(error) => return Err(error.into()),
        }
    }
    if is_whole {
        return Ok(());
    }
    drop(transaction);
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    for table in [SUMMARIES, STATES, SOURCES, ASIDE, SPARED] {
        transaction.open_table(table)?;
    }
    Ok(transaction.commit()?)
}

/// A table, and whether something in it is what it should be, or a newer program wrote it.
type Table = (Sheets, fn(&[u8]) -> bool);

const SHEETS: [Table; 3] = [
    (SUMMARIES, |bytes| usable(Summary::decode(bytes).err())),
    (STATES, |bytes| usable(State::decode(bytes).err())),
    (SOURCES, |bytes| usable(Source::decode(bytes).err())),
];

fn usable(damage: Option<Damage>) -> bool {
    damage.is_none_or(|damage| damage.is_newer())
}

fn copy(old: &Database, new: &Database) -> Result<(), redb::Error> {
    let ids: Vec<_> = ids(old).into_iter().collect();
    for batch in ids.chunks(BATCH) {
        let mut transaction = new.begin_write()?;
        transaction.set_quick_repair(true);
        for id in batch {
            for (table, is_usable) in SHEETS {
                let Some(bytes) = get(old, table, id) else { continue };
                if is_usable(&bytes) {
                    transaction.open_table(table)?.insert(&id[..], &bytes[..])?;
                }
            }
        }
        transaction.commit()?;
    }
    Ok(())
}

fn get(database: &Database, table: Sheets, id: &[u8]) -> Option<Vec<u8>> {
    let got = caught(|| -> Result<_, redb::Error> {
        let transaction = database.begin_read()?;
        Ok(transaction.open_table(table)?.get(id)?.map(|value| value.value().to_vec()))
    });
    // What cannot be read is why this is done.
    got.ok().flatten()
}

/// The torrents that can be found: from both ends up to where the table cannot be read.
fn ids(database: &Database) -> BTreeSet<Vec<u8>> {
    let mut ids = BTreeSet::new();
    for is_forward in [true, false] {
        // It ends with an error where the damage is.
        let _ = caught(|| -> Result<(), redb::Error> {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(SUMMARIES)?;
            let mut entries = table.iter()?;
            for _ in 0..MAX_TORRENTS {
                let Some(entry) = (if is_forward { entries.next() } else { entries.next_back() }) else {
                    break;
                };
                let (id, value) = entry?;
                if is_summary_of(id.value(), value.value()) {
                    ids.insert(id.value().to_vec());
                }
            }
            Ok(())
        });
    }
    ids
}

/// Whether this is what it should be; what a newer program wrote is.
fn is_summary_of(id: &[u8], bytes: &[u8]) -> bool {
    match Summary::decode(bytes) {
        Ok(summary) => summary.hashes.id().0[..] == *id,
        Err(damage) => damage.is_newer(),
    }
}

fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Corrupted(what)) => !is_newer(what),
        DatabaseError::Storage(StorageError::Io(cause)) => {
            matches!(cause.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// Whether redb says that a newer one wrote the file. It has no error of its own for that.
fn is_newer(what: &str) -> bool {
    let found = what.strip_prefix("Expected file format version").and_then(|rest| rest.rsplit(' ').next());
    found.and_then(|found| found.parse::<u32>().ok()).is_some_and(|found| found <= PLAUSIBLE_FORMAT)
}

/// Gives the file another name, and says so.
fn set_aside(path: &Path) -> Result<StoreError, StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let names = (1..).map(|n| path.with_file_name(format!("{name}.damaged-{n}")));
    let aside: PathBuf = names.into_iter().find(|aside| !aside.exists()).unwrap_or_default();
    std::fs::rename(path, &aside).map_err(|cause| StoreError::io("set aside", path, cause))?;
    Ok(StoreError::damaged(path, Damage::Broken, Some(aside)))
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|cause| StoreError::io("sync", folder, cause))
}
