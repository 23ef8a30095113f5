//! Every system call that touches what users keep goes through here, so that tests can have any of them fail.

use super::sys;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat, StatVfs};
use rustix::io::Errno;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A kind of system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
#[cfg_attr(not(any(test, feature = "testing")), expect(unreachable_pub, reason = "tests name it"))]
pub enum Call {
    Open,
    Mkdir,
    Stat,
    Read,
    Write,
    Sync,
    Allocate,
    Rename,
    Remove,
    Link,
    Clone,
    Truncate,
}

#[cfg(any(test, feature = "testing"))]
impl Call {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::Mkdir,
        Self::Stat,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Allocate,
        Self::Rename,
        Self::Remove,
        Self::Link,
        Self::Clone,
        Self::Truncate,
    ];
}

/// Does it, again and again while signals interrupt it.
fn call<T>(kind: Call, mut run: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match allow(kind, usize::MAX).and_then(|_| run()) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Moves at most `len` bytes, and at least one; again while signals interrupt it.
fn move_some(
    kind: Call,
    len: usize,
    mut run: impl FnMut(usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    loop {
        match allow(kind, len).and_then(&mut run) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// How many of so many bytes a call may move.
#[cfg(any(test, feature = "testing"))]
fn allow(kind: Call, len: usize) -> Result<usize, Errno> {
    use crate::testing::faults::{Effect, strike};
    match strike(kind) {
        None => Ok(len),
        Some(Effect::Short) => Ok(len.div_ceil(2)),
        Some(Effect::Fail(number)) => Err(Errno::from_raw_os_error(number)),
    }
}

/// How many of so many bytes a call may move: all.
#[cfg(not(any(test, feature = "testing")))]
#[inline(always)]
fn allow(_: Call, len: usize) -> Result<usize, Errno> {
    Ok(len)
}

/// Has a change that was made written down, if a test wants to know.
macro_rules! note {
    ($done:expr, $change:expr) => {{
        let done = $done;
        #[cfg(any(test, feature = "testing"))]
        if done.is_ok() {
            #[allow(unused_imports)]
            use crate::testing::ledger::{Change, node};
            crate::testing::ledger::note(|| $change);
        }
        done
    }};
}

/// Opens a name in a folder, or a path of the user's choice.
pub(super) fn open(
    dir: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    call(Call::Open, || rustix::fs::openat(&dir, path.as_ref(), flags, mode))
}

/// Opens a path beneath a folder, through no link; the kernel sees to it.
pub(super) fn open_beneath(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let opened = call(Call::Open, || sys::open_beneath(dir.as_fd(), path, flags, mode));
    #[cfg(any(test, feature = "testing"))]
    if let Some(file) = opened.as_ref().ok().filter(|_| flags.contains(OFlags::CREATE)) {
        use crate::testing::ledger::{Change, node, note, place};
        note(|| {
            let (folder, name) = place(&dir, path);
            Change::Create { folder, name, file: node(file) }
        });
    }
    opened
}

pub(super) fn make_folder(dir: impl AsFd, name: &str) -> Result<(), Errno> {
    note!(call(Call::Mkdir, || rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o777))), {
        let made = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let made = made.map_or((0, 0), |made| (made.st_dev, made.st_ino));
        Change::MakeFolder { folder: node(&dir), name: name.to_owned(), made }
    })
}

pub(super) fn stat(fd: impl AsFd) -> Result<Stat, Errno> {
    call(Call::Stat, || rustix::fs::fstat(&fd))
}

/// Of the name itself, if it is a link.
pub(super) fn stat_name(dir: impl AsFd, name: &str) -> Result<Stat, Errno> {
    call(Call::Stat, || rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW))
}

/// Of what a path of the user's choice leads to.
pub(super) fn stat_path(path: &Path) -> Result<Stat, Errno> {
    call(Call::Stat, || rustix::fs::stat(path))
}

pub(super) fn stat_file_system(fd: impl AsFd) -> Result<StatVfs, Errno> {
    call(Call::Stat, || rustix::fs::fstatvfs(&fd))
}

/// `run` reads at most as many bytes as it is told.
pub(super) fn read(len: usize, run: impl FnMut(usize) -> Result<usize, Errno>) -> Result<usize, Errno> {
    move_some(Call::Read, len, run)
}

/// `run` writes at most as many bytes as it is told.
pub(super) fn write(len: usize, run: impl FnMut(usize) -> Result<usize, Errno>) -> Result<usize, Errno> {
    move_some(Call::Write, len, run)
}

/// So many bytes of the slices, from byte `skip` on, were written.
#[cfg(any(test, feature = "testing"))]
pub(super) fn note_write(fd: impl AsFd, data: &[IoSlice<'_>], skip: usize, offset: u64, count: usize) {
    use crate::testing::ledger::{Change, node, note};
    note(|| {
        let bytes = data.iter().flat_map(|slice| slice.iter().copied()).skip(skip).take(count).collect();
        Change::Write { file: node(fd), offset, bytes }
    });
}

/// So many bytes of the slices were written, and no test wants to know.
#[cfg(not(any(test, feature = "testing")))]
#[inline(always)]
pub(super) fn note_write(_: impl AsFd, _: &[IoSlice<'_>], _: usize, _: u64, _: usize) {}

/// Takes the kernel's lock of a file or folder.
pub(super) fn lock(fd: impl AsFd, how: FlockOperation) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, how))
}

/// Makes the bytes of a file durable.
pub(super) fn sync_data(fd: impl AsFd) -> Result<(), Errno> {
    let synced = note!(call(Call::Sync, || rustix::fs::fdatasync(&fd)), Change::Sync { node: node(&fd) });
    #[cfg(any(test, feature = "testing"))]
    if synced.is_err() {
        use crate::testing::ledger::{Change, node, note};
        note(|| Change::FailedSync { node: node(&fd) });
    }
    synced
}

/// Makes all of a file or folder durable.
pub(super) fn sync(fd: impl AsFd) -> Result<(), Errno> {
    note!(call(Call::Sync, || rustix::fs::fsync(&fd)), Change::Sync { node: node(&fd) })
}

/// Makes everything on the file system of a folder durable. False where the system knows no such call.
pub(super) fn sync_file_system(dir: impl AsFd) -> Result<bool, Errno> {
    let synced = call(Call::Sync, || sys::sync_file_system(dir.as_fd()));
    match note!(synced, Change::SyncAll { device: node(&dir).0 }) {
        Ok(()) => Ok(true),
        Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => Ok(false),
        Err(errno) => {
            #[cfg(any(test, feature = "testing"))]
            {
                use crate::testing::ledger::{Change, node, note};
                note(|| Change::FailedSyncAll { device: node(&dir).0 });
            }
            Err(errno)
        }
    }
}

/// Takes room for a whole file, and makes it that long.
pub(super) fn allocate(fd: impl AsFd, len: u64) -> Result<(), Errno> {
    call(Call::Allocate, || sys::allocate(fd.as_fd(), len))
}

/// Takes room for a part of a file, if there is. Whether the file system can do that at all.
pub(super) fn reserve(fd: impl AsFd, offset: u64, len: u64) -> bool {
    call(Call::Allocate, || Ok(sys::reserve(fd.as_fd(), offset, len))).unwrap_or(true)
}

/// Renames, but never over what is there.
pub(super) fn rename(from: impl AsFd, old: &str, to: impl AsFd, new: &str) -> Result<(), Errno> {
    note!(
        call(Call::Rename, || sys::rename_new(from.as_fd(), old, to.as_fd(), new)),
        Change::Rename { from: node(&from), old: old.to_owned(), to: node(&to), new: new.to_owned() }
    )
}

/// The same in another folder.
pub(super) fn rename_over(from: impl AsFd, old: &str, to: impl AsFd, new: &str) -> Result<(), Errno> {
    note!(
        call(Call::Rename, || rustix::fs::renameat(&from, old, &to, new)),
        Change::Rename { from: node(&from), old: old.to_owned(), to: node(&to), new: new.to_owned() }
    )
}

/// Renames over what is there, as one step.
pub(super) fn replace(dir: impl AsFd, old: &str, new: &str) -> Result<(), Errno> {
    note!(
        call(Call::Rename, || rustix::fs::renameat(&dir, old, &dir, new)),
        Change::Rename { from: node(&dir), old: old.to_owned(), to: node(&dir), new: new.to_owned() }
    )
}

/// Removes a name that is not a folder's.
pub(super) fn remove_file(dir: impl AsFd, name: &str) -> Result<(), Errno> {
    note!(
        call(Call::Remove, || rustix::fs::unlinkat(&dir, name, AtFlags::empty())),
        Change::Remove { folder: node(&dir), name: name.to_owned() }
    )
}

/// Removes a folder that is empty.
pub(super) fn remove_folder(dir: impl AsFd, name: &str) -> Result<(), Errno> {
    note!(
        call(Call::Remove, || rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR)),
        Change::Remove { folder: node(&dir), name: name.to_owned() }
    )
}

pub(super) fn truncate(fd: impl AsFd, len: u64) -> Result<(), Errno> {
    note!(call(Call::Truncate, || rustix::fs::ftruncate(&fd, len)), Change::Truncate { file: node(&fd), len })
}

/// Lets `to` share the bytes of `from`, where the file system can.
pub(super) fn clone(to: impl AsFd, from: impl AsFd) -> Result<(), Errno> {
    call(Call::Clone, || sys::clone(to.as_fd(), from.as_fd()))
}

/// Gives a file another name on the same file system.
pub(super) fn link(from: impl AsFd, old: &Path, to: impl AsFd, new: &str) -> Result<(), Errno> {
    call(Call::Link, || rustix::fs::linkat(&from, old, &to, new, AtFlags::empty()))
}
