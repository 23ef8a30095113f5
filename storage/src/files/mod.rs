//! A backend that keeps a torrent in files, as its layout says.
//!
//! - Nothing is opened through a link, or outside the folder the storage was given.
//! - Reading creates nothing. Folders and files come with the first write to them; [`FileStorage::created`]
//!   tells which were made. Files of length 0 come with the first write to any file.
//! - Nothing is written through a second name of a file (a hard link): it gets bytes of its own first.
//! - Writing is in place and never truncates. A file that is longer than the torrent says keeps its tail, and
//!   bytes of a file that was there before change only where pieces are written.
//! - Skipped files are not made: what comes of them with pieces of wanted files is kept in one part file.
//! - Pads are not stored, and symlinks are not made.

mod beneath;
mod cache;
mod calls;
mod copy;
mod foreign;
mod giving;
mod guard;
mod identity;
mod linked;
mod made;
mod marker;
mod names;
mod opening;
mod options;
mod parts;
mod places;
mod probe;
mod refusal;
mod relocate;
mod remove;
mod rename;
mod reserve;
mod reuse;
mod root_id;
mod scratch;
mod skipped;
mod slices;
mod sole;
mod stamps;
mod syncing;
mod sys;
mod touched;
mod unsynced;
mod watch;

pub use cache::OpenFiles;
#[cfg(any(test, feature = "testing"))]
pub use calls::Call;
pub use foreign::Foreign;
pub use identity::Room;
pub use linked::Linked;
pub use names::{FileNames, is_suffix};
pub use options::FileOptions;
pub(crate) use refusal::Refusal;
pub use relocate::{MoveOptions, Moved};
pub use remove::Removed;
pub use reuse::{Existing, find_existing};
pub use root_id::RootId;
pub use stamps::Stamp;
pub(crate) use syncing::sync_file_system;
pub use touched::Touched;

use crate::Allocation;
use crate::{FileChange, Operation, Storage, StorageError, Trouble};
use beneath::Root;
use made::Made;
use metainfo::{File, Layout, PieceRange, Segment, Torrent};
use opening::Owners;
use parts::Parts;
use places::Places;
use reserve::Reserved;
use slices::{Reading, Writing};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};
use unsynced::Unsynced;

/// A torrent in files beneath a folder; see the crate's README for what it promises.
#[derive(Debug)]
pub struct FileStorage {
    torrent: Arc<Torrent>,
    places: RwLock<Places>,
    allocation: Allocation,
    /// What was synced is to be read from the disk.
    uncached: bool,
    open_files: Arc<OpenFiles>,
    owner: u64,
    /// A bit per file: written since the last sync.
    dirty: Box<[AtomicU64]>,
    unsynced: Unsynced,
    closing: Arc<cache::Closing>,
    /// Held by a sync: what one has taken up, another must not take for done.
    syncing: Mutex<()>,
    deeds: touched::Deeds,
    sole: sole::Sole,
    watch: watch::Watch,
    reserved: Reserved,
    is_prepared: AtomicBool,
    /// Whether files were written that lie on another file system than the root.
    has_mounts: AtomicBool,
    made: Mutex<Made>,
    /// Where the files were before they were moved, as long as that may be what is recorded.
    left: Mutex<Option<Root>>,
    owners: Owners,
    /// Held by whoever changes where files are: one change at a time.
    changing: Mutex<()>,
    /// The file that is copied to another place, and whether it was written since that began.
    copying: AtomicUsize,
    stale: AtomicBool,
    /// The file that could not be written last.
    failed: Mutex<Option<usize>>,
    parts: Mutex<Option<Parts>>,
    /// Files that are somebody else's.
    forbidden: Mutex<BTreeMap<usize, Foreign>>,
    is_any_forbidden: AtomicBool,
    /// Told when something is about to be written that may make files.
    on_write: OnceLock<Teller>,
    guard: guard::Guard,
}

