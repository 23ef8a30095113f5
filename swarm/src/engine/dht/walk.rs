//! The walk of a lookup through one address family: always to the closest nodes that it heard of.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::id::{Distance, Id};
use super::table::{K, subnet};

/// Nodes that are asked at a time. Those whose answers are late do not count, and may still answer.
const ALPHA: usize = 4;
/// Nodes that are remembered, the closest ones.
const MAX_CANDIDATES: usize = 96;
/// Nodes that are asked at all: honest networks need far fewer.
const MAX_QUERIES: u32 = 160;
/// Of the nodes that are remembered: those whose id is not of their address.
const MAX_UNVERIFIED: usize = MAX_CANDIDATES / 3;
/// Unverified ones among the closest that have to answer.
const SHARE: usize = K / 2;
/// Unverified nodes that may be asked even if that is more than half of all.
const UNVERIFIED_AT_LEAST: u32 = 8;
/// Nodes that one answer may name.
const MAX_NAMED: usize = 2 * K;

/// A lookup in one address family, as far as it is only about nodes.
///
/// ```text
///            next()            late()             answered()
///   new ────────────► asked ────────────► late ──────────────► answered
///                       │  answered()       │ failed()
///                       ├──────────► answered▼
///                       └──────────────► failed
///                          failed()
/// ```
///
/// It is over when the 8 closest nodes that are not failed or late have answered. At most one node of a global subnet is asked, so
/// that nobody can fill the neighbourhood of a target from one network, or aim many lookups at one victim.
///
/// Anybody can claim an id beside the target that is not of its address (BEP 42). So those whose id is count by themselves: there
/// have to be 8 of them, and of the others only the 4 closest that are no further away are asked too, as long as that is not more
/// than half of all questions. Where there are fewer than 8, the others make up for them.
#[derive(Debug)]
pub(crate) struct Walk {
    target: Id,
    /// Unverified nodes are not asked at all.
    enforces: bool,
    /// Closest first.
    candidates: Vec<Candidate>,
    /// Nodes of unknown id to begin with.
    routers: Vec<Router>,
    /// Addresses and subnets that have a candidate, or had one; those of unverified ones apart, who keep nobody else out.
    seen: BTreeSet<(bool, IpAddr, u16)>,
    queries: u32,
    /// Those of them to unverified nodes.
    unverified: u32,
}

#[derive(Debug)]
struct Router {
    addr: SocketAddr,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Asked,
    Late,
    Answered,
    Failed,
}

/// A node on the way.
#[derive(Debug)]
pub(crate) struct Candidate {
    distance: Distance,
    /// Its id is one of its address.
    is_verified: bool,
    pub(crate) id: Id,
    pub(crate) addr: SocketAddr,
    state: State,
    /// The length of the chain of nodes that led to it.
    hops: u32,
    /// What it wants to see when something is stored.
    pub(crate) token: Option<Box<[u8]>>,
    /// The sequence number of the item that it has.
    pub(crate) seq: Option<i64>,
}

/// What a walk does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask this node, which should have this id.
    Ask(SocketAddr, Option<Id>),
    /// Wait for answers.
    Wait,
    /// It is over.
    Done,
}

impl Walk {
    /// Begins with these nodes; routers are nodes whose ids are not known.
    pub(crate) fn new(
        target: Id,
        enforces: bool,
        nodes: &[(Id, SocketAddr)],
        routers: &[SocketAddr],
    ) -> Self {
        let mut walk = Self {
            target,
            enforces,
            candidates: Vec::new(),
            routers: Vec::new(),
            seen: BTreeSet::new(),
            queries: 0,
            unverified: 0,
        };
        nodes.iter().for_each(|(id, addr)| walk.add(*id, *addr, 1));
        routers.iter().for_each(|addr| walk.ask_too(*addr));
        walk
    }

    /// Asks a node of unknown id, unless it is known.
    pub(crate) fn ask_too(&mut self, addr: SocketAddr) {
        let is_known = self.candidates.iter().any(|node| node.addr == addr)
            || self.routers.iter().any(|router| router.addr == addr);
        if !is_known {
            self.routers.push(Router { addr, state: State::New });
        }
    }

