//! A backend that loses what was not synced when its power is cut.

use crate::pads::{Pads, span};
use crate::{Operation, Storage, StorageError};
use metainfo::{Geometry, PieceRange};
use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a disk writes as a whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Bytes in memory, some of them durable, the others in a cache as those of a system and of a disk.
///
/// [`PowerLoss::cut`] gives what is there when the power is back: of each sector what was durable, or any of the versions that
/// were written after, each sector by itself. That covers writes that were dropped, torn and reordered.
#[derive(Debug)]
pub struct PowerLoss {
    geometry: Geometry,
    pads: Pads,
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    /// Pieces as they are read, while there is power.
    cached: HashMap<u32, Vec<u8>>,
    durable: HashMap<u32, Vec<u8>>,
    /// Writes since the last sync, oldest first.
    unsynced: Vec<Write>,
    /// Syncs that fail, from the next one on.
    failing_syncs: u32,
}

#[derive(Debug, Clone)]
struct Write {
    piece: u32,
    begin: usize,
    bytes: Vec<u8>,
}

impl PowerLoss {
    /// Nothing kept yet, of a torrent without pads.
    pub fn new(geometry: Geometry) -> Self {
        Self::with_pads(geometry, Pads::default())
    }

    /// Nothing kept yet, of a torrent with these pads.
    pub fn with_pads(geometry: Geometry, pads: Pads) -> Self {
        Self { geometry, pads, state: Mutex::default() }
    }

    /// Writes that are not durable yet.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// Makes the next syncs fail. What they were to make durable is so only after a later one.
    pub fn fail_syncs(&self, count: u32) {
        self.lock().failing_syncs = count;
    }

    /// What is there after a loss of power now. The same seed loses the same.
    pub fn cut(&self, seed: u64) -> Self {
        let state = self.lock();
        let mut random = Random(seed);
        // Half of the losses are alike everywhere: nothing got through, or nearly all did.
        let odds = [0, 0, 2, 50, 98, 100][random.below(6)];
        let mut durable = state.durable.clone();
        for Write { piece, begin, bytes } in &state.unsynced {
            let mut at = 0;
            while at < bytes.len() {
                let end = bytes.len().min(at + SECTOR - (begin + at) % SECTOR);
                if random.below(100) < odds {
                    let kept = durable.entry(*piece).or_insert_with(|| self.zeros(*piece));
                    kept[begin + at..begin + end].copy_from_slice(&bytes[at..end]);
                }
                at = end;
            }
        }
        let state = State { cached: durable.clone(), durable, ..State::default() };
        Self { geometry: self.geometry.clone(), pads: self.pads.clone(), state: Mutex::new(state) }
    }

    fn zeros(&self, piece: u32) -> Vec<u8> {
        vec![0; self.geometry.piece(piece).map_or(0, |piece| self.geometry.piece_len(piece) as usize)]
    }

    fn pads_in(&self, range: PieceRange) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let bytes = span(&self.geometry, range);
        let start = bytes.start;
        self.pads.within(bytes).map(move |pad| (pad.start - start) as usize..(pad.end - start) as usize)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error(operation: Operation, range: PieceRange, kind: ErrorKind) -> StorageError {
    let path = format!("piece {} without power", range.piece().get());
    StorageError::new(operation, path, Some(u64::from(range.begin())), kind.into())
}

impl Storage for PowerLoss {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        let mut bytes = match self.lock().cached.get(&range.piece().get()) {
            Some(piece) => piece[range.begin() as usize..range.end() as usize].to_vec(),
            None if self.pads_in(range).map(|pad| pad.len()).sum::<usize>() == range.len() as usize => {
                vec![0; range.len() as usize]
            }
            None => return Err(error(Operation::Read, range, ErrorKind::NotFound)),
        };
        self.pads_in(range).for_each(|pad| bytes[pad].fill(0));
        let mut rest = &bytes[..];
        for slice in into {
            let (now, later) = rest.split_at(slice.len().min(rest.len()));
            slice[..now.len()].copy_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    fn write(&self, range: PieceRange, data: &[IoSlice<'_>]) -> Result<(), StorageError> {
        let bytes: Vec<u8> = data.iter().flat_map(|slice| slice.iter().copied()).collect();
        if bytes.len() != range.len() as usize {
            return Err(error(Operation::Write, range, ErrorKind::InvalidInput));
        }
        let (piece, begin) = (range.piece().get(), range.begin() as usize);
        let mut state = self.lock();
        let cached = state.cached.entry(piece).or_insert_with(|| self.zeros(piece));
        cached[begin..begin + bytes.len()].copy_from_slice(&bytes);
        state.unsynced.push(Write { piece, begin, bytes });
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.lock();
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            return Err(StorageError::new(Operation::Sync, "a disk", None, io::Error::from_raw_os_error(5)));
        }
        for Write { piece, begin, bytes } in std::mem::take(&mut state.unsynced) {
            let kept = state.durable.entry(piece).or_insert_with(|| self.zeros(piece));
            kept[begin..begin + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

/// Numbers that look random (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }
}
