//! Where the files of a torrent are just now.

use super::beneath::Root;
use metainfo::Layout;
use std::path::PathBuf;

/// Held for reading by everything that touches files, and for writing by what changes where they are.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) root: Root,
}

impl Places {
    pub(super) fn new(root: Root) -> Self {
        Self { root }
    }

    /// The folder that the file is beneath.
    pub(super) fn root_of(&self, _index: usize) -> &Root {
        &self.root
    }

    /// The path of a file beneath its root.
    pub(super) fn path<'a>(&'a self, layout: &'a Layout, index: usize) -> &'a str {
        layout.files().get(index).map_or("", |file| file.path.as_str())
    }

    /// As a person would name the file.
    pub(super) fn show(&self, layout: &Layout, index: usize) -> PathBuf {
        self.root_of(index).show(self.path(layout, index))
    }
}
