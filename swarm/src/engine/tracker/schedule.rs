//! When to announce a torrent to which of its trackers, and what to tell (BEP 3, 7, 12, 27, 31).

use std::collections::VecDeque;

use rand::Rng;

use super::address::{Family, TrackerUrl, hide_secrets};
use super::announce::{AnnounceId, Config, Failure, Families, Output, Totals, TrackerId};
use super::endpoint::{Endpoint, InFlight};
use super::status::TrackerStatus;
use super::walk::Tracker;
use super::{AnnounceReply, Event};
use crate::engine::resume::TrackerMemo;
use crate::engine::time::Time;

/// More trackers of one torrent are ignored.
pub const MAX_TRACKERS: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Active,
    Leaving,
}

/// The announces of one torrent.
///
/// Trackers are tried in the order of their tiers, each tier shuffled once; the first that answers is used, and moves
/// to the front of its tier (BEP 12). A tracker that failed rests for a growing time; when that is over it is tried
/// again before those behind it. Each tracker is announced to once per address family (BEP 7), and counts as working
/// if one of the two works.
///
/// - Commands: [`start`](Self::start), [`want_peers`](Self::want_peers), [`announce_now`](Self::announce_now),
///   [`completed`](Self::completed), [`was_complete`](Self::was_complete), [`stop`](Self::stop), [`add`](Self::add),
///   [`recall`](Self::recall).
/// - Inputs: [`handle_begun`](Self::handle_begun), [`handle_reply`](Self::handle_reply),
///   [`handle_failure`](Self::handle_failure), [`handle_timeout`](Self::handle_timeout).
/// - Outputs: [`poll`](Self::poll) until it gives nothing, then wait until [`next_timeout`](Self::next_timeout).
/// - For display: [`status`](Self::status); for the next session: [`memos`](Self::memos).
#[derive(Debug)]
pub struct Schedule {
    pub(super) config: Config,
    pub(super) trackers: Vec<Tracker>,
    /// The order in which they are tried; tiers lie together.
    pub(super) order: Vec<TrackerId>,
    /// The last one that answered.
    pub(super) current: Option<TrackerId>,
    phase: Phase,
    /// The torrent became complete while it ran.
    pub(super) finished: bool,
    /// Some tracker took our `completed`.
    pub(super) told_completed: bool,
    pub(super) base: Option<Totals>,
    /// Nothing is known of the torrent yet.
    pub(super) hurried: bool,
    /// When the last announce began.
    pub(super) asked_at: Option<Time>,
    outputs: VecDeque<Output>,
    pub(super) next_seq: u32,
    /// What an earlier session remembered of trackers that are not there.
    pub(super) recalled: Vec<(TrackerMemo, Option<Time>)>,
}

impl Schedule {
    /// For the trackers of a torrent, in tiers as written. Nothing is announced before [`Self::start`].
    pub fn new<T: AsRef<str>>(config: Config, tiers: &[Vec<T>], rng: &mut impl Rng) -> Self {
        let mut schedule = Self {
            config,
            trackers: Vec::new(),
            order: Vec::new(),
            current: None,
            phase: Phase::Idle,
            finished: false,
            told_completed: false,
            base: None,
            hurried: false,
            asked_at: None,
            outputs: VecDeque::new(),
            next_seq: 0,
            recalled: Vec::new(),
        };
        for (tier, urls) in (0..).zip(tiers) {
            for url in urls {
                schedule.add(tier, url.as_ref());
            }
        }
        schedule.shuffle(rng);
        schedule
    }

    /// Adds a tracker at the end of a tier, and gives its id; `None` if it is there already or there are too many.
    /// One that cannot be spoken to is kept, for display.
    pub fn add(&mut self, tier: u32, url: &str) -> Option<TrackerId> {
        let parsed = TrackerUrl::parse(url).map_err(|why| (hide_secrets(url), why));
        if let Some(id) = self.find(|tracker| tracker.url == parsed) {
            let was_removed = !self.order.contains(&id);
            return was_removed.then(|| self.insert(tier, id));
        }
        if self.trackers.len() >= MAX_TRACKERS {
            return None;
        }
        let id = TrackerId(u32::try_from(self.trackers.len()).ok()?);
        let endpoints = parsed.as_ref().map_or_else(|_| Vec::new(), |url| self.endpoints(url));
        self.trackers.push(Tracker { tier, url: parsed, endpoints });
        self.insert(tier, id);
        self.recall_added(url);
        Some(id)
    }

    fn insert(&mut self, tier: u32, id: TrackerId) -> TrackerId {
        if let Some(tracker) = self.tracker_mut(id) {
            tracker.tier = tier;
        }
        let at = self.order.partition_point(|&other| self.tier(other) <= tier);
        self.order.insert(at, id);
        id
    }

    /// Takes a tracker out: it is told that the torrent left, and not asked any more. Gives its id, if it was there.
    pub fn remove(&mut self, url: &str) -> Option<TrackerId> {
        let parsed = TrackerUrl::parse(url).map_err(|why| (hide_secrets(url), why));
        let id = self.find(|tracker| tracker.url == parsed)?;
        let at = self.order.iter().position(|known| *known == id)?;
        self.order.remove(at);
        self.current = self.current.filter(|current| *current != id);
        self.leave_all(|other| other == id);
        Some(id)
    }

