//! Checking what is there against a torrent's hashes, without changing anything.

use crate::scan::Scan;
use crate::{Hashes, PieceHasher, ScanOptions, Storage, StorageError};
use metainfo::{PieceCheck, PieceIndex, Torrent};
use std::io::{ErrorKind, IoSliceMut};
use std::sync::{Mutex, PoisonError};

/// What was found out about a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every hash the torrent has for it matches; of a hybrid torrent both, if its piece layers are there.
    Good,
    /// All its bytes are there, but not the right ones; or the hashes of a hybrid contradict each other.
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
        |(), pieces, buffer| {
            let checked = check(storage, torrent, pieces, buffer, &scan);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            for (piece, (verdict, error)) in pieces.iter().zip(checked) {
                found.verdicts[piece.as_usize()] = verdict;
                if found.errors.len() < ERRORS {
                    found.errors.extend(error);
                }
            }
        },
    );
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Rechecked { is_whole: is_whole || !found.verdicts.contains(&Verdict::Unchecked), ..found }
}

fn check(
    storage: &dyn Storage,
    torrent: &Torrent,
    pieces: &[PieceIndex],
    buffer: &mut [u8],
    scan: &Scan<'_>,
) -> Vec<(Verdict, Option<StorageError>)> {
    let geometry = torrent.geometry();
    let checks: Vec<_> = pieces.iter().map(|&piece| torrent.piece_check(piece)).collect();
    let hashers = pieces.iter().zip(&checks).map(|(&piece, check)| (piece, PieceHasher::all(check)));
    let hashes = scan.hash(geometry, hashers, buffer, |range, bytes| {
        let result = storage.read(range, &mut [IoSliceMut::new(bytes)]);
        // After an error the rest of the piece is not looked at.
        let end = if result.is_ok() { range.end() } else { geometry.piece_len(range.piece()) };
        scan.advance(u64::from(end - range.begin()));
        result
    });
    hashes.into_iter().zip(&checks).map(|(hash, check)| verdict(hash, check)).collect()
}

fn verdict(
    hash: Result<PieceHasher, Option<StorageError>>,
    check: &PieceCheck<'_>,
) -> (Verdict, Option<StorageError>) {
    let verdict = match hash.map(|hash| hash.finish().compare(check)) {
        Ok(Some(Hashes::Match)) => Verdict::Good,
        Ok(Some(Hashes::Differ | Hashes::Contradict)) => Verdict::Bad,
        Ok(None) => Verdict::Unknown,
        Err(None) => Verdict::Unchecked,
        Err(Some(error)) => match error.cause.kind() {
            ErrorKind::NotFound | ErrorKind::UnexpectedEof => Verdict::Missing,
            _ => return (Verdict::Unreadable, Some(error)),
        },
    };
    (verdict, None)
}
