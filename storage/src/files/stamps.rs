//! What a look at the files says without reading them.

use super::beneath::{FOLDER, Root, regular};
use super::calls;
use rustix::fs::{Mode, Stat};
use std::io;
use std::os::fd::OwnedFd;

/// What changes when somebody changes a file. Equal stamps mean that the file was most likely left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Bytes.
    pub len: u64,
    /// When it was last written, in nanoseconds of Unix time.
    pub mtime_ns: i64,
    /// When anything of it was changed last, its names too, in nanoseconds of Unix time; 0 where that does not last.
    pub ctime_ns: i64,
    /// A digest of what changes that time besides the bytes: how many names it has, whose it is, who may do what; 0 where that
    /// does not last.
    pub attributes: u32,
    /// Its number on its file system; 0 where numbers do not last.
    pub inode: u64,
    /// The device it is on, as the system numbers it; it may get another number when the system starts anew.
    pub device: u64,
}

impl Stamp {
    /// Whether the bytes are most likely the same: length, time and number are. Not the device, whose number does not last.
    pub fn is_same(&self, now: &Self) -> bool {
        (self.len, self.mtime_ns, self.inode) == (now.len, now.mtime_ns, now.inode)
    }
}

impl Stamp {
    /// As a file system tells it anew after it was mounted anew, that counts time in steps of two seconds and gives files other
    /// numbers.
    pub(super) fn coarse(self) -> Self {
        const STEP: i64 = 2_000_000_000;
        Self { mtime_ns: self.mtime_ns.div_euclid(STEP) * STEP, ctime_ns: 0, attributes: 0, inode: 0, ..self }
    }
}

impl From<Stat> for Stamp {
    #[allow(clippy::useless_conversion, reason = "the types differ between systems")]
    fn from(stat: Stat) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        let [mtime_nsec, ctime_nsec] = [i64::try_from(stat.st_mtime_nsec), i64::try_from(stat.st_ctime_nsec)]
            .map(|nanos| nanos.unwrap_or(0));
        Self {
            len: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanos(i64::from(stat.st_mtime), mtime_nsec),
            ctime_ns: nanos(i64::from(stat.st_ctime), ctime_nsec),
            attributes: attributes(&stat),
            inode: stat.st_ino,
            device: stat.st_dev,
        }
    }
}

#[allow(clippy::useless_conversion, reason = "the types differ between systems")]
fn attributes(stat: &Stat) -> u32 {
    let parts = [stat.st_nlink.into(), stat.st_mode.into(), stat.st_uid.into(), stat.st_gid.into()];
    let digest =
        parts.iter().fold(0, |digest, part: &u64| crc32c::crc32c_append(digest, &part.to_le_bytes()));
    // Zero says that nothing is known.
    digest.max(1)
}

/// Looks at many files in the order of their folders, and opens each folder once.
pub(super) struct Looker<'a> {
    root: &'a Root,
    folder: Option<(&'a str, Option<OwnedFd>)>,
}

impl<'a> Looker<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, folder: None }
    }

    /// `None` when there is no such file.
    pub(super) fn look(&mut self, path: &'a str) -> io::Result<Option<Stamp>> {
        let Some((folder, name)) = path.rsplit_once('/') else {
            return found(self.root.stat_file(path));
        };
        if self.folder.as_ref().is_none_or(|(last, _)| *last != folder) {
            let opened = match self.root.open_at(folder, FOLDER, Mode::empty()) {
                Err(error) if is_absent(&error) => None,
                opened => Some(opened?),
            };
            self.folder = Some((folder, opened));
        }
        let Some((_, Some(dir))) = &self.folder else { return Ok(None) };
        found(calls::stat_name(dir, name).map_err(io::Error::from).and_then(regular))
    }
}

pub(super) fn found(stat: io::Result<Stat>) -> io::Result<Option<Stamp>> {
    match stat {
        Err(error) if is_absent(&error) => Ok(None),
        stat => Ok(Some(stat?.into())),
    }
}

/// Whether it says for sure that the file is not there: nothing is, or something that is no file. Any other error may pass, and
/// then the file is as it was.
pub(super) fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound};
    let no_file = matches!(error.kind(), IsADirectory | InvalidInput) && error.raw_os_error().is_none();
    no_file || matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}
