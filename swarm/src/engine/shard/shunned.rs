//! Pieces that a peer has and did not give when it was asked: they rest for a while, and the peer is asked for others.

use std::time::Duration;

use metainfo::PieceIndex;

use crate::engine::time::Time;

/// How long a piece rests.
const REST: Duration = Duration::from_secs(3);
/// Pieces that rest at a time; the oldest is asked for again before its time.
const MOST: usize = 64;

/// The pieces that rest at one peer, the first to come back first.
#[derive(Default)]
pub(crate) struct Shunned {
    pieces: Vec<PieceIndex>,
    until: Vec<Time>,
}

impl Shunned {
    /// The pieces.
    pub(super) fn pieces(&self) -> &[PieceIndex] {
        &self.pieces
    }

    /// The peer did not give a block of this piece. Whether that is news.
    pub(super) fn add(&mut self, now: Time, piece: PieceIndex) -> bool {
        if self.pieces.contains(&piece) {
            return false;
        }
        if self.pieces.len() == MOST {
            self.pieces.remove(0);
            self.until.remove(0);
        }
        self.pieces.push(piece);
        self.until.push(now + REST);
        true
    }

    /// The piece may be asked for again. Whether it rested.
    pub(super) fn remove(&mut self, piece: PieceIndex) -> bool {
        let at = self.pieces.iter().position(|shunned| *shunned == piece);
        if let Some(at) = at {
            self.pieces.remove(at);
            self.until.remove(at);
        }
        at.is_some()
    }

    /// Lets those go whose time is over. Whether there were any.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let over = self.until.partition_point(|until| *until <= now);
        self.pieces.drain(..over);
        self.until.drain(..over);
        over > 0
    }

    /// When the next comes back.
    pub(super) fn next(&self) -> Option<Time> {
        self.until.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_rest_for_a_while_and_only_so_many() {
        let geometry = metainfo::Geometry::contiguous(16_384, 16_384 * 100).unwrap();
        let piece = |index| geometry.piece(index).unwrap();
        let (mut shunned, start) = (Shunned::default(), Time::from_secs(1));
        assert!(shunned.add(start, piece(0)) && !shunned.add(start, piece(0)));
        assert!(shunned.add(start + REST / 2, piece(1)));
        assert!(!shunned.expire(start + REST / 2));
        assert!(shunned.expire(start + REST));
        assert_eq!((shunned.pieces(), shunned.next()), (&[piece(1)][..], Some(start + REST + REST / 2)));
        assert!(shunned.remove(piece(1)) && !shunned.remove(piece(1)));
        for index in 0..70 {
            shunned.add(start, piece(index));
        }
        assert_eq!((shunned.pieces().len(), shunned.pieces()[0]), (MOST, piece(6)));
    }
}
