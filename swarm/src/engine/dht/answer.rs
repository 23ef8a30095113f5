//! Queries of others, and what they may cost us: no answer is longer than what its address may be sent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wire::krpc::{
    Body, Error, Method, MutableItem, NodeInfo, Nodes, Packet, Query, Refusal, Reply, Samples, Want, code,
};

use super::api::{DhtEvent, LookupId};
use super::draft::Draft;
use super::id::Id;
use super::owners::{of_family, of_family_mut};
use super::peers::SAMPLE_INTERVAL;
use super::table::{K, Standing};
use super::{Dht, MAX_QUEUED};
use crate::engine::scope::{Scope, may_name};
use crate::engine::time::Time;

/// Bytes of the longest answer of nodes and peers (BEP 32), and of the longest with an item or filters.
const MAX_ANSWER: usize = 1024;
pub(super) const MAX_LONG: usize = 1400;
/// Bytes that go to any address for each that came from it.
pub(super) const AMPLIFICATION: usize = 3;
/// Bytes that a ping may have.
const PING: usize = 80;
/// Bytes of a node of each family, and of what is around nodes, peers and samples.
const NODE: usize = 26;
const NODE6: usize = 38;
const AROUND: usize = 12;
const AROUND_SAMPLES: usize = 50;
/// Peers in an answer.
const MAX_PEERS: usize = 100;
/// Who told what we know ourselves.
const OURSELVES: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
/// Queries whose answers wait for a proof of the asker's address, and how long.
pub(super) const MAX_DEFERRED: usize = 32;
const DEFERRAL: Duration = Duration::from_secs(1);

/// Bytes that may go to an address.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// For what came from there.
    free: usize,
    /// With what a proven address may be sent besides.
    most: usize,
}

impl Room {
    /// Something else goes there.
    fn less(self, bytes: usize) -> Self {
        Self { free: self.free.saturating_sub(bytes), most: self.most.saturating_sub(bytes) }
    }
}

/// A query with a long answer from an address that may be forged: it is pinged first.
#[derive(Debug)]
pub(super) struct Deferred {
    from: SocketAddr,
    /// Which of our addresses it asked.
    at: Option<IpAddr>,
    packet: Vec<u8>,
    pub(super) until: Time,
}

impl Dht {
    /// Answers a query. Returns whether it was taken.
    pub(super) fn handle_query(
        &mut self,
        now: Time,
        from: SocketAddr,
        packet: &Packet<'_>,
        query: &Query<'_>,
        len: usize,
    ) -> bool {
        let own = self.id(from.is_ipv4());
        if self.read_only || own == Some(Id(query.id)) || !self.may_answer(now, from) {
            return false;
        }
        self.tokens.rotate(now, &mut self.rng);
        let is_wanted = !packet.read_only && self.is_wanted(now, Id(query.id), from);
        let mut room = self.room(now, from, len);
        let is_long = matches!(query.method, Method::Get { .. } | Method::GetPeers { scrape: true, .. });
        if is_long && !packet.read_only && self.defer(now, from, room, packet, query) {
            return true;
        }
        let check = is_wanted && room.free >= 2 * PING && self.may_check(now, from);
        room = room.less(if check { PING } else { 0 });
        self.answer(now, from, packet.transaction, &query.method, room);
        if check {
            self.check_node(now, Some(Id(query.id)), from);
        }
        true
    }

    /// Whether somebody may have an answer now. In a flood from everywhere those who are known keep theirs.
    fn may_answer(&mut self, now: Time, from: SocketAddr) -> bool {
        let [answers, _] = &self.rates;
        let is_first = answers.is_scarce(now) && self.is_proven(now, from);
        let [answers, _] = &mut self.rates;
        answers.take(now, from, is_first)
    }

    /// Says what is wrong with a query that cannot be understood.
    pub(super) fn refuse(&mut self, now: Time, from: SocketAddr, error: &Error<'_>, len: usize) -> bool {
        if self.read_only || !self.may_answer(now, from) {
            return false;
        }
        let room = self.room(now, from, len);
        if let Some(bytes) = error.answer().map(|packet| self.encode(packet)) {
            self.send_within(now, from, room, bytes);
        }
        true
    }

