//! How many peers of a torrent the nodes on the way know (BEP 33).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use wire::krpc::{BloomFilter, Reply};

/// How many addresses that came without filters are kept.
const MAX_NAMED: usize = 3000;

/// What nodes said, joined, so that nobody counts twice.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seeds: BloomFilter,
    others: BloomFilter,
    /// Peers that a node named without saying which of them are seeds. Another answer may say so later.
    named: BTreeSet<IpAddr>,
}

impl Tally {
    /// Joins the filters of a node, or the peers that it names if it has none.
    pub(crate) fn add(&mut self, reply: &Reply<'_>, peers: impl Iterator<Item = SocketAddr>) {
        for (all, part) in [(&mut self.seeds, reply.seeds), (&mut self.others, reply.peers)] {
            if let Some(part) = part {
                all.unite(&BloomFilter::from(*part));
            }
        }
        if reply.seeds.is_none() && reply.peers.is_none() {
            let left = MAX_NAMED.saturating_sub(self.named.len());
            self.named.extend(peers.map(|peer| peer.ip()).take(left));
        }
    }

    /// About how many seeds and other peers there are. Those named only are seeds if somebody says so.
    pub(crate) fn estimate(&self) -> (f64, f64) {
        let mut others = self.others.clone();
        self.named.iter().filter(|ip| !self.seeds.contains(**ip)).for_each(|ip| others.insert(*ip));
        (self.seeds.estimate(), others.estimate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_named_before_it_is_known_to_be_a_seed_counts_once() {
        let [seed, other]: [SocketAddr; 2] = ["10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap()];
        let (mut seeds, mut others) = (BloomFilter::new(), BloomFilter::new());
        seeds.insert(seed.ip());
        others.insert(other.ip());
        let filters =
            Reply { seeds: Some(seeds.as_bytes()), peers: Some(others.as_bytes()), ..Reply::new([0; 20]) };
        let rounded = |tally: &Tally| [tally.estimate().0.round(), tally.estimate().1.round()];

        let mut tally = Tally::default();
        tally.add(&Reply::new([0; 20]), [seed, other].into_iter());
        assert_eq!(rounded(&tally), [0.0, 2.0], "nobody says more");
        tally.add(&filters, [].into_iter());
        assert_eq!(rounded(&tally), [1.0, 1.0]);
        tally.add(&filters, [seed].into_iter());
        assert_eq!(rounded(&tally), [1.0, 1.0], "who gives filters names nobody besides");
    }
}
