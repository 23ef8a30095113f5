//! Packets come in: answers to our queries here, queries of others in `answer`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wire::krpc::{Body, Error, Packet, Reply};

use super::api::{DhtEvent, LookupId};
use super::id::Id;
use super::lookup::Goal;
use super::networks::{site, subnet};
use super::table::{K, Table};
use super::transactions::{Pending, Purpose};
use super::{Dht, LookupStats, upkeep};
use crate::engine::scope::{Scope, canonical, may_name};
use crate::engine::time::Time;

/// Nodes that others name have no lower port.
const LEAST_PORT: u16 = 1024;

impl Dht {
    /// A datagram came that begins with `d`. Returns whether it was a query, or an answer to one of ours.
    pub fn handle_packet(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) -> bool {
        self.handle_packet_at(now, None, from, bytes)
    }

    /// The same on a host with several addresses, of which it came to this one. A query is answered from there: askers drop
    /// answers of others than they asked.
    pub fn handle_packet_at(
        &mut self,
        now: Time,
        at: Option<IpAddr>,
        from: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        let from = canonical(from);
        if !self.may_ask(from) {
            return false;
        }
        match Packet::parse(bytes) {
            Ok(packet) => match &packet.body {
                Body::Query(query) => {
                    self.as_asked(at, from, |dht| dht.handle_query(now, from, &packet, query, bytes.len()))
                }
                Body::Reply(reply) => self.handle_reply(now, from, &packet, reply),
                Body::Error(_) => self.handle_refusal(now, from, packet.transaction),
            },
            Err(error @ Error::Query { .. }) => {
                self.as_asked(at, from, |dht| dht.refuse(now, from, &error, bytes.len()))
            }
            Err(_) => false,
        }
    }

    /// What goes to the asker meanwhile goes out from where it asked.
    pub(super) fn as_asked<R>(
        &mut self,
        at: Option<IpAddr>,
        asker: SocketAddr,
        act: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.asked = at.map(|at| (asker, at));
        let result = act(self);
        self.asked = None;
        result
    }

    /// The system has no way to where a packet was to be sent: whoever was asked there does not answer.
    pub fn handle_unreachable(&mut self, now: Time, to: SocketAddr) {
        let to = canonical(to);
        for pending in self.transactions.take_all(to) {
            // Says nothing of the node, so that it keeps its place in the table.
            self.routes.no_way(now, to.is_ipv4());
            self.unanswered = self.unanswered.saturating_add(1);
            self.failed(now, &pending, |stats| stats.timeouts += 1);
        }
    }

