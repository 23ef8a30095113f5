//! Peers that were announced to us (BEP 5), what counts them (BEP 33), and samples of their torrents (BEP 51).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use wire::krpc::BloomFilter;

use super::id::Id;
use super::owners::{greediest, owner};
use crate::engine::scope::Scope;
use crate::engine::time::Time;

/// Peers announce themselves every 15 minutes or so.
const LIFE: Duration = Duration::from_secs(30 * 60);
const MAX_TORRENTS: usize = 2000;
/// Peers of one torrent.
const MAX_PEERS: usize = 500;
/// Peers of all torrents.
const MAX_TOTAL: usize = 20_000;
/// Torrents, and peers of a torrent, that a holder of addresses may have when there is no room: those with more give way first.
const OWN_TORRENTS: usize = 32;
const OWN_PEERS: usize = 8;
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

#[derive(Debug)]
struct Torrent {
    /// Who announced it first.
    creator: IpAddr,
    peers: Vec<Peer>,
}

/// Peers of one address family by torrent, within bounds. Where there is no room, whoever has much there gives way first, so that
/// nobody fills it from one network.
#[derive(Debug, Default)]
pub(crate) struct PeerStore {
    torrents: BTreeMap<Id, Torrent>,
    total: usize,
    samples: Vec<Id>,
    sampled: Option<Time>,
}

impl PeerStore {
    /// Keeps a peer. When there are too many torrents, those of whoever made many go first, then those far from our id; they are for
    /// others to keep.
    pub(crate) fn announce(&mut self, now: Time, own: &Id, hash: Id, addr: SocketAddr, seed: bool) -> bool {
        if !self.torrents.contains_key(&hash)
            && self.torrents.len() >= MAX_TORRENTS
            && !self.evict(own, &hash)
        {
            return false;
        }
        let is_known = |peer: &Peer| is_same(peer.addr, addr);
        let peer = Peer { addr, seed, announced: now };
        let known = self
            .torrents
            .get_mut(&hash)
            .and_then(|torrent| torrent.peers.iter_mut().find(|peer| is_known(peer)));
        if let Some(known) = known {
            *known = peer;
            return true;
        }
        if self.total >= MAX_TOTAL {
            let largest = self.torrents.values_mut().max_by_key(|torrent| torrent.peers.len());
            self.total -= usize::from(largest.is_some_and(Torrent::thin));
        }
        let new = || Torrent { creator: owner(addr.ip()), peers: Vec::new() };
        let torrent = self.torrents.entry(hash).or_insert_with(new);
        if torrent.peers.len() >= MAX_PEERS {
            self.total -= usize::from(torrent.thin());
        }
        torrent.peers.push(peer);
        self.total += 1;
        true
    }

    /// Whether the torrent can have more peers. If not, tokens for it are not given (BEP 33).
    pub(crate) fn has_room(&self, hash: &Id) -> bool {
        let has_room = |torrent: &Torrent| torrent.peers.len() < MAX_PEERS || torrent.greediest().is_some();
        self.torrents.get(hash).is_none_or(has_room)
    }

    /// Some peers of a torrent, at random; rather not seeds if so wanted.
    pub(crate) fn sample(
        &self,
        hash: &Id,
        no_seeds: bool,
        count: usize,
        rng: &mut ChaCha8Rng,
    ) -> Vec<SocketAddr> {
        let Some(torrent) = self.torrents.get(hash) else { return Vec::new() };
        let mut found: Vec<Peer> = torrent.peers.clone();
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

    /// The seeds and the other peers of a torrent, if there are any of either.
    pub(crate) fn filters(&self, hash: &Id) -> Option<(BloomFilter, BloomFilter)> {
        let torrent = self.torrents.get(hash)?;
        let (mut seeds, mut others) = (BloomFilter::new(), BloomFilter::new());
        for peer in &torrent.peers {
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
        self.torrents.retain(|_, Torrent { peers, .. }| {
            peers.retain(|peer| now - peer.announced < LIFE);
            peers.shrink_to_fit();
            !peers.is_empty()
        });
        self.total = self.torrents.values().map(|torrent| torrent.peers.len()).sum();
        if self.torrents.is_empty() {
            self.samples = Vec::new();
        }
    }

    /// How many torrents and peers there are.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.torrents.len(), self.total)
    }

    /// Makes room for a torrent: in place of one of whoever made most of them, or of one that is farther from us.
    fn evict(&mut self, own: &Id, hash: &Id) -> bool {
        let greedy = greediest(self.torrents.values().map(|torrent| torrent.creator), OWN_TORRENTS);
        let gone = match greedy {
            Some(greedy) => {
                // What others came to as well stays for longest.
                let of_greedy = self.torrents.iter().filter(|(_, torrent)| torrent.creator == greedy);
                of_greedy.min_by_key(|(_, torrent)| (torrent.peers.len(), torrent.announced()))
            }
            None => {
                let farthest = self.torrents.iter().max_by_key(|(known, _)| own.distance(known));
                farthest.filter(|(known, _)| own.distance(known) > own.distance(hash))
            }
        };
        let Some(gone) = gone.map(|(hash, _)| *hash) else { return false };
        self.total -= self.torrents.remove(&gone).map_or(0, |torrent| torrent.peers.len());
        true
    }
}

impl Torrent {
    /// When somebody last announced it.
    fn announced(&self) -> Option<Time> {
        self.peers.iter().map(|peer| peer.announced).max()
    }