    /// What to do now. Asks nothing by itself: see [`asked`](Self::asked).
    pub(crate) fn next(&self) -> Next {
        let states = || {
            self.candidates.iter().map(|node| node.state).chain(self.routers.iter().map(|node| node.state))
        };
        let busy = states().filter(|state| *state == State::Asked).count();
        let may_ask = busy < ALPHA && self.queries < MAX_QUERIES;
        if may_ask && let Some(router) = self.routers.iter().find(|router| router.state == State::New) {
            return Next::Ask(router.addr, None);
        }
        let share = self.share();
        let (mut answered, mut asked, mut waiting, mut unverified) = (0, 0, 0, 0);
        for node in &self.candidates {
            waiting += usize::from(node.state == State::Asked);
            match (node.is_verified, node.state) {
                (true, State::Answered) => answered += 1,
                (true, State::Asked) => asked += 1,
                (false, State::Answered | State::Asked) => unverified += 1,
                (false, State::New) if unverified >= share => {}
                (_, State::New) if self.queries < MAX_QUERIES => {
                    // The nodes that are being asked may turn out to be all that is needed.
                    let enough = answered + asked >= K;
                    return if may_ask && !enough { Next::Ask(node.addr, Some(node.id)) } else { Next::Wait };
                }
                (_, State::New | State::Late | State::Failed) => {}
            }
            if answered == K {
                return if waiting == 0 { Next::Done } else { Next::Wait };
            }
        }
        let enough = waiting == 0 && answered + unverified.min(share) >= K;
        if !enough && states().any(|state| matches!(state, State::Asked | State::Late)) {
            Next::Wait
        } else {
            Next::Done
        }
    }

    /// How many unverified nodes have to answer.
    fn share(&self) -> usize {
        let is_there = |node: &&Candidate| {
            node.is_verified && matches!(node.state, State::New | State::Asked | State::Answered)
        };
        let verified = self.candidates.iter().filter(is_there).count();
        let most = if verified < K { MAX_QUERIES / 2 } else { UNVERIFIED_AT_LEAST.max(self.queries / 2) };
        if self.unverified < most { SHARE.max(K.saturating_sub(verified)) } else { 0 }
    }

    /// The node is asked now.
    pub(crate) fn asked(&mut self, addr: SocketAddr) {
        self.queries += 1;
        self.unverified +=
            u32::from(self.candidates.iter().any(|node| node.addr == addr && !node.is_verified));
        self.set(addr, State::Asked);
    }

    /// The node takes long.
    pub(crate) fn late(&mut self, addr: SocketAddr) {
        self.set(addr, State::Late);
    }

    /// The node does not answer, or not as it should.
    pub(crate) fn failed(&mut self, addr: SocketAddr) {
        self.set(addr, State::Failed);
    }

    /// A node answered. Returns the length of the chain of nodes that led to it, or `None` if it is not the node that it was said to
    /// be, and its word does not count.
    pub(crate) fn answered(&mut self, id: Id, addr: SocketAddr) -> Option<u32> {
        if let Some(at) = self.routers.iter().position(|router| router.addr == addr) {
            // It is asked for directions whatever its id; whether it takes part depends on it.
            self.routers.remove(at);
            return Some(self.joined(id, addr, 1));
        }
        let at = self.candidates.iter().position(|node| node.addr == addr)?;
        let node = self.candidates.get_mut(at)?;
        if node.id != id {
            if !node.is_verified && id.belongs_to(addr.ip()) {
                // Somebody told lies about it.
                let hops = self.candidates.remove(at).hops;
                return Some(self.joined(id, addr, hops));
            }
            node.state = State::Failed;
            return None;
        }
        node.state = State::Answered;
        Some(node.hops)
    }

    /// What a node that answered wants to see when something is stored, and which version of the item it has.
    pub(crate) fn note(&mut self, addr: SocketAddr, token: Option<&[u8]>, seq: Option<i64>) {
        if let Some(node) = self.candidates.iter_mut().find(|node| node.addr == addr) {
            (node.token, node.seq) = (token.map(Box::from), seq);
        }
    }

    /// A node that answered named others. `hops` is what [`answered`](Self::answered) said.
    pub(crate) fn named(&mut self, nodes: impl IntoIterator<Item = (Id, SocketAddr)>, hops: u32) {
        for (id, addr) in nodes.into_iter().take(MAX_NAMED) {
            self.add(id, addr, hops + 1);
        }
    }

