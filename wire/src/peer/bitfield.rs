use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::limits::as_usize;

/// A set of pieces, in the layout of the wire: piece 0 is the high bit of the first byte.
///
/// It is scanned a word of 64 pieces at a time: in [`words`](Self::words) the high bit of a word is the lowest piece, so that
/// `leading_zeros` finds the first. The number of pieces set is kept, so counting costs nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    /// Padded with zeros to whole words; spare bits are always zero.
    bytes: Vec<u8>,
    len: u32,
    ones: u32,
}

/// Why bytes are no bitfield of a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitfieldError {
    /// Too few or too many bytes.
    Length {
        /// Bytes for this number of pieces.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// A bit after the last piece is set (BEP 3).
    SpareBits,
}

impl Bitfield {
    /// No piece of `len`.
    pub fn new(len: u32) -> Self {
        Self { bytes: vec![0; padded(len)], len, ones: 0 }
    }

    /// All of `len` pieces.
    pub fn with_all(len: u32) -> Self {
        let mut all = Self { bytes: vec![0xff; padded(len)], len, ones: len };
        all.trim();
        all
    }

    /// The body of a bitfield message, for a torrent of `len` pieces.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Result<Self, BitfieldError> {
        let expected = as_usize(len.div_ceil(8));
        if bytes.len() != expected {
            return Err(BitfieldError::Length { expected, found: bytes.len() });
        }
        if bytes.last().is_some_and(|last| last & spare(len) != 0) {
            return Err(BitfieldError::SpareBits);
        }
        let mut padded_bytes = Vec::with_capacity(padded(len));
        padded_bytes.extend_from_slice(bytes);
        padded_bytes.resize(padded(len), 0);
        let mut field = Self { bytes: padded_bytes, len, ones: 0 };
        field.recount();
        Ok(field)
    }

    /// The body of a bitfield message.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..as_usize(self.len.div_ceil(8))).unwrap_or_default()
    }

    /// Pieces that could be set.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// There is no piece that could be set. See [`is_clear`](Self::is_clear) for a set without members.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pieces that are set.
    pub fn count_ones(&self) -> u32 {
        self.ones
    }

    /// Every piece is set.
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// No piece is set.
    pub fn is_clear(&self) -> bool {
        self.ones == 0
    }

    /// Whether `piece` is set; false beyond the end.
    pub fn get(&self, piece: u32) -> bool {
        let (at, mask) = place(piece);
        self.bytes.get(at).is_some_and(|byte| byte & mask != 0)
    }

    /// Sets `piece`, and tells whether that changed anything. Beyond the end nothing happens.
    pub fn set(&mut self, piece: u32) -> bool {
        let (at, mask) = place(piece);
        match self.bytes.get_mut(at) {
            Some(byte) if *byte & mask == 0 && piece < self.len => {
                *byte |= mask;
                self.ones += 1;
                true
            }
            _ => false,
        }
    }

    /// Clears `piece`, and tells whether that changed anything.
    pub fn clear(&mut self, piece: u32) -> bool {
        let (at, mask) = place(piece);
        match self.bytes.get_mut(at) {
            Some(byte) if *byte & mask != 0 => {
                *byte &= !mask;
                self.ones -= 1;
                true
            }
            _ => false,
        }
    }

    /// Sets every piece.
    pub fn set_all(&mut self) {
        self.bytes.fill(0xff);
        self.trim();
        self.ones = self.len;
    }

    /// Clears every piece.
    pub fn clear_all(&mut self) {
        self.bytes.fill(0);
        self.ones = 0;
    }

    /// 64 pieces at a time; the high bit of the first word is piece 0.
    pub fn words(&self) -> impl ExactSizeIterator<Item = u64> + DoubleEndedIterator + Clone + '_ {
        self.bytes.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word))
    }

    /// Word `n` of [`words`](Self::words); 0 beyond the end.
    pub fn word(&self, n: usize) -> u64 {
        self.bytes.as_chunks().0.get(n).map_or(0, |word| u64::from_be_bytes(*word))
    }

    /// The pieces that are set, in order.
    pub fn iter_ones(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        ones(self.words())
    }

    /// The pieces that are not set, in order.
    pub fn iter_zeros(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        let len = self.len;
        ones(self.words().map(|word| !word)).take_while(move |piece| *piece < len)
    }

    /// The pieces that are set here and not in `other`, in order: what `other`'s owner can get from ours.
    pub fn iter_and_not<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + Clone + 'a {
        ones(pairs(self, other).map(|(ours, theirs)| ours & !theirs))
    }

    /// Some piece is set here and not in `other`.
    pub fn has_beyond(&self, other: &Self) -> bool {
        pairs(self, other).any(|(ours, theirs)| ours & !theirs != 0)
    }

    /// The first piece at or after `from` that is set.
    pub fn next_one(&self, from: u32) -> Option<u32> {
        self.next(from, |word| word)
    }

    /// The first piece at or after `from` that is not set.
    pub fn next_zero(&self, from: u32) -> Option<u32> {
        self.next(from, |word| !word)
    }

    /// Clears every piece that is set in `other`.
    pub fn and_not(&mut self, other: &Self) {
        self.combine(other, |ours, theirs| ours & !theirs);
    }

    /// Clears every piece that is not set in `other`.
    pub fn and(&mut self, other: &Self) {
        self.combine(other, |ours, theirs| ours & theirs);
    }

    /// Sets every piece that is set in `other`.
    pub fn or(&mut self, other: &Self) {
        self.combine(other, |ours, theirs| ours | theirs);
    }

    fn next(&self, from: u32, view: impl Fn(u64) -> u64) -> Option<u32> {
        let first = as_usize(from / 64);
        let (words, _) = self.bytes.as_chunks();
        let mut mask = u64::MAX >> (from % 64);
        for (at, word) in (from / 64..).zip(words.get(first..)?) {
            let word = view(u64::from_be_bytes(*word)) & mask;
            if word != 0 {
                return Some(at * 64 + word.leading_zeros()).filter(|piece| *piece < self.len);
            }
            mask = u64::MAX;
        }
        None
    }

    fn combine(&mut self, other: &Self, f: impl Fn(u64, u64) -> u64) {
        let theirs = other.words().chain(core::iter::repeat(0));
        for (ours, theirs) in self.bytes.as_chunks_mut().0.iter_mut().zip(theirs) {
            *ours = f(u64::from_be_bytes(*ours), theirs).to_be_bytes();
        }
        self.trim();
        self.recount();
    }

    /// Zeroes what lies after the last piece.
    fn trim(&mut self) {
        let used = as_usize(self.len.div_ceil(8));
        let Some((bits, padding)) = self.bytes.split_at_mut_checked(used) else { return };
        padding.fill(0);
        if let Some(last) = bits.last_mut() {
            *last &= !spare(self.len);
        }
    }

    fn recount(&mut self) {
        self.ones = self.words().map(u64::count_ones).sum();
    }
}

