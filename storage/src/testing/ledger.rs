//! A record of what [`FileStorage`](crate::FileStorage) asked the system to change, on the thread that asked for it, from which tests
//! make up what is left after a loss of power.

use rustix::fs::AtFlags;
use std::cell::RefCell;
use std::os::fd::AsFd;
use std::path::Path;

/// A file or folder: its device, and its number there.
pub type Node = (u64, u64);

/// One change, or a promise that changes are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    Create {
        folder: Node,
        name: String,
        file: Node,
    },
    MakeFolder {
        folder: Node,
        name: String,
        made: Node,
    },
    Write {
        file: Node,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: Node,
        len: u64,
    },
    Rename {
        from: Node,
        old: String,
        to: Node,
        new: String,
    },
    Remove {
        folder: Node,
        name: String,
    },
    /// All of a file, or the names in a folder.
    Sync {
        node: Node,
    },
    /// What was written to a file before may never get to the disk, also by a later sync.
    FailedSync {
        node: Node,
    },
    /// All of a file system, by the device.
    SyncAll {
        device: u64,
    },
    /// As [`FailedSync`](Self::FailedSync), for all files of a file system.
    FailedSyncAll {
        device: u64,
    },
}

thread_local! {
    static LEDGER: RefCell<Option<Vec<Change>>> = const { RefCell::new(None) };
}

/// Runs `run`, and gives the changes that it asked for on this thread, in their order.
pub fn record<T>(run: impl FnOnce() -> T) -> (T, Vec<Change>) {
    LEDGER.set(Some(Vec::new()));
    let result = run();
    (result, LEDGER.take().unwrap_or_default())
}

/// How far the record is.
pub fn recorded() -> usize {
    LEDGER.with_borrow(|ledger| ledger.as_ref().map_or(0, Vec::len))
}

/// The node of something that is open.
pub fn node(fd: impl AsFd) -> Node {
    rustix::fs::fstat(fd).map_or((0, 0), |stat| (stat.st_dev, stat.st_ino))
}

/// The node of a path.
pub fn node_at(path: &Path) -> Node {
    rustix::fs::stat(path).map_or((0, 0), |stat| (stat.st_dev, stat.st_ino))
}

/// The folder and the name that a path beneath a folder leads to.
pub(crate) fn place(dir: impl AsFd, path: &str) -> (Node, String) {
    match path.rsplit_once('/') {
        None => (node(dir), path.to_owned()),
        Some((folder, name)) => {
            let stat = rustix::fs::statat(dir, folder, AtFlags::SYMLINK_NOFOLLOW);
            (stat.map_or((0, 0), |stat| (stat.st_dev, stat.st_ino)), name.to_owned())
        }
    }
}

/// Notes a change that was made. It is made up only if somebody wants to know.
pub(crate) fn note(change: impl FnOnce() -> Change) {
    LEDGER.with_borrow_mut(|ledger| {
        if let Some(ledger) = ledger {
            ledger.push(change());
        }
    });
}
