//! One token bucket.

use crate::engine::time::Time;

/// Smallest burst, so that a slow limit still passes whole requests.
const MIN_BURST: u64 = 4096;
/// Bounds of what one turn gives.
const MIN_QUANTUM: u64 = 1024;
const MAX_QUANTUM: u64 = 16 * 1024;
/// Faster than any link; keeps the arithmetic inside 64 bits.
const MAX_RATE: u64 = 1_000_000_000_000;
const MICROS: i64 = 1_000_000;

/// Tokens of one rate, counted in millionths of a byte so that no fraction is lost between refills.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    rate: u64,
    level: i64,
    at: Time,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(now: Time, rate: u64) -> Self {
        let rate = rate.min(MAX_RATE);
        Self { rate, level: signed(burst(rate)) * MICROS, at: now }
    }

    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    pub(super) fn set_rate(&mut self, now: Time, rate: u64) {
        self.refill(now);
        self.rate = rate.min(MAX_RATE);
        self.level = self.level.min(signed(burst(self.rate)) * MICROS);
    }

    /// Adds what time brought.
    pub(super) fn refill(&mut self, now: Time) {
        let gain = u128::from(self.rate) * (now - self.at).as_micros();
        self.at = self.at.max(now);
        let full = signed(burst(self.rate)) * MICROS;
        let gain = i64::try_from(gain).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(gain).min(full);
    }

    /// Whole bytes that may be granted.
    pub(super) fn available(&self) -> u64 {
        u64::try_from(self.level / MICROS).unwrap_or(0)
    }

    /// Takes bytes, below zero if it must be, but never deeper than one second of the rate.
    pub(super) fn take(&mut self, bytes: u64) {
        let floor = -signed(self.rate.max(MIN_BURST)) * MICROS;
        let bytes = signed(bytes.min(2 * MAX_RATE)) * MICROS;
        self.level = self.level.saturating_sub(bytes).max(floor.min(self.level));
    }

    /// Gives bytes back that were taken but not used.
    pub(super) fn give(&mut self, bytes: u64) {
        let full = signed(burst(self.rate)) * MICROS;
        self.level = self.level.saturating_add(signed(bytes.min(MAX_RATE)) * MICROS).min(full);
    }

    /// The most that one turn gives, and what must be there before a turn is worth a wake-up.
    pub(super) fn quantum(&self) -> u64 {
        quantum(self.rate)
    }

    /// Whether a turn's worth is there.
    pub(super) fn is_ready(&self) -> bool {
        self.rate > 0 && self.available() >= self.quantum()
    }

    /// When a turn's worth will be there; [`Time::MAX`] at rate zero.
    pub(super) fn ready_at(&self) -> Time {
        let missing = signed(self.quantum()) * MICROS - self.level;
        match (u64::try_from(missing), self.rate) {
            (_, 0) => Time::MAX,
            (Err(_), _) => self.at,
            (Ok(missing), rate) => {
                Time::from_micros(self.at.as_micros().saturating_add(missing.div_ceil(rate)))
            }
        }
    }
}

/// Bytes that may pass at once after a pause: an eighth of a second.
pub(super) fn burst(rate: u64) -> u64 {
    if rate == 0 { 0 } else { (rate / 8).max(MIN_BURST) }
}

fn quantum(rate: u64) -> u64 {
    // Above 16 MB/s the turn grows with the rate, so that the number of turns per second does not.
    (rate / 16).clamp(MIN_QUANTUM, MAX_QUANTUM.max(rate / 1000))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX / MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_at_its_rate_up_to_its_burst() {
        for rate in [1, 999, 1000, 65_537, 10_000_000, MAX_RATE] {
            let mut bucket = Bucket::new(Time::ZERO, rate);
            assert_eq!(bucket.available(), burst(rate));
            bucket.take(burst(rate));
            assert_eq!(bucket.available(), 0);
            let ready = bucket.ready_at();
            bucket.refill(Time::from_micros(ready.as_micros() - 1));
            assert!(!bucket.is_ready(), "{rate}");
            bucket.refill(ready);
            assert!(bucket.is_ready(), "{rate}");
            bucket.refill(Time::MAX);
            assert_eq!(bucket.available(), burst(rate));
            assert!(quantum(rate) <= burst(rate));
        }
    }

    #[test]
    fn debt_is_bounded_by_a_second() {
        let mut bucket = Bucket::new(Time::ZERO, 100_000);
        bucket.take(u64::MAX);
        bucket.refill(Time::from_millis(1000));
        assert_eq!(bucket.available(), 0);
        bucket.refill(Time::from_millis(1100));
        assert_eq!(bucket.available(), 10_000);
    }

    #[test]
    fn fractions_are_not_lost() {
        let mut bucket = Bucket::new(Time::ZERO, 3);
        bucket.take(burst(3));
        for micros in 1..=2_000_000 {
            bucket.refill(Time::from_micros(micros));
        }
        assert_eq!(bucket.available(), 6);
    }

    #[test]
    fn a_rate_of_zero_passes_nothing_ever() {
        let mut bucket = Bucket::new(Time::ZERO, 0);
        bucket.refill(Time::from_secs(1_000_000));
        assert_eq!((bucket.available(), bucket.is_ready(), bucket.ready_at()), (0, false, Time::MAX));
    }
}
