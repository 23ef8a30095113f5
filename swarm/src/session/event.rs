//! What a session tells while it runs.

use metainfo::{PieceIndex, TorrentId};
use std::net::SocketAddr;
use std::path::PathBuf;
use storage::record::StoreError;
use storage::{Allocation, Linked, StorageError};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::files_error::FilesError;
use super::options::AddError;
use super::selection::Selection;
use crate::engine::PieceOrder;
use crate::engine::tracker::Failure;

/// Events that a listener may be behind before it misses some.
pub(super) const KEPT: usize = 1024;

/// Choices of an earlier run that differ from those of this one, and go over them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recalled {
    /// Which files are wanted.
    pub files: Option<Selection>,
    /// In which order pieces are fetched.
    pub order: Option<PieceOrder>,
    /// When files take room.
    pub allocation: Option<Allocation>,
    /// The download limit, in bytes per second; `Some(None)` is none.
    pub down_limit: Option<Option<u64>>,
    /// The upload limit.
    pub up_limit: Option<Option<u64>>,
    /// Trackers that were added.
    pub trackers: Vec<String>,
}

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A torrent was added and runs; one that was added by a magnet looks for its metadata.
    Added {
        /// Which one.
        torrent: TorrentId,
    },
    /// It is known now what a torrent is that was added by a magnet: [`Torrent::meta`](super::Torrent::meta). Its files are
    /// checked next.
    Metadata {
        /// Which one.
        torrent: TorrentId,
    },
    /// A torrent that was added by a v2 hash alone turned out to be a hybrid: it goes by its v1 hash from now on.
    Renamed {
        /// Its name now.
        torrent: TorrentId,
        /// Its name before.
        from: TorrentId,
    },
    /// A torrent that was added by a magnet turned out to be of no use here, or its files cannot be used. It is removed.
    Refused {
        /// Which one.
        torrent: TorrentId,
        /// Why.
        error: AddError,
    },
    /// The files of a torrent that runs without being open cannot be opened. It is tried again when somebody needs it, after a
    /// minute at the earliest.
    NotOpened {
        /// Which one.
        torrent: TorrentId,
        /// Why.
        error: AddError,
    },
    /// What is there of a torrent is being checked, before it is added.
    Checking {
        /// Of which torrent.
        torrent: TorrentId,
        /// Bytes that were gone over.
        done: u64,
        /// Bytes there are.
        total: u64,
    },
    /// The folder that a record speaks of was deleted: nothing of the record counts, and the torrent starts anew.
    Anew {
        /// Which one.
        torrent: TorrentId,
        /// The folder.
        dir: PathBuf,
    },
    /// What was chosen for a torrent in an earlier run holds, as nobody chose anew ([`AsBefore`](super::AsBefore)).
    Recalled {
        /// Which one.
        torrent: TorrentId,
        /// What is not as it would be otherwise.
        choices: Recalled,
    },
    /// A piece was checked and handed to the file system.
    PieceDone {
        /// Of which torrent.
        torrent: TorrentId,
        /// Which piece.
        piece: PieceIndex,
    },
    /// A piece did not match its hash and is fetched again.
    PieceFailed {
        /// Of which torrent.
        torrent: TorrentId,
        /// Which piece.
        piece: PieceIndex,
    },
    /// The two hashes of a hybrid are of different bytes: it was made wrong, or to deceive, and can never be complete. It was
    /// paused.
    Contradicts {
        /// Which torrent.
        torrent: TorrentId,
        /// In which piece.
        piece: PieceIndex,
    },
    /// All that is wanted of a torrent is there; also told when it was there at the start.
    Complete {
        /// Which one.
        torrent: TorrentId,
    },
    /// A download was read back from the disk, as [`AddOptions::verify`](super::AddOptions::verify) asks for.
    Verified {
        /// Of which torrent.
        torrent: TorrentId,
        /// Pieces that were there, and are not as they were written: they are fetched anew.
        lost: u32,
    },
    /// Something cannot be read or written. Downloading stops because of a write; what cannot be read is not served.
    StorageFailed {
        /// Of which torrent.
        torrent: TorrentId,
        /// What, and why.
        error: StorageError,
    },
    /// What could not be read or written can be again; the torrent goes on.
    StorageRecovered {
        /// Which one.
        torrent: TorrentId,
    },
    /// A tracker answered.
    TrackerAnswered {
        /// For which torrent.
        torrent: TorrentId,
        /// Its address, without secrets.
        tracker: String,
        /// Peers that it named.
        peers: usize,
        /// What it warns of.
        warning: Option<String>,
    },
    /// A tracker did not answer, or refused.
    TrackerFailed {
        /// For which torrent.
        torrent: TorrentId,
        /// Its address, without secrets.
        tracker: String,
        /// Why.
        failure: Failure,
    },
    /// A peer sent wrong data and is not spoken to any more.
    PeerBanned {
        /// Of which torrent.
        torrent: TorrentId,
        /// Its address.
        addr: SocketAddr,
    },
    /// The record of a torrent could not be read or written. The torrent runs all the same; after a crash more of it is
    /// checked.
    RecordFailed {
        /// Of which torrent.
        torrent: TorrentId,
        /// What, and why.
        error: StoreError,
    },
    /// Files of a torrent are being moved to another file system.
    Moving {
        /// Of which torrent.
        torrent: TorrentId,
        /// Bytes that were copied.
        done: u64,
        /// Bytes there are.
        total: u64,
    },
    /// The files of a torrent lie in another folder now.
    Moved {
        /// Which one.
        torrent: TorrentId,
        /// Which folder.
        to: PathBuf,
    },
    /// A move that an earlier run had begun does not go on; see [`Torrent::move_to`](super::Torrent::move_to).
    MoveFailed {
        /// Of which torrent.
        torrent: TorrentId,
        /// Why.
        error: FilesError,
    },
    /// All that is wanted of a torrent is there, durable, under its final name, and where it is to be. Told of torrents with
    /// [`Placing`](super::Placing) only.
    Settled {
        /// Which one.
        torrent: TorrentId,
    },
    /// Complete files cannot get their final names, go where they are to be, or be given to another folder. It is tried again
    /// once a minute; what is there is served.
    FinishFailed {
        /// Of which torrent.
        torrent: TorrentId,
        /// Why.
        error: FilesError,
    },
    /// Complete files were given to another folder as well.
    Linked {
        /// Of which torrent.
        torrent: TorrentId,
        /// Which folder.
        to: PathBuf,
        /// How.
        linked: Linked,
    },
    /// Content of files that were there before was taken for files of a torrent, instead of a download. It is checked next.
    Reused {
        /// Of which torrent.
        torrent: TorrentId,
        /// Files of the torrent.
        files: usize,
        /// Bytes in them.
        bytes: u64,
        /// Why others, that would have done, could not be taken.
        error: Option<StorageError>,
    },
    /// A torrent was removed.
    Removed {
        /// Which one.
        torrent: TorrentId,
    },
    /// The listener was too slow and missed this many events: look at the status of what matters.
    Missed(u64),
}

