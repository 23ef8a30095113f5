//! Known bytes, the torrent that describes them, and the comparison at the end.
//!
//! The torrent is written here by hand, so that a mistake in our own encoder cannot agree with
//! itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha1::{Digest, Sha1};

/// A set of files with contents that follow from their names.
pub(crate) struct Payload {
    name: &'static str,
    /// Path below the name and size; one file with an empty path is a single-file torrent.
    files: &'static [(&'static str, usize)],
    piece_length: usize,
    is_private: bool,
}

/// One file of 4 MiB and a bit, so that the last piece is short.
pub(crate) const SINGLE: Payload = Payload {
    name: "single file.bin",
    files: &[("", 4 * 1024 * 1024 + 12_345)],
    piece_length: 64 * 1024,
    is_private: false,
};

/// A file for the peers of its tracker only.
pub(crate) const PRIVATE: Payload =
    Payload { name: "private.bin", files: &[("", 300_000)], piece_length: 32 * 1024, is_private: true };

/// A tree with pieces that span files, an empty file and names that are not ASCII.
pub(crate) const MULTI: Payload = Payload {
    name: "many ünïcödé files",
    files: &[
        ("a first.bin", 100_001),
        ("b empty.txt", 0),
        ("dir/日本語.dat", 300_000),
        ("dir/sub/one byte", 1),
        ("dir/sub/exact.bin", 65_536),
        ("z last.bin", 1_500_000),
    ],
    piece_length: 32 * 1024,
    is_private: false,
};

/// A torrent of one byte whose only use is to name nodes of the DHT.
pub(crate) fn primer(nodes: &[SocketAddr]) -> Vec<u8> {
    let mut out = b"d4:infod6:lengthi1e4:name6:primer12:piece lengthi16384e6:pieces20:".to_vec();
    out.extend(Sha1::digest([0]));
    out.extend(b"e5:nodesl");
    for node in nodes {
        out.push(b'l');
        string(&mut out, node.ip().to_string().as_bytes());
        integer(&mut out, node.port().into());
        out.push(b'e');
    }
    out.extend(b"ee");
    out
}

impl Payload {
    /// Writes all files below `dir`.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        for (path, bytes) in self.contents() {
            let file = dir.join(path);
            fs::create_dir_all(file.parent().context("a file has a folder")?)?;
            fs::write(file, bytes)?;
        }
        Ok(())
    }

    /// Compares every byte below `dir`. Some clients never create empty files.
    pub(crate) fn verify(&self, dir: &Path, empty_files: bool) -> Result<()> {
        for (path, expected) in self.contents() {
            if expected.is_empty() && !empty_files {
                continue;
            }
            let found = fs::read(dir.join(&path)).with_context(|| path.display().to_string())?;
            ensure!(found.len() == expected.len(), "{}: {} bytes", path.display(), found.len());
            let wrong = found.iter().zip(&expected).position(|(a, b)| a != b);
            ensure!(wrong.is_none(), "{}: differs at byte {wrong:?}", path.display());
        }
        Ok(())
    }

    /// The `.torrent` file with these trackers.
    pub(crate) fn torrent(&self, trackers: &[String]) -> Vec<u8> {
        let mut out = b"d".to_vec();
        if let Some(first) = trackers.first() {
            string(&mut out, b"announce");
            string(&mut out, first.as_bytes());
            string(&mut out, b"announce-list");
            out.push(b'l');
            for tracker in trackers {
                out.push(b'l');
                string(&mut out, tracker.as_bytes());
                out.push(b'e');
            }
            out.push(b'e');
        }
        string(&mut out, b"info");
        out.extend(self.info());
        out.push(b'e');
        out
    }

    /// The v1 info-hash in hex.
    pub(crate) fn info_hash(&self) -> String {
        Sha1::digest(self.info()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The same as bytes.
    pub(crate) fn info_hash_bytes(&self) -> Vec<u8> {
        Sha1::digest(self.info()).to_vec()
    }

    /// The info dictionary.
    pub(crate) fn info(&self) -> Vec<u8> {
        let mut out = b"d".to_vec();
        match self.files {
            [("", size)] => {
                string(&mut out, b"length");
                integer(&mut out, *size);
            }
            files => {
                string(&mut out, b"files");
                out.push(b'l');
                for (path, size) in files {
                    file_entry(&mut out, path, *size);
                }
                out.push(b'e');
            }
        }
        string(&mut out, b"name");
        string(&mut out, self.name.as_bytes());
        string(&mut out, b"piece length");
        integer(&mut out, self.piece_length);
        let all: Vec<u8> = self.contents().flat_map(|(_, bytes)| bytes).collect();
        let hashes: Vec<u8> = all.chunks(self.piece_length).flat_map(Sha1::digest).collect();
        string(&mut out, b"pieces");
        string(&mut out, &hashes);
        if self.is_private {
            string(&mut out, b"private");
            integer(&mut out, 1);
        }
        out.push(b'e');
        out
    }

    /// The file or folder below `dir` that it is written to.
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.name)
    }

    fn contents(&self) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
        self.files.iter().map(|&(path, size)| {
            let path =
                if path.is_empty() { PathBuf::from(self.name) } else { Path::new(self.name).join(path) };
            let bytes = noise(&path, size);
            (path, bytes)
        })
    }
}

fn file_entry(out: &mut Vec<u8>, path: &str, size: usize) {
    out.push(b'd');
    string(out, b"length");
    integer(out, size);
    string(out, b"path");
    out.push(b'l');
    for part in path.split('/') {
        string(out, part.as_bytes());
    }
    out.extend(b"ee");
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(format!("{}:", bytes.len()).bytes());
    out.extend(bytes);
}

fn integer(out: &mut Vec<u8>, value: usize) {
    out.extend(format!("i{value}e").bytes());
}

/// Bytes of a xorshift generator that is seeded with the path.
fn noise(path: &Path, size: usize) -> Vec<u8> {
    let hash = Sha1::digest(path.as_os_str().as_encoded_bytes());
    let mut state = hash.iter().take(8).fold(1, |sum: u64, &byte| (sum << 8) | u64::from(byte)) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(size).collect()
}
