//! `piece layers`: the v2 piece hashes of files longer than a piece (BEP 52). They lie outside the info
//! dictionary and are checked against the roots inside it.

use crate::error::{Error, LayerError, Part};
use crate::geometry::BLOCK;
use crate::layout::{File, Layout};
use crate::merkle::crown::{self, Crowned};
use crate::merkle::{Hash, Span};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bencode::Value;

/// The piece layers that are known, one copy of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    hashes: Box<[Hash]>,
    /// What is far above the hashes, so that parts of a layer can be proven to others.
    crowns: Box<[Hash]>,
    /// Files that have a layer, by index. Files of equal content share one.
    places: Box<[Place]>,
    /// Indices in `places`, by the roots of the files.
    by_root: Box<[usize]>,
}

/// Where the layer of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: usize,
    /// Its first hash in [`Layers::hashes`].
    start: usize,
    /// Its first hash in [`Layers::crowns`].
    crown: usize,
}

impl Layers {
    /// The hash of a piece, counted from the start of its file.
    pub(crate) fn hash(&self, file: usize, piece: u32) -> Option<&Hash> {
        let start = self.place(file)?.start;
        self.hashes.get(start.checked_add(usize::try_from(piece).ok()?)?)
    }

    /// The whole layer of a file.
    pub(crate) fn layer(&self, file: usize, pieces: usize) -> Option<&[Hash]> {
        let start = self.place(file)?.start;
        self.hashes.get(start..start.checked_add(pieces)?)
    }

    fn place(&self, file: usize) -> Option<&Place> {
        let at = self.places.binary_search_by_key(&file, |place| place.file).ok()?;
        self.places.get(at)
    }

    /// Whether the layer of a file is known.
    pub(crate) fn has(&self, file: usize) -> bool {
        self.place(file).is_some()
    }

    /// Hashes of all layers.
    pub(crate) fn hashes(&self) -> usize {
        self.hashes.len()
    }

    /// The first file with this root that has a layer.
    pub(crate) fn file(&self, root: &Hash, layout: &Layout) -> Option<usize> {
        let first =
            self.by_root.partition_point(|at| self.root(*at, layout).is_some_and(|known| known < root));
        let at = *self.by_root.get(first)?;
        self.root(at, layout).filter(|known| *known == root).and_then(|_| Some(self.places.get(at)?.file))
    }

    fn root<'a>(&self, at: usize, layout: &'a Layout) -> Option<&'a Hash> {
        layout.files().get(self.places.get(at)?.file)?.root.as_deref()
    }

    /// Part of the tree of a file that has a layer of so many pieces; `None` when it lies below the layer. `height` is that
    /// of the layer.
    pub(crate) fn answer(&self, file: usize, pieces: usize, height: u32, span: &Span) -> Option<Vec<Hash>> {
        let layer = self.layer(file, pieces)?;
        let crown = self.place(file)?.crown;
        let crown = self.crowns.get(crown..crown.checked_add(crown::len(pieces))?)?;
        Crowned { layer, crown, height }.answer(span)
    }

    /// Files that have a layer.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}

/// Reads `piece layers`. Layers may be missing: they can be asked for from peers, as with a magnet.
pub(crate) fn parse(value: Value<'_, '_>, layout: &Layout, piece_length: u32) -> Result<Layers, Error> {
    let entries = value.as_dict().ok_or(Error::NotDictionary(Part::PieceLayers))?;
    let mut wanted: Vec<(&Hash, usize)> = layout
        .files()
        .iter()
        .enumerate()
        .filter(|(_, file)| needs_layer(file, piece_length))
        .filter_map(|(index, file)| Some((&**file.root.as_ref()?, index)))
        .collect();
    wanted.sort_unstable();
    let mut taken = alloc::vec![false; wanted.len()];
    let mut hashes: Vec<Hash> = Vec::new();
    let mut crowns: Vec<Hash> = Vec::new();
    let mut places = Vec::new();
    let height = piece_height(piece_length);
    for (key, value) in entries {
        let root = Hash::try_from(key).map_err(|_| Error::PieceLayer(LayerError::Shape))?;
        let layer = value.as_bytes().ok_or(Error::PieceLayer(LayerError::Shape))?;
        let first = wanted.partition_point(|(known, _)| **known < root);
        let owners = wanted.iter().zip(&mut taken).skip(first).take_while(|((known, _), _)| **known == root);
        let (start, crown) = (hashes.len(), crowns.len());
        let mut known = false;
        for ((_, file), taken) in owners {
            if core::mem::replace(taken, true) {
                return Err(Error::PieceLayer(LayerError::Unknown));
            }
            check_size(layer, layout.files().get(*file), piece_length)?;
            places.push(Place { file: *file, start, crown });
            known = true;
        }
        if !known {
            return Err(Error::PieceLayer(LayerError::Unknown));
        }
        let (chunks, _) = layer.as_chunks::<32>();
        if crown::build(chunks, height, &mut crowns) != root {
            return Err(Error::PieceLayer(LayerError::Root));
        }
        hashes.extend_from_slice(chunks);
    }
    places.sort_unstable();
    let mut by_root: Vec<usize> = (0..places.len()).collect();
    let root = |at: &usize| layout.files().get(places.get(*at)?.file)?.root.as_deref();
    by_root.sort_unstable_by_key(root);
    Ok(Layers {
        hashes: hashes.into(),
        crowns: crowns.into(),
        by_root: by_root.into(),
        places: places.into(),
    })
}

/// How far a piece is above its blocks.
pub(crate) fn piece_height(piece_length: u32) -> u32 {
    piece_length.div_ceil(BLOCK).max(1).ilog2()
}

/// Whether the file has a piece layer: it is longer than a piece (BEP 52).
pub(crate) fn needs_layer(file: &File, piece_length: u32) -> bool {
    file.root.is_some() && file.length > u64::from(piece_length)
}

fn check_size(layer: &[u8], file: Option<&File>, piece_length: u32) -> Result<(), Error> {
    let pieces = file.map_or(0, |file| file.length.div_ceil(u64::from(piece_length)));
    let (expected, found) = (pieces.saturating_mul(32), u64::try_from(layer.len()).unwrap_or(u64::MAX));
    if expected == found { Ok(()) } else { Err(Error::PieceLayer(LayerError::Size { expected, found })) }
}
