//! Where a reader's bytes come from: pieces are waited for, then read on a thread that may block.

use std::io::IoSliceMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use metainfo::{PieceIndex, PieceRange, Torrent as Meta};
use storage::{FileStorage, Hashes, PieceHasher, Storage};

use crate::engine::Activity;
use crate::session::event::{Event, Events};
use crate::session::files_error::FilesError;
use crate::session::identity::Place;
use crate::session::link::Unavailable;
use crate::session::torrent::Torrent;

/// Bytes given at a time.
pub(super) const STEP: u32 = 256 * 1024;
/// Bytes after the cursor that are asked for, at least two pieces.
const AHEAD: u64 = 8 << 20;
/// Between the deadlines of two pieces.
const APART: Duration = Duration::from_millis(500);

/// What a reader reads.
pub(super) struct Source {
    pub(super) torrent: Torrent,
    pub(super) meta: Arc<Meta>,
    pub(super) file: usize,
    /// Where the file begins in the piece space.
    pub(super) start: u64,
    pub(super) len: u64,
    /// Tells it from other readers.
    pub(super) number: u64,
    /// The piece that was hashed last because nobody had checked it.
    pub(super) checked: AtomicU32,
}

/// How a piece is.
enum Piece {
    There { is_checked: bool },
    Missing,
}

impl Source {
    pub(super) async fn read(self: Arc<Self>, offset: u64, most: usize) -> Result<Vec<u8>, FilesError> {
        if offset >= self.len || most == 0 {
            return Ok(Vec::new());
        }
        let geometry = self.meta.geometry();
        let at = self.start + offset;
        let piece = u32::try_from(at / u64::from(geometry.piece_length())).unwrap_or(u32::MAX);
        let missing = FilesError::NoSuchFile { index: self.file, files: self.meta.layout().files().len() };
        let piece = geometry.piece(piece).map_err(|_| missing.clone())?;
        let begin = at - geometry.piece_start(piece);
        let most = u64::try_from(most).unwrap_or(u64::MAX).min(STEP.into());
        let len = most.min(self.len - offset).min(u64::from(geometry.piece_len(piece)) - begin);
        let range = geometry.range_at(piece.get(), begin as u32, len as u32, STEP).map_err(|_| missing)?;
        let is_checked = self.wait_for(piece).await?;
        let held = self.torrent.entry.identity.files().and_then(Place::hold);
        let held = held.ok_or(Unavailable::Removed)?;
        let read = tokio::task::spawn_blocking(move || self.read_now(&held.files, range, is_checked));
        read.await.map_err(|_| FilesError::Cancelled)?
    }

    /// Waits until a piece is there. Whether it is known to match its hash.
    async fn wait_for(&self, piece: PieceIndex) -> Result<bool, FilesError> {
        let mut events = Events::new(self.torrent.link.events.subscribe());
        loop {
            match self.look(piece).await? {
                Piece::There { is_checked } => return Ok(is_checked),
                Piece::Missing => {}
            }
            let choice = self.torrent.entry.identity.chosen().files;
            if !choice.decide(&self.meta).is_ok_and(|files| files.has(self.file)) {
                return Err(FilesError::NotWanted { index: self.file });
            }
            loop {
                let id = self.torrent.id();
                match events.next().await {
                    Some(Event::PieceDone { torrent, piece: done }) if torrent == id && done == piece => {
                        break;
                    }
                    Some(
                        Event::StorageFailed { torrent, .. }
                        | Event::Removed { torrent }
                        | Event::Complete { torrent },
                    ) if torrent == id => break,
                    Some(Event::Missed(_)) => break,
                    Some(_) => {}
                    None => return Err(Unavailable::Over.into()),
                }
            }
        }
    }

    /// Sees how a piece is, and asks for it and the next ones.
    async fn look(&self, piece: PieceIndex) -> Result<Piece, FilesError> {
        let ahead = self.ahead(piece);
        let (key, number, identity) =
            (self.torrent.entry.key, self.number, self.torrent.entry.identity.clone());
        let looked = self.torrent.ask(move |plane, now| {
            let engine = plane.engine();
            let is_there = engine.have(key)?.get(piece.get());
            let status = engine.torrent_status(now, key)?;
            let is_checked = engine.unverified(key).is_none_or(|unverified| !unverified.get(piece.get()));
            let all = identity.readers().set(number, ahead);
            engine.set_deadlines(
                now,
                key,
                all.into_iter().map(|(piece, nth)| (piece, now + APART * nth)).collect(),
            );
            Some((is_there, is_checked, status.activity))
        });
        match looked.await? {
            (true, is_checked, _) => Ok(Piece::There { is_checked }),
            (false, _, Activity::Failed(error)) => Err(error.into()),
            (false, ..) => Ok(Piece::Missing),
        }
    }

    /// A piece and those after it that are read soon.
    fn ahead(&self, piece: PieceIndex) -> Vec<PieceIndex> {
        let geometry = self.meta.geometry();
        let count =
            u32::try_from(AHEAD / u64::from(geometry.piece_length().max(1))).unwrap_or(u32::MAX).max(2);
        let last = self.meta.layout().file_pieces(self.file).map_or(0, |pieces| *pieces.end());
        let pieces = piece.get()..=last.min(piece.get().saturating_add(count - 1));
        pieces.filter_map(|piece| geometry.piece(piece).ok()).collect()
    }

    /// Blocks.
    fn read_now(
        &self,
        files: &FileStorage,
        range: PieceRange,
        is_checked: bool,
    ) -> Result<Vec<u8>, FilesError> {
        let piece = range.piece();
        if !is_checked && self.checked.load(Ordering::Relaxed) != piece.get() {
            self.check(files, piece)?;
            self.checked.store(piece.get(), Ordering::Relaxed);
        }
        let mut bytes = vec![0; range.len() as usize];
        files.read(range, &mut [IoSliceMut::new(&mut bytes)])?;
        Ok(bytes)
    }

    /// Hashes a piece that was taken for right without a look.
    fn check(&self, files: &FileStorage, piece: PieceIndex) -> Result<(), FilesError> {
        let geometry = self.meta.geometry();
        let check = self.meta.piece_check(piece);
        let mut hasher = PieceHasher::all(&check);
        let mut bytes = vec![0; STEP as usize];
        let mut begin = 0;
        while begin < geometry.piece_len(piece) {
            let len = STEP.min(geometry.piece_len(piece) - begin);
            let range =
                geometry.range_at(piece.get(), begin, len, STEP).map_err(|_| FilesError::Cancelled)?;
            let now = &mut bytes[..len as usize];
            files.read(range, &mut [IoSliceMut::new(now)])?;
            hasher.update(now);
            begin += len;
        }
        match hasher.finish().compare(&check) {
            Some(Hashes::Match) | None => Ok(()),
            Some(Hashes::Differ | Hashes::Contradict) => Err(FilesError::Mismatch { piece: piece.get() }),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let (identity, key, number) =
            (self.torrent.entry.identity.clone(), self.torrent.entry.key, self.number);
        // A reactor that is gone fetches nothing.
        let _ = self.torrent.link.reactor.run(move |plane| {
            let now = plane.now();
            let all = identity.readers().set(number, Vec::new());
            let all = all.into_iter().map(|(piece, nth)| (piece, now + APART * nth)).collect();
            plane.engine().set_deadlines(now, key, all);
        });
    }
}
