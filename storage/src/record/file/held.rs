//! Many torrents of a session in one file: those that it runs without having them open are too many for a mark each.
//!
//! ```text
//! sessions/<digest of the session's lock>.held    its process, its lock; then for each right that is taken (+) or given up (-)
//! | + or - | 16 bytes that stand for a torrent in a folder, or a name in a folder |
//! ```
//!
//! The last word on a right counts, and all of it only as long as the lock is held. Whoever takes a right writes that down first and
//! looks then what others did, so that of two at least one sees the other.

use super::super::error::StoreError;
use super::super::store::Key;
use super::lock::{holder_line, read_holder};
use super::session::holder_of;
use sha1::{Digest, Sha1};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Stands for a torrent in a folder, or a name in one.
pub(super) type Right = [u8; 16];

/// The right to a torrent in a folder.
pub(super) fn right(key: &Key) -> Right {
    short(&[b"torrent", &key.id.0, key.dir.as_os_str().as_encoded_bytes()])
}

/// The right to a name in a folder.
pub(super) fn right_to_name(dir: &Path, name: &OsString) -> Right {
    short(&[b"name", dir.as_os_str().as_encoded_bytes(), b"\0", name.as_encoded_bytes()])
}

fn short(parts: &[&[u8]]) -> Right {
    let mut digest = Sha1::new();
    parts.iter().for_each(|part| digest.update(part));
    let mut right = Right::default();
    right.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
    right
}

/// The rights of a session.
#[derive(Debug)]
pub(super) struct Held {
    /// The folder of all such files.
    folder: PathBuf,
    /// The lock of the session.
    lock: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Once there was a right to write down.
    file: Option<File>,
    /// How many torrents share a right.
    counts: HashMap<Right, usize>,
}

/// Some rights of a session; given up when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    held: Arc<Held>,
    rights: Vec<Right>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.give_up(&self.rights);
    }
}

impl Held {
    /// Of the session with this lock, beneath a folder of records.
    pub(super) fn new(records: &Path, lock: &Path) -> Self {
        Self { folder: folder(records), lock: lock.to_owned(), state: Mutex::default() }
    }

    /// Takes rights, a list for each torrent, without looking whether others have them.
    pub(super) fn take(self: &Arc<Self>, wanted: Vec<Vec<Right>>) -> Result<Vec<Share>, StoreError> {
        let mut state = self.state();
        let mut text = Vec::new();
        for right in wanted.iter().flatten() {
            let count = state.counts.entry(*right).or_default();
            if *count == 0 {
                text.push(b'+');
                text.extend_from_slice(right);
            }
            *count += 1;
        }
        let written = self.write(&mut state, &text);
        drop(state);
        // If it was not written, dropping these puts the counts right.
        let shares = wanted.into_iter().map(|rights| Share { held: self.clone(), rights }).collect();
        written.map(|()| shares)
    }

    fn give_up(&self, rights: &[Right]) {
        let mut state = self.state();
        let mut text = Vec::new();
        for right in rights {
            let Some(count) = state.counts.get_mut(right) else { continue };
            *count -= 1;
            if *count == 0 {
                state.counts.remove(right);
                text.push(b'-');
                text.extend_from_slice(right);
            }
        }
        // What stays written keeps others off until the session ends, and does no other harm.
        let _ = self.write(&mut state, &text);
    }

    fn write(&self, state: &mut State, text: &[u8]) -> Result<(), StoreError> {
        let path = self.path();
        let failed = |cause| StoreError::io("write", &path, cause);
        if text.is_empty() {
            return Ok(());
        }
        let file = match &mut state.file {
            Some(file) => file,
            none => {
                fs::create_dir_all(&self.folder).map_err(failed)?;
                let mut file = File::create(&path).map_err(failed)?;
                let lock = self.lock.as_os_str().as_bytes();
                let head = format!("{}{}\n", holder_line(None), lock.len());
                file.write_all(&[head.as_bytes(), lock].concat()).map_err(failed)?;
                none.insert(file)
            }
        };
        file.write_all(text).map_err(failed)
    }

    /// What others hold, to be asked for many rights.
    pub(super) fn others(&self) -> Result<Vec<Other>, StoreError> {
        others(&self.folder, Some(&self.path()))
    }

    fn path(&self) -> PathBuf {
        let digest = Sha1::digest(self.lock.as_os_str().as_encoded_bytes());
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{short}.held"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.state().file.is_some() {
            // One that stays says nothing when the lock is free.
            let _ = fs::remove_file(self.path());
        }
    }
}

/// A session that runs, and what it holds.
#[derive(Debug)]
pub(super) struct Other {
    lock: PathBuf,
    by: Option<u32>,
    rights: HashSet<Right>,
}

impl Other {
    /// Refuses what it holds.
    pub(super) fn check(&self, right: &Right) -> Result<(), StoreError> {
        if self.rights.contains(right) {
            return Err(StoreError::Locked { path: self.lock.clone(), by: self.by, torrent: None });
        }
        Ok(())
    }
}

/// Refuses when a session that runs holds this right beneath a folder of records, other than the one whose rights are `own`.
pub(super) fn check(records: &Path, own: Option<&Held>, right: &Right) -> Result<(), StoreError> {
    let own = own.map(Held::path);
    others(&folder(records), own.as_deref())?.iter().try_for_each(|other| other.check(right))
}

fn folder(records: &Path) -> PathBuf {
    records.join("sessions")
}

fn others(folder: &Path, own: Option<&Path>) -> Result<Vec<Other>, StoreError> {
    let failed = |cause| StoreError::io("read", folder, cause);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut others = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if Some(path.as_path()) == own || path.extension().is_none_or(|end| end != "held") {
            continue;
        }
        others.extend(read(&path)?);
    }
    Ok(others)
}

/// What a file says; `None` when its session is over.
fn read(path: &Path) -> Result<Option<Other>, StoreError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => _ = read.map_err(|cause| StoreError::io("read", path, cause))?,
    }
    // One that is being written says nothing yet: whoever writes it looks afterwards who is there.
    let Some((by, lock, rest)) = head(&text) else { return Ok(None) };
    if holder_of(&lock)?.is_none() {
        return Ok(None);
    }
    let mut rights = HashSet::new();
    for word in rest.chunks_exact(1 + size_of::<Right>()) {
        let Some((sign, Ok(right))) = word.split_first().map(|(sign, right)| (sign, Right::try_from(right)))
        else {
            continue;
        };
        if *sign == b'+' {
            rights.insert(right);
        } else {
            rights.remove(&right);
        }
    }
    Ok(Some(Other { lock, by, rights }))
}

/// The process, the lock, and what follows.
fn head(text: &[u8]) -> Option<(Option<u32>, PathBuf, &[u8])> {
    let mut lines = text.splitn(3, |byte| *byte == b'\n');
    let (holder, len, rest) = (lines.next()?, lines.next()?, lines.next()?);
    let (by, _) = read_holder(&String::from_utf8_lossy(holder));
    let len: usize = std::str::from_utf8(len).ok()?.parse().ok()?;
    let (lock, rest) = rest.split_at_checked(len)?;
    Some((by, PathBuf::from(OsStr::from_bytes(lock)), rest))
}

/// A million torrents.
const MAX_FILE: u64 = 64 << 20;
