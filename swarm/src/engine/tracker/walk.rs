//! The walk over the tiers: which tracker's turn it is (BEP 12, 27).

use std::time::Duration;

use rand::{Rng, RngExt};

use super::Event;
use super::address::{TrackerUrl, Unsupported};
use super::announce::{Announce, AnnounceId, Output, Totals, TrackerId};
use super::endpoint::{Endpoint, InFlight};
use super::schedule::Schedule;
use crate::engine::time::Time;

/// How long an announce may take when no other tracker is left to try.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take while others are.
pub const HURRY: Duration = Duration::from_secs(20);
/// How long a tracker is waited for in a hurry before the next one is asked beside it.
pub const BESIDE: Duration = Duration::from_millis(2500);
/// How long `stopped` may take: nobody waits for it.
pub const PATIENCE_STOPPED: Duration = Duration::from_secs(5);
/// How long it may wait for its turn at the driver before it begins, which is nothing that its tracker can help.
pub const BACKLOG: Duration = Duration::from_secs(600);
/// Failures in a row before a private torrent leaves its tracker, since that costs all its peers (BEP 27).
pub const PRIVATE_LOYALTY: u32 = 3;

#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) tier: u32,
    pub(super) url: Result<TrackerUrl, (String, Unsupported)>,
    pub(super) endpoints: Vec<Endpoint>,
}

impl Tracker {
    /// Whether it could be announced to at all.
    pub(super) fn usable(&self) -> bool {
        self.endpoints.iter().any(Endpoint::usable)
    }

    /// Whether it rests after a failure over every family, so that the next one has its turn.
    pub(super) fn failing(&self) -> bool {
        self.endpoints.iter().all(Endpoint::failing)
    }

    pub(super) fn is_asked(&self) -> bool {
        self.endpoints.iter().any(|e| e.in_flight.is_some())
    }

    /// Failures in a row, of the family that works best.
    fn fails(&self) -> u32 {
        let usable = self.endpoints.iter().filter(|e| e.usable() && !e.absent());
        usable.map(|e| e.fails).min().unwrap_or(PRIVATE_LOYALTY)
    }
}

impl Schedule {
    /// The trackers to look at, in order. While some are being asked, no other is: an older one whose rest is over has
    /// to wait for the outcome. A private torrent that has a tracker looks at no other until it failed for good.
    pub(super) fn candidates(&self) -> impl Iterator<Item = TrackerId> {
        let is_asking = self.order.iter().any(|&id| self.tracker(id).is_asked());
        let loyal = self.current.filter(|&id| {
            self.config.private && self.tracker(id).usable() && self.tracker(id).fails() < PRIVATE_LOYALTY
        });
        let is_looked_at = move |id: TrackerId| match loyal {
            _ if is_asking => self.tracker(id).is_asked(),
            Some(only) => id == only,
            None => true,
        };
        self.order.iter().copied().filter(move |&id| is_looked_at(id) && self.tracker(id).usable())
    }

    /// In a hurry, or while nothing that is to be asked has its turn: the next tracker that was not asked yet, and when it is,
    /// whatever became of those before it.
    fn beside(&self) -> Option<(TrackerId, usize, Time)> {
        let since = self.asked_at.filter(|_| !self.config.private)?;
        let pace = match self.hurried {
            true => BESIDE,
            false if self.is_stuck() => HURRY,
            false => return None,
        };
        let is_new = |id: &TrackerId| {
            let tracker = self.tracker(*id);
            let heard = tracker.endpoints.iter().any(|e| e.listed.is_some());
            tracker.usable() && !tracker.is_asked() && !tracker.failing() && !heard
        };
        let id = self.order.iter().copied().find(is_new)?;
        let due = self.tracker(id).endpoints.iter().enumerate().filter_map(|(at, e)| Some((e.due()?, at)));
        let (due, at) = due.min()?;
        Some((id, at, due.max(since + pace)))
    }

    /// Whether no tracker works, and those to be asked all wait for their turn at the driver.
    fn is_stuck(&self) -> bool {
        let endpoints = || self.order.iter().flat_map(|&id| &self.tracker(id).endpoints);
        let mut under_way = endpoints().filter_map(|e| e.in_flight).peekable();
        let works = endpoints().any(|e| e.listed.is_some() && e.fails == 0);
        !works && under_way.peek().is_some() && !under_way.any(|sent| sent.has_begun())
    }

