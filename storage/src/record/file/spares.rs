//! Spare sheets: of each torrent of a database what cannot be found again on the disk, in files of its own beside it.
//!
//! ```text
//! <info-hash>.spare     summary and state of the spare ([`Record::spare`]); replaced as a whole
//! <info-hash>.source    the torrent file or magnet link
//! ....new               while they are written
//! ```
//!
//! Files of their own, because a damaged one costs one torrent, and what goes wrong with a database cannot go wrong with them: a second
//! database would fail in the same ways. A journal would have to be compacted, torrent files and all, and its one file would be all there is.
//!
//! Many are written with two syncs: what is in them is made durable together, then they are put in place, then their names are made durable.

use super::super::error::{Damage, StoreError};
use super::super::sheet::is_newer;
use super::super::{Record, Source};
use super::system::{Files, System};
use super::{FileStore, decode};
use metainfo::TorrentId;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Keeps spare sheets in one folder, which is made when the first is written.
#[derive(Debug)]
pub struct SpareSheets {
    at: FileStore,
}

/// The sheets of a torrent that are written and durable, and not in place yet.
#[derive(Debug)]
pub struct ReadySheets {
    /// The torrent.
    pub id: TorrentId,
    /// Where they belong, in the order in which they are put there.
    places: Vec<PathBuf>,
}

