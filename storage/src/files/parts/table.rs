//! Which piece has which slot, as it is on disk and in memory.

use metainfo::Torrent;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of an entry: the slot counted from 1, and a checksum, both little-endian.
pub(super) const ENTRY: usize = 8;

const MAGIC: &[u8; 16] = b"unchoke parts 1\n";

/// Slots start at multiples of it.
const PAGE: u64 = 4096;

/// What a part file is for.
#[derive(Debug)]
pub(super) struct Header {
    id: String,
    piece_length: u32,
    pieces: u32,
}

impl Header {
    pub(super) const LEN: usize = PAGE as usize;

    pub(super) fn of(torrent: &Torrent) -> Self {
        let geometry = torrent.geometry();
        Self {
            id: torrent.id().to_string(),
            piece_length: geometry.piece_length(),
            pieces: geometry.piece_count(),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.piece_length.to_le_bytes());
        bytes.extend(self.pieces.to_le_bytes());
        bytes.extend(self.id.as_bytes());
        bytes.resize(Self::LEN - 4, 0);
        let sum = crc32c::crc32c(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// Whether these are the bytes of such a header.
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        bytes == self.bytes()
    }

    pub(super) fn table_len(&self) -> usize {
        self.pieces as usize * ENTRY
    }

    /// Where the entry of a piece is.
    pub(super) fn entry(&self, piece: u32) -> u64 {
        PAGE + u64::from(piece) * ENTRY as u64
    }

    /// Where a slot is.
    pub(super) fn slot(&self, slot: u32) -> u64 {
        let start = (PAGE + self.table_len() as u64).next_multiple_of(PAGE);
        start + u64::from(slot) * u64::from(self.piece_length)
    }
}

/// The entry that says that a piece has a slot.
pub(super) fn entry(piece: u32, slot: u32) -> [u8; ENTRY] {
    let number = (slot + 1).to_le_bytes();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&piece.to_le_bytes()), &number).to_le_bytes();
    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(&number);
    entry[4..].copy_from_slice(&sum);
    entry
}

/// The slots of pieces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    slots: BTreeMap<u32, u32>,
    used: BTreeSet<u32>,
}

impl Slots {
    /// From a table, or as much as there is of it.
    pub(super) fn read(table: &[u8]) -> Self {
        let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (piece, bytes) in (0u32..).zip(table.chunks_exact(ENTRY)) {
            let slot = bytes.first_chunk().map_or(0, |number| u32::from_le_bytes(*number)).wrapping_sub(1);
            // More slots than pieces were never given out.
            if (slot as usize) < table.len() / ENTRY && bytes == entry(piece, slot) {
                found.entry(slot).or_default().push(piece);
            }
        }
        let mut slots = Self::default();
        for (slot, pieces) in found {
            if let [piece] = pieces[..] {
                slots.set(piece, slot);
            }
        }
        slots
    }

    pub(super) fn get(&self, piece: u32) -> Option<u32> {
        self.slots.get(&piece).copied()
    }

    pub(super) fn pieces(&self) -> Vec<u32> {
        self.slots.keys().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The first slot that no piece has.
    pub(super) fn free(&self) -> u32 {
        (0..).zip(&self.used).find(|(at, used)| at != *used).map_or(self.used.len() as u32, |(at, _)| at)
    }

    pub(super) fn set(&mut self, piece: u32, slot: u32) {
        self.slots.insert(piece, slot);
        self.used.insert(slot);
    }

    pub(super) fn remove(&mut self, piece: u32) {
        if let Some(slot) = self.slots.remove(&piece) {
            self.used.remove(&slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(u32, u32)], pieces: u32) -> Vec<u8> {
        let mut table = vec![0; pieces as usize * ENTRY];
        for &(piece, slot) in entries {
            table[piece as usize * ENTRY..][..ENTRY].copy_from_slice(&entry(piece, slot));
        }
        table
    }

    #[test]
    fn entries_are_believed_only_if_their_sums_are_right_and_no_two_share_a_slot() {
        let slots = Slots::read(&table(&[(1, 0), (3, 2), (4, 1), (5, 1), (6, 9)], 8));
        assert_eq!(slots.slots, BTreeMap::from([(1, 0), (3, 2)]));
        assert_eq!(slots.free(), 1);
        let whole = table(&[(1, 0), (3, 2)], 8);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut torn = whole.clone();
                torn[at] ^= 1 << bit;
                let believed = Slots::read(&torn).slots;
                assert!(believed.iter().all(|(piece, slot)| [(1, 0), (3, 2)].contains(&(*piece, *slot))));
                assert!(!believed.is_empty());
            }
        }
    }

    #[test]
    fn slots_that_became_free_are_given_out_again() {
        let mut slots = Slots::default();
        for piece in [7, 3, 9] {
            slots.set(piece, slots.free());
        }
        assert_eq!([7, 3, 9].map(|piece| slots.get(piece)), [Some(0), Some(1), Some(2)]);
        slots.remove(3);
        assert_eq!((slots.free(), slots.get(3)), (1, None));
        slots.set(1, 1);
        assert_eq!(slots.free(), 3);
    }
}
