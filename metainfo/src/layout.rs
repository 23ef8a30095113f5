//! Where the files of a torrent lie in its piece space.

use crate::geometry::{Geometry, PieceRange};
use crate::merkle::Hash;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// A cleaned relative path: parts joined by `/`, none empty, `.` or `..`, none with a separator in it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(Box<str>);

impl FilePath {
    pub(crate) fn new(joined: String) -> Self {
        Self(joined.into_boxed_str())
    }

    /// All parts, joined by `/` on every system.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts from the outermost folder to the file name; at least one.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for FilePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// What a torrent says about a file besides its name and length (BEP 47).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Filler of zeros that is never stored, shown or asked for.
    pub pad: bool,
    /// To be made executable.
    pub executable: bool,
    /// To be hidden on systems that know hidden files.
    pub hidden: bool,
    /// A symbolic link; it holds no bytes.
    pub symlink: bool,
}

/// A file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path below the download folder, cleaned and unique in the torrent (pad files aside). In a torrent of
    /// many files it starts with the name of the torrent.
    pub path: FilePath,
    /// Bytes in it.
    pub length: u64,
    /// Where it starts in the piece space, in bytes.
    pub offset: u64,
    /// Pad, executable, hidden, symlink.
    pub attributes: Attributes,
    /// Where a symlink points: a cleaned path below the download folder, that need not exist. It is a record
    /// of what the torrent says; nothing in this stack makes or follows links.
    pub symlink: Option<FilePath>,
    /// The root of its hash tree; v2 and hybrid torrents only, and not for empty files (BEP 52).
    pub root: Option<Box<Hash>>,
}

impl File {
    /// Whether it is a pad file.
    pub fn is_pad(&self) -> bool {
        self.attributes.pad
    }

    /// Where it ends in the piece space, in bytes.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// Bytes of one file that are part of a range of the piece space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index in [`Layout::files`].
    pub file: usize,
    /// First byte in that file.
    pub offset: u64,
    /// Bytes, at least 1.
    pub len: u32,
    /// Whether that file is a pad file: its bytes are zeros and stored nowhere.
    pub pad: bool,
}

/// The files of a torrent in the order of the metainfo, and the piece space they fill.
///
/// In v1 and hybrid torrents files follow each other without gaps. In v2 torrents each file that is not empty
/// starts at a piece (BEP 52).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    files: Box<[File]>,
    piece_length: u32,
    is_multi: bool,
}

impl Layout {
    /// Lays out files that are in order; their offsets are set here. `aligned` says that every file that is
    /// not empty starts at a piece. The sum of lengths, rounded up to pieces, must fit: a `Geometry` of them
    /// was made.
    pub(crate) fn new(mut files: Vec<File>, geometry: &Geometry, aligned: bool, is_multi: bool) -> Self {
        let piece_length = geometry.piece_length();
        let mut at = 0u64;
        for file in &mut files {
            if aligned && file.length > 0 {
                at = at.next_multiple_of(u64::from(piece_length));
            }
            file.offset = at;
            at += file.length;
        }
        Self { files: files.into(), piece_length, is_multi }
    }

    /// All files in the order of the metainfo, pad files too. Selections by index (BEP 53) count in this
    /// list.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Whether the files lie in a folder named as the torrent.
    pub fn is_multi(&self) -> bool {
        self.is_multi
    }

    /// Bytes in all files that are stored, without pad files.
    pub fn payload(&self) -> u64 {
        self.files.iter().filter(|f| !f.is_pad()).map(|f| f.length).sum()
    }

