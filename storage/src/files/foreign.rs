//! Files that are in the place of the torrent's and may be somebody else's.

use super::beneath::{FOLDER, regular};
use super::opening::PLAIN;
use super::refusal::Refusal;
use super::{FileStorage, calls, sys};
use crate::{Operation, StorageError};
use metainfo::PieceRange;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Why a file is taken for somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// It is longer than the torrent's.
    Longer {
        /// Bytes of the torrent's.
        expected: u64,
        /// Bytes that are there.
        got: u64,
    },
    /// None of its pieces is there.
    OtherContent {
        /// How many pieces have bytes of it.
        pieces: u32,
    },
    /// It is too short for a piece of its own, and has another length than the torrent's.
    OtherLength {
        /// Bytes of the torrent's.
        expected: u64,
        /// Bytes that are there.
        got: u64,
    },
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it holds something else than the torrent's file: ")?;
        match self {
            Self::Longer { expected, got } | Self::OtherLength { expected, got } => {
                write!(f, "expected {expected} bytes, got {got}")
            }
            Self::OtherContent { pieces: 1 } => f.write_str("its piece is not in it"),
            Self::OtherContent { pieces } => write!(f, "none of its {pieces} pieces is in it"),
        }
    }
}

impl FileStorage {
    /// When the file that is there was made, in nanoseconds of Unix time; 0 when there is none, or its file system does not keep
    /// that. Together with its number on the file system it tells it from every other file that ever was there.
    pub fn file_birth(&self, index: usize) -> u64 {
        let birth = self.open_as_it_is(index).ok().and_then(|fd| sys::born(fd.as_fd()));
        birth.and_then(|born| u64::try_from(born).ok()).unwrap_or(0)
    }

    /// Whether the file that is there has bytes that could be missed: any that is not zero.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn holds_bytes(&self, index: usize) -> Result<bool, StorageError> {
        let holds = self.open_as_it_is(index).and_then(|fd| any_byte(&fd));
        holds.map_err(|cause| self.error_at(&self.places(), Operation::Read, index, None, cause))
    }

    /// The path of the file that is there, or that it would be made with.
    pub fn file_path(&self, index: usize) -> PathBuf {
        let places = self.places();
        match places.find(self.layout(), index) {
            Ok((path, _)) => places.root_of(index).show(&path),
            Err(_) => places.show(self.layout(), index),
        }
    }

    /// The error that says that a file is somebody else's.
    pub fn foreign_error(&self, index: usize, why: Foreign) -> StorageError {
        Refusal::Foreign(why).error(Operation::Write, self.file_path(index))
    }

    /// The names beneath its folder that the file may have: until it is complete, and then.
    pub fn possible_names(&self, index: usize) -> Vec<PathBuf> {
        let places = self.places();
        places.paths(self.layout(), index).map(|path| path.as_ref().into()).collect()
    }

    /// Nothing may be written to this file, which is somebody else's.
    pub fn forbid(&self, index: usize, why: Foreign) {
        self.forbidden.lock().unwrap_or_else(PoisonError::into_inner).insert(index, why);
        self.is_any_forbidden.store(true, Ordering::Release);
    }

    /// Refuses a write that would change a file that is somebody else's.
    pub(super) fn refuse_forbidden(&self, range: PieceRange) -> Result<(), StorageError> {
        if !self.is_any_forbidden.load(Ordering::Acquire) {
            return Ok(());
        }
        let forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        let mut segments = self.layout().segments(range).filter(|segment| !segment.pad);
        let found = segments.find_map(|segment| Some((segment.file, *forbidden.get(&segment.file)?)));
        found.map_or(Ok(()), |(index, why)| Err(self.foreign_error(index, why)))
    }

    /// A file that was made is somebody else's now, and not to be removed.
    pub fn disown(&self, index: usize) {
        let places = self.places();
        let paths = places.paths(self.layout(), index);
        paths.for_each(|path| {
            self.made().forget(path.as_ref().as_ref());
        });
    }

    /// A file was made by a run that was killed before it could tell, and so were the folders above it that were born in these
    /// times, in nanoseconds of Unix time.
    pub fn own_made(&self, index: usize, born: &RangeInclusive<u64>) {
        let places = self.places();
        let Ok((path, _)) = places.find(self.layout(), index) else { return };
        let root = places.root_of(index);
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            let birth = root.open_at(folder, FOLDER, Mode::empty()).ok().and_then(|fd| sys::born(fd.as_fd()));
            if birth.and_then(|birth| u64::try_from(birth).ok()).is_some_and(|birth| born.contains(&birth)) {
                self.made().note(folder);
            }
        }
        self.made().note(&path);
    }

    /// Whether it was made by this storage, in this run or one before.
    pub fn was_made(&self, index: usize) -> bool {
        let places = self.places();
        places.paths(self.layout(), index).any(|path| self.made().has(path.as_ref().as_ref()))
    }

    fn open_as_it_is(&self, index: usize) -> io::Result<OwnedFd> {
        let places = self.places();
        let opened = places.first(self.layout(), index, |root, path| {
            root.open_at(path, OFlags::RDONLY | PLAIN, Mode::empty())
        });
        let fd = opened?;
        regular(calls::stat(&fd)?)?;
        Ok(fd)
    }
}

/// Whether a file has a byte that is not zero. Holes are passed over without reading them.
fn any_byte(fd: &OwnedFd) -> io::Result<bool> {
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        match sys::next_data(fd.as_fd(), at) {
            Ok(next) => at = next,
            Err(Errno::NXIO) => return Ok(false),
            // It cannot tell where holes are.
            Err(_) => {}
        }
        let read = calls::read(buffer.len(), |len| {
            let len = len.min(buffer.len());
            rustix::io::pread(fd, buffer.split_at_mut(len).0, at)
        })?;
        let seen = buffer.split_at(read.min(buffer.len())).0;
        if seen.is_empty() || seen.iter().any(|byte| *byte != 0) {
            return Ok(!seen.is_empty());
        }
        at += seen.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_file_of_holes_and_zeros_holds_nothing_that_could_be_missed() {
        let dir = tempfile::tempdir().unwrap();
        // length, bytes written and where, whether that is anything
        let table: [(u64, &[u8], u64, bool); 6] = [
            (0, b"", 0, false),
            (3 << 20, b"", 0, false),
            (3 << 20, &[0; 5000], 1 << 20, false),
            (3 << 20, b"x", (3 << 20) - 1, true),
            (3 << 20, b"x", 0, true),
            (5, b"hello", 0, true),
        ];
        for (at, (len, bytes, offset, holds)) in table.into_iter().enumerate() {
            let path = dir.path().join(at.to_string());
            let file = File::create(&path).unwrap();
            file.set_len(len).unwrap();
            file.write_all_at(bytes, offset).unwrap();
            let file = File::open(&path).unwrap();
            assert_eq!(any_byte(&OwnedFd::from(file)).unwrap(), holds, "line {at}");
        }
    }
}
