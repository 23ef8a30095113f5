//! What a torrent shows of its files and trackers.

use std::time::Duration;

use metainfo::Torrent;
use wire::peer::Bitfield;

use crate::engine::Time;
use crate::engine::tracker::{self, State};

/// One file of a torrent and how much of it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProgress {
    /// Its index in the torrent's layout.
    pub index: usize,
    /// Its path beneath the torrent's folder, joined by `/`.
    pub path: String,
    /// Bytes.
    pub length: u64,
    /// Bytes of it in pieces that were checked and written.
    pub done: u64,
}

/// A tracker of a torrent as a user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerView {
    /// Its tier, as in the torrent.
    pub tier: u32,
    /// Its address without secrets.
    pub url: String,
    /// What goes on.
    pub state: TrackerState,
    /// Failures in a row.
    pub fails: u32,
    /// Until it is asked next; `None` when that is not planned.
    pub next_announce: Option<Duration>,
    /// Since it answered last.
    pub answered: Option<Duration>,
    /// Peers with all bytes, as it said.
    pub seeders: Option<u32>,
    /// Peers without, as it said.
    pub leechers: Option<u32>,
    /// How many peers it named last.
    pub peers: Option<usize>,
    /// Its warning.
    pub warning: Option<String>,
    /// Why the last announce failed.
    pub error: Option<String>,
}

/// What goes on with a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackerState {
    /// Not asked yet, or not needed while another one works.
    Idle,
    /// An announce is under way.
    Announcing,
    /// The last announce was answered.
    Working,
    /// The last announce failed.
    Failing,
    /// It asked never to be asked again (BEP 31).
    GaveUp,
    /// It cannot be spoken to; why.
    Unsupported(String),
    /// None of its address families is enabled here.
    NoFamily,
}

impl TrackerView {
    pub(super) fn of(status: &tracker::TrackerStatus<'_>, now: Time) -> Self {
        Self {
            tier: status.tier,
            url: status.url.clone(),
            state: match status.state {
                State::Idle => TrackerState::Idle,
                State::Announcing => TrackerState::Announcing,
                State::Working => TrackerState::Working,
                State::Failing => TrackerState::Failing,
                State::GaveUp => TrackerState::GaveUp,
                State::Unsupported(why) => TrackerState::Unsupported(why.to_string()),
                State::NoFamily => TrackerState::NoFamily,
            },
            fails: status.fails,
            next_announce: status.next_announce.map(|at| at.since(now)),
            answered: status.answered.map(|at| now.since(at)),
            seeders: status.seeders,
            leechers: status.leechers,
            peers: status.peers,
            warning: status.warning.map(str::to_owned),
            error: status.error.map(|(_, failure)| failure.to_string()),
        }
    }
}

/// The files that are shown: pads are not.
pub(super) fn files(torrent: &Torrent, have: &Bitfield) -> Vec<FileProgress> {
    let files = torrent.layout().files().iter().enumerate().filter(|(_, file)| !file.is_pad());
    files
        .map(|(index, file)| FileProgress {
            index,
            path: file.path.to_string(),
            length: file.length,
            done: done(torrent, have, index),
        })
        .collect()
}

/// Bytes of a file in pieces that are there.
fn done(torrent: &Torrent, have: &Bitfield, index: usize) -> u64 {
    let Some(file) = torrent.layout().files().get(index) else { return 0 };
    let geometry = torrent.geometry();
    let range = torrent.layout().file_pieces(index).into_iter().flatten();
    let there = range.filter(|piece| have.get(*piece)).filter_map(|piece| geometry.piece(piece).ok());
    there
        .map(|piece| {
            let start = geometry.piece_start(piece);
            let end = start + u64::from(geometry.piece_len(piece));
            end.min(file.end()).saturating_sub(start.max(file.offset))
        })
        .sum()
}
