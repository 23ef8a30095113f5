//! Whole sessions over loopback: real sockets, files and trackers.

mod adding;
mod beside;
mod changed_files;
mod changes;
mod dht;
mod ending;
mod events;
mod files;
mod https;
mod killed;
mod magnets;
mod many;
mod placing;
mod reading;
mod resume;
mod saving;
mod trackers;
mod transfer;
mod world;
