//! A bucket of the routing table, and the nodes in it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::id::Id;
use super::table::{K, subnet};
use crate::engine::time::Time;

/// Failures in a row after which a node goes if there is a spare one, and after which it goes in any case.
const FAILURES: [u8; 2] = [2, 3];

/// A node as the table knows it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: Id,
    pub(crate) addr: SocketAddr,
    /// Its last sign of life, zero if there was none in this run.
    pub(crate) heard: Time,
    /// When the table last had it pinged.
    pub(crate) asked: Time,
    /// How long its last answer took, in milliseconds; `u16::MAX` if it never answered.
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
        Self { id, addr, heard: Time::ZERO, asked: Time::ZERO, rtt: u16::MAX, failures: 0 }
    }

    pub(crate) fn hear(&mut self, now: Time, rtt: Duration) {
        self.heard = now;
        self.rtt = u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX).min(u16::MAX - 1);
        self.failures = 0;
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

    /// Whether the subnet has its node already, be it a spare one.
    pub(crate) fn has_subnet(&self, addr: SocketAddr) -> bool {
        let Some(net) = subnet(addr) else { return false };
        let in_net = |ip: IpAddr| match (ip, net) {
            (IpAddr::V4(ip), IpAddr::V4(net)) => {
                ip.octets().iter().zip(net.octets()).take(3).all(|(a, b)| *a == b)
            }
            (IpAddr::V6(ip), IpAddr::V6(net)) => {
                ip.octets().iter().zip(net.octets()).take(8).all(|(a, b)| *a == b)
            }
            _ => false,
        };
        // The address itself may come back with another id.
        self.nodes.iter().chain(&self.spare).any(|node| in_net(node.addr.ip()) && node.addr.ip() != addr.ip())
    }

    /// Whether a node more would be kept in a bucket of this size.
    pub(crate) fn has_use_for(&self, size: usize) -> bool {
        self.nodes.len() < size || self.spare.len() < K || self.nodes.iter().any(|node| node.failures > 0)
    }

    /// Takes a node in: in a free place, in that of one that fails, or as a spare one.
    pub(crate) fn add(&mut self, node: Node, size: usize) {
        if self.nodes.len() < size {
            self.nodes.push(node);
            return;
        }
        let worst = self.nodes.iter_mut().filter(|node| node.failures > 0).max_by_key(|node| node.failures);
        match worst {
            Some(worst) if node.failures == 0 => *worst = node,
            _ if self.spare.len() < K => self.spare.push(node),
            _ => {}
        }
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
        if node.failures >= with_spare
            && let Some(spare) = self.spare.pop()
        {
            *node = spare;
        } else if node.failures >= in_any_case {
            self.nodes.swap_remove(at);
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
    }
}
