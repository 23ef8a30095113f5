//! When to tell the local network of which torrents (BEP 14).
//!
//! Each torrent is announced every five minutes, but at most one packet goes out a minute; a packet names many torrents. With more
//! torrents than that allows they take turns. A new one is announced a second time after a minute: multicast gets lost, above all over
//! radio and while an interface comes up.
//!
//! Somebody new who announces one of them has not heard us, or not yet: the torrent's turn comes as soon as the pace allows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng;
use wire::lsd::MAX_HASHES;

use super::time::Time;

/// Between two announces of a torrent (BEP 14).
const INTERVAL: Duration = Duration::from_secs(300);
/// Between two packets at least (BEP 14).
const PACE: Duration = Duration::from_secs(60);
/// A torrent that is due so soon goes with those that are due.
const ALONG: Duration = Duration::from_secs(30);

/// Whose turn it is to be announced. `K` names a torrent.
///
/// - Commands: [`add`](Self::add), [`answer`](Self::answer), [`remove`](Self::remove).
/// - Outputs: [`poll`](Self::poll) when [`next_timeout`](Self::next_timeout) has come.
#[derive(Debug)]
pub struct Lsd<K> {
    cookie: String,
    due: BTreeMap<K, Time>,
    /// Announced once at most.
    new: BTreeSet<K>,
    queue: BTreeSet<(Time, K)>,
    not_before: Time,
}

impl<K: Copy + Ord> Lsd<K> {
    /// Without torrents. The cookie, by which we know our own announces, is random.
    pub fn new(rng: &mut impl Rng) -> Self {
        let cookie = format!("{:016x}", rng.next_u64());
        Self {
            cookie,
            due: BTreeMap::new(),
            new: BTreeSet::new(),
            queue: BTreeSet::new(),
            not_before: Time::ZERO,
        }
    }

    /// What our announces carry.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Whether an announce with this cookie is ours.
    pub fn is_own(&self, cookie: Option<&[u8]>) -> bool {
        cookie == Some(self.cookie.as_bytes())
    }

    /// A torrent is to be announced from now on.
    pub fn add(&mut self, now: Time, key: K) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.due.entry(key) {
            entry.insert(now);
            self.queue.insert((now, key));
            self.new.insert(key);
        }
    }

    /// Somebody who was not known announced a torrent: it is announced again, but not twice a minute.
    pub fn answer(&mut self, now: Time, key: K) {
        let Some(due) = self.due.get_mut(&key) else { return };
        let at = now.max(self.not_before);
        if at < *due {
            self.queue.remove(&(*due, key));
            self.queue.insert((at, key));
            *due = at;
        }
    }

    /// A torrent is announced no more.
    pub fn remove(&mut self, key: K) {
        if let Some(due) = self.due.remove(&key) {
            self.queue.remove(&(due, key));
            self.new.remove(&key);
        }
    }

    /// When to [`poll`](Self::poll).
    pub fn next_timeout(&self) -> Option<Time> {
        self.queue.first().map(|(due, _)| (*due).max(self.not_before))
    }

    /// The torrents to announce now, in one packet to each group; none when it is not time.
    pub fn poll(&mut self, now: Time) -> Vec<K> {
        if self.next_timeout().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let soon = self.queue.iter().take_while(|(due, _)| *due <= now + ALONG);
        let turn: Vec<(Time, K)> = soon.take(MAX_HASHES).copied().collect();
        for (due, key) in &turn {
            self.queue.remove(&(*due, *key));
            let next = now + if self.new.remove(key) { PACE } else { INTERVAL };
            self.queue.insert((next, *key));
            self.due.insert(*key, next);
        }
        self.not_before = now + PACE;
        turn.into_iter().map(|(_, key)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Runs for an hour: what was announced when.
    fn hour(lsd: &mut Lsd<u32>) -> Vec<(Time, Vec<u32>)> {
        let mut sent = Vec::new();
        while let Some(at) = lsd.next_timeout().filter(|at| *at < Time::from_secs(3600)) {
            let turn = lsd.poll(at);
            assert!(!turn.is_empty() && turn.len() <= MAX_HASHES);
            assert!(lsd.next_timeout().is_none_or(|next| next >= at + PACE));
            sent.push((at, turn));
        }
        sent
    }

    fn of(count: u32) -> Lsd<u32> {
        let mut lsd = Lsd::new(&mut ChaCha8Rng::seed_from_u64(1));
        (0..count).for_each(|key| lsd.add(Time::ZERO, key));
        lsd
    }

    #[test]
    fn a_torrent_is_announced_at_once_after_a_minute_and_every_five_minutes() {
        let sent = hour(&mut of(1));
        let times: Vec<_> = sent.iter().map(|(at, _)| at.as_micros() / 1_000_000).collect();
        assert_eq!(times, [0].into_iter().chain((0..12).map(|n| 60 + n * 300)).collect::<Vec<_>>());
    }

    #[test]
    fn with_many_torrents_all_have_their_turn_and_the_pace_is_kept() {
        for count in [24, 100, 500] {
            let sent = hour(&mut of(count));
            assert!(sent.len() <= 60);
            for key in 0..count {
                let times: Vec<_> =
                    sent.iter().filter(|(_, t)| t.contains(&key)).map(|(at, _)| *at).collect();
                assert!(times.len() >= (60 * MAX_HASHES / count as usize).min(12) - 1, "{count}: {times:?}");
                assert!(times[1..].windows(2).all(|pair| pair[1] + ALONG >= pair[0] + INTERVAL));
            }
        }
    }

    #[test]
    fn who_is_new_is_answered_as_soon_as_a_minute_has_passed() {
        let mut lsd = of(1);
        assert_eq!(lsd.poll(Time::ZERO), [0]);
        lsd.answer(Time::from_secs(5), 0);
        assert_eq!(lsd.next_timeout(), Some(Time::ZERO + PACE));
        assert_eq!(lsd.poll(Time::ZERO + PACE), [0]);
        lsd.answer(Time::from_secs(150), 0);
        lsd.answer(Time::from_secs(150), 7);
        assert_eq!(lsd.poll(Time::from_secs(150)), [0]);
        assert_eq!(lsd.next_timeout(), Some(Time::from_secs(150) + INTERVAL));
    }

    #[test]
    fn what_is_removed_is_silent_and_the_own_cookie_is_known() {
        let mut lsd = of(3);
        lsd.remove(1);
        lsd.add(Time::ZERO, 2);
        assert_eq!(lsd.poll(Time::ZERO), [0, 2]);
        let own = lsd.cookie().to_owned();
        assert!(lsd.is_own(Some(own.as_bytes())) && !lsd.is_own(Some(b"other")) && !lsd.is_own(None));
    }
}
