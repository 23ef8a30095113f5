//! What a torrent without metadata keeps.

use std::sync::Arc;

use metainfo::InfoHashes;

use super::PeerKey;
use super::early::Early;
use super::peer::Sender;
use crate::engine::metadata::Fetch;
use crate::engine::time::Time;

/// Bytes of what peers say of their pieces that are kept, all peers of a torrent together: two hundred bitfields of 300,000 pieces.
pub(super) const MAX_EARLY: usize = 8 << 20;

/// The search for the info dictionary of one torrent.
pub(crate) struct Awaited {
    pub(super) hashes: InfoHashes,
    pub(super) fetch: Fetch<PeerKey, Sender>,
    /// The dictionary, once it is there; the application is opening files.
    pub(super) info: Option<Arc<[u8]>>,
    /// Bytes of what peers said of their pieces.
    pub(super) early: usize,
}

impl Awaited {
    pub(super) fn new(hashes: InfoHashes) -> Self {
        Self { hashes, fetch: Fetch::new(hashes), info: None, early: 0 }
    }

    /// A peer left.
    pub(super) fn handle_left(&mut self, now: Time, key: PeerKey, early: Option<&Early>) {
        self.early -= early.map_or(0, Early::held);
        self.fetch.remove_peer(now, key);
    }
}
