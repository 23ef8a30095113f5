//! The sheet that is read of every torrent.

use super::NAME_RULES;
use super::bytes::{Reader, Writer};
use super::error::Damage;
use super::outline::Outline;
use super::sheet::{self, Kind};
use metainfo::{InfoHashV1, InfoHashV2, InfoHashes};
use std::path::PathBuf;

/// What is known of a torrent without its hashes and its files: enough to list it, to announce it, and to know a peer
/// that asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Counts the saves; the same in the state that belongs to it.
    pub generation: u64,
    /// Its names.
    pub hashes: InfoHashes,
    /// Its name for people.
    pub name: String,
    /// The folder that holds its file or folder, named in one way (canonical).
    pub dir: PathBuf,
    /// What tells that folder from another one in its place; `None` when it was never looked at.
    pub folder: Option<Folder>,
    /// How it is.
    pub flags: Flags,
    /// Bytes of all files.
    pub size: u64,
    /// Bytes in pieces that are recorded as there.
    pub done: u64,
    /// What was moved, over all runs.
    pub totals: Totals,
    /// When what happened.
    pub times: Times,
    /// The rules by which its files are named.
    pub name_rules: u16,
    /// What it takes to run it without opening it; `None` while that is not known, as of a magnet link.
    pub outline: Option<Outline>,
}

/// A folder's identity, as the system tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Folder {
    /// The device, which may get another number when the system starts anew.
    pub device: u64,
    /// The folder's number on its file system.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970, where that is kept.
    pub born: Option<i64>,
    /// What the file system calls itself; 0 when it has no name.
    pub file_system: u64,
    /// Which marker was put in it, where nothing else tells it from another one.
    pub marker: Option<u64>,
    /// How far above it the mount point is that it lies on, in steps of its path; `None` if that is the one of `/`, or not known.
    pub mount: Option<u16>,
}

#[cfg(feature = "files")]
impl From<crate::RootId> for Folder {
    fn from(root: crate::RootId) -> Self {
        let crate::RootId { device, inode, born_ns, file_system, marker, mount } = root;
        Self { device, inode, born: born_ns, file_system, marker, mount }
    }
}

#[cfg(feature = "files")]
impl From<Folder> for crate::RootId {
    fn from(folder: Folder) -> Self {
        let Folder { device, inode, born, file_system, marker, mount } = folder;
        Self { device, inode, born_ns: born, file_system, marker, mount }
    }
}

/// How a torrent is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// Every piece is there.
    pub complete: bool,
    /// All that is wanted is there.
    pub finished: bool,
    /// Nothing was written after the record: its stamps are those of the files.
    pub clean: bool,
    /// The user stopped it.
    pub paused: bool,
    /// It only gives what is there, and writes nothing.
    pub seed_only: bool,
    /// Peers come from its trackers only (BEP 27).
    pub private: bool,
    /// It came as a magnet link, and its metadata are not there yet.
    pub no_metadata: bool,
}

/// What was moved, in bytes of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Totals {
    /// Received.
    pub downloaded: u64,
    /// Sent.
    pub uploaded: u64,
    /// Received in vain.
    pub wasted: u64,
}

/// When what happened, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Times {
    /// It was added.
    pub added: u64,
    /// It became complete.
    pub completed: Option<u64>,
    /// The record was written.
    pub saved: u64,
    /// Its trackers may be asked again.
    pub next_announce: Option<u64>,
}

impl Folder {
    pub(super) fn write(&self, out: &mut Writer) {
        out.number(self.device);
        out.number(self.inode);
        out.optional(self.born.map(i64::cast_unsigned));
        out.number(self.file_system);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        Ok(Self {
            device: from.number()?,
            inode: from.number()?,
            born: from.optional("a time")?.map(u64::cast_signed),
            file_system: from.number()?,
            marker: None,
            mount: None,
        })
    }

    /// Whether there is more of it than the first version has.
    pub(super) fn has_more(&self) -> bool {
        self.marker.is_some() || self.mount.is_some()
    }

    /// What the first version does not have.
    pub(super) fn write_more(&self, out: &mut Writer) {
        out.optional(self.marker);
        out.optional(self.mount.map(u64::from));
    }

    pub(super) fn read_more(&mut self, from: &mut Reader<'_>) -> Result<(), Damage> {
        self.marker = from.optional("a marker")?;
        let mount = from.optional("a mount point")?.map(u16::try_from).transpose();
        self.mount = mount.map_err(|_| Damage::Value("a mount point"))?;
        Ok(())
    }
}