    /// The parts of files that a range covers, in order. Their lengths add up to the length of the range;
    /// empty files do not occur. The range must come from the geometry of the same torrent.
    pub fn segments(&self, range: PieceRange) -> impl Iterator<Item = Segment> + '_ {
        let mut at = u64::from(range.piece().get()) * u64::from(self.piece_length) + u64::from(range.begin());
        let end = at + u64::from(range.len());
        let first = self.file_at(at);
        self.files
            .iter()
            .enumerate()
            .skip(first)
            .map_while(move |(index, file)| {
                if at >= end {
                    return None;
                }
                let stop = end.min(file.end());
                // A file that is empty, or that ends before `at`, gives a segment of no bytes, which is
                // dropped below.
                let len = u32::try_from(stop.saturating_sub(at)).unwrap_or(0);
                let segment =
                    Segment { file: index, offset: at.saturating_sub(file.offset), len, pad: file.is_pad() };
                at = at.max(stop);
                Some(segment)
            })
            .filter(|segment| segment.len > 0)
    }

    /// The first and the last piece that hold bytes of the file; `None` when there is no such file or it is
    /// empty.
    pub fn file_pieces(&self, file: usize) -> Option<RangeInclusive<u32>> {
        let file = self.files.get(file).filter(|f| f.length > 0)?;
        let piece = |byte: u64| u32::try_from(byte / u64::from(self.piece_length)).ok();
        Some(piece(file.offset)?..=piece(file.end() - 1)?)
    }

    /// Index of the file that holds this byte of the piece space: the first that ends after it.
    pub(crate) fn file_at(&self, byte: u64) -> usize {
        self.files.partition_point(|file| file.end() <= byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec;

    fn file(length: u64, pad: bool) -> File {
        File {
            path: FilePath::new(format!("t/{length}")),
            length,
            offset: 0,
            attributes: Attributes { pad, ..Attributes::default() },
            symlink: None,
            root: None,
        }
    }

    fn v1(lengths: &[u64], piece_length: u64) -> (Layout, Geometry) {
        let geometry = Geometry::contiguous(piece_length, lengths.iter().sum()).unwrap();
        let files = lengths.iter().map(|&l| file(l, false)).collect();
        (Layout::new(files, &geometry, false, true), geometry)
    }

    fn v2(lengths: &[u64], piece_length: u64) -> (Layout, Geometry) {
        let geometry = Geometry::file_aligned(piece_length, lengths.iter().copied()).unwrap();
        let files = lengths.iter().map(|&l| file(l, false)).collect();
        (Layout::new(files, &geometry, true, true), geometry)
    }

    fn found(layout: &Layout, range: PieceRange) -> Vec<(usize, u64, u32)> {
        layout.segments(range).map(|s| (s.file, s.offset, s.len)).collect()
    }

    #[test]
    fn a_piece_may_cross_many_files() {
        let (layout, geometry) = v1(&[0, 10, 0, 5, 0, 0, 20, 0], 16);
        let pieces: Vec<_> = geometry.pieces().map(|p| found(&layout, geometry.whole(p))).collect();
        assert_eq!(pieces, [vec![(1, 0, 10), (3, 0, 5), (6, 0, 1)], vec![(6, 1, 16)], vec![(6, 17, 3)]]);
        assert_eq!(found(&layout, geometry.range_at(0, 10, 5, 99).unwrap()), [(3, 0, 5)]);
        assert_eq!(layout.file_pieces(6), Some(0..=2));
        assert_eq!(layout.file_pieces(3), Some(0..=0));
        assert_eq!(layout.file_pieces(0), None);
        assert_eq!(layout.file_pieces(8), None);
    }

    #[test]
    fn v2_files_start_at_pieces() {
        let (layout, geometry) = v2(&[16385, 0, 3, 16384], 16384);
        let pieces: Vec<_> = geometry.pieces().map(|p| found(&layout, geometry.whole(p))).collect();
        assert_eq!(pieces, [vec![(0, 0, 16384)], vec![(0, 16384, 1)], vec![(2, 0, 3)], vec![(3, 0, 16384)]]);
        assert_eq!(layout.file_pieces(3), Some(3..=3));
    }

    proptest::proptest! {
        #[test]
        fn segments_cover_a_range_exactly_once(
            lengths in proptest::collection::vec(0u64..70_000, 1..30),
            begin in 0u32..32768, len in 1u32..32768, piece: u32, aligned: bool,
        ) {
            proptest::prop_assume!(lengths.iter().sum::<u64>() > 0);
            let (layout, geometry) =
                if aligned { v2(&lengths, 32768) } else { v1(&lengths, 32768) };
            let piece = geometry.piece(piece % geometry.piece_count()).unwrap();
            let begin = begin % geometry.piece_len(piece);
            let len = len.min(geometry.piece_len(piece) - begin);
            let range = geometry.range_at(piece.get(), begin, len, u32::MAX).unwrap();
            let mut at = geometry.piece_start(piece) + u64::from(begin);
            for s in layout.segments(range) {
                let file = &layout.files()[s.file];
                assert_eq!(file.offset + s.offset, at);
                assert!(s.len > 0 && s.offset + u64::from(s.len) <= file.length);
                assert!(layout.file_pieces(s.file).unwrap().contains(&piece.get()));
                at += u64::from(s.len);
            }
            assert_eq!(at, geometry.piece_start(piece) + u64::from(begin + len));
        }
    }
}
