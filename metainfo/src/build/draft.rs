use super::{BuildError, Builder, Feed, NewFile, Version, piece_length_for, write};
use crate::check::V2Check;
use crate::geometry::{BLOCK, Geometry, PieceIndex};
use crate::layout::{Attributes, File, FilePath, Layout};
use crate::merkle::{self, Hash};
use crate::names;
use crate::parse::FILE_LENGTH_LIMIT;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// A torrent that lacks nothing but its digests.
///
/// Hash each piece and give its digests, in any order: [`Draft::set_v1`] with the SHA-1 of the piece,
/// [`Draft::set_v2`] with the root of its tree as [`Draft::v2_shape`] says, as far as [`Draft::version`] asks
/// for them. Where the bytes of a piece are says [`Layout::segments`]; those of pad files are zeros. Or let
/// [`Draft::feed`] do it, if the bytes are at hand in order.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(super) builder: Builder,
    pub(super) geometry: Geometry,
    pub(super) layout: Layout,
    /// For each file of the layout the index it was added at; `None` for pad files.
    sources: Vec<Option<usize>>,
    v1: Vec<Option<[u8; 20]>>,
    v2: Vec<Option<Hash>>,
}

impl Draft {
    pub(super) fn new(mut builder: Builder) -> Result<Self, BuildError> {
        let total = builder.files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.length));
        let total = total.ok_or(BuildError::FileLength(u64::MAX))?;
        if total == 0 {
            return Err(BuildError::Empty);
        }
        if let Some(file) = builder.files.iter().find(|file| file.length >= FILE_LENGTH_LIMIT) {
            return Err(BuildError::FileLength(file.length));
        }
        let piece_length = builder.piece_length.unwrap_or_else(|| piece_length_for(total));
        builder.piece_length = Some(piece_length);
        if builder.version == Version::V2
            && let [file] = &builder.files[..]
            && file.parts == [builder.name.as_str()]
        {
            // A reader could not tell it from a single file.
            builder.is_multi = false;
        }
        let order = order(&builder);
        let (files, sources) = lay(&builder, &order, piece_length)?;
        let length = u64::from(piece_length);
        let geometry = match builder.version {
            Version::V2 => Geometry::file_aligned(length, files.iter().map(|file| file.length)),
            _ => Geometry::contiguous(length, files.iter().map(|file| file.length).sum()),
        }
        .map_err(BuildError::Geometry)?;
        let layout = Layout::new(files, &geometry, builder.version == Version::V2, builder.is_multi);
        let count = geometry.piece_count() as usize;
        let v1 = vec![None; if builder.version == Version::V2 { 0 } else { count }];
        let v2 = vec![None; if builder.version == Version::V1 { 0 } else { count }];
        Ok(Self { builder, geometry, layout, sources, v1, v2 })
    }

    /// The version it will have.
    pub fn version(&self) -> Version {
        self.builder.version
    }

    /// Its pieces.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Its files, pad files included, in the order of the torrent.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Which file a file of the layout is, counted in the order they were added to the builder; `None` for
    /// pad files.
    pub fn source(&self, file: usize) -> Option<usize> {
        self.sources.get(file).copied().flatten()
    }

    /// How to hash a piece for its v2 side (the root is not known yet); `None` in a v1 torrent.
    pub fn v2_shape(&self, piece: PieceIndex) -> Option<V2Check<'static>> {
        self.v2.get(piece.as_usize())?;
        let start = self.geometry.piece_start(piece);
        let file = self.layout.files().get(self.layout.file_at(start))?;
        Some(V2Check::of(None, file, start, self.geometry.piece_length()))
    }

    /// The SHA-1 of a piece, zeros of pad files included.
    ///
    /// # Errors
    /// When the torrent has no v1 side, or the piece is of another torrent.
    pub fn set_v1(&mut self, piece: PieceIndex, digest: [u8; 20]) -> Result<(), BuildError> {
        let slot = self.v1.get_mut(piece.as_usize()).ok_or(BuildError::NoSuchPiece(piece.get()))?;
        *slot = Some(digest);
        Ok(())
    }

    /// The root of the hash tree of a piece.
    ///
    /// # Errors
    /// When the torrent has no v2 side, or the piece is of another torrent.
    pub fn set_v2(&mut self, piece: PieceIndex, root: Hash) -> Result<(), BuildError> {
        let slot = self.v2.get_mut(piece.as_usize()).ok_or(BuildError::NoSuchPiece(piece.get()))?;
        *slot = Some(root);
        Ok(())
    }

    /// The leaves of a piece instead of its root: SHA-256 of each 16 KiB of the file's bytes.
    ///
    /// # Errors
    /// As [`Draft::set_v2`].
    pub fn set_v2_leaves(&mut self, piece: PieceIndex, leaves: &[Hash]) -> Result<(), BuildError> {
        let shape = self.v2_shape(piece).ok_or(BuildError::NoSuchPiece(piece.get()))?;
        self.set_v2(piece, shape.root_of(leaves))
    }

    /// Hashes the bytes of all files instead, given in order.
    pub fn feed(self) -> Feed {
        Feed::new(self)
    }

    /// The torrent file.
    ///
    /// # Errors
    /// When digests are missing, or the file would be larger than 64 MiB.
    pub fn finish(self) -> Result<Vec<u8>, BuildError> {
        let missing = |index: usize| BuildError::MissingDigest(u32::try_from(index).unwrap_or(u32::MAX));
        let mut pieces = Vec::with_capacity(self.v1.len() * 20);
        for (index, digest) in self.v1.iter().enumerate() {
            pieces.extend_from_slice(&digest.ok_or_else(|| missing(index))?);
        }
        let mut roots = Vec::with_capacity(self.v2.len());
        for (index, root) in self.v2.iter().enumerate() {
            roots.push(root.ok_or_else(|| missing(index))?);
        }
        let blocks = self.geometry.piece_length().div_ceil(BLOCK);
        let trees: Vec<Option<(Hash, &[Hash])>> = (0..self.layout.files().len())
            .map(|file| {
                let range = self.layout.file_pieces(file).filter(|_| self.sources[file].is_some())?;
                let layer = roots.get(*range.start() as usize..=*range.end() as usize)?;
                match layer {
                    [root] => Some((*root, [].as_slice())),
                    layer => Some((merkle::file_root(layer, blocks), layer)),
                }
            })
            .collect();
        write::torrent(&self, &pieces, &trees)
    }

    pub(super) fn is_v1_only(&self) -> bool {
        self.builder.version == Version::V1
    }

    pub(super) fn is_v2_only(&self) -> bool {
        self.builder.version == Version::V2
    }

    /// The parts of the path of a file as they were given.
    pub(super) fn parts(&self, file: usize) -> Option<&[String]> {
        let source = self.source(file)?;
        self.builder.files.get(source).map(|file| file.parts.as_slice())
    }
}

