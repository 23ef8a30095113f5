//! Ranges of a layer with the proof that they are part of a tree: what hash requests ask for (BEP 52).
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

use super::{Accumulator, Hash, parent};

#[cfg(test)]
mod tests;

/// The most hashes of one layer in a request (BEP 52).
pub const MAX_LENGTH: u32 = 512;

/// The layers of the tree of a file: a tree of height 0 is one leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Height(u32);

impl Height {
    /// Of a file of so many bytes. No file has as many as would not fit.
    pub fn of_file(bytes: u64) -> Self {
        let blocks = bytes.div_ceil(u64::from(crate::geometry::BLOCK)).max(1);
        Self(blocks.checked_next_power_of_two().map_or(63, u64::ilog2))
    }

    /// Layers above the leaves.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A range of one layer of a tree, and how far up it is proven. Its numbers were checked against the tree.
///
/// ```text
///              root                 a span of base 0, index 4, length 2: its hashes are those of the leaves 4 and 5,
///          /          \             then the uncles, bottom up: U1 with the first proof layer, U2 with the second.
///        U2            .            The sibling of leaf 4 is part of the range, so that the root of the range is
///      /    \       /     \         proven from its own sibling on.
///     .      .     x       U1
///    / \    / \   / \     / \
///   0   1  2   3 [4   5] 6   7
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    base: u32,
    index: u32,
    length: u32,
    proof_layers: u32,
    height: u32,
}

impl Span {
    /// A range that a peer names. `base` is counted in layers above the leaves, `index` in hashes of that layer, which
    /// the layer has when it is padded. `None` unless the length is a power of two of at most [`MAX_LENGTH`], the
    /// index a multiple of it, and all of it inside of the tree.
    ///
    /// BEP 52 wants a length of at least two; libtorrent asks for one hash when it lacks no more, and takes an
    /// answer whose uncles begin with the sibling of that hash.
    pub fn new(height: Height, base: u32, index: u32, length: u32, proof_layers: u32) -> Option<Self> {
        let above = height.0.checked_sub(base).filter(|above| *above > 0)?;
        let is_length = length.is_power_of_two() && length <= MAX_LENGTH;
        let is_inside = u64::from(index) + u64::from(length) <= 1u64.checked_shl(above)?;
        let fits = is_length && index.is_multiple_of(length) && is_inside && proof_layers < above;
        fits.then_some(Self { base, index, length, proof_layers, height: height.0 })
    }

    /// A range with all that proves it: `None` as for [`new`](Self::new).
    pub fn proven(height: Height, base: u32, index: u32, length: u32) -> Option<Self> {
        let above = height.0.checked_sub(base)?;
        Self::new(height, base, index, length, above.checked_sub(1)?)
    }

    /// Layers between the leaves and the hashes.
    pub const fn base(&self) -> u32 {
        self.base
    }

    /// The first hash of the layer.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Hashes of the layer.
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// Layers of ancestors that are asked for. What the range itself gives is counted and not sent.
    pub const fn proof_layers(&self) -> u32 {
        self.proof_layers
    }

    /// Hashes that prove the range, after it.
    pub const fn uncles(&self) -> u32 {
        (self.proof_layers + 1).saturating_sub(self.length.ilog2())
    }

    /// Hashes in an answer.
    pub fn hashes(&self) -> usize {
        usize::try_from(self.length + self.uncles()).unwrap_or(usize::MAX)
    }

    /// Where the hashes of an answer are, in order: how far above the base, and which of that layer.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (u32, u32)> {
        let (own, first, top) = (self.index, self.length.ilog2(), self.proof_layers);
        let range = (own..own + self.length).map(|at| (0, at));
        range.chain((first..=top).map(move |up| (up, (own >> up) ^ 1)))
    }

    /// Whether an answer is right by the root of the tree. It has to lead all the way up; see
    /// [`proven`](Self::proven).
    pub fn proves(&self, answer: &[Hash], root: &Hash) -> bool {
        let above = self.height - self.base;
        if answer.len() != self.hashes() || self.length.ilog2() + self.uncles() != above {
            return false;
        }
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        let (range, uncles) = answer.split_at_checked(length).unwrap_or_default();
        let mut tree = Accumulator::above(self.base);
        range.iter().for_each(|hash| tree.push(hash));
        let (top, _) = uncles.iter().fold(
            (tree.finish(u64::from(self.length)), self.index >> self.length.ilog2()),
            |(hash, at), uncle| {
                let above = if at & 1 == 0 { parent(&hash, uncle) } else { parent(uncle, &hash) };
                (above, at >> 1)
            },
        );
        top == *root
    }
}
