//! A layer of hashes with what is far above them, so that no range of it costs many hashes to prove.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

use alloc::vec::Vec;

use super::span::Span;
use super::{Accumulator, Hash, parent, zero_root};

/// The crown begins so many layers above the layer. Lower nodes are hashed when they are asked for, from at most half
/// as many hashes as the lowest node of the crown has below it; the crown has an eighth as many hashes as the layer.
const FROM: u32 = 4;

/// Appends the crown of a layer and gives the root of its tree. `height` is that of the layer above the leaves.
///
/// The crown is the nodes of each layer from [`FROM`] up that are above a hash, from the left, lower layers first;
/// those above the padding alone are left out.
pub(crate) fn build(layer: &[Hash], height: u32, crown: &mut Vec<Hash>) -> Hash {
    let pad = zero_root(height);
    let width = layer.len().next_power_of_two().ilog2();
    if width < FROM {
        return root_of(layer, pad, width);
    }
    let mut zero = zero_root(height + FROM);
    let mut low = crown.len();
    crown.extend(layer.chunks(1 << FROM).map(|below| root_of(below, pad, FROM)));
    while crown.len() - low > 1 {
        let end = crown.len();
        for at in (low..end).step_by(2) {
            let right = crown.get(at + 1).filter(|_| at + 1 < end).copied().unwrap_or(zero);
            let above = crown.get(at).map_or(zero, |left| parent(left, &right));
            crown.push(above);
        }
        zero = parent(&zero, &zero);
        low = end;
    }
    crown.last().copied().unwrap_or(zero)
}

/// Hashes in the crown of a layer of so many.
pub(crate) fn len(layer: usize) -> usize {
    if layer.next_power_of_two().ilog2() < FROM {
        return 0;
    }
    let mut nodes = layer.div_ceil(1 << FROM);
    let mut len = nodes;
    while nodes > 1 {
        nodes = nodes.div_ceil(2);
        len += nodes;
    }
    len
}

/// A layer of a file's tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowned<'a> {
    pub(crate) layer: &'a [Hash],
    pub(crate) crown: &'a [Hash],
    /// Layers below it.
    pub(crate) height: u32,
}

impl Crowned<'_> {
    /// What answers a request: the hashes of the range, padded, and its uncles. `None` when they lie below the layer. It
    /// costs at most 4096 hashes.
    pub(crate) fn answer(&self, span: &Span) -> Option<Vec<Hash>> {
        let up = span.base().checked_sub(self.height)?;
        let pad = zero_root(self.height);
        let mut zeros = Vec::from([zero_root(span.base())]);
        let nodes = span.nodes();
        let nodes = nodes
            .map(|(above, at)| self.node(up + above, at, pad).unwrap_or_else(|| zero(&mut zeros, above)));
        let mut answer = Vec::with_capacity(span.hashes());
        answer.extend(nodes);
        Some(answer)
    }

    /// A node so far above the layer; `None` when there is nothing but padding below it.
    fn node(&self, up: u32, at: u32, pad: Hash) -> Option<Hash> {
        let at = usize::try_from(at).ok()?;
        if up >= FROM && !self.crown.is_empty() {
            let mut nodes = self.layer.len().div_ceil(1 << FROM);
            let mut start = 0;
            for _ in FROM..up {
                start += nodes;
                nodes = nodes.div_ceil(2);
            }
            return (at < nodes).then(|| self.crown.get(start + at).copied()).flatten();
        }
        let below = self.layer.get(at.checked_shl(up)?..)?;
        let below = below.get(..1 << up).unwrap_or(below);
        (!below.is_empty()).then(|| root_of(below, pad, up))
    }
}

/// The root of padding so far above the first of `zeros`.
fn zero(zeros: &mut Vec<Hash>, above: u32) -> Hash {
    let above = usize::try_from(above).unwrap_or(usize::MAX);
    while let (Some(last), true) = (zeros.last(), zeros.len() <= above) {
        zeros.push(parent(last, last));
    }
    zeros.get(above).copied().unwrap_or_default()
}

/// The root of a tree of `2^up` hashes, of which the missing ones are `pad`.
fn root_of(hashes: &[Hash], pad: Hash, up: u32) -> Hash {
    if let ([hash], 0) = (hashes, up) {
        return *hash;
    }
    let mut tree = Accumulator::padded(pad);
    hashes.iter().for_each(|hash| tree.push(hash));
    tree.finish(1 << up)
}
