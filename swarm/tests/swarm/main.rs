//! Swarms of real engines on virtual time.

mod arena;
mod asking;
mod basics;
mod claims;
mod framing;
mod opening;
mod selection;