/// The positions of the set bits of words.
fn ones(words: impl Iterator<Item = u64> + Clone) -> impl Iterator<Item = u32> + Clone {
    (0u32..).step_by(64).zip(words).flat_map(|(start, mut word)| {
        core::iter::from_fn(move || {
            if word == 0 {
                return None;
            }
            let at = word.leading_zeros();
            word ^= (1 << 63) >> at;
            Some(start + at)
        })
    })
}

fn pairs<'a>(ours: &'a Bitfield, theirs: &'a Bitfield) -> impl Iterator<Item = (u64, u64)> + Clone + 'a {
    ours.words().zip(theirs.words().chain(core::iter::repeat(0)))
}

fn place(piece: u32) -> (usize, u8) {
    (as_usize(piece / 8), 0x80 >> (piece % 8))
}

fn padded(len: u32) -> usize {
    as_usize(len.div_ceil(64)) * 8
}

/// The bits of the last byte that belong to no piece.
fn spare(len: u32) -> u8 {
    match len % 8 {
        0 => 0,
        used => 0xff >> used,
    }
}

impl fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitfield({} of {})", self.ones, self.len)
    }
}

impl fmt::Display for BitfieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, found } => {
                write!(f, "expected a bitfield of {expected} bytes, got {found}")
            }
            Self::SpareBits => write!(f, "expected zeros after the last piece of a bitfield, got ones"),
        }
    }
}

