//! The hashes of an info dictionary, a few pieces at a time.

use metainfo::InfoHashes;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// The hashes by which a torrent is known, of as much of its info dictionary as was seen.
#[derive(Clone, Debug)]
pub(super) struct Digest {
    v1: Option<Sha1>,
    v2: Option<Sha256>,
}

impl Digest {
    /// Of nothing yet, by the hashes that are known.
    pub(super) fn new(hashes: &InfoHashes) -> Self {
        Self { v1: hashes.v1().map(|_| Sha1::new()), v2: hashes.v2().map(|_| Sha256::new()) }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        if let Some(v1) = &mut self.v1 {
            v1.update(piece);
        }
        if let Some(v2) = &mut self.v2 {
            v2.update(piece);
        }
    }

    /// Whether what was seen has every one of the hashes.
    pub(super) fn matches(self, hashes: &InfoHashes) -> bool {
        let v1 = self.v1.map(|v1| v1.finalize().into());
        let v2 = self.v2.map(|v2| v2.finalize().into());
        v1 == hashes.v1().map(|v1| v1.0) && v2 == hashes.v2().map(|v2| v2.0)
    }
}
