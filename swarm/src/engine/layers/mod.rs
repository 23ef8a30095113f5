//! Fetching the piece layers of a torrent from peers (BEP 52), and how much of its trees is given to one of them.
//!
//! A v2 info dictionary has the root of each file's tree, and what a piece has to hash to is not in it. So a torrent that
//! is known by a magnet alone asks for its layers, 512 hashes at a time. Each answer comes with what proves it by the root:
//! it is judged as it comes, and who sent what does not hold is guilty of it alone. What one peer does not give is asked of
//! others.
//!
//! - `fetch`: who is asked for what, and what became of it.
//! - `plan`: which requests there are, and where their hashes go.
//! - `asks`: what a peer asks of us.

mod asks;
mod fetch;
mod plan;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use self::asks::Asks;
pub use self::fetch::Fetch;
pub use self::plan::{Layers, cost};

/// Requests that wait at one peer: 64 KiB of hashes.
const OUTSTANDING: usize = 4;
/// A request that was not answered for so long is asked of others; a late answer is still taken.
const PATIENCE: Duration = Duration::from_secs(8);
/// A request whose answer does not come so late either may be made again.
const FORGOTTEN: Duration = Duration::from_secs(64);
/// Late requests of one peer whose answers are still taken.
const MOST_LATE: usize = 8;
/// How long a peer is not asked again for what it rejected, or for anything when it did not answer; doubles each time in a row.
const REST: Duration = Duration::from_secs(10);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(120);
/// Rejects in a row after which a peer is left alone.
const MOST_REJECTS: u32 = 4;
/// Rejected requests that are remembered of one peer.
const MOST_SHUNNED: usize = 64;
/// Bytes of hashes that were never asked for, after which a peer is to go.
const MOST_UNASKED: usize = 1 << 20;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<K, W> {
    /// Ask this peer for hashes.
    Request {
        /// Whom.
        peer: K,
        /// For which.
        request: wire::peer::HashRequest,
    },
    /// All layers are there, and proven. Nothing more follows.
    Done(Layers),
    /// It sent hashes that are not of the tree. It is forgotten; do not add it again.
    Guilty(W),
}

/// What is there so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Requests that were answered.
    pub have: u32,
    /// Requests that all layers take.
    pub requests: u32,
    /// Peers that may have them: who did not give what it was last asked for is not counted.
    pub peers: usize,
}

/// The peer sent over a mebibyte that nobody asked it for, or asks without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;
