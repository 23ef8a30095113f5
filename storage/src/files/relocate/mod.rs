//! Moving a torrent to another folder while it is served.
//!
//! Files go one by one. On the same file system they are renamed; on another one each is copied under a name of its own,
//! made durable, compared in length, given its right name, and only then removed at its old place. So there is at every
//! moment one complete copy of each file, and whoever reads or writes finds it: [`Places`] knows which file is where. What is
//! written to a file while it is copied makes the copy void, and it is made again.
//!
//! A move that was interrupted is resumed by naming the same folder again, or undone by naming the old one. The record keeps
//! both folders until the move is over ([`FileOptions::moving_to`](super::FileOptions::moving_to)).

mod by_copy;

use super::beneath::Root;
use super::places::{Next, Places};
use super::remove::Removed;
use super::stamps::is_absent;
use super::{FileStorage, calls, copy};
use crate::{Operation, Progress, StorageError};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a move is watched and stopped.
#[derive(Clone, Copy, Default)]
pub struct MoveOptions<'a> {
    /// Set it to stop early; the torrent then lies in both folders, and is complete.
    pub cancel: Option<&'a AtomicBool>,
    /// Told how many bytes were copied; bytes of files that are only renamed do not count. It must not use the storage.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl fmt::Debug for MoveOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoveOptions").field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

/// What came of a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Whether all is in the new folder. If not, it was stopped.
    pub is_whole: bool,
    /// Files that were renamed or copied.
    pub files: usize,
    /// Bytes that were copied.
    pub copied: u64,
    /// Files whose old copy could not be removed.
    pub left_behind: Vec<PathBuf>,
}

impl FileStorage {
    /// The folder to which a move is under way, that was begun and did not come to its end.
    pub fn moving_to(&self) -> Option<PathBuf> {
        self.places().next.as_ref().map(|next| next.root.path().to_path_buf())
    }

    /// Moves all files beneath another folder, which is made if it is not there. Files may be read and written
    /// meanwhile. Naming the same folder by another spelling moves nothing. Blocks.
    ///
    /// # Errors
    /// When something could not be done; what was moved stays moved, and the call may be repeated. Nothing at all is moved
    /// when a file of somebody else is in the way ([`Trouble::Exists`](crate::Trouble::Exists)) or the room would not do.
    pub fn relocate(&self, to: &Path, options: &MoveOptions<'_>) -> Result<Moved, StorageError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut moved = Moved::default();
        let Some(total) = self.begin_move(to)? else { return Ok(Moved { is_whole: true, ..moved }) };
        let is_cancelled = || options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
        for index in 0..self.layout().files().len() {
            if is_cancelled() {
                return Ok(moved);
            }
            let Some(path) = self.move_by_name(index, &mut moved)? else { continue };
            let mut on = |bytes| {
                moved.copied += bytes;
                if let Some(progress) = options.progress {
                    progress(Progress { done: moved.copied.min(total), total });
                }
                !is_cancelled()
            };
            match self.copy_over(index, &path, &mut on)? {
                None => return Ok(moved),
                Some(left_behind) => moved.left_behind.extend(left_behind),
            }
            moved.files += 1;
        }
        self.end_move()?;
        Ok(Moved { is_whole: true, ..moved })
    }

    /// Takes the folders that a move would make for such as it made, so that a record that is written before it begins knows
    /// them. Those that are there are not.
    ///
    /// # Errors
    /// When the folder to move to cannot be looked into.
    pub fn expect_folders(&self, to: &Path) -> Result<(), StorageError> {
        let root = Root::open(to).map_err(|cause| StorageError::new(Operation::Open, to, None, cause))?;
        let places = self.places();
        if places.root.is_same(&root) {
            return Ok(());
        }
        let stored = self.layout().files().iter().enumerate().filter(|(_, file)| !file.is_pad());
        let paths = stored.map(|(index, _)| places.path(self.layout(), index));
        let folders = folders_to_make(&root, paths)?;
        folders.into_iter().for_each(|folder| self.made().expect(folder));
        Ok(())
    }