    fn handle_reply(&mut self, now: Time, from: SocketAddr, packet: &Packet<'_>, reply: &Reply<'_>) -> bool {
        let Some(pending) = self.transactions.take(packet.transaction, from) else { return false };
        let rtt = now - pending.sent;
        self.hear(now);
        self.routes.answered(now, from.is_ipv4());
        self.rtt = (self.rtt * 7 + rtt) / 8;
        self.proven.insert(now, from);
        let id = Id(reply.id);
        let seen =
            packet.ip.map(|seen| seen.ip().to_canonical()).filter(|seen| seen.is_ipv4() == from.is_ipv4());
        let is_new = seen.is_some_and(|seen| self.guess(seen));
        if let Some(table) = self.table_mut(from.is_ipv4()) {
            if let Some(said) = pending.id.filter(|said| *said != id) {
                table.renamed(&said, from);
            }
            table.answered(now, id, from, rtt);
        }
        // The first one who is there: it may know others.
        self.upkeep.heard_first(now);
        if is_new {
            self.join_again(now, from.is_ipv4());
        }
        if let Some(seen) = seen.filter(|_| may_vote(&pending, id, from)) {
            self.vote(now, from, seen);
        }
        match pending.purpose {
            Purpose::Check => {}
            Purpose::Single(lookup) => {
                let event = self.outcome(lookup, from, rtt, reply);
                self.end_single(lookup, Some(event));
            }
            Purpose::Step(lookup) => self.step_answered(now, lookup, from, reply),
            Purpose::Follow(lookup, hops) => {
                let named = self.named(from, reply, from.is_ipv4());
                if let Some(lookup) = self.lookups.get_mut(&lookup) {
                    lookup.following.remove(&from);
                    lookup.stats.answers += 1;
                    if let Some(walk) = lookup.walk(from).filter(|_| pending.id == Some(id)) {
                        walk.named(named, hops);
                    }
                }
                self.advance(now, lookup);
            }
            Purpose::Again(id) => {
                let peers = self.peers_named(from, reply);
                if let Some(lookup) = self.lookups.get_mut(&id) {
                    lookup.asking_again.remove(&from);
                    lookup.stats.answers += 1;
                    let hops = lookup.stats.hops;
                    let event = lookup.take(id, from, hops, reply, peers.into_iter());
                    self.events.extend(event);
                }
                self.advance(now, id);
            }
            Purpose::Store(lookup) => {
                if let Some(lookup) = self.lookups.get_mut(&lookup) {
                    lookup.storing = lookup.storing.saturating_sub(1);
                    lookup.stats.answers += 1;
                    lookup.stats.stored += 1;
                }
                self.advance(now, lookup);
            }
        }
        self.answer_deferred(now, from);
        true
    }

    /// A node refuses: it is there, but of no use for this.
    fn handle_refusal(&mut self, now: Time, from: SocketAddr, transaction: &[u8]) -> bool {
        let Some(pending) = self.transactions.take(transaction, from) else { return false };
        self.hear(now);
        self.proven.insert(now, from);
        if self.must_answer(&pending)
            && let Some(table) = self.table_mut(from.is_ipv4())
        {
            table.failed(from);
        }
        let count: fn(&mut LookupStats) = match pending.purpose {
            Purpose::Store(_) => |stats| stats.refused += 1,
            _ => |stats| stats.answers += 1,
        };
        self.failed(now, &pending, count);
        true
    }

    /// Whether every node can answer what it was asked: whoever refuses that is of no use. Not all know of items (BEP 44).
    fn must_answer(&self, pending: &Pending) -> bool {
        match pending.purpose {
            Purpose::Check | Purpose::Follow(..) => true,
            Purpose::Step(id) => {
                let lookup = self.lookups.get(&id);
                lookup.is_some_and(|lookup| matches!(lookup.goal, Goal::Nodes | Goal::Peers { .. }))
            }
            Purpose::Again(_) | Purpose::Store(_) | Purpose::Single(_) => false,
        }
    }

    /// Somebody answers. After a long silence we may be in another network: whom we know has to answer anew.
    fn hear(&mut self, now: Time) {
        if self.is_lost(now) {
            self.tables.iter_mut().flatten().for_each(Table::doubt);
        }
        (self.heard, self.unanswered) = (now, 0);
    }

    fn step_answered(&mut self, now: Time, id: LookupId, from: SocketAddr, reply: &Reply<'_>) {
        let same = self.named(from, reply, from.is_ipv4());
        let other = self.named(from, reply, !from.is_ipv4());
        let peers = self.peers_named(from, reply);
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        (lookup.stats.answers, lookup.stats.nodes) = (lookup.stats.answers + 1, lookup.stats.nodes + 1);
        let is_short = lookup.is_short(reply);
        let Some(walk) = lookup.walk(from) else { return };
        let Some(hops) = walk.answered(Id(reply.id), from) else {
            return self.advance(now, id);
        };
        walk.note(from, reply.token, reply.seq, is_short);
        let names_nobody = same.is_empty();
        walk.named(same, hops);
        if names_nobody && !reply.values.is_empty() {
            lookup.follow((from, Id(reply.id), hops));
        }
        let sibling = lookup.walks.get_mut(usize::from(from.is_ipv4())).and_then(Option::as_mut);
        let unused = match sibling {
            Some(sibling) => {
                sibling.named(other, hops);
                Vec::new()
            }
            None => other,
        };
        let event = lookup.take(id, from, hops, reply, peers.into_iter());
        let is_users = lookup.origin == super::lookup::Origin::User;
        self.events.extend(event.filter(|_| is_users));
        self.introduce(now, unused);
        self.advance(now, id);
    }

