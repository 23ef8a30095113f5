//! From bencoded bytes to a checked description of the content.
//!
//! Outside the info dictionary what cannot be used is skipped: a bad tracker URL makes no torrent useless.
//! Inside it everything that says what the content is must be right.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

mod hybrid;
pub(crate) mod layers;
pub(crate) mod outer;
mod v1;
mod v2;

use crate::error::{Error, Part};
use crate::geometry::{BLOCK, Geometry, GeometryError, MAX_PIECE_LENGTH};
use crate::ids::{InfoHashV1, InfoHashV2, InfoHashes};
use crate::layout::{Attributes, File, FilePath, Layout};
use crate::names;
use crate::path::{MAX_DEPTH, clean_text};
use crate::text::Charset;
use alloc::string::String;
use alloc::vec::Vec;
use bencode::{Dict, Document, Lapse, List};
use core::ops::Range;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Lengths from here on are refused: the leaves of a hash tree of 2³⁰ blocks could not be counted (16 TiB
/// less 16 KiB).
pub(crate) const FILE_LENGTH_LIMIT: u64 = (1 << 44) - (1 << 14);

/// Bytes that the paths of all files and folders may have together (64 MiB). Folders are spelt once in a file tree
/// but are part of the path of each file in them, so that a small torrent could ask for much memory.
const MAX_PATHS: usize = 64 << 20;

/// What is left of [`MAX_PATHS`].
struct PathBudget(usize);

impl PathBudget {
    fn new() -> Self {
        Self(MAX_PATHS)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        self.0 = self.0.checked_sub(bytes).ok_or(Error::PathsTooLong { max: MAX_PATHS })?;
        Ok(())
    }
}

/// What the info dictionary says.
pub(crate) struct Info {
    pub(crate) hashes: InfoHashes,
    pub(crate) name: String,
    pub(crate) private: bool,
    pub(crate) source: Option<String>,
    pub(crate) geometry: Geometry,
    pub(crate) layout: Layout,
    /// Where the v1 piece hashes are, in bytes from the start of the info dictionary.
    pub(crate) pieces: Option<Range<usize>>,
    pub(crate) similar: Vec<InfoHashV1>,
    pub(crate) collections: Vec<String>,
}

/// Which descriptions of the content the info dictionary has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
    Hybrid,
}

/// Reads the info dictionary, which is part of `document`. `charset` is that of text without a UTF-8 twin.
pub(crate) fn info(document: &Document<'_>, info: Dict<'_, '_>, charset: Charset) -> Result<Info, Error> {
    let version = version(info)?;
    check_canonical(document, info, version)?;
    let raw = info.value().raw();
    let hashes = hashes(raw, version)?;
    let piece_length = piece_length(info, version)?;
    let name = name(info, &hashes, charset)?;
    let mut files = match version {
        Version::V1 => v1::files(info, &name, charset)?,
        Version::V2 => v2::files(info, &name)?,
        Version::Hybrid => {
            let (v1, v2) = (v1::files(info, &name, charset)?, v2::files(info, &name)?);
            hybrid::merge(v1, v2, u64::from(piece_length))?
        }
    };
    if files.is_empty() {
        return Err(Error::NoFiles);
    }
    let geometry = geometry(&files, piece_length, version)?;
    let pieces = pieces(info, &geometry, version)?;
    names::resolve(&mut files)?;
    let is_multi = files.iter().any(|file| file.path.parts().nth(1).is_some());
    let layout = Layout::new(files, &geometry, version == Version::V2, is_multi);
    Ok(Info {
        hashes,
        name,
        private: info.int("private").is_some_and(|private| private != 0),
        source: info.bytes("source").map(|source| charset.decode(source)),
        geometry,
        layout,
        pieces,
        similar: outer::similar(info),
        collections: outer::collections(info),
    })
}

fn version(info: Dict<'_, '_>) -> Result<Version, Error> {
    let has_tree = info.get("file tree").is_some();
    let found = info.get("meta version").and_then(|v| v.as_int());
    match found {
        Some(2) if !has_tree => Err(Error::MissingFileTree),
        Some(2) if info.get("files").is_some() || info.get("length").is_some() => Ok(Version::Hybrid),
        Some(2) => Ok(Version::V2),
        Some(3..) => Err(Error::MetaVersion { found }),
        _ if has_tree => Err(Error::MetaVersion { found }),
        _ => Ok(Version::V1),
    }
}

/// The hash of a v2 info dictionary must have one spelling only. Old v1 torrents with keys out of order exist
/// and are accepted, but a key given twice means different things to different readers of the same info-hash.
fn check_canonical(document: &Document<'_>, info: Dict<'_, '_>, version: Version) -> Result<(), Error> {
    let span = info.value().span();
    let inside = document.forgiven().iter().filter(|lapse| span.contains(&lapse.offset));
    for lapse in inside {
        if version != Version::V1 || lapse.lapse == Lapse::DuplicateKey {
            return Err(Error::NotCanonical { offset: lapse.offset });
        }
    }
    Ok(())
}

