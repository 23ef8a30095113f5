//! A torrent that no session runs: its files are moved, renamed and removed by what its record says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use metainfo::{Torrent, TorrentId};
use storage::record::{Record, Source, Store};
use storage::{FileStorage, Moved, Progress, Removed};
use tokio::sync::watch;

use super::claims::{Claimed, Claims, Taken};
use super::files_error::FilesError;
use super::finishing::Finish;
use super::options::AddError;
use super::persist::{self, Kept, Rest};
use super::relocating::Change;

/// A torrent that no session runs, as its record describes it. The record is ours for as long as this lives, so that nobody
/// else runs the torrent meanwhile. All of it blocks.
pub struct AtRest {
    meta: Arc<Torrent>,
    held: Claimed,
    kept: Arc<Kept>,
    finish: Option<Arc<Finish>>,
}

impl AtRest {
    /// Takes a torrent by its record of this folder. What it is need not be told if the record knows it.
    ///
    /// # Errors
    /// [`AddError::NotRecorded`] when there is no such record, or it does not know what the torrent is; [`AddError::Store`] when
    /// somebody runs it, or the record cannot be read; [`AddError::Storage`] when its folder is not there, or another one is.
    pub fn open(
        store: Arc<dyn Store>,
        id: TorrentId,
        meta: Option<Arc<Torrent>>,
        dir: &Path,
    ) -> Result<Self, AddError> {
        let Rest { meta, files, kept, finish } = persist::at_rest(store, id, meta, dir)?;
        let claim = Arc::new(Claims::default()).claim(&files, &meta);
        let claim = claim.map_err(|Taken { path, by }| AddError::PathTaken { path, by })?;
        let held = Claimed { files, claim: Arc::new(claim), held: Arc::new(watch::Sender::new(())) };
        Ok(Self { meta, held, kept, finish })
    }

    /// What it is.
    pub fn meta(&self) -> &Arc<Torrent> {
        &self.meta
    }

    /// Its files, to be looked at.
    pub fn files(&self) -> &FileStorage {
        &self.held.files
    }

    /// Moves its files to another folder, as [`Torrent::move_to`](super::Torrent::move_to) does. Setting `cancel` stops it;
    /// naming the same folder again goes on.
    ///
    /// # Errors
    /// As there; [`FilesError::Cancelled`] when it was stopped.
    pub fn move_to(
        &self,
        dir: impl Into<PathBuf>,
        cancel: &AtomicBool,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Moved, FilesError> {
        self.held.files.hold(true)?;
        self.change(cancel).relocate(dir.into(), progress).map(|(_, moved)| moved)
    }

    /// Gives a file another path, as [`Torrent::rename_file`](super::Torrent::rename_file) does.
    ///
    /// # Errors
    /// As there.
    pub fn rename_file(&self, index: usize, path: &str) -> Result<String, FilesError> {
        self.held.files.hold(true)?;
        self.change(&AtomicBool::new(false)).rename(index, path)
    }

    /// Removes the files that were made for it, and the folders that were and are empty. The record stays, without them.
    ///
    /// # Errors
    /// When its folder is not there; what cannot be removed is told in [`Removed::errors`].
    pub fn remove_files(&self) -> Result<Removed, FilesError> {
        self.held.files.hold(true)?;
        let removed = self.held.files.remove_created()?;
        let created = self.held.files.created();
        self.kept.amend(|state| state.created = created)?;
        Ok(removed)
    }

    /// Forgets its record.
    ///
    /// # Errors
    /// When the record cannot be removed.
    pub fn forget(self) -> Result<(), FilesError> {
        Ok(self.kept.forget()?)
    }

    fn change<'a>(&self, cancel: &'a AtomicBool) -> Change<'a> {
        Change {
            meta: self.meta.clone(),
            cancel,
            finish: self.finish.clone(),
            kept: Some(self.kept.clone()),
            held: Claimed {
                files: self.held.files.clone(),
                claim: self.held.claim.clone(),
                held: self.held.held.clone(),
            },
        }
    }
}

impl std::fmt::Debug for AtRest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AtRest").field("name", &self.meta.name()).finish_non_exhaustive()
    }
}

/// The torrent that a record describes.
pub(super) fn described(record: &Record) -> Option<Arc<Torrent>> {
    match record.source.as_ref()? {
        Source::Torrent(bytes) => Torrent::parse(bytes).ok().map(Arc::new),
        Source::Magnet(_) => None,
    }
}
