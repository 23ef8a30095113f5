//! Which nodes are closest to a target, for our own lookups and for those of others.

use std::net::SocketAddr;
use std::time::Duration;

use super::Table;
use crate::engine::dht::bucket::{Bucket, Node};
use crate::engine::dht::id::Id;
use crate::engine::scope::{Scope, may_name};
use crate::engine::time::Time;

/// Without an answer for this long nobody is told of it. It is pinged after an hour, if not before.
const STALE: Duration = Duration::from_secs(75 * 60);

impl Table {
    /// The nodes closest to a target that are worth asking, closest first.
    pub(crate) fn closest(&self, target: &Id, count: usize) -> Vec<(Id, SocketAddr)> {
        self.closest_that(target, count, |node| node.failures < 2)
    }

    /// The nodes closest to a target that an asker may be told of, closest first.
    pub(crate) fn closest_for(
        &self,
        now: Time,
        asker: SocketAddr,
        target: &Id,
        count: usize,
    ) -> Vec<(Id, SocketAddr)> {
        let Some(scope) = Scope::of(asker.ip()) else { return Vec::new() };
        let is_fresh = |node: &Node| now - node.answered < STALE;
        let fits = |node: &Node| {
            node.is_reliable() && is_fresh(node) && may_name(scope, node.addr) && node.addr != asker
        };
        self.closest_that(target, count, fits)
    }

    fn closest_that(&self, target: &Id, count: usize, fits: impl Fn(&Node) -> bool) -> Vec<(Id, SocketAddr)> {
        let shared = self.place(target).0;
        // Ids in the target's own bucket are closest; those that share more bits with us than the target does come next, all
        // alike; then those that share ever fewer.
        let own = self.buckets.get(shared..=shared).unwrap_or_default();
        let deeper = self.buckets.get(shared + 1..).unwrap_or_default();
        let others = self.buckets.get(..shared).unwrap_or_default().chunks(1).rev();
        let mut found: Vec<&Node> = Vec::with_capacity(2 * count);
        let mut verified = 0;
        for group in [own, deeper].into_iter().chain(others) {
            if verified >= count {
                break;
            }
            let from = found.len();
            found.extend(group.iter().flat_map(Bucket::iter).filter(|node| fits(node)));
            verified += found.iter().skip(from).filter(|node| node.is_verified).count();
        }
        found.sort_unstable_by_key(|node| target.distance(&node.id));
        fair(&found, count).map(|node| (node.id, node.addr)).collect()
    }
}

/// The first so many of these, but unverified ones no more than half, unless there are too few others.
fn fair<'n>(nodes: &[&'n Node], count: usize) -> impl Iterator<Item = &'n Node> {
    let verified = nodes.iter().filter(|node| node.is_verified).count();
    let mut unverified = (count / 2).max(count.saturating_sub(verified));
    let fits = move |node: &&'n Node| {
        let fits = node.is_verified || unverified > 0;
        unverified -= usize::from(fits && !node.is_verified);
        fits
    };
    nodes.iter().copied().filter(fits).take(count)
}
