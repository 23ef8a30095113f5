//! A whole copy of a file, on another file system or on the same.

use super::calls;
use super::slices::{Reading, Writing};
use crate::Operation;
use rustix::fs::{Mode, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes copied at once.
const STEP: u32 = 1 << 20;

/// Why, and on which side: reading is of the file, all else of the copy.
pub(super) struct Failed {
    pub(super) operation: Operation,
    pub(super) cause: io::Error,
}

fn failed(operation: Operation) -> impl Fn(io::Error) -> Failed {
    move |cause| Failed { operation, cause }
}

/// Makes `to`, which is empty, a copy of `from`, holes left out. `on` is told of bytes copied, and says whether to go on.
/// Gives the length, or nothing if it was stopped. Nothing is durable yet.
pub(super) fn contents(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<u64>, Failed> {
    let stat = calls::stat(from).map_err(|errno| failed(Operation::Read)(errno.into()))?;
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    if calls::clone(to, from).is_err() {
        let mut buffer = vec![0; STEP as usize];
        let mut at = 0;
        while at < len {
            let now = u32::try_from(len - at).map_or(STEP, |left| left.min(STEP));
            let bytes = &mut buffer[..now as usize];
            Reading::new(&mut [IoSliceMut::new(bytes)])
                .read(from, at, now)
                .map_err(|(_, cause)| failed(Operation::Read)(cause))?;
            if bytes.iter().any(|byte| *byte != 0) {
                Writing::new(&[IoSlice::new(bytes)])
                    .write(to, at, now)
                    .map_err(|(_, cause)| failed(Operation::Write)(cause))?;
            }
            at += u64::from(now);
            if !on(now.into()) {
                return Ok(None);
            }
        }
        calls::truncate(to, len).map_err(|errno| failed(Operation::Truncate)(errno.into()))?;
    }
    dress(to, &stat);
    Ok(Some(len))
}

/// Makes `to`, which is empty, share the bytes of `from`. Fails where the file system cannot do that.
pub(super) fn clone(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = calls::stat(from)?;
    calls::clone(to, from)?;
    dress(to, &stat);
    Ok(())
}

/// Gives a copy the mode and the times of the file.
fn dress(to: BorrowedFd<'_>, stat: &Stat) {
    // A file system that knows no modes or times copies the bytes all the same.
    let _ = rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o777));
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    let _ = rustix::fs::futimens(to, &times);
}

#[allow(clippy::unnecessary_fallible_conversions, reason = "the types differ between systems")]
fn time(seconds: i64, nanos: impl TryInto<i64>) -> Timespec {
    Timespec { tv_sec: seconds, tv_nsec: nanos.try_into().unwrap_or(0) }
}

/// Whether two files have the same bytes.
pub(super) fn is_equal(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let (len, same) = (calls::stat(one)?.st_size, calls::stat(other)?.st_size);
    let len = u64::try_from(len).unwrap_or(0);
    if u64::try_from(same) != Ok(len) {
        return Ok(false);
    }
    let mut buffers = [vec![0; STEP as usize], vec![0; STEP as usize]];
    let mut at = 0;
    while at < len {
        let now = u32::try_from(len - at).map_or(STEP, |left| left.min(STEP));
        for (fd, buffer) in [one, other].into_iter().zip(&mut buffers) {
            let mut into = [IoSliceMut::new(&mut buffer[..now as usize])];
            Reading::new(&mut into).read(fd.as_fd(), at, now).map_err(|(_, cause)| cause)?;
        }
        if buffers[0][..now as usize] != buffers[1][..now as usize] {
            return Ok(false);
        }
        at += u64::from(now);
    }
    Ok(true)
}
