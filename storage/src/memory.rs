//! A backend that keeps bytes in memory: for tests, simulations and small torrents.

use crate::pads::{Pads, span};
use crate::{Operation, Storage, StorageError};
use metainfo::{Geometry, PieceIndex, PieceRange};
use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{PoisonError, RwLock};

/// Pieces in memory. A piece takes memory from its first write; before that it is not found.
#[derive(Debug)]
pub struct MemoryStorage {
    geometry: Geometry,
    pads: Pads,
    pieces: RwLock<HashMap<PieceIndex, Box<[u8]>>>,
}

impl MemoryStorage {
    /// Nothing kept yet, of a torrent without pads.
    pub fn new(geometry: Geometry) -> Self {
        Self::with_pads(geometry, Pads::default())
    }

    /// Nothing kept yet, of a torrent with these pads.
    pub fn with_pads(geometry: Geometry, pads: Pads) -> Self {
        Self { geometry, pads, pieces: RwLock::default() }
    }

    /// The bytes of a piece, if any of it was written.
    pub fn piece(&self, piece: PieceIndex) -> Option<Vec<u8>> {
        self.pieces.read().unwrap_or_else(PoisonError::into_inner).get(&piece).map(|bytes| bytes.to_vec())
    }

    /// The parts of the range that are kept, as places in the range.
    fn kept(&self, range: PieceRange) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let bytes = span(&self.geometry, range);
        let (start, end) = (bytes.start, bytes.end);
        let mut at = start;
        let pads = self.pads.within(bytes).chain(std::iter::once(end..end));
        pads.filter_map(move |pad| {
            let kept = (at - start) as usize..(pad.start - start) as usize;
            at = pad.end;
            (!kept.is_empty()).then_some(kept)
        })
    }

    fn error(operation: Operation, range: PieceRange, kind: io::ErrorKind) -> StorageError {
        let path = format!("piece {} in memory", range.piece().get());
        StorageError::new(operation, path, Some(u64::from(range.begin())), kind.into())
    }
}

impl Storage for MemoryStorage {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = vec![0; range.len() as usize];
        for kept in self.kept(range) {
            let piece = pieces
                .get(&range.piece())
                .ok_or_else(|| Self::error(Operation::Read, range, io::ErrorKind::NotFound))?;
            let from = range.begin() as usize + kept.start;
            bytes[kept.clone()].copy_from_slice(&piece[from..from + kept.len()]);
        }
        let mut rest = &bytes[..];
        for slice in into {
            let (now, later) = rest.split_at(slice.len().min(rest.len()));
            slice[..now.len()].copy_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    fn write(&self, range: PieceRange, data: &[IoSlice<'_>]) -> Result<(), StorageError> {
        let mut pieces = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        let len = self.geometry.piece_len(range.piece()) as usize;
        let piece = pieces.entry(range.piece()).or_insert_with(|| vec![0; len].into_boxed_slice());
        let bytes: Vec<u8> = data.iter().flat_map(|slice| slice.iter().copied()).collect();
        if bytes.len() != range.len() as usize {
            return Err(Self::error(Operation::Write, range, io::ErrorKind::InvalidInput));
        }
        for kept in self.kept(range) {
            let to = range.begin() as usize + kept.start;
            piece[to..to + kept.len()].copy_from_slice(&bytes[kept]);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn read_cached(&self, range: PieceRange, into: &mut [u8]) -> Option<Result<(), StorageError>> {
        Some(self.read(range, &mut [IoSliceMut::new(into)]))
    }
}
