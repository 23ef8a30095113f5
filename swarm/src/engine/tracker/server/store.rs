use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use wire::tracker::{AnnounceReply, AnnounceRequest, Event, Failure, RetryIn, ScrapeCounts};

use super::connection::ConnectionIds;
use super::swarm::Swarm;
use crate::engine::time::Time;

/// No answer names more peers.
const MAX_WANTED: usize = 200;
/// As many are named to who does not say.
const DEFAULT_WANTED: usize = 50;

/// What a [`Server`] tells and keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Seconds between announces. Who is silent for twice that and a minute is forgotten.
    pub interval: u32,
    /// Seconds in which no other announce is welcome.
    pub min_interval: Option<u32>,
    /// The torrents it serves; `None` for all.
    pub allow: Option<BTreeSet<[u8; 20]>>,
    /// Torrents kept; announces of others are refused while it is full.
    pub max_torrents: usize,
    /// Peers kept of one torrent. Others get answers, but are not named to anyone.
    pub max_peers: usize,
    /// Peers kept in all.
    pub max_peers_total: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: 1800,
            min_interval: None,
            allow: None,
            max_torrents: 10_000,
            max_peers: 2_000,
            max_peers_total: 100_000,
        }
    }
}

/// A tracker. It is asked by values ([`announce`](Self::announce), [`scrape`](Self::scrape)), by HTTP targets
/// ([`http`](Self::http)) or by UDP packets ([`udp`](Self::udp)), and answers in kind. It has no timers: old peers go
/// when somebody asks.
#[derive(Debug)]
pub struct Server {
    config: Config,
    swarms: BTreeMap<[u8; 20], Swarm>,
    peers: usize,
    swept: Time,
    pub(super) connections: ConnectionIds,
    rng: ChaCha8Rng,
}

impl Server {
    /// An empty one. The secret behind connection ids is drawn from `rng`.
    pub fn new(config: Config, mut rng: ChaCha8Rng) -> Self {
        let connections = ConnectionIds::new(&mut rng);
        Self { config, swarms: BTreeMap::new(), peers: 0, swept: Time::ZERO, connections, rng }
    }

    /// Serves a torrent besides those of [`Config::allow`]; of no effect when all are served.
    pub fn allow(&mut self, info_hash: [u8; 20]) {
        if let Some(allow) = &mut self.config.allow {
            allow.insert(info_hash);
        }
    }

    /// A peer at `from` announces. What it says of its own address is not believed, except the port. Named peers are
    /// of both families.
    pub fn announce(
        &mut self,
        now: Time,
        from: IpAddr,
        request: &AnnounceRequest,
    ) -> Result<AnnounceReply, Failure> {
        self.announce_for(now, from, request, |_| true)
    }

    /// The same, naming only peers whose address fits.
    pub(super) fn announce_for(
        &mut self,
        now: Time,
        from: IpAddr,
        request: &AnnounceRequest,
        fits: impl Fn(IpAddr) -> bool,
    ) -> Result<AnnounceReply, Failure> {
        let address = SocketAddr::new(from.to_canonical(), request.port);
        self.check(now, request)?;
        let life = self.life();
        let swarm = self.swarms.entry(request.info_hash).or_default();
        self.peers -= swarm.expire(now, life);
        let room = swarm.len() < self.config.max_peers && self.peers < self.config.max_peers_total;
        self.peers = self.peers.saturating_add_signed(swarm.hear(now, address, request, room));
        let wanted = request.num_want.map_or(DEFAULT_WANTED, |n| usize::try_from(n).unwrap_or(MAX_WANTED));
        let wanted = if request.event == Event::Stopped { 0 } else { wanted.min(MAX_WANTED) };
        let counts = swarm.counts();
        let peers = swarm.choose(address, request.left == 0, wanted, fits, &mut self.rng);
        if swarm.is_empty() && counts.downloaded == 0 {
            self.swarms.remove(&request.info_hash);
        }
        Ok(AnnounceReply {
            interval: Some(self.config.interval),
            min_interval: self.config.min_interval,
            seeders: Some(counts.seeders),
            leechers: Some(counts.leechers),
            downloaded: Some(counts.downloaded),
            peers,
            external_ip: Some(from.to_canonical()),
            ..AnnounceReply::default()
        })
    }

    /// The counts of some torrents; unknown ones are left out.
    pub fn scrape(&mut self, now: Time, hashes: &[[u8; 20]]) -> BTreeMap<[u8; 20], ScrapeCounts> {
        self.sweep(now);
        hashes.iter().filter_map(|hash| Some((*hash, self.swarms.get(hash)?.counts()))).collect()
    }

    /// How many torrents and peers are kept.
    pub fn sizes(&self) -> (usize, usize) {
        (self.swarms.len(), self.peers)
    }

    /// Whether the announce is to be taken at all.
    fn check(&mut self, now: Time, request: &AnnounceRequest) -> Result<(), Failure> {
        let refuse = |reason: &str, retry_in| Err(Failure { reason: reason.into(), retry_in });
        if self.config.allow.as_ref().is_some_and(|allow| !allow.contains(&request.info_hash)) {
            return refuse("torrent is not served here", Some(RetryIn::Never));
        }
        if request.port == 0 {
            return refuse("port 0", None);
        }
        self.sweep(now);
        if !self.swarms.contains_key(&request.info_hash) && self.swarms.len() >= self.config.max_torrents {
            return refuse("too many torrents", Some(RetryIn::Minutes(30)));
        }
        Ok(())
    }

    /// Forgets old peers and empty torrents, every half life of a peer.
    fn sweep(&mut self, now: Time) {
        let life = self.life();
        if now < self.swept + life / 2 {
            return;
        }
        self.swept = now;
        let mut gone = 0;
        self.swarms.retain(|_, swarm| {
            gone += swarm.expire(now, life);
            !swarm.is_empty()
        });
        self.peers -= gone;
    }

    fn life(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.interval) * 2 + 60)
    }
}
