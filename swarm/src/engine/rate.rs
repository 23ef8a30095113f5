//! How fast bytes flow: a meter over the last four seconds.

use super::time::Time;

/// Bytes per second over a sliding window of 4 s, exact to the half-second, plus a total.
///
/// Inputs are [`add`](Self::add); [`get`](Self::get) may be asked at any time and never changes the meter.
/// Both are O(1). A meter younger than the window divides by its age (at least half a second), so that a new
/// peer is not taken for a slow one.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    buckets: [u64; BUCKETS],
    /// The half-second, counted from the epoch, that `buckets[tick % BUCKETS]` counts.
    tick: u64,
    started: Option<Time>,
    total: u64,
}

const BUCKETS: usize = 8;
const TICK_MICROS: u64 = 500_000;

impl Rate {
    /// A meter that saw nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts bytes that flowed now.
    pub fn add(&mut self, now: Time, bytes: u64) {
        let tick = tick(now).max(self.tick);
        if self.started.is_none() {
            self.started = Some(now);
        }
        let stale = (tick - self.tick).min(BUCKETS as u64);
        for old in 0..stale {
            self.buckets[place(tick - old)] = 0;
        }
        self.tick = tick;
        let bucket = &mut self.buckets[place(tick)];
        *bucket = bucket.saturating_add(bytes);
        self.total = self.total.saturating_add(bytes);
    }

    /// Bytes per second, now.
    pub fn get(&self, now: Time) -> u64 {
        let Some(started) = self.started else { return 0 };
        let tick = tick(now).max(self.tick);
        let oldest = tick.saturating_sub(BUCKETS as u64 - 1);
        let sum: u64 = (oldest..=self.tick).map(|at| self.buckets[place(at)]).fold(0, u64::saturating_add);
        let since = started.as_micros().max(oldest * TICK_MICROS);
        let micros = now.as_micros().saturating_sub(since).max(TICK_MICROS);
        let rate = u128::from(sum) * 1_000_000 / u128::from(micros);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// Every byte ever counted.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Whether nothing flowed within the window, so that nobody needs to look again until something does.
    pub fn is_idle(&self, now: Time) -> bool {
        self.get(now) == 0
    }
}

const fn tick(now: Time) -> u64 {
    now.as_micros() / TICK_MICROS
}

const fn place(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(per_step: u64, step_millis: u64, for_secs: u64) -> (Rate, Time) {
        let mut rate = Rate::new();
        let steps = for_secs * 1000 / step_millis;
        for step in 0..=steps {
            rate.add(Time::from_millis(step * step_millis), per_step);
        }
        (rate, Time::from_secs(for_secs))
    }

    #[test]
    fn a_steady_flow_is_measured_within_a_few_percent() {
        for (per_step, step_millis, for_secs) in [(1000, 10, 1), (1000, 10, 10), (16384, 100, 30), (1, 1, 60)]
        {
            let (rate, now) = steady(per_step, step_millis, for_secs);
            let wanted = per_step * 1000 / step_millis;
            let got = rate.get(now);
            assert!(got.abs_diff(wanted) * 20 <= wanted, "{got} for {wanted}");
        }
    }

    #[test]
    fn silence_brings_the_rate_down_to_nothing_in_four_seconds() {
        let (rate, now) = steady(1000, 10, 10);
        let at = |millis| rate.get(now + std::time::Duration::from_millis(millis));
        assert!(at(2000) < at(0) * 6 / 10);
        assert!(at(2000) > at(0) * 4 / 10);
        assert_eq!(at(4001), 0);
        assert!(rate.is_idle(now + std::time::Duration::from_secs(60)));
        assert_eq!(rate.total(), 1_001_000);
    }

    #[test]
    fn a_long_pause_leaves_nothing_behind() {
        let (mut rate, _) = steady(1000, 10, 10);
        rate.add(Time::from_secs(100), 4000);
        assert!(rate.get(Time::from_secs(100)) <= 1143);
        assert!(rate.get(Time::from_secs(100)) > 900);
    }

    #[test]
    fn one_early_burst_is_not_taken_for_a_huge_rate() {
        let mut rate = Rate::new();
        rate.add(Time::from_millis(1234), 16384);
        assert_eq!(rate.get(Time::from_millis(1235)), 32768);
    }

    #[test]
    fn a_clock_that_steps_back_is_tolerated() {
        let (mut rate, now) = steady(1000, 10, 10);
        rate.add(Time::from_secs(1), 1000);
        assert!(rate.get(Time::from_secs(1)) > 0);
        assert!(rate.get(now) > 0);
    }
}
