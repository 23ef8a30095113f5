//! Peers that were announced to us (BEP 5), what counts them (BEP 33), and samples of their torrents (BEP 51).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use wire::krpc::BloomFilter;

use super::id::Id;
use crate::engine::scope::Scope;
use crate::engine::time::Time;

/// Peers announce themselves every 15 minutes or so.
const LIFE: Duration = Duration::from_secs(30 * 60);
const MAX_TORRENTS: usize = 2000;
/// Peers of one torrent.
const MAX_PEERS: usize = 500;
/// Peers of all torrents.
const MAX_TOTAL: usize = 20_000;
/// Samples given at a time: what fits a packet beside nodes.
const SAMPLES: usize = 20;
/// How long samples stay the same.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(10 * 60);

#[derive(Clone, Copy, Debug)]
struct Peer {
    addr: SocketAddr,
    seed: bool,
    announced: Time,
}

/// Peers by torrent, within bounds.
#[derive(Debug, Default)]
pub(crate) struct PeerStore {
    torrents: BTreeMap<Id, Vec<Peer>>,
    total: usize,
    samples: Vec<Id>,
    sampled: Option<Time>,
}

impl PeerStore {
    /// Keeps a peer. When there are too many torrents, those far from our id go first; they are for others to keep.
    pub(crate) fn announce(&mut self, now: Time, own: &Id, hash: Id, addr: SocketAddr, seed: bool) -> bool {
        if !self.torrents.contains_key(&hash)
            && self.torrents.len() >= MAX_TORRENTS
            && !self.evict(own, &hash)
        {
            return false;
        }
        let peers = self.torrents.entry(hash).or_default();
        let peer = Peer { addr, seed, announced: now };
        if let Some(known) = peers.iter_mut().find(|known| is_same(known.addr, addr)) {
            *known = peer;
        } else if peers.len() < MAX_PEERS && self.total < MAX_TOTAL {
            peers.push(peer);
            self.total += 1;
        } else if let Some(oldest) = peers.iter_mut().min_by_key(|peer| peer.announced) {
            *oldest = peer;
        } else {
            self.torrents.remove(&hash);
            return false;
        }
        true
    }

    /// Whether the torrent can have more peers. If not, tokens for it are not given (BEP 33).
    pub(crate) fn has_room(&self, hash: &Id) -> bool {
        self.torrents.get(hash).is_none_or(|peers| peers.len() < MAX_PEERS)
    }

    /// Some peers of a torrent in one family, at random; rather not seeds if so wanted.
    pub(crate) fn sample(
        &self,
        hash: &Id,
        ipv4: bool,
        no_seeds: bool,
        count: usize,
        rng: &mut ChaCha8Rng,
    ) -> Vec<SocketAddr> {
        let Some(peers) = self.torrents.get(hash) else { return Vec::new() };
        let mut found: Vec<Peer> = peers.iter().filter(|peer| peer.addr.is_ipv4() == ipv4).copied().collect();
        let count = count.min(found.len());
        for at in 0..count {
            let other = rng.random_range(at..found.len());
            found.swap(at, other);
        }
        if no_seeds {
            found.sort_by_key(|peer| peer.seed);
        }
        found.truncate(count);
        found.into_iter().map(|peer| peer.addr).collect()
    }

    /// Whether there are any peers of a torrent.
    pub(crate) fn has(&self, hash: &Id) -> bool {
        self.torrents.contains_key(hash)
    }

    /// The seeds and the other peers of a torrent in one family, if there are any of either.
    pub(crate) fn filters(&self, hash: &Id, ipv4: bool) -> Option<(BloomFilter, BloomFilter)> {
        let peers = self.torrents.get(hash)?;
        let (mut seeds, mut others) = (BloomFilter::new(), BloomFilter::new());
        for peer in peers.iter().filter(|peer| peer.addr.is_ipv4() == ipv4) {
            if peer.seed { &mut seeds } else { &mut others }.insert(peer.addr.ip());
        }
        Some((seeds, others))
    }

    /// Some torrents, and how many there are. The same for some time.
    pub(crate) fn samples(&mut self, now: Time, rng: &mut ChaCha8Rng) -> (&[Id], usize) {
        if self.sampled.is_none_or(|at| now - at >= SAMPLE_INTERVAL) || self.samples.len() < SAMPLES {
            self.sampled = Some(now);
            // Each torrent is drawn with the same chance, in one pass.
            self.samples.clear();
            for (seen, hash) in self.torrents.keys().enumerate() {
                if self.samples.len() < SAMPLES {
                    self.samples.push(*hash);
                } else if let Some(place) = self.samples.get_mut(rng.random_range(0..=seen)) {
                    *place = *hash;
                }
            }
        }
        (&self.samples, self.torrents.len())
    }

    /// Forgets who did not announce for half an hour.
    pub(crate) fn expire(&mut self, now: Time) {
        self.torrents.retain(|_, peers| {
            peers.retain(|peer| now - peer.announced < LIFE);
            peers.shrink_to_fit();
            !peers.is_empty()
        });
        self.total = self.torrents.values().map(Vec::len).sum();
        if self.torrents.is_empty() {
            self.samples = Vec::new();
        }
    }

