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
/// Without an answer for this long nobody is told of it. It is pinged after an hour, if not before.
const STALE: Duration = Duration::from_secs(75 * 60);

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

/// What anybody can have of IPv6: a /48.
pub(crate) fn site(addr: SocketAddr) -> Option<IpAddr> {
    match subnet(addr)? {
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Some(IpAddr::from([a, b, c, 0, 0, 0, 0, 0]))
        }
        IpAddr::V4(_) => None,
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
        let mut table = Table::new(Id::random(&mut rng), false);
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
            !table.closest_for(at(1), ASKER, &target, K).iter().any(|(_, addr)| *addr == gone),
            "not told any more"
        );
        assert!(table.closest(&target, K).iter().any(|(_, addr)| *addr == gone));
        let len = table.len();
        table.failed(gone);
        assert!(table.holder(gone).is_none() && table.len() == len, "a spare took its place");

        let mut table = Table::new(table.own(), false);
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
        let mut table = Table::new(Id::random(&mut rng), false);
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
        assert!(
            !table.closest_for(at(21), ASKER, &restored.0, K).contains(&restored),
            "not told until it answers"
        );
        assert!(table.closest(&restored.0, K).contains(&restored));
    }

    #[test]
    fn nobody_is_told_of_a_node_that_did_not_answer_for_long() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut table = Table::new(Id::random(&mut rng), false);
        let (id, addr) = node(&mut rng, &table.own(), 5);
        table.answered(at(1), id, addr, RTT);
        // It asks, and so is heard, but that may be forged.
        table.asked_us(at(70), id, addr);
        assert_eq!(table.closest_for(at(75), ASKER, &id, K), [(id, addr)]);
        assert_eq!(table.closest_for(at(77), ASKER, &id, K), []);
        assert_eq!(table.closest(&id, K), [(id, addr)], "we ask it ourselves");
    }

    #[test]
    fn a_subnet_has_one_node_in_a_bucket_and_an_address_one_in_the_table() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut table = Table::new(Id::random(&mut rng), false);
        for _ in 0..5000 {
            let addr = SocketAddr::new(Ipv4Addr::new(9, 9, 9, rng.random()).into(), rng.random_range(1..9));
            let id = Id::of_address(addr.ip(), &mut rng);
            table.answered(at(1), id, addr, RTT);
            table.check();
        }
        assert!((1..=12).contains(&table.len()), "{}", table.len());
        let addr = "9.8.7.6:5".parse().unwrap();
        assert_eq!(table.asked_us(at(1), table.own(), addr), Standing::Unwanted);
    }

    #[test]
    fn a_site_of_ipv6_has_two_nodes_in_a_bucket() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut table = Table::new(Id::random(&mut rng), false);
        for n in 0..3000 {
            let addr = SocketAddr::new([0x2606, 0x4700, 7, n, 0, 0, 0, 1].into(), 6881);
            let id = if n % 3 == 0 { Id::random(&mut rng) } else { Id::of_address(addr.ip(), &mut rng) };
            table.answered(at(1), id, addr, RTT);
            table.check();
        }
        assert!((2..=26).contains(&table.len()), "{}", table.len());
        let other = SocketAddr::new([0x2606, 0x4700, 8, 1, 0, 0, 0, 1].into(), 6881);
        table.answered(at(1), Id::of_address(other.ip(), &mut rng), other, RTT);
        assert!(table.holder(other).is_some());
    }

    #[test]
    fn a_table_that_enforces_holds_no_unverified_nodes() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut table = Table::new(Id::random(&mut rng), true);
        let (id, addr) = (Id::random(&mut rng), "9.8.7.6:5".parse().unwrap());
        table.answered(at(1), id, addr, RTT);
        table.restore(id, addr);
        assert_eq!((table.len(), table.asked_us(at(1), id, addr)), (0, Standing::Unwanted));
    }

    /// A node of the internet, of a bucket, whose id is of its address or not.
    fn global(rng: &mut ChaCha8Rng, own: &Id, shared: u32, is_verified: bool) -> (Id, SocketAddr) {
        loop {
            let addr = SocketAddr::new(Ipv4Addr::new(9, rng.random(), rng.random(), 9).into(), 1);
            let id = if is_verified { Id::of_address(addr.ip(), rng) } else { own.beside(shared, rng) };
            if own.shared_bits(&id) == shared && id.belongs_to(addr.ip()) == is_verified {
                return (id, addr);
            }
        }
    }

    #[test]
    fn verified_nodes_replace_unverified_ones_and_never_the_other_way_round() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut table = Table::new(Id::random(&mut rng), false);
        let mut fill = |table: &mut Table, is_verified: bool, count: u32| {
            for _ in 0..count {
                let (id, addr) = global(&mut rng, &table.own(), 5, is_verified);
                table.answered(at(1), id, addr, RTT);
                table.check();
            }
        };
        let verified = |table: &Table| table.nodes().filter(|node| node.is_verified).count();
        fill(&mut table, false, 50);
        assert_eq!((table.len(), verified(&table)), (K, 0));
        fill(&mut table, true, 5);
        assert_eq!((table.len(), verified(&table)), (K, 5));
        fill(&mut table, true, 30);
        assert_eq!(verified(&table), K);
        let failing = table.nodes().next().unwrap().addr;
        table.failed(failing);
        fill(&mut table, false, 50);
        assert_eq!(verified(&table), K, "not even in the place of one that fails");
        table.failed(failing);
        assert_eq!((table.len(), verified(&table)), (K, K), "verified spare ones come first");
    }

    #[test]
    fn no_more_than_half_of_those_told_are_unverified_unless_there_are_too_few() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut table = Table::new(Id::random(&mut rng), false);
        for (shared, is_verified, count) in [(0, true, 3), (9, false, 8), (4, true, 2)] {
            for _ in 0..count {
                let (id, addr) = global(&mut rng, &table.own(), shared, is_verified);
                table.answered(at(1), id, addr, RTT);
            }
        }
        for (count, unverified) in [(4, 2), (8, 4), (10, 5), (13, 8)] {
            let told = table.closest(&table.own(), count);
            let not = told.iter().filter(|(id, addr)| !id.belongs_to(addr.ip())).count();
            assert_eq!((told.len(), not), (count, unverified));
        }
    }

    #[test]
    fn an_address_that_changes_its_id_is_one_node_and_an_id_stays_with_its_address() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut table = Table::new(Id::random(&mut rng), false);
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
