//! Torrents with known bytes.

use metainfo::{Builder, Draft, PieceRange, Torrent, Version};
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use storage::{Storage, StorageError};

/// A torrent and the bytes of its piece space, zeros in the pads.
pub(crate) struct Sample {
    pub(crate) torrent: Arc<Torrent>,
    space: Vec<u8>,
}

impl Sample {
    /// A folder `t` of files of these lengths.
    pub(crate) fn folder(version: Version, piece_length: u32, files: &[(&str, u64)]) -> Self {
        let builder = files.iter().fold(Builder::folder("t"), |builder, (path, len)| {
            builder.file(path.split('/').map(String::from), *len)
        });
        Self::of(builder.version(version).piece_length(piece_length).prepare().unwrap())
    }

    /// One file.
    pub(crate) fn single(version: Version, piece_length: u32, len: u64) -> Self {
        let builder = Builder::single("file.bin", len).version(version).piece_length(piece_length);
        Self::of(builder.prepare().unwrap())
    }

    pub(crate) fn of(draft: Draft) -> Self {
        let last = draft.layout().files().iter().map(metainfo::File::end).max().unwrap();
        let mut space: Vec<u8> = (0..last).map(|at| (at ^ (at >> 8) ^ ((at >> 16) * 3)) as u8).collect();
        for pad in draft.layout().files().iter().filter(|file| file.is_pad()) {
            space[pad.offset as usize..pad.end() as usize].fill(0);
        }
        let payload: Vec<&[u8]> = draft
            .layout()
            .files()
            .iter()
            .filter(|file| !file.is_pad())
            .map(|file| &space[file.offset as usize..file.end() as usize])
            .collect();
        let mut feed = draft.feed();
        payload.iter().for_each(|bytes| feed.update(bytes));
        let torrent = Torrent::parse(&feed.finish().unwrap()).unwrap();
        Self { torrent: Arc::new(torrent), space }
    }

    pub(crate) fn bytes(&self, range: PieceRange) -> &[u8] {
        let start = self.torrent.geometry().piece_start(range.piece()) as usize + range.begin() as usize;
        &self.space[start..start + range.len() as usize]
    }

    /// The bytes of a file of the layout.
    #[cfg(feature = "files")]
    pub(crate) fn file(&self, index: usize) -> &[u8] {
        let file = &self.torrent.layout().files()[index];
        &self.space[file.offset as usize..file.end() as usize]
    }

    /// Every piece as a range.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = PieceRange> + '_ {
        self.torrent.geometry().pieces().map(|piece| self.torrent.geometry().whole(piece))
    }

    pub(crate) fn range(&self, piece: u32, begin: u32, len: u32) -> PieceRange {
        self.torrent.geometry().range_at(piece, begin, len, u32::MAX).unwrap()
    }

    /// Writes everything.
    pub(crate) fn write_to(&self, storage: &dyn Storage) {
        for range in self.pieces() {
            storage.write(range, &[IoSlice::new(self.bytes(range))]).unwrap();
        }
    }
}

/// Reads a range into slices of this length.
pub(crate) fn read(storage: &dyn Storage, range: PieceRange, step: usize) -> Result<Vec<u8>, StorageError> {
    let mut bytes = vec![0xAA; range.len() as usize];
    let mut slices: Vec<_> = bytes.chunks_mut(step).map(IoSliceMut::new).collect();
    storage.read(range, &mut slices)?;
    Ok(bytes)
}

/// Everything beneath a folder: paths, and the bytes of files.
#[cfg(feature = "files")]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tree(std::collections::BTreeMap<String, Option<Vec<u8>>>);

#[cfg(feature = "files")]
impl Tree {
    pub(crate) fn of(root: &std::path::Path) -> Self {
        let mut tree = std::collections::BTreeMap::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                tree.insert(name, kind.is_file().then(|| std::fs::read(&path).unwrap()));
                folders.extend(kind.is_dir().then_some(path));
            }
        }
        Self(tree)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// A folder on another file system than that of temporary files.
#[cfg(feature = "files")]
pub(crate) fn elsewhere() -> Option<tempfile::TempDir> {
    use std::os::unix::fs::MetadataExt;
    let here = std::fs::metadata(std::env::temp_dir()).ok()?.dev();
    let there = ["/dev/shm", "/var/tmp", "/run"].map(std::path::Path::new);
    let other =
        there.into_iter().find(|path| std::fs::metadata(path).is_ok_and(|found| found.dev() != here))?;
    tempfile::tempdir_in(other).ok()
}

/// A folder where syncs cost nothing, if there is such a file system here.
#[cfg(feature = "files")]
pub(crate) fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
