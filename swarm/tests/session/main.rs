//! Whole sessions over loopback: real sockets, files and trackers.

mod adding;
mod beside;
mod changed_files;
mod changes;
mod cold;
mod damage;
mod dht;
mod early;
mod ending;
mod events;
mod files;
mod https;
mod joined;
mod killed;
mod magnets;
mod many;
mod meddled;
mod placing;
mod reading;
mod resume;
mod room;
mod saving;
mod trackers;
mod transfer;
mod v2;
mod world;