    fn find(&self, is_it: impl Fn(&Tracker) -> bool) -> Option<TrackerId> {
        (0..).map(TrackerId).zip(&self.trackers).find(|(_, tracker)| is_it(tracker)).map(|(id, _)| id)
    }

    /// Begins a session: `started` is due, and what is told as sent and received counts from now.
    pub fn start(&mut self) {
        if self.phase == Phase::Active {
            return;
        }
        self.phase = Phase::Active;
        self.base = None;
        self.asked_at = None;
        self.finished = false;
        self.told_completed = false;
        for tracker in &mut self.trackers {
            tracker.endpoints.iter_mut().for_each(Endpoint::restart);
        }
        self.cancel(|_| true);
    }

    /// The torrent has another name from now on, of which the trackers know nothing yet. What they were told of the old one
    /// runs out there.
    pub fn start_anew(&mut self) {
        if self.phase == Phase::Active {
            self.phase = Phase::Idle;
            self.start();
        }
    }

    /// More peers would help: the next announce comes sooner if the tracker lets it. Say it as often as you like.
    pub fn want_peers(&mut self, now: Time) {
        if self.phase != Phase::Active {
            return;
        }
        let id = self.candidates().find(|&id| !self.tracker(id).failing());
        if let Some(tracker) = id.and_then(|id| self.tracker_mut(id)) {
            tracker.endpoints.iter_mut().for_each(|e| e.want_peers(now));
        }
    }

    /// The user asks for an announce: as soon as each tracker's minimum interval allows, also to those that rest
    /// after a failure.
    pub fn announce_now(&mut self, now: Time) {
        for tracker in &mut self.trackers {
            tracker.endpoints.iter_mut().for_each(|e| e.announce_now(now));
        }
    }

    /// The last byte came and was verified. `completed` is told once, and never for a torrent that started complete.
    pub fn completed(&mut self, now: Time) {
        if self.config.complete || self.finished || self.phase != Phase::Active {
            return;
        }
        self.finished = true;
        self.config.complete = true;
        for tracker in &mut self.trackers {
            tracker.endpoints.iter_mut().for_each(|e| e.tell_completed(now, false));
        }
    }

    /// It turned out that the torrent started complete.
    pub fn was_complete(&mut self) {
        self.config.complete = true;
    }

    /// Nothing is known of the torrent yet, and nothing can be done without peers: until [`Self::set_nature`] each tracker is
    /// waited for only [so long](super::BESIDE) before the next one is asked as well, and the peers of all that answer count.
    pub fn hurry(&mut self) {
        self.hurried = true;
    }

    /// What was not known when it started: whether the torrent is private, and whether all of it is there already, so that
    /// `completed` is never told. A private one keeps the tracker that answered last, and the others are told that it
    /// left: forget whom only they named.
    pub fn set_nature(&mut self, private: bool, complete: bool) {
        self.config.private = private;
        self.config.complete |= complete;
        self.hurried = false;
        let asked = || self.order.iter().copied().find(|&id| self.tracker(id).is_asked());
        if let Some(kept) = self.current.or_else(asked).filter(|_| private) {
            self.leave_all(|id| id != kept);
        }
    }

    /// Ends the session: every tracker that knows of us is told `stopped`, once.
    pub fn stop(&mut self) {
        if self.phase != Phase::Active {
            return;
        }
        self.phase = Phase::Leaving;
        self.leave_all(|_| true);
    }

    pub(super) fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// Whether nothing is left to be told after [`Self::stop`].
    pub fn is_stopped(&self) -> bool {
        let busy = |e: &Endpoint| e.leaving || e.in_flight.is_some();
        self.phase != Phase::Active && !self.trackers.iter().any(|t| t.endpoints.iter().any(busy))
    }

    /// Chooses the families to announce to one tracker over.
    pub fn set_families(&mut self, id: TrackerId, families: Families) {
        if let Some(tracker) = self.tracker_mut(id) {
            for e in &mut tracker.endpoints {
                e.enabled = families.has(e.family);
            }
        }
    }

    /// An announce is on its way: its patience counts from now. Until then it waited for its turn at the driver.
    pub fn handle_begun(&mut self, now: Time, id: AnnounceId) {
        if let Some((endpoint, mut sent)) = self.under_way(id)
            && let Some(patience) = sent.patience.take()
        {
            sent.give_up = now + patience;
            endpoint.in_flight = Some(sent);
        }
    }

    /// An answer came. Returns whether it was still waited for: if not, its peers are not to be used. Poll before using
    /// them, because old peers may have to go first.
    pub fn handle_reply(
        &mut self,
        now: Time,
        id: AnnounceId,
        reply: &AnnounceReply,
        rng: &mut impl Rng,
    ) -> bool {
        let (finished, told) = (self.finished, self.told_completed);
        let Some((endpoint, sent)) = self.under_way(id) else { return false };
        endpoint.answered(now, &sent, reply, rng);
        if sent.event == Event::Stopped {
            return false;
        }
        if finished {
            endpoint.tell_completed(now, told);
        }
        self.told_completed |= sent.event == Event::Completed;
        self.promote(id.tracker);
        if let Some(old) = self.current.replace(id.tracker)
            && self.config.private
            && old != id.tracker
        {
            self.outputs.push_back(Output::DropPeersOf(old));
        }
        true
    }

