use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::bucket::burst;
use super::*;

/// A node with its limit, watched by a plain bucket that must never be overdrawn: this is the bound
/// `granted <= rate x window + burst` for every window at once.
struct Watch {
    rate: Option<u64>,
    credit: f64,
    at: Time,
}

impl Watch {
    fn new(rate: Option<u64>) -> Self {
        Self { rate, credit: rate.map_or(0.0, |rate| burst(rate) as f64), at: Time::ZERO }
    }

    fn pass(&mut self, now: Time, bytes: u64) {
        if let Some(rate) = self.rate {
            self.credit += (now - self.at).as_secs_f64() * rate as f64;
            self.credit = self.credit.min(burst(rate) as f64) - bytes as f64;
            self.at = now;
            assert!(self.credit >= -1.0, "{bytes} bytes overdraw {rate} B/s by {}", -self.credit);
        }
    }
}

/// A limiter whose every grant is watched on every level, and peers that may always want more.
struct Net {
    limiter: Limiter,
    now: Time,
    watches: BTreeMap<NodeId, (Option<NodeId>, Watch)>,
    passed: BTreeMap<NodeId, u64>,
}

impl Net {
    fn new() -> Self {
        Self { limiter: Limiter::new(), now: Time::ZERO, watches: BTreeMap::new(), passed: BTreeMap::new() }
    }

    fn add(&mut self, parent: Option<NodeId>, rate: Option<u64>) -> NodeId {
        let id = self.limiter.add(self.now, parent, rate, 0);
        self.watches.insert(id, (parent, Watch::new(rate)));
        id
    }

    fn pass(&mut self, id: NodeId, bytes: u64) {
        *self.passed.entry(id).or_default() += bytes;
        let mut at = Some(id);
        while let Some(id) = at {
            let (parent, watch) = self.watches.get_mut(&id).expect("every node is watched");
            watch.pass(self.now, bytes);
            at = *parent;
        }
    }

    fn ask(&mut self, id: NodeId, want: u64) {
        let bytes = self.limiter.grant(self.now, id, want);
        assert!(bytes <= want);
        self.pass(id, bytes);
    }

