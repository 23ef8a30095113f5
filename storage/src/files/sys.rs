//! The calls that differ between systems.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::IoSliceMut;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Opens a path that the kernel resolves beneath `dir`, through no link of any kind.
#[cfg(target_os = "linux")]
pub(super) fn open_beneath(
    dir: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(dir, path, flags, mode, beneath) {
            // Something was renamed meanwhile, so that the kernel cannot tell.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_beneath(_: BorrowedFd<'_>, _: &str, _: OFlags, _: Mode) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// Reads what is in the page cache. `None` when some of it is not, or the file system cannot tell.
#[cfg(target_os = "linux")]
pub(super) fn read_cached(fd: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> Option<Result<usize, Errno>> {
    use rustix::io::ReadWriteFlags;
    match rustix::io::preadv2(fd, &mut [IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT) {
        Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => None,
        read => Some(read),
    }
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_cached(_: BorrowedFd<'_>, _: &mut [u8], _: u64) -> Option<Result<usize, Errno>> {
    None
}

/// Has the system forget what it keeps of a file in memory, but for what is not durable: it is read from the disk next.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(super) fn forget_cached(fd: BorrowedFd<'_>) {
    // It is an advice; who does not heed it reads the same bytes.
    let _ = rustix::fs::fadvise(fd, 0, None, rustix::fs::Advice::DontNeed);
}

/// Not known here.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(super) fn forget_cached(_: BorrowedFd<'_>) {}

/// Reserves room for a file of this length, and makes it that long. Does nothing where the file system cannot.
#[cfg(target_os = "linux")]
pub(super) fn allocate(fd: BorrowedFd<'_>, len: u64) -> Result<(), Errno> {
    loop {
        match rustix::fs::fallocate(fd, rustix::fs::FallocateFlags::empty(), 0, len) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            done => return done,
        }
    }
}

/// Reserves room for a part of a file without making the file longer. Whether the file system can.
#[cfg(target_os = "linux")]
pub(super) fn reserve(fd: BorrowedFd<'_>, offset: u64, len: u64) -> bool {
    let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
    !matches!(rustix::fs::fallocate(fd, flags, offset, len), Err(Errno::OPNOTSUPP | Errno::NOSYS))
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_: BorrowedFd<'_>, _: u64, _: u64) -> bool {
    false
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn allocate(_: BorrowedFd<'_>, _: u64) -> Result<(), Errno> {
    Ok(())
}

/// Renames, but not over what is there. Where the file system knows no such thing, it is looked at before.
pub(super) fn rename_new(
    from: BorrowedFd<'_>,
    old: &str,
    to: BorrowedFd<'_>,
    new: &str,
) -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    match rustix::fs::renameat_with(from, old, to, new, rustix::fs::RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        done => return done,
    }
    match rustix::fs::statat(to, new, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => rustix::fs::renameat(from, old, to, new),
        Ok(_) => Err(Errno::EXIST),
        Err(errno) => Err(errno),
    }
}

/// Lets a file share the bytes of another.
#[cfg(target_os = "linux")]
pub(super) fn clone(to: BorrowedFd<'_>, from: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(to, from)
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn clone(_: BorrowedFd<'_>, _: BorrowedFd<'_>) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}

/// When a file or folder was made, in nanoseconds of Unix time, where the file system keeps it.
#[cfg(target_os = "linux")]
pub(super) fn born(fd: BorrowedFd<'_>) -> Option<i64> {
    use rustix::fs::{AtFlags, StatxFlags};
    #[cfg(any(test, feature = "testing"))]
    if crate::testing::fuse::is_pretended() {
        return None;
    }
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let is_known = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let time = stat.stx_btime;
    is_known.then(|| time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.into()))
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn born(_: BorrowedFd<'_>) -> Option<i64> {
    None
}

/// What a file system calls itself; 0 when it has no name.
pub(super) fn file_system_name(found: &rustix::fs::StatVfs) -> u64 {
    #[cfg(any(test, feature = "testing"))]
    if crate::testing::fuse::is_pretended() {
        return 0;
    }
    found.f_fsid
}

/// Whether something is mounted on a folder; nothing when the system does not tell, or there is no such folder.
#[cfg(target_os = "linux")]
pub(super) fn is_mount_point(path: &std::path::Path) -> Option<bool> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
    let stat = rustix::fs::statx(CWD, path, AtFlags::NO_AUTOMOUNT, StatxFlags::empty()).ok()?;
    let is_told = stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
    is_told.then(|| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_mount_point(_: &std::path::Path) -> Option<bool> {
    None
}

/// Where the next byte of a file is that is not in a hole; `NXIO` when there is none.
#[cfg(target_os = "linux")]
pub(super) fn next_data(fd: BorrowedFd<'_>, from: u64) -> Result<u64, Errno> {
    rustix::fs::seek(fd, rustix::fs::SeekFrom::Data(from))
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn next_data(_: BorrowedFd<'_>, _: u64) -> Result<u64, Errno> {
    Err(Errno::INVAL)
}

/// Whether no file there can have 4 GiB.
#[cfg(target_os = "linux")]
pub(super) fn is_fat(fd: BorrowedFd<'_>) -> bool {
    const MSDOS: rustix::fs::FsWord = 0x4d44;
    #[cfg(any(test, feature = "testing"))]
    if crate::testing::fat::is_pretended() {
        return true;
    }
    rustix::fs::fstatfs(fd).is_ok_and(|found| found.f_type == MSDOS)
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_fat(_: BorrowedFd<'_>) -> bool {
    false
}

/// Whether files there keep their numbers only as long as they are open, and times are counted in steps of two seconds.
#[cfg(target_os = "linux")]
pub(super) fn is_forgetful(fd: BorrowedFd<'_>) -> bool {
    const EXFAT: rustix::fs::FsWord = 0x2011_bab0;
    is_fat(fd) || rustix::fs::fstatfs(fd).is_ok_and(|found| found.f_type == EXFAT)
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_forgetful(_: BorrowedFd<'_>) -> bool {
    false
}

/// Whether a sync of the whole file system makes all of it durable, and tells what could not be written. Where files are kept by
/// another program or machine it does not reach the disk, and before Linux 5.8 it says nothing of failures.
#[cfg(target_os = "linux")]
pub(super) fn syncs_all(dir: BorrowedFd<'_>) -> bool {
    /// ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, ZFS, bcachefs.
    const TOLD: [u32; 7] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x2fc1_2fc1, 0xca45_1a4e];
    static IS_NEW: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        is_since(&release, (5, 8))
    });
    #[cfg(any(test, feature = "testing"))]
    if crate::testing::fuse::is_pretended() {
        return false;
    }
    // The type has 32 bits, and is signed on some machines.
    let is_told = |found: rustix::fs::StatFs| TOLD.contains(&(found.f_type as u32));
    *IS_NEW && rustix::fs::fstatfs(dir).is_ok_and(is_told)
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn syncs_all(_: BorrowedFd<'_>) -> bool {
    false
}

/// Whether a release of Linux, as it names itself, is this one or a later one.
#[cfg(target_os = "linux")]
fn is_since(release: &str, least: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>());
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= least)
}

/// Makes everything durable on the file system that a folder is on. It tells of failed writes since Linux 5.8.
#[cfg(target_os = "linux")]
pub(super) fn sync_file_system(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::syncfs(dir)
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn sync_file_system(_: BorrowedFd<'_>) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::is_since;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        let table = [
            ("5.8.0-1-amd64", true),
            ("5.10.3", true),
            ("6.1", true),
            ("5.7.19", false),
            ("4.19-rc1", false),
        ];
        for (release, is) in table {
            assert_eq!(is_since(release, (5, 8)), is, "{release}");
        }
        assert!(!is_since("", (5, 8)) && !is_since("x", (5, 8)));
    }
}
