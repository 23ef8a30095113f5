//! What peers tell each other about whom they are connected to (BEP 11).
//!
//! A torrent keeps one line of events, joins and leaves, each with a revision; a peer keeps the revision up to which it was
//! told. A message is what happened since, without what cancelled itself out:
//!
//! ```text
//!   A joins   B joins   C joins   B leaves   D joins
//!      1         2         3          4         5          a peer at 2 is told:  + C D   - B
//!                                                          a new one:            + A C D
//! ```
//!
//! So a peer costs a few bytes, and nothing is done for it before its next message is due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rand::{Rng, RngExt};
use wire::peer::{PexFlags, PexMessage, PexPeer};

use super::time::Time;

/// Between two messages to a peer at least (BEP 11: one a minute).
pub const INTERVAL: Duration = Duration::from_secs(60);
/// Peers added in one message at most, and as many dropped.
pub const MOST: usize = 50;
/// Peers in the first message: BEP 11 does not bound it, and libtorrent tells as many.
pub const MOST_AT_FIRST: usize = 100;

/// Spreads the messages to many peers.
const JITTER: Duration = Duration::from_secs(10);
/// Until the first message: others join in the meantime.
const FIRST: Duration = Duration::from_secs(1);
/// When there was nothing to tell, it is looked again after this time.
const NOTHING: Duration = Duration::from_secs(10);
/// Leaves that are remembered; peers that are behind are not told of older ones.
const MOST_LEFT: usize = 1000;
/// A message may come so much before its minute is over: clocks and networks jitter.
const TOLERANCE: Duration = Duration::from_secs(50);
/// Messages that came too early after which a peer is to go.
const MOST_EARLY: u32 = 50;

/// Whom a torrent is connected to.
#[derive(Debug, Default)]
pub struct Roll {
    revision: u64,
    live: BTreeMap<SocketAddr, Live>,
    /// Who is there, in the order in which they joined.
    joins: BTreeMap<u64, SocketAddr>,
    /// Who left, in that order.
    leaves: VecDeque<Leave>,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    since: u64,
    flags: PexFlags,
}

#[derive(Clone, Copy, Debug)]
struct Leave {
    at: u64,
    /// When it had joined.
    since: u64,
    addr: SocketAddr,
}

impl Roll {
    /// A peer is connected that can be reached at this address; or more is known of it now.
    pub fn handle_joined(&mut self, addr: SocketAddr, flags: PexFlags) {
        if let Some(live) = self.live.get_mut(&addr) {
            live.flags = flags;
            return;
        }
        self.revision += 1;
        self.live.insert(addr, Live { since: self.revision, flags });
        self.joins.insert(self.revision, addr);
    }

    /// It is connected no more.
    pub fn handle_left(&mut self, addr: SocketAddr) {
        let Some(Live { since, .. }) = self.live.remove(&addr) else { return };
        self.joins.remove(&since);
        self.revision += 1;
        self.leaves.push_back(Leave { at: self.revision, since, addr });
        if self.leaves.len() > MOST_LEFT {
            self.leaves.pop_front();
        }
    }

    /// Whether a peer is listed at this address.
    pub fn lists(&self, addr: SocketAddr) -> bool {
        self.live.contains_key(&addr)
    }

    /// Peers that are listed.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

/// One peer's end of the exchange.
#[derive(Debug)]
pub struct Partner {
    /// It was told of who joined up to here.
    joins_seen: u64,
    /// And of who left up to here; no join is told while leaves wait, so it was told of a join before the leave or never.
    leaves_seen: u64,
    /// When it is told next.
    due: Time,
    told: bool,
    /// When its next message may come.
    heard_until: Time,
    heard: bool,
    early: u32,
}

/// What to do with a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Use so many of its peers.
    Use(usize),
    /// It came too early: use none.
    Ignore,
    /// They come too early all the time: part with the peer.
    Part,
}

impl Partner {
    /// A peer that takes part from now on.
    pub fn new(now: Time, rng: &mut impl Rng) -> Self {
        let due = now + FIRST + jitter(FIRST, rng);
        Self { joins_seen: 0, leaves_seen: 0, due, told: false, heard_until: now, heard: false, early: 0 }
    }