/// In what order the files go into the torrent.
fn order(builder: &Builder) -> Vec<usize> {
    let mut order: Vec<usize> = (0..builder.files.len()).collect();
    if builder.version != Version::V1 {
        order.sort_by(|&a, &b| builder.files[a].parts.cmp(&builder.files[b].parts));
    }
    order
}

type Laid = (Vec<File>, Vec<Option<usize>>);

fn lay(builder: &Builder, order: &[usize], piece_length: u32) -> Result<Laid, BuildError> {
    let (mut files, mut sources) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
    for &index in order {
        let new = &builder.files[index];
        files.push(file(path(builder, new), new.length, new.attributes));
        sources.push(Some(index));
        let tail = new.length % u64::from(piece_length);
        if builder.version == Version::Hybrid && builder.is_multi && tail != 0 {
            let pad = u64::from(piece_length) - tail;
            let attributes = Attributes { pad: true, ..Attributes::default() };
            files.push(file(format!("{}/.pad/{pad}", builder.name), pad, attributes));
            sources.push(None);
        }
    }
    check_different(&files, builder.any_names)?;
    Ok((files, sources))
}

fn file(path: String, length: u64, attributes: Attributes) -> File {
    File { path: FilePath::new(path), length, offset: 0, attributes, symlink: None, root: None }
}

fn path(builder: &Builder, new: &NewFile) -> String {
    let below = new.parts.join("/");
    if builder.is_multi { format!("{}/{below}", builder.name) } else { below }
}

/// Equal paths, and a file where another has a folder, are never accepted: no tree could hold them.
fn check_different(files: &[File], any_names: bool) -> Result<(), BuildError> {
    let mut paths: Vec<&str> = files.iter().filter(|f| !f.is_pad()).map(|f| f.path.as_str()).collect();
    if let Some(path) = names::clash(&mut paths) {
        return Err(BuildError::Duplicate(path.into()));
    }
    if any_names {
        return Ok(());
    }
    let mut resolved = files.to_vec();
    let changed = |resolved: &[File]| {
        files.iter().zip(resolved).find(|(a, b)| a.path != b.path).map(|(a, _)| a.path.as_str().into())
    };
    match names::resolve(&mut resolved) {
        Ok(()) => changed(&resolved).map_or(Ok(()), |path| Err(BuildError::Duplicate(path))),
        Err(_) => Err(BuildError::Duplicate(changed(&resolved).unwrap_or_default())),
    }
}
