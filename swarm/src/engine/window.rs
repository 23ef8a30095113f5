//! The request window of one peer: how many blocks to have on order, and when to lose patience.
//!
//! Too few requests starve a fast link, too many lock blocks up at a slow peer. The window follows
//! rate x delay:
//!
//! ```text
//!            rate stops growing, or          silence for the time-out
//!            an answer takes over 3 s
//!  slow start ----------------------> steady ------------------------> snubbed
//!  +1 per block                       rate x max(3 s, 2 x best delay)   1 block
//!      ^                                 ^                                 |
//!      +-- unchoked ---------------------+---- a block comes: slow start --+
//! ```
//!
//! The best delay ever seen is the path without a queue of our own making, so twice of it keeps even a path
//! slower than 3 s filled and can grow, without the window feeding on the queue that it builds.

use std::time::Duration;

use super::rate::Rate;
use super::time::Time;

/// The size of a block on order, bytes.
const BLOCK: u64 = 16 * 1024;
/// Growth of the rate per round trip that keeps the slow start going, as a fraction of one (1/8).
const GROWTH_DIVISOR: u64 = 8;

/// What bounds a [`Window`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Blocks asked for at once of a peer that nothing is known about.
    pub start: u32,
    /// Fewest blocks on order, unless snubbed.
    pub floor: u32,
    /// Most blocks on order, whatever the peer allows.
    pub ceiling: u32,
    /// How much work to keep at the peer in steady state.
    pub queue_time: Duration,
    /// Patience with a peer that has not answered yet.
    pub first_timeout: Duration,
    /// Bounds of the patience with a peer whose delays are known.
    pub timeout: (Duration, Duration),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            start: 4,
            floor: 2,
            ceiling: 500,
            queue_time: Duration::from_secs(3),
            first_timeout: Duration::from_secs(20),
            timeout: (Duration::from_secs(8), Duration::from_secs(30)),
        }
    }
}

/// The request window of one peer.
///
/// Inputs tell what happened to requests: [`handle_sent`](Self::handle_sent),
/// [`handle_block`](Self::handle_block), [`handle_lost`](Self::handle_lost),
/// [`handle_unchoke`](Self::handle_unchoke), [`handle_peer_queue`](Self::handle_peer_queue),
/// [`handle_throttled`](Self::handle_throttled) and [`handle_timeout`](Self::handle_timeout). Outputs are
/// [`room`](Self::room), [`is_snubbed`](Self::is_snubbed) and [`next_timeout`](Self::next_timeout). All are O(1).
#[derive(Clone, Debug)]
pub struct Window {
    config: Config,
    phase: Phase,
    target: u32,
    outstanding: u32,
    /// Most requests that the peer queues (`reqq` of BEP 10).
    peer_queue: u32,
    rate: Rate,
    delay: Delay,
    /// When a block last came, or the first request went out after a pause: the silence counts from here.
    quiet_since: Time,
    throttled_since: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    SlowStart(Round),
    Steady,
    Snubbed,
}

/// One round trip of the slow start: the blocks that were on order when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    began: Time,
    blocks_left: u32,
    bytes: u64,
    last_rate: u64,
}

impl Window {
    /// The window of a fresh peer.
    pub fn new(config: Config) -> Self {
        Self {
            target: config.start,
            config,
            phase: Phase::SlowStart(Round::NONE),
            outstanding: 0,
            peer_queue: u32::MAX,
            rate: Rate::new(),
            delay: Delay::default(),
            quiet_since: Time::ZERO,
            throttled_since: None,
        }
    }

    /// How many blocks may be on order in all.
    pub fn target(&self) -> u32 {
        match self.phase {
            Phase::Snubbed => 1,
            _ => self.target.clamp(self.config.floor, self.ceiling()),
        }
    }

    /// How many blocks are on order.
    pub const fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// How many more blocks to ask for now.
    pub fn room(&self) -> u32 {
        self.target().saturating_sub(self.outstanding)
    }

    /// Whether the peer sat on our requests for too long and has not delivered since.
    pub const fn is_snubbed(&self) -> bool {
        matches!(self.phase, Phase::Snubbed)
    }

    /// Payload bytes per second that came from the peer.
    pub fn rate(&self, now: Time) -> u64 {
        self.rate.get(now)
    }

    /// Payload bytes that came from the peer, ever.
    pub const fn total(&self) -> u64 {
        self.rate.total()
    }

