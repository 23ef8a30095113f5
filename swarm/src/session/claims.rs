//! Which torrent may write where: two torrents of a session never share a file.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metainfo::{PieceRange, Torrent, TorrentId};
use storage::{FileStorage, Storage, StorageError};
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
    /// Claims all files of a torrent beneath a folder, which is named in one way only (canonical).
    pub(super) fn claim(self: &Arc<Self>, folder: &Path, torrent: &Torrent) -> Result<Claim, Taken> {
        let id = torrent.id();
        let files = torrent.layout().files().iter().filter(|file| !file.is_pad());
        let paths = || files.clone().map(|file| folder.join(file.path.as_str()));
        let mut owners = self.owners();
        for path in paths() {
            if let Some(by) = owners.get(&self.hasher.hash_one(&path)) {
                return Err(Taken { path, by: *by });
            }
        }
        let keys: Vec<_> = paths().map(|path| self.hasher.hash_one(path)).collect();
        owners.extend(keys.iter().map(|key| (*key, id)));
        drop(owners);
        Ok(Claim { claims: self.clone(), keys, held: watch::Sender::new(()) })
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<u64, TorrentId>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right of one torrent to its files; they are free again when it is dropped.
pub(super) struct Claim {
    claims: Arc<Claims>,
    keys: Vec<u64>,
    /// Whoever waits for the end of the claim listens to it.
    held: watch::Sender<()>,
}

impl Claim {
    /// Its channel closes when the claim ends.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.held.subscribe()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut owners = self.claims.owners();
        for key in &self.keys {
            owners.remove(key);
        }
    }
}

/// Files with the claim to them. The claim ends when the disk lets the files go, because until then a late write may
/// still change them.
pub(super) struct Claimed {
    pub(super) files: Arc<FileStorage>,
    _claim: Claim,
    /// Whoever waits for the files of a magnet began before there was a claim.
    _held: Option<watch::Sender<()>>,
}

impl Claimed {
    pub(super) fn new(files: Arc<FileStorage>, claim: Claim) -> Self {
        Self { files, _claim: claim, _held: None }
    }

    /// Lets go of this too when it lets the files go.
    pub(super) fn held_by(self, held: watch::Sender<()>) -> Self {
        Self { _held: Some(held), ..self }
    }
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

    fn device(&self) -> Option<u64> {
        self.files.device()
    }

    fn prepare(&self) -> Result<(), StorageError> {
        self.files.prepare()
    }
}