impl Flags {
    const BITS: u64 = 7;

    fn number(self) -> u64 {
        let Self { complete, finished, clean, paused, seed_only, private, no_metadata } = self;
        let flags = [complete, finished, clean, paused, seed_only, private, no_metadata];
        flags.into_iter().rev().fold(0, |bits, flag| bits << 1 | u64::from(flag))
    }

    fn of(bits: u64) -> Result<Self, Damage> {
        if bits >> Self::BITS != 0 {
            return Err(Damage::Value("flags"));
        }
        let is = |at: u32| bits >> at & 1 == 1;
        Ok(Self {
            complete: is(0),
            finished: is(1),
            clean: is(2),
            paused: is(3),
            seed_only: is(4),
            private: is(5),
            no_metadata: is(6),
        })
    }
}

impl Summary {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.generation);
        let (v1, v2) = (self.hashes.v1(), self.hashes.v2());
        out.byte(u8::from(v1.is_some()) | u8::from(v2.is_some()) << 1);
        out.raw(v1.as_ref().map_or(&[], |hash| &hash.0[..]));
        out.raw(v2.as_ref().map_or(&[], |hash| &hash.0[..]));
        out.text(&self.name);
        out.path(&self.dir);
        out.flag(self.folder.is_some());
        if let Some(folder) = &self.folder {
            folder.write(&mut out);
        }
        out.number(self.flags.number());
        out.number(self.size);
        out.number(self.done);
        let Totals { downloaded, uploaded, wasted } = self.totals;
        [downloaded, uploaded, wasted].into_iter().for_each(|total| out.number(total));
        let Times { added, completed, saved, next_announce } = self.times;
        out.number(added);
        out.optional(completed);
        out.number(saved);
        out.optional(next_announce);
        out.number(self.name_rules);
        let more = self.folder.filter(Folder::has_more);
        let version = match (&self.outline, more) {
            (None, None) => 1,
            (None, Some(folder)) => {
                folder.write_more(&mut out);
                6
            }
            (Some(outline), more) => {
                out.flag(more.is_some());
                more.iter().for_each(|folder| folder.write_more(&mut out));
                outline.write(&mut out);
                7
            }
        };
        sheet::seal_as(Kind::Summary, version, &out.0)
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are no summary, or not as they were written.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        Self::payload(sheet::open_one(Kind::Summary, bytes)?)
    }

    /// From the first of several sheets.
    #[cfg(any(test, feature = "files"))]
    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, Damage> {
        Self::payload(sheet::open(Kind::Summary, bytes)?)
    }

    fn payload((version, payload): (u8, &[u8])) -> Result<Self, Damage> {
        let from = &mut Reader(payload);
        let mut summary = Self {
            generation: from.number()?,
            hashes: hashes(from)?,
            name: from.text(MAX_NAME, "a name")?,
            dir: from.path("a folder")?,
            folder: if from.flag("a folder")? { Some(Folder::read(from)?) } else { None },
            flags: Flags::of(from.number()?)?,
            size: from.number()?,
            done: from.number()?,
            totals: Totals { downloaded: from.number()?, uploaded: from.number()?, wasted: from.number()? },
            times: Times {
                added: from.number()?,
                completed: from.optional("a time")?,
                saved: from.number()?,
                next_announce: from.optional("a time")?,
            },
            name_rules: u16::try_from(from.number()?).map_err(|_| Damage::Value("name rules"))?,
            outline: None,
        };
        if version == 6 || version >= 7 && from.flag("a folder")? {
            summary.folder.as_mut().ok_or(Damage::Value("a folder"))?.read_more(from)?;
        }
        if version >= 7 {
            summary.outline = Some(Outline::read(from)?);
        }
        from.end()?;
        if summary.name_rules == 0 || summary.name_rules > NAME_RULES {
            return Err(Damage::Value("name rules"));
        }
        Ok(summary)
    }
}

/// Longer names of torrents are cut when they are read.
const MAX_NAME: usize = 4096;

fn hashes(from: &mut Reader<'_>) -> Result<InfoHashes, Damage> {
    let which = from.byte()?;
    if which > 3 {
        return Err(Damage::Value("hashes"));
    }
    let v1 = if which & 1 != 0 { Some(InfoHashV1(from.array()?)) } else { None };
    let v2 = if which & 2 != 0 { Some(InfoHashV2(from.array()?)) } else { None };
    InfoHashes::from_parts(v1, v2).ok_or(Damage::Value("hashes"))
}
