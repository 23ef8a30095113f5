//! A bucket of the routing table, and the nodes in it.

use std::net::SocketAddr;
use std::time::Duration;

use super::id::Id;
use super::networks::{site, subnet};
use super::table::K;
use crate::engine::time::Time;

/// Failures in a row after which a node goes if there is a spare one, and after which it goes in any case.
const FAILURES: [u8; 2] = [2, 3];
/// Nodes of a /48 of IPv6 in a bucket.
const OF_SITE: usize = 2;

/// A node as the table knows it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: Id,
    pub(crate) addr: SocketAddr,
    /// Its id is one of its address (BEP 42).
    pub(crate) is_verified: bool,
    /// Its last sign of life, zero if there was none in this run.
    pub(crate) heard: Time,
    /// Its last answer, zero if there was none in this run. Unlike a question it cannot be forged.
    pub(crate) answered: Time,
    /// When the table last had it pinged.
    pub(crate) asked: Time,
    /// How long its last answer took, in milliseconds; `u16::MAX` if there is none that counts.
    rtt: u16,
    /// Questions without an answer since.
    pub(crate) failures: u8,
}

impl Node {
    pub(crate) fn answered(now: Time, id: Id, addr: SocketAddr, rtt: Duration) -> Self {
        let mut node = Self::unproven(id, addr);
        node.hear(now, rtt);
        node
    }

    pub(crate) fn unproven(id: Id, addr: SocketAddr) -> Self {
        let is_verified = id.belongs_to(addr.ip());
        let never = Time::ZERO;
        Self {
            id,
            addr,
            is_verified,
            heard: never,
            answered: never,
            asked: never,
            rtt: u16::MAX,
            failures: 0,
        }
    }

    pub(crate) fn hear(&mut self, now: Time, rtt: Duration) {
        (self.heard, self.answered) = (now, now);
        self.rtt = u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX).min(u16::MAX - 1);
        self.failures = 0;
    }

    /// Its answers do not count any more.
    pub(crate) fn doubt(&mut self) {
        (self.rtt, self.asked) = (u16::MAX, Time::ZERO);
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.rtt != u16::MAX
    }

    /// Whether others may be told of it.
    pub(crate) fn is_reliable(&self) -> bool {
        self.has_answered() && self.failures == 0
    }
}

/// Nodes that share a number of bits with us, and spare ones.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    nodes: Vec<Node>,
    /// Answered when the bucket was full; the last one answered last.
    spare: Vec<Node>,
    /// When a lookup was last made to fill it.
    pub(crate) refreshed: Option<Time>,
}