    /// The closest nodes that answered, closest first; unverified ones last, where there are too few others.
    pub(crate) fn closest(&self) -> impl Iterator<Item = &Candidate> {
        let answered = |is_verified: bool| {
            let nodes = self.candidates.iter().filter(|node| node.state == State::Answered);
            nodes.filter(move |node| node.is_verified == is_verified)
        };
        answered(true).chain(answered(false)).take(K)
    }

    /// How long the chain of nodes was that led to the closest one.
    pub(crate) fn hops(&self) -> u32 {
        self.closest().next().map_or(0, |node| node.hops)
    }

    fn set(&mut self, addr: SocketAddr, state: State) {
        if let Some(router) = self.routers.iter_mut().find(|router| router.addr == addr) {
            router.state = state;
        } else if let Some(node) = self.candidates.iter_mut().find(|node| node.addr == addr) {
            node.state = state;
        }
    }

    /// A node answered with an id that is news.
    fn joined(&mut self, id: Id, addr: SocketAddr, hops: u32) -> u32 {
        self.add(id, addr, hops);
        self.set(addr, State::Answered);
        hops
    }

    fn add(&mut self, id: Id, addr: SocketAddr, hops: u32) {
        let is_verified = id.belongs_to(addr.ip());
        if !is_verified && self.enforces || self.routers.iter().any(|router| router.addr == addr) {
            return;
        }
        // What was said of an address is corrected as long as nobody was sent there.
        let same = self.candidates.iter().position(|node| node.addr == addr);
        let is_better =
            |node: &Candidate| is_verified && !node.is_verified && matches!(node.state, State::New);
        match same {
            Some(at) if self.candidates.get(at).is_some_and(is_better) => self.forget(at),
            Some(_) => return,
            None => {}
        }
        let distance = self.target.distance(&id);
        let at = self.candidates.partition_point(|node| node.distance < distance);
        let is_same_id = |node: &Candidate| node.id == id && node.is_verified >= is_verified;
        let is_known = self.candidates.get(at).is_some_and(is_same_id);
        if at >= MAX_CANDIDATES || is_known || !self.seen.insert(place(is_verified, addr)) {
            return;
        }
        let state = State::New;
        let node = Candidate { distance, is_verified, id, addr, state, hops, token: None, seq: None };
        self.candidates.insert(at, node);
        self.make_room(MAX_UNVERIFIED, |node| !node.is_verified);
        self.make_room(MAX_CANDIDATES, |_| true);
    }

    /// Forgets the furthest one of these that was not asked, if there are too many.
    fn make_room(&mut self, most: usize, of: impl Fn(&Candidate) -> bool) {
        if self.candidates.iter().filter(|node| of(node)).count() > most {
            let unasked = |node: &Candidate| of(node) && matches!(node.state, State::New | State::Failed);
            if let Some(at) = self.candidates.iter().rposition(unasked) {
                self.forget(at);
            }
        }
    }

    fn forget(&mut self, at: usize) {
        let node = self.candidates.remove(at);
        self.seen.remove(&place(node.is_verified, node.addr));
    }
}

