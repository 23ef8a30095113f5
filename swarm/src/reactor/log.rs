//! What the disk answers, for the log.

use storage::Completion;
use tracing::trace;

/// Writes an answer of the disk to the log. It costs a look at the level when nobody reads it.
pub(super) fn done(completion: &Completion) {
    match completion {
        Completion::Written { store, piece, blocks, result, .. } => {
            trace!(?store, piece = piece.get(), blocks = blocks.len(), ?result, "written");
        }
        Completion::Piece { store, piece, result } => {
            trace!(?store, piece = piece.get(), ?result, "hashed");
        }
        Completion::Read { store, range, result, .. } => trace!(?store, ?range, ?result, "read"),
        Completion::BlockDigests { store, piece, result } => {
            let result = result.as_ref().map(Vec::len);
            trace!(?store, piece = piece.get(), ?result, "blocks were hashed");
        }
        Completion::Synced { store, result, .. } => trace!(?store, ?result, "synced"),
        Completion::Probed { store, result } => trace!(?store, ?result, "probed"),
        Completion::Looked { store, result } => trace!(?store, ?result, "looked at"),
    }
}
