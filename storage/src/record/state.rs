//! The sheet that is read to run a torrent.

use super::boot::BootId;
use super::bytes::{Reader, Writer};
use super::error::Damage;
use super::finishing::Finishing;
use super::pieces::PieceSet;
use super::sheet::{self, Kind};
use super::summary::Folder;
use crate::Allocation;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How far a torrent is, and what was chosen for it.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The same as in the summary that belongs to it.
    pub generation: u64,
    /// Pieces that matched their hash and were made durable.
    pub pieces: PieceSet,
    /// Other pieces that may be there too: not checked, or not durable. A start checks them before anything is written over them.
    pub doubtful: PieceSet,
    /// What is durable of other pieces.
    pub partial: Vec<Partial>,
    /// How each file of the layout was; `None` where none was there. Empty when it is not known.
    pub stamps: Vec<Option<FileStamp>>,
    /// When each file of the layout was made, in nanoseconds since 1970; 0 where that is not known. Empty when none is. With
    /// the number in its stamp it tells a file from any other one that ever had its name.
    pub births: Vec<u64>,
    /// Which start of the system it was written in.
    pub boot: Option<BootId>,
    /// Files and folders that were made for it, relative to its folder.
    pub created: Vec<PathBuf>,
    /// What the user chose.
    pub choices: Choices,
    /// Peers worth dialling again, best first.
    pub peers: Vec<SocketAddr>,
    /// What its trackers said.
    pub trackers: Vec<Tracker>,
    /// The folder that its files are being moved to.
    pub moving_to: Option<PathBuf>,
    /// What tells that folder from another one in its place.
    pub goal: Option<Folder>,
    /// Files that are being renamed: index in the layout, and the path beneath the folder that they are to have.
    pub renaming: Vec<(u32, PathBuf)>,
    /// How files are kept until they are complete, and what is done with them then.
    pub finishing: Finishing,
}

/// Blocks of a piece that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Which piece.
    pub piece: u32,
    /// Which of its blocks were written and made durable.
    pub blocks: PieceSet,
}

/// How a file was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Its length in bytes.
    pub len: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub mtime: u64,
    /// Which file it is among those of its device; 0 when that is not known.
    pub inode: u64,
    /// When anything of it was changed last, its names and rights too, in nanoseconds since 1970; 0 when that is not known. No
    /// program can set it.
    pub ctime: u64,
    /// What else changes that time: a digest of how many names the file has, whose it is and who may do what; 0 when that is not
    /// known.
    pub attributes: u32,
}

impl FileStamp {
    /// Whether length, time and number are the same. What else was changed may be a name.
    pub fn is_same(&self, now: &Self) -> bool {
        (self.len, self.mtime, self.inode) == (now.len, now.mtime, now.inode)
    }

    /// Whether something is known to have been changed, and not what: another name, owner or right explains it.
    pub(super) fn is_touched(&self, now: &Self) -> bool {
        let is_explained = self.attributes != now.attributes && self.attributes != 0 && now.attributes != 0;
        self.ctime != now.ctime && self.ctime != 0 && now.ctime != 0 && !is_explained
    }
}

/// What the user chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Priority of each file of the layout: 0 skips it, 1 is low, 2 normal, 3 high. Empty: all are normal.
    pub priorities: Vec<u8>,
    /// Files that have other names than the torrent says: index in the layout, path beneath the folder.
    pub names: Vec<(u32, PathBuf)>,
    /// Most bytes a second to receive.
    pub down_limit: Option<u64>,
    /// Most bytes a second to send.
    pub up_limit: Option<u64>,
    /// In which order pieces are fetched.
    pub order: Order,
    /// When files take room.
    pub allocation: Allocation,
    /// Trackers besides its own.
    pub trackers: Vec<String>,
}

/// In which order pieces are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Order {
    #[default]
    Rarest,
    Sequential,
    FirstLast,
}

/// What a tracker said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracker {
    /// Its address, with its secrets.
    pub url: String,
    /// What it wants to be told again (BEP 3).
    pub id: Option<Vec<u8>>,
    /// When it may be asked again, in milliseconds since 1970.
    pub next: Option<u64>,
    /// Whether it answered last time.
    pub works: bool,
}

#[cfg(feature = "files")]
impl From<crate::Stamp> for FileStamp {
    fn from(stamp: crate::Stamp) -> Self {
        let nanos = |nanos: i64| u64::try_from(nanos).unwrap_or(0);
        let crate::Stamp { len, mtime_ns, ctime_ns, attributes, inode, .. } = stamp;
        Self { len, mtime: nanos(mtime_ns), inode, ctime: nanos(ctime_ns), attributes }
    }
}

