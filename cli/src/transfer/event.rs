//! What programs are told, one JSON object a line. Sizes are in bytes, rates in bytes per second.

use serde::Serialize;
use swarm::engine::TorrentStatus;

/// An event of `download` or `seed`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event<'a> {
    /// It runs, and peers can connect.
    Started {
        info_hash: String,
        name: &'a str,
        total: u64,
        pieces: u32,
        piece_length: u32,
        dir: String,
        /// Addresses that it listens at.
        listen: Vec<String>,
        magnet: String,
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
    /// Its disk is full or gone. It goes on when that changes.
    Paused {
        info_hash: String,
        message: String,
        /// Seconds until it is tried again.
        retry_in: Option<f64>,
    },
    /// It goes on after it was paused.
    Resumed { info_hash: String },
    /// It ended before it was complete, or stopped seeding.
    Stopped {
        info_hash: String,
        #[serde(flatten)]
        state: State,
        complete: bool,
        reason: Reason,
    },
    /// It cannot go on.
    Error {
        info_hash: String,
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
