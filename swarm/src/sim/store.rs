//! Bytes at rest on a virtual disk.
//!
//! Hundreds of nodes keep the same torrent, so a store keeps only which bytes were written, and the blocks that differ from the
//! torrent's content. On request it also keeps apart what was synced, so that a power cut can lose the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Mutex, PoisonError};

use metainfo::{PieceIndex, PieceRange};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use storage::{FileChange, Operation, Storage, StorageError, Trouble};

use super::content::Content;
use super::platter::Platter;

/// Bytes that a power cut keeps, loses or tears as one.
const SECTOR: u32 = 4096;

/// One node's copy of a torrent.
pub struct SimStore {
    content: Content,
    state: Mutex<State>,
}

/// Calls that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Calls of this kind: `Read`, `Write`, `Sync`, or `Open` for probes.
    pub operation: Operation,
    /// The first that fails, counted from 0 since the failing was set.
    pub nth: u64,
    /// Whether those after it fail too.
    pub lasting: bool,
    /// How.
    pub kind: io::ErrorKind,
}

#[derive(Default)]
struct State {
    now: Platter,
    /// What is durable, and what was written since: only when power may be cut.
    power: Option<Power>,
    /// Pieces that cannot be read or written.
    broken: BTreeSet<PieceIndex>,
    writes_left: Option<u64>,
    /// Pieces whose bytes changed since somebody asked, maybe more than once.
    changed: Vec<PieceIndex>,
    failing: Option<(Failing, u64)>,
    calls: [u64; 4],
    is_gone: bool,
    /// What others did that nobody asked about yet.
    changes: Vec<FileChange>,
    /// Pieces of files that are not there, and of which.
    removed: BTreeMap<PieceIndex, usize>,
    /// Its bytes were changed behind the engine's back.
    is_tampered: bool,
}

#[derive(Default)]
struct Power {
    durable: Platter,
    unsynced: Vec<(PieceRange, Vec<u8>)>,
}

impl SimStore {
    /// An empty one.
    pub fn new(content: Content) -> Self {
        let store = Self { content, state: Mutex::default() };
        store.lock().now = store.blank();
        store
    }

    /// Nothing was written. Pads are there all the same.
    fn blank(&self) -> Platter {
        let mut platter = Platter::default();
        self.content.pads().into_iter().for_each(|pad| platter.mark(pad));
        platter
    }

    /// One that has these pieces.
    pub fn with(content: Content, pieces: impl IntoIterator<Item = PieceIndex>) -> Self {
        let store = Self::new(content);
        for piece in pieces {
            store.lock().now.mark(store.content.torrent.geometry().whole(piece));
        }
        store
    }

    /// Whether every byte of the piece is there and right.
    pub fn is_right(&self, piece: PieceIndex) -> bool {
        self.lock().now.is_right(self.content.torrent.geometry().whole(piece))
    }

    /// Makes a piece fail every read and write.
    pub fn break_piece(&self, piece: PieceIndex) {
        self.lock().broken.insert(piece);
    }

    /// Makes all broken pieces whole again.
    pub fn mend(&self) {
        let mut state = self.lock();
        state.broken.clear();
        state.failing = None;
        state.is_gone = false;
    }

    /// Changes one byte of a piece behind everyone's back.
    pub fn corrupt(&self, piece: PieceIndex, at: u32) {
        let mut state = self.lock();
        state.now.corrupt(piece, at);
        state.is_tampered = true;
    }

    /// Loses every byte that is there.
    pub fn wipe(&self) {
        let mut state = self.lock();
        state.now = self.blank();
        state.is_tampered = true;
    }

    /// Somebody removes a file of the torrent; what it had is lost.
    pub fn remove_file(&self, index: usize) {
        self.lose_file(index, Some(is_missing(index)));
    }

    /// Somebody puts another file, without a right byte, in the place of one of the torrent.
    pub fn replace_file(&self, index: usize) {
        self.lose_file(index, None);
    }

    /// Somebody cuts a file of the torrent to nothing.
    pub fn cut_file(&self, index: usize) {
        let cause = io::ErrorKind::UnexpectedEof.into();
        self.lose_file(
            index,
            Some(StorageError::new(Operation::Read, format!("file {index}"), Some(0), cause)),
        );
    }

    fn lose_file(&self, index: usize, lost: Option<StorageError>) {
        let pieces = self.content.torrent.layout().file_pieces(index).into_iter().flatten();
        let mut state = self.lock();
        for piece in pieces.filter_map(|index| self.content.torrent.geometry().piece(index).ok()) {
            match &lost {
                Some(why) => {
                    state.now.lose(piece);
                    if why.trouble() == Trouble::Missing {
                        state.removed.insert(piece, index);
                    }
                }
                None => state.now.corrupt(piece, 0),
            }
        }
        state.is_tampered = true;
        state.changes.push(FileChange { file: index, from: 0, lost });
    }

    /// Somebody brings a file of the torrent back, with all its bytes.
    pub fn restore_file(&self, index: usize) {
        let pieces = self.content.torrent.layout().file_pieces(index).into_iter().flatten();
        let mut state = self.lock();
        for piece in pieces.filter_map(|index| self.content.torrent.geometry().piece(index).ok()) {
            state.now.lose(piece);
            state.removed.remove(&piece);
            state.now.mark(self.content.torrent.geometry().whole(piece));
        }
        state.changes.push(FileChange { file: index, from: 0, lost: None });
    }

    /// Pieces whose bytes may have changed since the last call.
    pub(super) fn take_changed(&self) -> Vec<PieceIndex> {
        std::mem::take(&mut self.lock().changed)
    }

