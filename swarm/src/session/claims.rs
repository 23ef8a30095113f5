//! Which torrent may write where: two torrents of a session never share a file.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metainfo::{PieceRange, Torrent, TorrentId};
use storage::{FileChange, FileStorage, Storage, StorageError};
use tokio::sync::watch;

/// The files of all torrents of a session. They are kept as hashes: a session may have millions.
#[derive(Default)]
pub(super) struct Claims {
    owners: Mutex<HashMap<u64, TorrentId>>,
    hasher: RandomState,
}

/// A file that another torrent has.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) path: PathBuf,
    pub(super) by: TorrentId,
}

impl Claims {
    /// Claims all files of a torrent where they are, and where they are being moved to.
    pub(super) fn claim(self: &Arc<Self>, files: &FileStorage, torrent: &Torrent) -> Result<Claim, Taken> {
        let claim = Claim { claims: self.clone(), id: torrent.id(), keys: Mutex::default() };
        for root in [Some(files.root()), files.moving_to()].into_iter().flatten() {
            claim.add(paths(&root, files, torrent))?;
        }
        Ok(claim)
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<u64, TorrentId>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a torrent beneath a folder, by the names that they have now.
pub(super) fn paths(root: &Path, files: &FileStorage, torrent: &Torrent) -> Vec<PathBuf> {
    // A folder that cannot be looked at has one name only.
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let (names, layout) = (files.names(), torrent.layout());
    let stored = (0..).zip(layout.files()).filter(|(_, file)| !file.is_pad());
    let finished = stored.map(|(index, _)| names.path(layout, index));
    match files.suffix() {
        Some(suffix) => {
            finished.flat_map(|path| [root.join(path), root.join(format!("{path}{suffix}"))]).collect()
        }
        None => finished.map(|path| root.join(path)).collect(),
    }
}

/// The right of one torrent to its files; they are free again when it is dropped.
pub(super) struct Claim {
    claims: Arc<Claims>,
    id: TorrentId,
    keys: Mutex<HashSet<u64>>,
}

impl Claim {
    /// Claims these too. Folders are to be named in one way only (canonical).
    pub(super) fn add(&self, paths: impl IntoIterator<Item = PathBuf>) -> Result<(), Taken> {
        let (mut owners, mut keys) = (self.claims.owners(), self.keys());
        let mut added = Vec::new();
        for path in paths {
            let key = self.claims.hasher.hash_one(&path);
            match owners.get(&key) {
                Some(by) if *by != self.id => return Err(Taken { path, by: *by }),
                _ => added.push(key),
            }
        }
        owners.extend(added.iter().map(|key| (*key, self.id)));
        keys.extend(added);
        Ok(())
    }

    /// Gives up all but these.
    pub(super) fn keep(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let kept: HashSet<u64> = paths.into_iter().map(|path| self.claims.hasher.hash_one(&path)).collect();
        let (mut owners, mut keys) = (self.claims.owners(), self.keys());
        keys.difference(&kept).for_each(|key| {
            owners.remove(key);
        });
        keys.retain(|key| kept.contains(key));
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.keep([]);
    }
}

/// Files with the claim to them. The claim ends when the disk lets the files go, because until then a late write may
/// still change them.
pub(super) struct Claimed {
    pub(super) files: Arc<FileStorage>,
    pub(super) claim: Arc<Claim>,
    /// Whoever waits for the files to be let go listens to it.
    pub(super) held: Arc<watch::Sender<()>>,
}

impl Storage for Claimed {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        self.files.read(range, into)
    }

    fn write(&self, range: PieceRange, data: &[IoSlice<'_>]) -> Result<(), StorageError> {
        self.files.write(range, data)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.files.sync()
    }

    fn read_cached(&self, range: PieceRange, into: &mut [u8]) -> Option<Result<(), StorageError>> {
        self.files.read_cached(range, into)
    }

    fn probe(&self, write: bool) -> Result<(), StorageError> {
        self.files.probe(write)
    }

    fn look(&self) -> Result<Vec<FileChange>, StorageError> {
        self.files.look()
    }

    fn device(&self) -> Option<u64> {
        self.files.device()
    }

    fn prepare(&self) -> Result<(), StorageError> {
        self.files.prepare()
    }
}
