//! Sets of pieces in the wire's bit order, so that a peer's bitfield and ours meet word by word.

use crate::engine::looks::look;
use wire::peer::Bitfield;

/// The bit of piece `index` in its word: the first piece is the highest bit (BEP 3).
pub(super) const fn mask(index: u32) -> u64 {
    1 << (63 - (index & 63))
}

/// The pieces whose bits are set in word `w`, in order.
pub(super) fn ones(w: usize, mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let first = word.leading_zeros();
        (first < 64).then(|| {
            word &= !mask(first);
            w as u32 * 64 + first
        })
    })
}

/// A set of pieces.
pub(super) struct Bits {
    words: Box<[u64]>,
}

impl Bits {
    pub(super) fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize].into() }
    }

    /// How many words there are.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    pub(super) fn word(&self, w: usize) -> u64 {
        self.words[w]
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.words[index as usize / 64] & mask(index) != 0
    }

    /// Adds the piece; whether it was missing.
    pub(super) fn insert(&mut self, index: u32) -> bool {
        let word = &mut self.words[index as usize / 64];
        let before = *word;
        *word |= mask(index);
        *word != before
    }

    /// Removes the piece; whether it was there.
    pub(super) fn remove(&mut self, index: u32) -> bool {
        let word = &mut self.words[index as usize / 64];
        let before = *word;
        *word &= !mask(index);
        *word != before
    }

    pub(super) fn clear(&mut self) {
        self.words.fill(0);
    }
}

/// What a peer has.
#[derive(Clone, Copy, Debug)]
pub enum Have<'a> {
    /// Every piece: a seed.
    All,
    /// These pieces.
    Some(&'a Bitfield),
}

impl Have<'_> {
    pub(super) fn has(&self, index: u32) -> bool {
        look();
        match self {
            Self::All => true,
            Self::Some(bits) => bits.get(index),
        }
    }

    pub(super) fn word(&self, w: usize) -> u64 {
        look();
        match self {
            Self::All => u64::MAX,
            Self::Some(bits) => bits.word(w),
        }
    }
}