impl Bucket {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Nodes whose ids are of their addresses.
    pub(crate) fn verified(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_verified).count()
    }

    /// Whether there is a place in a bucket of this size, be it that of an unverified node.
    pub(crate) fn has_place(&self, size: usize, is_verified: bool) -> bool {
        (if is_verified { self.verified() } else { self.nodes.len() }) < size
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut()
    }

    /// A node or spare node by its id.
    pub(crate) fn find(&mut self, id: &Id) -> Option<&mut Node> {
        self.nodes.iter_mut().chain(&mut self.spare).find(|node| node.id == *id)
    }

    /// Whether the subnet, or the /48, has its nodes already, be they spare ones. Unverified ones do not keep out a verified one.
    pub(crate) fn has_subnet(&self, addr: SocketAddr, is_verified: bool) -> bool {
        let nodes = || self.nodes.iter().chain(&self.spare).filter(|node| node.is_verified >= is_verified);
        nodes().any(|node| is_neighbour(node, addr))
            || nodes().filter(|node| is_of_site(node, addr)).count() >= OF_SITE
    }

    /// Whether a node more would be kept in a bucket of this size.
    pub(crate) fn has_use_for(&self, size: usize, is_verified: bool) -> bool {
        let is_lesser = |node: &Node| node.failures > 0 || !node.is_verified && is_verified;
        let mut all = self.nodes.iter().chain(&self.spare);
        self.nodes.len() < size || self.spare.len() < K || all.any(is_lesser)
    }

    /// Takes a node in: in a free place, in that of one that is worth less, or as a spare one.
    pub(crate) fn add(&mut self, node: Node, size: usize) {
        let addr = node.addr;
        if node.is_verified {
            self.retain(|other| other.is_verified || !(is_neighbour(other, addr) || is_of_site(other, addr)));
        }
        if self.nodes.len() < size {
            self.nodes.push(node);
            return;
        }
        // Unverified ones are worth least, then those that fail.
        let lesser = |other: &&mut Node| {
            let rank = |node: &Node| (node.is_verified, node.failures == 0);
            rank(other) < rank(&node)
        };
        let places = self.nodes.iter_mut().filter(lesser);
        match places.min_by_key(|other| (other.is_verified, std::cmp::Reverse(other.failures))) {
            Some(place) => {
                let former = std::mem::replace(place, node);
                if former.failures == 0 {
                    self.keep_spare(former);
                }
            }
            None => self.keep_spare(node),
        }
    }

    fn keep_spare(&mut self, node: Node) {
        if self.spare.len() < K {
            self.spare.push(node);
        } else if node.is_verified
            && let Some(place) = self.spare.iter_mut().find(|spare| !spare.is_verified)
        {
            *place = node;
        }
    }

    /// The spare node that answered last, a verified one if there is one.
    fn take_spare(&mut self) -> Option<Node> {
        let at = self.spare.iter().rposition(|node| node.is_verified);
        at.or(self.spare.len().checked_sub(1)).map(|at| self.spare.remove(at))
    }

    /// A node did not answer. Returns whether it is one of these.
    pub(crate) fn failed(&mut self, addr: SocketAddr) -> bool {
        if let Some(at) = self.spare.iter().position(|node| node.addr == addr) {
            self.spare.remove(at);
            return true;
        }
        let Some(at) = self.nodes.iter().position(|node| node.addr == addr) else { return false };
        let Some(node) = self.nodes.get_mut(at) else { return false };
        node.failures = node.failures.saturating_add(1);
        let [with_spare, in_any_case] = FAILURES;
        if node.failures >= with_spare && !self.spare.is_empty() || node.failures >= in_any_case {
            self.nodes.swap_remove(at);
            let spare = self.take_spare();
            self.nodes.extend(spare);
        }
        true
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Node) -> bool) {
        self.nodes.retain(&keep);
        self.spare.retain(keep);
    }

    /// All nodes, spare ones last.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Node> {
        self.nodes.drain(..).chain(self.spare.drain(..))
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(crate) fn heap(&self) -> usize {
        (self.nodes.capacity() + self.spare.capacity()) * size_of::<Node>()
    }

    /// Panics if the bucket breaks its rules.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn check(&self, size: usize) {
        assert!(self.nodes.len() <= size && self.spare.len() <= K);
        let nets: Vec<_> =
            self.nodes.iter().chain(&self.spare).filter_map(|node| subnet(node.addr)).collect();
        let different: std::collections::BTreeSet<_> = nets.iter().collect();
        assert_eq!(nets.len(), different.len(), "a subnet twice: {nets:?}");
        for node in self.nodes.iter().chain(&self.spare) {
            let others = self.nodes.iter().chain(&self.spare).filter(|other| is_of_site(other, node.addr));
            assert!(others.count() < OF_SITE, "a /48 too often: {nets:?}");
        }
    }
}

/// Whether a node is of the same global subnet as an address, but not at it: that one may come back with another id.
fn is_neighbour(node: &Node, addr: SocketAddr) -> bool {
    node.addr.ip() != addr.ip() && subnet(addr).is_some_and(|net| subnet(node.addr) == Some(net))
}

/// Whether a node is of the same /48 as an address, but not at it.
fn is_of_site(node: &Node, addr: SocketAddr) -> bool {
    node.addr.ip() != addr.ip() && site(addr).is_some_and(|net| site(node.addr) == Some(net))
}