/// What a walk asks once: a global subnet, or a local address.
fn place(is_verified: bool, addr: SocketAddr) -> (bool, IpAddr, u16) {
    subnet(addr).map_or((is_verified, addr.ip(), addr.port()), |net| (is_verified, net, 0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const TARGET: Id = Id([0; 20]);

    fn node(distance: u8) -> (Id, SocketAddr) {
        let mut id = [0; 20];
        id[0] = distance;
        (Id(id), ([10, 0, 0, distance], 1).into())
    }

    fn step(walk: &mut Walk) -> Option<u8> {
        match walk.next() {
            Next::Ask(addr, _) => {
                walk.asked(addr);
                let SocketAddr::V4(addr) = addr else { panic!("IPv4 only") };
                Some(addr.ip().octets()[3])
            }
            _ => None,
        }
    }

    fn asks(walk: &mut Walk) -> Vec<u8> {
        std::iter::from_fn(|| step(walk)).collect()
    }

    fn answer(walk: &mut Walk, who: u8, names: &[u8]) {
        let (id, addr) = node(who);
        let hops = walk.answered(id, addr).unwrap();
        walk.named(names.iter().map(|who| node(*who)), hops);
    }

    #[test]
    fn it_asks_the_closest_four_at_a_time_and_ends_at_the_eight_closest() {
        let mut walk = Walk::new(TARGET, false, &[100, 90, 80, 70, 60].map(node), &[]);
        assert_eq!(asks(&mut walk), [60, 70, 80, 90]);
        answer(&mut walk, 60, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(asks(&mut walk), [1]);
        for who in 1..=8 {
            assert!(walk.next() != Next::Done);
            asks(&mut walk);
            answer(&mut walk, who, &[]);
            asks(&mut walk);
            if who < 3 {
                answer(&mut walk, 60 + 10 * who, &[]);
            }
        }
        assert_eq!(walk.next(), Next::Done);
        let closest: Vec<Id> = walk.closest().map(|node| node.id).collect();
        assert_eq!(closest, [1, 2, 3, 4, 5, 6, 7, 8].map(|who| node(who).0));
        assert_eq!(walk.hops(), 2);
    }

    #[test]
    fn a_late_node_gives_up_its_slot_and_still_counts_when_it_answers() {
        let mut walk = Walk::new(TARGET, false, &[10, 20, 30, 40, 50].map(node), &[]);
        assert_eq!(asks(&mut walk), [10, 20, 30, 40]);
        walk.late(node(10).1);
        assert_eq!(asks(&mut walk), [50]);
        for who in [20, 30, 40, 50] {
            answer(&mut walk, who, &[]);
        }
        assert_eq!(walk.next(), Next::Wait, "it may still answer");
        answer(&mut walk, 10, &[5]);
        assert_eq!(asks(&mut walk), [5]);
        walk.failed(node(5).1);
        assert_eq!(walk.next(), Next::Done);
        assert_eq!(walk.closest().count(), 5);
    }

    #[test]
    fn routers_come_first_and_are_nodes_once_their_id_is_known() {
        let router: SocketAddr = "10.0.0.7:1".parse().unwrap();
        let mut walk = Walk::new(TARGET, false, &[], &[router]);
        assert_eq!(asks(&mut walk), [7]);
        assert_eq!(walk.next(), Next::Wait);
        answer(&mut walk, 7, &[3]);
        assert_eq!(asks(&mut walk), [3]);
        answer(&mut walk, 3, &[7]);
        assert_eq!(walk.next(), Next::Done);
        assert_eq!(walk.closest().map(|node| node.hops).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(Walk::new(TARGET, false, &[], &[]).next(), Next::Done);
    }

    #[test]
    fn who_has_another_id_than_was_said_takes_no_part() {
        let mut walk = Walk::new(TARGET, false, &[10, 20].map(node), &[]);
        asks(&mut walk);
        assert!(walk.answered(node(11).0, node(10).1).is_none());
        answer(&mut walk, 20, &[]);
        assert_eq!(walk.next(), Next::Done);
        assert_eq!(walk.closest().count(), 1);
    }

    /// Nodes of global addresses whose ids are so far from the target; their ids are not of their addresses.
    fn strangers(distances: std::ops::Range<u8>) -> Vec<(Id, SocketAddr)> {
        let stranger = |n: u8| (node(n).0, SocketAddr::from(([9, 9, n, 9], 1)));
        let strangers: Vec<_> = distances.map(stranger).collect();
        assert!(strangers.iter().all(|(id, addr)| !id.belongs_to(addr.ip())));
        strangers
    }

    /// Everybody who is asked answers, and names nobody. Returns who was asked.
    fn all_answer(walk: &mut Walk) -> Vec<SocketAddr> {
        let mut asked = Vec::new();
        while let Next::Ask(addr, id) = walk.next() {
            walk.asked(addr);
            walk.answered(id.unwrap(), addr).unwrap();
            asked.push(addr);
        }
        assert_eq!(walk.next(), Next::Done);
        asked
    }

    #[test]
    fn unverified_nodes_get_a_share_and_keep_no_verified_one_out() {
        let mut walk = Walk::new(TARGET, false, &strangers(1..90), &[]);
        assert_eq!(walk.candidates.len(), MAX_UNVERIFIED);
        walk.named((100..200).map(node), 1);
        let asked = all_answer(&mut walk);
        assert_eq!(asked.len(), SHARE + K);
        let closest: Vec<SocketAddr> = walk.closest().map(|node| node.addr).collect();
        assert_eq!(closest, (100..108).map(|n| node(n).1).collect::<Vec<_>>());
    }

    #[test]
    fn unverified_nodes_make_up_for_verified_ones_that_are_missing() {
        let mut walk = Walk::new(TARGET, false, &[strangers(10..60), vec![node(100), node(1)]].concat(), &[]);
        assert_eq!(all_answer(&mut walk).len(), K);
        let closest: Vec<Id> = walk.closest().map(|node| node.id).collect();
        assert_eq!(closest, [1, 100, 10, 11, 12, 13, 14, 15].map(|n| node(n).0));
    }

    #[test]
    fn dead_unverified_nodes_take_no_more_than_half_of_the_questions() {
        let mut walk = Walk::new(TARGET, false, &(100..200).map(node).collect::<Vec<_>>(), &[]);
        walk.named(strangers(1..17), 1);
        walk.named(strangers(17..33), 1);
        let (mut verified, mut dead) = (0, 0);
        while let Next::Ask(addr, id) = walk.next() {
            walk.asked(addr);
            if id.unwrap().0[0] < 100 {
                dead += 1;
                walk.failed(addr);
            } else {
                verified += 1;
                walk.answered(id.unwrap(), addr).unwrap();
            }
        }
        assert_eq!((walk.next(), verified), (Next::Done, K));
        assert!(dead <= 10, "{dead}");
    }

    #[test]
    fn who_was_given_another_id_by_a_liar_takes_part_with_its_own() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let addr: SocketAddr = "9.9.9.9:1".parse().unwrap();
        let id = Id::of_address(addr.ip(), &mut rng);
        let mut walk = Walk::new(TARGET, false, &[(TARGET, addr)], &[]);
        walk.named([(id, addr)], 1);
        assert_eq!(walk.next(), Next::Ask(addr, Some(id)), "known before it is asked");
        let mut walk = Walk::new(TARGET, false, &[(TARGET, addr)], &[]);
        walk.asked(addr);
        assert_eq!(walk.answered(id, addr), Some(1), "known when it answers");
        assert_eq!(walk.closest().map(|node| node.id).collect::<Vec<_>>(), [id]);
        let other: SocketAddr = "9.9.8.9:1".parse().unwrap();
        let mut walk = Walk::new(TARGET, false, &[(id, other)], &[]);
        walk.named([(id, addr)], 1);
        assert_eq!(walk.next(), Next::Ask(addr, Some(id)), "and nobody else keeps its id from it");
    }

    #[test]
    fn a_subnet_is_asked_once_and_unverified_nodes_never_if_so_wanted() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let own = |text: &str, rng: &mut ChaCha8Rng| {
            let addr: SocketAddr = text.parse().unwrap();
            (Id::of_address(addr.ip(), rng), addr)
        };
        let nodes = [own("9.9.9.1:1", &mut rng), own("9.9.9.2:2", &mut rng), own("9.9.8.1:1", &mut rng)];
        let mut walk = Walk::new(TARGET, true, &nodes, &[]);
        walk.named([(Id([0; 20]), "9.1.1.1:1".parse().unwrap())], 1);
        let mut asked = 0;
        while let Next::Ask(addr, _) = walk.next() {
            walk.asked(addr);
            asked += 1;
        }
        assert_eq!(asked, 2);
    }

    #[test]
    fn a_walk_led_on_by_liars_ends() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut walk = Walk::new(TARGET, false, &[node(255)], &[]);
        let mut shared = 9;
        let mut queries = 0;
        while let Next::Ask(addr, id) = walk.next() {
            walk.asked(addr);
            queries += 1;
            let id = id.unwrap();
            let hops = walk.answered(id, addr).unwrap();
            let liars = (0..50).map(|_| {
                shared = (shared + 1).min(150);
                let addr = SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 + shared * 977).into(), 1);
                (TARGET.beside(shared, &mut rng), addr)
            });
            let liars: Vec<_> = liars.collect();
            walk.named(liars, hops);
            assert!(walk.candidates.len() <= MAX_CANDIDATES && walk.seen.len() <= 2 * MAX_CANDIDATES);
        }
        assert_eq!(walk.next(), Next::Done);
        assert!(queries <= MAX_QUERIES, "{queries}");
    }
}