impl core::error::Error for BitfieldError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    #[test]
    fn piece_zero_is_the_high_bit_of_the_first_byte() {
        let mut field = Bitfield::new(10);
        assert!(field.set(0));
        assert!(field.set(9));
        assert_eq!(field.as_bytes(), [0x80, 0x40]);
        assert_eq!(field.words().collect::<Vec<_>>(), [0x8040 << 48]);
    }

    #[test]
    fn a_repeated_set_counts_once_and_beyond_the_end_nothing_happens() {
        let mut field = Bitfield::new(10);
        assert_eq!(
            [field.set(3), field.set(3), field.set(10), field.set(63), field.set(u32::MAX)],
            [true, false, false, false, false]
        );
        assert_eq!(field.count_ones(), 1);
        assert_eq!([field.clear(3), field.clear(3), field.clear(u32::MAX)], [true, false, false]);
        assert!(field.is_clear());
    }

    #[test]
    fn wrong_lengths_and_spare_bits_are_refused() {
        let length = |expected, found| Err(BitfieldError::Length { expected, found });
        assert_eq!(Bitfield::from_bytes(&[0], 10), length(2, 1));
        assert_eq!(Bitfield::from_bytes(&[0; 3], 10), length(2, 3));
        assert_eq!(Bitfield::from_bytes(&[0; 1], 0), length(0, 1));
        assert_eq!(Bitfield::from_bytes(&[0, 0x20], 10), Err(BitfieldError::SpareBits));
        assert!(Bitfield::from_bytes(&[0xff, 0xc0], 10).is_ok_and(|field| field.is_full()));
        assert!(Bitfield::from_bytes(&[], 0).is_ok_and(|field| field.is_empty() && field.is_full()));
    }

    #[test]
    fn all_pieces_leave_spare_bits_zero() {
        for len in [0, 1, 7, 8, 9, 63, 64, 65, 200_000] {
            let all = Bitfield::with_all(len);
            assert_eq!(Bitfield::from_bytes(all.as_bytes(), len), Ok(all.clone()), "{len}");
            assert_eq!(all.iter_ones().count(), len as usize);
            assert_eq!(all.iter_zeros().count(), 0);
            let mut set = Bitfield::new(len);
            set.set_all();
            assert_eq!(set, all);
        }
    }

    proptest! {
        /// The simple set is the oracle.
        #[test]
        fn it_agrees_with_a_plain_set(
            len in 0u32..300,
            ours in proptest::collection::btree_set(0u32..300, 0..80),
            theirs in proptest::collection::btree_set(0u32..300, 0..80),
            from in 0u32..400,
        ) {
            let make = |pieces: &BTreeSet<u32>| {
                let mut field = Bitfield::new(len);
                for piece in pieces {
                    assert_eq!(field.set(*piece), *piece < len);
                }
                field
            };
            let (a, b) = (make(&ours), make(&theirs));
            let ours: BTreeSet<u32> = ours.into_iter().filter(|p| *p < len).collect();
            let theirs: BTreeSet<u32> = theirs.into_iter().filter(|p| *p < len).collect();
            let list = |field: &Bitfield| field.iter_ones().collect::<BTreeSet<_>>();

            prop_assert_eq!(&list(&a), &ours);
            prop_assert_eq!(a.count_ones() as usize, ours.len());
            prop_assert_eq!(a.iter_zeros().collect::<Vec<_>>(), (0..len).filter(|p| !ours.contains(p)).collect::<Vec<_>>());
            prop_assert_eq!(a.iter_and_not(&b).collect::<BTreeSet<_>>(), &ours - &theirs);
            prop_assert_eq!(a.has_beyond(&b), !ours.is_subset(&theirs));
            prop_assert_eq!(a.next_one(from), ours.range(from..).next().copied());
            prop_assert_eq!(a.next_zero(from), (from..len).find(|p| !ours.contains(p)));
            for (op, expected) in [
                (Bitfield::and_not as fn(&mut Bitfield, &Bitfield), &ours - &theirs),
                (Bitfield::and, &ours & &theirs),
                (Bitfield::or, &ours | &theirs),
            ] {
                let mut result = a.clone();
                op(&mut result, &b);
                prop_assert_eq!(result.count_ones() as usize, expected.len());
                prop_assert_eq!(list(&result), expected);
            }
            prop_assert_eq!(Bitfield::from_bytes(a.as_bytes(), len), Ok(a));
        }
    }
}
