//! The trackers of a simulated world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use metainfo::TorrentId;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::engine::Time;
use crate::engine::tracker::{Announce, AnnounceReply, Event, Failure, Family};

/// Peers in one answer at most.
const MAX_PEERS: usize = 50;

/// One tracker.
#[derive(Debug)]
pub struct SimTracker {
    /// It cannot be reached.
    pub down: bool,
    /// It never answers.
    pub silent: bool,
    /// Seconds between announces.
    pub interval: u32,
    /// Addresses that it tells everybody beside those that announced themselves.
    pub extra: Vec<SocketAddr>,
    /// The address that it says everybody has (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// Who announced what, and when.
    pub announces: Vec<(Time, SocketAddr, Event)>,
    swarms: BTreeMap<TorrentId, BTreeSet<SocketAddr>>,
}

impl Default for SimTracker {
    fn default() -> Self {
        Self {
            down: false,
            silent: false,
            interval: 1800,
            extra: Vec::new(),
            external_ip: None,
            announces: Vec::new(),
            swarms: BTreeMap::new(),
        }
    }
}

impl SimTracker {
    /// Answers an announce from `from`; `None` when it is silent.
    pub(super) fn answer(
        &mut self,
        now: Time,
        from: SocketAddr,
        id: TorrentId,
        announce: &Announce,
        rng: &mut ChaCha8Rng,
    ) -> Option<Result<AnnounceReply, Failure>> {
        if announce.id.family == Family::V6 {
            return Some(Err(Failure::NoAddress));
        }
        if self.down {
            return Some(Err(Failure::Unreachable("no answer".into())));
        }
        self.announces.push((now, from, announce.event));
        if self.silent {
            return None;
        }
        let swarm = self.swarms.entry(id).or_default();
        if announce.event == Event::Stopped {
            swarm.remove(&from);
        } else {
            swarm.insert(from);
        }
        let mut peers: Vec<_> = swarm.iter().copied().filter(|addr| *addr != from).collect();
        peers.shuffle(rng);
        peers.truncate(MAX_PEERS.min(announce.num_want as usize));
        peers.extend(&self.extra);
        let (interval, external_ip) = (Some(self.interval), self.external_ip);
        Some(Ok(AnnounceReply { interval, peers, external_ip, ..AnnounceReply::default() }))
    }

    /// Forgets a machine that went without a word.
    pub(super) fn forget(&mut self, addr: SocketAddr) {
        self.swarms.values_mut().for_each(|peers| {
            peers.remove(&addr);
        });
    }
}