    /// When to call [`Partner::poll`].
    pub fn next_timeout(&self) -> Time {
        self.due
    }

    /// What to tell now, if it is time and there is something to tell. `may_name` says which addresses this peer may be told.
    pub fn poll(
        &mut self,
        now: Time,
        roll: &Roll,
        may_name: impl Fn(SocketAddr) -> bool,
        rng: &mut impl Rng,
    ) -> Option<PexMessage> {
        if now < self.due {
            return None;
        }
        let most = if self.told { MOST } else { MOST_AT_FIRST };
        let message = self.compose(roll, most, may_name);
        if message.added.is_empty() && message.dropped.is_empty() {
            self.due = now + NOTHING;
            return None;
        }
        self.told = true;
        self.due = now + INTERVAL + jitter(JITTER, rng);
        Some(message)
    }

    fn compose(&mut self, roll: &Roll, most: usize, may_name: impl Fn(SocketAddr) -> bool) -> PexMessage {
        let (mut added, mut gone, mut returned) = (Vec::new(), Vec::new(), BTreeSet::new());
        let first = roll.leaves.partition_point(|leave| leave.at <= self.leaves_seen);
        let mut all = true;
        for leave in roll.leaves.range(first..) {
            if leave.since <= self.joins_seen && may_name(leave.addr) {
                if gone.len() + returned.len() == most {
                    all = false;
                    break;
                }
                if roll.live.contains_key(&leave.addr) {
                    returned.insert(leave.addr);
                } else {
                    gone.push(leave.addr);
                }
            }
            self.leaves_seen = leave.at;
        }
        for (revision, addr) in roll.joins.range(self.joins_seen + 1..).filter(|_| all) {
            // Who left and came back needs no word.
            if !returned.remove(addr) && may_name(*addr) {
                if added.len() == most {
                    break;
                }
                let flags = roll.live.get(addr).map(|live| live.flags).unwrap_or_default();
                added.push(PexPeer { addr: *addr, flags });
            }
            self.joins_seen = *revision;
        }
        gone.extend(returned);
        PexMessage { added, dropped: gone }
    }

    /// A message came.
    pub fn handle_message(&mut self, now: Time) -> Verdict {
        // One may come early when the one before was late.
        if now + TOLERANCE < self.heard_until {
            self.early += 1;
            return if self.early > MOST_EARLY { Verdict::Part } else { Verdict::Ignore };
        }
        self.heard_until = self.heard_until.max(now) + TOLERANCE;
        Verdict::Use(if std::mem::replace(&mut self.heard, true) { MOST } else { MOST_AT_FIRST })
    }
}

