//! Files that are not wanted: they are not made, and what comes of them with their neighbours goes to the part file.

use super::beneath::Root;
use super::parts::Parts;
use super::places::Places;
use super::scratch::Purpose;
use super::slices::{Reading, Writing};
use super::stamps::is_absent;
use super::{FileStorage, Stamp, calls, copy};
use crate::{Operation, StorageError};
use metainfo::{File, Segment};
use rustix::fs::{Mode, OFlags, Stat};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

/// Bytes that are copied at a time.
const STEP: u64 = 1 << 20;

impl FileStorage {
    /// Says which files are not wanted, by index; all others are. A skipped file that is not there is not made. One that is
    /// wanted again gets what the part file has of it; that waits for a move that is under way, and skipping does not.
    ///
    /// # Errors
    /// When what the part file has of a file could not be moved into it. The file then stays with the part file.
    pub fn set_skipped(&self, skipped: &[usize]) -> Result<(), StorageError> {
        if !self.skip(skipped) {
            return Ok(());
        }
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = self.places_mut();
        let mut result = Ok(());
        for index in 0..places.parted.len() {
            // Somebody may have chosen again meanwhile: what was said last counts.
            if !places.is_in_parts(index) || places.skipped[index] {
                continue;
            }
            match self.fold_in(&mut places, index) {
                Ok(()) => {
                    places.parted[index] = false;
                    if self.file(index).length == 0 {
                        self.is_prepared.store(false, Ordering::Release);
                    }
                }
                Err(error) => result = Err(error),
            }
        }
        self.fold_in_wanted(&mut places).and(result)
    }

    /// Notes which files are not wanted. Whether any is with the part file that is wanted.
    fn skip(&self, skipped: &[usize]) -> bool {
        let mut places = self.places_mut();
        places.skipped.fill(false);
        for index in skipped {
            if let Some(skipped) = places.skipped.get_mut(*index) {
                *skipped = true;
            }
        }
        for index in 0..places.parted.len() {
            if places.skipped[index] && !places.is_in_parts(index) {
                let found = places.find(self.layout(), index);
                places.parted[index] = found.is_err_and(|error| is_absent(&error));
            }
        }
        places.parted.iter().zip(&places.skipped).any(|(parted, skipped)| *parted && !skipped)
    }

    /// Moves into wanted files what an earlier run left of them in the part file.
    pub(super) fn fold_in_wanted(&self, places: &mut Places) -> Result<(), StorageError> {
        if self.parts().is_none() {
            return Ok(());
        }
        for index in 0..self.layout().files().len() {
            if !places.is_in_parts(index) {
                self.fold_in(places, index)?;
            }
        }
        self.give_up_parts(places)
    }

    pub(super) fn write_part(
        &self,
        places: &Places,
        segment: &Segment,
        data: &mut Writing<'_, '_>,
    ) -> Result<(), StorageError> {
        let mut parts = self.parts();
        let root = &places.root;
        if parts.is_none() {
            root.check().map_err(|cause| Self::root_error(Operation::Open, root, cause))?;
            let made = Parts::create(root, &self.parts_name(), &self.torrent);
            *parts = Some(made.map_err(|cause| self.parts_error(places, Operation::Create, None, cause))?);
            self.made().note(&self.parts_name());
        }
        let Some(open) = parts.as_mut() else { return Ok(()) };
        let (piece, begin) = self.place_in_piece(segment);
        let written = open
            .write(piece, begin, segment.len, data)
            .map_err(|(at, cause)| self.parts_error(places, Operation::Write, Some(at), cause));
        // Who looks at it waits for the lock.
        self.deeds.parts_written();
        written
    }

    /// Nothing if the part file has nothing of the piece.
    pub(super) fn read_part(
        &self,
        places: &Places,
        segment: &Segment,
        into: &mut Reading<'_, '_>,
    ) -> Option<Result<(), StorageError>> {
        let parts = self.parts();
        let (piece, begin) = self.place_in_piece(segment);
        let parts = parts.as_ref().filter(|parts| parts.has(piece))?;
        let read = parts.read(piece, begin, segment.len, into);
        Some(read.map_err(|(at, cause)| self.parts_error(places, Operation::Read, Some(at), cause)))
    }

    /// What changes when somebody changes the part file; `None` when there is none.
    pub fn parts_stamp(&self) -> Option<Stamp> {
        self.parts().as_ref()?.stamp().ok()
    }

    /// Whether the part file has bytes of a file. They are of its first piece, or of its last.
    pub(super) fn has_parts_of(&self, index: usize) -> bool {
        let (parts, pieces) = (self.parts(), self.layout().file_pieces(index));
        let ends = pieces.into_iter().flat_map(|pieces| [*pieces.start(), *pieces.end()]);
        ends.into_iter().any(|piece| parts.as_ref().is_some_and(|parts| parts.has(piece)))
    }

