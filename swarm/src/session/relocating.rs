//! Moving and renaming the files of a torrent while it runs.
//!
//! What is to be done is recorded before, and what came of it after, so that the next run finds every file after a crash
//! in between, and goes on.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metainfo::Torrent as Meta;
use storage::record::{Lease, StoreError};
use storage::{FileStorage, MoveOptions, Moved, Operation, Progress, RootId, StorageError};

use super::claims::{Claim, Claimed, Taken, paths};
use super::event::Event;
use super::files_error::FilesError;
use super::finishing::Finish;
use super::magnet;
use super::persist::{self, Kept};
use super::torrent::Torrent;

/// Between two words on how a move goes.
const PACE: Duration = Duration::from_millis(250);

impl Torrent {
    /// Moves its files to another folder, which is made if it is not there; peers are served meanwhile. A move that was
    /// stopped, also by the end of the session or a crash, goes on when the torrent is added again; naming the old folder
    /// moves back what was moved. Dropping the future does not stop it.
    ///
    /// While the torrent is only known by a magnet, its files will go there; another torrent that has one of the paths refuses
    /// it then. While its files are being opened, this waits for that.
    ///
    /// # Errors
    /// When another torrent has one of the paths, or a file of somebody else is there: then nothing is moved. When the file
    /// system refuses in the middle, what was moved stays moved, and the call can be repeated.
    pub async fn move_to(&self, dir: impl Into<PathBuf>) -> Result<Moved, FilesError> {
        let (dir, torrent) = (dir.into(), self.clone());
        self.open().await?;
        if magnet::place(&self.link, self.id(), dir.clone()).await? {
            return Ok(Moved { is_whole: true, ..Moved::default() });
        }
        self.change(move |change| torrent.move_now(change, dir)).await
    }

    /// Moves its files, tells how it goes, and that it is done. Blocks.
    pub(super) fn move_now(&self, change: &Change<'_>, dir: PathBuf) -> Result<Moved, FilesError> {
        let (torrent, told) = (self.id(), Mutex::new(None::<Instant>));
        let progress = |Progress { done, total }| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_none_or(|at| at.elapsed() >= PACE) {
                *told = Some(Instant::now());
                self.link.tell(Event::Moving { torrent, done, total });
            }
        };
        let (to, moved) = change.relocate(dir, &progress)?;
        self.link.tell(Event::Moved { torrent, to });
        Ok(moved)
    }

    /// Gives a file, by its index in the torrent's layout, another path beneath the torrent's folder, and tells it after it
    /// was cleaned as paths in torrents are. While the torrent is only known by a magnet that is kept for later; if it has no such
    /// file then, or another one of that name, it is refused.
    ///
    /// # Errors
    /// When nothing usable is left of the path, or it is taken, or the file system refuses: then nothing is renamed.
    pub async fn rename_file(&self, index: usize, path: impl Into<String>) -> Result<String, FilesError> {
        let path = path.into();
        self.open().await?;
        if let Some(path) = magnet::rename(&self.link, self.id(), index, &path).await? {
            return Ok(path);
        }
        self.change(move |change| change.rename(index, &path)).await
    }

    /// Where a move goes that is under way, or that an earlier run had begun. Not one that is due when the torrent is complete.
    pub(super) fn pending_move(&self) -> Option<PathBuf> {
        self.moving_to().filter(|to| !self.is_finished_in(to))
    }

    fn moving_to(&self) -> Option<PathBuf> {
        self.entry.identity.files()?.files.upgrade()?.moving_to()
    }

    fn is_finished_in(&self, to: &Path) -> bool {
        self.entry.identity.finish().is_some_and(|finish| finish.is_away() && finish.home() == to)
    }

    /// Goes on with a move that an earlier run had begun.
    pub(super) fn go_on_moving(&self) {
        let Some(to) = self.moving_to() else { return };
        if self.is_finished_in(&to) {
            // It goes on when all that is wanted is there.
            return self.link.finisher.due(self.id());
        }
        let torrent = self.clone();
        tokio::spawn(async move {
            if let Err(error) = torrent.end_move().await
                && error != FilesError::Cancelled
            {
                tracing::warn!(%error, "a torrent lies in two folders");
                torrent.link.tell(Event::MoveFailed { torrent: torrent.id(), error });
            }
        });
    }

    /// Brings a pending move to its end, if nobody else did meanwhile.
    pub(super) async fn end_move(&self) -> Result<(), FilesError> {
        if self.pending_move().is_none() {
            return Ok(());
        }
        let torrent = self.clone();
        self.change(move |change| match torrent.pending_move() {
            Some(to) => torrent.move_now(change, to).map(drop),
            None => Ok(()),
        })
        .await
    }

    /// Changes something about its files, on a thread that may block.
    pub(super) async fn change<R: Send + 'static>(
        &self,
        run: impl FnOnce(&Change<'_>) -> Result<R, FilesError> + Send + 'static,
    ) -> Result<R, FilesError> {
        let identity = self.entry.identity.clone();
        if !identity.until_open().await {
            return Err(FilesError::NotOpen);
        }
        let (Some(meta), Some(held)) =
            (identity.meta().cloned(), identity.files().and_then(super::identity::Place::hold))
        else {
            return Err(FilesError::NotOpen);
        };
        let changed = tokio::task::spawn_blocking(move || {
            let _alone = identity.changing();
            let (cancel, finish, kept) = (identity.given_up(), identity.finish(), identity.kept());
            run(&Change { meta, cancel, finish, kept, held })
        });
        changed.await.map_err(|_| FilesError::Cancelled)?
    }
}

