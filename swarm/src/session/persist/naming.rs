//! What folders and files are called, and the right to use them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use metainfo::Torrent;
use storage::FileStorage;
use storage::record::{Folder, Key, Lease, Store, StoreError};

/// The sole right to a record, and to write to the files of a torrent, of which the first parts of their paths stand for all.
pub(super) fn lease_with_names(
    store: &dyn Store,
    key: &Key,
    files: Option<&FileStorage>,
    meta: &Torrent,
) -> Result<Lease, StoreError> {
    let lease = store.lease(key)?;
    Ok(Lease::new((lease, lease_names(store, key, files, meta)?)))
}

/// The sole right to write to the files of a torrent in a folder.
pub(super) fn lease_names(
    store: &dyn Store,
    key: &Key,
    files: Option<&FileStorage>,
    meta: &Torrent,
) -> Result<Lease, StoreError> {
    let names = files.map(|files| first_names(files, meta)).unwrap_or_default();
    store.lease_names(key.id, &key.dir, &names.into_iter().collect::<Vec<_>>())
}

/// Sees to it that the folder is known again.
pub(super) fn mark(files: &FileStorage, recorded: Option<Folder>) {
    if let Err(error) = files.mark_root(recorded.map(Into::into).as_ref()) {
        tracing::warn!(%error, "another disk in the place of this one may not be told from it");
    }
}

/// The first parts of the paths of a torrent's files, by all names that they may come to have.
pub(super) fn first_names(files: &FileStorage, meta: &Torrent) -> BTreeSet<OsString> {
    let stored = meta.layout().files().iter().enumerate().filter(|(_, file)| !file.is_pad());
    let paths = stored.flat_map(|(index, _)| files.possible_names(index));
    let first = |path: PathBuf| path.iter().next().map(std::ffi::OsStr::to_owned);
    paths.filter_map(first).collect()
}

/// The names that the user chose, as they are recorded.
pub(in crate::session) fn names(files: &FileStorage) -> Vec<(u32, PathBuf)> {
    files.names().iter().filter_map(|(index, path)| Some((u32::try_from(index).ok()?, path.into()))).collect()
}

/// The folder named in one way, also when it, or folders above it, are not there yet.
pub(in crate::session) fn place(dir: &Path) -> std::io::Result<PathBuf> {
    match std::fs::canonicalize(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let dir = std::path::absolute(dir)?;
            let (above, name) = dir.parent().zip(dir.file_name()).ok_or(error)?;
            Ok(place(above)?.join(name))
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_name_whether_it_is_there_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(place(&real.join("link/./new/er")).unwrap(), real.join("new/er"));
        std::fs::create_dir_all(real.join("new/er")).unwrap();
        assert_eq!(place(&real.join("link/new/../new/er")).unwrap(), real.join("new/er"));
    }
}
