//! Fetching a torrent's info dictionary from peers (BEP 9), and how much of it is given to one of them.
//!
//! Nothing that a peer says of the dictionary can be checked before all of it is there: neither its size nor a piece.
//! So claims are kept apart, and what turns out wrong leads to those who said it:
//!
//! ```text
//!                       hash right
//!   shared, by size  --------------> done
//!        |                            ^
//!        | hash wrong, one sender     | hash right
//!        |------> it is guilty <------+--------- alone, one for each suspect
//!        |                      hash wrong         ^
//!        +-----------------------------------------+
//!          hash wrong, several senders: all are suspects
//! ```
//!
//! Peers that claim the same size fill one assembly together; other sizes have assemblies of their own. After a wrong
//! hash its senders are asked again, but each for the whole dictionary: the honest ones among them prove
//! themselves, the others are found guilty, and those that never took part go on together. All of that goes on side by
//! side, as long as the sizes that are claimed fit a budget, so that whoever is slow holds up nobody but itself.
//!
//! A dictionary that has one of two hashes and not the other ends the search: the hashes are of two torrents.
//!
//! - `fetch`: who is asked for what, and what became of it.
//! - `courses`: which assemblies there are, and whose turn it is when there is no room for all.
//! - `assembly`, `digest`, `info`: one dictionary on its way. It is hashed as it comes, a little at a time.
//! - `quota`: giving it to others.

mod assembly;
mod courses;
mod digest;
mod fetch;
mod info;
mod quota;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::fetch::{Fetch, Weight};
pub use self::info::Info;
pub use self::quota::{Answer, Quota};

/// Bytes of the largest info dictionary that is fetched (64 MiB, what a torrent file may have).
pub const MAX_SIZE: u64 = metainfo::MAX_SIZE as u64;
/// Bytes of a piece of the info dictionary; the last one may be shorter (BEP 9).
pub const PIECE: usize = 16 << 10;

/// Requests that wait at one peer: its answers fill its link, and what it does not answer holds little up.
const OUTSTANDING: usize = 2;
/// A request that was not answered for so long is asked of others only; a late answer is still taken.
const PATIENCE: Duration = Duration::from_secs(8);
/// Late requests of one peer whose answers are still taken.
const MOST_LATE: usize = 8;
/// How long a peer is left alone that did not answer, rejected, or contradicted itself; doubles each time.
const REST: Duration = Duration::from_secs(10);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(120);
/// Suspects that are remembered.
const MOST_SUSPECTS: usize = 1024;
/// Bytes that were never asked for, after which a peer is to go.
const MOST_UNASKED: usize = 1 << 20;
/// Pieces that are hashed at a time: half a mebibyte takes some 0.3 ms for each hash with SHA instructions, 2 ms without.
const HASHED_AT_ONCE: u32 = 32;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<K, W> {
    /// Ask this peer for a piece.
    Request {
        /// Whom.
        peer: K,
        /// Which piece.
        piece: u32,
    },
    /// The info dictionary is there and matches every hash. Nothing more follows.
    Done(Info),
    /// A dictionary has one of the two hashes and not the other: no dictionary has both, and nobody is to blame but who
    /// named them together. Nothing more follows.
    Contradiction,
    /// It alone sent a dictionary that does not match. It is forgotten; do not add it again.
    Guilty(W),
}

/// What is there so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Pieces received, of the size that is farthest on.
    pub have: u32,
    /// Pieces of that size; `None` when nobody said a size.
    pub pieces: Option<u32>,
    /// Peers that say to have it.
    pub peers: usize,
}

/// The peer sent over a mebibyte that nobody asked it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;

/// Pieces of an info dictionary of so many bytes.
pub fn pieces_of(size: u64) -> u32 {
    u32::try_from(size.div_ceil(PIECE as u64)).unwrap_or(u32::MAX)
}

/// Bytes of a piece of an info dictionary; zero past its end.
fn len_of(size: u64, piece: u32) -> usize {
    let left = size.saturating_sub(u64::from(piece) * PIECE as u64);
    usize::try_from(left).unwrap_or(usize::MAX).min(PIECE)
}
