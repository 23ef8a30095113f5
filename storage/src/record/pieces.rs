//! A set of pieces.

use super::bytes::{Reader, Writer};
use super::error::Damage;

/// Which of a torrent's pieces: a bit for each, the first piece the highest bit of the first byte, as on the wire
/// (BEP 3). Spare bits at the end are zero. All and none take one byte each when they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceSet {
    len: u32,
    bits: Vec<u8>,
}

/// The most pieces of any torrent that is read.
const MAX_PIECES: u32 = 1 << 24;

impl PieceSet {
    /// None of so many.
    pub fn none(len: u32) -> Self {
        Self { len, bits: vec![0; bytes(len)] }
    }

    /// All of so many.
    pub fn all(len: u32) -> Self {
        let mut bits = vec![0xff; bytes(len)];
        if let Some(last) = bits.last_mut() {
            *last &= mask(len);
        }
        Self { len, bits }
    }

    /// From bits as on the wire; `None` when their number does not fit, or a spare one is set.
    pub fn from_bits(bits: &[u8], len: u32) -> Option<Self> {
        let spare = bits.last().is_some_and(|last| last & !mask(len) != 0);
        (bits.len() == bytes(len) && !spare).then(|| Self { len, bits: bits.to_vec() })
    }

    /// The bits as on the wire.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// How many pieces the torrent has.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the torrent has no pieces.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many are in the set.
    pub fn count(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether all are in it.
    pub fn is_full(&self) -> bool {
        self.count() == self.len
    }

    /// Whether a piece is in it.
    pub fn contains(&self, piece: u32) -> bool {
        let byte = usize::try_from(piece / 8).ok().and_then(|at| self.bits.get(at));
        byte.is_some_and(|byte| byte & (0x80 >> (piece % 8)) != 0)
    }

    /// Puts a piece into it, or takes it out. Pieces that the torrent does not have are ignored.
    pub fn set(&mut self, piece: u32, is_in: bool) {
        if piece >= self.len {
            return;
        }
        let bit = 0x80 >> (piece % 8);
        if let Some(byte) = usize::try_from(piece / 8).ok().and_then(|at| self.bits.get_mut(at)) {
            if is_in {
                *byte |= bit;
            } else {
                *byte &= !bit;
            }
        }
    }

    /// Whether none is in it.
    pub fn is_none(&self) -> bool {
        self.bits.iter().all(|byte| *byte == 0)
    }

    /// Takes out what is in the other.
    pub fn subtract(&mut self, other: &Self) {
        self.bits.iter_mut().zip(&other.bits).for_each(|(bits, other)| *bits &= !other);
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.number(self.len);
        match self.count() {
            0 => out.byte(NONE),
            count if count == self.len => out.byte(ALL),
            _ => {
                out.byte(SOME);
                out.raw(&self.bits);
            }
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let len = from.small("a number of pieces")?;
        if len > MAX_PIECES {
            return Err(Damage::Value("a number of pieces"));
        }
        match from.byte()? {
            NONE => Ok(Self::none(len)),
            ALL if len > 0 => Ok(Self::all(len)),
            SOME => {
                let set = Self::from_bits(from.raw(bytes(len))?, len).ok_or(Damage::Value("pieces"))?;
                // All and none have a spelling of their own.
                let is_some = (1..len).contains(&set.count());
                if is_some { Ok(set) } else { Err(Damage::Value("pieces")) }
            }
            _ => Err(Damage::Value("pieces")),
        }
    }

    /// Always bit by bit: of many small sets, none takes more memory than bytes.
    pub(super) fn write_bits(&self, out: &mut Writer) {
        out.number(self.len);
        out.raw(&self.bits);
    }

    pub(super) fn read_bits(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let len = from.small("a number of blocks")?;
        Self::from_bits(from.raw(bytes(len))?, len).ok_or(Damage::Value("blocks"))
    }
}

const NONE: u8 = 0;
const ALL: u8 = 1;
const SOME: u8 = 2;

fn bytes(len: u32) -> usize {
    usize::try_from(len.div_ceil(8)).unwrap_or(usize::MAX)
}

/// The bits of the last byte that stand for pieces.
fn mask(len: u32) -> u8 {
    match len % 8 {
        0 => 0xff,
        used => !(0xff >> used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_bits_are_never_set() {
        for len in 0..40 {
            let (all, none) = (PieceSet::all(len), PieceSet::none(len));
            assert_eq!((all.count(), none.count()), (len, 0));
            assert!((0..len).all(|piece| all.contains(piece) && !none.contains(piece)));
            assert!(!all.contains(len));
            assert_eq!(PieceSet::from_bits(all.bits(), len), Some(all));
        }
        assert_eq!(PieceSet::from_bits(&[0xff], 7), None);
        assert_eq!(PieceSet::from_bits(&[0xff, 0], 7), None);
    }
}
