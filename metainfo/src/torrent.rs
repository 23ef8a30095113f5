//! A parsed torrent.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

use crate::check::{PieceCheck, V2Check};
use crate::error::{Error, Part};
use crate::geometry::{Geometry, PieceIndex};
use crate::ids::{InfoHashV1, InfoHashes, TorrentId};
use crate::layout::{File, Layout};
use crate::merkle::{Hash, Height, Span};
use crate::parse::layers::{self, Layers};
use crate::parse::outer::Outer;
use crate::parse::{self, Info};
use crate::text::Charset;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bencode::{Dict, Document, Options};

/// The largest torrent file or info dictionary that is accepted, in bytes (64 MiB).
pub const MAX_SIZE: usize = 64 << 20;

/// A `.torrent` file, version 1, 2 or both, read and checked.
///
/// It owns everything: one copy of the info dictionary, in which the v1 piece hashes stay, the file list, the
/// piece layers and the remarks around. Put it into an `Arc` to share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torrent {
    info: Box<[u8]>,
    hashes: InfoHashes,
    name: String,
    private: bool,
    source: Option<String>,
    geometry: Geometry,
    layout: Layout,
    /// Where the v1 piece hashes start in `info`.
    pieces: Option<usize>,
    layers: Layers,
    outer: Outer,
}

