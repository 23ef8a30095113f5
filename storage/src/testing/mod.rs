//! What tests of this crate and of those above it have fail: system calls, power.

#[cfg(feature = "files")]
pub mod fat;
#[cfg(feature = "files")]
pub mod faults;
#[cfg(feature = "files")]
pub mod fuse;
#[cfg(feature = "files")]
pub mod ledger;
mod power;

pub use power::{PowerLoss, Random};
