//! One tracker over one address family: what it was told, what it answered, and when it may be asked again.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::address::Family;
use super::announce::Failure;
use super::{AnnounceReply, Event, RetryIn};
use crate::engine::time::Time;

/// The regular interval stays between these, whatever the tracker says.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));
/// The interval when the tracker names none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1800);
/// No tracker is asked sooner than this after an answer, except to tell an event.
const LEAST_GAP: Duration = Duration::from_secs(5);
/// The gap before the user may ask again, where the tracker names no minimum.
const MANUAL_GAP: Duration = Duration::from_secs(60);
/// The gap before a want of peers may ask again, where the tracker names no minimum.
const EAGER_GAP: Duration = Duration::from_secs(300);
/// The first wait after a failure to reach the tracker, doubled by each further one.
const BACK_OFF: Duration = Duration::from_secs(15);
/// The first wait after the tracker itself refused.
const BACK_OFF_REFUSED: Duration = Duration::from_secs(60);
/// No wait after a failure is longer, except by BEP 31.
const BACK_OFF_MAX: Duration = Duration::from_secs(3600);
/// When to look again whether the tracker has an address of this family.
const ABSENT: Duration = Duration::from_secs(3600);

/// An announce that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) seq: u32,
    pub(super) event: Event,
    pub(super) left: u64,
    pub(super) give_up: Time,
    /// What it is given from its beginning on; `None` when it has begun.
    pub(super) patience: Option<Duration>,
}

impl InFlight {
    /// Whether its tracker may have heard of it.
    pub(super) fn has_begun(&self) -> bool {
        self.patience.is_none()
    }
}

/// See the module's text. `next` is when the next regular announce is due, `floor` and `eager_floor` are the earliest
/// for one that was asked for by the user and by a want of peers.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) family: Family,
    pub(super) enabled: bool,
    pub(super) in_flight: Option<InFlight>,
    /// The tracker took our `started`; holds whether bytes were missing then.
    pub(super) listed: Option<bool>,
    /// A `stopped` is to be sent.
    pub(super) leaving: bool,
    completed: bool,
    pub(super) fails: u32,
    absent: bool,
    pub(super) never: bool,
    pub(super) next: Time,
    floor: Time,
    eager_floor: Time,
    /// Until then the tracker itself wants to be left alone: by a minimum interval that it named, or by BEP 31.
    wish: Time,
    /// When the session may begin here, by what an earlier one heard.
    begins: Time,
    /// It worked in an earlier session.
    worked: bool,
    /// The next announce was brought forward by a want of peers.
    pulled: bool,
    /// How many announces in a row were; each doubles the gap to the next one.
    eager: u32,
    pub(super) id_from_tracker: Option<Box<[u8]>>,
    pub(super) last: Last,
}

/// What the last answer said, for display.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    pub(super) seeders: Option<u32>,
    pub(super) leechers: Option<u32>,
    pub(super) peers: Option<usize>,
    pub(super) warning: Option<String>,
    pub(super) error: Option<Failure>,
    pub(super) answered: Option<Time>,
}

