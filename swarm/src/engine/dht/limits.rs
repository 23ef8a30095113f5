//! How much is answered to whom: five answers a second for an address, and few bytes for one that may be forged.
//!
//! Any address may be forged, that of a node which we know too. So what is sent to an address, whoever it is, is bounded by what came
//! in its name: three bytes for one, and 8 KiB a minute besides if it lately answered us itself.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::networks::site;
use crate::engine::scope::{Scope, subscriber};
use crate::engine::time::Time;

/// Packets to an address within [`WINDOW`].
const PER_ADDRESS: usize = 5;
/// Packets to a /48 of IPv6 in a window: anybody can have one, and it has 65,536 such subnets.
const PER_SITE: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// The part of all packets in a window that is kept for whom it matters more.
const KEPT: u32 = 5;
/// How long an address stays proven.
const PROOF: Duration = Duration::from_secs(10 * 60);
/// Addresses that are remembered as proven besides those in the table.
const MAX_PROVEN: usize = 256;
/// Bytes that a proven address may be sent in this time, besides those that anybody may be sent.
const EXTRA: usize = 8 * 1024;
const EXTRA_TIME: Duration = Duration::from_secs(60);
/// Addresses that have such bytes at a time. Others have none then.
const MAX_EXTRA: usize = 512;

/// Counts packets: for each address by itself, and for all together.
#[derive(Debug)]
pub(crate) struct Rate {
    recent: BTreeMap<SocketAddr, [Time; PER_ADDRESS]>,
    /// Packets in the window that began then.
    sites: BTreeMap<IpAddr, u32>,
    /// Packets to anybody in a window, and those of the window that began then.
    all: u32,
    count: u32,
    began: Time,
}

impl Rate {
    pub(crate) fn new(all: u32) -> Self {
        Self { recent: BTreeMap::new(), sites: BTreeMap::new(), all, count: 0, began: Time::ZERO }
    }

    /// There may be more from now on.
    pub(crate) fn raise(&mut self, all: u32) {
        self.all = self.all.max(all);
    }

    /// Whether only what is kept is left.
    pub(crate) fn is_scarce(&self, now: Time) -> bool {
        now - self.began < WINDOW && self.count >= self.all - self.all / KEPT
    }

    /// Whether a packet may go to this address now; if so, it is counted. A part of all is kept for those that are first.
    pub(crate) fn take(&mut self, now: Time, to: SocketAddr, is_first: bool) -> bool {
        if now - self.began >= WINDOW {
            (self.began, self.count) = (now, 0);
            self.sites.clear();
            self.recent.retain(|_, times| times.iter().any(|time| now < *time));
        }
        let site = site(to);
        let is_full = |site: IpAddr| self.sites.get(&site).is_some_and(|count| *count >= PER_SITE);
        let kept = if is_first { 0 } else { self.all / KEPT };
        if self.count + kept >= self.all || site.is_some_and(is_full) {
            return false;
        }
        // Times at which a packet stops to count: the earliest one is replaced.
        let times = self.recent.entry(counted(to)).or_insert([Time::ZERO; PER_ADDRESS]);
        let Some(earliest) = times.iter_mut().min().filter(|time| **time <= now) else { return false };
        *earliest = now + WINDOW;
        self.count += 1;
        if let Some(site) = site {
            *self.sites.entry(site).or_default() += 1;
        }
        true
    }
}

/// What a limit counts by: a global address with its subnet; local ones are told apart by port, since a whole network may run
/// behind one.
fn counted(addr: SocketAddr) -> SocketAddr {
    match Scope::of(addr.ip()) {
        Some(scope) if scope.is_local() => addr,
        _ => SocketAddr::new(subscriber(addr.ip()), 0),
    }
}

/// Addresses whose holders showed that they get what we send: answers to them cannot hit a third party.
#[derive(Debug, Default)]
pub(crate) struct Proven(VecDeque<(SocketAddr, Time)>);

impl Proven {
    /// This address sent what only the receiver of a packet of ours can know.
    pub(crate) fn insert(&mut self, now: Time, addr: SocketAddr) {
        self.0.retain(|(known, since)| *known != addr && now - *since < PROOF);
        if self.0.len() == MAX_PROVEN {
            self.0.pop_front();
        }
        self.0.push_back((addr, now));
    }

    pub(crate) fn contains(&self, now: Time, addr: SocketAddr) -> bool {
        self.0.iter().any(|(known, since)| *known == addr && now - *since < PROOF)
    }
}

/// What proven addresses were sent besides what anybody may be sent.
#[derive(Debug, Default)]
pub(crate) struct Extra(BTreeMap<SocketAddr, (Time, usize)>);

impl Extra {
    /// Bytes that this address may still be sent.
    pub(crate) fn left(&self, now: Time, to: SocketAddr) -> usize {
        match self.0.get(&counted(to)) {
            Some((began, spent)) if now - *began < EXTRA_TIME => EXTRA.saturating_sub(*spent),
            None if self.is_full(now) => 0,
            _ => EXTRA,
        }
    }

    pub(crate) fn spend(&mut self, now: Time, to: SocketAddr, bytes: usize) {
        if bytes == 0 {
            return;
        }
        if self.0.len() >= MAX_EXTRA {
            self.0.retain(|_, (began, _)| now - *began < EXTRA_TIME);
        }
        let (began, spent) = self.0.entry(counted(to)).or_insert((now, 0));
        if now - *began >= EXTRA_TIME {
            (*began, *spent) = (now, 0);
        }
        *spent += bytes;
    }

