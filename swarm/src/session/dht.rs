//! The DHT for applications: lookups of their own, beside those of torrents.

mod bootstrap;
mod desk;
mod error;
mod lookup;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use wire::krpc::immutable_target;

use super::Session;
use super::link::{Link, Unavailable};
use crate::engine::Time;
use crate::engine::dht::{
    Announce, Dht as Node, DhtEvent, DhtStatus, Id, LookupId, LookupStats, Mutable, NotTaken, PutMutable,
};

pub use bootstrap::{Bootstrap, ROUTERS};
pub(super) use bootstrap::{introduce, run as bootstrap};
pub(super) use desk::Desk;
pub use error::DhtError;
pub use lookup::Lookup;

/// How a session takes part in the DHT. The default is a full node that finds the others by the well-known public ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DhtSettings {
    /// Whom to ask when no other nodes are known.
    pub bootstrap: Bootstrap,
    /// What [`Dht::save`] gave in an earlier run: ids and nodes.
    pub saved: Option<Vec<u8>>,
    /// Ask, but answer nobody (BEP 43): for runs of seconds.
    pub read_only: bool,
}

/// The DHT of a session. Clones share it. What is asked of it goes beside the lookups of torrents.
#[derive(Clone)]
pub struct Dht {
    link: Arc<Link>,
}

/// How many peers a torrent has, as the nodes say that keep track of it (BEP 33).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scrape {
    /// Peers with everything, about.
    pub seeds: f64,
    /// Others, about.
    pub peers: f64,
}

/// How a session stands in the DHT. Pairs are of IPv4 and IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// How much of everything there is.
    pub numbers: DhtStatus,
    /// Our ids.
    pub ids: [Option<Id>; 2],
    /// Our addresses, as other nodes see them.
    pub external: [Option<IpAddr>; 2],
}

/// A node that answered a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Its id.
    pub id: Id,
    /// How long the answer took.
    pub rtt: Duration,
}

impl Session {
    /// The DHT, unless it was left out of the settings.
    pub fn dht(&self) -> Option<Dht> {
        self.link.dht_addresses.is_some().then(|| Dht { link: self.link.clone() })
    }
}

