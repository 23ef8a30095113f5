//! What programs are told, one JSON object a line. Sizes are in bytes, rates in bytes per second.

use serde::Serialize;
use swarm::engine::{Activity, TorrentStatus};

use super::origins::Origins;
use crate::output::json::FileJson;

/// An event of `download` or `seed`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event<'a> {
    /// It runs, and peers can connect. Of a magnet link the sizes are not known yet, and null.
    Started {
        info_hash: String,
        name: &'a str,
        total: Option<u64>,
        pieces: Option<u32>,
        piece_length: Option<u32>,
        dir: String,
        /// Addresses that it listens at.
        listen: Vec<String>,
        magnet: String,
    },
    /// Peers told what a magnet link names. The content is fetched next.
    Metadata {
        info_hash: String,
        name: &'a str,
        total: u64,
        pieces: u32,
        piece_length: u32,
        private: bool,
        files: Vec<FileJson<'a>>,
    },
    /// How it goes, at most once a second.
    Progress {
        info_hash: String,
        #[serde(flatten)]
        state: State,
        down_rate: u64,
        up_rate: u64,
        peers: usize,
        seeds: u32,
        /// Peers by who told of them; one may count several times.
        sources: Origins,
        /// What a magnet link is waiting for.
        waiting: Option<Waiting>,
        /// Seconds until it is complete.
        eta: Option<u64>,
    },
    /// Everything that is wanted is there and can be read.
    Complete {
        info_hash: String,
        #[serde(flatten)]
        state: State,
        /// Since it started.
        seconds: f64,
    },
    /// Its disk does not take what comes. It goes on when that changes, and serves what is there.
    Paused {
        info_hash: String,
        message: String,
        /// Seconds until it is tried again.
        retry_in: Option<f64>,
    },
    /// A file of what is there cannot be read. Its pieces are not served until it can.
    Unreadable {
        info_hash: String,
        /// Where it is on this machine.
        file: String,
        /// In it, in bytes.
        offset: Option<u64>,
        message: String,
        /// Pieces of the torrent that are not there or cannot be read.
        pieces: u32,
    },
    /// It goes on after it was paused.
    Resumed { info_hash: String },
    /// What was downloaded was read back: so many pieces were not as they were written, and are downloaded again.
    Verified { info_hash: String, lost: u32 },
    /// The files lie in this folder now.
    Moved { info_hash: String, dir: String },
    /// Complete files were given to this folder as well: under a second name, with shared bytes, as copies, or not anew.
    Linked { info_hash: String, dir: String, linked: usize, cloned: usize, copied: usize, there: usize },
    /// What was chosen in an earlier run holds, as nothing else was chosen now; what is as usual is null.
    Recalled {
        info_hash: String,
        /// How many files are wanted.
        wanted: Option<usize>,
        /// Of how many.
        files: Option<usize>,
        order: Option<&'static str>,
        preallocate: Option<&'static str>,
        down_limit: Option<u64>,
        up_limit: Option<u64>,
    },
    /// Content of files that were there was taken instead of a download.
    Reused {
        info_hash: String,
        files: usize,
        bytes: u64,
        /// Why others could not be taken.
        message: Option<String>,
    },
    /// Complete files cannot go where they are to be. That is tried again.
    Unsettled { info_hash: String, message: String },
    /// It ended before it was complete, or stopped seeding.
    Stopped {
        info_hash: String,
        #[serde(flatten)]
        state: State,
        complete: bool,
        reason: Reason,
    },
    /// It cannot start, or not go on.
    Error {
        /// Null when it was not known yet what the torrent is.
        info_hash: Option<String>,
        message: String,
        /// The exit status.
        exit: u8,
    },
}

/// How much is there and was moved.
#[derive(Clone, Copy, Serialize)]
pub(super) struct State {
    done: u64,
    total: u64,
    pieces_done: u32,
    pieces: u32,
    downloaded: u64,
    uploaded: u64,
}

impl State {
    pub(super) fn of(status: &TorrentStatus) -> Self {
        Self {
            done: status.done,
            total: status.wanted,
            pieces_done: status.pieces_done,
            pieces: status.pieces,
            downloaded: status.totals.downloaded,
            uploaded: status.totals.uploaded,
        }
    }
}

/// What a magnet link is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Waiting {
    /// To know what it names.
    Metadata {
        /// Pieces of the metadata, 16 KiB each, that came.
        metadata_have: u32,
        /// Pieces of the whole, once a peer said.
        metadata_pieces: Option<u32>,
        /// Peers that say to have it.
        metadata_peers: usize,
    },
    /// The hashes of its pieces.
    Layers {
        /// Parts of the piece layers, up to 512 hashes each, that came.
        layers_have: u32,
        /// Parts of all of them.
        layers_parts: u32,
        /// Peers that may have them.
        layers_peers: usize,
    },
}

impl Waiting {
    /// `None` when it waits for nothing but data.
    pub(super) fn of(status: &TorrentStatus) -> Option<Self> {
        match status.activity {
            Activity::Metadata { have, pieces, peers } => {
                Some(Self::Metadata { metadata_have: have, metadata_pieces: pieces, metadata_peers: peers })
            }
            Activity::Layers { have, requests, peers } => {
                Some(Self::Layers { layers_have: have, layers_parts: requests, layers_peers: peers })
            }
            _ => None,
        }
    }
}

/// Why it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reason {
    /// Ctrl-C, or SIGTERM.
    Signal,
    /// `--stop-after`.
    Time,
    /// `--seed=...` was reached.
    Goal,
}
