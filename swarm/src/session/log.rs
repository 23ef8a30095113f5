//! What happens in a session, for the log: whatever its events tell, at `info`, but for what comes with every piece.

use std::fmt;

use metainfo::TorrentId;

use super::event::Event;

/// Writes an event to the log. It costs a look at the level when nobody reads it.
pub(super) fn write(event: &Event) {
    let torrent = event.torrent().map(Short);
    let torrent = torrent.as_ref().map(tracing::field::display);
    match event {
        Event::PieceDone { piece, .. } => tracing::trace!(torrent, piece = piece.get(), "a piece is there"),
        Event::PieceFailed { piece, .. } => {
            tracing::info!(torrent, piece = piece.get(), "a piece did not match its hash");
        }
        Event::Contradicts { piece, .. } => {
            tracing::info!(torrent, piece = piece.get(), "the hashes of a piece contradict each other");
        }
        Event::Checking { done, total, .. } => tracing::trace!(torrent, done, total, "checking"),
        Event::Moving { done, total, .. } => tracing::trace!(torrent, done, total, "moving"),
        Event::Added { .. } => tracing::info!(torrent, "added"),
        Event::Metadata { .. } => tracing::info!(torrent, "it is known now what the magnet names"),
        Event::Renamed { from, .. } => {
            tracing::info!(torrent, from = %Short(*from), "a hybrid, with another name from now on");
        }
        Event::Refused { error, .. } => tracing::info!(torrent, %error, "of no use here"),
        Event::NotOpened { error, .. } => tracing::info!(torrent, %error, "its files cannot be opened"),
        Event::Anew { dir, .. } => {
            tracing::info!(torrent, dir = %dir.display(), "the folder was deleted; it starts anew");
        }
        Event::Recalled { .. } => tracing::info!(torrent, "what was chosen before holds"),
        Event::Verified { lost, .. } => tracing::info!(torrent, lost, "read back"),
        Event::Complete { .. } => tracing::info!(torrent, "complete"),
        Event::StorageFailed { error, .. } => tracing::info!(torrent, %error, "the disk failed"),
        Event::StorageRecovered { .. } => tracing::info!(torrent, "the disk can be used again"),
        Event::TrackerAnswered { tracker, peers, warning, .. } => {
            tracing::info!(torrent, tracker, peers, warning = warning.as_deref(), "a tracker answered");
        }
        Event::TrackerFailed { tracker, failure, .. } => {
            tracing::info!(torrent, tracker, failure = failure.to_string(), "a tracker failed");
        }
        Event::PeerBanned { addr, .. } => {
            tracing::info!(torrent, %addr, "a peer that sent wrong data was banned");
        }
        Event::RecordFailed { error, .. } => tracing::info!(torrent, %error, "a record failed"),
        Event::Moved { to, .. } => tracing::info!(torrent, to = %to.display(), "moved"),
        Event::MoveFailed { error, .. } => tracing::info!(torrent, %error, "a move does not go on"),
        Event::Settled { .. } => tracing::info!(torrent, "complete files are where they are to be"),
        Event::FinishFailed { error, .. } => {
            tracing::info!(torrent, %error, "complete files cannot be finished");
        }
        Event::Linked { to, linked, .. } => {
            tracing::info!(torrent, to = %to.display(), ?linked, "given to another folder");
        }
        Event::Reused { files, bytes, .. } => {
            tracing::info!(torrent, files, bytes, "files that were there were taken");
        }
        Event::Removed { .. } => tracing::info!(torrent, "removed"),
        // Of this the listener is told, not the session.
        Event::Missed(_) => {}
    }
}

/// As much of a torrent's name as tells it from others.
pub(super) struct Short(pub(super) TorrentId);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
