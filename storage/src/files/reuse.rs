//! Bytes that are there already: found, and taken in without a download.

use super::giving::{Source, Way};
use super::{FileStorage, calls};
use crate::{Hashes, LinkMode, Operation, PieceHasher, StorageError};
use metainfo::Torrent;
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::HashMap;
use std::fs;
use std::io;
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

/// Bytes that are read at a time.
const STEP: usize = 1 << 20;

/// Looks at files, and beneath folders, for files that are as long as files of the torrent and have, as a few pieces tell, the same content; where
/// no piece lies within the file, the same name. Follows no links, and looks at no more than 100,000 names. The first match of
/// each file counts. A check of the torrent tells later whether all of it is right.
pub fn find_existing(torrent: &Torrent, places: &[PathBuf]) -> Vec<Existing> {
    let mut wanted: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, file) in torrent.layout().files().iter().enumerate() {
        if file.length > 0 && !file.is_pad() && !file.attributes.symlink {
            wanted.entry(file.length).or_default().push(index);
        }
    }
    let mut found = Vec::new();
    let mut left = ENTRIES;
    let mut todo: Vec<(PathBuf, usize)> = places.iter().rev().map(|place| (place.clone(), 0)).collect();
    while let Some((path, depth)) = todo.pop() {
        if left == 0 || wanted.is_empty() {
            break;
        }
        left -= 1;
        // What cannot be looked at has nothing to give. Links are not followed, but for those that were named.
        let looked = if depth == 0 { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let Ok(meta) = looked else { continue };
        if meta.is_dir() && depth <= DEPTH {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten().take(left);
            let mut entries: Vec<_> = entries.map(|entry| (entry.path(), depth + 1)).collect();
            // What is found does not depend on the order in which the file system names it.
            entries.sort_unstable_by(|one, other| other.cmp(one));
            todo.append(&mut entries);
        } else if meta.is_file()
            && let Some(files) = wanted.get_mut(&meta.len())
        {
            let fits = |index: &usize| is_likely(torrent, *index, &path).unwrap_or(false);
            let taken = files.extract_if(.., |index| fits(index));
            found.extend(taken.map(|file| Existing { file, path: path.clone() }));
            if files.is_empty() {
                wanted.remove(&meta.len());
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
    let mut bytes = vec![0; STEP];
    for piece in samples {
        let Ok(piece) = geometry.piece(piece) else { return Ok(false) };
        let start = geometry.piece_start(piece) - offset;
        let (mut at, end) = (start, start + u64::from(geometry.piece_len(piece)));
        let length = layout.files()[index].length;
        let check = torrent.piece_check(piece);
        let mut hasher = PieceHasher::all(&check);
        while at < end {
            let step = usize::try_from(end - at).unwrap_or(STEP).min(STEP);
            let here = usize::try_from(length.saturating_sub(at)).unwrap_or(STEP).min(step);
            file.read_exact_at(&mut bytes[..here], at)?;
            // In the last piece of a hybrid torrent the rest is padding.
            bytes[here..step].fill(0);
            hasher.update(&bytes[..step]);
            at += step as u64;
        }
        if hasher.finish().compare(&check) != Some(Hashes::Match) {
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

impl FileStorage {
    /// Takes the content of another file for one of the torrent that is not there yet, in the ways that the mode says and, in
    /// [`LinkMode::Auto`], as a copy at last. The other file is only read, and never changed later. Whether it was taken; it is
    /// not if the torrent's file is there.
    ///
    /// # Errors
    /// When the other file cannot be read or the new one not be made so. Nothing is left of it then.
    pub fn adopt(&self, existing: &Existing, mode: LinkMode) -> Result<bool, StorageError> {
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
        let bytes = calls::open(CWD, &existing.path, flags, Mode::empty())
            .map_err(|errno| StorageError::new(Operation::Open, &existing.path, None, errno.into()))?;
        let from = Source { bytes, folder: CWD, name: &existing.path, shown: &existing.path };
        let path = places.paths(self.layout(), index).next().unwrap_or_default();
        let ways = match mode {
            LinkMode::Auto => &[Way::Clone, Way::Link, Way::Copy][..],
            mode => Way::of(mode),
        };
        root.make_folders(&path, |folder| self.made().note(folder))
            .map_err(|cause| self.error_at(&places, Operation::Create, index, None, cause))?;
        self.give(&from, root, &path, index, ways)?;
        self.made().note(&path);
        self.deeds.made(index);
        self.sole.forget(index);
        self.watch.forget(index);
        self.mark_dirty(index);
        Ok(true)
    }
}
