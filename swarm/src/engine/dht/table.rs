//! The routing table: nodes that answered, many of far away and all of close by.

use std::net::SocketAddr;
use std::time::Duration;

use super::bucket::{Bucket, Node};
use super::id::Id;
use super::networks::is_same;
use crate::engine::time::Time;

mod telling;

/// Nodes of a bucket, and answers that end a lookup.
pub(crate) const K: usize = 8;
/// Buckets. The last one is for all ids that share 31 bits or more with ours: a network of 2^34 nodes fills it.
const BUCKETS: usize = 32;
/// Without a sign of life for this long a node is questionable.
pub(crate) const FRESH: Duration = Duration::from_secs(15 * 60);

/// Nodes of one address family, by the number of leading bits that their ids share with ours.
///
/// - A node comes in when it answered, or from the last run; others are told only of nodes that answered.
/// - The four buckets for what is far away hold more than 8, because each doubling there saves lookups up to one hop.
/// - A global /24 (IPv4) or /64 (IPv6) has one node in a bucket, a /48 has two, and an address has one in the table.
/// - A full bucket keeps spare nodes, which take the place of those that fail.
/// - A node whose id is of its address (BEP 42) takes the place of one whose id is not.
#[derive(Debug)]
pub(crate) struct Table {
    own: Id,
    /// Global nodes whose id is not of their address are not taken in at all.
    enforces: bool,
    buckets: Vec<Bucket>,
}

/// What a table thinks of a node that it is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is in the table and answered before.
    Known,
    /// It is not there, and there would be room for it.
    Wanted,
    /// It is of no use.
    Unwanted,
}

impl Table {
    pub(crate) fn new(own: Id, enforces: bool) -> Self {
        Self { own, enforces, buckets: (0..BUCKETS).map(|_| Bucket::default()).collect() }
    }

    pub(crate) fn own(&self) -> Id {
        self.own
    }

    /// Whether nodes are taken in only if their id is of their address.
    pub(crate) fn enforces(&self) -> bool {
        self.enforces
    }

    /// Nodes in the table, spare ones not counted.
    pub(crate) fn len(&self) -> usize {
        self.nodes().count()
    }

    /// Nodes that answered and did not fail since.
    pub(crate) fn good(&self) -> usize {
        self.nodes().filter(|node| node.is_reliable()).count()
    }

    /// A node answered.
    pub(crate) fn answered(&mut self, now: Time, id: Id, addr: SocketAddr, rtt: Duration) {
        if !self.may_hold(&id, addr) {
            self.remove(addr);
            return;
        }
        let node = Node::answered(now, id, addr, rtt);
        let is_verified = node.is_verified;
        let (index, size) = self.place(&id);
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        if let Some(holder) = bucket.find(&id) {
            if holder.addr == addr {
                holder.hear(now, rtt);
                return;
            }
            // Whoever has the id keeps it while it is there.
            if holder.failures == 0 && holder.is_verified >= is_verified {
                return;
            }
            bucket.retain(|node| node.id != id);
        }
        let has_use = bucket.has_use_for(size, is_verified) && !bucket.has_subnet(addr, is_verified);
        // Two nodes may share a global address: the verified one stays.
        let is_lesser =
            |holder: &Node| holder.addr != addr && holder.failures == 0 && holder.is_verified && !is_verified;
        if !has_use || self.holder(addr).is_some_and(is_lesser) {
            return;
        }
        self.remove(addr);
        if let Some(bucket) = self.buckets.get_mut(index) {
            bucket.add(node, size);
        }
    }

    /// A node from the last run: asked soon, told to nobody until it answers.
    pub(crate) fn restore(&mut self, id: Id, addr: SocketAddr) {
        if !self.may_hold(&id, addr) || self.holder(addr).is_some() {
            return;
        }
        let node = Node::unproven(id, addr);
        let (index, size) = self.place(&id);
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        let has_subnet = bucket.has_subnet(addr, node.is_verified);
        if bucket.find(&id).is_none() && bucket.has_place(size, node.is_verified) && !has_subnet {
            bucket.add(node, size);
        }
    }

    /// Whether the nodes are there is not known any more. They keep their places, and are asked soon.
    pub(crate) fn doubt(&mut self) {
        self.buckets.iter_mut().flat_map(Bucket::iter_mut).for_each(Node::doubt);
    }

    /// A node asked us something. If it answered before, that is a sign of life.
    pub(crate) fn asked_us(&mut self, now: Time, id: Id, addr: SocketAddr) -> Standing {
        if !self.may_hold(&id, addr) {
            return Standing::Unwanted;
        }
        let is_verified = id.belongs_to(addr.ip());
        let (index, size) = self.place(&id);
        let Some(bucket) = self.buckets.get_mut(index) else { return Standing::Unwanted };
        let has_room = bucket.has_place(size, is_verified) && !bucket.has_subnet(addr, is_verified);
        match bucket.find(&id) {
            Some(node) if node.addr == addr && node.has_answered() => {
                node.heard = now;
                Standing::Known
            }
            Some(node) if node.addr == addr || !node.is_verified && is_verified => Standing::Wanted,
            Some(_) => Standing::Unwanted,
            None if has_room => Standing::Wanted,
            None => Standing::Unwanted,
        }
    }

    /// A node did not answer.
    pub(crate) fn failed(&mut self, addr: SocketAddr) {
        for bucket in &mut self.buckets {
            if bucket.failed(addr) {
                return;
            }
        }
    }