    /// Nodes of a family that has no walk: asked if they are there while its table has few.
    fn introduce(&mut self, now: Time, nodes: Vec<(Id, SocketAddr)>) {
        for (id, addr) in nodes.into_iter().take(K) {
            let is_poor = self.table(addr.is_ipv4()).is_some_and(|table| table.good() < K);
            if is_poor && self.transactions.len() < upkeep::MAX_CHECKS {
                self.check_node(now, Some(id), addr);
            }
        }
    }

    /// The nodes of a family in a reply that its sender may name.
    fn named(&self, from: SocketAddr, reply: &Reply<'_>, ipv4: bool) -> Vec<(Id, SocketAddr)> {
        let nodes = if ipv4 { &reply.nodes } else { &reply.nodes6 };
        let own = self.id(ipv4);
        let nodes = nodes.iter().flatten().map(|node| (Id(node.id), canonical(node.addr)));
        // No node is at a port of the system's services, but somebody else may be.
        let fits = |(id, addr): &(Id, SocketAddr)| {
            let is_node = addr.is_ipv4() == ipv4 && addr.port() >= LEAST_PORT && Some(*id) != own;
            is_node && self.may_be_named(from, *addr)
        };
        // A packet has room for no more.
        nodes.take(4 * K).filter(fits).collect()
    }

    fn peers_named(&self, from: SocketAddr, reply: &Reply<'_>) -> Vec<SocketAddr> {
        let Some(scope) = Scope::of(from.ip()) else { return Vec::new() };
        let peers = reply.values.iter().copied().map(canonical);
        peers.filter(|peer| may_name(scope, *peer)).collect()
    }

    fn may_be_named(&self, from: SocketAddr, addr: SocketAddr) -> bool {
        Scope::of(from.ip()).is_some_and(|scope| may_name(scope, addr)) && self.may_ask(addr)
    }

    /// What a single question brought.
    fn outcome(&self, lookup: LookupId, from: SocketAddr, rtt: Duration, reply: &Reply<'_>) -> DhtEvent {
        let Some(samples) = &reply.samples else {
            return DhtEvent::Pong { lookup, from, id: Id(reply.id), rtt };
        };
        let mut nodes = self.named(from, reply, true);
        nodes.extend(self.named(from, reply, false));
        DhtEvent::Samples {
            lookup,
            from,
            hashes: samples.hashes.iter().copied().map(Id).collect(),
            num: samples.num,
            interval: Duration::from_secs(samples.interval.into()),
            nodes,
        }
    }

    /// A node says what our address is.
    fn vote(&mut self, now: Time, voter: SocketAddr, seen: IpAddr) {
        // Many addresses of one network are one voter.
        let Some(net) = site(voter).or(subnet(voter)) else { return };
        self.votes.vote(net, seen);
        let ipv4 = seen.to_canonical().is_ipv4();
        let Some(ip) = self.votes.address(ipv4).filter(|ip| self.external(ipv4) != Some(*ip)) else { return };
        if self.upkeep.may_move(now) {
            self.move_to(now, ip);
        }
    }
}

/// Whether who answered may say what our address is: it is who it was said to be, and either its id is of its address, or it was
/// asked for the sake of a lookup. Anybody can have itself checked.
fn may_vote(pending: &Pending, id: Id, from: SocketAddr) -> bool {
    let is_right = pending.id.is_none_or(|said| said == id);
    is_right && (pending.purpose != Purpose::Check || id.belongs_to(from.ip()))
}
