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
#[derive(Debug)]
pub(crate) struct Walk {
    target: Id,
    /// Closest first.
    candidates: Vec<Candidate>,
    /// Nodes of unknown id to begin with.
    routers: Vec<Router>,
    /// Addresses and subnets that have a candidate, or had one.
    seen: BTreeSet<(IpAddr, u16)>,
    queries: u32,
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
    pub(crate) fn new(target: Id, nodes: &[(Id, SocketAddr)], routers: &[SocketAddr]) -> Self {
        let mut walk =
            Self { target, candidates: Vec::new(), routers: Vec::new(), seen: BTreeSet::new(), queries: 0 };
        nodes.iter().for_each(|(id, addr)| walk.add(*id, *addr, 1));
        for addr in routers {
            if !walk.seen.contains(&(addr.ip(), addr.port())) {
                walk.routers.push(Router { addr: *addr, state: State::New });
            }
        }
        walk
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
        let (mut answered, mut asked) = (0, 0);
        for node in &self.candidates {
            match node.state {
                State::Answered => answered += 1,
                State::Asked => asked += 1,
                State::New if self.queries < MAX_QUERIES => {
                    // The nodes that are being asked may turn out to be all that is needed.
                    let enough = answered + asked >= K;
                    return if may_ask && !enough { Next::Ask(node.addr, Some(node.id)) } else { Next::Wait };
                }
                State::New | State::Late | State::Failed => {}
            }
            if answered == K {
                return if asked == 0 { Next::Done } else { Next::Wait };
            }
        }
        if states().any(|state| matches!(state, State::Asked | State::Late)) {
            Next::Wait
        } else {
            Next::Done
        }
    }

    /// The node is asked now.
    pub(crate) fn asked(&mut self, addr: SocketAddr) {
        self.queries += 1;
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
            // It is asked for directions whatever its id; only with one that belongs to its address it takes part.
            self.routers.remove(at);
            self.add(id, addr, 1);
            self.set(addr, State::Answered);
            return Some(1);
        }
        let node = self.candidates.iter_mut().find(|node| node.addr == addr)?;
        if node.id != id {
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

    /// The closest nodes that answered, closest first.
    pub(crate) fn closest(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|node| node.state == State::Answered).take(K)
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

    fn add(&mut self, id: Id, addr: SocketAddr, hops: u32) {
        if !id.belongs_to(addr.ip()) || self.routers.iter().any(|router| router.addr == addr) {
            return;
        }
        let distance = self.target.distance(&id);
        let at = self.candidates.partition_point(|node| node.distance < distance);
        let is_same_id = self.candidates.get(at).is_some_and(|node| node.id == id);
        if at >= MAX_CANDIDATES || is_same_id || !self.seen.insert(place(addr)) {
            return;
        }
        self.candidates
            .insert(at, Candidate { distance, id, addr, state: State::New, hops, token: None, seq: None });
        if self.candidates.len() > MAX_CANDIDATES {
            let unasked =
                self.candidates.iter().rposition(|node| matches!(node.state, State::New | State::Failed));
            if let Some(node) = unasked.map(|at| self.candidates.remove(at)) {
                self.seen.remove(&place(node.addr));
            }
        }
    }
}

/// What a walk asks once: a global subnet, or a local address.
fn place(addr: SocketAddr) -> (IpAddr, u16) {
    subnet(addr).map_or((addr.ip(), addr.port()), |net| (net, 0))
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
        let mut walk = Walk::new(TARGET, &[100, 90, 80, 70, 60].map(node), &[]);
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
        let mut walk = Walk::new(TARGET, &[10, 20, 30, 40, 50].map(node), &[]);
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
        let mut walk = Walk::new(TARGET, &[], &[router]);
        assert_eq!(asks(&mut walk), [7]);
        assert_eq!(walk.next(), Next::Wait);
        answer(&mut walk, 7, &[3]);
        assert_eq!(asks(&mut walk), [3]);
        answer(&mut walk, 3, &[7]);
        assert_eq!(walk.next(), Next::Done);
        assert_eq!(walk.closest().map(|node| node.hops).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(Walk::new(TARGET, &[], &[]).next(), Next::Done);
    }

    #[test]
    fn who_has_another_id_than_was_said_takes_no_part() {
        let mut walk = Walk::new(TARGET, &[10, 20].map(node), &[]);
        asks(&mut walk);
        assert!(walk.answered(node(11).0, node(10).1).is_none());
        answer(&mut walk, 20, &[]);
        assert_eq!(walk.next(), Next::Done);
        assert_eq!(walk.closest().count(), 1);
    }

    #[test]
    fn a_subnet_is_asked_once_and_ids_that_are_not_of_their_address_never() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let own = |text: &str, rng: &mut ChaCha8Rng| {
            let addr: SocketAddr = text.parse().unwrap();
            (Id::of_address(addr.ip(), rng), addr)
        };
        let nodes = [own("9.9.9.1:1", &mut rng), own("9.9.9.2:2", &mut rng), own("9.9.8.1:1", &mut rng)];
        let mut walk = Walk::new(TARGET, &nodes, &[]);
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
        let mut walk = Walk::new(TARGET, &[node(255)], &[]);
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