    /// The address showed that it is real: what waited for that is answered in full.
    pub(super) fn answer_deferred(&mut self, now: Time, from: SocketAddr) {
        let (proven, others) =
            std::mem::take(&mut self.deferred).into_iter().partition(|query| query.from == from);
        self.deferred = others;
        self.answer_late(now, proven);
    }

    /// Who does not answer the ping gets what an unproven address may have.
    pub(super) fn answer_overdue(&mut self, now: Time) {
        if self.deferred.front().is_some_and(|query| query.until <= now) {
            let (over, others) =
                std::mem::take(&mut self.deferred).into_iter().partition(|query| query.until <= now);
            self.deferred = others;
            self.answer_late(now, over);
        }
    }

    fn answer_late(&mut self, now: Time, queries: std::collections::VecDeque<Deferred>) {
        for Deferred { from, at, packet: bytes, .. } in queries {
            let Ok(packet) = Packet::parse(&bytes) else { continue };
            if let Body::Query(query) = &packet.body {
                // The ping counts.
                let room = self.room(now, from, bytes.len()).less(PING);
                self.as_asked(at, from, |dht| dht.answer(now, from, packet.transaction, &query.method, room));
            }
        }
    }

    fn is_wanted(&mut self, now: Time, id: Id, from: SocketAddr) -> bool {
        self.table_mut(from.is_ipv4()).is_some_and(|table| table.asked_us(now, id, from) == Standing::Wanted)
    }

    /// Bytes that may go to an address in answer to a query of this length.
    fn room(&self, now: Time, to: SocketAddr, len: usize) -> Room {
        let free = MAX_LONG.min(AMPLIFICATION * len);
        let extra = if self.is_proven(now, to) { self.extra.left(now, to) } else { 0 };
        Room { free, most: MAX_LONG.min(free + extra) }
    }

    /// Whether there is somebody at the address who takes part.
    fn is_proven(&self, now: Time, addr: SocketAddr) -> bool {
        self.proven.contains(now, addr)
            || self.table(addr.is_ipv4()).is_some_and(|table| table.has_answered(now, addr))
    }

    /// Sends an answer, if it is not too long.
    fn send_within(&mut self, now: Time, to: SocketAddr, room: Room, bytes: Vec<u8>) {
        if bytes.len() <= room.most {
            self.extra.spend(now, to, bytes.len().saturating_sub(room.free));
            self.send(to, bytes);
        }
    }

    /// Puts a query off until its sender has answered a ping, if there is much to send.
    fn defer(
        &mut self,
        now: Time,
        from: SocketAddr,
        room: Room,
        packet: &Packet<'_>,
        query: &Query<'_>,
    ) -> bool {
        if room.most == MAX_LONG || self.is_proven(now, from) {
            return false;
        }
        let has_much = match &query.method {
            Method::Get { target, .. } => {
                self.items.get(&Id(*target)).is_some_and(|item| item.value.len() > 32)
            }
            Method::GetPeers { info_hash, .. } => of_family(&self.peers, from.is_ipv4()).has(&Id(*info_hash)),
            _ => false,
        };
        let is_waiting = self.deferred.iter().any(|query| query.from == from);
        if !has_much || self.deferred.len() >= MAX_DEFERRED || is_waiting || !self.may_check(now, from) {
            return false;
        }
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        let at = self.asked.map(|(_, at)| at);
        self.deferred.push_back(Deferred { from, at, packet: bytes, until: now + DEFERRAL });
        self.query(now, from, Some(Id(query.id)), super::transactions::Purpose::Check, &Method::Ping);
        true
    }