impl Event {
    /// The torrent that it is about.
    pub fn torrent(&self) -> Option<TorrentId> {
        match self {
            Self::Added { torrent }
            | Self::Metadata { torrent }
            | Self::Renamed { torrent, .. }
            | Self::Refused { torrent, .. }
            | Self::NotOpened { torrent, .. }
            | Self::Checking { torrent, .. }
            | Self::Anew { torrent, .. }
            | Self::Recalled { torrent, .. }
            | Self::PieceDone { torrent, .. }
            | Self::PieceFailed { torrent, .. }
            | Self::Contradicts { torrent, .. }
            | Self::Complete { torrent }
            | Self::Verified { torrent, .. }
            | Self::StorageFailed { torrent, .. }
            | Self::StorageRecovered { torrent }
            | Self::TrackerAnswered { torrent, .. }
            | Self::TrackerFailed { torrent, .. }
            | Self::PeerBanned { torrent, .. }
            | Self::RecordFailed { torrent, .. }
            | Self::Moving { torrent, .. }
            | Self::Moved { torrent, .. }
            | Self::Settled { torrent }
            | Self::FinishFailed { torrent, .. }
            | Self::Linked { torrent, .. }
            | Self::Reused { torrent, .. }
            | Self::MoveFailed { torrent, .. }
            | Self::Removed { torrent } => Some(*torrent),
            Self::Missed(_) => None,
        }
    }
}

/// The events of a session from the moment it was asked for. A listener that is too slow misses the oldest ones and is
/// told so; it never holds the session up.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
}

impl Events {
    pub(super) fn new(receiver: Receiver<Event>) -> Self {
        Self { receiver }
    }

    /// The next event; `None` when the session is over. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event if it is there already.
    pub(super) fn try_next(&mut self) -> Option<Event> {
        match self.receiver.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}
