//! The part file: bytes of skipped files that came with pieces they share with wanted ones.
//!
//! ```text
//! | header, 4,096 bytes | table: 8 bytes for each piece | padding to 4,096 | slot 0 | slot 1 | ...
//! ```
//!
//! A slot has room for a piece; only the bytes of skipped files are written in it. The table says which slot a piece has, with a
//! checksum over piece and slot: an entry that was torn counts as none. Entries lie within a sector. Two pieces with one slot can
//! only come of a loss of power before a sync, and then neither is believed.

mod table;

use super::beneath::Root;
use super::opening::PLAIN;
use super::slices::{Reading, Writing};
use super::{Stamp, calls};
use metainfo::Torrent;
use rustix::fs::{Mode, OFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use table::{Header, Slots};

/// Where in the part file it went wrong, and why.
type Failed = (u64, io::Error);

/// A part file that is open.
#[derive(Debug)]
pub(super) struct Parts {
    fd: OwnedFd,
    header: Header,
    slots: Slots,
    is_dirty: bool,
}

impl Parts {
    /// The part file of this name, if there is one. What is in it but cannot be understood is not believed.
    pub(super) fn open(root: &Root, name: &str, torrent: &Torrent) -> io::Result<Option<Self>> {
        let fd = match root.open_at(name, OFlags::RDWR | PLAIN, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            fd => fd?,
        };
        super::beneath::regular(calls::stat(&fd)?)?;
        let header = Header::of(torrent);
        let mut found = vec![0; Header::LEN];
        let is_ours = read_all(&fd, 0, &mut found).is_ok() && header.matches(&found);
        if !is_ours {
            calls::truncate(&fd, 0)?;
            return Self::begin(fd, header).map(Some).map_err(|(_, cause)| cause);
        }
        let mut table = vec![0; header.table_len()];
        // It may end early: the rest has no entries.
        let len = usize::try_from(calls::stat(&fd)?.st_size).unwrap_or(0).saturating_sub(Header::LEN);
        let there = len.min(table.len());
        read_all(&fd, Header::LEN as u64, &mut table[..there]).map_err(|(_, cause)| cause)?;
        Ok(Some(Self { fd, header, slots: Slots::read(&table), is_dirty: false }))
    }

    /// A new part file.
    pub(super) fn create(root: &Root, name: &str, torrent: &Torrent) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | PLAIN;
        let fd = root.open_at(name, flags, Mode::from_raw_mode(0o666))?;
        Self::begin(fd, Header::of(torrent)).map_err(|(_, cause)| cause)
    }

    fn begin(fd: OwnedFd, header: Header) -> Result<Self, Failed> {
        write_all(&fd, 0, &header.bytes())?;
        Ok(Self { fd, header, slots: Slots::default(), is_dirty: true })
    }

    /// Whether it has room for bytes of the piece.
    pub(super) fn has(&self, piece: u32) -> bool {
        self.slots.get(piece).is_some()
    }

    pub(super) fn stamp(&self) -> io::Result<Stamp> {
        Ok(calls::stat(&self.fd)?.into())
    }

    /// The pieces of which it has bytes.
    pub(super) fn pieces(&self) -> Vec<u32> {
        self.slots.pieces()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Writes bytes of a piece.
    pub(super) fn write(
        &mut self,
        piece: u32,
        begin: u32,
        len: u32,
        data: &mut Writing<'_, '_>,
    ) -> Result<(), Failed> {
        self.is_dirty = true;
        let slot = match self.slots.get(piece) {
            Some(slot) => slot,
            None => {
                let slot = self.slots.free();
                write_all(&self.fd, self.header.entry(piece), &table::entry(piece, slot))?;
                self.slots.set(piece, slot);
                slot
            }
        };
        data.write(&self.fd, self.header.slot(slot) + u64::from(begin), len)
    }

    /// Reads bytes of a piece; not found if there are none of it.
    pub(super) fn read(
        &self,
        piece: u32,
        begin: u32,
        len: u32,
        into: &mut Reading<'_, '_>,
    ) -> Result<(), Failed> {
        let slot = self.slots.get(piece).ok_or_else(|| (0, io::ErrorKind::NotFound.into()))?;
        into.read(&self.fd, self.header.slot(slot) + u64::from(begin), len)
    }

    /// Bytes of a piece, as many as were ever written from `begin` on.
    pub(super) fn bytes(&self, piece: u32, begin: u32, len: u32) -> Result<Vec<u8>, Failed> {
        let Some(slot) = self.slots.get(piece) else { return Ok(Vec::new()) };
        let at = self.header.slot(slot) + u64::from(begin);
        let stat = calls::stat(&self.fd).map_err(|errno| (at, errno.into()))?;
        let end = u64::try_from(stat.st_size).unwrap_or(0);
        let there = u32::try_from(end.saturating_sub(at)).unwrap_or(u32::MAX).min(len);
        let mut bytes = vec![0; there as usize];
        read_all(&self.fd, at, &mut bytes)?;
        Ok(bytes)
    }

    /// Gives up what is kept of a piece.
    pub(super) fn forget(&mut self, piece: u32) -> Result<(), Failed> {
        if self.has(piece) {
            self.is_dirty = true;
            write_all(&self.fd, self.header.entry(piece), &[0; table::ENTRY])?;
            self.slots.remove(piece);
        }
        Ok(())
    }

    /// Not all of it may be durable.
    pub(super) fn mark_unsynced(&mut self) {
        self.is_dirty = true;
    }

    /// Makes all of it durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            calls::sync_data(&self.fd)?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Writes all of it again, because a sync failed.
    pub(super) fn write_again(&mut self) -> Result<(), Failed> {
        let stat = calls::stat(&self.fd).map_err(|errno| (0, errno.into()))?;
        let (mut at, end) = (0, u64::try_from(stat.st_size).unwrap_or(0));
        while self.is_dirty && at < end {
            let mut bytes = vec![0; usize::try_from(end - at).map_or(1 << 20, |left| left.min(1 << 20))];
            read_all(&self.fd, at, &mut bytes)?;
            write_all(&self.fd, at, &bytes)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }
}

fn read_all(fd: &OwnedFd, at: u64, into: &mut [u8]) -> Result<(), Failed> {
    let len = u32::try_from(into.len()).unwrap_or(u32::MAX);
    Reading::new(&mut [IoSliceMut::new(into)]).read(fd, at, len)
}

fn write_all(fd: &OwnedFd, at: u64, bytes: &[u8]) -> Result<(), Failed> {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    Writing::new(&[IoSlice::new(bytes)]).write(fd, at, len)
}
