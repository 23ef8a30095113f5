//! Bytes that are there already: found, and taken in without a download.

use super::{FileStorage, calls, copy};
use crate::{Operation, PieceHasher, StorageError};
use metainfo::Torrent;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// A file that may have the bytes of one of the torrent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Index of the torrent's file in the layout.
    pub file: usize,
    /// Where the other one is.
    pub path: PathBuf,
}

/// Files and folders that are looked at.
const ENTRIES: usize = 100_000;

/// Folders in folders that are looked into.
const DEPTH: usize = 32;

/// Pieces of a file that are hashed to find out whether it is the right one.
const SAMPLES: u32 = 4;

/// Looks beneath folders for files that are as long as files of the torrent and have, as a few pieces tell, the same content; where
/// no piece lies within the file, the same name. Follows no links, and looks at no more than 100,000 names. The first match of
/// each file counts. A check of the torrent tells later whether all of it is right.
pub fn find_existing(torrent: &Torrent, folders: &[PathBuf]) -> Vec<Existing> {
    let mut wanted: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, file) in torrent.layout().files().iter().enumerate() {
        if file.length > 0 && !file.is_pad() && !file.attributes.symlink {
            wanted.entry(file.length).or_default().push(index);
        }
    }
    let mut found = Vec::new();
    let mut left = ENTRIES;
    let mut todo: Vec<(PathBuf, usize)> = folders.iter().rev().map(|folder| (folder.clone(), 0)).collect();
    while let Some((folder, depth)) = todo.pop() {
        // What cannot be read has nothing to give.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if left == 0 || wanted.is_empty() {
                return found;
            }
            left -= 1;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && depth < DEPTH {
                todo.push((entry.path(), depth + 1));
            } else if meta.is_file()
                && let Some(files) = wanted.get_mut(&meta.len())
            {
                let path = entry.path();
                let fits = |index: &usize| is_likely(torrent, *index, &path).unwrap_or(false);
                found.extend(
                    files
                        .extract_if(.., |index| fits(index))
                        .map(|file| Existing { file, path: path.clone() }),
                );
                if files.is_empty() {
                    wanted.remove(&meta.len());
                }
            }
        }
    }
    found
}

