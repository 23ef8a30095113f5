//! A backend that fails when told to.

use crate::{FileChange, Operation, Storage, StorageError};
use metainfo::PieceRange;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::atomic::{AtomicU64, Ordering};

/// Which call fails, and how.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Only calls of this kind count (`Read`, `Write` or `Sync`); all of them when `None`.
    pub operation: Option<Operation>,
    /// The first call that fails, counted from 0.
    pub nth: u64,
    /// Whether all later calls fail too.
    pub lasting: bool,
    /// The error given.
    pub kind: io::ErrorKind,
    /// Whether the failing call does the first half of its bytes first.
    pub torn: bool,
}

/// Wraps a backend and makes one call, or all from one on, fail.
#[derive(Debug)]
pub struct FaultyStorage<S> {
    inner: S,
    fault: Fault,
    calls: AtomicU64,
}

impl<S: Storage> FaultyStorage<S> {
    /// Over this backend, with this fault.
    pub fn new(inner: S, fault: Fault) -> Self {
        Self { inner, fault, calls: AtomicU64::new(0) }
    }

    /// Calls counted so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The backend beneath.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn strike(&self, operation: Operation, offset: Option<u64>) -> Result<(), StorageError> {
        if self.fault.operation.is_some_and(|only| only != operation) {
            return Ok(());
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call == self.fault.nth || (self.fault.lasting && call > self.fault.nth) {
            return Err(StorageError::new(operation, "faulty", offset, self.fault.kind.into()));
        }
        Ok(())
    }
}

impl<S: Storage> Storage for FaultyStorage<S> {
    fn read(&self, range: PieceRange, into: &mut [IoSliceMut<'_>]) -> Result<(), StorageError> {
        self.strike(Operation::Read, Some(range.begin().into())).inspect_err(|_| {
            if self.fault.torn {
                for slice in into.iter_mut().take(1) {
                    let half = slice.len() / 2;
                    slice[..half].fill(0xEE);
                }
            }
        })?;
        self.inner.read(range, into)
    }

    fn write(&self, range: PieceRange, data: &[IoSlice<'_>]) -> Result<(), StorageError> {
        let Err(error) = self.strike(Operation::Write, Some(range.begin().into())) else {
            return self.inner.write(range, data);
        };
        if self.fault.torn {
            let mut whole = vec![0; range.len() as usize];
            let new: Vec<u8> = data.iter().flat_map(|s| s.iter().copied()).collect();
            let half = new.len() / 2;
            // What is not there yet reads as an error; zeros stand for it then.
            let _ = self.inner.read(range, &mut [IoSliceMut::new(&mut whole)]);
            whole[..half].copy_from_slice(&new[..half]);
            self.inner.write(range, &[IoSlice::new(&whole)])?;
        }
        Err(error)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.strike(Operation::Sync, None)?;
        self.inner.sync()
    }

    fn look(&self) -> Result<Vec<FileChange>, StorageError> {
        self.inner.look()
    }

    fn prepare(&self) -> Result<(), StorageError> {
        self.inner.prepare()
    }
}