    /// A node answered by another id than it was asked by. That speaks against it only if it had that one here: others may have
    /// lied about it.
    pub(crate) fn renamed(&mut self, was: &Id, addr: SocketAddr) {
        let index = self.place(was).0;
        let bucket = self.buckets.get_mut(index);
        if bucket.is_some_and(|bucket| bucket.find(was).is_some_and(|node| node.addr == addr)) {
            self.failed(addr);
        }
    }

    /// Whether there is a node at this address that answered not long ago. What is asked in its name does not count.
    pub(crate) fn has_answered(&self, now: Time, addr: SocketAddr) -> bool {
        let is_fresh = |node: &Node| node.has_answered() && now - node.answered < FRESH;
        self.nodes().any(|node| node.addr == addr && is_fresh(node))
    }

    /// A node to ping: one from the last run first, then one that has been silent for longest. It counts as asked from now on.
    /// Now and then one has to answer, however much is asked in its name.
    pub(crate) fn questionable(&mut self, now: Time, pause: Duration) -> Option<(Id, SocketAddr)> {
        let due = |node: &&mut Node| {
            let mute = now - node.heard >= FRESH || now - node.answered >= 4 * FRESH;
            let silent = !node.has_answered() || node.failures > 0 || mute;
            silent && (node.asked == Time::ZERO || now - node.asked >= pause)
        };
        let nodes = self.buckets.iter_mut().flat_map(Bucket::iter_mut);
        let node = nodes.filter(due).min_by_key(|node| (node.heard, node.asked))?;
        node.asked = now;
        Some((node.id, node.addr))
    }

    /// A bucket to fill by a lookup: one that is not full and saw no lookup for `pause`. Buckets beyond the last one that has
    /// nodes have nobody to find but for chance.
    pub(crate) fn lacking(&mut self, now: Time, pause: Duration) -> Option<u32> {
        let last = self.buckets.iter().rposition(|bucket| bucket.len() > 0)?;
        for (index, bucket) in (0..).zip(self.buckets.iter_mut().take(last + 1)) {
            let due = bucket.refreshed.is_none_or(|at| now - at >= pause);
            if due && bucket.has_place(size_of_bucket(index), true) {
                bucket.refreshed = Some(now);
                return u32::try_from(index).ok();
            }
        }
        None
    }

    /// Whether a node may be in the table at all.
    fn may_hold(&self, id: &Id, addr: SocketAddr) -> bool {
        *id != self.own && (!self.enforces || id.belongs_to(addr.ip()))
    }

    /// Takes another id of our own. Nodes find their new places, as far as there is room.
    pub(crate) fn rename(&mut self, own: Id) {
        let mut nodes: Vec<Node> = Vec::new();
        for mut bucket in std::mem::replace(self, Self::new(own, self.enforces)).buckets {
            nodes.extend(bucket.drain());
        }
        nodes.sort_by_key(|node| (!node.is_verified, node.failures, std::cmp::Reverse(node.heard)));
        for node in nodes {
            let (index, size) = self.place(&node.id);
            if let Some(bucket) = self.buckets.get_mut(index)
                && node.id != own
                && !bucket.has_subnet(node.addr, node.is_verified)
            {
                bucket.add(node, size);
            }
        }
    }

    /// Nodes for the next run: verified ones first, and of those the ones heard last.
    pub(crate) fn save(&self) -> Vec<(Id, SocketAddr)> {
        let mut nodes: Vec<&Node> = self.nodes().filter(|node| node.failures == 0).collect();
        nodes.sort_by_key(|node| (!node.is_verified, std::cmp::Reverse(node.heard), node.id));
        nodes.into_iter().map(|node| (node.id, node.addr)).collect()
    }

    /// Panics if the table breaks its rules.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn check(&self) {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for (index, bucket) in self.buckets.iter().enumerate() {
            bucket.check(size_of_bucket(index));
            for node in bucket.iter() {
                assert_eq!(self.place(&node.id).0, index, "{} is in another's place", node.id);
                assert_eq!(node.is_verified, node.id.belongs_to(node.addr.ip()));
                assert!(node.is_verified || !self.enforces, "{} at {}", node.id, node.addr);
                addresses.push(node.addr);
            }
        }
        addresses.sort_unstable();
        let mut pairs = addresses.iter().zip(addresses.iter().skip(1));
        let twice = pairs.find(|(one, next)| is_same(**one, **next));
        assert!(twice.is_none(), "{twice:?} is there twice");
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.buckets.iter().flat_map(Bucket::iter)
    }

    /// The bucket of an id, and how many nodes it holds.
    fn place(&self, id: &Id) -> (usize, usize) {
        let shared = usize::try_from(self.own.shared_bits(id)).unwrap_or(BUCKETS);
        let index = shared.min(BUCKETS - 1);
        (index, size_of_bucket(index))
    }

    fn holder(&self, addr: SocketAddr) -> Option<&Node> {
        self.nodes().find(|node| is_same(node.addr, addr))
    }

    /// An address is one node: what it was before is gone.
    fn remove(&mut self, addr: SocketAddr) {
        self.buckets.iter_mut().for_each(|bucket| bucket.retain(|node| !is_same(node.addr, addr)));
    }
}

fn size_of_bucket(index: usize) -> usize {
    match index {
        0 => 16 * K,
        1 => 8 * K,
        2 => 4 * K,
        3 => 2 * K,
        _ => K,
    }
}

#[cfg(test)]
mod tests;