    /// Whether its bytes were changed behind the engine's back, or are out of reach: the engine may claim what is not there
    /// until it looks.
    pub fn is_tampered(&self) -> bool {
        let state = self.lock();
        state.is_tampered || state.is_gone
    }

    /// The disk is full after so many more bytes; `None` gives it room again.
    pub fn fill_up_after(&self, bytes: Option<u64>) {
        self.lock().writes_left = bytes;
    }

    /// Lets calls fail from now on; `None` ends it.
    pub fn fail(&self, failing: Option<Failing>) {
        self.lock().failing = failing.map(|failing| (failing, 0));
    }

    /// The device is gone, or back.
    pub fn set_gone(&self, is_gone: bool) {
        self.lock().is_gone = is_gone;
    }

    /// Reads, writes, syncs and probes so far.
    pub fn calls(&self) -> [u64; 4] {
        self.lock().calls
    }

    /// From now on a power cut loses what was not synced; what is there now is durable.
    pub fn power_may_fail(&self) {
        let mut state = self.lock();
        let durable = state.now.clone();
        state.power.get_or_insert_with(|| Power { durable, unsynced: Vec::new() });
    }

    /// The power is cut: of what was written and not synced, any part is there, in any order, torn at sectors, or zeros.
    pub fn cut_power(&self, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut state = self.lock();
        let Some(power) = &mut state.power else { return };
        let mut lost = std::mem::take(&mut power.unsynced);
        let mut left = power.durable.clone();
        while !lost.is_empty() {
            let (range, bytes) = lost.swap_remove(rng.random_range(0..lost.len()));
            for begin in (range.begin()..range.end()).step_by(SECTOR as usize) {
                let end = range.end().min(begin + SECTOR);
                let part = self.content.part(range.piece(), begin, end);
                let sector = &bytes[(begin - range.begin()) as usize..(end - range.begin()) as usize];
                match rng.random_range(0..10) {
                    0..4 => {}
                    4..8 => left.write(part, self.content.range(part), sector),
                    _ => left.write(part, self.content.range(part), &vec![0; sector.len()]),
                }
            }
        }
        power.durable = left.clone();
        state.now = left;
        state.changed = self.content.torrent.geometry().pieces().collect();
    }

    /// Counts a call, and lets it fail if it is to.
    fn call(
        &self,
        state: &mut State,
        operation: Operation,
        range: Option<PieceRange>,
    ) -> Result<(), StorageError> {
        let at = match operation {
            Operation::Read => 0,
            Operation::Write => 1,
            Operation::Sync => 2,
            _ => 3,
        };
        state.calls[at] += 1;
        if state.is_gone {
            return Err(failed(operation, range, io::ErrorKind::NotConnected));
        }
        if let Some((failing, count)) = &mut state.failing
            && failing.operation == operation
        {
            *count += 1;
            if *count == failing.nth + 1 || (*count > failing.nth && failing.lasting) {
                return Err(failed(operation, range, failing.kind));
            }
        }
        if range.is_some_and(|range| state.broken.contains(&range.piece())) {
            return Err(failed(operation, range, io::ErrorKind::Other));
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(operation: Operation, range: Option<PieceRange>, kind: io::ErrorKind) -> StorageError {
    let path = range.map_or("the folder".into(), |range| format!("piece {}", range.piece().get()));
    StorageError::new(operation, path, range.map(|range| range.begin().into()), kind.into())
}

fn is_missing(file: usize) -> StorageError {
    StorageError::new(Operation::Open, format!("file {file}"), None, io::ErrorKind::NotFound.into())
}

impl Storage for SimStore {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        let mut state = self.lock();
        self.call(&mut state, Operation::Read, Some(range))?;
        if !state.now.covers(range) {
            return Err(match state.removed.get(&range.piece()) {
                Some(file) => is_missing(*file),
                None => failed(Operation::Read, Some(range), io::ErrorKind::UnexpectedEof),
            });
        }
        let bytes = state.now.read(range, self.content.range(range));
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
        self.call(&mut state, Operation::Write, Some(range))?;
        if let Some(left) = &mut state.writes_left {
            *left = left
                .checked_sub(range.len().into())
                .ok_or_else(|| failed(Operation::Write, Some(range), io::ErrorKind::StorageFull))?;
        }
        if state.changed.last() != Some(&range.piece()) {
            state.changed.push(range.piece());
        }
        state.removed.remove(&range.piece());
        let right = self.content.range(range);
        if let Some(power) = &mut state.power {
            let bytes: Vec<u8> = data.iter().flat_map(|slice| slice.iter().copied()).collect();
            power.unsynced.push((range, bytes));
        }
        let mut at = range.begin();
        for slice in data {
            let end = at + slice.len() as u32;
            let from = (at - range.begin()) as usize;
            let part = self.content.part(range.piece(), at, end);
            state.now.write(part, &right[from..from + slice.len()], slice);
            at = end;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.lock();
        self.call(&mut state, Operation::Sync, None)?;
        let State { now, power, .. } = &mut *state;
        if let Some(power) = power {
            power.durable = now.clone();
            power.unsynced.clear();
        }
        Ok(())
    }

    fn look(&self) -> Result<Vec<FileChange>, StorageError> {
        Ok(std::mem::take(&mut self.lock().changes))
    }

    fn probe(&self, write: bool) -> Result<(), StorageError> {
        let mut state = self.lock();
        self.call(&mut state, Operation::Open, None)?;
        match state.writes_left {
            Some(left) if write && left < u64::from(metainfo::BLOCK) => {
                Err(failed(Operation::Write, None, io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }
}