impl Dht {
    /// Where other nodes reach us.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.link.dht_addresses.into_iter().flatten().flatten().collect()
    }

    /// Waits until enough nodes are known to look for anything, at most for this long. Whether that is so: lookups may succeed
    /// even if not.
    pub async fn ready(&self, patience: Duration) -> bool {
        let mut joined = self.link.dht.joined();
        let waited = tokio::time::timeout(patience, joined.wait_for(|joined| *joined)).await;
        waited.is_ok_and(|joined| joined.is_ok())
    }

    /// Nodes known, our ids, our address.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn status(&self) -> Result<Status, DhtError> {
        self.node(|node, _| Status {
            numbers: node.status(),
            ids: [true, false].map(|ipv4| node.id(ipv4)),
            external: [true, false].map(|ipv4| node.external(ipv4)),
        })
        .await
    }

    /// Our ids and the nodes that answered, for [`DhtSettings::saved`] of the next run.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn save(&self) -> Result<Vec<u8>, DhtError> {
        self.node(|node, _| node.save().encode()).await
    }

    /// Tells of nodes: they are pinged, and those that answer may be used.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn add_nodes(&self, nodes: Vec<SocketAddr>) -> Result<(), DhtError> {
        self.node(move |node, now| nodes.into_iter().for_each(|addr| node.add_node(now, addr))).await
    }

    /// Looks for peers of a torrent: [`DhtEvent::Peers`] as they are found, and [`DhtEvent::Done`]. With `announce`, nodes
    /// near the torrent are then told that we are one.
    ///
    /// # Errors
    /// When too much is asked at the same time, or the session is over.
    pub async fn get_peers(&self, info_hash: Id, announce: Option<Announce>) -> Result<Lookup, DhtError> {
        self.look(move |node, now| node.get_peers(now, info_hash, announce)).await
    }

    /// Tells the nodes near a torrent that we are one of its peers. [`LookupStats::stored`] of them took it.
    ///
    /// # Errors
    /// As [`Dht::get_peers`].
    pub async fn announce(&self, info_hash: Id, announce: Announce) -> Result<LookupStats, DhtError> {
        self.get_peers(info_hash, Some(announce)).await?.done().await
    }

    /// An immutable item (BEP 44), bencoded. `None` when nobody has it.
    ///
    /// # Errors
    /// When no node answered, and as [`Dht::get_peers`].
    pub async fn get(&self, target: Id) -> Result<Option<Vec<u8>>, DhtError> {
        let mut lookup = self.look(move |node, now| node.get_immutable(now, target)).await?;
        while let Some(event) = lookup.next().await {
            match event {
                DhtEvent::Immutable { value, .. } => return Ok(Some(value)),
                DhtEvent::Done { stats, .. } => return outcome(None, &stats),
                _ => {}
            }
        }
        Err(Unavailable::Over.into())
    }

    /// The newest version of a mutable item (BEP 44) that any node has. `None` when nobody has one.
    ///
    /// # Errors
    /// As [`Dht::get`].
    pub async fn get_mutable(&self, key: [u8; 32], salt: Vec<u8>) -> Result<Option<Mutable>, DhtError> {
        let mut lookup = self.look(move |node, now| node.get_mutable(now, key, &salt)).await?;
        let mut newest = None;
        while let Some(event) = lookup.next().await {
            match event {
                DhtEvent::Mutable { item, .. } => newest = Some(item),
                DhtEvent::Done { stats, .. } => return outcome(newest, &stats),
                _ => {}
            }
        }
        Err(Unavailable::Over.into())
    }

    /// Stores an immutable item, bencoded (BEP 44). Where it is stored, and how it went.
    ///
    /// # Errors
    /// When it is no canonical bencode or longer than 1000 bytes, and as [`Dht::get_peers`].
    pub async fn put(&self, value: Vec<u8>) -> Result<(Id, LookupStats), DhtError> {
        let target = Id(immutable_target(&value));
        let lookup = self.look(move |node, now| node.put_immutable(now, value)).await?;
        Ok((target, lookup.done().await?))
    }

    /// Stores a version of a mutable item that is newer than the stored one (BEP 44).
    /// [`LookupStats::seq`] is its number; [`LookupStats::conflict`] tells that `cas` did not fit.
    ///
    /// # Errors
    /// As [`Dht::put`].
    pub async fn put_mutable(&self, put: PutMutable) -> Result<LookupStats, DhtError> {
        self.look(move |node, now| node.put_mutable(now, put)).await?.done().await
    }

    /// Asks a node whether it is there. `None` when it does not answer.
    ///
    /// # Errors
    /// When the address cannot be asked, and as [`Dht::get_peers`].
    pub async fn ping(&self, addr: SocketAddr) -> Result<Option<Pong>, DhtError> {
        let mut lookup = self.look(move |node, now| node.ping(now, addr)).await?;
        while let Some(event) = lookup.next().await {
            if let DhtEvent::Pong { id, rtt, .. } = event {
                return Ok(Some(Pong { id, rtt }));
            }
        }
        Ok(None)
    }

    /// Counts the peers of a torrent (BEP 33). `None` when no node knows of any. Nodes that do not trust our address name peers
    /// without telling which are seeds; those count as others.
    ///
    /// # Errors
    /// As [`Dht::get`].
    pub async fn scrape(&self, info_hash: Id) -> Result<Option<Scrape>, DhtError> {
        let mut lookup = self.look(move |node, now| node.scrape(now, info_hash)).await?;
        let mut found = None;
        while let Some(event) = lookup.next().await {
            match event {
                DhtEvent::Scraped { seeds, peers, .. } => found = Some(Scrape { seeds, peers }),
                DhtEvent::Done { stats, .. } => {
                    return outcome(found.filter(|scrape| scrape.seeds + scrape.peers > 0.5), &stats);
                }
                _ => {}
            }
        }
        Err(Unavailable::Over.into())
    }

    /// Asks a node for torrents that it keeps track of, and for nodes near `target` (BEP 51). Gives a
    /// [`DhtEvent::Samples`], or `None` when it does not answer.
    ///
    /// # Errors
    /// As [`Dht::ping`].
    pub async fn sample(&self, addr: SocketAddr, target: Id) -> Result<Option<DhtEvent>, DhtError> {
        let mut lookup = self.look(move |node, now| node.sample(now, addr, target)).await?;
        while let Some(event) = lookup.next().await {
            if matches!(event, DhtEvent::Samples { .. }) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Begins a command, and hears what comes of it.
    async fn look(
        &self,
        begin: impl FnOnce(&mut Node, Time) -> Result<LookupId, NotTaken> + Send + 'static,
    ) -> Result<Lookup, DhtError> {
        let link = self.link.clone();
        let begun = self.link.ask(move |plane| {
            let now = plane.now();
            let id = plane.engine().with_dht(now, |node| begin(node, now))?;
            Some(id.map(|id| Lookup::new(link, id)))
        });
        Ok(begun.await?.ok_or(Unavailable::Over)??)
    }

    async fn node<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Node, Time) -> R + Send + 'static,
    ) -> Result<R, DhtError> {
        let asked = self.link.ask(move |plane| {
            let now = plane.now();
            plane.engine().with_dht(now, |node| act(node, now))
        });
        Ok(asked.await?.ok_or(Unavailable::Over)?)
    }
}

/// What was found, unless nobody was there to be asked.
fn outcome<T>(found: Option<T>, stats: &LookupStats) -> Result<Option<T>, DhtError> {
    if found.is_none() && stats.answers == 0 { Err(DhtError::Unanswered) } else { Ok(found) }
}

impl std::fmt::Debug for Dht {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dht").finish_non_exhaustive()
    }
}
