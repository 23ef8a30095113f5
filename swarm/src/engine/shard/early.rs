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
/// Haves of a peer without a bitfield that are kept.
const MAX_HAVES: usize = 4096;

/// One thing that a peer says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim<'a> {
    Have(u32),
    Bitfield(&'a [u8]),
    All,
    None,
    Allowed(u32),
    /// It does not have the piece any more.
    Lost(u32),
}

/// All that a peer said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Early {
    said: Said,
    allowed: Vec<u32>,
    /// What it said to have lost of all that it has.
    lost: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
enum Said {
    #[default]
    Nothing,
    All,
    /// These, in any order. A list and not a bitfield: a high index alone must not cost memory for all below it.
    Haves(Vec<u32>),
    /// A bitfield as long as it came, and what was added to it.
    Bits(Vec<u8>),
    /// More than there was room for.
    Lost,
}

impl Early {
    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        let said = match &self.said {
            Said::Haves(haves) => 4 * haves.capacity(),
            Said::Bits(bits) => bits.len(),
            Said::Nothing | Said::All | Said::Lost => 0,
        };
        said + 4 * (self.allowed.len() + self.lost.len())
    }

    /// Forgets everything, and whatever is said later.
    pub(super) fn lose(&mut self) {
        *self = Self { said: Said::Lost, ..Self::default() };
    }

    /// Whether it was forgotten what the peer has.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.said, Said::Lost)
    }

    /// Whether the peer said to have any piece.
    pub(super) fn has_some(&self) -> bool {
        match &self.said {
            Said::All => true,
            Said::Haves(haves) => !haves.is_empty(),
            Said::Bits(bits) => bits.iter().any(|byte| *byte != 0),
            Said::Nothing | Said::Lost => false,
        }
    }

    /// Takes what the peer says.
    pub(super) fn claim(&mut self, claim: Claim<'_>) -> Result<(), Close> {
        if self.is_lost() {
            return Ok(());
        }
        match claim {
            Claim::Have(index) => self.have(index),
            Claim::Bitfield(bytes) => self.bitfield(bytes),
            Claim::All => self.first(Said::All),
            Claim::None => self.first(Said::Haves(Vec::new())),
            Claim::Allowed(index) => {
                if self.allowed.len() < MAX_ALLOWED && !self.allowed.contains(&index) {
                    self.allowed.push(index);
                }
                Ok(())
            }
            Claim::Lost(index) => {
                self.lost(index);
                Ok(())
            }
        }
    }

    /// A piece that it never said to have is no loss.
    fn lost(&mut self, index: u32) {
        self.allowed.retain(|allowed| *allowed != index);
        match &mut self.said {
            Said::Haves(haves) => haves.retain(|have| *have != index),
            Said::Bits(bits) => {
                if let Some(byte) = bits.get_mut((index / 8) as usize) {
                    *byte &= !(0x80 >> (index % 8));
                }
            }
            // More than that is found out by asking.
            Said::All if self.lost.len() < MAX_ALLOWED && !self.lost.contains(&index) => {
                self.lost.push(index);
            }
            Said::All | Said::Nothing | Said::Lost => {}
        }
    }

    fn have(&mut self, index: u32) -> Result<(), Close> {
        if u64::from(index) >= MAX_PIECES {
            return Err(OutOfBounds::Piece { index, count: MAX_PIECES as u32 }.into());
        }
        match &mut self.said {
            Said::Nothing => self.said = Said::Haves(vec![index]),
            Said::Haves(haves) if haves.len() < MAX_HAVES => haves.push(index),
            Said::Haves(_) => self.lose(),
            Said::Bits(bits) => set(bits, index)?,
            Said::All => self.lost.retain(|lost| *lost != index),
            Said::Lost => {}
        }
        Ok(())
    }

    /// The first says what the peer has; a later one adds to it.
    fn bitfield(&mut self, bytes: &[u8]) -> Result<(), Close> {
        match &mut self.said {
            Said::Nothing => self.said = Said::Bits(bytes.to_vec()),
            Said::Haves(haves) => {
                let mut bits = bytes.to_vec();
                haves.iter().try_for_each(|index| set(&mut bits, *index))?;
                self.said = Said::Bits(bits);
            }
            Said::Bits(bits) => {
                if bits.len() != bytes.len() {
                    return Err(Violation::Bitfield.into());
                }
                bits.iter_mut().zip(bytes).for_each(|(known, more)| *known |= more);
            }
            Said::All | Said::Lost => {}
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
        let bits = match &self.said {
            Said::Nothing => return Ok(Pieces::Unsaid),
            Said::All if self.lost.is_empty() => return Ok(Pieces::All),
            Said::All => {
                let mut bits = Bitfield::with_all(count);
                self.lost.iter().filter(|lost| **lost < count).for_each(|lost| _ = bits.clear(*lost));
                bits
            }
            // When it comes back it says what it has again.
            Said::Lost => return Err(Close::Limit),
            Said::Bits(bits) => Bitfield::from_bytes(bits, count).map_err(|_| Violation::Bitfield)?,
            Said::Haves(haves) => {
                let mut bits = Bitfield::new(count);
                for &index in haves {
                    if index >= count {
                        return Err(OutOfBounds::Piece { index, count }.into());
                    }
                    bits.set(index);
                }
                bits
            }
        };
        Ok(if bits.is_full() { Pieces::All } else { Pieces::Some(bits) })
    }

    /// The pieces that it allows.
    pub(super) fn allowed(&self, geometry: &Geometry) -> Result<Vec<PieceIndex>, Close> {
        self.allowed.iter().map(|index| Ok(geometry.piece(*index)?)).collect()
    }
}

/// Sets the bit of a piece that the bitfield has.
fn set(bits: &mut [u8], index: u32) -> Result<(), Close> {
    let byte = bits.get_mut((index / 8) as usize).ok_or(Violation::Bitfield)?;
    *byte |= 0x80 >> (index % 8);
    Ok(())
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
    fn haves_cost_what_was_said_and_not_what_they_name() {
        let mut early = Early::default();
        early.claim(Claim::Have(MAX_PIECES as u32 - 1)).unwrap();
        assert!(early.held() <= 64, "{}", early.held());
        for index in 0..MAX_HAVES as u32 - 1 {
            early.claim(Claim::Have(index)).unwrap();
        }
        assert!(early.held() <= 4 * MAX_HAVES && !early.is_lost());
        early.claim(Claim::Have(0)).unwrap();
        assert!(early.is_lost());
        early.claim(Claim::Bitfield(&[0xff; 100])).unwrap();
        early.claim(Claim::Allowed(1)).unwrap();
        assert_eq!(early.held(), 0);
        assert!(matches!(early.pieces(800), Err(Close::Limit)));
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
