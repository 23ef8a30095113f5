//! Swarms of real engines on virtual time.

mod arena;
mod asking;
mod basics;
mod claims;
mod corpus;
mod data;
mod disks;
mod finish;
mod framing;
mod honest;
mod limits;
mod links;
mod magnets;
mod opening;
mod review;
mod selection;
mod sharing;
mod sources;
mod talk;
mod trackers;