impl State {
    /// Of a torrent of which nothing is there.
    pub fn new(pieces: u32) -> Self {
        Self {
            generation: 0,
            pieces: PieceSet::none(pieces),
            doubtful: PieceSet::none(pieces),
            partial: Vec::new(),
            stamps: Vec::new(),
            births: Vec::new(),
            boot: None,
            created: Vec::new(),
            choices: Choices::default(),
            peers: Vec::new(),
            trackers: Vec::new(),
            moving_to: None,
            goal: None,
            renaming: Vec::new(),
            finishing: Finishing::default(),
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.generation);
        self.pieces.write(&mut out);
        self.doubtful.write(&mut out);
        out.count(self.partial.len());
        for partial in &self.partial {
            out.number(partial.piece);
            partial.blocks.write_bits(&mut out);
        }
        write_stamps(&self.stamps, &mut out);
        out.count(self.created.len());
        self.created.iter().for_each(|path| out.path(path));
        self.choices.write(&mut out);
        out.count(self.peers.len());
        self.peers.iter().for_each(|peer| out.address(peer));
        // What could not be read again would cost all of the record.
        let trackers: Vec<_> = self.trackers.iter().filter(|tracker| tracker.is_readable()).collect();
        out.count(trackers.len());
        trackers.iter().for_each(|tracker| tracker.write(&mut out));
        let version = self.version();
        if version >= 2 {
            out.flag(self.moving_to.is_some());
            self.moving_to.iter().for_each(|folder| out.path(folder));
            write_paths(&self.renaming, &mut out);
        }
        if version >= 3 {
            self.finishing.write(&mut out);
        }
        if version >= 5 {
            out.flag(self.goal.is_some());
        }
        if version >= 4 {
            self.goal.iter().for_each(|goal| goal.write(&mut out));
        }
        if version >= 5 {
            write_births(&self.births, &mut out);
        }
        if version >= 6 {
            self.goal.iter().for_each(|goal| goal.write_more(&mut out));
        }
        if version >= 8 {
            out.flag(self.boot.is_some());
            out.raw(self.boot.as_ref().map_or(&[], |boot| &boot[..]));
            let stamps = self.stamps.iter().flatten();
            for stamp in stamps {
                out.optional(later(stamp));
                if stamp.ctime != 0 {
                    out.number(stamp.attributes);
                }
            }
        }
        sheet::seal_as(Kind::State, version, &out.0)
    }

    /// The first version that has all there is.
    fn version(&self) -> u8 {
        if self.choices.allocation == Allocation::None {
            9
        } else if self.boot.is_some() || self.stamps.iter().flatten().any(|stamp| stamp.ctime != 0) {
            8
        } else if self.goal.as_ref().is_some_and(Folder::has_more) {
            6
        } else if self.births.iter().any(|birth| *birth != 0) {
            5
        } else if self.goal.is_some() {
            4
        } else if self.finishing != Finishing::default() {
            3
        } else if self.moving_to.is_some() || !self.renaming.is_empty() {
            2
        } else {
            1
        }
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are no state, or not as they were written.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let (version, payload) = sheet::open_one(Kind::State, bytes)?;
        let from = &mut Reader(payload);
        let mut state = Self {
            generation: from.number()?,
            pieces: PieceSet::read(from)?,
            doubtful: PieceSet::read(from)?,
            partial: from.list(MAX_LIST, "partial pieces", |from| {
                let piece = from.small("a piece")?;
                Ok(Partial { piece, blocks: PieceSet::read_bits(from)? })
            })?,
            stamps: read_stamps(from)?,
            births: Vec::new(),
            boot: None,
            created: from.list(MAX_LIST, "created paths", |from| from.path("a created path"))?,
            choices: Choices::read(from, version)?,
            peers: from.list(MAX_LIST, "peers", Reader::address)?,
            trackers: from.list(MAX_LIST, "trackers", Tracker::read)?,
            moving_to: None,
            goal: None,
            renaming: Vec::new(),
            finishing: Finishing::default(),
        };
        if version >= 2 {
            state.moving_to = if from.flag("a move")? { Some(from.path("a folder")?) } else { None };
            state.renaming = read_paths(from)?;
        }
        if version >= 3 {
            state.finishing = Finishing::read(from)?;
        }
        if version == 4 || version >= 5 && from.flag("a goal")? {
            state.goal = Some(Folder::read(from)?);
        }
        if version >= 5 {
            state.births = read_births(from)?;
        }
        if let Some(goal) = state.goal.as_mut().filter(|_| version >= 6) {
            goal.read_more(from)?;
        }
        if version >= 8 {
            state.boot = if from.flag("a start")? { Some(from.array()?) } else { None };
            for stamp in state.stamps.iter_mut().flatten() {
                let later = from.optional("a time")?;
                stamp.ctime = later.map_or(0, |later| stamp.mtime.wrapping_add(unzigzag(later)));
                if stamp.ctime != 0 {
                    stamp.attributes = from.small("attributes of a file")?;
                }
            }
        }
        from.end()?;
        Ok(state)
    }
}

fn write_paths(paths: &[(u32, PathBuf)], out: &mut Writer) {
    out.count(paths.len());
    for (file, path) in paths {
        out.number(*file);
        out.path(path);
    }
}

fn read_paths(from: &mut Reader<'_>) -> Result<Vec<(u32, PathBuf)>, Damage> {
    from.list(MAX_LIST, "names", |from| Ok((from.small("a file")?, from.path("the path of a file")?)))
}

