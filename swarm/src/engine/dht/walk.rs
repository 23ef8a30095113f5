//! The walk of a lookup through one address family: always to the closest nodes that it heard of.

use std::net::SocketAddr;

use super::id::{Distance, Id};
use super::places::{Place, Places};
use super::table::K;

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
/// It is over when the 8 closest nodes that are not failed or late have answered. At most one node of a global subnet may be of
/// them, and few are asked, so that nobody can fill the neighbourhood of a target from one network, or aim many lookups at one
/// victim: see [`Places`].
///
/// What others say of a node decides only when it is asked. Who answers is who it says it is, whatever was said: else one lie about
/// an id would silence an honest node.
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
    places: Places,
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
    /// It may have more than it sent.
    pub(crate) is_short: bool,
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
            places: Places::default(),
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
        self.next_of(true)
    }

    /// The same, while no router can be asked.
    pub(crate) fn next_node(&self) -> Next {
        self.next_of(false)
    }

    fn next_of(&self, has_routers: bool) -> Next {
        let states = || {
            self.candidates.iter().map(|node| node.state).chain(self.routers.iter().map(|node| node.state))
        };
        let busy = states().filter(|state| *state == State::Asked).count();
        let may_ask = busy < ALPHA && self.queries < MAX_QUERIES;
        let router = self.routers.iter().find(|router| router.state == State::New);
        if let Some(router) = router.filter(|_| may_ask && has_routers) {
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
                // Its turn comes if its neighbour does not answer.
                (_, State::New) if self.places.is_busy(node.is_verified, node.addr) => waiting += 1,
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
        if let Some(router) = self.routers.iter_mut().find(|router| router.addr == addr) {
            router.state = State::Asked;
            return;
        }
        let Some(node) = self.candidates.iter_mut().find(|node| node.addr == addr) else { return };
        node.state = State::Asked;
        let is_verified = node.is_verified;
        self.unverified += u32::from(!is_verified);
        self.places.asked(is_verified, addr);
        // What else is said of it does not matter any more.
        self.forget_those(|node| node.addr == addr);
        self.forget_closed(is_verified, addr);
    }

    /// The node takes long.
    pub(crate) fn late(&mut self, addr: SocketAddr) {
        self.set(addr, State::Late);
    }

    /// The node does not answer, or not as it should.
    pub(crate) fn failed(&mut self, addr: SocketAddr) {
        self.set(addr, State::Failed);
    }

    /// A node answered. Returns the length of the chain of nodes that led to it, or `None` if its word does not count.
    pub(crate) fn answered(&mut self, id: Id, addr: SocketAddr) -> Option<u32> {
        if let Some(at) = self.routers.iter().position(|router| router.addr == addr) {
            // It is asked for directions whatever its id; whether it takes part depends on it.
            self.routers.remove(at);
            self.joined(id, addr, 1);
            return Some(1);
        }
        let at = self.candidates.iter().position(|node| node.addr == addr)?;
        let node = self.candidates.get(at)?;
        let hops = node.hops;
        if node.id == id {
            self.set(addr, State::Answered);
            return Some(hops);
        }
        // It was said to be somebody else, and does not come by that place.
        self.forget(at);
        self.joined(id, addr, hops).then_some(hops)
    }

    /// What a node that answered wants to see when something is stored, which version of the item it has, and whether it may have
    /// more than it sent.
    pub(crate) fn note(&mut self, addr: SocketAddr, token: Option<&[u8]>, seq: Option<i64>, is_short: bool) {
        if let Some(node) = self.candidates.iter_mut().find(|node| node.addr == addr) {
            (node.token, node.seq, node.is_short) = (token.map(Box::from), seq, is_short);
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
        self.closest_that(|_| true)
    }

    /// The closest ones of these that answered.
    pub(crate) fn closest_that(&self, fits: fn(&Candidate) -> bool) -> impl Iterator<Item = &Candidate> {
        let answered = move |is_verified: bool| {
            let nodes = self.candidates.iter().filter(|node| node.state == State::Answered);
            nodes.filter(move |node| node.is_verified == is_verified && fits(node))
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
            let is_verified = node.is_verified;
            if std::mem::replace(&mut node.state, state) == State::Asked {
                self.places.done(is_verified, addr);
            }
            if state == State::Answered {
                if !self.places.answered(is_verified, addr) {
                    node.state = State::Failed;
                }
                self.forget_closed(is_verified, addr);
            }
        }
    }

    /// A node answered with an id that is news. Returns whether it may take part.
    fn joined(&mut self, id: Id, addr: SocketAddr, hops: u32) -> bool {
        let is_verified = id.belongs_to(addr.ip());
        if !is_verified && self.enforces {
            return false;
        }
        self.forget_those(|node| node.addr == addr);
        self.insert(id, addr, hops, State::Late);
        self.set(addr, State::Answered);
        true
    }

    fn add(&mut self, id: Id, addr: SocketAddr, hops: u32) {
        let is_verified = id.belongs_to(addr.ip());
        if !is_verified && self.enforces || self.routers.iter().any(|router| router.addr == addr) {
            return;
        }
        let distance = self.target.distance(&id);
        let is_answered = |node: &Candidate| {
            node.id == id && node.is_verified >= is_verified && node.state == State::Answered
        };
        let mut same = None;
        for (at, node) in self.candidates.iter().enumerate() {
            if is_answered(node) || node.addr == addr && node.state != State::New {
                return;
            }
            if node.addr == addr && node.is_verified == is_verified {
                same = Some((at, node.distance));
            }
        }
        match same {
            // Of what is said of a node whatever has it asked sooner counts.
            Some((at, known)) if distance < known => self.forget(at),
            Some(_) => return,
            None => {}
        }
        let places = Place::of(is_verified, addr);
        if places.into_iter().all(|place| self.make_way(place, distance)) {
            self.places.waits(is_verified, addr);
            self.insert(id, addr, hops, State::New);
        }
    }

    /// Whether somebody at this distance may wait in a network, be it instead of the farthest one.
    fn make_way(&mut self, place: Place, distance: Distance) -> bool {
        if self.places.is_closed(place) {
            return false;
        }
        if !self.places.is_full(place) {
            return true;
        }
        let waits = |node: &Candidate| node.state == State::New && node.is_of(place);
        let farthest = self.candidates.iter().rposition(waits);
        let farther =
            farthest.filter(|at| self.candidates.get(*at).is_some_and(|node| node.distance > distance));
        farther.is_some_and(|at| {
            self.forget(at);
            true
        })
    }

    fn insert(&mut self, id: Id, addr: SocketAddr, hops: u32, state: State) {
        let (distance, is_verified) = (self.target.distance(&id), id.belongs_to(addr.ip()));
        let at = self.candidates.partition_point(|node| node.distance < distance);
        let node = Candidate {
            distance,
            is_verified,
            id,
            addr,
            state,
            hops,
            token: None,
            seq: None,
            is_short: false,
        };
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

    /// Forgets those who wait in networks of which nobody is asked any more.
    fn forget_closed(&mut self, is_verified: bool, addr: SocketAddr) {
        for place in Place::of(is_verified, addr) {
            if self.places.is_closed(place) {
                self.forget_those(|node| node.is_of(place));
            }
        }
    }

    /// Forgets those of these who wait.
    fn forget_those(&mut self, of: impl Fn(&Candidate) -> bool) {
        let waits = |node: &Candidate| node.state == State::New && of(node);
        while let Some(at) = self.candidates.iter().rposition(waits) {
            self.forget(at);
        }
    }

    fn forget(&mut self, at: usize) {
        let node = self.candidates.remove(at);
        match node.state {
            State::New => self.places.leaves(node.is_verified, node.addr),
            State::Asked => self.places.done(node.is_verified, node.addr),
            State::Late | State::Answered | State::Failed => {}
        }
    }
}

impl Candidate {
    fn is_of(&self, place: Place) -> bool {
        Place::of(self.is_verified, self.addr).any(|own| own == place)
    }
}

#[cfg(test)]
mod tests;