    /// Who has more peers than there may be of one, if anybody has.
    fn greediest(&self) -> Option<IpAddr> {
        greediest(self.peers.iter().map(|peer| owner(peer.addr.ip())), OWN_PEERS)
    }

    /// Forgets a peer: the oldest one of whoever has too many, or of all. Returns whether there was one.
    fn thin(&mut self) -> bool {
        let greedy = self.greediest();
        let is_of = |peer: &Peer| greedy.is_none_or(|greedy| owner(peer.addr.ip()) == greedy);
        let peers = self.peers.iter().enumerate().filter(|(_, peer)| is_of(peer));
        let oldest = peers.min_by_key(|(_, peer)| peer.announced).map(|(at, _)| at);
        oldest.is_some_and(|at| {
            self.peers.remove(at);
            true
        })
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
        assert_eq!(store.sample(&hash(1), false, 9, &mut rng), ["9.9.9.9:2".parse().unwrap()]);
        store.expire(Time::from_secs(1860));
        assert_eq!(store.len(), (0, 0));
    }

    #[test]
    fn samples_are_random_and_rather_no_seeds() {
        let (mut store, mut rng) = (PeerStore::default(), ChaCha8Rng::seed_from_u64(1));
        for n in 0..100 {
            store.announce(Time::ZERO, &OWN, hash(1), addr(n), n % 2 == 0);
        }
        let draw = |rng: &mut ChaCha8Rng| store.sample(&hash(1), false, 10, rng);
        let (first, second) = (draw(&mut rng), draw(&mut rng));
        assert!(first.len() == 10 && first != second);
        assert_eq!(store.sample(&hash(2), false, 10, &mut rng), []);
        let few = store.sample(&hash(1), true, 50, &mut rng);
        assert!(few.len() == 50);
        let (seeds, others) = store.filters(&hash(1)).unwrap();
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
        let counted: usize = store.torrents.values().map(|torrent| torrent.peers.len()).sum();
        assert_eq!(store.len().1, counted);
    }

    #[test]
    fn who_floods_the_store_puts_out_its_own() {
        let mut store = PeerStore::default();
        let far = |n: u16| hash(65_000 + n);
        for n in 0..20 {
            store.announce(Time::ZERO, &OWN, far(n), addr(n.into()), false);
        }
        // Near our id, and of one address, or of many addresses of one network.
        for n in 0..5000 {
            let now = Time::from_secs(n.into());
            assert!(store.announce(now, &OWN, hash(n), addr(999), false));
            let v6 = SocketAddr::new([0x2606, 0x4700, 7, n, 0, 0, 0, 1].into(), 1);
            assert!(store.announce(now, &OWN, hash(10_000 + n), v6, false));
        }
        assert_eq!(store.len(), (MAX_TORRENTS, MAX_TORRENTS));
        assert!((0..20).all(|n| store.has(&far(n))), "farther from us than all of them");
        assert!(store.announce(Time::ZERO, &OWN, far(30), addr(1), false), "and others still come in");
        let of = |creator| store.torrents.values().filter(|torrent| torrent.creator == creator).count();
        let counts = [addr(999).ip(), [0x2606, 0x4700, 7, 0, 0, 0, 0, 0].into()].map(of);
        assert!(counts.iter().all(|count| (980..=1000).contains(count)), "{counts:?}");
    }

    #[test]
    fn who_floods_a_torrent_puts_out_its_own_and_keeps_nobody_out() {
        let mut store = PeerStore::default();
        for n in 0..100 {
            store.announce(Time::ZERO, &OWN, hash(1), addr(n), false);
        }
        for n in 0..1000_u16 {
            let flooder = SocketAddr::new([0x2606, 0x4700, 7, 7, 0, 0, 0, n].into(), 1);
            assert!(store.announce(Time::from_secs(1), &OWN, hash(1), flooder, false));
        }
        assert!(store.len() == (1, MAX_PEERS) && store.has_room(&hash(1)));
        for n in 100..400 {
            store.announce(Time::from_secs(2), &OWN, hash(1), addr(n), false);
        }
        let peers: Vec<_> = store.torrents[&hash(1)].peers.iter().map(|peer| peer.addr).collect();
        assert!(peers.len() == MAX_PEERS && (0..400).all(|n| peers.contains(&addr(n))));
    }

    #[test]
    fn many_large_torrents_make_room_for_new_ones() {
        let mut store = PeerStore::default();
        for n in 0..40 * 500 {
            store.announce(Time::ZERO, &OWN, hash(u16::try_from(n % 40).unwrap()), addr(n), false);
        }
        assert_eq!(store.len(), (40, MAX_TOTAL));
        assert!(store.announce(Time::ZERO, &OWN, hash(99), addr(1), false));
        assert_eq!(store.len(), (41, MAX_TOTAL));
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
