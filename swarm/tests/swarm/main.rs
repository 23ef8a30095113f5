//! Swarms of real engines on virtual time.

mod basics;
mod selection;
