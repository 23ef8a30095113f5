//! What is kept of a torrent between two runs: records, and where they are kept.
//!
//! A [`Record`] has three sheets, each with its own version and checksum, so that each is read and written alone:
//!
//! | sheet | what it holds | read |
//! |---|---|---|
//! | [`Summary`] | names, folder, totals, times, flags, trackers; some 300 bytes | of every torrent, at the start of a session |
//! | [`State`] | pieces, doubtful ones, partial blocks, file stamps, choices, peers, trackers | of a torrent that is run |
//! | [`Source`] | the torrent file or the magnet link; written once | of a torrent that is run |
//!
//! A record is a claim, not the truth: [`resume`] says which of its pieces are to be looked at again before they are
//! believed. What is in it was made durable before it was written, so that after a crash it claims too little, never
//! too much.
//!
//! Reading never panics and never believes a damaged sheet. A sheet of a newer version is an error of its own: what
//! wrote it knows more than we do, and it is not to be overwritten.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

#[cfg(feature = "files")]
mod baseline;
mod boot;
mod bytes;
mod error;
#[cfg(feature = "files")]
mod file;
mod finishing;
mod outline;
mod pieces;
pub mod resume;
mod sheet;
mod source;
mod spare;
mod state;
mod store;
mod summary;

#[cfg(feature = "files")]
pub use baseline::Baseline;
pub use boot::{BootId, boot};
pub use error::{Damage, StoreError};
#[cfg(feature = "files")]
pub use file::{FileStore, ReadySheets, SessionLeases, SpareSheets};
pub use finishing::{Finishing, LinkTo};
pub use outline::Outline;
pub use pieces::PieceSet;
pub use sheet::{is_newer, sum};
pub use source::Source;
pub use state::{Choices, FileStamp, Order, Partial, State, Tracker};
pub use store::{Key, Lease, Listing, Store};
pub use summary::{Flags, Folder, Summary, Times, Totals};

/// The newest version. Older ones are read; newer ones are refused. Version 2 of a [`State`] says what was under way with
/// its files, version 3 how they are finished, version 4 which folder they are being moved to, version 5 when they were made;
/// version 6 has markers and mount points of folders, version 7 of a [`Summary`] an [`Outline`], version 8 of a [`State`] the start
/// of the system and times of change. Each is written only when there is something to say.
pub const VERSION: u8 = 9;

/// The rules by which `metainfo` turns names of a torrent into file names. Kept with each torrent, so that a program with
/// other rules knows which ones its files were named by.
pub const NAME_RULES: u16 = 1;

/// All that is kept of a torrent.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The part that is read of every torrent.
    pub summary: Summary,
    /// The part that is read to run it.
    pub state: State,
    /// What it is; `None` in a save leaves what is kept as it is, and in a load says that nothing is kept.
    pub source: Option<Source>,
}

impl Record {
    /// Which record it is.
    pub fn key(&self) -> Key {
        Key { id: self.summary.hashes.id(), dir: self.summary.dir.clone() }
    }

    /// Whether it says that anything is in its folder, or lost what it said of that.
    pub fn claims_anything(&self) -> bool {
        let State { pieces, doubtful, partial, created, .. } = &self.state;
        let is_lost = pieces.is_empty() && !self.summary.flags.no_metadata;
        is_lost || !(pieces.is_none() && doubtful.is_none() && partial.is_empty() && created.is_empty())
    }
}

#[cfg(test)]
mod tests;
