//! What survives a restart: when each tracker may be asked again, what it wants to be told, and whether it worked.
//!
//! A session begins with `started` to the tracker whose turn it is, at once, as others do too. There is one exception: where the
//! session before was not told to have ended (it was killed) and the tracker had named a minimum interval, or a time to
//! retry after, that time is kept, so that a program that starts again and again is no burden. The peers of before are
//! known meanwhile.

use std::time::Duration;

use super::endpoint::Endpoint;
use super::schedule::Schedule;
use super::walk::Tracker;
use crate::engine::resume::TrackerMemo;
use crate::engine::time::Time;

/// No tracker is left alone for longer than this for what an earlier session heard: clocks are set back at times.
pub const MAX_RECALLED: Duration = Duration::from_secs(30 * 60);

impl Schedule {
    /// What to remember of the trackers, in the order in which they are tried. Those that cannot be spoken to are left out.
    pub fn memos(&self, now: Time) -> Vec<TrackerMemo> {
        let is_left = !self.is_active();
        self.order.iter().filter_map(|&id| memo(self.tracker(id), now, is_left)).collect()
    }

    /// Takes back what an earlier session remembered: the trackers that worked go first in their tiers. Of trackers that are
    /// not there it is kept until they are added.
    pub fn recall(&mut self, now: Time, memos: &[TrackerMemo]) {
        let wanted_at = |memo: &TrackerMemo| memo.next_in.map(|wait| now + wait.min(MAX_RECALLED));
        self.recalled = memos.iter().map(|memo| (memo.clone(), wanted_at(memo))).collect();
        // The first one comes last, and so to the front.
        for (memo, at) in std::mem::take(&mut self.recalled).into_iter().rev() {
            if !self.recall_one(&memo, at) {
                self.recalled.push((memo, at));
            }
        }
    }

    /// What was remembered of a tracker that was added now.
    pub(super) fn recall_added(&mut self, url: &str) {
        if let Some(at) = self.recalled.iter().position(|(memo, _)| memo.url == url) {
            let (memo, at) = self.recalled.swap_remove(at);
            self.recall_one(&memo, at);
        }
    }

    /// Whether the tracker is there.
    fn recall_one(&mut self, memo: &TrackerMemo, at: Option<Time>) -> bool {
        let is_it = |tracker: &Tracker| tracker.url.as_ref().is_ok_and(|url| url.as_str() == memo.url);
        let found = (0..).map(super::TrackerId).zip(&mut self.trackers).find(|(_, tracker)| is_it(tracker));
        let Some((id, tracker)) = found else { return false };
        for endpoint in &mut tracker.endpoints {
            endpoint.recall(at, memo.tracker_id.as_deref(), memo.works);
        }
        if memo.works {
            self.promote(id);
        }
        true
    }
}

fn memo(tracker: &Tracker, now: Time, is_left: bool) -> Option<TrackerMemo> {
    let url = tracker.url.as_ref().ok()?.as_str().to_owned();
    let enabled = || tracker.endpoints.iter().filter(|e| e.enabled);
    let until = enabled().filter_map(|e| e.to_be_left_alone(is_left)).max();
    Some(TrackerMemo {
        url,
        tracker_id: enabled().find_map(|e| e.id_from_tracker.as_deref()).map(<[u8]>::to_vec),
        next_in: until.filter(|until| *until > now).map(|until| until - now),
        works: enabled().any(Endpoint::worked),
    })
}
