//! What a peer says of its pieces before anybody knows how many there are.
//!
//! A magnet's peers speak as if we had the torrent: a bitfield, haves, allowed pieces. That is kept as it came, bounded, and
//! judged once the metadata is there.

use metainfo::{Geometry, MAX_PIECES, OutOfBounds, PieceIndex};
use wire::peer::Bitfield;

use super::peer::Pieces;
use crate::engine::close::{Close, Violation};

/// Pieces that a peer may allow us to ask for while it chokes us.
pub(super) const MAX_ALLOWED: usize = 64;

/// One thing that a peer says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim<'a> {
    Have(u32),
    Bitfield(&'a [u8]),
    All,
    None,
    Allowed(u32),
}

/// All that a peer said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Early {
    said: Said,
    allowed: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
enum Said {
    #[default]
    Nothing,
    All,
    Some {
        /// One bit a piece, as far as pieces were named.
        bits: Vec<u8>,
        /// Bytes of the bitfield, if one came.
        len: Option<usize>,
    },
}

impl Early {
    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        let bits = if let Said::Some { bits, .. } = &self.said { bits.len() } else { 0 };
        bits + 4 * self.allowed.len()
    }

    /// Takes what the peer says.
    pub(super) fn claim(&mut self, claim: Claim<'_>) -> Result<(), Close> {
        match claim {
            Claim::Have(index) => self.have(index),
            Claim::Bitfield(bytes) => self.bitfield(bytes),
            Claim::All => self.first(Said::All),
            Claim::None => self.first(Said::Some { bits: Vec::new(), len: None }),
            Claim::Allowed(index) => {
                if self.allowed.len() < MAX_ALLOWED && !self.allowed.contains(&index) {
                    self.allowed.push(index);
                }
                Ok(())
            }
        }
    }

    fn have(&mut self, index: u32) -> Result<(), Close> {
        if u64::from(index) >= MAX_PIECES {
            return Err(OutOfBounds::Piece { index, count: MAX_PIECES as u32 }.into());
        }
        if matches!(self.said, Said::Nothing) {
            self.said = Said::Some { bits: Vec::new(), len: None };
        }
        let Said::Some { bits, len } = &mut self.said else { return Ok(()) };
        let at = (index / 8) as usize;
        if at >= bits.len() {
            if len.is_some() {
                return Err(Violation::Bitfield.into());
            }
            bits.resize(at + 1, 0);
        }
        bits[at] |= 0x80 >> (index % 8);
        Ok(())
    }

    /// The first says what the peer has; a later one adds to it.
    fn bitfield(&mut self, bytes: &[u8]) -> Result<(), Close> {
        match &mut self.said {
            Said::Nothing => self.said = Said::Some { bits: bytes.to_vec(), len: Some(bytes.len()) },
            Said::All => {}
            Said::Some { bits, len } => {
                if len.is_some_and(|len| len != bytes.len()) || bits.len() > bytes.len() {
                    return Err(Violation::Bitfield.into());
                }
                bits.resize(bytes.len(), 0);
                bits.iter_mut().zip(bytes).for_each(|(known, more)| *known |= more);
                *len = Some(bytes.len());
            }
        }
        Ok(())
    }

    fn first(&mut self, said: Said) -> Result<(), Close> {
        if !matches!(self.said, Said::Nothing) {
            return Err(Violation::LateBitfield.into());
        }
        self.said = said;
        Ok(())
    }

    /// What it means for a torrent of so many pieces.
    pub(super) fn pieces(&self, count: u32) -> Result<Pieces, Close> {
        let (bits, len) = match &self.said {
            Said::Nothing => return Ok(Pieces::Unsaid),
            Said::All => return Ok(Pieces::All),
            Said::Some { bits, len } => (bits, *len),
        };
        let expected = count.div_ceil(8) as usize;
        if len.is_some_and(|len| len != expected) || bits.len() > expected {
            return Err(Violation::Bitfield.into());
        }
        let mut whole = bits.clone();
        whole.resize(expected, 0);
        let bits = Bitfield::from_bytes(&whole, count).map_err(|_| Violation::Bitfield)?;
        Ok(if bits.is_full() { Pieces::All } else { Pieces::Some(bits) })
    }

    /// The pieces that it allows.
    pub(super) fn allowed(&self, geometry: &Geometry) -> Result<Vec<PieceIndex>, Close> {
        self.allowed.iter().map(|index| Ok(geometry.piece(*index)?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these claims for a torrent of 12 pieces: the pieces as a picture, or `None` for a peer that is to go.
    fn judged(claims: &[Claim<'_>]) -> Option<String> {
        let mut early = Early::default();
        if claims.iter().any(|claim| early.claim(*claim).is_err()) {
            return None;
        }
        Some(match early.pieces(12).ok()? {
            Pieces::Unsaid => "unsaid".into(),
            Pieces::All => "all".into(),
            Pieces::Some(bits) => (0..12).map(|piece| if bits.get(piece) { '#' } else { '.' }).collect(),
        })
    }

    #[test]
    fn claims_are_kept_and_judged_later() {
        use Claim::{All, Bitfield as Bits, Have, None as Nothing};
        let cases: &[(&[Claim<'_>], Option<&str>)] = &[
            (&[], Some("unsaid")),
            (&[All], Some("all")),
            (&[All, Have(3)], Some("all")),
            (&[Nothing], Some("............")),
            (&[Nothing, Have(3), Have(11), Have(3)], Some("...#.......#")),
            (&[Have(0)], Some("#...........")),
            (&[Bits(&[0x80, 0x10]), Have(1)], Some("##.........#")),
            (&[Bits(&[0xff, 0xf0])], Some("all")),
            (&[Have(9), Bits(&[0x80, 0])], Some("#........#..")),
            (&[Bits(&[0x80, 0]), Bits(&[0x40, 0])], Some("##..........")),
            // These can not be.
            (&[Bits(&[0x80])], None),
            (&[Bits(&[0x80, 0, 0])], None),
            (&[Bits(&[0x80, 0x08])], None),
            (&[Bits(&[0x80, 0]), Have(16)], None),
            (&[Bits(&[0x80, 0]), Bits(&[0x80])], None),
            (&[Nothing, Have(12)], None),
            (&[Nothing, Have(100)], None),
            (&[Have(u32::MAX)], None),
            (&[All, All], None),
            (&[Nothing, All], None),
            (&[Have(1), Nothing], None),
        ];
        for (claims, expected) in cases {
            assert_eq!(judged(claims).as_deref(), *expected, "{claims:?}");
        }
    }

    #[test]
    fn allowed_pieces_are_few_and_checked() {
        let mut early = Early::default();
        for index in 0..1000 {
            early.claim(Claim::Allowed(index % 500)).unwrap();
        }
        assert_eq!(early.held(), 4 * MAX_ALLOWED);
        let geometry = Geometry::contiguous(16384, 100 * 16384).unwrap();
        assert_eq!(early.allowed(&geometry).unwrap().len(), MAX_ALLOWED);
        early.claim(Claim::Allowed(3)).unwrap();
        let small = Geometry::contiguous(16384, 10 * 16384).unwrap();
        assert!(early.allowed(&small).is_err());
    }
}
