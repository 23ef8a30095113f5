//! What a node does by itself: joins, keeps its tables filled and fresh, and moves when its address changes.

use std::net::IpAddr;
use std::time::Duration;

use rand::RngExt;
use wire::krpc::Method;

use super::lookup::{Goal, Lookup, Origin};
use super::table::{FRESH, K, Table};
use super::transactions::Purpose;
use super::{Dht, DhtEvent, Id};
use crate::engine::scope::Scope;
use crate::engine::time::Time;

/// Pings under way that nobody asked for.
pub(super) const MAX_CHECKS: usize = 16;
/// How often it is looked whether something is to be done.
const TICK: Duration = Duration::from_secs(5);
/// How often what is stored is looked through.
const EXPIRY: Duration = Duration::from_secs(60);
/// Nodes of a family that are pinged at a time, and the pause between pings of one.
const PINGS: usize = 4;
const PING_PAUSE: Duration = Duration::from_secs(60);
/// The pause between two attempts to join, at first and at most.
const JOIN_PAUSE: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(15 * 60)];
/// Votes on our address are many and slow to change: more often than this somebody plays with us.
const MOVE_PAUSE: Duration = Duration::from_secs(10 * 60);

/// When to do what.
#[derive(Debug)]
pub(super) struct Upkeep {
    next: Time,
    expired: Time,
    moved: Option<Time>,
    told: bool,
    /// IPv4, IPv6.
    families: [Family; 2],
}

#[derive(Debug, Default)]
struct Family {
    /// When to join, if there are few nodes.
    join: Time,
    failures: u32,
    joining: bool,
    refreshing: bool,
}

impl Upkeep {
    pub(super) fn new(now: Time) -> Self {
        let families = [Family::default(), Family::default()];
        Self { next: now, expired: now, moved: None, told: false, families }
    }

    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// There is somebody new to join by.
    pub(super) fn hurry(&mut self, now: Time) {
        self.next = self.next.min(now);
        self.families.iter_mut().for_each(|family| (family.join, family.failures) = (now, 0));
    }

    /// Somebody answered. As long as we have not joined, that is a good moment to try.
    pub(super) fn heard_first(&mut self, now: Time) {
        if !self.told {
            self.hurry(now);
        }
    }

    pub(super) fn may_move(&self, now: Time) -> bool {
        self.moved.is_none_or(|at| now - at >= MOVE_PAUSE)
    }

    fn family(&mut self, ipv4: bool) -> &mut Family {
        let [v4, v6] = &mut self.families;
        if ipv4 { v4 } else { v6 }
    }
}

impl Dht {
    pub(super) fn tick(&mut self, now: Time) {
        self.upkeep.next = now + TICK + Duration::from_millis(self.rng.random_range(0..1000));
        self.tokens.rotate(now, &mut self.rng);
        if now - self.upkeep.expired >= EXPIRY {
            self.upkeep.expired = now;
            self.peers.iter_mut().for_each(|peers| peers.expire(now));
            self.items.expire(now);
        }
        for ipv4 in [true, false] {
            if self.table(ipv4).is_some() && self.routes.is_open(now, ipv4) {
                self.join(now, ipv4);
                self.refresh(now, ipv4);
                self.ping_questionable(now, ipv4);
            }
        }
    }

    /// A lookup that was made for the table is over.
    pub(super) fn upkeep_done(&mut self, now: Time, origin: Origin, lookup: &Lookup) {
        let ipv4 = lookup.is_of(true);
        let (good, is_lost) = (self.table(ipv4).map_or(0, Table::good), self.is_lost(now));
        let family = self.upkeep.family(ipv4);
        if origin == Origin::Refresh {
            family.refreshing = false;
            return;
        }
        family.joining = false;
        let [least, most] = JOIN_PAUSE;
        family.failures = if good < K || is_lost { (family.failures + 1).min(10) } else { 0 };
        family.join = now + (least * 2_u32.pow(family.failures)).min(most);
        if good > 0 && !self.upkeep.told {
            self.upkeep.told = true;
            let nodes = self.tables.iter().flatten().map(Table::good).sum();
            self.events.push_back(DhtEvent::Bootstrapped { nodes });
        }
    }