impl Choices {
    fn write(&self, out: &mut Writer) {
        out.bytes(&self.priorities);
        write_paths(&self.names, out);
        out.optional(self.down_limit);
        out.optional(self.up_limit);
        out.byte(match self.order {
            Order::Rarest => 0,
            Order::Sequential => 1,
            Order::FirstLast => 2,
        });
        out.byte(match self.allocation {
            Allocation::Sparse => 0,
            Allocation::Full => 1,
            Allocation::None => 2,
        });
        let trackers: Vec<_> = self.trackers.iter().filter(|url| url.len() <= MAX_URL).collect();
        out.count(trackers.len());
        trackers.iter().for_each(|url| out.text(url));
    }

    fn read(from: &mut Reader<'_>, version: u8) -> Result<Self, Damage> {
        let priorities = from.bytes(MAX_LIST, "priorities")?;
        if priorities.iter().any(|priority| *priority > 3) {
            return Err(Damage::Value("a priority"));
        }
        Ok(Self {
            priorities: priorities.to_vec(),
            names: read_paths(from)?,
            down_limit: from.optional("a limit")?,
            up_limit: from.optional("a limit")?,
            order: match from.byte()? {
                0 => Order::Rarest,
                1 => Order::Sequential,
                2 => Order::FirstLast,
                _ => return Err(Damage::Value("an order")),
            },
            allocation: match from.byte()? {
                0 => Allocation::Sparse,
                1 => Allocation::Full,
                2 if version >= 9 => Allocation::None,
                _ => return Err(Damage::Value("preallocation")),
            },
            trackers: from.list(MAX_LIST, "trackers", |from| from.text(MAX_URL, "a tracker"))?,
        })
    }
}

impl Tracker {
    fn is_readable(&self) -> bool {
        self.url.len() <= MAX_URL && self.id.as_ref().is_none_or(|id| id.len() <= MAX_URL)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.text(&self.url);
        out.flag(self.id.is_some());
        if let Some(id) = &self.id {
            out.bytes(id);
        }
        out.optional(self.next);
        out.flag(self.works);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        Ok(Self {
            url: from.text(MAX_URL, "a tracker")?,
            id: if from.flag("a tracker's id")? {
                Some(from.bytes(MAX_URL, "a tracker's id")?.to_vec())
            } else {
                None
            },
            next: from.optional("a time")?,
            works: from.flag("a tracker")?,
        })
    }
}

/// Times are kept as differences to the one before: files of a torrent were mostly written together.
fn write_stamps(stamps: &[Option<FileStamp>], out: &mut Writer) {
    out.count(stamps.len());
    let mut before = FileStamp { len: 0, mtime: 0, inode: 0, ctime: 0, attributes: 0 };
    for stamp in stamps {
        out.flag(stamp.is_some());
        if let Some(stamp) = stamp {
            out.number(stamp.len);
            out.number(zigzag(stamp.mtime.wrapping_sub(before.mtime)));
            out.number(zigzag(stamp.inode.wrapping_sub(before.inode)));
            before = *stamp;
        }
    }
}

fn read_stamps(from: &mut Reader<'_>) -> Result<Vec<Option<FileStamp>>, Damage> {
    let mut before = FileStamp { len: 0, mtime: 0, inode: 0, ctime: 0, attributes: 0 };
    from.list(MAX_LIST, "stamps", |from| {
        if !from.flag("a stamp")? {
            return Ok(None);
        }
        before = FileStamp {
            len: from.number()?,
            mtime: before.mtime.wrapping_add(unzigzag(from.number()?)),
            inode: before.inode.wrapping_add(unzigzag(from.number()?)),
            ctime: 0,
            attributes: 0,
        };
        Ok(Some(before))
    })
}

/// How much later than written to the file was changed, if that is known.
fn later(stamp: &FileStamp) -> Option<u64> {
    (stamp.ctime != 0).then(|| zigzag(stamp.ctime.wrapping_sub(stamp.mtime)))
}

fn write_births(births: &[u64], out: &mut Writer) {
    out.count(births.len());
    let mut before = 0;
    for birth in births {
        out.number(zigzag(birth.wrapping_sub(before)));
        before = *birth;
    }
}

fn read_births(from: &mut Reader<'_>) -> Result<Vec<u64>, Damage> {
    let mut before: u64 = 0;
    from.list(MAX_LIST, "times", |from| {
        before = before.wrapping_add(unzigzag(from.number()?));
        Ok(before)
    })
}

/// Small differences, up or down, as small numbers.
fn zigzag(difference: u64) -> u64 {
    let is_down = difference >> 63 == 1;
    (difference << 1) ^ if is_down { u64::MAX } else { 0 }
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ if number & 1 == 1 { u64::MAX } else { 0 }
}

/// Items of any list. A torrent has fewer files, and everything else is bounded where it is made.
pub(super) const MAX_LIST: usize = 4_000_000;
/// Bytes of a URL.
const MAX_URL: usize = 8192;
