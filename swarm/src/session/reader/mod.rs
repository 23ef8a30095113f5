//! Reading a file of a torrent while it is downloaded, as a player does.
//!
//! A reader says which pieces it waits for: the one under its cursor at once, and those of the next few MiB soon after. It gives
//! bytes only of pieces that matched their hashes.

mod readers;
mod source;

use std::fmt;
use std::future::Future;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

use super::files_error::FilesError;
use super::torrent::Torrent;
pub(super) use readers::Readers;
use source::{STEP, Source};

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
