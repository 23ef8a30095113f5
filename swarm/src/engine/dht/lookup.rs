//! Lookups: what is looked for, what was found, and what is stored at the end.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use wire::krpc::{Method, MutableItem, Reply, Want};

use super::api::{Announce, DhtEvent, First, LookupId, LookupStats, Mutable, PutMutable, Urgency};
use super::id::Id;
use super::item::is_signed;
use super::table::K;
use super::tally::Tally;
use super::walk::Walk;

/// Peers told by one lookup.
const MAX_PEERS: usize = 3000;

/// What a lookup is for.
#[derive(Debug)]
pub(crate) enum Goal {
    /// Nodes near the target, for the table.
    Nodes,
    /// Peers; and perhaps to announce ourselves.
    Peers { announce: Option<Announce>, no_seeds: bool },
    /// How many peers there are.
    Scrape(Box<Tally>),
    /// An item that is its target's hash.
    Immutable { put: Option<Vec<u8>> },
    /// An item of a key; and perhaps a new version of it.
    Mutable { key: [u8; 32], salt: Vec<u8>, best: Option<Box<Mutable>>, put: Option<Put> },
}

/// What is to be put in place of a mutable item.
#[derive(Debug)]
pub(crate) enum Put {
    /// To be numbered and signed once the stored number is known.
    New(Box<PutMutable>),
    /// As it was signed.
    Signed(Box<Mutable>),
}

/// Who makes lookups, and in which address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The user: it ends with an event.
    User,
    /// The table: to know the nodes near ourselves.
    Join,
    /// The table: to fill a bucket.
    Refresh,
}

/// A lookup that runs.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) goal: Goal,
    pub(crate) origin: Origin,
    pub(crate) urgency: Urgency,
    pub(crate) target: Id,
    /// One for each family: IPv4, IPv6.
    pub(crate) walks: [Option<Walk>; 2],
    pub(crate) stats: LookupStats,
    /// Nodes that told of peers but of no nodes, and how they were found: they are asked for nodes too.
    pub(crate) follow: Vec<(SocketAddr, Id, u32)>,
    /// Those of them that were asked and are not late.
    pub(crate) following: BTreeSet<SocketAddr>,
    /// How many there may be more.
    follows: usize,
    /// Nodes that are to be asked once more, in so many bytes that their answers may be long. `None` until the walks are over.
    pub(crate) again: Option<Vec<(SocketAddr, Id)>>,
    /// Those of them that were asked and are not late.
    pub(crate) asking_again: BTreeSet<SocketAddr>,
    /// Nodes that are to store, and their tokens. `None` until the walks are over.
    pub(crate) stores: Option<Vec<Store>>,
    /// Nodes that were asked to store and have not answered.
    pub(crate) storing: usize,
    /// There is nothing better to be found.
    pub(crate) satisfied: bool,
    told: BTreeSet<SocketAddr>,
}

/// A node that is to store something.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) to: SocketAddr,
    pub(crate) id: Id,
    token: Box<[u8]>,
    cas: Option<i64>,
}

impl Lookup {
    pub(crate) fn new(goal: Goal, origin: Origin, target: Id, walks: [Option<Walk>; 2]) -> Self {
        // Without nodes near ourselves nothing else goes well.
        let urgency = if origin == Origin::Refresh { Urgency::Rest } else { Urgency::Asked };
        Self {
            goal,
            origin,
            urgency,
            target,
            walks,
            stats: LookupStats::default(),
            follow: Vec::new(),
            following: BTreeSet::new(),
            follows: K,
            again: None,
            asking_again: BTreeSet::new(),
            stores: None,
            storing: 0,
            satisfied: false,
            told: BTreeSet::new(),
        }
    }

    pub(crate) fn walk(&mut self, addr: SocketAddr) -> Option<&mut Walk> {
        let [v4, v6] = &mut self.walks;
        if addr.is_ipv4() { v4.as_mut() } else { v6.as_mut() }
    }

    /// Asks a node of unknown id too, if it is still looking.
    pub(crate) fn ask_too(&mut self, addr: SocketAddr) {
        if self.stores.is_none()
            && let Some(walk) = self.walk(addr)
        {
            walk.ask_too(addr);
        }
    }