/// Tells somebody.
struct Teller(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

impl FileStorage {
    /// Beneath a folder that is there.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn open(root: &Path, torrent: Arc<Torrent>, options: FileOptions) -> Result<Self, StorageError> {
        let root = Root::open(root).map_err(|cause| StorageError::new(Operation::Open, root, None, cause))?;
        Self::beneath(root, torrent, options)
    }

    /// Beneath a folder that is made, with all above it, if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made or opened.
    pub fn create(root: &Path, torrent: Arc<Torrent>, options: FileOptions) -> Result<Self, StorageError> {
        Root::make(root).map_err(|cause| StorageError::new(Operation::Create, root, None, cause))?;
        Self::open(root, torrent, options)
    }

    fn beneath(root: Root, torrent: Arc<Torrent>, options: FileOptions) -> Result<Self, StorageError> {
        let geometry = torrent.geometry();
        let space = u64::from(geometry.piece_count()) * u64::from(geometry.piece_length());
        let words = torrent.layout().files().len().div_ceil(64);
        let layout = torrent.layout();
        let suffix = options.suffix.filter(|suffix| is_suffix(suffix));
        let suffix = suffix.filter(|suffix| !options.names.any_ends_in(layout, suffix));
        let suffix = suffix.map(String::into_boxed_str);
        let [parted, skipped] = [(); 2].map(|()| torrent.layout().files().iter().map(|_| false).collect());
        let places = Places { root, next: None, names: options.names, suffix, parted, skipped };
        let storage = Self {
            reserved: Reserved::new(space),
            unsynced: Unsynced::new(space),
            closing: Arc::default(),
            syncing: Mutex::default(),
            deeds: touched::Deeds::new(torrent.layout().files().len()),
            sole: sole::Sole::new(torrent.layout().files().len()),
            watch: watch::Watch::default(),
            torrent,
            places: RwLock::new(places),
            allocation: options.allocation,
            uncached: options.uncached,
            owner: options.open_files.owner(),
            open_files: options.open_files,
            dirty: (0..words).map(|_| AtomicU64::new(0)).collect(),
            is_prepared: AtomicBool::new(false),
            has_mounts: AtomicBool::new(false),
            made: Mutex::new(Made::restored(options.created)),
            left: Mutex::default(),
            owners: Owners::default(),
            changing: Mutex::default(),
            copying: AtomicUsize::new(usize::MAX),
            stale: AtomicBool::new(false),
            failed: Mutex::default(),
            parts: Mutex::default(),
            forbidden: Mutex::default(),
            is_any_forbidden: AtomicBool::new(false),
            on_write: OnceLock::new(),
            guard: guard::Guard::default(),
        };
        storage.settle_names(options.renaming)?;
        storage.settle_move(options.moving_to.as_deref())?;
        storage.load_parts(&storage.places())?;
        storage.set_skipped(&options.skipped)?;
        Ok(storage)
    }

    /// The files and folders that this storage made, in this run and those before, relative to its folder; folders come
    /// before what is in them. Only these are its to remove.
    pub fn created(&self) -> Vec<PathBuf> {
        self.made().paths().map(Path::to_path_buf).collect()
    }

    /// Has `tell` called when the first write begins: files are made from then on. It must not wait, nor use the storage. Only the
    /// first call counts.
    pub fn when_written(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_write.set(Teller(Box::new(tell)));
    }

    fn layout(&self) -> &Layout {
        self.torrent.layout()
    }

    fn file(&self, index: usize) -> &File {
        &self.layout().files()[index]
    }

    fn places(&self) -> RwLockReadGuard<'_, Places> {
        self.places.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn places_mut(&self) -> RwLockWriteGuard<'_, Places> {
        self.places.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some letters that tell its own files from those of other torrents.
    fn short_name(&self) -> String {
        self.torrent.id().to_string().chars().take(16).collect()
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error_at(
        &self,
        places: &Places,
        operation: Operation,
        index: usize,
        offset: Option<u64>,
        cause: io::Error,
    ) -> StorageError {
        StorageError::new(operation, places.show(self.layout(), index), offset, cause)
    }

    fn write_segment(
        &self,
        places: &Places,
        segment: &Segment,
        data: &mut Writing<'_, '_>,
    ) -> Result<(), StorageError> {
        if segment.pad {
            data.skip(segment.len);
            return Ok(());
        }
        if places.is_in_parts(segment.file) {
            return self.write_part(places, segment, data);
        }
        let _writing = self.deeds.writing(segment.file);
        let file = self.opened(places, segment.file, true)?;
        let failed =
            |cause| self.error_at(places, Operation::Write, segment.file, Some(segment.offset), cause);
        self.is_whole(segment.file, &file.fd).map_err(failed)?;
        self.note_unsynced(segment);
        if self.copying.load(Ordering::SeqCst) == segment.file {
            self.stale.store(true, Ordering::SeqCst);
        }
        let File { offset, length, .. } = self.file(segment.file);
        if self.allocation != Allocation::None {
            self.reserved.before_write(file.fd.as_fd(), *offset, *length, segment.offset, segment.len.into());
        }
        let written = data.write(&file.fd, segment.offset, segment.len);
        file.wrote();
        // A sync may have run meanwhile, before the bytes were there, and taken the first note.
        self.note_unsynced(segment);
        if written.is_ok() {
            self.wrote_up_to(segment.file, segment.offset + u64::from(segment.len));
        }
        written.map_err(|(at, cause)| self.error_at(places, Operation::Write, segment.file, Some(at), cause))
    }

    /// A segment is written, or was just now.
    fn note_unsynced(&self, segment: &Segment) {
        self.mark_dirty(segment.file);
        self.unsynced.note(self.file(segment.file).offset + segment.offset, segment.len.into());
    }

    fn read_segment(
        &self,
        places: &Places,
        segment: &Segment,
        into: &mut Reading<'_, '_>,
    ) -> Result<(), StorageError> {
        if segment.pad {
            into.zero(segment.len);
            return Ok(());
        }
        if places.is_in_parts(segment.file)
            && let Some(read) = self.read_part(places, segment, into)
        {
            return read;
        }
        let file = match self.opened(places, segment.file, false) {
            Err(error) if error.trouble() == Trouble::Missing => {
                return self.read_part(places, segment, into).unwrap_or(Err(error));
            }
            file => file?,
        };
        into.read(&file.fd, segment.offset, segment.len)
            .map_err(|(at, cause)| self.error_at(places, Operation::Read, segment.file, Some(at), cause))
    }

    /// Does what comes before the first write.
    fn prepare_once(&self) -> Result<(), StorageError> {
        if self.is_prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut places = self.places_mut();
        self.fold_in_wanted(&mut places)?;
        for (index, file) in self.layout().files().iter().enumerate() {
            let is_stored = !file.is_pad() && !file.attributes.symlink;
            if file.length == 0 && is_stored && !places.is_in_parts(index) {
                self.open_to_write(&places, index)?;
            }
        }
        self.is_prepared.store(true, Ordering::Release);
        drop(places);
        if let Some(Teller(tell)) = self.on_write.get() {
            tell();
        }
        Ok(())
    }
}

impl Storage for FileStorage {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        let places = self.places();
        let mut into = Reading::new(into);
        self.layout().segments(range).try_for_each(|segment| self.read_segment(&places, &segment, &mut into))
    }

    fn write(&self, range: PieceRange, data: &[IoSlice<'_>]) -> Result<(), StorageError> {
        self.prepare_once()?;
        self.refuse_forbidden(range)?;
        self.part_from_links(range)?;
        let places = self.places();
        let mut data = Writing::new(data);
        self.layout().segments(range).try_for_each(|segment| {
            let written = self.write_segment(&places, &segment, &mut data);
            written.inspect_err(|_| self.note_failed(segment.file))
        })
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.sync_all()
    }

    fn read_cached(&self, range: PieceRange, into: &mut [u8]) -> Option<Result<(), StorageError>> {
        let places = match self.places.try_read() {
            Ok(places) => places,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let mut rest = into;
        for segment in self.layout().segments(range) {
            let (now, later) = rest.split_at_mut_checked(segment.len as usize)?;
            if segment.pad {
                now.fill(0);
            } else {
                let file = self.open_files.get((self.owner, segment.file), false)?;
                // A short count may be the end of the file or of what is cached. The slow way finds out.
                let read = sys::read_cached(file.fd.as_fd(), now, segment.offset)?;
                match read {
                    Ok(count) if count == now.len() => {}
                    Ok(_) => return None,
                    Err(errno) => {
                        let at = Some(segment.offset);
                        let error = self.error_at(&places, Operation::Read, segment.file, at, errno.into());
                        return Some(Err(error));
                    }
                }
            }
            rest = later;
        }
        Some(Ok(()))
    }

    fn probe(&self, write: bool) -> Result<(), StorageError> {
        if write { self.try_writing() } else { self.try_reading() }
    }

    fn look(&self) -> Result<Vec<FileChange>, StorageError> {
        self.look_around()
    }

    fn device(&self) -> Option<u64> {
        Some(self.places().root.device())
    }

    fn prepare(&self) -> Result<(), StorageError> {
        self.prepare_once()
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        self.open_files.close_all(self.owner);
    }
}