    /// The announce that is due now: of the first tracker that does not rest after a failure.
    pub(super) fn due(&self, now: Time) -> Option<(TrackerId, usize)> {
        for id in self.candidates() {
            let tracker = self.tracker(id);
            if let Some(at) = tracker.endpoints.iter().position(|e| e.due().is_some_and(|due| due <= now)) {
                return Some((id, at));
            }
            if !tracker.failing() && !tracker.is_asked() {
                break;
            }
        }
        self.beside().filter(|(.., due)| *due <= now).map(|(id, at, _)| (id, at))
    }

    /// When [`Self::due`] gives something, if nothing changes.
    pub(super) fn next_due(&self) -> Option<Time> {
        let mut next = self.beside().map(|(.., due)| due);
        for id in self.candidates() {
            let tracker = self.tracker(id);
            next = next.into_iter().chain(tracker.endpoints.iter().filter_map(Endpoint::due)).min();
            if !tracker.failing() && !tracker.is_asked() {
                break;
            }
        }
        next
    }

    pub(super) fn announce(
        &mut self,
        now: Time,
        id: TrackerId,
        at: usize,
        totals: &Totals,
    ) -> Option<Output> {
        let patience = self.patience(id);
        let (finished, told) = (self.finished, self.told_completed);
        let (key, seq) = (self.config.key, self.next_seq);
        self.next_seq = self.next_seq.wrapping_add(1);
        let base = *self.base.get_or_insert(*totals);
        self.asked_at = Some(now);
        let tracker = self.tracker_mut(id)?;
        let url = tracker.url.as_ref().ok()?.clone();
        let e = tracker.endpoints.get_mut(at)?;
        let event = if std::mem::take(&mut e.leaving) {
            Event::Stopped
        } else if e.listed.is_none() {
            Event::Started
        } else if finished && e.owes_completed(told) {
            Event::Completed
        } else if totals.partial_seed {
            // BEP 21 wants it in every announce, but a tracker has to learn who is new, too.
            Event::Paused
        } else {
            Event::None
        };
        let (patience, num_want) = match event {
            Event::Stopped => (PATIENCE_STOPPED, 0),
            _ => (patience, totals.num_want),
        };
        let give_up = now + BACKLOG;
        e.in_flight = Some(InFlight { seq, event, left: totals.left, give_up, patience: Some(patience) });
        Some(Output::Announce(Announce {
            id: AnnounceId { tracker: id, family: e.family, seq },
            url,
            event,
            uploaded: totals.uploaded.saturating_sub(base.uploaded),
            downloaded: totals.downloaded.saturating_sub(base.downloaded),
            left: totals.left,
            num_want,
            key,
            tracker_id: e.id_from_tracker.as_deref().map(<[u8]>::to_vec),
            patience,
        }))
    }

    /// A tracker has less time while another one could be tried instead.
    fn patience(&self, id: TrackerId) -> Duration {
        let other = |o: &TrackerId| *o != id && self.tracker(*o).usable() && !self.tracker(*o).failing();
        if !self.config.private && self.order.iter().any(other) { HURRY } else { PATIENCE }
    }

    /// Moves a tracker to the front of its tier.
    pub(super) fn promote(&mut self, id: TrackerId) {
        let tier = self.tier(id);
        let front = self.order.iter().position(|&o| self.tier(o) == tier);
        let at = self.order.iter().position(|&o| o == id);
        if let (Some(front), Some(at)) = (front, at)
            && let Some(span) = self.order.get_mut(front..=at)
        {
            span.rotate_right(1);
        }
    }

    pub(super) fn shuffle(&mut self, rng: &mut impl Rng) {
        let trackers = &self.trackers;
        let tier = |id: &TrackerId| trackers[id.index()].tier;
        for span in self.order.chunk_by_mut(|a, b| tier(a) == tier(b)) {
            for last in (1..span.len()).rev() {
                span.swap(last, rng.random_range(0..=last));
            }
        }
    }
}
