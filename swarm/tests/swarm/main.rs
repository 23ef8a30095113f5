//! Swarms of real engines on virtual time.

mod arena;
mod asking;
mod basics;
mod claims;
mod corpus;
mod crashes;
mod data;
mod disks;
mod exchange;
mod faults;
mod finish;
mod framing;
mod honest;
mod keeping;
mod limits;
mod links;
mod magnets;
mod memory;
mod opening;
mod ordering;
mod review;
mod selection;
mod sharing;
mod sources;
mod talk;
mod trackers;
