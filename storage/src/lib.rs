#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod backend;
mod buf;
mod error;
mod faulty;
mod hash;
mod job;
mod memory;
mod pads;
pub mod plan;

pub use backend::Storage;
pub use buf::{Buf, Pool};
pub use error::{Operation, StorageError};
pub use faulty::{Fault, FaultyStorage};
pub use hash::{PieceDigest, PieceHasher, Pieces};
pub use job::{Completion, Job, StoreId, Token};
pub use memory::MemoryStorage;
pub use pads::Pads;
