//! Checking what is there against a torrent's hashes, without changing anything.

use crate::scan::Scan;
use crate::{PieceHasher, ScanOptions, Storage, StorageError};
use metainfo::{PieceIndex, Torrent};
use std::io::{ErrorKind, IoSliceMut};
use std::sync::{Mutex, PoisonError};

/// What was found out about a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every hash the torrent has for it matches; of a hybrid torrent both.
    Good,
    /// All its bytes are there, but not the right ones.
    Bad,
    /// A file is not there, or ends before the piece does.
    Missing,
    /// It could not be read.
    Unreadable,
    /// The torrent came without the hash.
    Unknown,
    /// It was cancelled before.
    Unchecked,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Rechecked {
    /// One for each piece.
    pub verdicts: Vec<Verdict>,
    /// Why pieces could not be read; the first hundred.
    pub errors: Vec<StorageError>,
    /// Whether every piece was looked at.
    pub is_whole: bool,
}

impl Rechecked {
    /// Pieces with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.iter().filter(|found| **found == verdict).count()
    }

    /// Whether every piece is good.
    pub fn is_complete(&self) -> bool {
        self.count(Verdict::Good) == self.verdicts.len()
    }
}

/// Errors kept.
const ERRORS: usize = 100;

/// Reads every piece and checks it.
pub fn recheck(storage: &dyn Storage, torrent: &Torrent, options: &ScanOptions<'_>) -> Rechecked {
    let geometry = torrent.geometry();
    let scan = Scan::new(*options, geometry.total());
    let verdicts = vec![Verdict::Unchecked; geometry.piece_count() as usize];
    let found = Mutex::new(Rechecked { verdicts, errors: Vec::new(), is_whole: false });
    let is_whole = scan.run(
        geometry,
        || (),
        |(), piece, buffer| {
            let (verdict, error) = check(storage, torrent, piece, buffer, &scan);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.verdicts[piece.as_usize()] = verdict;
            if found.errors.len() < ERRORS {
                found.errors.extend(error);
            }
        },
    );
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Rechecked { is_whole: is_whole || !found.verdicts.contains(&Verdict::Unchecked), ..found }
}

fn check(
    storage: &dyn Storage,
    torrent: &Torrent,
    piece: PieceIndex,
    buffer: &mut [u8],
    scan: &Scan<'_>,
) -> (Verdict, Option<StorageError>) {
    let check = torrent.piece_check(piece);
    let mut hasher = PieceHasher::all(&check);
    let len = torrent.geometry().piece_len(piece);
    let mut at = 0;
    while at < len {
        if scan.is_over() {
            return (Verdict::Unchecked, None);
        }
        let now = u32::try_from(buffer.len()).map_or(len - at, |most| most.min(len - at));
        let range = crate::plan::range(torrent.geometry(), piece, at..at + now);
        let bytes = &mut buffer[..now as usize];
        if let Err(error) = storage.read(range, &mut [IoSliceMut::new(bytes)]) {
            scan.advance(u64::from(len - at));
            return match error.cause.kind() {
                ErrorKind::NotFound | ErrorKind::UnexpectedEof => (Verdict::Missing, None),
                _ => (Verdict::Unreadable, Some(error)),
            };
        }
        hasher.update(bytes);
        scan.advance(u64::from(now));
        at += now;
    }
    let verdict = match hasher.finish().matches(&check) {
        Some(true) => Verdict::Good,
        Some(false) => Verdict::Bad,
        None => Verdict::Unknown,
    };
    (verdict, None)
}
