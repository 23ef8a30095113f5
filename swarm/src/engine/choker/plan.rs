//! A choice of slot holders in the making, within the bounds per torrent and per address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Choker;
use super::rank::Claim;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) chosen: BTreeSet<usize>,
    by_torrent: BTreeMap<usize, u32>,
    by_address: BTreeMap<IpAddr, u32>,
}

impl Plan {
    /// Chooses a peer, unless it is already chosen or a bound forbids it.
    pub(super) fn add(&mut self, choker: &Choker, key: usize) -> bool {
        let room = self.has_room(choker, key);
        if room {
            self.keep(choker, key);
        }
        room
    }

    /// Chooses a peer whatever the bounds say.
    pub(super) fn keep(&mut self, choker: &Choker, key: usize) {
        let Some(peer) = choker.peer(key) else { return };
        self.chosen.insert(key);
        *self.by_torrent.entry(peer.torrent).or_default() += 1;
        if let Some(address) = peer.address {
            *self.by_address.entry(address).or_default() += 1;
        }
    }

    pub(super) fn has_room(&self, choker: &Choker, key: usize) -> bool {
        let Some(peer) = choker.peer(key) else { return false };
        let held = |count: Option<&u32>| count.copied().unwrap_or(0);
        !self.chosen.contains(&key)
            && held(self.by_torrent.get(&peer.torrent)) < choker.config.per_torrent
            && peer.address.is_none_or(|ip| held(self.by_address.get(&ip)) < choker.config.per_address)
    }

    /// Chooses up to `count` of the claims, best first. Gives back how many.
    pub(super) fn take(&mut self, choker: &Choker, claims: &[Claim], count: usize) -> usize {
        let mut taken = 0;
        for claim in claims {
            if taken == count {
                break;
            }
            taken += usize::from(self.add(choker, claim.key));
        }
        taken
    }
}
