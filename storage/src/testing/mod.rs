//! What tests of this crate and of those above it make fail: system calls, power.

#[cfg(feature = "files")]
pub mod faults;
