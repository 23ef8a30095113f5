//! The networks that a walk asks in: at most one node of each is of its closest ones, and nobody who is only named keeps the others
//! out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::networks::{site, subnet};

/// What a network may have for each node of it that may answer.
const WAITING: u8 = 2;
const QUESTIONS: u8 = 3;
/// Nodes of a /48 of IPv6 that may answer: anybody can have one.
const OF_SITE: u8 = 2;

/// A network, or a local address; unverified nodes have their own, and keep nobody else out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    is_verified: bool,
    /// It is a /48.
    is_site: bool,
    ip: IpAddr,
    port: u16,
}

/// What goes on in a network.
#[derive(Debug, Default)]
struct Use {
    /// Nodes that were not asked yet.
    waiting: u8,
    /// Nodes that were asked and are not late.
    busy: u8,
    /// Nodes that were asked at all.
    questions: u8,
    answered: u8,
}

/// Networks by what goes on there.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<Place, Use>);

impl Place {
    /// The networks that an address counts for.
    pub(super) fn of(is_verified: bool, addr: SocketAddr) -> impl Iterator<Item = Self> {
        let (ip, port) = subnet(addr).map_or((addr.ip(), addr.port()), |net| (net, 0));
        let own = Self { is_verified, is_site: false, ip, port };
        let site = site(addr).map(|ip| Self { is_verified, is_site: true, ip, port: 0 });
        [Some(own), site].into_iter().flatten()
    }

    /// Nodes that may answer.
    fn most(self) -> u8 {
        if self.is_site { OF_SITE } else { 1 }
    }
}

impl Places {
    /// Nobody else of it is asked any more.
    pub(super) fn is_closed(&self, place: Place) -> bool {
        let most = place.most();
        self.0.get(&place).is_some_and(|of| of.answered >= most || of.questions >= QUESTIONS * most)
    }

    /// As many wait as may.
    pub(super) fn is_full(&self, place: Place) -> bool {
        self.0.get(&place).is_some_and(|of| of.waiting >= WAITING * place.most())
    }

    /// Whether another one is to be heard first.
    pub(super) fn is_busy(&self, is_verified: bool, addr: SocketAddr) -> bool {
        Place::of(is_verified, addr)
            .any(|place| self.0.get(&place).is_some_and(|of| of.answered + of.busy >= place.most()))
    }

    pub(super) fn waits(&mut self, is_verified: bool, addr: SocketAddr) {
        self.change(is_verified, addr, |of| of.waiting = of.waiting.saturating_add(1));
    }

    /// One that waited is forgotten.
    pub(super) fn leaves(&mut self, is_verified: bool, addr: SocketAddr) {
        self.change(is_verified, addr, |of| of.waiting = of.waiting.saturating_sub(1));
    }

    /// One that waited is asked.
    pub(super) fn asked(&mut self, is_verified: bool, addr: SocketAddr) {
        self.change(is_verified, addr, |of| {
            of.waiting = of.waiting.saturating_sub(1);
            (of.busy, of.questions) = (of.busy.saturating_add(1), of.questions.saturating_add(1));
        });
    }

    /// One that was asked is late, or does not answer, or did.
    pub(super) fn done(&mut self, is_verified: bool, addr: SocketAddr) {
        self.change(is_verified, addr, |of| of.busy = of.busy.saturating_sub(1));
    }

    /// One answers. Returns whether it may be of the closest.
    pub(super) fn answered(&mut self, is_verified: bool, addr: SocketAddr) -> bool {
        let has_room = |place: Place| self.0.get(&place).is_none_or(|of| of.answered < place.most());
        let is_free = Place::of(is_verified, addr).all(has_room);
        if is_free {
            self.change(is_verified, addr, |of| of.answered += 1);
        }
        is_free
    }

    fn change(&mut self, is_verified: bool, addr: SocketAddr, change: impl Fn(&mut Use)) {
        for place in Place::of(is_verified, addr) {
            let of = self.0.entry(place).or_default();
            change(of);
            if (of.waiting, of.busy, of.questions, of.answered) == (0, 0, 0, 0) {
                self.0.remove(&place);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