/// A change of where files are. All of it blocks.
pub(super) struct Change<'a> {
    pub(super) meta: Arc<Meta>,
    /// Set to stop it.
    pub(super) cancel: &'a AtomicBool,
    pub(super) finish: Option<Arc<Finish>>,
    pub(super) kept: Option<Arc<Kept>>,
    pub(super) held: Claimed,
}

impl Change<'_> {
    pub(super) fn relocate(
        &self,
        dir: PathBuf,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(PathBuf, Moved), FilesError> {
        let files = &self.held.files;
        let made = std::fs::create_dir_all(&dir).and_then(|()| persist::place(&dir));
        let goal = made.map_err(|cause| StorageError::new(Operation::Create, dir, None, cause))?;
        let lease = self.begin(&goal).inspect_err(|_| self.keep_claims())?;
        let options = MoveOptions { cancel: Some(self.cancel), progress: Some(progress) };
        match files.relocate(&goal, &options) {
            Ok(moved) if moved.is_whole => {
                if let Some(finish) = &self.finish {
                    finish.placed(&goal);
                }
                self.keep_claims();
                if let Some(kept) = &self.kept {
                    kept.moved(&goal, lease)?;
                }
                Ok((goal, moved))
            }
            // The record says where it is to go on.
            Ok(_) => Err(FilesError::Cancelled),
            Err(error) => {
                if files.moving_to().is_none() {
                    self.keep_claims();
                    self.amend(|state| state.moving_to = None)?;
                }
                Err(error.into())
            }
        }
    }

    /// Takes the paths and the record in the new folder, and records that files go there.
    fn begin(&self, goal: &Path) -> Result<Option<Lease>, FilesError> {
        let (files, claim) = self.parts();
        claim.add(paths(goal, files, &self.meta)).map_err(taken)?;
        let Some(kept) = &self.kept else { return Ok(None) };
        let lease = kept.lease(goal)?;
        // Back to where it came from: what was moved is to be found there.
        let is_home = persist::place(&files.root()).is_ok_and(|root| root == goal);
        let to = if is_home { files.moving_to() } else { Some(goal.to_owned()) };
        // Another folder in its place, as when a disk is not mounted, is not to be taken for it later.
        let identity = to.as_deref().and_then(|to| RootId::of(to).ok()).map(Into::into);
        files.expect_folders(goal)?;
        kept.amend(|state| {
            (state.moving_to, state.goal) = (to, identity);
            state.created = files.created();
        })?;
        Ok(lease)
    }

    pub(super) fn rename(&self, index: usize, wanted: &str) -> Result<String, FilesError> {
        let (files, claim) = self.parts();
        let count = self.meta.layout().files().len();
        if index >= count {
            return Err(FilesError::NoSuchFile { index, files: count });
        }
        let usable = files.names().usable(self.meta.layout(), index, wanted);
        let usable = usable.map_err(|cause| StorageError::new(Operation::Rename, wanted, None, cause))?;
        let canonical = |root: PathBuf| std::fs::canonicalize(&root).unwrap_or(root);
        claim.add(self.roots().map(|root| canonical(root).join(&usable))).map_err(taken)?;
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let mut created = files.created();
        created.extend(files.folders_of(&usable)?);
        self.amend(|state| {
            state.renaming = vec![(number, PathBuf::from(&usable))];
            state.created = created;
        })?;
        let renamed = files.rename_file(index, wanted);
        self.keep_claims();
        self.amend(|state| {
            state.renaming.clear();
            state.choices.names = persist::names(files);
            state.created = files.created();
        })?;
        Ok(renamed?)
    }

    pub(super) fn amend(&self, amend: impl FnOnce(&mut storage::record::State)) -> Result<(), StoreError> {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.amend(amend))
    }

    /// Gives up claims to paths where nothing is, or comes, any more.
    fn keep_claims(&self) {
        let (files, claim) = self.parts();
        claim.keep(self.roots().flat_map(|root| paths(&root, files, &self.meta)));
    }

    fn roots(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let home = self.finish.as_ref().map(|finish| finish.home());
        [Some(self.held.files.root()), self.held.files.moving_to(), home].into_iter().flatten()
    }

    fn parts(&self) -> (&FileStorage, &Claim) {
        (&self.held.files, &self.held.claim)
    }
}

fn taken(Taken { path, by }: Taken) -> FilesError {
    FilesError::PathTaken { path, by }
}
