//! Which torrent may write where: two torrents of a session never share a file.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metainfo::{PieceRange, Torrent, TorrentId};
use storage::{FileChange, FileStorage, Storage, StorageError};
use tokio::sync::watch;

/// The files of all torrents of a session. They are kept as hashes: a session may have millions.
pub(super) struct Claims {
    owners: Mutex<Owners>,
    hasher: RandomState,
    /// Whether names in the folder of a path that differ by case only are one.
    folds: fn(&Path) -> bool,
}

impl Default for Claims {
    fn default() -> Self {
        Self { owners: Mutex::default(), hasher: RandomState::new(), folds: folds_case }
    }
}

/// By the hash of the path without regard to case.
#[derive(Default)]
struct Owners {
    first: HashMap<u64, Owner>,
    /// Others, of names that differ by case only.
    more: HashMap<u64, Vec<Owner>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner {
    /// The hash of the path itself.
    exact: u64,
    id: TorrentId,
}

impl Owners {
    fn of(&self, folded: u64) -> impl Iterator<Item = &Owner> {
        self.first.get(&folded).into_iter().chain(self.more.get(&folded).into_iter().flatten())
    }

    fn insert(&mut self, (folded, exact): Key, id: TorrentId) {
        let owner = Owner { exact, id };
        if self.of(folded).any(|known| *known == owner) {
            return;
        }
        match self.first.entry(folded) {
            Entry::Vacant(entry) => drop(entry.insert(owner)),
            Entry::Occupied(_) => self.more.entry(folded).or_default().push(owner),
        }
    }

