//! Which bytes of the piece space are padding.

use metainfo::{BLOCK, Block, Geometry, PieceIndex, PieceRange};
use std::ops::Range;
use std::sync::Arc;

/// The pads of a torrent (BEP 47), as sorted ranges of the piece space that do not touch. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pads {
    ranges: Arc<[Range<u64>]>,
}

impl Pads {
    /// From ranges of bytes of the piece space, in order and apart. Empty ones are left out, those that touch are joined.
    pub fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            match joined.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                last => {
                    debug_assert!(last.is_none_or(|last| last.end < range.start));
                    joined.push(range);
                }
            }
        }
        Self { ranges: joined.into() }
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

    /// Bytes of padding in all.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(len).sum()
    }

    /// Whether the block has no byte that is kept.
    pub fn covers(&self, geometry: &Geometry, block: Block) -> bool {
        self.payload(geometry, block.range()) == 0
    }

    /// How many bytes of this range are kept.
    pub fn payload(&self, geometry: &Geometry, range: PieceRange) -> u64 {
        if self.is_empty() {
            return range.len().into();
        }
        let padding: u64 = self.within(span(geometry, range)).map(|pad| len(&pad)).sum();
        u64::from(range.len()) - padding
    }

    /// The blocks of a piece that have no byte that is kept.
    pub fn blocks<'a>(
        &'a self,
        geometry: &'a Geometry,
        piece: PieceIndex,
    ) -> impl Iterator<Item = Range<u32>> + 'a {
        let bytes = span(geometry, geometry.whole(piece));
        let (start, end, blocks) = (bytes.start, bytes.end, geometry.blocks_in(piece));
        let block = move |at: u64| u32::try_from(at / u64::from(BLOCK)).unwrap_or(blocks);
        self.within(bytes).filter_map(move |pad| {
            let first = block((pad.start - start).next_multiple_of(BLOCK.into()));
            let after = if pad.end == end { blocks } else { block(pad.end - start) };
            (first < after).then_some(first..after)
        })
    }

    /// The pieces that have no byte that is kept.
    pub fn pieces<'a>(&'a self, geometry: &'a Geometry) -> impl Iterator<Item = PieceIndex> + 'a {
        let is_padding = |piece: &PieceIndex| self.payload(geometry, geometry.whole(*piece)) == 0;
        (!self.is_empty()).then(|| geometry.pieces().filter(is_padding)).into_iter().flatten()
    }
}

fn len(range: &Range<u64>) -> u64 {
    range.end - range.start
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
        assert_eq!(pads.bytes(), 32_668);
        assert_eq!(pads.payload(&geometry, block(0).range()), 100);
    }

    #[test]
    fn blocks_and_pieces_of_padding_are_found() {
        const K: u64 = 1 << 10;
        let geometry = Geometry::contiguous(64 * K, 64 * K * 3 + 20_000).unwrap();
        let blocks = |pads: &Pads, piece: u32| {
            let piece = geometry.piece(piece).unwrap();
            let by_range: Vec<u32> = pads.blocks(&geometry, piece).flatten().collect();
            let all = (0..geometry.blocks_in(piece))
                .filter(|at| pads.covers(&geometry, geometry.block(piece, *at).unwrap()));
            assert_eq!(by_range, all.collect::<Vec<_>>());
            by_range
        };
        let pads = Pads::new([100..40 * K, 40 * K..48 * K, 60 * K..130 * K, 192 * K + 1..192 * K + 20_000]);
        assert_eq!(blocks(&pads, 0), [1, 2]);
        assert_eq!(blocks(&pads, 1), [0, 1, 2, 3]);
        assert_eq!(blocks(&pads, 2), []);
        assert_eq!(blocks(&pads, 3), [1], "the last block is short");
        assert_eq!(pads.pieces(&geometry).map(|piece| piece.get()).collect::<Vec<_>>(), [1]);
        assert_eq!(Pads::default().pieces(&geometry).count(), 0);
    }
}
