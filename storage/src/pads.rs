//! Which bytes of the piece space are padding.

use metainfo::{Block, Geometry, PieceRange};
use std::ops::Range;

/// The pads of a torrent (BEP 47), as sorted ranges of the piece space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pads {
    ranges: Vec<Range<u64>>,
}

impl Pads {
    /// From ranges of bytes of the piece space, in order and apart. Empty ones are left out.
    pub fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let ranges: Vec<_> = ranges.into_iter().filter(|r| !r.is_empty()).collect();
        debug_assert!(ranges.is_sorted_by(|a, b| a.end <= b.start));
        Self { ranges }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The pads inside these bytes of the piece space.
    pub fn within(&self, bytes: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.ranges.partition_point(|r| r.end <= bytes.start);
        self.ranges[first..]
            .iter()
            .map_while(move |r| (r.start < bytes.end).then(|| r.start.max(bytes.start)..r.end.min(bytes.end)))
    }

    /// Whether the block has no byte that is kept.
    pub fn covers(&self, geometry: &Geometry, block: Block) -> bool {
        let bytes = span(geometry, block.range());
        let padding: u64 = self.within(bytes).map(|r| r.end - r.start).sum();
        padding == u64::from(block.len())
    }
}

/// The bytes of the piece space that a range names.
pub(crate) fn span(geometry: &Geometry, range: PieceRange) -> Range<u64> {
    let start = geometry.piece_start(range.piece()) + u64::from(range.begin());
    start..start + u64::from(range.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_are_cut_to_what_is_asked() {
        let pads = Pads::new([10..20, 30..30, 40..50]);
        assert_eq!(pads.within(0..100).collect::<Vec<_>>(), [10..20, 40..50]);
        assert_eq!(pads.within(15..45).collect::<Vec<_>>(), [15..20, 40..45]);
        assert_eq!(pads.within(20..40).count(), 0);
    }

    #[test]
    fn a_block_is_covered_when_all_of_it_is_padding() {
        let geometry = Geometry::contiguous(32_768, 40_000).unwrap();
        let piece = geometry.piece(0).unwrap();
        let block = |i| geometry.block(piece, i).unwrap();
        let pads = Pads::new([100..16_384, 16_384..32_768]);
        assert!(!pads.covers(&geometry, block(0)));
        assert!(pads.covers(&geometry, block(1)));
    }
}
