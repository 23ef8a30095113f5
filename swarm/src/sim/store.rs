//! Bytes at rest on a virtual disk.
//!
//! Hundreds of nodes keep the same torrent, so a store keeps only which bytes were written, and the blocks that differ from the
//! torrent's content.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Mutex, PoisonError};

use metainfo::{PieceIndex, PieceRange};
use storage::{Operation, Storage, StorageError};

use super::content::Content;

/// One node's copy of a torrent.
pub struct SimStore {
    content: Content,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Written parts of each piece: start to end.
    written: BTreeMap<PieceIndex, BTreeMap<u32, u32>>,
    /// Bytes that differ from the content.
    wrong: BTreeMap<(PieceIndex, u32), u8>,
    /// Pieces that cannot be read or written.
    broken: BTreeSet<PieceIndex>,
    writes_left: Option<u64>,
}

impl SimStore {
    /// An empty one.
    pub fn new(content: Content) -> Self {
        Self { content, state: Mutex::default() }
    }

    /// One that has these pieces.
    pub fn with(content: Content, pieces: impl IntoIterator<Item = PieceIndex>) -> Self {
        let store = Self::new(content);
        for piece in pieces {
            let len = store.content.torrent.geometry().piece_len(piece);
            store.lock().written.entry(piece).or_default().insert(0, len);
        }
        store
    }

    /// Whether every byte of the piece is there and right.
    pub fn is_right(&self, piece: PieceIndex) -> bool {
        let state = self.lock();
        let len = self.content.torrent.geometry().piece_len(piece);
        let whole = state.written.get(&piece).is_some_and(|parts| parts.get(&0) == Some(&len));
        whole && state.wrong.range((piece, 0)..(piece, len)).next().is_none()
    }

    /// Makes a piece fail every read and write.
    pub fn break_piece(&self, piece: PieceIndex) {
        self.lock().broken.insert(piece);
    }

    /// The disk is full after so many more bytes; `None` gives it room again.
    pub fn fill_up_after(&self, bytes: Option<u64>) {
        self.lock().writes_left = bytes;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn mark_written(&mut self, range: PieceRange) {
        let parts = self.written.entry(range.piece()).or_default();
        let (mut start, mut end) = (range.begin(), range.end());
        let touching: Vec<_> =
            parts.range(..=end).filter(|(_, e)| **e >= start).map(|(s, e)| (*s, *e)).collect();
        for (s, e) in touching {
            parts.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        parts.insert(start, end);
    }

    fn covers(&self, range: PieceRange) -> bool {
        let part =
            self.written.get(&range.piece()).and_then(|parts| parts.range(..=range.begin()).next_back());
        part.is_some_and(|(_, end)| *end >= range.end())
    }
}

fn failed(operation: Operation, range: PieceRange, kind: io::ErrorKind) -> StorageError {
    let path = format!("piece {}", range.piece().get());
    StorageError::new(operation, path, Some(range.begin().into()), kind.into())
}

impl Storage for SimStore {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        let state = self.lock();
        if state.broken.contains(&range.piece()) {
            return Err(failed(Operation::Read, range, io::ErrorKind::Other));
        }
        if !state.covers(range) {
            return Err(failed(Operation::Read, range, io::ErrorKind::UnexpectedEof));
        }
        let mut bytes = self.content.range(range).to_vec();
        for ((_, at), byte) in state.wrong.range((range.piece(), range.begin())..(range.piece(), range.end()))
        {
            bytes[(at - range.begin()) as usize] = *byte;
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
        let mut state = self.lock();
        if state.broken.contains(&range.piece()) {
            return Err(failed(Operation::Write, range, io::ErrorKind::Other));
        }
        if let Some(left) = &mut state.writes_left {
            *left = left
                .checked_sub(range.len().into())
                .ok_or_else(|| failed(Operation::Write, range, io::ErrorKind::StorageFull))?;
        }
        let right = self.content.range(range);
        let mut at = 0;
        for slice in data {
            let expected = &right[at..at + slice.len()];
            if **slice == *expected && state.wrong.is_empty() {
                at += slice.len();
                continue;
            }
            for (byte, expected) in slice.iter().zip(expected) {
                let place = (range.piece(), range.begin() + at as u32);
                if byte == expected {
                    state.wrong.remove(&place);
                } else {
                    state.wrong.insert(place, *byte);
                }
                at += 1;
            }
        }
        state.mark_written(range);
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
