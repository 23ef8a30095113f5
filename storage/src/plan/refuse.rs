//! Jobs that are answered at once, because they name what is not there.

use crate::{Completion, Job, Operation, StorageError, StoreId};
use std::io;

/// The answer to a job that is not done.
pub(super) fn refuse(job: Job, error: StorageError) -> Option<Completion> {
    Some(match job {
        Job::Write { store, block, data } => Completion::Written {
            store,
            piece: block.piece(),
            blocks: vec![block],
            buffers: vec![data],
            result: Err(error),
        },
        Job::Restart { .. } | Job::Adopt { .. } => return None,
        Job::Read { store, token, range, data } => {
            Completion::Read { store, token, range, data, result: Err(error) }
        }
        Job::Check { store, piece } => Completion::Piece { store, piece, result: Err(error) },
        Job::BlockDigests { store, piece } => Completion::BlockDigests { store, piece, result: Err(error) },
        Job::Sync { store, token } => Completion::Synced { store, token, result: Err(error) },
        Job::Probe { store, .. } => Completion::Probed { store, result: Err(error) },
        Job::Look { store } => Completion::Looked { store, result: Err(error) },
    })
}

pub(super) fn store_of(job: &Job) -> StoreId {
    match job {
        Job::Write { store, .. }
        | Job::Restart { store, .. }
        | Job::Read { store, .. }
        | Job::Check { store, .. }
        | Job::BlockDigests { store, .. }
        | Job::Adopt { store, .. }
        | Job::Sync { store, .. }
        | Job::Probe { store, .. }
        | Job::Look { store } => *store,
    }
}

pub(super) fn buffer_bytes(job: &Job) -> usize {
    match job {
        Job::Write { data, .. } | Job::Read { data, .. } => data.capacity(),
        _ => 0,
    }
}

/// A job whose block, range or buffer does not belong to its store.
pub(super) fn misfit(id: StoreId) -> StorageError {
    let why = "a block, range or buffer does not fit the torrent";
    of_store(id, io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// What stands in an order until it is executed.
pub(super) fn not_done(id: StoreId) -> StorageError {
    of_store(id, io::Error::other("the order was not executed"))
}

fn of_store(id: StoreId, cause: io::Error) -> StorageError {
    StorageError::new(Operation::Open, format!("store {}", id.0), None, cause)
}
