//! A file for each record, for programs that run one torrent: any number of them work side by side.
//!
//! ```text
//! <info-hash>-<digest of the folder>.record    summary and state; replaced as a whole
//! <info-hash>-<digest of the folder>.source    the torrent file or magnet link, if it is kept
//! <info-hash>-<digest of the folder>.lock      while somebody uses it
//! <info-hash>-<digest of the folder>.session   while a session that keeps its records elsewhere does
//! names-<digest of the folder and a name>.lock  while a torrent of that name is written there, whichever it is
//! sessions/<digest of a session's lock>.held   what a session runs that it has not open
//! ```
//!
//! A save writes a new file, makes it durable, and puts it in the place of the old one by a rename, which is made durable
//! too. So a full disk or a crash leaves the old record or the new one.

mod held;
mod lock;
mod names;
mod session;
mod spares;
mod system;

use super::bytes::wide;
use super::error::{Damage, StoreError};
use super::store::{Key, Lease, Listing, Store};
use super::{Record, Source, State, Summary};
use metainfo::TorrentId;
use names::Names;
pub use session::SessionLeases;
use sha1::{Digest, Sha1};
pub use spares::{ReadySheets, SpareSheets};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use system::{Files, System};

/// Keeps each record in a file of its own, beneath one folder.
pub struct FileStore {
    dir: PathBuf,
    files: Box<dyn Files>,
    /// One save at a time.
    saving: Mutex<()>,
    names: Arc<Names>,
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl FileStore {
    /// Beneath a folder that is made if it is not there, for its owner only: records tell what somebody downloads.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::with(dir.into(), Box::new(System))
    }

    fn with(dir: PathBuf, files: Box<dyn Files>) -> Result<Self, StoreError> {
        files.make_folder(&dir).map_err(|cause| StoreError::io("make", &dir, cause))?;
        Ok(Self { dir, files, saving: Mutex::new(()), names: Arc::default() })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a record.
    pub fn path(&self, key: &Key) -> PathBuf {
        self.file(key, "record")
    }

    fn file(&self, key: &Key, what: &str) -> PathBuf {
        let digest = Sha1::digest(key.dir.as_os_str().as_encoded_bytes());
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(format!("{}-{short}.{what}", key.id.to_hex()))
    }

    /// A file of names that are written to.
    fn names_file(&self, stem: &str, what: &str) -> PathBuf {
        self.dir.join(format!("{stem}.{what}"))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        match self.files.read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(StoreError::io("read", path, cause)),
        }
    }

    /// Puts a file in the place of another one.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let new = path.with_extension("new");
        let replaced = self.try_replace(path, &new, bytes);
        if replaced.is_err() {
            // A part of a file is of no use, and takes room where there may be none.
            let _ = self.files.remove(&new);
        }
        replaced
    }

    fn try_replace(&self, path: &Path, new: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.files.write(new, bytes).map_err(|cause| StoreError::io("write", new, cause))?;
        self.files.sync(new).map_err(|cause| StoreError::io("sync", new, cause))?;
        self.files.rename(new, path).map_err(|cause| StoreError::io("replace", path, cause))?;
        self.files.sync(&self.dir).map_err(|cause| StoreError::io("sync", &self.dir, cause))
    }

    /// Moves a file that cannot be used out of the way, and says so. One of a newer program is not damaged, and stays.
    fn set_aside(&self, path: &Path, damage: Damage) -> StoreError {
        if damage.is_newer() {
            return StoreError::damaged(path, damage, None);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let free = (1..1000).map(|n| path.with_file_name(format!("{name}.damaged-{n}")));
        let aside = free.into_iter().find(|aside| !self.files.exists(aside));
        let moved = aside.filter(|aside| self.files.rename(path, aside).is_ok());
        StoreError::damaged(path, damage, moved)
    }

    fn remove_file(&self, path: &Path) -> Result<(), StoreError> {
        match self.files.remove(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
            _ => Ok(()),
        }
    }
}

impl Store for FileStore {
    fn list(&self) -> Result<Listing, StoreError> {
        let cannot = |cause: io::Error| StoreError::io("read", &self.dir, cause);
        let mut listing = Listing::default();
        for path in self.files.list(&self.dir).map_err(cannot)? {
            if path.extension().is_none_or(|end| end != "record") {
                continue;
            }
            let summary = self.read(&path).and_then(|bytes| {
                let Some(bytes) = bytes else { return Ok(None) };
                let damaged = |damage| StoreError::damaged(&path, damage, None);
                Summary::take(&mut &bytes[..]).map(Some).map_err(damaged)
            });
            match summary {
                Ok(summary) => listing.summaries.extend(summary),
                Err(problem) => listing.problems.push(problem),
            }
        }
        Ok(listing)
    }

    fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let path = self.path(key);
        let Some(bytes) = self.read(&path)? else { return Ok(None) };
        let (summary, state) = decode(&bytes).map_err(|damage| self.set_aside(&path, damage))?;
        let source_path = self.file(key, "source");
        let source = match self.read(&source_path)? {
            None => None,
            Some(bytes) => {
                Some(Source::decode(&bytes).map_err(|damage| self.set_aside(&source_path, damage))?)
            }
        };
        let record = Record { summary, state, source };
        // Another folder of the same digest.
        Ok((record.key() == *key).then_some(record))
    }

    fn save(&self, records: &[Record]) -> Result<(), StoreError> {
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            let key = record.key();
            if let Some(source) = &record.source {
                self.replace(&self.file(&key, "source"), &source.encode())?;
            }
            let mut bytes = record.summary.encode();
            bytes.extend_from_slice(&record.state.encode());
            self.replace(&self.path(&key), &bytes)?;
        }
        Ok(())
    }

    fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_file(&self.path(key))?;
        self.remove_file(&self.file(key, "source"))
    }

    fn lease(&self, key: &Key) -> Result<Lease, StoreError> {
        let lock = lock::take(&self.file(key, "lock"), None)?;
        session::check(&self.file(key, "session"), None)?;
        held::check(&self.dir, None, &held::right(key))?;
        Ok(Lease::new(lock))
    }

    fn lease_names(&self, id: TorrentId, dir: &Path, names: &[OsString]) -> Result<Lease, StoreError> {
        let taken = self.names.take(dir, names, |stem, name| {
            let lock = lock::take(&self.names_file(stem, "lock"), Some(id))?;
            session::check(&self.names_file(stem, "session"), None)?;
            held::check(&self.dir, None, &held::right_to_name(dir, name))?;
            Ok(lock)
        });
        taken.map(Lease::new)
    }

    /// Whoever runs one torrent names it each time.
    fn wants_sources(&self) -> bool {
        false
    }
}

/// The largest file that is read: the largest sheets, and some.
const MAX_FILE: u64 = 256 << 20;

fn decode(bytes: &[u8]) -> Result<(Summary, State), Damage> {
    if wide(bytes.len()) > MAX_FILE {
        return Err(Damage::Value("a length"));
    }
    let mut rest = bytes;
    let summary = Summary::take(&mut rest)?;
    let state = State::decode(rest)?;
    if summary.generation != state.generation {
        return Err(Damage::Mixed);
    }
    Ok((summary, state))
}

#[cfg(test)]
mod tests;
