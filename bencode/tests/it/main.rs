//! Behaviour of the crate as its users see it.

mod encoding;
mod fuzz_corpus;
mod limits;
mod properties;
mod rules;
#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub)] // For the fuzz targets it is a crate.
mod targets;
mod views;
