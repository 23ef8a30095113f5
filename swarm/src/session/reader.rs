//! Reading a file of a torrent while it is downloaded, as a player does.
//!
//! A reader says which pieces it waits for: the one under its cursor at once, and those of the next few MiB soon after. It gives
//! bytes only of pieces that matched their hashes.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut, SeekFrom};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use metainfo::{PieceIndex, PieceRange, Torrent as Meta};
use storage::{FileStorage, PieceHasher, Storage};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

use super::event::{Event, Events};
use super::files_error::FilesError;
use super::link::Unavailable;
use super::torrent::Torrent;
use crate::engine::Activity;

/// Bytes given at a time.
const STEP: u32 = 256 * 1024;
/// Bytes after the cursor that are asked for, at least two pieces.
const AHEAD: u64 = 8 << 20;
/// Between the deadlines of two pieces.
const APART: Duration = Duration::from_millis(500);

impl Torrent {
    /// Reads a file, by its index in the torrent's layout, from its start. What is missing is waited for, and fetched before
    /// other pieces. Several readers may read at once.
    ///
    /// # Errors
    /// When it has no such file, or is not known well enough yet.
    pub fn reader(&self, file: usize) -> Result<Reader, FilesError> {
        let meta = self.meta().ok_or(FilesError::NotOpen)?.clone();
        let files = meta.layout().files();
        let is_stored = |file: &metainfo::File| !file.is_pad() && !file.attributes.symlink;
        let found = files.get(file).filter(|file| is_stored(file));
        let (start, len) = found
            .map(|file| (file.offset, file.length))
            .ok_or(FilesError::NoSuchFile { index: file, files: files.len() })?;
        let number = self.entry.identity.readers().number();
        let source = Source {
            torrent: self.clone(),
            meta,
            file,
            start,
            len,
            number,
            checked: AtomicU32::new(u32::MAX),
        };
        Ok(Reader { source: Arc::new(source), at: 0, given: Vec::new(), reading: None })
    }
}

/// Bytes that are being read.
type Reading = Pin<Box<dyn Future<Output = Result<Vec<u8>, FilesError>> + Send>>;

/// Reads a file of a torrent; [`AsyncRead`] and [`AsyncSeek`]. It holds at most 256 KiB.
///
/// Reads fail, with a [`FilesError`] inside, when the file is not wanted, when the storage fails, and when the torrent or its
/// session is gone.
pub struct Reader {
    source: Arc<Source>,
    at: u64,
    /// Bytes from `at` on.
    given: Vec<u8>,
    reading: Option<Reading>,
}

impl Reader {
    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.source.len
    }

    /// Whether the file has none.
    pub fn is_empty(&self) -> bool {
        self.source.len == 0
    }

    /// Where it reads next.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Some bytes from a place in the file, at least one unless it is the end or none are asked for, as soon as they are there.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn read_at(
        &self,
        offset: u64,
        most: usize,
    ) -> impl Future<Output = Result<Vec<u8>, FilesError>> + Send + use<> {
        self.source.clone().read(offset, most)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("file", &self.source.file)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.given.is_empty() && into.remaining() > 0 {
            let reading = this.reading.get_or_insert_with(|| {
                let source = this.source.clone();
                Box::pin(source.read(this.at, STEP as usize))
            });
            let read = ready!(reading.as_mut().poll(cx));
            this.reading = None;
            this.given = read.map_err(io::Error::other)?;
        }
        let count = this.given.len().min(into.remaining());
        into.put_slice(&this.given[..count]);
        this.given.drain(..count);
        this.at += count as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Reader {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.source.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let place = place.ok_or(io::ErrorKind::InvalidInput)?;
        if place != self.at {
            self.at = place;
            self.given.clear();
            self.reading = None;
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.at))
    }
}

/// What a reader reads.
struct Source {
    torrent: Torrent,
    meta: Arc<Meta>,
    file: usize,
    /// Where the file begins in the piece space.
    start: u64,
    len: u64,
    /// Tells it from other readers.
    number: u64,
    /// The piece that was hashed last because nobody had checked it.
    checked: AtomicU32,
}

/// How a piece is.
enum Piece {
    There { is_checked: bool },
    Missing,
}

impl Source {
    async fn read(self: Arc<Self>, offset: u64, most: usize) -> Result<Vec<u8>, FilesError> {
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
        let held = self.torrent.entry.identity.files().and_then(super::identity::Place::hold);
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
                let id = self.torrent.id;
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
        match hasher.finish().matches(&check) {
            Some(false) => Err(FilesError::Mismatch { piece: piece.get() }),
            _ => Ok(()),
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

/// What all readers of a torrent wait for.
#[derive(Default)]
pub(super) struct Readers {
    wanted: Mutex<BTreeMap<u64, Vec<PieceIndex>>>,
    numbers: AtomicU64,
}

impl Readers {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sets what a reader waits for, in this order. Gives what all do: each piece with its place in the reader's list where it
    /// comes first.
    fn set(&self, number: u64, pieces: Vec<PieceIndex>) -> BTreeMap<PieceIndex, u32> {
        let mut wanted = self.lock();
        if pieces.is_empty() {
            wanted.remove(&number);
        } else {
            wanted.insert(number, pieces);
        }
        let mut all = BTreeMap::new();
        for (nth, piece) in wanted.values().flat_map(|pieces| (0..).zip(pieces)) {
            let first = all.entry(*piece).or_insert(nth);
            *first = nth.min(*first);
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<PieceIndex>>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
