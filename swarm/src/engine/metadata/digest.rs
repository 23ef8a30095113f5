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

/// Which of the hashes that were looked for a dictionary has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    All,
    None,
    /// One of two: those who named both named two torrents.
    One,
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

    /// Which of the hashes what was seen has.
    pub(super) fn compare(self, hashes: &InfoHashes) -> Fit {
        let v1 = self.v1.map(|v1| hashes.v1().is_some_and(|known| known.0 == *v1.finalize()));
        let v2 = self.v2.map(|v2| hashes.v2().is_some_and(|known| known.0 == *v2.finalize()));
        match (v1, v2) {
            (Some(true), Some(false)) | (Some(false), Some(true)) => Fit::One,
            (Some(false), _) | (_, Some(false)) => Fit::None,
            _ => Fit::All,
        }
    }
}
