//! What a session keeps of its torrents, so that they go on where they were.
//!
//! - `begin`, before a torrent runs: takes the sole right to its record, reads it, and finds out what of it is true.
//! - `kept`, while it runs: makes a record of what is so, and writes it.
//! - `saver`: the tasks that say when, and that look how much room there is. Records are written on threads that may block, never on the reactor's.
//!
//! The order of writing is what makes a record true: pieces are hashed and written, then made durable, then recorded, and the
//! record replaces the one before as a whole. Before anything is written to a torrent's files its record says that it is
//! not up to date (`clean` is not set); it says so again at the end, when all was made durable.

mod begin;
mod database;
mod kept;

pub(super) mod magnet;
mod placing;
mod saver;
mod source;

pub use database::RedbStore;

pub(super) use begin::{Begun, begin, load};
pub(super) use kept::{Kept, Snapshot, names, place};
pub(super) use placing::placing;
pub(super) use saver::{Saver, finish, run, watch_space};
