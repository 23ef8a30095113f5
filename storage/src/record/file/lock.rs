//! A lock that ends with whoever holds it, however that ends.

use super::super::error::StoreError;
use metainfo::TorrentId;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A locked file that names its holder.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked nobody else takes this file for the lock; who waits at it sees that it is gone. If it cannot be
        // removed, the next one uses it again.
        let _ = fs::remove_file(&self.path);
    }
}

/// Locks the file, for a torrent if one is named, or says who has.
pub(super) fn take(path: &Path, torrent: Option<TorrentId>) -> Result<Lock, StoreError> {
    loop {
        let opened =
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = opened.map_err(|cause| StoreError::io("open", path, cause))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let (by, torrent) = holder(&mut file);
                return Err(StoreError::Locked { path: path.to_owned(), by, torrent });
            }
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(StoreError::io("lock", path, errno.into())),
        }
        if is_in_place(&file, path) {
            // A name of the holder is a kindness, not a need.
            let _ = file.set_len(0);
            let _ = file.rewind().and_then(|()| file.write_all(holder_line(torrent).as_bytes()));
            return Ok(Lock { path: path.to_owned(), _file: file });
        }
    }
}

/// Whether the file is still the one of that name: its last holder removes it.
fn is_in_place(file: &File, path: &Path) -> bool {
    let same = |own: fs::Metadata, named: fs::Metadata| (own.dev(), own.ino()) == (named.dev(), named.ino());
    file.metadata().ok().zip(fs::metadata(path).ok()).is_some_and(|(own, named)| same(own, named))
}

/// How a holder names itself: its process, and the torrent if it is held for one.
pub(super) fn holder_line(torrent: Option<TorrentId>) -> String {
    let torrent = torrent.map(|id| format!(" {}", id.to_hex())).unwrap_or_default();
    format!("{}{torrent}\n", std::process::id())
}

/// What such a line says.
pub(super) fn read_holder(line: &str) -> (Option<u32>, Option<TorrentId>) {
    let mut words = line.split_whitespace();
    let by = words.next().and_then(|pid| pid.parse().ok());
    (by, words.next().and_then(|hex| hex.parse().ok()))
}

fn holder(file: &mut File) -> (Option<u32>, Option<TorrentId>) {
    let mut text = String::new();
    let read = file.take(128).read_to_string(&mut text);
    read.map_or((None, None), |_| read_holder(&text))
}