fn hashes(raw: &[u8], version: Version) -> Result<InfoHashes, Error> {
    let v1 = (version != Version::V2).then(|| InfoHashV1(Sha1::digest(raw).into()));
    let v2 = (version != Version::V1).then(|| InfoHashV2(Sha256::digest(raw).into()));
    InfoHashes::from_parts(v1, v2).ok_or(Error::MissingInfo)
}

fn piece_length(info: Dict<'_, '_>, version: Version) -> Result<u32, Error> {
    let found = info.int("piece length");
    let length = found.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_PIECE_LENGTH).contains(n));
    let fits = |n: &u32| version == Version::V1 || (*n >= BLOCK && n.is_power_of_two());
    length.filter(fits).ok_or(Error::PieceLength { found })
}

/// The cleaned name; the hex info-hash when nothing of it is left.
fn name(info: Dict<'_, '_>, hashes: &InfoHashes, charset: Charset) -> Result<String, Error> {
    let raw = info.bytes("name.utf-8").or_else(|| info.bytes("name")).ok_or(Error::MissingName)?;
    Ok(clean_text(&charset.decode(raw)).unwrap_or_else(|| match (hashes.v1(), hashes.v2()) {
        (None, Some(v2)) => v2.to_hex(),
        _ => hashes.id().to_hex(),
    }))
}

fn geometry(files: &[File], piece_length: u32, version: Version) -> Result<Geometry, Error> {
    let length = u64::from(piece_length);
    let total = total(files)?;
    if total == 0 {
        return Err(Error::Empty);
    }
    match version {
        Version::V2 => Geometry::file_aligned(length, files.iter().map(|file| file.length)),
        Version::V1 | Version::Hybrid => Geometry::contiguous(length, total),
    }
    .map_err(Error::PieceCount)
}

fn total(files: &[File]) -> Result<u64, Error> {
    let sum = files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.length));
    sum.ok_or(Error::PieceCount(GeometryError::PieceCount(u64::MAX)))
}

/// Where the v1 hashes are. A hybrid torrent has to have them too.
fn pieces(info: Dict<'_, '_>, geometry: &Geometry, version: Version) -> Result<Option<Range<usize>>, Error> {
    if version == Version::V2 {
        return Ok(None);
    }
    let value = info.get("pieces").ok_or(Error::MissingPieces)?;
    let bytes = value.as_bytes().ok_or(Error::MissingPieces)?;
    let expected = u64::from(geometry.piece_count()) * 20;
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if expected != found {
        return Err(Error::PieceHashes { expected, found });
    }
    let end = value.span().end.saturating_sub(info.value().span().start);
    Ok(Some(end.saturating_sub(bytes.len())..end))
}

/// A file before it is laid out.
fn file(path: String, length: u64, attributes: Attributes) -> File {
    File { path: FilePath::new(path), length, offset: 0, attributes, symlink: None, root: None }
}

/// The length of a file; a link has none, whatever the torrent says (BEP 47).
fn length(file: Dict<'_, '_>, attributes: Attributes) -> Result<u64, Error> {
    if attributes.symlink {
        return Ok(0);
    }
    let found = file.int("length");
    let length = found.and_then(|n| u64::try_from(n).ok());
    length.filter(|&n| n < FILE_LENGTH_LIMIT).ok_or(Error::Length { found })
}

/// The letters of `attr` (BEP 47); unknown ones are skipped.
fn attributes(file: Dict<'_, '_>) -> Attributes {
    let attr = file.bytes("attr").unwrap_or_default();
    Attributes {
        pad: attr.contains(&b'p'),
        executable: attr.contains(&b'x'),
        hidden: attr.contains(&b'h'),
        symlink: attr.contains(&b'l'),
    }
}

/// The cleaned target of a link, below the folder of the torrent; `None` when the torrent names none.
fn symlink(file: Dict<'_, '_>, root: &str, charset: Charset) -> Result<Option<FilePath>, Error> {
    let Some(parts) = file.list("symlink path") else { return Ok(None) };
    let target = join(root, parts, |raw| match raw {
        b"." | b".." => None,
        raw => Some(part(raw, charset)),
    })?;
    Ok((target.len() > root.len()).then(|| FilePath::new(target)))
}

/// A part of a path, cleaned; `_` where nothing is left of it.
fn part(raw: &[u8], charset: Charset) -> String {
    clean_text(&charset.decode(raw)).unwrap_or_else(|| String::from("_"))
}

/// `root` and the cleaned parts of a path, joined.
fn join(root: &str, parts: List<'_, '_>, clean: impl Fn(&[u8]) -> Option<String>) -> Result<String, Error> {
    // A path that starts with the folder of the torrent has one part more than it says.
    if parts.len() >= MAX_DEPTH {
        return Err(Error::TooDeep { max: MAX_DEPTH });
    }
    let mut path = String::from(root);
    for part in parts {
        let raw = part.as_bytes().ok_or(Error::InvalidPath)?;
        if let Some(part) = clean(raw) {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&part);
        }
    }
    Ok(path)
}

/// Checks that the root of a document is a dictionary.
pub(crate) fn root<'d, 'a>(document: &'d Document<'a>) -> Result<Dict<'d, 'a>, Error> {
    document.root().as_dict().ok_or(Error::NotDictionary(Part::Root))
}
