//! What a session keeps of its torrents, so that they go on where they were.
//!
//! - `begin`, before a torrent runs: takes the sole right to its record, reads it, opens its files (`opening`), and finds out what of it
//!   is true.
//! - `kept`, while it runs: makes a record of what is so, and writes it.
//! - `saver`: the task that says when, for each device by itself (`queue`), many torrents at a time (`batch`); and `space`, which looks
//!   how much room there is. Records are written on threads that may block, never on the reactor's; a disk that hangs holds up
//!   the torrents on it, and no others.
//!
//! The order of writing is what makes a record true: pieces are hashed and written, then made durable, then recorded, and the
//! record replaces the one before as a whole. Before anything is written to a torrent's files its record says that it is
//! not up to date (`clean` is not set); it says so again at the end, when all was made durable.

mod batch;
mod begin;
mod choices;
mod database;
mod durable;
mod foreign;
#[cfg(test)]
mod hidden;
mod kept;
pub(super) mod magnet;
mod naming;
mod opening;
mod outline;
mod placing;
mod queue;
mod rest;
mod room;
mod saver;
mod source;
mod space;
#[cfg(test)]
mod strikes;
mod translate;
#[cfg(test)]
mod unnamed;

pub use database::RedbStore;

pub(super) use begin::{Begun, begin, load};
pub(super) use kept::{Kept, Snapshot};
pub(super) use naming::{names, place};
pub(super) use outline::{Learnt, added, outlined, remember};
pub(super) use placing::placing;
pub(super) use rest::{Rest, at_rest};
pub(super) use saver::{Last, Saver, finish, run};
pub(super) use source::torrent_file;
pub(super) use space::watch_space;
pub(super) use translate::{memos, moved};