    /// Whether it goes through this family.
    pub(crate) fn is_of(&self, ipv4: bool) -> bool {
        let [v4, v6] = &self.walks;
        if ipv4 { v4.is_some() } else { v6.is_some() }
    }

    /// What every node on the way is asked.
    pub(crate) fn question(&self, want: Option<Want>) -> Method<'static> {
        let target = self.target.0;
        match &self.goal {
            Goal::Nodes => Method::FindNode { target, want },
            Goal::Peers { no_seeds, .. } => {
                Method::GetPeers { info_hash: target, want, no_seeds: *no_seeds, scrape: false }
            }
            Goal::Scrape(_) => Method::GetPeers { info_hash: target, want, no_seeds: false, scrape: true },
            Goal::Immutable { .. } | Goal::Mutable { .. } => Method::Get { target, seq: None, want },
        }
    }

    /// Whether a node may have more of what is looked for than it sent to an address that may be forged.
    pub(crate) fn is_short(&self, reply: &Reply<'_>) -> bool {
        match &self.goal {
            Goal::Nodes | Goal::Peers { .. } => false,
            Goal::Scrape(_) => reply.seeds.is_none() && reply.peers.is_none() && !reply.values.is_empty(),
            Goal::Immutable { .. } => reply.value.is_none(),
            Goal::Mutable { .. } => reply.value.is_none() && reply.seq.is_some(),
        }
    }

    /// Those of the closest nodes whose answers were too short to hold what they may have.
    pub(crate) fn short_answers(&self) -> Vec<(SocketAddr, Id)> {
        let best = match &self.goal {
            Goal::Mutable { best, .. } => best.as_ref().map(|best| best.seq),
            Goal::Immutable { .. } if self.stats.first.is_some() => return Vec::new(),
            _ => None,
        };
        let closest = self.walks.iter().flatten().flat_map(Walk::closest);
        let may_have_more =
            closest.filter(|node| node.is_short && best.is_none_or(|best| node.seq > Some(best)));
        may_have_more.map(|node| (node.addr, node.id)).collect()
    }

    /// A node told of peers and of no nodes: the old reading of BEP 5, with which a lookup that has no other nodes would end here.
    pub(crate) fn follow(&mut self, node: (SocketAddr, Id, u32)) {
        if self.follows > 0 && self.stores.is_none() {
            self.follows -= 1;
            self.follow.push(node);
        }
    }

    /// Takes what a node says of the target. `peers` are those that it may name.
    pub(crate) fn take(
        &mut self,
        id: LookupId,
        from: SocketAddr,
        hops: u32,
        reply: &Reply<'_>,
        peers: impl Iterator<Item = SocketAddr>,
    ) -> Option<DhtEvent> {
        let first = First { hops, queries: self.stats.queries };
        let event = match &mut self.goal {
            Goal::Nodes => None,
            Goal::Peers { .. } => {
                let left = MAX_PEERS - self.told.len();
                let new: Vec<_> = peers.filter(|peer| self.told.insert(*peer)).take(left).collect();
                self.stats.peers = u32::try_from(self.told.len()).unwrap_or(u32::MAX);
                (!new.is_empty()).then_some(DhtEvent::Peers { lookup: id, from, peers: new })
            }
            Goal::Scrape(tally) => {
                tally.add(reply, peers);
                None
            }
            Goal::Immutable { put } => {
                let right = |value: &&[u8]| super::item::target_of_immutable(value) == self.target;
                let found = reply.value.filter(right).filter(|_| !self.satisfied)?;
                self.satisfied = put.is_none();
                (put.is_none() || self.stats.first.is_none())
                    .then(|| DhtEvent::Immutable { lookup: id, value: found.into() })
            }
            Goal::Mutable { key, salt, best, .. } => {
                let item = newer(key, salt, best.as_deref(), reply)?;
                *best = Some(Box::new(item.clone()));
                Some(DhtEvent::Mutable { lookup: id, item })
            }
        };
        if event.is_some() {
            self.stats.first.get_or_insert(first);
        }
        event
    }

    /// The walks are over: chooses the nodes that are to store, or gives up because of what is stored already.
    pub(crate) fn conclude(&mut self) {
        let cas = self.number();
        let walks = || self.walks.iter().flatten();
        self.stats.hops = walks().map(Walk::hops).max().unwrap_or(0);
        let wants_to_store = match &self.goal {
            Goal::Peers { announce, .. } => announce.is_some(),
            Goal::Immutable { put } => put.is_some(),
            Goal::Mutable { put, .. } => put.is_some() && self.stats.conflict.is_none(),
            Goal::Nodes | Goal::Scrape(_) => false,
        };
        let store = |node: &super::walk::Candidate| {
            let token = node.token.clone()?;
            // Nodes with an older version may skip one.
            let cas = cas.filter(|cas| node.seq == Some(*cas));
            Some(Store { to: node.addr, id: node.id, token, cas })
        };
        // Who has no room gives no token (BEP 33), and others take its place.
        let takers = |walk: &'_ Walk| -> Vec<Store> {
            walk.closest_that(|node| node.token.is_some()).filter_map(store).collect()
        };
        let stores = walks().filter(|_| wants_to_store).flat_map(takers);
        self.stores = Some(stores.collect());
    }

    /// What a node is asked to store.
    pub(crate) fn store<'a>(&'a self, store: &'a Store) -> Option<Method<'a>> {
        let token = &*store.token;
        match &self.goal {
            Goal::Peers { announce: Some(announce), .. } => Some(Method::AnnouncePeer {
                info_hash: self.target.0,
                port: announce.port,
                implied_port: announce.implied_port,
                token,
                name: None,
                seed: announce.seed,
            }),
            Goal::Immutable { put: Some(value) } => Some(Method::Put { token, value, mutable: None }),
            Goal::Mutable { put: Some(Put::Signed(item)), .. } => {
                let Mutable { key, salt, seq, value, signature } = &**item;
                let mutable = MutableItem { key, salt, seq: *seq, cas: store.cas, signature };
                Some(Method::Put { token, value, mutable: Some(mutable) })
            }
            _ => None,
        }
    }

    /// What is left to say at the end.
    pub(crate) fn last_words(&self, id: LookupId) -> Option<DhtEvent> {
        match &self.goal {
            Goal::Scrape(tally) => {
                let (seeds, peers) = tally.estimate();
                Some(DhtEvent::Scraped { lookup: id, seeds, peers })
            }
            _ => None,
        }
    }

    /// Numbers and signs what is to be put, now that it is known what is stored. Returns what `cas` to show.
    fn number(&mut self) -> Option<i64> {
        let Goal::Mutable { best, put, .. } = &mut self.goal else { return None };
        let stored = best.as_ref().map(|item| item.seq);
        match put {
            None => None,
            Some(Put::Signed(item)) => {
                self.stats.seq = Some(item.seq);
                // The same item may be put again, to keep it alive.
                let same = best.as_ref().is_some_and(|best| best.value == item.value);
                if stored.is_some_and(|stored| stored > item.seq || (stored == item.seq && !same)) {
                    self.stats.conflict = stored;
                }
                None
            }
            Some(Put::New(new)) => {
                if new.cas.is_some() && stored.is_some() && stored != new.cas {
                    self.stats.conflict = stored;
                    return None;
                }
                let Some(seq) = stored.map_or(Some(1), |stored| stored.checked_add(1)) else {
                    self.stats.conflict = stored;
                    return None;
                };
                self.stats.seq = Some(seq);
                let cas = new.cas;
                let PutMutable { secret, salt, value, .. } = std::mem::take(&mut **new);
                *put = Some(Put::Signed(Box::new(Mutable::sign(&secret, salt, seq, value))));
                cas
            }
        }
    }
}

/// The item in a reply, if it is of the key, newer than the best one, and rightly signed.
fn newer(key: &[u8; 32], salt: &[u8], best: Option<&Mutable>, reply: &Reply<'_>) -> Option<Mutable> {
    let (value, signature, seq) = (reply.value?, reply.signature?, reply.seq?);
    let is_new = seq >= 0 && best.is_none_or(|best| best.seq < seq) && reply.key == Some(key);
    (is_new && is_signed(key, salt, seq, value, signature)).then(|| Mutable {
        key: *key,
        salt: salt.into(),
        seq,
        value: value.into(),
        signature: *signature,
    })
}
