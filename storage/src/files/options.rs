//! How files are kept.

use super::{FileNames, OpenFiles};
use crate::Allocation;
use std::path::PathBuf;
use std::sync::Arc;

/// How files are kept.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// When files take room.
    pub allocation: Allocation,
    /// Where open files are kept. Several storages may share it.
    pub open_files: Arc<OpenFiles>,
    /// What was made in earlier runs, as [`FileStorage::created`](super::FileStorage::created) told it.
    pub created: Vec<PathBuf>,
    /// The names that the user chose, as [`FileStorage::names`](super::FileStorage::names) told them.
    pub names: FileNames,
    /// Renames that were asked for and may or may not have been done when the last run ended.
    pub renaming: Vec<(usize, String)>,
    /// Where the files were being moved to when the last run ended, as
    /// [`FileStorage::moving_to`](super::FileStorage::moving_to) tells it.
    pub moving_to: Option<PathBuf>,
    /// What the names of files end in until [`FileStorage::finish_file`](super::FileStorage::finish_file). Of no effect when
    /// it is none ([`is_suffix`](super::is_suffix)), or when a file of the torrent has a name that ends so.
    pub suffix: Option<String>,
    /// What was made durable is dropped from the system's memory, so that it is read from the disk next.
    pub uncached: bool,
    /// Files that are not wanted, by index; see [`FileStorage::set_skipped`](super::FileStorage::set_skipped).
    pub skipped: Vec<usize>,
}

impl Default for FileOptions {
    /// Sparse, with at most 64 files open, and nothing made yet.
    fn default() -> Self {
        Self {
            allocation: Allocation::default(),
            open_files: Arc::new(OpenFiles::new(64)),
            created: Vec::new(),
            names: FileNames::default(),
            renaming: Vec::new(),
            moving_to: None,
            suffix: None,
            uncached: false,
            skipped: Vec::new(),
        }
    }
}