impl Endpoint {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            enabled: true,
            in_flight: None,
            listed: None,
            leaving: false,
            completed: false,
            fails: 0,
            absent: false,
            never: false,
            next: Time::ZERO,
            floor: Time::ZERO,
            eager_floor: Time::ZERO,
            wish: Time::ZERO,
            begins: Time::ZERO,
            worked: false,
            pulled: false,
            eager: 0,
            id_from_tracker: None,
            last: Last::default(),
        }
    }

    /// A new session with this tracker: it is due at once, unless it asked for a pause.
    pub(super) fn restart(&mut self) {
        self.listed = None;
        self.leaving = false;
        self.completed = false;
        self.next = if self.fails == 0 { self.begins } else { self.next };
    }

    /// Takes back what an earlier session remembered.
    pub(super) fn recall(&mut self, until: Option<Time>, id: Option<&[u8]>, worked: bool) {
        if let Some(until) = until {
            self.begins = until;
            self.next = self.next.max(until);
            self.floor = self.floor.max(until);
            self.eager_floor = self.eager_floor.max(until);
        }
        self.id_from_tracker = id.map(Into::into);
        self.worked = worked;
    }

    /// Until when a session that begins anew is to leave the tracker alone. One that was told of our leaving need not be.
    pub(super) fn to_be_left_alone(&self, is_left: bool) -> Option<Time> {
        let is_refused = self.fails > 0;
        let is_told = self.listed.is_some() && !is_left;
        let is_asked_to_wait = self.in_flight.is_none_or(|sent| sent.event != Event::Stopped);
        ((is_told || is_refused) && is_asked_to_wait)
            .then_some(self.wish)
            .or(Some(self.begins).filter(|_| self.last.answered.is_none()))
    }

    /// Whether it answered the last time it was asked, in this session or an earlier one.
    pub(super) fn worked(&self) -> bool {
        self.fails == 0 && (self.last.answered.is_some() || self.worked)
    }

    /// Whether an announce could be sent at all.
    pub(super) fn usable(&self) -> bool {
        self.enabled && !self.never
    }

    /// Whether the last try failed, so that another tracker is to be tried while this one rests.
    pub(super) fn failing(&self) -> bool {
        self.in_flight.is_none() && (self.fails > 0 || self.absent || !self.usable())
    }

    /// Whether the tracker has no address of this family.
    pub(super) fn absent(&self) -> bool {
        self.absent
    }

    /// Whether `completed` is still to be told: the tracker knew us with bytes missing, or nobody was told yet.
    pub(super) fn owes_completed(&self, told_anyone: bool) -> bool {
        !self.completed && self.listed.is_some_and(|had_left| had_left || !told_anyone)
    }

    /// Makes `completed` due at once, if it is owed and the tracker works.
    pub(super) fn tell_completed(&mut self, now: Time, told_anyone: bool) {
        if !self.failing() && self.owes_completed(told_anyone) {
            self.next = now;
        }
    }

    /// When it may be asked next, if nothing is under way.
    pub(super) fn due(&self) -> Option<Time> {
        (self.usable() && self.in_flight.is_none()).then_some(self.next)
    }

    /// Brings the next announce forward because peers are wanted. A failing tracker keeps its rest.
    pub(super) fn want_peers(&mut self, now: Time) {
        let sooner = self.eager_floor.max(now);
        if self.in_flight.is_none() && !self.failing() && sooner < self.next {
            self.next = sooner;
            self.pulled = true;
        }
    }

    /// Brings the next announce forward because the user asks, as far as the tracker allows.
    pub(super) fn announce_now(&mut self, now: Time) {
        self.next = self.next.min(self.floor.max(now));
    }

    /// Takes an answer to the announce under way.
    pub(super) fn answered(&mut self, now: Time, sent: &InFlight, reply: &AnnounceReply, rng: &mut impl Rng) {
        match sent.event {
            Event::Started => self.listed = Some(sent.left > 0),
            Event::Completed => self.completed = true,
            Event::Stopped => self.listed = None,
            _ => {}
        }
        self.in_flight = None;
        self.begins = Time::ZERO;
        self.fails = 0;
        self.absent = false;
        self.plan(now, reply, rng);
        if let Some(id) = &reply.tracker_id {
            self.id_from_tracker = Some(id.clone().into_boxed_slice());
        }
        self.last = Last {
            seeders: reply.seeders,
            leechers: reply.leechers,
            peers: Some(reply.peers.len()),
            warning: reply.warning.as_deref().map(plain_text),
            error: None,
            answered: Some(now),
        };
    }

    /// Sets the times of the next announce from the tracker's wishes.
    fn plan(&mut self, now: Time, reply: &AnnounceReply, rng: &mut impl Rng) {
        let seconds = |s: Option<u32>| s.filter(|&s| s > 0).map(|s| Duration::from_secs(s.into()));
        let asked = seconds(reply.interval);
        let least = seconds(reply.min_interval).map(|min| min.clamp(LEAST_GAP, INTERVAL.1));
        let interval = match reply.interval {
            None => DEFAULT_INTERVAL,
            Some(_) => asked.unwrap_or_default(),
        };
        let interval = interval.clamp(INTERVAL.0, INTERVAL.1).max(least.unwrap_or_default());
        let gap = |default: Duration| {
            least.unwrap_or_else(|| default.min(asked.unwrap_or(default)).clamp(LEAST_GAP, interval))
        };
        self.eager = if std::mem::take(&mut self.pulled) { self.eager.saturating_add(1) } else { 0 };
        let eager_gap = gap(EAGER_GAP).saturating_mul(1 << self.eager.min(8)).min(interval);
        self.wish = least.map_or(Time::ZERO, |least| now + least);
        self.floor = now + gap(MANUAL_GAP);
        self.eager_floor = now + eager_gap;
        self.next = now + interval + jitter(interval / 16, rng);
    }

    /// Takes the end of an announce without an answer.
    pub(super) fn failed(&mut self, now: Time, sent: &InFlight, failure: Failure, rng: &mut impl Rng) {
        self.in_flight = None;
        if sent.event == Event::Stopped {
            self.listed = None;
        }
        self.absent = failure == Failure::NoAddress;
        self.fails = if self.absent { 0 } else { self.fails.saturating_add(1) };
        let (wait, floor) = match &failure {
            Failure::NoAddress => (ABSENT, MANUAL_GAP),
            Failure::Refused(refusal) => {
                let asked = match &refusal.retry_in {
                    Some(RetryIn::Minutes(minutes)) => {
                        Duration::from_secs(u64::from(*minutes) * 60).min(INTERVAL.1)
                    }
                    _ => Duration::ZERO,
                };
                self.wish = now + asked;
                self.never = refusal.retry_in == Some(RetryIn::Never);
                (back_off(BACK_OFF_REFUSED, self.fails, rng).max(asked), asked.max(MANUAL_GAP))
            }
            _ => (back_off(BACK_OFF, self.fails, rng), LEAST_GAP),
        };
        self.next = now + wait;
        self.floor = now + floor;
        self.last.error = Some(failure.cleaned());
    }
}

/// Doubles with each failure in a row; spread by a quarter both ways, so that clients do not come back together.
fn back_off(first: Duration, fails: u32, rng: &mut impl Rng) -> Duration {
    let wait = first.saturating_mul(1 << fails.saturating_sub(1).min(10)).min(BACK_OFF_MAX);
    wait - wait / 4 + jitter(wait / 2, rng)
}

fn jitter(most: Duration, rng: &mut impl Rng) -> Duration {
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rng.random_range(0..=most))
}

/// A tracker's text as one line of at most 300 characters without control characters.
pub(super) fn plain_text(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(300).collect::<String>().trim().to_owned()
}
