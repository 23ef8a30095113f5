#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod engine;
#[cfg(feature = "reactor")]
pub mod reactor;
#[cfg(feature = "session")]
pub mod session;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
