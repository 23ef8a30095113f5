//! Which requests the lacking layers take, and where their hashes go.

use std::fmt;
use std::sync::Arc;

use metainfo::LackingLayer;
use metainfo::merkle::{Hash, MAX_LENGTH, Span};
use wire::peer::HashRequest;

/// Bytes that are held while layers like these are fetched, from the start.
pub fn cost(lacking: &[LackingLayer]) -> u64 {
    let hashes: u64 = lacking.iter().map(|layer| u64::from(layer.pieces)).sum();
    let requests: u64 = lacking.iter().map(|layer| u64::from(layer.pieces.div_ceil(MAX_LENGTH))).sum();
    hashes * size_of::<Hash>() as u64 + requests + lacking.len() as u64 * size_of::<Place>() as u64
}

/// The layers on their way.
#[derive(Debug)]
pub(super) struct Plan {
    places: Vec<Place>,
    /// Of all layers, one behind the other.
    hashes: Vec<Hash>,
    /// By request, whether its hashes are there.
    is_there: Vec<bool>,
    have: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    layer: LackingLayer,
    /// Its first hash.
    start: usize,
    /// Its first request.
    first: u32,
}

impl Plan {
    /// `None` when there are too many of them, or they are no layers of trees.
    pub(super) fn new(lacking: Vec<LackingLayer>) -> Option<Self> {
        let mut places = Vec::with_capacity(lacking.len());
        let (mut start, mut first) = (0usize, 0u32);
        for layer in lacking {
            let last = layer.pieces.checked_sub(1)? / MAX_LENGTH;
            span(&layer, last)?;
            places.push(Place { layer, start, first });
            start = start.checked_add(layer.pieces as usize)?;
            first = first.checked_add(last + 1)?;
        }
        Some(Self { places, hashes: vec![[0; 32]; start], is_there: vec![false; first as usize], have: 0 })
    }

    pub(super) fn requests(&self) -> u32 {
        u32::try_from(self.is_there.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn have(&self) -> u32 {
        self.have
    }

    pub(super) fn is_there(&self, request: u32) -> bool {
        self.is_there.get(request as usize).is_none_or(|there| *there)
    }

    /// The numbers of a request.
    pub(super) fn request(&self, request: u32) -> Option<HashRequest> {
        let (place, span) = self.span(request)?;
        Some(HashRequest {
            pieces_root: place.layer.root,
            base_layer: span.base(),
            index: span.index(),
            length: span.length(),
            proof_layers: span.proof_layers(),
        })
    }

    /// Whether an answer has as many hashes as it should.
    pub(super) fn fits(&self, request: u32, hashes: &[Hash]) -> bool {
        self.span(request).is_some_and(|(_, span)| span.hashes() == hashes.len())
    }

    /// Takes an answer if its proof holds. Whether it does.
    pub(super) fn take(&mut self, request: u32, hashes: &[Hash]) -> bool {
        let Some((place, span)) = self.span(request) else { return false };
        if !span.proves(hashes, &place.layer.root) {
            return false;
        }
        if let Some(there) = self.is_there.get_mut(request as usize).filter(|there| !**there) {
            *there = true;
            self.have += 1;
            // What pads the layer is left out.
            let count = span.length().min(place.layer.pieces - span.index()) as usize;
            let start = place.start + span.index() as usize;
            self.hashes[start..start + count].copy_from_slice(&hashes[..count]);
        }
        true
    }

    /// All layers.
    pub(super) fn finish(&mut self) -> Layers {
        let places = self.places.iter();
        let places = places.map(|place| (place.layer.root, place.start, place.layer.pieces as usize));
        Layers { places: places.collect(), hashes: Arc::new(std::mem::take(&mut self.hashes)) }
    }

    fn span(&self, request: u32) -> Option<(Place, Span)> {
        let at = self.places.partition_point(|place| place.first <= request).checked_sub(1)?;
        let place = self.places.get(at)?;
        Some((*place, span(&place.layer, request - place.first)?))
    }
}

/// The range of a layer that one request asks for; at least two hashes, one of which may be padding.
fn span(layer: &LackingLayer, request: u32) -> Option<Span> {
    let index = request.checked_mul(MAX_LENGTH)?;
    let left = layer.pieces.checked_sub(index)?;
    let length = left.min(MAX_LENGTH).next_power_of_two().max(2);
    Span::proven(layer.tree, layer.base, index, length)
}

/// Piece layers as they were fetched. Clones share them.
#[derive(Clone, PartialEq, Eq)]
pub struct Layers {
    places: Arc<[(Hash, usize, usize)]>,
    hashes: Arc<Vec<Hash>>,
}

impl Layers {
    /// Each layer, with the root of its files.
    pub fn iter(&self) -> impl Iterator<Item = (&Hash, &[Hash])> {
        self.places.iter().map(|(root, start, len)| (root, &self.hashes[*start..*start + *len]))
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers")
            .field("layers", &self.places.len())
            .field("hashes", &self.hashes.len())
            .finish()
    }
}
