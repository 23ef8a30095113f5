//! What a torrent without metadata keeps.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use metainfo::InfoHashes;

use super::PeerKey;
use super::peer::Sender;
use crate::engine::metadata::Fetch;
use crate::engine::scope;
use crate::engine::tracker::TrackerId;

/// Addresses of which it is remembered which tracker named them; there are no more candidates than that.
const MOST_NAMED: usize = 3000;

/// The search for the info dictionary of one torrent.
pub(crate) struct Awaited {
    pub(super) hashes: InfoHashes,
    pub(super) fetch: Fetch<PeerKey, Sender>,
    /// Pieces of the dictionary, once it is there; the application is opening files.
    pub(super) found: Option<u32>,
    /// Whether the dictionary says that the torrent is private, as far as the application has told.
    pub(super) private: bool,
    /// Bytes of what is not checked yet, as they are counted.
    pub(super) held: usize,
    /// Which tracker named whom, so that a private torrent may keep to one.
    named: BTreeSet<(SocketAddr, TrackerId)>,
}

impl Awaited {
    pub(super) fn new(hashes: InfoHashes) -> Self {
        Self {
            hashes,
            fetch: Fetch::new(hashes),
            found: None,
            private: false,
            held: 0,
            named: BTreeSet::new(),
        }
    }

    /// A tracker named peers.
    pub(super) fn handle_named(&mut self, by: TrackerId, addrs: &[SocketAddr]) {
        let room = MOST_NAMED.saturating_sub(self.named.len());
        self.named.extend(addrs.iter().take(room).map(|addr| (scope::canonical(*addr), by)));
    }

    /// Whom only other trackers named.
    pub(super) fn named_by_others(&self, than: Option<TrackerId>) -> Vec<SocketAddr> {
        let by_it = |addr: SocketAddr| than.is_some_and(|id| self.named.contains(&(addr, id)));
        let mut others: Vec<_> = self.named.iter().map(|(addr, _)| *addr).filter(|a| !by_it(*a)).collect();
        others.dedup();
        others
    }
}