    fn remove(&mut self, (folded, exact): Key, id: TorrentId) {
        let owner = Owner { exact, id };
        let next = self.more.get_mut(&folded).and_then(|more| {
            if self.first.get(&folded) == Some(&owner) {
                more.pop()
            } else {
                more.retain(|known| *known != owner);
                None
            }
        });
        if self.more.get(&folded).is_some_and(Vec::is_empty) {
            self.more.remove(&folded);
        }
        match next {
            Some(next) => drop(self.first.insert(folded, next)),
            None if self.first.get(&folded) == Some(&owner) => drop(self.first.remove(&folded)),
            None => {}
        }
    }
}

/// The hashes of a path: without regard to case, and as it is.
type Key = (u64, u64);

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

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, path: &Path) -> Key {
        let folded = path.to_string_lossy().to_lowercase();
        (self.hasher.hash_one(folded), self.hasher.hash_one(path))
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

/// Whether names that differ by case only are one, in the next folder above a path that is there. Only asked when two torrents
/// have such names. Where it cannot be known they may be.
fn folds_case(path: &Path) -> bool {
    let Some(folder) = path.ancestors().skip(1).find(|above| above.is_dir()) else { return true };
    let named = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let cases = named.filter_map(|name| {
        let name = name.into_string().ok()?;
        let other: String = name.chars().map(other_case).collect();
        (other != name).then_some([name, other])
    });
    match cases.map(|names| names.map(|name| number(&folder.join(name)))).next() {
        Some([Ok(one), Ok(other)]) => one == other,
        Some([Ok(_), Err(error)]) => error.kind() != ErrorKind::NotFound,
        _ => try_case(folder).unwrap_or(true),
    }
}

/// The same in an empty folder, by a file that is removed again.
fn try_case(folder: &Path) -> std::io::Result<bool> {
    let [one, other] = [".unchoke-case", ".UNCHOKE-CASE"].map(|name| folder.join(name));
    std::fs::File::create_new(&one)?;
    let found = other.symlink_metadata();
    std::fs::remove_file(&one)?;
    match found {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn other_case(c: char) -> char {
    if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
}

/// Which file a path names, be it a link.
fn number(path: &Path) -> std::io::Result<(u64, u64)> {
    path.symlink_metadata().map(|found| (found.dev(), found.ino()))
}

/// The right of one torrent to its files; they are free again when it is dropped.
pub(super) struct Claim {
    claims: Arc<Claims>,
    id: TorrentId,
    keys: Mutex<HashSet<Key>>,
}

impl Claim {
    /// Claims these too. Folders are to be named in one way only (canonical).
    pub(super) fn add(&self, paths: impl IntoIterator<Item = PathBuf>) -> Result<(), Taken> {
        let (mut owners, mut keys) = (self.claims.owners(), self.keys());
        let mut added = Vec::new();
        for path in paths {
            let (folded, exact) = self.claims.key(&path);
            let mut others = owners.of(folded).filter(|owner| owner.id != self.id);
            // Where it cannot be known they may be one.
            let taken = others.find(|other| other.exact == exact || (self.claims.folds)(&path));
            if let Some(Owner { id: by, .. }) = taken {
                return Err(Taken { path, by: *by });
            }
            added.push((folded, exact));
        }
        added.iter().for_each(|key| owners.insert(*key, self.id));
        keys.extend(added);
        Ok(())
    }

    /// Gives up all but these.
    pub(super) fn keep(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let kept: HashSet<Key> = paths.into_iter().map(|path| self.claims.key(&path)).collect();
        let (mut owners, mut keys) = (self.claims.owners(), self.keys());
        keys.difference(&kept).for_each(|key| owners.remove(*key, self.id));
        keys.retain(|key| kept.contains(key));
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Key>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::{InfoHashV1, InfoHashes};

    fn claims(folds: fn(&Path) -> bool) -> Arc<Claims> {
        Arc::new(Claims { folds, ..Claims::default() })
    }

    fn claim(claims: &Arc<Claims>, number: u8, paths: &[&str]) -> Result<Claim, Taken> {
        let id = InfoHashes::v1_only(InfoHashV1([number; 20])).id();
        let claim = Claim { claims: claims.clone(), id, keys: Mutex::default() };
        claim.add(paths.iter().map(PathBuf::from))?;
        Ok(claim)
    }

    #[test]
    fn names_that_differ_by_case_only_are_taken_where_they_are_one() {
        let (one, two) = (claims(|_| true), claims(|_| false));
        for (claims, is_one) in [(&one, true), (&two, false)] {
            let first = claim(claims, 1, &["/d/Movie/a", "/d/Straße"]).unwrap();
            assert!(claim(claims, 2, &["/d/Movie/a"]).is_err());
            for name in ["/d/movie/A", "/d/STRAßE"] {
                assert_eq!(claim(claims, 2, &[name]).is_err(), is_one, "{name}");
            }
            assert!(claim(claims, 2, &["/d/movie/b", "/e/Movie/a"]).is_ok());
            drop(first);
            assert!(claim(claims, 2, &["/d/movie/A"]).is_ok());
            assert!(claims.owners().first.is_empty() && claims.owners().more.is_empty());
        }
    }

    #[test]
    fn each_keeps_its_own_of_names_that_differ_by_case_only() {
        let claims = claims(|_| false);
        let names = ["/d/a", "/d/A"];
        for (kept, gone) in [(0, 1), (1, 0)] {
            let mut both: Vec<_> =
                (1..).zip(names).map(|(id, name)| claim(&claims, id, &[name]).unwrap()).collect();
            drop(both.remove(gone));
            assert!(claim(&claims, 3, &[names[kept]]).is_err());
            assert!(claim(&claims, 3, &[names[gone]]).is_ok());
            // A torrent may change the case of its names.
            both[0].add([PathBuf::from(names[gone])]).unwrap();
            both[0].keep([PathBuf::from(names[gone])]);
            assert!(claim(&claims, 3, &[names[gone]]).is_err());
            assert!(claim(&claims, 3, &[names[kept]]).is_ok());
        }
        assert!(claims.owners().first.is_empty() && claims.owners().more.is_empty());
    }

    #[test]
    fn what_a_folder_makes_of_case_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/there");
        let folds = folds_case(&path);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        std::fs::write(dir.path().join("name"), "").unwrap();
        assert_eq!(folds_case(&path), folds);
        assert_eq!(dir.path().join("NAME").exists(), folds);
    }
}
