//! How much of an info dictionary one peer gets.

use std::time::Duration;

use crate::engine::time::Time;

/// A minute.
const WINDOW: Duration = Duration::from_secs(60);
/// How often a peer may have the whole dictionary in that time: once, and once more for what got lost.
const COPIES: u32 = 2;
/// Refusals in that time after which a peer is no honest one.
const REFUSALS: u32 = 1000;

/// What a peer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It gets the piece.
    Give,
    /// It is told no.
    Refuse,
    /// It asks and asks: part with it.
    Part,
}

/// Counts what one peer was given of an info dictionary: at most twice the whole in a minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quota {
    since: Time,
    given: u32,
    refused: u32,
}

impl Quota {
    /// A peer asks for a piece of a dictionary of so many; zero: there is none to give.
    pub fn ask(&mut self, now: Time, pieces: u32) -> Answer {
        if now >= self.since + WINDOW {
            *self = Self { since: now, given: 0, refused: 0 };
        }
        if self.given < COPIES.saturating_mul(pieces) {
            self.given += 1;
            return Answer::Give;
        }
        self.refused += 1;
        if self.refused > REFUSALS { Answer::Part } else { Answer::Refuse }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_two_copies_a_minute_and_then_is_told_no() {
        let mut quota = Quota::default();
        let start = Time::from_secs(100);
        let given = |quota: &mut Quota, at| (0..50).filter(|_| quota.ask(at, 10) == Answer::Give).count();
        assert_eq!(given(&mut quota, start), 20);
        assert_eq!(given(&mut quota, start + Duration::from_secs(59)), 0);
        assert_eq!(given(&mut quota, start + Duration::from_secs(60)), 20);
        let parts = (0..2000).any(|_| quota.ask(start + Duration::from_secs(61), 10) == Answer::Part);
        assert!(parts);
        assert_eq!(Quota::default().ask(start, 0), Answer::Refuse);
    }
}
