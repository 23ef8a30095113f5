use super::{BuildError, Draft};
use crate::geometry::{BLOCK, PieceIndex};
use crate::merkle::Hash;
use alloc::vec::Vec;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Hashes the bytes of all files of a [`Draft`], in the order of its layout and split in any way. Pad files
/// are not fed.
#[derive(Clone, Debug)]
pub struct Feed {
    draft: Draft,
    /// Pieces that are done.
    piece: u32,
    /// Bytes hashed of the current piece, padding included.
    in_piece: u32,
    fed: u64,
    sha1: Sha1,
    sha256: Sha256,
    in_block: u32,
    leaves: Vec<Hash>,
    /// Bytes of the current piece that are fed; what follows is padding.
    data: u32,
}

impl Feed {
    pub(super) fn new(draft: Draft) -> Self {
        let mut feed = Self {
            draft,
            piece: 0,
            in_piece: 0,
            fed: 0,
            sha1: Sha1::new(),
            sha256: Sha256::new(),
            in_block: 0,
            leaves: Vec::new(),
            data: 0,
        };
        feed.start_piece();
        feed
    }

    /// The next bytes of the files.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.fed = self.fed.saturating_add(bytes.len() as u64);
        while !bytes.is_empty()
            && let Ok(piece) = self.draft.geometry.piece(self.piece)
        {
            let (now, rest) = bytes.split_at(bytes.len().min((self.data - self.in_piece) as usize));
            self.hash(now);
            bytes = rest;
            if self.in_piece == self.data {
                self.end_piece(piece);
            }
        }
    }

    /// The torrent file.
    ///
    /// # Errors
    /// When more or fewer bytes were fed than the files have, or as [`Draft::finish`].
    pub fn finish(self) -> Result<Vec<u8>, BuildError> {
        let expected = self.draft.layout.payload();
        if self.fed != expected {
            return Err(BuildError::Bytes { expected, found: self.fed });
        }
        self.draft.finish()
    }

    fn hash(&mut self, bytes: &[u8]) {
        if !self.draft.is_v2_only() {
            self.sha1.update(bytes);
        }
        self.in_piece += bytes.len() as u32;
        if self.draft.is_v1_only() {
            return;
        }
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min((BLOCK - self.in_block) as usize));
            self.sha256.update(now);
            self.in_block += now.len() as u32;
            bytes = rest;
            if self.in_block == BLOCK {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        self.leaves.push(self.sha256.finalize_reset().into());
        self.in_block = 0;
    }

    fn end_piece(&mut self, piece: PieceIndex) {
        if self.in_block > 0 {
            self.end_block();
        }
        let mut padding = (self.draft.geometry.piece_len(piece) - self.in_piece) as usize;
        while padding > 0 {
            const ZEROS: [u8; 4096] = [0; 4096];
            let now = padding.min(ZEROS.len());
            self.sha1.update(&ZEROS[..now]);
            padding -= now;
        }
        // The piece is of this draft and of its version, so that neither can fail.
        if !self.draft.is_v2_only() {
            let _ = self.draft.set_v1(piece, self.sha1.finalize_reset().into());
        }
        if !self.draft.is_v1_only() {
            let _ = self.draft.set_v2_leaves(piece, &self.leaves);
        }
        self.leaves.clear();
        self.piece += 1;
        self.start_piece();
    }

    fn start_piece(&mut self) {
        self.in_piece = 0;
        self.data = match self.draft.geometry.piece(self.piece) {
            Ok(piece) => {
                let full = self.draft.geometry.piece_len(piece);
                self.draft.v2_shape(piece).map_or(full, |shape| shape.data)
            }
            Err(_) => 0,
        };
    }
}