    /// How many torrents and peers there are.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.torrents.len(), self.total)
    }

    /// Makes room for a torrent, if another one is farther from us.
    fn evict(&mut self, own: &Id, hash: &Id) -> bool {
        let farthest = self.torrents.keys().max_by_key(|known| own.distance(known)).copied();
        let Some(farthest) = farthest.filter(|known| own.distance(known) > own.distance(hash)) else {
            return false;
        };
        self.total -= self.torrents.remove(&farthest).map_or(0, |peers| peers.len());
        true
    }
}

/// An IP address is one peer of a torrent (BEP 33), unless it is a local one, which may have many.
fn is_same(known: SocketAddr, addr: SocketAddr) -> bool {
    known.ip() == addr.ip() && (known.port() == addr.port() || Scope::of(addr.ip()) == Some(Scope::Global))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const OWN: Id = Id([0; 20]);

    fn hash(n: u16) -> Id {
        let mut id = [0; 20];
        id[..2].copy_from_slice(&n.to_be_bytes());
        Id(id)
    }

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::new(std::net::Ipv4Addr::from(0x0900_0000 + n).into(), 6881)
    }

    #[test]
    fn a_peer_is_an_address_and_expires() {
        let (mut store, mut rng) = (PeerStore::default(), ChaCha8Rng::seed_from_u64(1));
        store.announce(Time::ZERO, &OWN, hash(1), "9.9.9.9:1".parse().unwrap(), false);
        store.announce(Time::from_secs(60), &OWN, hash(1), "9.9.9.9:2".parse().unwrap(), false);
        store.announce(Time::ZERO, &OWN, hash(1), "127.0.0.1:1".parse().unwrap(), false);
        store.announce(Time::ZERO, &OWN, hash(1), "127.0.0.1:2".parse().unwrap(), false);
        assert_eq!(store.len(), (1, 3));
        store.expire(Time::from_secs(1800));
        assert_eq!(store.sample(&hash(1), true, false, 9, &mut rng), ["9.9.9.9:2".parse().unwrap()]);
        store.expire(Time::from_secs(1860));
        assert_eq!(store.len(), (0, 0));
    }

    #[test]
    fn samples_are_random_of_one_family_and_rather_no_seeds() {
        let (mut store, mut rng) = (PeerStore::default(), ChaCha8Rng::seed_from_u64(1));
        for n in 0..100 {
            store.announce(Time::ZERO, &OWN, hash(1), addr(n), n % 2 == 0);
        }
        store.announce(Time::ZERO, &OWN, hash(1), "[2606:4700::1]:1".parse().unwrap(), true);
        let draw = |rng: &mut ChaCha8Rng| store.sample(&hash(1), true, false, 10, rng);
        let (first, second) = (draw(&mut rng), draw(&mut rng));
        assert!(first.len() == 10 && first != second && first.iter().all(SocketAddr::is_ipv4));
        assert_eq!(store.sample(&hash(1), false, false, 10, &mut rng).len(), 1);
        assert_eq!(store.sample(&hash(2), true, false, 10, &mut rng), []);
        let few = store.sample(&hash(1), true, true, 50, &mut rng);
        assert!(few.len() == 50);
        let (seeds, others) = store.filters(&hash(1), true).unwrap();
        assert!((seeds.estimate() - 50.0).abs() < 5.0 && (others.estimate() - 50.0).abs() < 5.0);
    }

    #[test]
    fn floods_of_torrents_and_peers_stay_within_bounds() {
        let mut store = PeerStore::default();
        for n in 0..1000 {
            assert!(store.announce(Time::from_secs(n.into()), &OWN, hash(9), addr(n), false));
        }
        assert!(store.len() == (1, MAX_PEERS) && !store.has_room(&hash(9)) && store.has_room(&hash(8)));
        for n in 0..30_000 {
            let far = hash(60_000 - u16::try_from(n).unwrap());
            store.announce(Time::ZERO, &OWN, far, addr(n), false);
        }
        assert_eq!(store.len().0, MAX_TORRENTS);
        assert!(!store.announce(Time::ZERO, &OWN, hash(65_000), addr(1), false), "farther than all");
        assert!(store.announce(Time::ZERO, &OWN, hash(1), addr(1), false), "nearer than some");
        for n in 0..200_000 {
            store.announce(Time::ZERO, &OWN, hash(u16::try_from(n % 1000).unwrap()), addr(n), false);
        }
        assert!(store.len().1 <= MAX_TOTAL);
        let counted: usize = store.torrents.values().map(Vec::len).sum();
        assert_eq!(store.len().1, counted);
    }

    #[test]
    fn the_samples_of_torrents_stay_for_their_interval() {
        let (mut store, mut rng) = (PeerStore::default(), ChaCha8Rng::seed_from_u64(1));
        assert_eq!(store.samples(Time::ZERO, &mut rng), (&[][..], 0));
        for n in 0..100 {
            store.announce(Time::ZERO, &OWN, hash(n), addr(1), false);
        }
        let first = store.samples(Time::ZERO, &mut rng).0.to_vec();
        assert_eq!(first.len(), SAMPLES);
        assert_eq!(store.samples(Time::from_secs(599), &mut rng), (&first[..], 100));
        assert_ne!(store.samples(Time::from_secs(600), &mut rng).0, first);
    }
}
