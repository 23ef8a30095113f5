//! A payload of any size that takes little memory, and the torrent that describes it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha1::{Digest, Sha1};

/// Bytes until the noise repeats. It is no multiple of a piece length, so that pieces differ.
const PERIOD: usize = 8 * 1024 * 1024 + 4099;

/// The name of the one file.
pub const NAME: &str = "loopback.bin";

/// One file of repeating noise.
pub struct Payload {
    size: u64,
    piece: u32,
    noise: Vec<u8>,
}

impl Payload {
    /// A payload of `size` bytes in pieces of `piece` bytes; both at least 1.
    pub fn new(size: u64, piece: u32) -> Result<Payload> {
        ensure!(size > 0 && piece > 0, "a payload has at least a byte, and so has a piece");
        Ok(Payload { size, piece, noise: noise() })
    }

    /// Bytes in all.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes in a piece but the last.
    pub const fn piece(&self) -> u32 {
        self.piece
    }

    /// The number of pieces.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.size.div_ceil(u64::from(self.piece))).unwrap_or(u32::MAX)
    }

    /// The bytes from `offset` on: at most `len`, and at least one.
    pub fn slice(&self, offset: u64, len: usize) -> &[u8] {
        let start = (offset % PERIOD as u64) as usize;
        let end = PERIOD.min(start + len.max(1));
        &self.noise[start..end]
    }

    /// Writes the file below `dir` and waits until the disk has it, so that writing it back does not
    /// disturb what is measured later.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let mut file = BufWriter::new(File::create(dir.join(NAME))?);
        self.each(0..self.size, |bytes| Ok(file.write_all(bytes)?))?;
        file.into_inner().context("writing the payload")?.sync_all()?;
        Ok(())
    }

    /// The `.torrent` file and its info-hash.
    pub fn torrent(&self) -> Result<(Vec<u8>, [u8; 20])> {
        let mut hashes = Vec::with_capacity(self.pieces() as usize * 20);
        for piece in 0..u64::from(self.pieces()) {
            let start = piece * u64::from(self.piece);
            let end = self.size.min(start + u64::from(self.piece));
            let mut hash = Sha1::new();
            self.each(start..end, |bytes| {
                hash.update(bytes);
                Ok(())
            })?;
            hashes.extend(hash.finalize());
        }
        let info = bencode::encode(|e| {
            e.dict(|d| {
                d.int("length", self.size);
                d.bytes("name", NAME);
                d.int("piece length", self.piece);
                d.bytes("pieces", &hashes);
            });
        });
        let info = info.context("encoding the info dictionary")?;
        let torrent = bencode::encode(|e| e.dict(|d| d.raw("info", &info)));
        Ok((torrent.context("encoding the torrent")?, Sha1::digest(&info).into()))
    }

    fn each(&self, range: std::ops::Range<u64>, mut with: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut offset = range.start;
        while offset < range.end {
            let bytes = self.slice(offset, usize::try_from(range.end - offset)?);
            with(bytes)?;
            offset += bytes.len() as u64;
        }
        Ok(())
    }
}

fn noise() -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(PERIOD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_join_across_the_end_of_the_noise() {
        let payload = Payload::new(20_000_000, 1 << 20).unwrap();
        let mut whole: Vec<u8> = Vec::new();
        let around = PERIOD as u64 - 10..PERIOD as u64 + 10;
        payload
            .each(around, |bytes| {
                whole.extend(bytes);
                Ok(())
            })
            .unwrap();
        assert_eq!(whole, [&payload.noise[PERIOD - 10..], &payload.noise[..10]].concat());
    }

    #[test]
    fn the_torrent_has_a_hash_for_each_piece() {
        let payload = Payload::new((1 << 20) + 1, 1 << 20).unwrap();
        let (torrent, _) = payload.torrent().unwrap();
        let document = bencode::decode(&torrent).unwrap();
        let info = document.root().as_dict().unwrap().dict("info").unwrap();
        let hashes = info.bytes("pieces").unwrap();
        assert_eq!(hashes.len(), 40);
        let last: [u8; 20] = Sha1::digest(payload.slice(1 << 20, 1)).into();
        assert_eq!(hashes[20..], last);
    }
}