impl Torrent {
    /// Reads a `.torrent` file. Bytes after its dictionary are ignored, as by other clients.
    ///
    /// # Errors
    /// When the input is too long, not bencoded, or does not describe content that can be checked; see
    /// [`Error`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        check_size(bytes)?;
        let (document, _) = options().decode_prefix(bytes)?;
        let root = parse::root(&document)?;
        let info = root.dict("info").ok_or(Error::MissingInfo)?;
        let charset = Charset::named(root.bytes("encoding"));
        let mut torrent = Self::from_document(&document, info, charset)?;
        if let Some(value) = root.get("piece layers").filter(|_| torrent.hashes.v2().is_some()) {
            torrent.layers = layers::parse(value, &torrent.layout, torrent.geometry.piece_length())?;
        }
        let mut outer = Outer::parse(root, torrent.layout.files().len() > 1);
        outer.similar.append(&mut torrent.outer.similar);
        outer.collections.append(&mut torrent.outer.collections);
        torrent.outer = outer;
        Ok(torrent)
    }

    /// Reads an info dictionary alone, as peers send it for a magnet (BEP 9). Its hash is yours to compare.
    ///
    /// # Errors
    /// As [`Torrent::parse`], and when anything follows the dictionary.
    pub fn from_info(info: &[u8]) -> Result<Self, Error> {
        check_size(info)?;
        let (document, consumed) = options().decode_prefix(info)?;
        let root = document.root().as_dict().ok_or(Error::NotDictionary(Part::Root))?;
        if consumed != info.len() {
            return Err(Error::NotCanonical { offset: consumed });
        }
        Self::from_document(&document, root, Charset::default())
    }

    fn from_document(document: &Document<'_>, info: Dict<'_, '_>, charset: Charset) -> Result<Self, Error> {
        let Info { hashes, name, private, source, geometry, layout, pieces, similar, collections } =
            parse::info(document, info, charset)?;
        Ok(Self {
            info: info.value().raw().into(),
            hashes,
            name,
            private,
            source,
            geometry,
            layout,
            pieces: pieces.map(|range| range.start),
            layers: Layers::default(),
            outer: Outer { similar, collections, ..Outer::default() },
        })
    }

    /// SHA-1 and SHA-256 of the info dictionary as it is written, as far as the torrent's version uses them.
    pub fn info_hashes(&self) -> &InfoHashes {
        &self.hashes
    }

    /// The 20 bytes that name the torrent on the network.
    pub fn id(&self) -> TorrentId {
        self.hashes.id()
    }

    /// The name, cleaned to be a file name; the hex info-hash if nothing of it was left.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether peers may come from its trackers only (BEP 27).
    pub fn private(&self) -> bool {
        self.private
    }

    /// Pieces and their lengths.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Files and where they lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The info dictionary as it was written: the bytes that the info-hashes are of.
    pub fn info_bytes(&self) -> &[u8] {
        &self.info
    }

    /// Tracker URLs in tiers, in the order they are written (BEP 12). Shuffling is the announcer's business.
    pub fn trackers(&self) -> &[Vec<String>] {
        &self.outer.trackers
    }

    /// URLs of web seeds (BEP 19), each once; of a torrent of many files they end in a slash.
    pub fn web_seeds(&self) -> &[String] {
        &self.outer.web_seeds
    }

    /// URLs of seeds of the older kind (BEP 17).
    pub fn http_seeds(&self) -> &[String] {
        &self.outer.http_seeds
    }

    /// DHT nodes to start from, as host and port (BEP 5).
    pub fn nodes(&self) -> &[(String, u16)] {
        &self.outer.nodes
    }

    /// A remark of who made it.
    pub fn comment(&self) -> Option<&str> {
        self.outer.comment.as_deref()
    }

    /// The program that made it.
    pub fn created_by(&self) -> Option<&str> {
        self.outer.created_by.as_deref()
    }

    /// When it was made, in seconds since 1970.
    pub fn creation_date(&self) -> Option<u64> {
        self.outer.creation_date
    }

    /// The encoding its maker claims for text that is no UTF-8 and has no UTF-8 twin. With the feature `encodings` such text
    /// was decoded by it, where it can be; else its bytes stand for characters of Latin-1.
    pub fn encoding(&self) -> Option<&str> {
        self.outer.encoding.as_deref()
    }

    /// The site it is from, part of the info-hash.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Torrents that may share files with it (BEP 38).
    pub fn similar(&self) -> &[InfoHashV1] {
        &self.outer.similar
    }

    /// Collections that it is part of (BEP 38).
    pub fn collections(&self) -> &[String] {
        &self.outer.collections
    }

    /// What a piece has to hash to. Constant time for v1, logarithmic in the number of files for v2.
    pub fn piece_check(&self, piece: PieceIndex) -> PieceCheck<'_> {
        let v2 = self.v2_check(piece);
        match (self.v1_hash(piece), v2) {
            (Some(v1), Some(v2)) => PieceCheck::Both(v1, v2),
            (Some(v1), None) => PieceCheck::V1(v1),
            (None, v2) => PieceCheck::V2(v2.unwrap_or(V2Check::NONE)),
        }
    }

    /// The piece layer of a file (BEP 52): one hash for each of its pieces. `None` when it is not known, or
    /// the file is no longer than a piece and has none.
    pub fn piece_layer(&self, file: usize) -> Option<&[Hash]> {
        let pieces = self.layout.file_pieces(file)?.count();
        self.layers.layer(file, pieces)
    }

    /// Whether every v2 piece can be checked: each file longer than a piece came with its piece layer. True
    /// of v1.
    pub fn has_piece_layers(&self) -> bool {
        let length = self.geometry.piece_length();
        let needed = self.layout.files().iter().filter(|file| layers::needs_layer(file, length)).count();
        needed == self.layers.len()
    }

    /// Part of the tree of the file that has this root, as a peer asks for it (BEP 52): the hashes of the range, then its uncles,
    /// bottom up. `None` when that cannot be: no file that is longer than a piece and has its piece layer has that
    /// root, the hashes lie below the pieces, or the numbers name no range of the tree (see [`Span::new`]).
    pub fn tree_hashes(
        &self,
        root: &Hash,
        base: u32,
        index: u32,
        length: u32,
        proof_layers: u32,
    ) -> Option<Vec<Hash>> {
        let at = self.layers.file(root, &self.layout)?;
        let file = self.layout.files().get(at)?;
        let span = Span::new(Height::of_file(file.length), base, index, length, proof_layers)?;
        let pieces = self.layout.file_pieces(at)?.count();
        self.layers.answer(at, pieces, layers::piece_height(self.geometry.piece_length()), &span)
    }

    /// Hashes of all piece layers that are known, files of equal content counted once each.
    pub fn layer_hashes(&self) -> u64 {
        u64::try_from(self.layers.hashes()).unwrap_or(u64::MAX)
    }

    /// The piece layers that are lacking, each once: to be asked of peers, and given to
    /// [`Edit::set_piece_layers`](crate::Edit::set_piece_layers).
    pub fn lacking_layers(&self) -> Vec<LackingLayer> {
        let length = self.geometry.piece_length();
        let files = self.layout.files().iter().enumerate();
        let lacking = files.filter(|(at, file)| layers::needs_layer(file, length) && !self.layers.has(*at));
        let lacking = lacking.filter_map(|(_, file)| {
            let pieces = u32::try_from(file.length.div_ceil(u64::from(length))).ok()?;
            let (root, tree) = (**file.root.as_ref()?, Height::of_file(file.length));
            Some(LackingLayer { root, pieces, base: layers::piece_height(length), tree })
        });
        let mut lacking: Vec<_> = lacking.collect();
        lacking.sort_unstable_by_key(|layer| layer.root);
        lacking.dedup_by_key(|layer| layer.root);
        lacking
    }

    fn v1_hash(&self, piece: PieceIndex) -> Option<&[u8; 20]> {
        let at = self.pieces?.checked_add(piece.as_usize().checked_mul(20)?)?;
        self.info.get(at..)?.first_chunk()
    }

    fn v2_check(&self, piece: PieceIndex) -> Option<V2Check<'_>> {
        self.hashes.v2()?;
        let start = self.geometry.piece_start(piece);
        let index = self.layout.file_at(start);
        let file = self.layout.files().get(index)?;
        let length = self.geometry.piece_length();
        let check = V2Check::of(self.v2_root(index, file, start), file, start, length);
        Some(check)
    }

    fn v2_root<'a>(&'a self, index: usize, file: &'a File, start: u64) -> Option<&'a Hash> {
        let length = self.geometry.piece_length();
        if layers::needs_layer(file, length) {
            let piece = start.saturating_sub(file.offset) / u64::from(length);
            self.layers.hash(index, u32::try_from(piece).ok()?)
        } else {
            file.root.as_deref()
        }
    }
}

/// A piece layer that a torrent came without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LackingLayer {
    /// The root of the file's tree.
    pub root: Hash,
    /// Hashes in the layer, at least 2.
    pub pieces: u32,
    /// Layers between the leaves and the layer.
    pub base: u32,
    /// The height of the file's tree.
    pub tree: Height,
}

/// The one size cap of all that is read.
pub(crate) fn check_size(bytes: &[u8]) -> Result<(), Error> {
    let size = bytes.len();
    if size > MAX_SIZE { Err(Error::TooLarge { size, max: MAX_SIZE }) } else { Ok(()) }
}

/// How torrents are decoded: lapses are judged afterwards.
pub(crate) fn options() -> Options {
    Options { max_size: MAX_SIZE, ..Options::lenient() }
}