    /// The folders that a rename of a file to this path would make: a record that is written before it knows them then, besides
    /// those of [`FileStorage::created`].
    ///
    /// # Errors
    /// When the folder of the torrent cannot be looked into.
    pub fn folders_of(&self, path: &str) -> Result<Vec<PathBuf>, StorageError> {
        let folders = folders_to_make(&self.places().root, [path].into_iter())?;
        Ok(folders.into_iter().map(PathBuf::from).collect())
    }

    /// Whether a move is under way and the file is where it goes.
    pub fn is_moved(&self, index: usize) -> bool {
        self.places().next.as_ref().is_some_and(|next| next.moved.get(index).copied().unwrap_or(false))
    }

    /// Finds out how far a move came that was interrupted.
    ///
    /// # Errors
    /// When the goal is there and cannot be opened: it may hold files that are not to be taken for missing.
    pub(super) fn settle_move(&self, to: Option<&Path>) -> Result<(), StorageError> {
        let Some(to) = to else { return Ok(()) };
        let root = match Root::open(to) {
            Err(error) if is_absent(&error) => return Ok(()),
            root => root.map_err(|cause| StorageError::new(Operation::Open, to, None, cause))?,
        };
        let mut places = self.places_mut();
        if !places.root.is_same(&root) {
            // What is in both places is complete in the old one. What is in neither has not begun. What cannot be looked at
            // counts as there, so that nothing is made in its stead.
            let may_be_there =
                |places: &Places, at| !places.find(self.layout(), at).is_err_and(|error| is_absent(&error));
            let files = 0..self.layout().files().len();
            let home: Vec<bool> = files.map(|at| may_be_there(&places, at)).collect();
            let moved = home.iter().map(|_| true).collect();
            places.next = Some(Next { root, moved });
            let moved: Box<[bool]> =
                home.iter().enumerate().map(|(at, is_home)| !is_home && may_be_there(&places, at)).collect();
            // That their names are durable was to be seen to at the end of the move.
            for index in (0..moved.len()).filter(|index| moved[*index]) {
                if let Ok((path, _)) = places.find(self.layout(), index) {
                    self.made().touch(&path);
                }
            }
            if let Some(next) = &mut places.next {
                next.moved = moved;
            }
        }
        Ok(())
    }

    /// Gives the bytes that lie at the old place, or nothing when that is the new place too.
    fn begin_move(&self, to: &Path) -> Result<Option<u64>, StorageError> {
        Root::make(to).map_err(|cause| StorageError::new(Operation::Create, to, None, cause))?;
        let root = Root::open(to).map_err(|cause| StorageError::new(Operation::Open, to, None, cause))?;
        let mut places = self.places_mut();
        places.root.check().map_err(|cause| Self::root_error(Operation::Open, &places.root, cause))?;
        let is_home = places.root.is_same(&root);
        self.hold_goal(&places, &root)?;
        match places.next.take() {
            None if is_home => {
                root.keep_marker_of(&places.root);
                places.root = root;
                return Ok(None);
            }
            None => {
                let total = self.room_for_move(&places, &root)?;
                let moved = self.layout().files().iter().map(|_| false).collect();
                places.next = Some(Next { root, moved });
                return Ok(Some(total));
            }
            Some(next) if is_home => {
                // Back to where it came from.
                let moved = next.moved.iter().map(|moved| !moved).collect();
                places.root = next.root;
                places.next = Some(Next { root, moved });
            }
            Some(next) => {
                let is_same = next.root.is_same(&root);
                let goal = next.root.path().to_path_buf();
                places.next = Some(next);
                if !is_same {
                    let cause = io::Error::new(io::ErrorKind::InvalidInput, "another move is not finished");
                    return Err(StorageError::new(Operation::Rename, goal, None, cause));
                }
            }
        }
        self.bytes_at_home(&places).map(Some)
    }