impl SpareSheets {
    /// Those in a folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::with(dir.into(), Box::new(System))
    }

    fn with(dir: PathBuf, files: Box<dyn Files>) -> Self {
        Self { at: FileStore { dir, files, saving: Default::default(), names: Default::default() } }
    }

    /// The torrents that have a sheet. Removes what was left of writing others: nobody writes any meanwhile.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn ids(&self) -> Result<BTreeSet<TorrentId>, StoreError> {
        let mut ids = BTreeSet::new();
        let files = match self.at.files.list(self.dir()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ids),
            files => files.map_err(|cause| StoreError::io("read", self.dir(), cause))?,
        };
        for path in files {
            let is = |end: &str| path.extension().is_some_and(|found| found == end);
            if is("new") {
                // One that stays is written over, or tried again at the next start.
                let _ = self.at.files.remove(&path);
            } else if is("spare") {
                ids.extend(path.file_stem().and_then(|stem| stem.to_str()?.parse::<TorrentId>().ok()));
            }
        }
        Ok(ids)
    }

    /// The spare of a record; without a source if that was lost. `None` when there is none.
    ///
    /// # Errors
    /// When it is damaged, and was set aside; when a newer program wrote it; or when it cannot be read.
    pub fn load(&self, id: TorrentId) -> Result<Option<Record>, StoreError> {
        let path = self.place(id, "spare");
        let Some(bytes) = self.at.read(&path)? else { return Ok(None) };
        let decoded = decode(&bytes).and_then(|(summary, state)| {
            if summary.hashes.id() == id { Ok((summary, state)) } else { Err(Damage::Broken) }
        });
        let (summary, state) = decoded.map_err(|damage| self.at.set_aside(&path, damage))?;
        let path = self.place(id, "source");
        let source = self.at.read(&path)?.map(|bytes| Source::decode(&bytes)).transpose();
        let source = source.map_err(|damage| self.at.set_aside(&path, damage))?;
        Ok(Some(Record { summary, state, source }.spare()))
    }

    /// Whether a torrent's source is kept.
    pub fn has_source(&self, id: TorrentId) -> bool {
        self.at.files.exists(&self.place(id, "source"))
    }

    /// Writes what is spare of records and makes it durable; [`SpareSheets::place_all`] puts it in place. A source of `None` leaves the one
    /// that is there. What a newer program wrote is left alone.
    ///
    /// # Errors
    /// When that fails; then nothing of it is left.
    pub fn prepare<'a>(
        &self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Vec<ReadySheets>, StoreError> {
        let records: Vec<&Record> = records.into_iter().collect();
        let ready: Vec<_> = records.iter().map(|record| ReadySheets::of(self, record)).collect();
        let prepared = self.make_folder().and_then(|()| {
            for (record, ready) in records.iter().zip(&ready) {
                self.write(record, ready)?;
            }
            self.sync(&ready)
        });
        if prepared.is_err() {
            self.discard(&ready);
        }
        prepared.map(|()| ready)
    }

    /// Puts sheets in place, durably.
    ///
    /// # Errors
    /// When that fails; each is the old or the new one then.
    pub fn place_all(&self, ready: &[ReadySheets]) -> Result<(), StoreError> {
        let place = |path: &PathBuf| {
            self.at.files.rename(&new(path), path).map_err(|cause| StoreError::io("replace", path, cause))
        };
        let placed = ready.iter().flat_map(|ready| &ready.places).try_for_each(place);
        if placed.is_err() {
            self.discard(ready);
        }
        placed.and_then(|()| self.sync_folder())
    }

    /// Removes sheets that are not to be put in place any more.
    pub fn discard(&self, ready: &[ReadySheets]) {
        // One that stays is removed at the next start.
        ready.iter().flat_map(|ready| &ready.places).for_each(|path| drop(self.at.files.remove(&new(path))));
    }

    /// Removes the sheets of a torrent, durably: it does not come back. Of no effect when there are none.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn remove(&self, id: TorrentId) -> Result<(), StoreError> {
        if !self.at.files.exists(self.dir()) {
            return Ok(());
        }
        self.at.remove_file(&self.place(id, "spare"))?;
        self.at.remove_file(&self.place(id, "source"))?;
        self.sync_folder()
    }

    fn dir(&self) -> &Path {
        &self.at.dir
    }

    fn place(&self, id: TorrentId, what: &str) -> PathBuf {
        self.dir().join(format!("{}.{what}", id.to_hex()))
    }

    fn make_folder(&self) -> Result<(), StoreError> {
        let (files, dir) = (&self.at.files, self.dir());
        if files.exists(dir) {
            return Ok(());
        }
        files.make_folder(dir).map_err(|cause| StoreError::io("make", dir, cause))?;
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files.sync(above).map_err(|cause| StoreError::io("sync", above, cause))
    }

    fn write(&self, record: &Record, ready: &ReadySheets) -> Result<(), StoreError> {
        let (sheet, spare) = (self.place(ready.id, "spare"), record.spare());
        for path in &ready.places {
            let bytes = match &spare.source {
                _ if *path == sheet => [spare.summary.encode(), spare.state.encode()].concat(),
                Some(source) => source.encode(),
                None => continue,
            };
            let path = new(path);
            self.at.files.write(&path, &bytes).map_err(|cause| StoreError::io("write", &path, cause))?;
        }
        Ok(())
    }

    fn sync(&self, ready: &[ReadySheets]) -> Result<(), StoreError> {
        let paths: Vec<_> = ready.iter().flat_map(|ready| &ready.places).map(|path| new(path)).collect();
        let synced = self.at.files.sync_many(self.dir(), &paths);
        synced.map_err(|cause| StoreError::io("sync", self.dir(), cause))
    }

    fn sync_folder(&self) -> Result<(), StoreError> {
        let synced = self.at.files.sync(self.dir());
        synced.map_err(|cause| StoreError::io("sync", self.dir(), cause))
    }

    /// What cannot be read is no reason to keep it.
    fn is_newer(&self, path: &Path) -> bool {
        let Ok(Some(bytes)) = self.at.read(path) else { return false };
        is_newer(&bytes) || decode(&bytes).is_err_and(|damage| damage.is_newer())
    }
}

impl ReadySheets {
    /// The source first: a sheet without one says less than a source without a sheet.
    fn of(spares: &SpareSheets, record: &Record) -> Self {
        let id = record.summary.hashes.id();
        let source = record.source.is_some().then(|| spares.place(id, "source"));
        let places = source.into_iter().chain([spares.place(id, "spare")]);
        Self { id, places: places.filter(|path| !spares.is_newer(path)).collect() }
    }
}

/// Where a file is while it is written.
fn new(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests;