fn jitter(most: Duration, rng: &mut impl Rng) -> Duration {
    most.mul_f64(rng.random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Every other one has an IPv6 address: bounds are of both families together.
    fn addr(n: u32) -> SocketAddr {
        let [_, b, c, d] = n.to_be_bytes();
        if n.is_multiple_of(2) {
            SocketAddr::from(([9, b, c, d], 7000))
        } else {
            SocketAddr::from(([0x2606, 0x4700, 0, 0, 0, 0, b.into(), u16::from_be_bytes([c, d])], 7000))
        }
    }

    fn tell(partner: &mut Partner, now: &mut Time, roll: &Roll, rng: &mut ChaCha8Rng) -> Option<PexMessage> {
        *now = (*now).max(partner.next_timeout());
        partner.poll(*now, roll, |_| true, rng)
    }

    #[test]
    fn a_message_is_what_happened_since_the_last() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut roll, mut now) = (Roll::default(), Time::ZERO);
        let mut partner = Partner::new(now, &mut rng);
        assert_eq!(tell(&mut partner, &mut now, &roll, &mut rng), None);
        (1..=2).for_each(|n| roll.handle_joined(addr(n), PexFlags::default()));
        let first = tell(&mut partner, &mut now, &roll, &mut rng).unwrap();
        assert_eq!((first.added.len(), first.dropped.len()), (2, 0));
        let told = now;
        roll.handle_joined(addr(3), PexFlags::SEED);
        roll.handle_left(addr(2));
        roll.handle_joined(addr(4), PexFlags::default());
        roll.handle_left(addr(4));
        roll.handle_left(addr(1));
        roll.handle_joined(addr(1), PexFlags::default());
        assert_eq!(partner.poll(now + Duration::from_secs(59), &roll, |_| true, &mut rng), None);
        let next = tell(&mut partner, &mut now, &roll, &mut rng).unwrap();
        assert!(now >= told + INTERVAL);
        let added: Vec<_> = next.added.iter().map(|peer| peer.addr).collect();
        assert_eq!((added, next.dropped), (vec![addr(3)], vec![addr(2)]));
        assert!(next.added[0].flags.has(PexFlags::SEED));
    }

    #[test]
    fn a_reader_knows_who_is_there_whatever_comes_and_goes() {
        for seed in 0..20 {
            println!("seed {seed}");
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut roll, mut now) = (Roll::default(), Time::ZERO);
            let mut partner = Partner::new(now, &mut rng);
            let mut known = BTreeSet::new();
            for round in 0..400 {
                if round < 300 {
                    for _ in 0..rng.random_range(0..30) {
                        let peer = addr(rng.random_range(0..300));
                        if rng.random_bool(0.5) {
                            roll.handle_joined(peer, PexFlags::default());
                        } else {
                            roll.handle_left(peer);
                        }
                    }
                }
                let Some(message) = tell(&mut partner, &mut now, &roll, &mut rng) else { continue };
                let most = if known.is_empty() { MOST_AT_FIRST } else { MOST };
                assert!(message.added.len() <= most && message.dropped.len() <= most);
                let added: BTreeSet<_> = message.added.iter().map(|peer| peer.addr).collect();
                assert_eq!(added.len(), message.added.len(), "nobody twice");
                assert!(message.dropped.iter().all(|addr| !added.contains(addr)));
                assert!(message.dropped.iter().all(|addr| known.remove(addr)), "only who was told of");
                known.extend(added);
            }
            assert_eq!(known, roll.live.keys().copied().collect());
            assert_eq!(roll.len(), roll.live.len());
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut roll = Roll::default();
        for n in 0..10_000 {
            roll.handle_joined(addr(n), PexFlags::default());
            roll.handle_left(addr(n));
        }
        assert!(roll.leaves.len() <= MOST_LEFT && roll.joins.is_empty() && roll.is_empty());
        assert!(size_of::<Partner>() <= 48);
    }

    #[test]
    fn who_may_not_be_named_is_not() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut roll = Roll::default();
        (1..=3).for_each(|n| roll.handle_joined(addr(n), PexFlags::default()));
        let mut partner = Partner::new(Time::ZERO, &mut rng);
        let at = partner.next_timeout();
        let message = partner.poll(at, &roll, |named| named != addr(2), &mut rng).unwrap();
        assert_eq!(message.added.iter().map(|peer| peer.addr).collect::<Vec<_>>(), [addr(1), addr(3)]);
    }

    #[test]
    fn one_message_a_minute_is_used_and_a_flood_ends_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut partner = Partner::new(Time::ZERO, &mut rng);
        let at = |secs| Time::from_secs(1000) + Duration::from_secs(secs);
        assert_eq!(partner.handle_message(at(0)), Verdict::Use(MOST_AT_FIRST));
        assert_eq!(
            partner.handle_message(at(1)),
            Verdict::Use(MOST),
            "a late one may be followed by one in time"
        );
        assert_eq!(partner.handle_message(at(2)), Verdict::Ignore);
        for minute in 1..100 {
            assert_eq!(partner.handle_message(at(60 * minute)), Verdict::Use(MOST), "minute {minute}");
        }
        let verdicts: Vec<_> = (0..100).map(|_| partner.handle_message(at(6000))).collect();
        assert!(verdicts.iter().filter(|v| matches!(v, Verdict::Use(_))).count() <= 2);
        assert_eq!(verdicts.last(), Some(&Verdict::Part));
    }
}
