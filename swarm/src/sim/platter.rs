//! Which bytes are on a virtual disk, and which of them differ from the torrent's content.

use std::collections::BTreeMap;

use metainfo::{PieceIndex, PieceRange};

/// See the module's text.
#[derive(Clone, Default)]
pub(super) struct Platter {
    /// Written parts of each piece: start to end.
    written: BTreeMap<PieceIndex, BTreeMap<u32, u32>>,
    /// Bytes that differ from the content.
    wrong: BTreeMap<(PieceIndex, u32), u8>,
}

impl Platter {
    /// The range is there, and right.
    pub(super) fn mark(&mut self, range: PieceRange) {
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

    /// Bytes are written over a range whose right bytes are known.
    pub(super) fn write(&mut self, range: PieceRange, right: &[u8], bytes: &[u8]) {
        self.mark(range);
        if bytes == right && self.wrong.is_empty() {
            return;
        }
        for (at, (byte, expected)) in (range.begin()..).zip(bytes.iter().zip(right)) {
            if byte == expected {
                self.wrong.remove(&(range.piece(), at));
            } else {
                self.wrong.insert((range.piece(), at), *byte);
            }
        }
    }

    /// Makes a byte a wrong one, whatever it was.
    pub(super) fn corrupt(&mut self, piece: PieceIndex, at: u32) {
        self.wrong.insert((piece, at), 0);
    }

    /// Nothing of a piece is there any more.
    pub(super) fn lose(&mut self, piece: PieceIndex) {
        self.written.remove(&piece);
        self.wrong.retain(|(other, _), _| *other != piece);
    }

    pub(super) fn covers(&self, range: PieceRange) -> bool {
        let part =
            self.written.get(&range.piece()).and_then(|parts| parts.range(..=range.begin()).next_back());
        part.is_some_and(|(_, end)| *end >= range.end())
    }

    /// What a range holds, given its right bytes.
    pub(super) fn read(&self, range: PieceRange, right: &[u8]) -> Vec<u8> {
        let mut bytes = right.to_vec();
        let keys = (range.piece(), range.begin())..(range.piece(), range.end());
        for ((_, at), byte) in self.wrong.range(keys) {
            bytes[(at - range.begin()) as usize] = *byte;
        }
        bytes
    }

    /// Whether all of the range is there and right.
    pub(super) fn is_right(&self, range: PieceRange) -> bool {
        let keys = (range.piece(), range.begin())..(range.piece(), range.end());
        self.covers(range) && self.wrong.range(keys).next().is_none()
    }
}