    fn is_full(&self, now: Time) -> bool {
        self.0.len() >= MAX_EXTRA && self.0.values().all(|(began, _)| now - *began < EXTRA_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn no_second_has_more_than_five_packets_for_an_address() {
        let mut rate = Rate::new(1000);
        let (flooder, other) = (addr("9.9.9.9:1"), addr("9.9.9.8:1"));
        let mut sent: Vec<Time> = Vec::new();
        for milli in 0..10_000 {
            let now = Time::from_millis(milli);
            if rate.take(now, SocketAddr::new(flooder.ip(), 1 + u16::try_from(milli).unwrap()), true) {
                sent.push(now);
            }
            assert!(milli % 500 > 0 || rate.take(now, other, true), "another address has its own");
        }
        assert!((45..=50).contains(&sent.len()), "{}", sent.len());
        assert!(sent.windows(6).all(|six| six[5] - six[0] >= WINDOW));
        assert!(rate.recent.len() <= 2);
    }

    #[test]
    fn all_addresses_together_have_a_limit_and_a_bound() {
        let mut rate = Rate::new(100);
        let mut sent = 0;
        for milli in 0..2000 {
            for last in 0..10 {
                let to = SocketAddr::new([9, 9, u8::try_from(milli % 250).unwrap(), last].into(), 5);
                sent += u32::from(rate.take(Time::from_millis(milli), to, last > 0));
            }
            assert!(rate.recent.len() <= 200);
        }
        assert_eq!(sent, 200);
    }

    #[test]
    fn a_fifth_is_kept_for_those_who_are_first() {
        let mut rate = Rate::new(100);
        let now = Time::from_secs(5);
        let mut take = |is_first, from: u32| {
            let to = |n: u32| SocketAddr::new(std::net::Ipv4Addr::from(0x0900_0000 + from + n).into(), 1);
            (0..200).filter(|n| rate.take(now, to(*n), is_first)).count()
        };
        assert_eq!((take(false, 0), take(true, 1000), take(true, 2000)), (80, 20, 0));
        assert!(rate.is_scarce(now) && !rate.is_scarce(now + WINDOW));
    }

    #[test]
    fn a_subnet_of_ipv6_counts_as_one_and_local_ports_count_apart() {
        let mut rate = Rate::new(1000);
        let mut take =
            |text: &str| (0..9).filter(|_| rate.take(Time::from_secs(1), addr(text), true)).count();
        assert_eq!((take("[2606:4700::1]:1"), take("[2606:4700::2]:1")), (5, 0));
        assert_eq!((take("127.0.0.1:1"), take("127.0.0.1:2")), (5, 5));
    }

    #[test]
    fn a_site_of_ipv6_has_twenty_packets_a_second() {
        let mut rate = Rate::new(1000);
        let mut taken = [0; 3];
        for millis in (0..3000).step_by(10) {
            let (now, net) = (Time::from_millis(1000 + millis), u16::try_from(millis).unwrap());
            let [first, other] =
                [7, 8].map(|site| SocketAddr::new([0x2606, 0x4700, site, net, 0, 0, 0, 1].into(), 1));
            taken[usize::try_from(millis / 1000).unwrap()] += u32::from(rate.take(now, first, true));
            assert!(millis % 100 > 0 || rate.take(now, other, true));
        }
        assert_eq!(taken, [20, 20, 20]);
    }

    #[test]
    fn proofs_end_and_are_bounded() {
        let mut proven = Proven::default();
        proven.insert(Time::ZERO, addr("9.9.9.9:1"));
        assert!(proven.contains(Time::from_secs(599), addr("9.9.9.9:1")));
        assert!(!proven.contains(Time::from_secs(1), addr("9.9.9.9:2")));
        assert!(!proven.contains(Time::from_secs(600), addr("9.9.9.9:1")));
        for port in 0..1000 {
            proven.insert(Time::from_secs(1), SocketAddr::new([9, 9, 9, 9].into(), port));
        }
        assert_eq!(proven.0.len(), MAX_PROVEN);
    }

    #[test]
    fn what_goes_beyond_is_counted_for_a_minute_and_for_few_at_a_time() {
        let mut extra = Extra::default();
        let (known, now) = (addr("9.9.9.9:1"), Time::from_secs(100));
        assert_eq!(extra.left(now, known), EXTRA);
        extra.spend(now, known, EXTRA - 1000);
        // Another port is the same address.
        assert_eq!(extra.left(now + Duration::from_secs(59), addr("9.9.9.9:2")), 1000);
        assert_eq!(extra.left(now + EXTRA_TIME, known), EXTRA);
        for n in 0..2000_u32 {
            let to = SocketAddr::new(std::net::Ipv4Addr::from(0x0800_0000 + n).into(), 1);
            let bytes = extra.left(now, to).min(1000);
            extra.spend(now, to, bytes);
        }
        assert_eq!(extra.0.len(), MAX_EXTRA);
        assert_eq!(extra.left(now, addr("9.9.9.1:1")), 0);
        assert_eq!(extra.left(now + EXTRA_TIME, addr("9.9.9.1:1")), EXTRA);
    }
}