    fn bytes_at_home(&self, places: &Places) -> Result<u64, StorageError> {
        let mut total = 0;
        for index in 0..self.layout().files().len() {
            if places.next.as_ref().is_none_or(|next| !next.moved[index]) {
                match places.find(self.layout(), index) {
                    Ok((_, stat)) => total += len(&stat),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(cause) => return Err(self.error_at(places, Operation::Stat, index, None, cause)),
                }
            }
        }
        Ok(total)
    }

    /// Whether nothing is in the way and the room will do; the bytes to be moved.
    fn room_for_move(&self, places: &Places, to: &Root) -> Result<u64, StorageError> {
        for index in 0..self.layout().files().len() {
            let Ok((_, from)) = places.find(self.layout(), index) else { continue };
            for path in places.paths(self.layout(), index) {
                match to.stat_name(&path) {
                    Ok(there) if is_same(&there, &from) => {}
                    Ok(_) => {
                        let cause = Errno::EXIST.into();
                        return Err(StorageError::new(Operation::Rename, to.show(&path), None, cause));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(cause) => {
                        return Err(StorageError::new(Operation::Stat, to.show(&path), None, cause));
                    }
                }
            }
        }
        let total = self.bytes_at_home(places)?;
        if to.device() != places.root.device() {
            let free = to.free_space().map_err(|cause| Self::root_error(Operation::Stat, to, cause))?;
            if free < self.room_taken(places) {
                return Err(Self::root_error(Operation::Allocate, to, Errno::NOSPC.into()));
            }
        }
        Ok(total)
    }

    /// Bytes of room that the files take, holes left out.
    fn room_taken(&self, places: &Places) -> u64 {
        let files = 0..self.layout().files().len();
        let found = files.filter_map(|index| places.find(self.layout(), index).ok());
        found.map(|(_, stat)| len(&stat).min(u64::try_from(stat.st_blocks).unwrap_or(0) * 512)).sum()
    }

    /// Moves a file if that takes no copying. Otherwise gives its path.
    fn move_by_name(&self, index: usize, moved: &mut Moved) -> Result<Option<String>, StorageError> {
        let mut places = self.places_mut();
        let found = places.find(self.layout(), index);
        let failed = |operation, cause| self.error_at(&places, operation, index, None, cause);
        let (path, from) = match found {
            Ok(found) => found,
            // What is made from now on is made at the new place.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(mark(&mut places, index));
            }
            Err(cause) => return Err(failed(Operation::Stat, cause)),
        };
        let Some(next) = places.next.as_ref().filter(|next| !next.moved[index]) else { return Ok(None) };
        let goal = |operation, cause| StorageError::new(operation, next.root.show(&path), None, cause);
        match next.root.stat_name(&path) {
            Ok(there) if is_same(&there, &from) => return Ok(mark(&mut places, index)),
            Ok(there) => {
                // The move was interrupted after the copy was whole.
                let both = open(&places.root, &path).and_then(|old| Ok((old, open(&next.root, &path)?)));
                let (old, to) = both.map_err(|cause| goal(Operation::Open, cause))?;
                let is_copy = copy::is_equal(old.as_fd(), to.as_fd());
                if !is_copy.map_err(|cause| goal(Operation::Read, cause))? {
                    return Err(goal(Operation::Rename, Errno::EXIST.into()));
                }
                // Perhaps it was interrupted before that was durable.
                let synced = calls::sync(&to).map_err(io::Error::from);
                synced
                    .and_then(|()| sync_names(&next.root, &path))
                    .map_err(|cause| goal(Operation::Sync, cause))?;
                moved.left_behind.extend(self.drop_source(&places.root, &path));
                self.deeds.moved(index, places.root.lasting(from), next.root.lasting(there));
                moved.files += 1;
                self.open_files.close((self.owner, index));
                self.watch.forget(index);
                return Ok(mark(&mut places, index));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(goal(Operation::Stat, cause)),
        }
        next.root
            .make_folders(&path, |folder| self.made().note(folder))
            .map_err(|cause| goal(Operation::Create, cause))?;
        self.hold_goal(&places, &next.root)?;
        match rename(&places.root, &path, &next.root, &path) {
            Ok(()) => {
                self.made().touch(&path);
                // On some file systems a file gets another number with another name.
                if let Ok(to) = next.root.stat_file(&path) {
                    self.deeds.moved(index, places.root.lasting(from), next.root.lasting(to));
                }
                moved.files += 1;
                Ok(mark(&mut places, index))
            }
            Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => Ok(Some(path)),
            Err(cause) => Err(goal(Operation::Rename, cause)),
        }
    }

    /// All files are in the new folder.
    fn end_move(&self) -> Result<(), StorageError> {
        let mut places = self.places_mut();
        self.move_parts(&places)?;
        self.note_parts_moved();
        let Some(next) = places.next.take() else { return Ok(()) };
        let old = std::mem::replace(&mut places.root, next.root);
        // Also what a move that was killed left of its copies. What cannot be removed now goes with the torrent.
        for root in [&old, &places.root] {
            self.drop_scratches(&places, root, &mut Removed::default());
        }
        let mut made = self.made();
        let all: Vec<PathBuf> = made.paths().map(Path::to_path_buf).collect();
        for path in all.iter().rev().filter_map(|path| path.to_str()) {
            // Folders that are not empty stay, and so does what is no folder.
            let _ = old.in_folder_of(path, |folder, name| Ok(calls::remove_folder(folder, name)?));
            if matches!(places.root.stat_name(path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
                made.forget(Path::new(path));
            }
        }
        let folders = made.take_folders();
        drop(made);
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(old);
        // All of it is ours already but files that were copied; who may have taken one of those meanwhile will be told.
        let _ = self.hold_all(&places);
        self.sync_folders(&places, folders)
    }
}

/// The folders on the way to these paths that are not there.
fn folders_to_make<'a>(
    root: &Root,
    paths: impl Iterator<Item = &'a str>,
) -> Result<BTreeSet<&'a str>, StorageError> {
    let all: BTreeSet<&str> =
        paths.flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end])).collect();
    let mut missing = BTreeSet::new();
    for folder in all {
        match root.stat_name(folder) {
            Ok(_) => {}
            Err(error) if is_absent(&error) => {
                missing.insert(folder);
            }
            Err(cause) => return Err(StorageError::new(Operation::Stat, root.show(folder), None, cause)),
        }
    }
    Ok(missing)
}