    /// How long a block takes that is asked for while nothing else is on order; `None` when none ever came.
    pub fn fresh_delay(&self, now: Time) -> Option<Duration> {
        let Delay { best, mean, .. } = self.delay.known()?;
        let micros = BLOCK * 1_000_000 / self.rate.get(now).max(1);
        Some((best + Duration::from_micros(micros)).min(mean))
    }

    /// When a block that was asked for at `asked` should come, and how much later it may well come; `None` when none ever came.
    pub fn due(&self, asked: Time) -> Option<(Time, Duration)> {
        let Delay { mean, deviation, .. } = self.delay.known()?;
        Some((asked + mean, deviation * 4))
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        (self.outstanding > 0 && self.throttled_since.is_none()).then(|| self.quiet_since + self.patience())
    }

    /// The peer said how many requests it queues (`reqq`, BEP 10).
    pub fn handle_peer_queue(&mut self, requests: u32) {
        self.peer_queue = requests.max(1);
    }

    /// The peer lets us ask again: what it can do is found anew. A snub is forgiven only by a block.
    pub fn handle_unchoke(&mut self) {
        if !self.is_snubbed() {
            self.restart();
        }
    }

    /// Requests went out.
    pub fn handle_sent(&mut self, now: Time, blocks: u32) {
        if self.outstanding == 0 {
            self.quiet_since = now;
        }
        self.outstanding = self.outstanding.saturating_add(blocks);
    }

    /// A block on order came in full; `sent` is when its request went out.
    pub fn handle_block(&mut self, now: Time, sent: Time, bytes: u32) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.quiet_since = now;
        self.rate.add(now, u64::from(bytes));
        self.delay.sample(now - sent);
        match self.phase {
            Phase::Snubbed => self.restart(),
            Phase::SlowStart(round) => self.grow(now, round, bytes),
            Phase::Steady => self.settle(now),
        }
    }

    /// The peer lets us ask and rejects what we ask: what it can do is found anew.
    pub fn handle_reject(&mut self) {
        self.handle_unchoke();
    }

    /// Requests ended without a block: rejected, dropped by a choke, cancelled, or taken back after a snub.
    pub fn handle_lost(&mut self, blocks: u32) {
        self.outstanding = self.outstanding.saturating_sub(blocks);
    }

    /// Our own limiter stopped (`true`) or resumed (`false`) reading from this peer. Time between does not count
    /// as silence of the peer.
    pub fn handle_throttled(&mut self, now: Time, throttled: bool) {
        match (self.throttled_since, throttled) {
            (None, true) => self.throttled_since = Some(now),
            (Some(since), false) => {
                self.quiet_since += now - since.max(self.quiet_since);
                self.throttled_since = None;
            }
            _ => {}
        }
    }

    /// Call at [`next_timeout`](Self::next_timeout). `true`: the peer is silent, so offer what is on order with it
    /// to others, and report what is taken back by [`handle_lost`](Self::handle_lost). It is asked for one block at
    /// a time until it delivers, and this fires again for that block.
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        if self.next_timeout().is_none_or(|at| at > now) {
            return false;
        }
        self.phase = Phase::Snubbed;
        self.quiet_since = now;
        true
    }

    fn ceiling(&self) -> u32 {
        self.config.ceiling.min(self.peer_queue).max(self.config.floor)
    }

    fn patience(&self) -> Duration {
        let (least, most) = self.config.timeout;
        self.delay.patience().map_or(self.config.first_timeout, |patience| patience.clamp(least, most))
    }

    fn restart(&mut self) {
        self.target = self.config.start;
        self.phase = Phase::SlowStart(Round::NONE);
    }

    fn grow(&mut self, now: Time, mut round: Round, bytes: u32) {
        if round == Round::NONE {
            round = Round { began: now, blocks_left: self.outstanding, ..Round::NONE };
        } else {
            round.bytes += u64::from(bytes);
            round.blocks_left = round.blocks_left.saturating_sub(1);
        }
        let mut stalled = self.delay.last > self.config.queue_time;
        if round.blocks_left == 0 && round.bytes > 0 {
            let rate = round.rate(now);
            stalled |= rate < round.last_rate + round.last_rate / GROWTH_DIVISOR;
            round = Round { began: now, blocks_left: self.outstanding, bytes: 0, last_rate: rate };
        }
        if stalled {
            self.phase = Phase::Steady;
            self.settle(now);
        } else {
            self.phase = Phase::SlowStart(round);
            self.target = self.target.saturating_add(1).min(self.ceiling());
        }
    }

    /// Moves the target towards rate x delay: up at once, down by one a block, so that a meter that is still
    /// warming up does not shut a window that was earned.
    fn settle(&mut self, now: Time) {
        let cover = self.config.queue_time.max(self.delay.best * 2);
        // The meter is coarse for a peer that needs seconds for a block; what is on order per delay is not.
        let answered = (u128::from(self.outstanding) + 1) * u128::from(BLOCK) * 1_000_000;
        let rate = u128::from(self.rate.get(now)).min(answered / self.delay.mean.as_micros().max(1));
        let bytes = rate * cover.as_micros() / 1_000_000;
        let goal = bytes.div_ceil(u128::from(BLOCK));
        let goal = u32::try_from(goal).unwrap_or(u32::MAX).clamp(self.config.floor, self.ceiling());
        self.target = goal.max(self.target.saturating_sub(1));
    }
}

