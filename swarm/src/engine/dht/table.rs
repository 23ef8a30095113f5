//! The routing table: nodes that answered, many of far away and all of close by.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::bucket::{Bucket, Node};
use super::id::Id;
use crate::engine::scope::{Scope, may_name, subscriber};
use crate::engine::time::Time;

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
/// - A global /24 (IPv4) or /64 (IPv6) has one node in a bucket, and an address has one in the table.
/// - A full bucket keeps spare nodes, which take the place of those that fail.
#[derive(Debug)]
pub(crate) struct Table {
    own: Id,
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
    pub(crate) fn new(own: Id) -> Self {
        Self { own, buckets: (0..BUCKETS).map(|_| Bucket::default()).collect() }
    }

    pub(crate) fn own(&self) -> Id {
        self.own
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
        if id == self.own || !id.belongs_to(addr.ip()) {
            self.remove(addr);
            return;
        }
        let (index, size) = self.place(&id);
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        if let Some(node) = bucket.find(&id) {
            if node.addr == addr {
                node.hear(now, rtt);
                return;
            }
            // Whoever has the id keeps it while it is there.
            if node.failures == 0 {
                return;
            }
            bucket.retain(|node| node.id != id);
        }
        if !bucket.has_use_for(size) || bucket.has_subnet(addr) {
            return;
        }
        self.remove(addr);
        if let Some(bucket) = self.buckets.get_mut(index) {
            bucket.add(Node::answered(now, id, addr, rtt), size);
        }
    }

    /// A node from the last run: asked soon, told to nobody until it answers.
    pub(crate) fn restore(&mut self, id: Id, addr: SocketAddr) {
        if id == self.own || !id.belongs_to(addr.ip()) || self.holder(addr).is_some() {
            return;
        }
        let (index, size) = self.place(&id);
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        if bucket.find(&id).is_none() && bucket.len() < size && !bucket.has_subnet(addr) {
            bucket.add(Node::unproven(id, addr), size);
        }
    }

