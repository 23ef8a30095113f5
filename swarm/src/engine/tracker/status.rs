//! What a schedule shows of each tracker.

use super::address::{Family, Unsupported};
use super::announce::{Failure, TrackerId};
use super::walk::Tracker;
use crate::engine::time::Time;

/// One tracker as a user sees it. Counts are the larger ones of the two families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerStatus<'a> {
    /// The tracker.
    pub id: TrackerId,
    /// Its tier, as in the torrent.
    pub tier: u32,
    /// Its address without secrets.
    pub url: String,
    /// What goes on.
    pub state: State<'a>,
    /// Failures in a row.
    pub fails: u32,
    /// When it is asked next, unless another tracker does the work; `None` when that is not planned.
    pub next_announce: Option<Time>,
    /// When it answered last.
    pub answered: Option<Time>,
    /// Peers with all bytes, as it said.
    pub seeders: Option<u32>,
    /// Peers without, as it said.
    pub leechers: Option<u32>,
    /// How many peers it named last.
    pub peers: Option<usize>,
    /// Its warning.
    pub warning: Option<&'a str>,
    /// Why the last announce failed, also when it works over the other family.
    pub error: Option<(Family, &'a Failure)>,
}

/// What goes on with a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
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
    Unsupported(&'a Unsupported),
    /// None of its address families is enabled here.
    NoFamily,
}

impl<'a> TrackerStatus<'a> {
    pub(super) fn of(id: TrackerId, tracker: &'a Tracker, active: bool) -> Self {
        let enabled = || tracker.endpoints.iter().filter(|e| e.enabled);
        let failed = enabled().filter(|e| e.failing());
        let error = failed.filter(|e| !e.absent() || enabled().count() == 1);
        Self {
            id,
            tier: tracker.tier,
            url: match &tracker.url {
                Ok(url) => url.to_string(),
                Err((hidden, _)) => hidden.clone(),
            },
            state: state(tracker),
            fails: enabled().map(|e| e.fails).max().unwrap_or(0),
            next_announce: enabled().filter(|_| active).filter_map(|e| e.due()).min(),
            answered: enabled().filter_map(|e| e.last.answered).max(),
            seeders: enabled().filter_map(|e| e.last.seeders).max(),
            leechers: enabled().filter_map(|e| e.last.leechers).max(),
            peers: enabled().filter_map(|e| e.last.peers).max(),
            warning: enabled().find_map(|e| e.last.warning.as_deref()),
            error: error.filter_map(|e| Some((e.family, e.last.error.as_ref()?))).next(),
        }
    }
}

fn state(tracker: &Tracker) -> State<'_> {
    let enabled = || tracker.endpoints.iter().filter(|e| e.enabled);
    if let Err((_, why)) = &tracker.url {
        State::Unsupported(why)
    } else if enabled().next().is_none() {
        State::NoFamily
    } else if enabled().all(|e| e.never) {
        State::GaveUp
    } else if enabled().any(|e| e.in_flight.is_some()) {
        State::Announcing
    } else if tracker.failing() {
        State::Failing
    } else if enabled().any(|e| e.last.answered.is_some()) {
        State::Working
    } else {
        State::Idle
    }
}