    /// No answer came, or a refusal.
    pub fn handle_failure(&mut self, now: Time, id: AnnounceId, failure: Failure, rng: &mut impl Rng) {
        if let Some((endpoint, sent)) = self.under_way(id) {
            endpoint.failed(now, &sent, failure, rng);
        }
    }

    /// Gives up what took too long.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut impl Rng) {
        for (id, tracker) in (0..).map(TrackerId).zip(&mut self.trackers) {
            for e in &mut tracker.endpoints {
                if let Some(sent) = e.in_flight.filter(|f| f.give_up <= now) {
                    e.failed(now, &sent, Failure::TimedOut, rng);
                    let id = AnnounceId { tracker: id, family: e.family, seq: sent.seq };
                    self.outputs.push_back(Output::Cancel(id));
                }
            }
        }
    }

    /// The next thing to do, if it is time for one. `totals` are the torrent's numbers now.
    pub fn poll(&mut self, now: Time, totals: &Totals) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        match self.phase {
            Phase::Idle => None,
            Phase::Active => {
                let (id, at) = self.leaving().or_else(|| self.due(now))?;
                self.announce(now, id, at, totals)
            }
            Phase::Leaving => {
                let (id, at) = self.leaving()?;
                self.announce(now, id, at, totals)
            }
        }
    }

    /// Who is to be told `stopped` next.
    fn leaving(&self) -> Option<(TrackerId, usize)> {
        let leaving = |t: &Tracker| t.endpoints.iter().position(|e| e.leaving);
        (0..).map(TrackerId).zip(&self.trackers).find_map(|(id, t)| Some((id, leaving(t)?)))
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll`] again, if nothing else happens.
    pub fn next_timeout(&self) -> Option<Time> {
        let endpoints = self.trackers.iter().flat_map(|t| &t.endpoints);
        let waiting = endpoints.clone().filter_map(|e| e.in_flight).map(|f| f.give_up).min();
        let due = match self.phase {
            Phase::Active | Phase::Leaving if self.leaving().is_some() => Some(Time::ZERO),
            Phase::Idle | Phase::Leaving => None,
            Phase::Active => self.next_due(),
        };
        let queued = (!self.outputs.is_empty()).then_some(Time::ZERO);
        [waiting, due, queued].into_iter().flatten().min()
    }

    /// The tracker that answered last.
    pub fn current(&self) -> Option<TrackerId> {
        self.current
    }

    /// One line per tracker, in the order in which they are tried.
    pub fn status(&self) -> impl Iterator<Item = TrackerStatus<'_>> {
        self.order.iter().map(|&id| TrackerStatus::of(id, self.tracker(id), self.phase == Phase::Active))
    }

    pub(super) fn tracker(&self, id: TrackerId) -> &Tracker {
        &self.trackers[id.index()]
    }

    pub(super) fn tier(&self, id: TrackerId) -> u32 {
        self.tracker(id).tier
    }

    pub(super) fn tracker_mut(&mut self, id: TrackerId) -> Option<&mut Tracker> {
        self.trackers.get_mut(id.index())
    }

    /// Has `stopped` told to those of these trackers that know of us, or may.
    fn leave_all(&mut self, which: impl Fn(TrackerId) -> bool) {
        for (id, tracker) in (0..).map(TrackerId).zip(&mut self.trackers) {
            for e in tracker.endpoints.iter_mut().filter(|_| which(id)) {
                let starting = e.in_flight.is_some_and(|f| f.event == Event::Started && f.has_begun());
                e.leaving = e.usable() && (e.listed.is_some() || starting);
            }
        }
        self.cancel(which);
    }

    fn cancel(&mut self, which: impl Fn(TrackerId) -> bool) {
        for (id, tracker) in (0..).map(TrackerId).zip(&mut self.trackers).filter(|(id, _)| which(*id)) {
            for e in &mut tracker.endpoints {
                if let Some(sent) = e.in_flight.take() {
                    let id = AnnounceId { tracker: id, family: e.family, seq: sent.seq };
                    self.outputs.push_back(Output::Cancel(id));
                }
            }
        }
    }

    fn endpoints(&self, url: &TrackerUrl) -> Vec<Endpoint> {
        let only = url.only_family();
        let possible = |f: &Family| self.config.families.has(*f) && only.is_none_or(|only| only == *f);
        [Family::V4, Family::V6].into_iter().filter(possible).map(Endpoint::new).collect()
    }

    fn under_way(&mut self, id: AnnounceId) -> Option<(&mut Endpoint, InFlight)> {
        let endpoint = self.tracker_mut(id.tracker)?.endpoints.iter_mut().find(|e| e.family == id.family)?;
        let sent = endpoint.in_flight.filter(|sent| sent.seq == id.seq)?;
        Some((endpoint, sent))
    }
}
