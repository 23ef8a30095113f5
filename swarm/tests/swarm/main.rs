//! Swarms of real engines on virtual time.

mod arena;
mod asking;
mod basics;
mod claims;
mod data;
mod disks;
mod framing;
mod honest;
mod links;
mod opening;
mod selection;
mod talk;
mod trackers;
