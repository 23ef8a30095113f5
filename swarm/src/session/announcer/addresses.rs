//! Which of a tracker's addresses are asked, in which order and for how long: one after the other, the one first that answered
//! last.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::engine::tracker::{Failure, Family};
use crate::session::announce_queue::Host;

/// Addresses that one announce tries.
const MAX_TRIED: u32 = 3;
/// No address has less time, however many there are.
const LEAST: Duration = Duration::from_secs(5);
/// Trackers of which it is remembered which address comes first.
const MAX_KNOWN: usize = 512;

/// A tracker over one address family.
pub(super) type Name = (Host, Family);

/// Which address of each tracker comes first, where that is not the first one.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    first: BTreeMap<Name, SocketAddr>,
}

impl Addresses {
    /// The order in which these are asked.
    fn order(&self, name: &Name, found: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut order = found.to_vec();
        let first = self.first.get(name).and_then(|first| order.iter().position(|addr| addr == first));
        order.rotate_left(first.unwrap_or(0));
        order
    }

    fn begin_with(&mut self, name: &Name, first: SocketAddr) {
        if self.first.len() >= MAX_KNOWN && !self.first.contains_key(name) {
            self.first.clear();
        }
        self.first.insert(name.clone(), first);
    }
}

/// Asks these addresses in turn, until one answers. Each has its share of the time.
pub(super) async fn in_turn<T, F: Future<Output = Result<T, Failure>>>(
    known: &Mutex<Addresses>,
    name: Name,
    found: &[SocketAddr],
    patience: Duration,
    ask: impl Fn(SocketAddr) -> F,
) -> Result<T, Failure> {
    let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let order = known().order(&name, found);
    let tries = (1..=MAX_TRIED).rev().find(|tries| patience / *tries >= LEAST).unwrap_or(1);
    let tries = tries.min(u32::try_from(order.len()).unwrap_or(MAX_TRIED));
    let mut outcome = Err(Failure::NoAddress);
    let nexts = order.iter().cycle().skip(1);
    for (to, next) in order.iter().zip(nexts).take(tries as usize) {
        outcome = timeout(patience / tries, ask(*to)).await.unwrap_or(Err(Failure::TimedOut));
        let is_answer = matches!(outcome, Ok(_) | Err(Failure::Refused(_)));
        if order.len() > 1 {
            known().begin_with(&name, if is_answer { *to } else { *next });
        }
        if is_answer {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn addr(n: u8) -> SocketAddr {
        ([9, 9, 9, n], 6969).into()
    }

    fn name() -> Name {
        (("t.example".to_owned(), 6969), Family::V4)
    }

    /// What comes of asking addresses 1 to `many`, of which these answer, and who was asked after how many seconds.
    async fn asked(
        known: &Mutex<Addresses>,
        many: u8,
        patience: u64,
        answer: &[u8],
    ) -> (Result<u8, Failure>, Vec<(u64, u8)>) {
        let (log, begin) = (Mutex::new(Vec::new()), Instant::now());
        let found: Vec<_> = (1..=many).map(addr).collect();
        let outcome = in_turn(known, name(), &found, Duration::from_secs(patience), |to| {
            let n = found.iter().zip(1..).find(|(addr, _)| **addr == to).map_or(0, |(_, n)| n);
            log.lock().unwrap().push((begin.elapsed().as_secs(), n));
            let answers = answer.contains(&n);
            async move { if answers { Ok(n) } else { std::future::pending().await } }
        });
        (outcome.await, log.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_asked_when_one_is_silent_and_comes_first_from_then_on() {
        let known = Mutex::default();
        assert_eq!(asked(&known, 2, 60, &[2]).await, (Ok(2), vec![(0, 1), (30, 2)]));
        assert_eq!(asked(&known, 2, 60, &[2]).await, (Ok(2), vec![(0, 2)]));
        assert_eq!(asked(&known, 2, 60, &[1]).await, (Ok(1), vec![(0, 2), (30, 1)]));
        assert_eq!(asked(&known, 2, 60, &[1, 2]).await, (Ok(1), vec![(0, 1)]));
    }

    #[tokio::test(start_paused = true)]
    async fn three_are_tried_at_a_time_and_others_the_next_time() {
        let known = Mutex::default();
        let silent = Err(Failure::TimedOut);
        assert_eq!(asked(&known, 5, 60, &[]).await, (silent.clone(), vec![(0, 1), (20, 2), (40, 3)]));
        assert_eq!(asked(&known, 5, 60, &[]).await, (silent.clone(), vec![(0, 4), (20, 5), (40, 1)]));
        assert_eq!(asked(&known, 5, 10, &[]).await, (silent.clone(), vec![(0, 2), (5, 3)]));
        assert_eq!(asked(&known, 5, 5, &[]).await, (silent.clone(), vec![(0, 4)]), "it has no time for two");
        assert_eq!(asked(&known, 1, 60, &[]).await, (silent, vec![(0, 1)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_an_answer_and_no_route_is_none() {
        let known = Mutex::default();
        let refused = || Failure::Refused(wire::tracker::Failure { reason: "no".into(), retry_in: None });
        let failures = [refused(), Failure::Unreachable("no route".into())];
        let found = [addr(1), addr(2)];
        for (failure, tried) in failures.into_iter().zip([1, 2]) {
            let count = Mutex::new(0);
            let outcome: Result<(), _> = in_turn(&known, name(), &found, Duration::from_secs(60), |_| {
                *count.lock().unwrap() += 1;
                std::future::ready(Err(failure.clone()))
            })
            .await;
            assert_eq!((outcome, count.into_inner().unwrap()), (Err(failure), tried));
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut known = Addresses::default();
        for port in 0..2000 {
            known.begin_with(&(("t.example".to_owned(), port), Family::V4), addr(1));
            assert!(known.first.len() <= MAX_KNOWN);
        }
    }
}
