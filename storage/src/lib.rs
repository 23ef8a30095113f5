#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod buf;
mod error;
mod job;

pub use buf::{Buf, Pool};
pub use error::{Operation, StorageError};
pub use job::{Completion, Job, StoreId, Token};
