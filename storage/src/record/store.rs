//! Where records are kept.

use super::error::StoreError;
use super::{Record, Summary};
use metainfo::TorrentId;
use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Which record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The torrent.
    pub id: TorrentId,
    /// Its folder, named in one way (canonical).
    pub dir: PathBuf,
}

/// Keeps records. Calls block; several threads may call at once.
pub trait Store: fmt::Debug + Send + Sync {
    /// The summaries of all records, in no order. What cannot be read is named beside them and does not keep the others
    /// from being listed.
    ///
    /// # Errors
    /// When nothing can be read at all.
    fn list(&self) -> Result<Listing, StoreError>;

    /// A record; `None` when there is none.
    ///
    /// # Errors
    /// When it is damaged, and was set aside; when a newer program wrote it; or when it cannot be read.
    fn load(&self, key: &Key) -> Result<Option<Record>, StoreError>;

    /// The summary of a record that one of this key would replace although its folder is another one; `None` where each
    /// folder has a record of its own.
    ///
    /// # Errors
    /// When it cannot be read, or a newer program wrote it.
    fn elsewhere(&self, _: &Key) -> Result<Option<Summary>, StoreError> {
        Ok(None)
    }

    /// Keeps records instead of those of the same keys. After it returned they are durable; when it fails, or power does,
    /// each is either the old or the new one, whole.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn save(&self, records: &[Record]) -> Result<(), StoreError>;

    /// The summary of a record; `None` when there is none.
    ///
    /// # Errors
    /// As [`Store::load`].
    fn load_summary(&self, key: &Key) -> Result<Option<Summary>, StoreError> {
        Ok(self.load(key)?.map(|record| record.summary))
    }

    /// Keeps summaries instead of those of the same keys, with what else is kept of them. Of no effect where nothing is, or a
    /// state of another generation.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn save_summaries(&self, summaries: Vec<Summary>) -> Result<(), StoreError> {
        for summary in summaries {
            let key = Key { id: summary.hashes.id(), dir: summary.dir.clone() };
            if let Some(record) =
                self.load(&key)?.filter(|known| known.summary.generation == summary.generation)
            {
                self.save(&[Record { summary, source: None, ..record }])?;
            }
        }
        Ok(())
    }

    /// Forgets a record. Of no effect when there is none.
    ///
    /// # Errors
    /// When it cannot be forgotten.
    fn remove(&self, key: &Key) -> Result<(), StoreError>;

    /// Keeps everybody else from using the record for as long as the lease lives.
    ///
    /// # Errors
    /// When somebody else uses it.
    fn lease(&self, key: &Key) -> Result<Lease, StoreError>;

    /// Keeps other programs from writing to files of these names, the first part of their paths beneath a folder, for as long as
    /// the lease lives: also for other torrents. Torrents of this program are not kept from it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] names the file and the torrent that it is written for.
    fn lease_names(&self, _: TorrentId, _: &Path, _: &[OsString]) -> Result<Lease, StoreError> {
        Ok(Lease::free())
    }

    /// [`Store::lease`] and [`Store::lease_names`] for many torrents, one outcome for each.
    fn lease_all(&self, wanted: &[(Key, Vec<OsString>)]) -> Vec<Result<Lease, StoreError>> {
        let lease = |(key, names): &(Key, Vec<OsString>)| {
            let own = self.lease(key)?;
            Ok(Lease::new((own, self.lease_names(key.id, &key.dir, names)?)))
        };
        wanted.iter().map(lease).collect()
    }

    /// Whether torrents are started from what is kept here alone, so that each record needs its source.
    fn wants_sources(&self) -> bool {
        true
    }
}

/// What is kept.
#[derive(Debug, Default)]
pub struct Listing {
    /// Of records that can be read.
    pub summaries: Vec<Summary>,
    /// What is wrong with the others.
    pub problems: Vec<StoreError>,
}

/// The sole right to a record; dropped, it ends.
#[derive(Debug)]
pub struct Lease {
    _held: Option<Box<dyn Any + Send + Sync>>,
}

impl Lease {
    /// A lease that is given up by dropping this value.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self { _held: Some(Box::new(held)) }
    }

    /// A lease of a store that nobody else can use anyway.
    pub fn free() -> Self {
        Self { _held: None }
    }
}
