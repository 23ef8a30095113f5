//! The peers of one torrent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::{Rng, RngExt};
use wire::tracker::{AnnounceRequest, Event, ScrapeCounts};

use crate::engine::time::Time;

/// One peer, named by its address: who announces from another port is another peer.
#[derive(Clone, Copy, Debug)]
struct Peer {
    address: SocketAddr,
    complete: bool,
    seen: Time,
}

/// Peers lie in a list, so that a random choice of a few costs no walk over all.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    peers: Vec<Peer>,
    places: BTreeMap<SocketAddr, usize>,
    seeders: usize,
    downloaded: u32,
    swept: Time,
}

impl Swarm {
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn counts(&self) -> ScrapeCounts {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        ScrapeCounts {
            seeders: count(self.seeders),
            downloaded: self.downloaded,
            leechers: count(self.peers.len() - self.seeders),
        }
    }

    /// Writes down what a peer says. `room` is whether a new one may be added. Returns by how much the list grew.
    pub(super) fn hear(
        &mut self,
        now: Time,
        address: SocketAddr,
        request: &AnnounceRequest,
        room: bool,
    ) -> isize {
        let before = self.len().cast_signed();
        let known = self.remove(address);
        if request.event != Event::Stopped && (room || known) {
            let complete = request.left == 0;
            self.places.insert(address, self.peers.len());
            self.peers.push(Peer { address, complete, seen: now });
            self.seeders += usize::from(complete);
        }
        if request.event == Event::Completed && known {
            self.downloaded = self.downloaded.saturating_add(1);
        }
        self.len().cast_signed() - before
    }

    /// Up to `count` other peers, by chance. Peers on this machine are named to this machine only, and who has all
    /// needs no others that have all.
    pub(super) fn choose(
        &self,
        asker: SocketAddr,
        complete: bool,
        count: usize,
        fits: impl Fn(IpAddr) -> bool,
        rng: &mut impl Rng,
    ) -> Vec<SocketAddr> {
        let useful = |peer: &&Peer| {
            let ip = peer.address.ip();
            peer.address != asker
                && !(complete && peer.complete)
                && (asker.ip().is_loopback() || !ip.is_loopback())
                && fits(ip)
        };
        let n = self.peers.len();
        if n <= count.saturating_mul(2) {
            let mut all: Vec<_> = self.peers.iter().filter(useful).map(|peer| peer.address).collect();
            let found = all.len();
            for i in 0..found.min(count) {
                all.swap(i, rng.random_range(i..found));
            }
            all.truncate(count);
            return all;
        }
        // Floyd's choice of distinct numbers: as many draws as numbers.
        let mut chosen = BTreeSet::new();
        for most in n - count..n {
            let draw = rng.random_range(0..=most);
            if !chosen.insert(draw) {
                chosen.insert(most);
            }
        }
        chosen.iter().filter_map(|&i| self.peers.get(i)).filter(useful).map(|peer| peer.address).collect()
    }

    /// Forgets who was silent for too long; looks at most twice in that time. Returns how many.
    pub(super) fn expire(&mut self, now: Time, life: Duration) -> usize {
        if now < self.swept + life / 2 {
            return 0;
        }
        self.swept = now;
        let before = self.len();
        let old = |peer: &&Peer| now.since(peer.seen) > life;
        let gone: Vec<_> = self.peers.iter().filter(old).map(|peer| peer.address).collect();
        for address in gone {
            self.remove(address);
        }
        before - self.len()
    }

    fn remove(&mut self, address: SocketAddr) -> bool {
        let Some(place) = self.places.remove(&address) else { return false };
        let peer = self.peers.swap_remove(place);
        self.seeders -= usize::from(peer.complete);
        if let Some(moved) = self.peers.get(place) {
            self.places.insert(moved.address, place);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use wire::peer::PeerId;

    use super::*;

    fn request(left: u64, event: Event) -> AnnounceRequest {
        AnnounceRequest { left, event, ..AnnounceRequest::new([1; 20], PeerId([2; 20]), 1) }
    }

    fn address(i: u16) -> SocketAddr {
        ([10, 0, (i >> 8) as u8, i as u8], 1000 + i).into()
    }

    #[test]
    fn lists_and_counts_agree_after_any_history() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut swarm = Swarm::default();
        let mut size = 0;
        for step in 0..5000u64 {
            let event = if rng.random_bool(0.3) { Event::Stopped } else { Event::None };
            let request = request(rng.random_range(0..2), event);
            let now = Time::from_secs(step);
            size += swarm.hear(now, address(rng.random_range(0..100)), &request, swarm.len() < 60);
            size -= swarm.expire(now, Duration::from_secs(50)).cast_signed();
            assert_eq!(size, swarm.len().cast_signed());
            assert!(swarm.len() <= 60 && swarm.places.len() == swarm.len());
            assert!(swarm.places.iter().all(|(address, &i)| swarm.peers[i].address == *address));
            assert_eq!(swarm.seeders, swarm.peers.iter().filter(|peer| peer.complete).count());
        }
    }

    #[test]
    fn chosen_peers_are_distinct_others_and_in_time_all_of_them() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut swarm = Swarm::default();
        for i in 0..300 {
            swarm.hear(Time::ZERO, address(i), &request(1, Event::None), true);
        }
        let mut met = BTreeSet::new();
        for _ in 0..100 {
            let chosen = swarm.choose(address(7), false, 50, |_| true, &mut rng);
            let distinct: BTreeSet<_> = chosen.iter().copied().collect();
            assert!(chosen.len() >= 49 && distinct.len() == chosen.len() && !distinct.contains(&address(7)));
            met.extend(distinct);
        }
        assert_eq!(met.len(), 299);
        assert_eq!(swarm.choose(address(7), false, 200, |_| true, &mut rng).len(), 200);
    }

    #[test]
    fn a_completed_download_is_counted_once_per_known_peer() {
        let mut swarm = Swarm::default();
        swarm.hear(Time::ZERO, address(1), &request(1, Event::Completed), true);
        assert_eq!(swarm.counts().downloaded, 0, "never seen before");
        swarm.hear(Time::ZERO, address(1), &request(0, Event::Completed), true);
        assert_eq!(swarm.counts(), ScrapeCounts { seeders: 1, downloaded: 1, leechers: 0 });
    }
}
