//! `piece layers`: the v2 piece hashes of files longer than a piece (BEP 52). They lie outside the info
//! dictionary and are checked against the roots inside it.

use crate::error::{Error, LayerError, Part};
use crate::geometry::BLOCK;
use crate::layout::{File, Layout};
use crate::merkle::{self, Hash};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bencode::Value;

/// The piece layers that are known, one copy of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    hashes: Box<[Hash]>,
    /// Files that have a layer, by index, and where in `hashes` it starts. Files of equal content share one.
    starts: Box<[(usize, usize)]>,
}

impl Layers {
    /// The hash of a piece, counted from the start of its file.
    pub(crate) fn hash(&self, file: usize, piece: u32) -> Option<&Hash> {
        let at = self.starts.binary_search_by_key(&file, |entry| entry.0).ok()?;
        let (_, start) = self.starts.get(at)?;
        self.hashes.get(start.checked_add(usize::try_from(piece).ok()?)?)
    }

    /// The whole layer of a file.
    pub(crate) fn layer(&self, file: usize, pieces: usize) -> Option<&[Hash]> {
        let at = self.starts.binary_search_by_key(&file, |entry| entry.0).ok()?;
        let (_, start) = self.starts.get(at)?;
        self.hashes.get(*start..start.checked_add(pieces)?)
    }

    /// Files that have a layer.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
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
    let mut starts = Vec::new();
    for (key, value) in entries {
        let root = Hash::try_from(key).map_err(|_| Error::PieceLayer(LayerError::Shape))?;
        let layer = value.as_bytes().ok_or(Error::PieceLayer(LayerError::Shape))?;
        let first = wanted.partition_point(|(known, _)| **known < root);
        let owners = wanted.iter().zip(&mut taken).skip(first).take_while(|((known, _), _)| **known == root);
        let start = hashes.len();
        let mut known = false;
        for ((_, file), taken) in owners {
            if core::mem::replace(taken, true) {
                return Err(Error::PieceLayer(LayerError::Unknown));
            }
            check_size(layer, layout.files().get(*file), piece_length)?;
            starts.push((*file, start));
            known = true;
        }
        if !known {
            return Err(Error::PieceLayer(LayerError::Unknown));
        }
        let (chunks, _) = layer.as_chunks::<32>();
        if merkle::file_root(chunks, piece_length.div_ceil(BLOCK)) != root {
            return Err(Error::PieceLayer(LayerError::Root));
        }
        hashes.extend_from_slice(chunks);
    }
    starts.sort_unstable();
    Ok(Layers { hashes: hashes.into(), starts: starts.into() })
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