/// Says that the file is at its new place.
fn mark(places: &mut Places, index: usize) -> Option<String> {
    if let Some(next) = &mut places.next {
        next.moved[index] = true;
    }
    None
}

/// Makes the name of a file durable, and those of all folders on the way.
pub(super) fn sync_names(root: &Root, path: &str) -> io::Result<()> {
    let folders = path.rmatch_indices('/').map(|(end, _)| &path[..end]).chain([""]);
    folders.into_iter().try_for_each(|folder| root.sync_folder(folder))
}

fn open(root: &Root, path: &str) -> io::Result<OwnedFd> {
    root.open_at(path, OFlags::RDONLY | super::opening::PLAIN, Mode::empty())
}

/// Renames a file, but not over another.
pub(super) fn rename(from: &Root, old: &str, to: &Root, new: &str) -> io::Result<()> {
    from.in_folder_of(old, |old_folder, old| {
        to.in_folder_of(new, |new_folder, new| Ok(calls::rename(old_folder, old, new_folder, new)?))
    })
}

/// Renames a file over whatever has the name.
pub(super) fn rename_over(root: &Root, old: &str, new: &str) -> io::Result<()> {
    root.in_folder_of(old, |old_folder, old| {
        root.in_folder_of(new, |new_folder, new| Ok(calls::rename_over(old_folder, old, new_folder, new)?))
    })
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn len(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