    /// The first who says what our address is will do to choose an id by, as long as nothing depends on it: with one that is not
    /// of our address nobody takes us in, and so nobody else would tell. Votes correct it. Returns whether the id is a new one.
    pub(super) fn guess(&mut self, ip: IpAddr) -> bool {
        let ipv4 = ip.is_ipv4();
        if self.external(ipv4).is_some() || Scope::of(ip) != Some(Scope::Global) {
            return false;
        }
        let id = Id::of_address(ip, &mut self.rng);
        let table = self.table_mut(ipv4).filter(|table| table.good() == 0 && !table.own().belongs_to(ip));
        table.map(|table| table.rename(id)).is_some()
    }

    /// Our id is another one: what is near it is looked for instead of what was near the old one.
    pub(super) fn join_again(&mut self, now: Time, ipv4: bool) {
        let is_stale = |lookup: &Lookup| lookup.origin == Origin::Join && lookup.is_of(ipv4);
        self.lookups.retain(|_, lookup| !is_stale(lookup));
        if let Some(own) = self.id(ipv4) {
            self.begin_upkeep(now, ipv4, own, Origin::Join);
        }
    }

    /// Others see us elsewhere than we thought: an id that belongs there, and a table around it.
    pub(super) fn move_to(&mut self, now: Time, ip: IpAddr) {
        let ipv4 = ip.is_ipv4();
        let [v4, v6] = &mut self.external;
        *(if ipv4 { v4 } else { v6 }) = Some(ip);
        self.upkeep.moved = Some(now);
        self.events.push_back(DhtEvent::ExternalAddress { ip });
        let id = Id::of_address(ip, &mut self.rng);
        if let Some(table) = self.table_mut(ipv4).filter(|table| !table.own().belongs_to(ip)) {
            table.rename(id);
            self.join_again(now, ipv4);
        }
    }

    /// Looks for the nodes near ourselves, while there are few.
    fn join(&mut self, now: Time, ipv4: bool) {
        let Some(table) = self.table(ipv4) else { return };
        let (own, is_poor) = (table.own(), table.good() < K || self.is_lost(now));
        let family = self.upkeep.family(ipv4);
        if is_poor && !family.joining && family.join <= now {
            self.begin_upkeep(now, ipv4, own, Origin::Join);
        }
    }

    /// Fills a bucket.
    fn refresh(&mut self, now: Time, ipv4: bool) {
        let family = self.upkeep.family(ipv4);
        if family.refreshing || family.joining {
            return;
        }
        let Some(table) = self.table_mut(ipv4).filter(|table| table.good() > 0) else { return };
        let Some(shared) = table.lacking(now, FRESH) else { return };
        let target = table.own().beside(shared, &mut self.rng);
        self.begin_upkeep(now, ipv4, target, Origin::Refresh);
    }

    fn begin_upkeep(&mut self, now: Time, ipv4: bool, target: Id, origin: Origin) {
        let family = self.upkeep.family(ipv4);
        *(if origin == Origin::Join { &mut family.joining } else { &mut family.refreshing }) = true;
        let walk = self.walk(now, ipv4, target);
        let walks = if ipv4 { [walk, None] } else { [None, walk] };
        let id = self.next_id();
        self.lookups.insert(id, Lookup::new(Goal::Nodes, origin, target, walks));
        self.advance(now, id);
    }

    fn ping_questionable(&mut self, now: Time, ipv4: bool) {
        for _ in 0..PINGS {
            if self.transactions.len() >= self.max_in_flight + MAX_CHECKS {
                return;
            }
            let Some(table) = self.table_mut(ipv4) else { return };
            let Some((id, addr)) = table.questionable(now, PING_PAUSE) else { return };
            if self.may_check(now, addr) {
                self.query(now, addr, Some(id), Purpose::Check, &Method::Ping);
            }
        }
    }
}