    /// The part file was removed.
    pub(super) fn close_parts(&self) {
        *self.parts() = None;
    }

    /// An earlier run may have written the part file just before it ended.
    pub(super) fn mark_parts_unsynced(&self) {
        self.parts().iter_mut().for_each(Parts::mark_unsynced);
        self.made().touch(&self.parts_name());
    }

    pub(super) fn sync_parts(&self, places: &Places) -> Result<(), StorageError> {
        let synced = self.parts().as_mut().map_or(Ok(()), Parts::sync);
        synced.map_err(|cause| self.parts_error(places, Operation::Sync, None, cause))
    }

    pub(super) fn write_parts_again(&self, places: &Places) -> Result<(), StorageError> {
        self.deeds.parts_written();
        let written = self.parts().as_mut().map_or(Ok(()), Parts::write_again);
        written.map_err(|(at, cause)| self.parts_error(places, Operation::Write, Some(at), cause))
    }

    /// Finds the part file of an earlier run.
    pub(super) fn load_parts(&self, places: &Places) -> Result<(), StorageError> {
        let roots = [Some(&places.root), places.next.as_ref().map(|next| &next.root)];
        for root in roots.into_iter().flatten() {
            let found = Parts::open(root, &self.parts_name(), &self.torrent)
                .map_err(|cause| self.parts_error(places, Operation::Open, None, cause))?;
            if found.is_some() {
                *self.parts() = found;
                break;
            }
        }
        Ok(())
    }

