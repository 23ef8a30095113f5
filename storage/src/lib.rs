#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod allocation;
mod backend;
mod buf;
mod change;
pub mod digest;
#[cfg(feature = "files")]
mod disk;
mod error;
mod faulty;
#[cfg(feature = "files")]
mod files;
mod hash;
mod job;
mod lanes;
mod linking;
mod memory;
mod pads;
pub mod plan;
mod recheck;
pub mod record;
mod scan;
mod sha1;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use allocation::Allocation;
pub use backend::Storage;
pub use buf::{Buf, Pool};
pub use change::FileChange;
#[cfg(feature = "files")]
pub use disk::{Disk, DiskConfig};
pub use error::{Operation, StorageError, Trouble};
pub use faulty::{Fault, FaultyStorage};
#[cfg(feature = "files")]
pub use files::{
    Existing, FileNames, FileOptions, FileStorage, Foreign, Linked, MoveOptions, Moved, OpenFiles, Removed,
    Room, RootId, Stamp, Touched, find_existing, is_suffix,
};
pub use hash::{Hashes, PieceDigest, PieceHasher, Pieces};
pub use job::{Completion, Job, StoreId, Token};
pub use lanes::hash_lanes;
pub use linking::LinkMode;
pub use memory::MemoryStorage;
pub use pads::Pads;
pub use recheck::{Rechecked, Verdict, recheck};
pub use scan::{Progress, ScanOptions};
