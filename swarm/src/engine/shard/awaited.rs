//! What a torrent keeps that has no pieces yet.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use metainfo::InfoHashes;

use super::PeerKey;
use super::cold::Cold;
use super::layers::Sought;
use super::peer::Sender;
use crate::engine::metadata::Fetch;
use crate::engine::scope;
use crate::engine::tracker::TrackerId;

/// Addresses of which it is remembered which tracker named them; there are no more candidates than that.
const MOST_NAMED: usize = 3000;

/// Why a torrent has no pieces, and what it keeps until then: the search for its info dictionary, or what is recorded of it.
pub(crate) struct Awaited {
    pub(super) hashes: InfoHashes,
    pub(super) fetch: Fetch<PeerKey, Sender>,
    /// Pieces of the dictionary, once it is there; the application is opening files.
    pub(super) found: Option<u32>,
    /// The search for piece layers, once it is known which ones.
    pub(super) sought: Option<Box<Sought>>,
    /// Whether the dictionary says that the torrent is private, as far as the application has told.
    pub(super) private: bool,
    /// What it is is known, and it is not open.
    pub(super) cold: Option<Cold>,
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
            sought: None,
            private: false,
            cold: None,
            held: 0,
            named: BTreeSet::new(),
        }
    }

    /// Of a torrent that is known and not open.
    pub(super) fn cold(hashes: InfoHashes, cold: Cold) -> Self {
        Self { private: cold.outline.private, cold: Some(cold), ..Self::new(hashes) }
    }

    /// Bytes of what is not all there.
    pub(super) fn held_bytes(&self) -> usize {
        self.fetch.held_bytes() + self.sought.as_ref().map_or(0, |sought| sought.held)
    }

    /// A tracker named peers.
    pub(super) fn handle_named(&mut self, by: TrackerId, addrs: &[SocketAddr]) {
        if self.cold.is_some() {
            return;
        }
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
