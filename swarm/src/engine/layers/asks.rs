//! What one peer asks of the trees of a torrent.

use std::collections::VecDeque;
use std::time::Duration;

use wire::peer::HashRequest;

use super::Flood;
use crate::engine::time::Time;

/// Requests of one peer that wait: 3 KiB. More are rejected at once.
const QUEUE: usize = 64;
/// A minute.
const WINDOW: Duration = Duration::from_secs(60);
/// How often a peer may have all layers in that time. Padding and proofs are counted, which may be as much again.
const COPIES: u64 = 4;
/// Hashes that it may have besides, however small the layers are.
const SPARE: u64 = 8192;
/// Rejects in that time after which a peer waits for its next answer until the time is over: some ask for what they were
/// denied again at once.
const REJECTS: u32 = 600;
/// Requests beyond the queue in that time after which a peer is no honest one.
const SURPLUS: u32 = 1000;

/// The requests of one peer, and what it was given.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    queue: VecDeque<HashRequest>,
    since: Time,
    given: u64,
    rejected: u32,
    surplus: u32,
}

impl Asks {
    /// A request came. `false` when it is to be rejected at once.
    pub(crate) fn handle_request(&mut self, now: Time, request: HashRequest) -> Result<bool, Flood> {
        self.go_on(now);
        if self.queue.len() < QUEUE {
            self.queue.push_back(request);
            return Ok(true);
        }
        self.surplus += 1;
        if self.surplus > SURPLUS { Err(Flood) } else { Ok(false) }
    }

    /// The next request to answer now, of a torrent whose layers have so many hashes.
    pub(crate) fn next(&mut self, now: Time, hashes: u64) -> Option<HashRequest> {
        self.go_on(now);
        let may = self.given < hashes.saturating_mul(COPIES).saturating_add(SPARE) && self.rejected < REJECTS;
        may.then(|| self.queue.pop_front()).flatten()
    }

    /// It was given so many hashes; none: its request was rejected.
    pub(crate) fn handle_given(&mut self, hashes: Option<usize>) {
        match hashes {
            Some(hashes) => self.given = self.given.saturating_add(hashes as u64),
            None => self.rejected = self.rejected.saturating_add(1),
        }
    }

    fn go_on(&mut self, now: Time) {
        if now >= self.since + WINDOW {
            (self.since, self.given, self.rejected, self.surplus) = (now, 0, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(index: u32) -> HashRequest {
        HashRequest { pieces_root: [1; 32], base_layer: 0, index, length: 512, proof_layers: 3 }
    }

    #[test]
    fn a_peer_gets_some_copies_a_minute_and_then_waits() {
        let (mut asks, start) = (Asks::default(), Time::from_secs(100));
        let mut given = 0;
        let mut drain = |asks: &mut Asks, now| {
            for index in 0..60 {
                asks.handle_request(now, request(index)).unwrap();
            }
            while asks.next(now, 2048).is_some() {
                asks.handle_given(Some(512));
                given += 1;
            }
            std::mem::take(&mut given)
        };
        assert_eq!(drain(&mut asks, start), 4 * 4 + 8192 / 512);
        assert_eq!(drain(&mut asks, start + Duration::from_secs(59)), 0);
        assert_eq!(asks.queue.len(), QUEUE, "no more are kept");
        assert!(drain(&mut asks, start + Duration::from_secs(60)) > 0);
    }

    #[test]
    fn who_is_rejected_without_end_waits_and_who_asks_without_end_is_to_go() {
        let (mut asks, now) = (Asks::default(), Time::from_secs(100));
        let mut rejected = 0;
        for index in 0..1000 {
            assert!(asks.handle_request(now, request(index)).is_ok());
            if asks.next(now, 0).is_some() {
                asks.handle_given(None);
                rejected += 1;
            }
        }
        assert_eq!(rejected, REJECTS);
        assert!((0..2000).any(|index| asks.handle_request(now, request(index)).is_err()));
    }
}