    /// Each hungry peer asks for its bite again and again until `end`.
    fn run(&mut self, hungry: &[(NodeId, u64)], end: Time) {
        let bites: BTreeMap<NodeId, u64> = hungry.iter().copied().collect();
        loop {
            for (id, bite) in hungry {
                while !self.limiter.is_waiting(*id) {
                    self.ask(*id, *bite);
                }
            }
            self.limiter.check_invariant();
            while let Some(grant) = self.limiter.poll(self.now) {
                assert!(grant.bytes > 0);
                self.pass(grant.node, grant.bytes);
                let bite = bites[&grant.node];
                while !self.limiter.is_waiting(grant.node) {
                    self.ask(grant.node, bite);
                }
            }
            match self.limiter.next_timeout() {
                Some(at) if at <= end => {
                    assert!(at > self.now, "time stands still");
                    self.now = at;
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn got(&self, id: NodeId) -> u64 {
        self.passed.get(&id).copied().unwrap_or(0)
    }
}

fn near(got: u64, wanted: u64, percent: u64) -> bool {
    got.abs_diff(wanted) * 100 <= wanted * percent
}

#[test]
fn two_hungry_peers_share_equally_whatever_they_bite() {
    for (bite_a, bite_b) in [(16384, 16384), (1 << 20, 16384), (100_000, 20_000)] {
        let mut net = Net::new();
        let session = net.add(None, Some(200_000));
        let torrent = net.add(Some(session), None);
        let (a, b) = (net.add(Some(torrent), None), net.add(Some(torrent), None));
        net.run(&[(a, bite_a), (b, bite_b)], Time::from_secs(30));
        assert!(near(net.got(a), net.got(b), 10), "{} and {}", net.got(a), net.got(b));
        assert!(near(net.got(a) + net.got(b), 6_000_000, 2));
    }
}

#[test]
fn a_slow_torrent_leaves_the_rest_to_the_others() {
    let mut net = Net::new();
    let session = net.add(None, Some(1_000_000));
    let slow = net.add(Some(session), Some(10_000));
    let fast = net.add(Some(session), None);
    let slow_peers = [net.add(Some(slow), None), net.add(Some(slow), None)];
    let fast_peers =
        [net.add(Some(fast), None), net.add(Some(fast), Some(100_000)), net.add(Some(fast), None)];
    let hungry: Vec<_> = slow_peers.iter().chain(&fast_peers).map(|id| (*id, 65536)).collect();
    net.run(&hungry, Time::from_secs(60));
    assert!(near(net.got(slow_peers[0]), 300_000, 10), "{}", net.got(slow_peers[0]));
    assert!(near(net.got(slow_peers[1]), 300_000, 10));
    assert!(near(net.got(fast_peers[1]), 6_000_000, 5), "{}", net.got(fast_peers[1]));
    assert!(near(net.got(fast_peers[0]), net.got(fast_peers[2]), 5));
    assert!(near(net.passed.values().sum(), 60_000_000, 2));
}

#[test]
fn torrents_share_equally_however_many_peers_they_have() {
    let mut net = Net::new();
    let session = net.add(None, Some(100_000));
    let (a, b) = (net.add(Some(session), None), net.add(Some(session), None));
    let lone = net.add(Some(a), None);
    let crowd: Vec<_> = (0..9).map(|_| (net.add(Some(b), None), 65536)).collect();
    let hungry: Vec<_> = crowd.iter().copied().chain([(lone, 65536)]).collect();
    net.run(&hungry, Time::from_secs(60));
    assert!(near(net.got(lone), 3_000_000, 10), "{}", net.got(lone));
    for (id, _) in crowd {
        assert!(near(net.got(id), 333_333, 10), "{}", net.got(id));
    }
}

#[test]
fn a_root_without_a_rate_is_exempt() {
    let mut net = Net::new();
    let session = net.add(None, Some(1000));
    let far = net.add(Some(session), None);
    let lan = net.add(None, None);
    let near = net.add(Some(lan), None);
    net.run(&[(far, 16384)], Time::from_secs(1));
    assert_eq!(net.limiter.grant(net.now, near, 1 << 30), 1 << 30);
}

#[test]
fn without_limits_everything_passes() {
    let mut limiter = Limiter::new();
    let session = limiter.add(Time::ZERO, None, None, 0);
    let peer = limiter.add(Time::ZERO, Some(session), None, 1);
    assert_eq!(limiter.grant(Time::ZERO, peer, u64::MAX), u64::MAX);
    assert_eq!(limiter.next_timeout(), None);
    assert_eq!(limiter.poll(Time::MAX), None);
}

#[test]
fn lifting_a_limit_serves_who_waits_and_lowering_it_holds() {
    let mut net = Net::new();
    let session = net.add(None, Some(1000));
    let peer = net.add(Some(session), None);
    assert_eq!(net.limiter.grant(net.now, peer, 1_000_000), 4096);
    assert_eq!(net.limiter.grant(net.now, peer, 1_000_000), 0);
    assert_eq!(net.limiter.poll(net.now), None);
    net.limiter.set_rate(net.now, session, None);
    let grant = net.limiter.poll(net.now).expect("nothing limits any more");
    assert_eq!((grant.node, grant.bytes), (peer, 1_000_000));
    net.limiter.set_rate(net.now, session, Some(0));
    assert_eq!(net.limiter.grant(net.now, peer, 100), 0);
    assert_eq!(net.limiter.poll(Time::MAX), None);
    assert_eq!(net.limiter.next_timeout(), None);
    net.limiter.check_invariant();
    net.limiter.set_rate(Time::from_secs(9), session, Some(1000));
    assert!(net.limiter.next_timeout().is_some());
}

#[test]
fn overhead_is_paid_back_before_the_next_grant() {
    let mut limiter = Limiter::new();
    let session = limiter.add(Time::ZERO, None, Some(10_000), 0);
    let peer = limiter.add(Time::ZERO, Some(session), None, 7);
    assert_eq!(limiter.grant(Time::ZERO, peer, 4096), 4096);
    limiter.charge(Time::ZERO, peer, 1000);
    assert_eq!(limiter.grant(Time::from_millis(100), peer, 500), 0, "still in debt");
    let at = limiter.next_timeout().expect("it waits");
    let at = if at == Time::ZERO { Time::from_millis(100) } else { at };
    assert_eq!(limiter.poll(Time::from_millis(150)), None);
    assert!(at <= Time::from_millis(203), "{at:?}");
    let grant = limiter.poll(Time::from_millis(203)).expect("1030 bytes came in since");
    assert_eq!((grant.tag, grant.bytes), (7, 500));
    limiter.refund(peer, 500);
    assert_eq!(limiter.grant(Time::from_millis(203), peer, 1024), 1024, "what was not used is there again");
}

#[test]
fn a_stale_id_reaches_nobody() {
    let mut limiter = Limiter::new();
    let old = limiter.add(Time::ZERO, None, Some(1000), 0);
    limiter.remove(old);
    let new = limiter.add(Time::ZERO, None, Some(2000), 1);
    assert_ne!(old, new);
    assert_eq!(limiter.grant(Time::ZERO, old, 10), 0);
    limiter.set_rate(Time::ZERO, old, None);
    assert_eq!((limiter.rate(old), limiter.rate(new)), (None, Some(2000)));
    limiter.check_invariant();
}

#[test]
fn asking_and_giving_up_for_ever_does_not_grow_the_heap() {
    let mut limiter = Limiter::new();
    let peer = limiter.add(Time::ZERO, None, Some(1), 0);
    limiter.grant(Time::ZERO, peer, 4096);
    for step in 0..10_000 {
        assert_eq!(limiter.grant(Time::from_micros(step), peer, 100), 0);
        limiter.cancel(peer);
    }
    limiter.check_invariant();
    assert_eq!(limiter.next_timeout(), None);
}

#[derive(Clone, Debug)]
enum Op {
    Ask(usize, u64),
    Cancel(usize),
    Charge(usize, u64),
    Rate(usize, Option<u64>),
    Replace(usize),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..6_usize, 1..200_000_u64).prop_map(|(peer, want)| Op::Ask(peer, want)),
        1 => (0..6_usize).prop_map(Op::Cancel),
        1 => (0..6_usize, 0..3000_u64).prop_map(|(peer, bytes)| Op::Charge(peer, bytes)),
        1 => (0..9_usize, prop::option::of(0..500_000_u64)).prop_map(|(node, rate)| Op::Rate(node, rate)),
        1 => (0..6_usize).prop_map(Op::Replace),
        6 => (0..300_000_u64).prop_map(Op::Advance),
    ]
}

fn rate() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(prop_oneof![0..10_000_u64, 10_000..5_000_000_u64])
}

proptest! {
    #[test]
    fn no_window_of_any_node_passes_more_than_its_rate_and_burst(
        rates in prop::collection::vec(rate(), 9),
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let mut net = Net::new();
        let session = net.add(None, rates[0]);
        let torrents = [net.add(Some(session), rates[1]), net.add(Some(session), rates[2])];
        let mut peers: Vec<NodeId> = (0..6).map(|at| net.add(Some(torrents[at % 2]), rates[3 + at])).collect();
        for op in ops {
            match op {
                Op::Ask(peer, want) => net.ask(peers[peer], want),
                Op::Cancel(peer) => net.limiter.cancel(peers[peer]),
                Op::Charge(peer, bytes) => net.limiter.charge(net.now, peers[peer], bytes),
                Op::Rate(node, rate) => {
                    let id = if node < 6 { peers[node] } else { *[session, torrents[0], torrents[1]].get(node - 6).expect("nine") };
                    net.limiter.set_rate(net.now, id, rate);
                    let watch = &mut net.watches.get_mut(&id).expect("watched").1;
                    // From here a new window counts, with a full bucket at most.
                    *watch = Watch::new(rate);
                    watch.at = net.now;
                }
                Op::Replace(peer) => {
                    net.limiter.remove(peers[peer]);
                    peers[peer] = net.add(Some(torrents[peer % 2]), rates[3 + peer]);
                    net.watches.get_mut(&peers[peer]).expect("watched").1.at = net.now;
                }
                Op::Advance(by) => {
                    net.now += Duration::from_micros(by);
                    while let Some(grant) = net.limiter.poll(net.now) {
                        prop_assert!(grant.bytes > 0);
                        net.pass(grant.node, grant.bytes);
                    }
                }
            }
            net.limiter.check_invariant();
        }
    }

    #[test]
    fn a_busy_limit_is_used_in_full(session_rate in 5_000..50_000_000_u64, count in 1..8_usize, bite in 1000..100_000_u64) {
        let mut net = Net::new();
        let session = net.add(None, Some(session_rate));
        let torrent = net.add(Some(session), None);
        let hungry: Vec<_> = (0..count).map(|_| (net.add(Some(torrent), None), bite)).collect();
        net.run(&hungry, Time::from_secs(10));
        let total: u64 = net.passed.values().sum();
        prop_assert!(total * 100 >= session_rate * 10 * 95, "{} of {}", total, session_rate * 10);
        let (least, most) = (net.passed.values().min().unwrap_or(&0), net.passed.values().max().unwrap_or(&0));
        prop_assert!(most - least <= most / 10 + 2 * bite.min(burst(session_rate)) + burst(session_rate), "{} to {}", least, most);
    }
}