    /// Takes the part file along to the new folder of the torrent. The one that is in use counts, wherever it lies: another one is
    /// what a move that was killed left.
    pub(super) fn move_parts(&self, places: &Places) -> Result<(), StorageError> {
        let (name, Some(next)) = (self.parts_name(), &places.next) else { return Ok(()) };
        let goal = |operation, cause| StorageError::new(operation, next.root.show(&name), None, cause);
        let in_use = match self.parts().as_ref().map(Parts::stamp) {
            None => return Ok(()),
            Some(stamp) => stamp.map_err(|cause| self.parts_error(places, Operation::Stat, None, cause))?,
        };
        match next.root.stat_name(&name) {
            Ok(there) if (there.st_dev, there.st_ino) == (in_use.device, in_use.inode) => {
                return self.remove_parts(places, &places.root, |left| {
                    (left.st_dev, left.st_ino) != (in_use.device, in_use.inode)
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(goal(Operation::Stat, cause)),
        }
        let from = match places.root.open_at(&name, OFlags::RDONLY | super::opening::PLAIN, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            from => from.map_err(|cause| self.parts_error(places, Operation::Open, None, cause))?,
        };
        let scratch = self.scratch(&name, Purpose::Move);
        let to = self.make_scratch(&next.root, &scratch);
        let to = to.map_err(|cause| goal(Operation::Create, cause))?;
        let copied = copy::contents(from.as_fd(), to.as_fd(), &mut |_| true)
            .map_err(|copy::Failed { operation, cause }| goal(operation, cause))
            .and_then(|_| calls::sync(&to).map_err(|errno| goal(Operation::Sync, errno.into())));
        if let Err(error) = copied {
            self.drop_scratch(&next.root, &scratch);
            return Err(error);
        }
        // What is not there need not be removed.
        let _ = next.root.in_folder_of(&name, |folder, name| Ok(calls::remove_file(folder, name)?));
        super::relocate::rename(&next.root, &scratch, &next.root, &name)
            .and_then(|()| next.root.sync_folder(""))
            .map_err(|cause| goal(Operation::Rename, cause))?;
        let reopened = Parts::open(&next.root, &name, &self.torrent);
        *self.parts() = reopened.map_err(|cause| goal(Operation::Open, cause))?;
        self.remove_parts(places, &places.root, |_| true)
    }

    /// Removes the part file from a folder, if it is there and is such a one.
    fn remove_parts(
        &self,
        places: &Places,
        root: &Root,
        is_meant: impl Fn(&Stat) -> bool,
    ) -> Result<(), StorageError> {
        let removed = root.in_folder_of(&self.parts_name(), |folder, name| {
            if is_meant(&calls::stat_name(folder, name)?) {
                calls::remove_file(folder, name)?;
            }
            Ok(())
        });
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|cause| self.parts_error(places, Operation::Remove, None, cause)),
        }
    }

    /// Makes a file of what the part file has of it. A file that is there already has all, or is none of ours.
    fn fold_in(&self, places: &mut Places, index: usize) -> Result<(), StorageError> {
        let pieces = self.layout().file_pieces(index).into_iter().flatten();
        let has = |piece: &u32| self.parts().as_ref().is_some_and(|parts| parts.has(*piece));
        let folded: Vec<u32> = pieces.filter(has).collect();
        if folded.is_empty() {
            return Ok(());
        }
        match places.find(self.layout(), index) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_from_parts(places, index, &folded)?;
                self.deeds.folded(index);
                self.watch.forget(index);
            }
            Err(cause) => return Err(self.error_at(places, Operation::Stat, index, None, cause)),
        }
        Ok(())
    }

    /// Gives up what no skipped file needs any more, and in the end the part file. To be called when all other files have
    /// what it had of them.
    fn give_up_parts(&self, places: &Places) -> Result<(), StorageError> {
        let geometry = self.torrent.geometry();
        let is_needed = |piece: &u32| {
            let whole = geometry.piece(*piece).map(|piece| geometry.whole(piece));
            let mut segments = whole.into_iter().flat_map(|whole| self.layout().segments(whole));
            segments.any(|segment| places.is_in_parts(segment.file))
        };
        let pieces = self.parts().as_ref().map_or(Vec::new(), Parts::pieces);
        self.deeds.parts_written();
        for piece in pieces.into_iter().filter(|piece| !is_needed(piece)) {
            let forgotten = self.parts().as_mut().map_or(Ok(()), |parts| parts.forget(piece));
            forgotten.map_err(|(at, cause)| self.parts_error(places, Operation::Write, Some(at), cause))?;
        }
        self.drop_empty_parts(places)
    }

    /// The file gets its name when it is whole and durable.
    fn make_from_parts(&self, places: &Places, index: usize, pieces: &[u32]) -> Result<(), StorageError> {
        let failed = |operation| move |cause| self.error_at(places, operation, index, None, cause);
        let root = places.root_of(index);
        let path = places.paths(self.layout(), index).next().unwrap_or_default();
        let scratch = self.scratch(&path, Purpose::Fold);
        root.check().map_err(|cause| Self::root_error(Operation::Open, root, cause))?;
        self.drop_scratch(root, &scratch);
        let made = self
            .make_at(root, &scratch, &path, index)
            .map_err(failed(Operation::Create))
            .and_then(|file| self.copy_from_parts(places, index, pieces, &file))
            .and_then(|()| {
                super::relocate::rename(root, &scratch, root, &path).map_err(failed(Operation::Rename))
            });
        if made.is_err() {
            self.drop_scratch(root, &scratch);
        }
        made?;
        self.made().note(&path);
        let folders = self.made().take_folders();
        self.sync_folders(places, folders)
    }

    fn copy_from_parts(
        &self,
        places: &Places,
        index: usize,
        pieces: &[u32],
        file: &OwnedFd,
    ) -> Result<(), StorageError> {
        let File { offset, length, .. } = *self.file(index);
        let piece_length = u64::from(self.torrent.geometry().piece_length());
        for &piece in pieces {
            let start = u64::from(piece) * piece_length;
            let (from, to) = (start.max(offset), (start + piece_length).min(offset + length));
            let mut at = from;
            while at < to {
                let (begin, len) = ((at - start) as u32, (to - at).min(STEP) as u32);
                let bytes =
                    self.parts().as_ref().map_or(Ok(Vec::new()), |parts| parts.bytes(piece, begin, len));
                let bytes = bytes
                    .map_err(|(at, cause)| self.parts_error(places, Operation::Read, Some(at), cause))?;
                Writing::new(&[IoSlice::new(&bytes)])
                    .write(file, at - offset, u32::try_from(bytes.len()).unwrap_or(0))
                    .map_err(|(at, cause)| self.error_at(places, Operation::Write, index, Some(at), cause))?;
                if bytes.len() < len as usize {
                    break;
                }
                at += u64::from(len);
            }
        }
        calls::sync_data(file)
            .map_err(|errno| self.error_at(places, Operation::Sync, index, None, errno.into()))
    }

    fn drop_empty_parts(&self, places: &Places) -> Result<(), StorageError> {
        let mut parts = self.parts();
        if parts.as_ref().is_some_and(Parts::is_empty) {
            // A move that was killed may have left it in either folder, or in both.
            for root in
                [Some(&places.root), places.next.as_ref().map(|next| &next.root)].into_iter().flatten()
            {
                self.remove_parts(places, root, |_| true)?;
            }
            self.made().forget(Path::new(&self.parts_name()));
            *parts = None;
        }
        Ok(())
    }

    /// The piece that a part of a file belongs to, and where in it it begins.
    fn place_in_piece(&self, segment: &Segment) -> (u32, u32) {
        let at = self.file(segment.file).offset + segment.offset;
        let length = u64::from(self.torrent.geometry().piece_length());
        (u32::try_from(at / length).unwrap_or(u32::MAX), (at % length) as u32)
    }

    pub(super) fn parts(&self) -> MutexGuard<'_, Option<Parts>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn parts_name(&self) -> String {
        format!(".unchoke-{}.parts", self.short_name())
    }

    fn parts_error(
        &self,
        places: &Places,
        operation: Operation,
        offset: Option<u64>,
        cause: io::Error,
    ) -> StorageError {
        StorageError::new(operation, places.root.show(&self.parts_name()), offset, cause)
    }
}
