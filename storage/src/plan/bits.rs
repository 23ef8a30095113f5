//! One bit per block of a piece.

/// A fixed number of bits, all clear at first, and how many are set.
#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    set: u32,
}

impl Bits {
    pub(super) fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], set: 0 }
    }

    pub(super) fn get(&self, at: u32) -> bool {
        self.words.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, at: u32) {
        if !self.get(at) {
            self.words[(at / 64) as usize] |= 1 << (at % 64);
            self.set += 1;
        }
    }

    pub(super) fn clear(&mut self, at: u32) {
        if self.get(at) {
            self.words[(at / 64) as usize] &= !(1 << (at % 64));
            self.set -= 1;
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.set
    }
}
