//! Names of files and folders that a torrent writes to, so that no other one does meanwhile.
//!
//! ```text
//! names-<digest of the folder and the name>.lock       while a program writes to it: its process, and the torrent
//! names-<digest of the folder and the name>.session    while a session does that keeps its records elsewhere
//! ```
//!
//! Torrents of one process share a name: what they may write is agreed on file by file there.

use super::super::error::StoreError;
use sha1::{Digest, Sha1};
use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the files are called that belong to a name in a folder.
pub(super) fn stem(dir: &Path, name: &OsString) -> String {
    let mut digest = Sha1::new();
    digest.update(dir.as_os_str().as_encoded_bytes());
    digest.update(b"\0");
    digest.update(name.as_encoded_bytes());
    let short: String = digest.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("names-{short}")
}

/// The names that torrents of this process write to.
#[derive(Default)]
pub(super) struct Names(Mutex<Held>);

/// For each name, what keeps others off, and how many torrents write to it.
type Held = HashMap<String, (Box<dyn Any + Send>, usize)>;

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("held", &self.held().len()).finish()
    }
}

/// The right to a name; given up when it is dropped.
pub(super) struct Name {
    names: Arc<Names>,
    stem: String,
}

impl Names {
    /// Takes the names in a folder, each by `take` unless a torrent of this process has it already.
    pub(super) fn take<L: Any + Send>(
        self: &Arc<Self>,
        dir: &Path,
        names: &[OsString],
        take: impl Fn(&str, &OsString) -> Result<L, StoreError>,
    ) -> Result<Vec<Name>, StoreError> {
        let taken = names.iter().map(|name| {
            let stem = stem(dir, name);
            let failed = |error| match error {
                StoreError::Locked { by, torrent, .. } => {
                    StoreError::Locked { path: dir.join(name), by, torrent }
                }
                error => error,
            };
            match self.held().entry(stem.clone()) {
                Entry::Occupied(mut held) => held.get_mut().1 += 1,
                Entry::Vacant(free) => {
                    free.insert((Box::new(take(&stem, name).map_err(failed)?), 1));
                }
            }
            Ok(Name { names: self.clone(), stem })
        });
        taken.collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // Under the lock, so that nobody of this process finds it taken by somebody else.
        let mut held = self.names.held();
        if let Some((_, count)) = held.get_mut(&self.stem) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.stem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::store::Store;
    use super::super::{FileStore, SessionLeases};
    use super::*;
    use metainfo::TorrentId;

    #[test]
    fn two_torrents_of_one_name_are_not_written_by_two_programs() {
        let dir = tempfile::tempdir().unwrap();
        let open = || FileStore::open(dir.path().join("transfers")).unwrap();
        let (one, other) = (open(), open());
        let session = SessionLeases::new(open(), dir.path().join("session.lock")).unwrap();
        let id = |n: u8| TorrentId([n; 20]);
        let place = Path::new("/srv");
        let names = |names: &[&str]| names.iter().map(OsString::from).collect::<Vec<_>>();
        let first = one.lease_names(id(1), place, &names(&["x", "x.part"])).unwrap();
        // The same program knows what its torrents write.
        let second = one.lease_names(id(2), place, &names(&["x"])).unwrap();
        let taken = |torrent| StoreError::Locked {
            path: place.join("x"),
            by: Some(std::process::id()),
            torrent: Some(torrent),
        };
        let refused = |names: &[OsString]| other.lease_names(id(3), place, names).unwrap_err();
        assert_eq!(refused(&names(&["y", "x"])), taken(id(1)));
        assert_eq!(session.lease_names(id(3), place, &names(&["x"])).unwrap_err(), taken(id(1)));
        drop(first);
        assert_eq!(refused(&names(&["x"])), taken(id(1)));
        drop(second);
        // What was taken before the refusal is free again, and another folder is another place.
        let again = session.lease_names(id(4), place, &names(&["x", "y"])).unwrap();
        assert_eq!(refused(&names(&["x"])), taken(id(4)));
        other.lease_names(id(3), Path::new("/"), &names(&["x"])).unwrap();
        drop(again);
        other.lease_names(id(3), place, &names(&["x", "y"])).unwrap();
    }
}
