//! What a storage made itself, so that it removes nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Paths relative to the root. A path comes before those beneath it.
#[derive(Debug, Default)]
pub(super) struct Made {
    paths: BTreeSet<PathBuf>,
    /// Folders with names in them that changed and are not durable yet.
    folders: BTreeSet<String>,
}

impl Made {
    /// What was made in earlier runs.
    pub(super) fn restored(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { paths: paths.into_iter().collect(), folders: BTreeSet::new() }
    }

    pub(super) fn paths(&self) -> impl DoubleEndedIterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }

    /// A file or folder was made.
    pub(super) fn note(&mut self, path: &str) {
        self.paths.insert(path.into());
        self.touch(path);
    }

    /// A file or folder is about to be made.
    pub(super) fn expect(&mut self, path: &str) {
        self.paths.insert(path.into());
    }

    /// A name came, went or changed.
    pub(super) fn touch(&mut self, path: &str) {
        self.folders.insert(path.rsplit_once('/').map_or("", |(folder, _)| folder).into());
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }

    /// It is not there any more. Whether it was ours.
    pub(super) fn forget(&mut self, path: &Path) -> bool {
        self.paths.remove(path)
    }

    /// The folders whose names are to be made durable; they count as durable then.
    pub(super) fn take_folders(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.folders)
    }

    /// Whether there are such.
    pub(super) fn has_folders(&self) -> bool {
        !self.folders.is_empty()
    }

    /// They are not durable after all.
    pub(super) fn put_back(&mut self, folders: impl IntoIterator<Item = String>) {
        self.folders.extend(folders);
    }
}
