//! Where the files of a torrent are just now.

use super::FileNames;
use super::beneath::Root;
use metainfo::Layout;
use metainfo::path::MAX_PART;
use rustix::fs::Stat;
use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

/// Held for reading by everything that touches files, and for writing by what changes where they are.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) root: Root,
    /// Where the files go, one by one, while the torrent is moved.
    pub(super) next: Option<Next>,
    pub(super) names: FileNames,
    /// What names of unfinished files end in.
    pub(super) suffix: Option<Box<str>>,
    /// For each file, whether it is kept in the part file: it is skipped and was not there.
    pub(super) parted: Box<[bool]>,
    /// For each file, whether it is not wanted, as was said last.
    pub(super) skipped: Box<[bool]>,
}

/// The goal of a move that is under way.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) root: Root,
    /// For each file, whether it is there already.
    pub(super) moved: Box<[bool]>,
}

impl Places {
    pub(super) fn is_in_parts(&self, index: usize) -> bool {
        self.parted.get(index) == Some(&true)
    }

    /// The folder that the file is beneath.
    pub(super) fn root_of(&self, index: usize) -> &Root {
        match &self.next {
            Some(next) if next.moved.get(index) == Some(&true) => &next.root,
            _ => &self.root,
        }
    }

    /// The path of a finished file beneath its root.
    pub(super) fn path<'a>(&'a self, layout: &'a Layout, index: usize) -> &'a str {
        self.names.path(layout, index)
    }

    /// The paths that the file may have: the one it is made with first.
    pub(super) fn paths<'a>(
        &'a self,
        layout: &'a Layout,
        index: usize,
    ) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        let path = self.path(layout, index);
        let is_empty = layout.files().get(index).is_none_or(|file| file.length == 0);
        let name = path.len() - path.rfind('/').map_or(0, |at| at + 1);
        let fits = |suffix: &&str| !is_empty && name + suffix.len() <= MAX_PART;
        let suffix = self.suffix.as_deref().filter(fits);
        suffix.map(|suffix| Cow::from(format!("{path}{suffix}"))).into_iter().chain([Cow::from(path)])
    }

    /// Calls `run` with the paths that the file may have, until one is there.
    pub(super) fn first<T>(
        &self,
        layout: &Layout,
        index: usize,
        mut run: impl FnMut(&Root, &str) -> io::Result<T>,
    ) -> io::Result<T> {
        let root = self.root_of(index);
        let mut last = Err(io::ErrorKind::NotFound.into());
        for path in self.paths(layout, index) {
            last = run(root, &path);
            if !last.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                break;
            }
        }
        last
    }

    /// The path of the file, if it is there, and what it is. What can have no such name is not there.
    pub(super) fn find(&self, layout: &Layout, index: usize) -> io::Result<(String, Stat)> {
        let found = self.first(layout, index, |root, path| Ok((path.to_owned(), root.stat_file(path)?)));
        found.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidFilename => io::ErrorKind::NotFound.into(),
            _ => error,
        })
    }

    /// As a person would name the file.
    pub(super) fn show(&self, layout: &Layout, index: usize) -> PathBuf {
        let path = self.paths(layout, index).next().unwrap_or_default();
        self.root_of(index).show(&path)
    }
}