impl Round {
    const NONE: Self = Self { began: Time::ZERO, blocks_left: 0, bytes: 0, last_rate: 0 };

    fn rate(&self, now: Time) -> u64 {
        let micros = (now - self.began).as_micros().max(1);
        u64::try_from(u128::from(self.bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }
}

/// Delays between request and block, smoothed like the round trip of TCP (RFC 6298).
#[derive(Clone, Copy, Debug, Default)]
struct Delay {
    last: Duration,
    best: Duration,
    mean: Duration,
    deviation: Duration,
    known: bool,
}

impl Delay {
    fn sample(&mut self, delay: Duration) {
        self.last = delay;
        if self.known {
            self.best = self.best.min(delay);
            self.deviation = (self.deviation * 3 + self.mean.abs_diff(delay)) / 4;
            self.mean = (self.mean * 7 + delay) / 8;
        } else {
            *self = Self { last: delay, best: delay, mean: delay, deviation: delay / 2, known: true };
        }
    }

    fn known(&self) -> Option<Self> {
        self.known.then_some(*self)
    }

    fn patience(&self) -> Option<Duration> {
        self.known.then(|| self.mean + self.deviation * 4)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A peer that serves one block after the other at `rate` bytes/s over a path of `rtt`.
    struct Peer {
        rate: u64,
        rtt: Duration,
        queue: VecDeque<(Time, Time)>,
        busy_until: Time,
    }

    impl Peer {
        fn new(rate: u64, rtt: Duration) -> Self {
            Self { rate, rtt, queue: VecDeque::new(), busy_until: Time::ZERO }
        }

        fn fill(&mut self, now: Time, window: &mut Window) {
            let room = window.room();
            window.handle_sent(now, room);
            for _ in 0..room {
                let start = self.busy_until.max(now + self.rtt / 2);
                self.busy_until = start + Duration::from_micros(BLOCK * 1_000_000 / self.rate);
                self.queue.push_back((now, self.busy_until + self.rtt / 2));
            }
        }

        /// Runs until `end`; gives back bytes delivered.
        fn run(&mut self, window: &mut Window, from: Time, end: Time) -> u64 {
            let before = window.total();
            self.fill(from, window);
            while let Some((sent, at)) = self.queue.front().copied()
                && at <= end
            {
                self.queue.pop_front();
                assert!(!window.handle_timeout(at), "snubbed a peer that delivers");
                window.handle_block(at, sent, BLOCK as u32);
                self.fill(at, window);
            }
            window.total() - before
        }
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn links_of_every_speed_are_used_in_full_and_nobody_hoards() {
        let cases = [
            // bytes/s, round trip, least share of the link used between 5 s and 35 s in percent
            (2_000, millis(50), 90),
            (10_000, millis(200), 95),
            (100_000, millis(100), 95),
            (1_000_000, millis(300), 95),
            (1_000_000, millis(2000), 95),
            (10_000_000, millis(100), 95),
            (60_000_000, millis(100), 95),
            (1_000_000_000, Duration::from_micros(100), 95),
        ];
        for (rate, rtt, percent) in cases {
            let mut window = Window::new(Config::default());
            let mut peer = Peer::new(rate, rtt);
            let (warm, end) = (Time::from_secs(25), Time::from_secs(85));
            peer.run(&mut window, Time::ZERO, warm);
            let got = peer.run(&mut window, warm, end);
            let could = rate * 60;
            assert!(got * 100 + 2 * BLOCK * 100 >= could * percent, "{rate} B/s, {rtt:?}: {got} of {could}");
            let hoard = u64::from(window.target()) * BLOCK;
            let few_seconds = rate * 5 + rate * rtt.as_millis() as u64 * 2 / 1000 + 2 * BLOCK;
            assert!(hoard <= few_seconds, "{rate} B/s, {rtt:?}: {hoard} bytes on order");
        }
    }

    #[test]
    fn a_gigabyte_per_second_is_reached_within_milliseconds() {
        let mut window = Window::new(Config::default());
        let mut peer = Peer::new(1_000_000_000, Duration::from_micros(100));
        peer.run(&mut window, Time::ZERO, Time::from_millis(5));
        assert!(window.target() >= 300, "{}", window.target());
        let got = peer.run(&mut window, Time::from_millis(5), Time::from_millis(105));
        assert!(got > 95_000_000, "{got}");
    }

    #[test]
    fn the_peer_queue_bounds_the_window() {
        for (reqq, wanted) in [(1, 2), (50, 50), (100_000, 500)] {
            let mut window = Window::new(Config::default());
            window.handle_peer_queue(reqq);
            Peer::new(1_000_000_000, millis(1)).run(&mut window, Time::ZERO, Time::from_secs(2));
            assert_eq!(window.target(), wanted, "reqq {reqq}");
        }
    }

    #[test]
    fn a_peer_that_becomes_slow_gets_few_requests() {
        let mut window = Window::new(Config::default());
        let mut peer = Peer::new(1_000_000, millis(20));
        peer.run(&mut window, Time::ZERO, Time::from_secs(10));
        assert!(window.target() >= 150, "{}", window.target());
        peer.rate = 50_000;
        peer.run(&mut window, Time::from_secs(10), Time::from_secs(120));
        assert!(window.target() <= 12, "{}", window.target());
    }

    #[test]
    fn silence_snubs_and_a_block_forgives() {
        let mut window = Window::new(Config::default());
        window.handle_sent(Time::ZERO, 4);
        assert_eq!(window.next_timeout(), Some(Time::from_secs(20)));
        assert!(!window.handle_timeout(Time::from_secs(19)));
        assert!(window.handle_timeout(Time::from_secs(20)));
        assert!(window.is_snubbed());
        assert_eq!((window.target(), window.room()), (1, 0));
        window.handle_lost(4);
        assert_eq!((window.room(), window.next_timeout()), (1, None));
        window.handle_unchoke();
        assert_eq!(window.target(), 1, "an unchoke alone is no delivery");
        window.handle_sent(Time::from_secs(21), 1);
        assert!(window.handle_timeout(Time::from_secs(41)), "and it is asked again and again");
        window.handle_block(Time::from_secs(42), Time::from_secs(21), BLOCK as u32);
        assert!(!window.is_snubbed());
        assert_eq!(window.room(), 4);
    }

    #[test]
    fn patience_shrinks_with_a_steady_peer_and_stays_within_its_bounds() {
        let mut window = Window::new(Config::default());
        Peer::new(1_000_000, millis(20)).run(&mut window, Time::ZERO, Time::from_secs(10));
        let quiet = window.quiet_since;
        let patience = window.next_timeout().expect("blocks are on order") - quiet;
        assert_eq!(patience, Duration::from_secs(8));
        let mut window = Window::new(Config::default());
        Peer::new(500, millis(20)).run(&mut window, Time::ZERO, Time::from_secs(2));
        window.handle_block(Time::from_secs(19), Time::ZERO, BLOCK as u32);
        assert!(window.patience() <= Duration::from_secs(30));
    }

    #[test]
    fn time_under_our_own_limit_is_not_silence() {
        let mut window = Window::new(Config::default());
        window.handle_sent(Time::ZERO, 4);
        window.handle_throttled(Time::from_secs(5), true);
        assert_eq!(window.next_timeout(), None);
        assert!(!window.handle_timeout(Time::from_secs(500)));
        window.handle_throttled(Time::from_secs(505), false);
        assert_eq!(window.next_timeout(), Some(Time::from_secs(520)));
        window.handle_throttled(Time::from_secs(506), true);
        window.handle_block(Time::from_secs(507), Time::ZERO, BLOCK as u32);
        window.handle_throttled(Time::from_secs(510), false);
        assert_eq!(window.quiet_since, Time::from_secs(510));
    }

    #[test]
    fn an_idle_peer_has_no_deadline() {
        let mut window = Window::new(Config::default());
        assert_eq!(window.next_timeout(), None);
        window.handle_sent(Time::ZERO, 1);
        window.handle_block(Time::from_secs(1), Time::ZERO, BLOCK as u32);
        assert_eq!(window.next_timeout(), None);
        window.handle_sent(Time::from_secs(100), 1);
        assert!(window.next_timeout() >= Some(Time::from_secs(108)));
    }
}