    /// What others stored here counts for our own lookups too: in a small network nobody else may have it.
    pub(super) fn consult_own(&mut self, id: LookupId) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let hash = lookup.target;
        let item = self.items.get(&hash);
        let signed = item.and_then(|item| item.signed.as_deref());
        for ipv4 in [true, false] {
            let stored = of_family(&self.peers, ipv4);
            let filters = stored.filters(&hash);
            let reply = Reply {
                value: item.map(|item| &*item.value),
                key: signed.map(|signed| &signed.key),
                seq: signed.map(|signed| signed.seq),
                signature: signed.map(|signed| &signed.signature),
                seeds: filters.as_ref().map(|(seeds, _)| seeds.as_bytes()),
                peers: filters.as_ref().map(|(_, others)| others.as_bytes()),
                ..Reply::new([0; 20])
            };
            let peers = stored.sample(&hash, false, MAX_PEERS, &mut self.rng);
            self.events.extend(lookup.take(id, OURSELVES, 0, &reply, peers.into_iter()));
        }
    }

    /// Answers with no more bytes than there is room for.
    fn answer(&mut self, now: Time, from: SocketAddr, transaction: &[u8], method: &Method<'_>, room: Room) {
        let body = match method {
            Method::AnnouncePeer { info_hash, port, implied_port, token, seed, .. } => {
                let peer = SocketAddr::new(from.ip(), if *implied_port { from.port() } else { *port });
                self.announce(now, from, token, Id(*info_hash), peer, *seed)
            }
            Method::Put { token, value, mutable } => self.put(now, from, token, value, mutable.as_ref()),
            Method::Other { target: None, .. } => Err(Refusal::new(code::METHOD_UNKNOWN, "unknown method")),
            _ => Ok(()),
        };
        let bytes = match body {
            Ok(()) => self.reply(now, from, transaction, method, room.most),
            Err(refusal) => self.encode(Packet::new(transaction, Body::Error(refusal))),
        };
        self.send_within(now, from, room, bytes);
    }

    fn announce(
        &mut self,
        now: Time,
        from: SocketAddr,
        token: &[u8],
        hash: Id,
        peer: SocketAddr,
        seed: bool,
    ) -> Result<(), Refusal<'static>> {
        let own = self.show(now, from, token)?;
        if of_family_mut(&mut self.peers, from.is_ipv4()).announce(now, &own, hash, peer, seed) {
            self.tell_announced(hash, peer);
            Ok(())
        } else {
            Err(Refusal::new(code::SERVER, "no room for more torrents"))
        }
    }

    /// Nobody need listen, so that there is an end to what waits.
    fn tell_announced(&mut self, hash: Id, peer: SocketAddr) {
        if peer.port() != 0 && self.events.len() < MAX_QUEUED {
            self.events.push_back(DhtEvent::Announced { hash, peer });
        }
    }

    fn put(
        &mut self,
        now: Time,
        from: SocketAddr,
        token: &[u8],
        value: &[u8],
        mutable: Option<&MutableItem<'_>>,
    ) -> Result<(), Refusal<'static>> {
        self.show(now, from, token)?;
        let own: Vec<Id> = [true, false].into_iter().filter_map(|ipv4| self.id(ipv4)).collect();
        self.items.put(now, &own, from.ip(), value, mutable)
    }

    /// Checks a token, which proves the address. Returns our id there.
    fn show(&mut self, now: Time, from: SocketAddr, token: &[u8]) -> Result<Id, Refusal<'static>> {
        let own = self.id(from.is_ipv4()).filter(|_| self.tokens.accepts(from.ip(), token));
        let own = own.ok_or(Refusal::new(code::PROTOCOL, "the token is not of your address, or too old"))?;
        self.proven.insert(now, from);
        Ok(own)
    }

    /// What a query is answered with that is not refused.
    fn reply(
        &mut self,
        now: Time,
        from: SocketAddr,
        transaction: &[u8],
        method: &Method<'_>,
        room: usize,
    ) -> Vec<u8> {
        let own = self.id(from.is_ipv4()).unwrap_or_default();
        let token = self.tokens.give(from.ip());
        let filters;
        let mut draft = Draft::new(own.0, transaction.len() + if from.is_ipv4() { 6 } else { 19 }, room);
        match method {
            Method::FindNode { target, want } | Method::Other { target: Some(target), want, .. } => {
                // What is asked about a point is answered with nodes near it, whatever it is.
                self.add_nodes(now, &mut draft, from, target, *want);
            }
            Method::GetPeers { info_hash, want, no_seeds, scrape } => {
                let hash = Id(*info_hash);
                let stored = of_family(&self.peers, from.is_ipv4());
                if stored.has_room(&hash) {
                    draft.add_token(&token);
                }
                filters = scrape.then(|| stored.filters(&hash)).flatten();
                if let Some(filters) = &filters {
                    draft.add_filters(filters);
                }
                draft.cap(MAX_ANSWER);
                let peers = self.peers_for(from, &hash, *no_seeds);
                let rest = add_peers(&mut draft, from, &peers, 2);
                self.add_nodes(now, &mut draft, from, info_hash, *want);
                add_peers(&mut draft, from, rest, 1);
            }
            Method::Get { target, seq, want } => {
                draft.add_token(&token);
                if let Some(item) = self.items.get(&Id(*target)) {
                    draft.add_item(item, *seq);
                }
                self.add_nodes(now, &mut draft, from, target, *want);
            }
            Method::SampleInfohashes { target, want } => {
                // Half of the room is for nodes.
                let count = draft.count(20, AROUND_SAMPLES) / 2;
                draft.spend(AROUND_SAMPLES + 20 * count);
                draft.reply.samples = Some(self.samples(now, from.is_ipv4(), count));
                self.add_nodes(now, &mut draft, from, target, *want);
            }
            Method::Ping | Method::AnnouncePeer { .. } | Method::Put { .. } | Method::Other { .. } => {}
        }
        self.encode(Packet { ip: Some(from), ..Packet::new(transaction, Body::Reply(draft.reply)) })
    }

    fn add_nodes(
        &self,
        now: Time,
        draft: &mut Draft<'_>,
        from: SocketAddr,
        target: &[u8; 20],
        want: Option<Want>,
    ) {
        let want = want.unwrap_or(Want { v4: from.is_ipv4(), v6: from.is_ipv6() });
        let closest = |ipv4: bool, count: usize| {
            let table = self.table(ipv4).filter(|_| count > 0);
            let nodes =
                table.map(|table| table.closest_for(now, from, &Id(*target), count)).unwrap_or_default();
            nodes.into_iter().map(|(id, addr)| NodeInfo { id: id.0, addr })
        };
        if want.v4 {
            let nodes = closest(true, draft.count(NODE, AROUND).min(K));
            draft.spend(AROUND + NODE * nodes.len());
            draft.reply.nodes = Some(Nodes::v4(nodes));
        }
        if want.v6 {
            let nodes = closest(false, draft.count(NODE6, AROUND).min(K));
            draft.spend(AROUND + NODE6 * nodes.len());
            draft.reply.nodes6 = Some(Nodes::v6(nodes));
        }
    }

    fn peers_for(&mut self, from: SocketAddr, hash: &Id, no_seeds: bool) -> Vec<SocketAddr> {
        let Some(scope) = Scope::of(from.ip()) else { return Vec::new() };
        let stored = of_family(&self.peers, from.is_ipv4());
        let mut peers = stored.sample(hash, no_seeds, MAX_PEERS, &mut self.rng);
        peers.retain(|peer| may_name(scope, *peer));
        peers
    }

    fn samples(&mut self, now: Time, ipv4: bool, count: usize) -> Samples<'static> {
        let (hashes, num) = of_family_mut(&mut self.peers, ipv4).samples(now, &mut self.rng);
        let hashes: Vec<_> = hashes.iter().take(count).map(|hash| hash.0).collect();
        Samples {
            interval: u32::try_from(SAMPLE_INTERVAL.as_secs()).unwrap_or(0),
            num: u32::try_from(num).unwrap_or(u32::MAX),
            hashes: hashes.into(),
        }
    }

    fn encode<'a>(&'a self, mut packet: Packet<'a>) -> Vec<u8> {
        packet.version = self.version.as_ref().map(<[u8; 4]>::as_slice);
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        bytes
    }
}

/// Adds peers in one of so many parts of the room. Returns those that are left.
fn add_peers<'p>(
    draft: &mut Draft<'_>,
    to: SocketAddr,
    peers: &'p [SocketAddr],
    parts: usize,
) -> &'p [SocketAddr] {
    let (size, around) =
        (if to.is_ipv4() { 8 } else { 21 }, if draft.reply.values.is_empty() { AROUND } else { 0 });
    let count = (draft.count(size, around) / parts).min(peers.len());
    let (now, later) = peers.split_at_checked(count).unwrap_or_default();
    if !now.is_empty() {
        draft.spend(around + size * now.len());
        draft.reply.values.extend_from_slice(now);
    }
    later
}