    /// A node asked us something. If it answered before, that is a sign of life.
    pub(crate) fn asked_us(&mut self, now: Time, id: Id, addr: SocketAddr) -> Standing {
        if id == self.own || !id.belongs_to(addr.ip()) {
            return Standing::Unwanted;
        }
        let (index, size) = self.place(&id);
        let Some(bucket) = self.buckets.get_mut(index) else { return Standing::Unwanted };
        let has_room = bucket.len() < size && !bucket.has_subnet(addr);
        match bucket.find(&id) {
            Some(node) if node.addr == addr && node.has_answered() => {
                node.heard = now;
                Standing::Known
            }
            Some(node) if node.addr == addr => Standing::Wanted,
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

    /// Whether there is a node at this address that answered not long ago.
    pub(crate) fn has_heard(&self, now: Time, addr: SocketAddr) -> bool {
        self.nodes().any(|node| node.addr == addr && node.has_answered() && now - node.heard < FRESH)
    }

    /// The nodes closest to a target that are worth asking, closest first.
    pub(crate) fn closest(&self, target: &Id, count: usize) -> Vec<(Id, SocketAddr)> {
        self.closest_that(target, count, |node| node.failures < 2)
    }

    /// The nodes closest to a target that an asker may be told of, closest first.
    pub(crate) fn closest_for(&self, asker: SocketAddr, target: &Id, count: usize) -> Vec<(Id, SocketAddr)> {
        let Some(scope) = Scope::of(asker.ip()) else { return Vec::new() };
        let fits = |node: &Node| node.is_reliable() && may_name(scope, node.addr) && node.addr != asker;
        self.closest_that(target, count, fits)
    }

    fn closest_that(&self, target: &Id, count: usize, fits: impl Fn(&Node) -> bool) -> Vec<(Id, SocketAddr)> {
        let shared = self.place(target).0;
        // Ids in the target's own bucket are closest; those that share more bits with us than the target does come next, all
        // alike; then those that share ever fewer.
        let own = self.buckets.get(shared).into_iter();
        let deeper = self.buckets.get(shared + 1..).unwrap_or_default();
        let mut found: Vec<(Id, SocketAddr)> = Vec::with_capacity(2 * count);
        let collect = |bucket: &Bucket, found: &mut Vec<(Id, SocketAddr)>| {
            found.extend(bucket.iter().filter(|node| fits(node)).map(|node| (node.id, node.addr)));
        };
        own.for_each(|bucket| collect(bucket, &mut found));
        if found.len() < count {
            deeper.iter().for_each(|bucket| collect(bucket, &mut found));
        }
        for bucket in self.buckets.get(..shared).unwrap_or_default().iter().rev() {
            if found.len() >= count {
                break;
            }
            collect(bucket, &mut found);
        }
        found.sort_unstable_by_key(|(id, _)| target.distance(id));
        found.truncate(count);
        found
    }

    /// A node to ping: one from the last run first, then one that has been silent for longest. It counts as asked from now on.
    pub(crate) fn questionable(&mut self, now: Time, pause: Duration) -> Option<(Id, SocketAddr)> {
        let due = |node: &&mut Node| {
            let silent = !node.has_answered() || node.failures > 0 || now - node.heard >= FRESH;
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
            if due && bucket.len() < size_of_bucket(index) {
                bucket.refreshed = Some(now);
                return u32::try_from(index).ok();
            }
        }
        None
    }

    /// Takes another id of our own. Nodes find their new places, as far as there is room.
    pub(crate) fn rename(&mut self, own: Id) {
        let mut nodes: Vec<Node> = Vec::new();
        for mut bucket in std::mem::replace(self, Self::new(own)).buckets {
            nodes.extend(bucket.drain());
        }
        nodes.sort_by_key(|node| (node.failures, std::cmp::Reverse(node.heard)));
        for node in nodes {
            let (index, size) = self.place(&node.id);
            if let Some(bucket) = self.buckets.get_mut(index)
                && node.id != own
                && !bucket.has_subnet(node.addr)
            {
                bucket.add(node, size);
            }
        }
    }

    /// Nodes for the next run, those heard last first.
    pub(crate) fn save(&self) -> Vec<(Id, SocketAddr)> {
        let mut nodes: Vec<&Node> = self.nodes().filter(|node| node.failures == 0).collect();
        nodes.sort_by_key(|node| (std::cmp::Reverse(node.heard), node.id));
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
                assert!(node.id.belongs_to(node.addr.ip()), "{} at {}", node.id, node.addr);
                assert!(!addresses.iter().any(|other| is_same(*other, node.addr)), "{} twice", node.addr);
                addresses.push(node.addr);
            }
        }
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

/// What there is one node of in a table: a global IP address; at local ones, many may share it.
fn is_same(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip() == b.ip() && (a.port() == b.port() || Scope::of(a.ip()) == Some(Scope::Global))
}

/// What there is one node of in a bucket, if the address is global: a /24 of IPv4, a /64 of IPv6.
pub(crate) fn subnet(addr: SocketAddr) -> Option<IpAddr> {
    if Scope::of(addr.ip()) != Some(Scope::Global) {
        return None;
    }
    match subscriber(addr.ip()) {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some(Ipv4Addr::new(a, b, c, 0).into())
        }
        v6 => Some(v6),
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
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const RTT: Duration = Duration::from_millis(50);
    const ASKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

    fn at(minutes: u64) -> Time {
        Time::from_secs(60 * minutes)
    }

    fn node(rng: &mut ChaCha8Rng, own: &Id, shared: u32) -> (Id, SocketAddr) {
        let addr = SocketAddr::new(Ipv4Addr::new(10, rng.random(), rng.random(), rng.random()).into(), 6881);
        (own.beside(shared, rng), addr)
    }

    fn filled(seed: u64) -> (Table, ChaCha8Rng) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut table = Table::new(Id::random(&mut rng));
        for shared in 0..160 {
            for _ in 0..200 {
                let (id, addr) = node(&mut rng, &table.own(), shared);
                table.answered(at(1), id, addr, RTT);
            }
        }
        table.check();
        (table, rng)
    }

    #[test]
    fn a_full_table_has_its_sizes_and_fits_its_memory() {
        let (table, _) = filled(1);
        assert_eq!(table.len(), (16 + 8 + 4 + 2 + 28) * K);
        assert!(size_of::<Node>() <= 128, "{}", size_of::<Node>());
        let heap: usize = table.buckets.iter().map(Bucket::heap).sum();
        let total = heap + table.buckets.capacity() * size_of::<Bucket>();
        assert!(total <= 64 * 1024, "{total}");
    }

    #[test]
    fn the_closest_are_what_sorting_all_says() {
        let (table, mut rng) = filled(2);
        for round in 0..200 {
            let target = table.own().beside(round % 161, &mut rng);
            let mut all: Vec<_> = table.nodes().map(|node| (node.id, node.addr)).collect();
            all.sort_by_key(|(id, _)| target.distance(id));
            assert_eq!(table.closest(&target, K), all[..K], "{round}");
        }
    }

    #[test]
    fn who_fails_makes_room_for_a_spare_and_who_has_none_goes_after_three() {
        let (mut table, mut rng) = filled(3);
        let target = table.own().beside(10, &mut rng);
        let (_, gone) = table.closest(&target, 1)[0];
        table.failed(gone);
        assert!(
            !table.closest_for(ASKER, &target, K).iter().any(|(_, addr)| *addr == gone),
            "not told any more"
        );
        assert!(table.closest(&target, K).iter().any(|(_, addr)| *addr == gone));
        let len = table.len();
        table.failed(gone);
        assert!(table.holder(gone).is_none() && table.len() == len, "a spare took its place");

        let mut table = Table::new(table.own());
        let (id, addr) = node(&mut rng, &table.own(), 3);
        table.answered(at(1), id, addr, RTT);
        for left in [1, 1, 0] {
            table.failed(addr);
            assert_eq!(table.len(), left);
        }
    }

    #[test]
    fn the_silent_are_questionable_oldest_first_and_once() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut table = Table::new(Id::random(&mut rng));
        let nodes: Vec<_> = (0..3).map(|_| node(&mut rng, &table.own(), 5)).collect();
        for ((id, addr), minute) in nodes.iter().zip([1, 2, 3]) {
            table.answered(at(minute), *id, *addr, RTT);
        }
        let pause = Duration::from_secs(60);
        assert_eq!(table.questionable(at(15), pause), None);
        assert_eq!(table.questionable(at(17), pause), Some(nodes[0]));
        assert_eq!(table.questionable(at(17), pause), Some(nodes[1]));
        assert_eq!(table.questionable(at(17), pause), None);
        assert_eq!(table.asked_us(at(17), nodes[0].0, nodes[0].1), Standing::Known);
        table.answered(at(18), nodes[1].0, nodes[1].1, RTT);
        assert_eq!(table.questionable(at(20), pause), Some(nodes[2]), "a query is a sign of life");
        let restored = node(&mut rng, &table.own(), 6);
        table.restore(restored.0, restored.1);
        assert_eq!(table.questionable(at(21), pause), Some(restored));
        assert!(!table.closest_for(ASKER, &restored.0, K).contains(&restored), "not told until it answers");
        assert!(table.closest(&restored.0, K).contains(&restored));
    }