/// Whether some pieces of the file match, or its name, where it has no piece of its own.
fn is_likely(torrent: &Torrent, index: usize, path: &Path) -> io::Result<bool> {
    let (layout, geometry) = (torrent.layout(), torrent.geometry());
    let Some((first, count)) = own_pieces(torrent, index) else {
        return Ok(path.file_name() == layout.files().get(index).map(|file| file.path.name().as_ref()));
    };
    let file = fs::File::open(path)?;
    let offset = layout.files()[index].offset;
    let mut samples: Vec<u32> = (0..SAMPLES).map(|at| first + at * (count - 1) / (SAMPLES - 1)).collect();
    samples.dedup();
    for piece in samples {
        let Ok(piece) = geometry.piece(piece) else { return Ok(false) };
        let mut bytes = vec![0; geometry.piece_len(piece) as usize];
        let here = usize::try_from(layout.files()[index].length).unwrap_or(usize::MAX);
        let at = geometry.piece_start(piece) - offset;
        // In the last piece of a hybrid torrent the rest is padding.
        let len = bytes.len().min(here.saturating_sub(usize::try_from(at).unwrap_or(usize::MAX)));
        file.read_exact_at(&mut bytes[..len], at)?;
        let check = torrent.piece_check(piece);
        let mut hasher = PieceHasher::all(&check);
        hasher.update(&bytes);
        if hasher.finish().matches(&check) != Some(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first piece that has bytes of this file only, pads aside, and how many there are.
fn own_pieces(torrent: &Torrent, index: usize) -> Option<(u32, u32)> {
    let layout = torrent.layout();
    let is_own = |piece: &u32| {
        let whole = torrent.geometry().piece(*piece).map(|piece| torrent.geometry().whole(piece));
        let mut segments = whole.into_iter().flat_map(|whole| layout.segments(whole));
        segments.all(|segment| segment.file == index || segment.pad)
    };
    let pieces = layout.file_pieces(index)?;
    let (first, last) = (*pieces.start(), *pieces.end());
    let first = if is_own(&first) { first } else { first + 1 };
    let last = if is_own(&last) { last } else { last.checked_sub(1)? };
    (first <= last).then(|| (first, last - first + 1))
}

/// How files are given to another folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LinkMode {
    /// Under a second name: no room, but whoever changes one changes both. Where that cannot be, as below.
    Hard,
    /// With shared bytes, where the file system can do that, so that each can be changed. Otherwise by a copy.
    #[default]
    Clone,
}

/// What came of giving files to another folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// Files that have a second name now, or had it before.
    pub linked: usize,
    /// Files that were cloned or copied.
    pub copied: usize,
}

impl FileStorage {
    /// Takes the content of another file for one of the torrent that is not there yet: shared where the file system can do
    /// that, otherwise by a copy. The other file is only read, and never changed later. Whether it was taken; it is not if the
    /// torrent's file is there.
    ///
    /// # Errors
    /// When the other file cannot be read or the new one not be written. Nothing is left of it then.
    pub fn adopt(&self, existing: &Existing) -> Result<bool, StorageError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.places_mut();
        let index = existing.file;
        match places.find(self.layout(), index) {
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound && index < self.layout().files().len() => {}
            Err(cause) => return Err(self.error_at(&places, Operation::Stat, index, None, cause)),
        }
        let root = places.root_of(index);
        root.check().map_err(|cause| Self::root_error(Operation::Open, root, cause))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | super::opening::PLAIN;
        let from = calls::open(CWD, &existing.path, flags, Mode::empty())
            .map_err(|errno| StorageError::new(Operation::Open, &existing.path, None, errno.into()))?;
        let path = places.paths(self.layout(), index).next().unwrap_or_default();
        let make = |name: &str| self.make_at(root, name, &path, index);
        self.copy_in(root, &path, &from, &existing.path, make)?;
        self.made().note(&path);
        self.deeds.made(index);
        self.mark_dirty(index);
        Ok(true)
    }

    /// Gives all files that are there to another folder as well, under their finished names. Files that are the same
    /// already stay as they are.
    ///
    /// # Errors
    /// When one cannot be given, also because another one has its name; those before it stay.
    pub fn link_to(&self, folder: &Path, mode: LinkMode) -> Result<Linked, StorageError> {
        fs::create_dir_all(folder)
            .map_err(|cause| StorageError::new(Operation::Create, folder, None, cause))?;
        let to = super::beneath::Root::open(folder)
            .map_err(|cause| StorageError::new(Operation::Open, folder, None, cause))?;
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.places();
        let mut outcome = Linked::default();
        for index in 0..self.layout().files().len() {
            let (old, stat) = match places.find(self.layout(), index) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => {
                    found.map_err(|cause| self.error_at(&places, Operation::Stat, index, None, cause))?
                }
            };
            let new = places.path(self.layout(), index);
            let failed = |operation| move |cause| StorageError::new(operation, folder.join(new), None, cause);
            if to.stat_name(new).is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino))
            {
                outcome.linked += 1;
                continue;
            }
            let root = places.root_of(index);
            to.make_folders(new, |_| ()).map_err(failed(Operation::Create))?;
            if mode == LinkMode::Hard {
                let linked = root.in_folder_of(&old, |from, old| {
                    to.in_folder_of(new, |to, new| Ok(calls::link(from, old, to, new)))
                });
                match linked.map_err(failed(Operation::Link))? {
                    Ok(()) => {
                        outcome.linked += 1;
                        continue;
                    }
                    Err(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS) => {}
                    Err(errno) => return Err(failed(Operation::Link)(errno.into())),
                }
            }
            let from = root
                .open_at(&old, OFlags::RDONLY | super::opening::PLAIN, Mode::empty())
                .map_err(|cause| self.error_at(&places, Operation::Open, index, None, cause))?;
            let make = |name: &str| self.make_at(&to, name, new, index);
            self.copy_in(&to, new, &from, &root.show(&old), make)?;
            outcome.copied += 1;
        }
        Ok(outcome)
    }

    /// Copies a file under a name of its own, and gives it the right one when it is whole.
    fn copy_in(
        &self,
        root: &super::beneath::Root,
        path: &str,
        from: &OwnedFd,
        source: &Path,
        make: impl Fn(&str) -> io::Result<OwnedFd>,
    ) -> Result<(), StorageError> {
        let goal = |operation, cause| StorageError::new(operation, root.show(path), None, cause);
        let scratch = self.scratch_name(path);
        // What an attempt left behind that was killed, and what this one leaves if it fails.
        let remove =
            || root.in_folder_of(&scratch, |folder, name| Ok(calls::remove_file(folder, name)?)).is_ok();
        remove();
        let copied = make(&scratch).map_err(|cause| goal(Operation::Create, cause)).and_then(|to| {
            copy::contents(from.as_fd(), to.as_fd(), &mut |_| true).map_err(
                |copy::Failed { operation, cause }| match operation {
                    Operation::Read => StorageError::new(operation, source, None, cause),
                    operation => goal(operation, cause),
                },
            )
        });
        let named = copied.and_then(|_| {
            super::relocate::rename(root, &scratch, root, path)
                .map_err(|cause| goal(Operation::Rename, cause))
        });
        if named.is_err() {
            remove();
        }
        named
    }
}
