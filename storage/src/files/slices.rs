//! Moving bytes between slices and files until all are moved.

use super::calls;
use rustix::fd::AsFd;
use std::io::{self, IoSlice, IoSliceMut};

/// Most slices that systems take in one call.
const SLICES: usize = 1024;

/// Where in the file it went wrong, and why.
type Failed = (u64, io::Error);

/// Slices that are written one after another, to one or more files.
pub(super) struct Writing<'a, 'd> {
    data: &'a [IoSlice<'d>],
    /// Bytes of them that are written.
    at: usize,
}

impl<'a, 'd> Writing<'a, 'd> {
    pub(super) fn new(data: &'a [IoSlice<'d>]) -> Self {
        Self { data, at: 0 }
    }

    /// Leaves out the next bytes.
    pub(super) fn skip(&mut self, len: u32) {
        self.at += len as usize;
    }

    /// Writes the next bytes at an offset of the file.
    pub(super) fn write(&mut self, fd: impl AsFd, offset: u64, len: u32) -> Result<(), Failed> {
        let end = offset + u64::from(len);
        let mut offset = offset;
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let whole = self.at == 0 && self.data.len() <= SLICES && left == total(self.data);
            let written = calls::write(left, |most| {
                if whole && most == left {
                    rustix::io::pwritev(&fd, self.data, offset)
                } else {
                    rustix::io::pwritev(&fd, &part(self.data, self.at, most), offset)
                }
            });
            match written {
                Ok(0) => return Err((offset, io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    calls::note_write(&fd, self.data, self.at, offset, count);
                    offset += count as u64;
                    self.at += count;
                }
                Err(errno) => return Err((offset, errno.into())),
            }
        }
        Ok(())
    }
}

/// Slices that are filled one after another, from one or more files.
pub(super) struct Reading<'a, 'd> {
    into: &'a mut [IoSliceMut<'d>],
    /// Bytes of them that are filled.
    at: usize,
}

impl<'a, 'd> Reading<'a, 'd> {
    pub(super) fn new(into: &'a mut [IoSliceMut<'d>]) -> Self {
        Self { into, at: 0 }
    }

    /// Fills the next bytes with zeros.
    pub(super) fn zero(&mut self, len: u32) {
        for slice in &mut part_mut(self.into, self.at, len as usize) {
            slice.fill(0);
        }
        self.at += len as usize;
    }

    /// Fills the next bytes from an offset of the file.
    pub(super) fn read(&mut self, fd: impl AsFd, offset: u64, len: u32) -> Result<(), Failed> {
        let end = offset + u64::from(len);
        let mut offset = offset;
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let whole = self.at == 0 && self.into.len() <= SLICES && left == total(self.into);
            let read = calls::read(left, |most| {
                if whole && most == left {
                    rustix::io::preadv(&fd, self.into, offset)
                } else {
                    rustix::io::preadv(&fd, &mut part_mut(self.into, self.at, most), offset)
                }
            });
            match read {
                Ok(0) => return Err((offset, io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    offset += count as u64;
                    self.at += count;
                }
                Err(errno) => return Err((offset, errno.into())),
            }
        }
        Ok(())
    }
}

fn total<S: std::ops::Deref<Target = [u8]>>(slices: &[S]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}

/// `len` bytes from byte `skip` on, in as many slices as one call takes.
fn part<'a>(slices: &'a [IoSlice<'_>], mut skip: usize, mut len: usize) -> Vec<IoSlice<'a>> {
    let mut parts = Vec::new();
    for slice in slices {
        let from = skip.min(slice.len());
        let to = slice.len().min(from + len);
        skip -= from;
        len -= to - from;
        if from < to && parts.len() < SLICES {
            parts.push(IoSlice::new(&slice[from..to]));
        }
    }
    parts
}

/// As [`part`].
fn part_mut<'a>(slices: &'a mut [IoSliceMut<'_>], mut skip: usize, mut len: usize) -> Vec<IoSliceMut<'a>> {
    let mut parts = Vec::new();
    for slice in slices {
        let from = skip.min(slice.len());
        let to = slice.len().min(from + len);
        skip -= from;
        len -= to - from;
        if from < to && parts.len() < SLICES {
            parts.push(IoSliceMut::new(&mut slice[from..to]));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_any_slices_is_found() {
        let whole: Vec<u8> = (0..20).collect();
        let slices = [&whole[..0], &whole[..7], &whole[7..8], &whole[8..20]].map(IoSlice::new);
        for skip in 0..=20 {
            for len in 0..=20 - skip {
                let found: Vec<u8> = part(&slices, skip, len).iter().flat_map(|s| s.to_vec()).collect();
                assert_eq!(found, whole[skip..skip + len]);
            }
        }
    }

    #[test]
    fn one_segment_and_many_write_the_same() {
        let file = tempfile::tempfile().unwrap();
        let data = [IoSlice::new(b"ab"), IoSlice::new(b"cdef")];
        let mut writing = Writing::new(&data);
        writing.write(&file, 10, 3).unwrap();
        writing.skip(1);
        writing.write(&file, 0, 2).unwrap();
        let (mut left, mut right) = ([0; 2], [0; 5]);
        let mut into = [IoSliceMut::new(&mut left), IoSliceMut::new(&mut right)];
        let mut reading = Reading::new(&mut into);
        reading.read(&file, 10, 3).unwrap();
        reading.zero(2);
        reading.read(&file, 0, 2).unwrap();
        assert_eq!((&left, &right), (b"ab", b"c\0\0ef"));
        let error = Reading::new(&mut [IoSliceMut::new(&mut [0; 9])]).read(&file, 10, 9).unwrap_err();
        assert_eq!((error.0, error.1.kind()), (13, io::ErrorKind::UnexpectedEof));
    }
}