    #[test]
    fn a_subnet_has_one_node_in_a_bucket_and_an_address_one_in_the_table() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut table = Table::new(Id::random(&mut rng));
        for _ in 0..5000 {
            let addr = SocketAddr::new(Ipv4Addr::new(9, 9, 9, rng.random()).into(), rng.random_range(1..9));
            let id = Id::of_address(addr.ip(), &mut rng);
            table.answered(at(1), id, addr, RTT);
            table.check();
        }
        assert!((1..=12).contains(&table.len()), "{}", table.len());
        let before = table.len();
        let addr = "9.8.7.6:5".parse().unwrap();
        table.answered(at(1), Id::random(&mut rng), addr, RTT);
        assert_eq!(table.len(), before, "an id that is not of its address");
        assert_eq!(table.asked_us(at(1), table.own(), addr), Standing::Unwanted);
    }

    #[test]
    fn an_address_that_changes_its_id_is_one_node_and_an_id_stays_with_its_address() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut table = Table::new(Id::random(&mut rng));
        let ((a, here), (b, there)) = (node(&mut rng, &table.own(), 2), node(&mut rng, &table.own(), 7));
        table.answered(at(1), a, here, RTT);
        table.answered(at(1), b, here, RTT);
        assert_eq!(table.save(), [(b, here)]);
        table.answered(at(1), b, there, RTT);
        assert_eq!(table.save(), [(b, here)]);
        table.failed(here);
        table.answered(at(1), b, there, RTT);
        assert_eq!(table.save(), [(b, there)]);
    }

    #[test]
    fn buckets_are_refreshed_in_turn_and_full_ones_are_not() {
        let (mut table, mut rng) = filled(7);
        assert_eq!(table.lacking(at(1), FRESH), None);
        let own = Id::random(&mut rng);
        table.rename(own);
        table.check();
        assert!(table.own() == own && table.len() > K);
        let pause = Duration::from_secs(60);
        let first: Vec<u32> = std::iter::from_fn(|| table.lacking(at(2), pause)).collect();
        assert!(!first.is_empty() && first.windows(2).all(|pair| pair[0] < pair[1]), "{first:?}");
        assert_eq!(table.lacking(at(3), pause), Some(first[0]));
    }
}
