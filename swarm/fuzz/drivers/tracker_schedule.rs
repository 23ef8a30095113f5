//! Plays commands, answers and the passing of time, read from bytes, to a schedule, and checks what it may never do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use swarm::engine::time::Time;
use swarm::engine::tracker::{
    Announce, AnnounceId, AnnounceReply, Config, Event, Failure, Families, Family, Output, RetryIn, Schedule,
    Totals, TrackerId,
};

/// Plays `data`.
///
/// # Panics
/// When the schedule breaks a rule.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let Some(mut game) = Game::new(&mut bytes) else { return };
    while game.step(&mut bytes).is_some() {
        game.settle();
    }
    assert!(game.schedule.status().count() < 300);
}

/// An endpoint is a tracker over one family.
type Endpoint = (TrackerId, Family);

struct Game {
    schedule: Schedule,
    private: bool,
    /// Announces begin at once; else only when their outcome comes.
    begins: bool,
    now: Time,
    rng: ChaCha8Rng,
    totals: Totals,
    under_way: Vec<Announce>,
    /// When each endpoint answered last.
    answered: BTreeMap<Endpoint, Time>,
    started: BTreeSet<Endpoint>,
    completed: BTreeSet<Endpoint>,
}

impl Game {
    fn new(bytes: &mut impl Iterator<Item = u8>) -> Option<Self> {
        let (flags, shape) = (bytes.next()?, bytes.next()?);
        let mut rng = ChaCha8Rng::seed_from_u64(u64::from(flags));
        let families = match flags >> 2 & 3 {
            0 => Families::Only(Family::V4),
            1 => Families::Only(Family::V6),
            _ => Families::Both,
        };
        let config = Config { private: flags & 1 != 0, complete: flags & 2 != 0, key: 1, families };
        let tracker = |i: u8| match i % 5 {
            0 => format!("udp://t{i}.example:80"),
            1 => "http://127.0.0.1/announce".to_owned(),
            2 => "wss://t.example".to_owned(),
            _ => format!("http://t{i}.example/announce"),
        };
        let tiers: Vec<Vec<String>> =
            (0..shape % 4).map(|tier| (0..shape / 4 % 4).map(|i| tracker(tier * 4 + i)).collect()).collect();
        Some(Self {
            schedule: Schedule::new(config, &tiers, &mut rng),
            private: config.private,
            begins: flags & 16 == 0,
            now: Time::from_secs(1),
            rng,
            totals: Totals { left: u64::from(!config.complete), num_want: 50, ..Totals::default() },
            under_way: Vec::new(),
            answered: BTreeMap::new(),
            started: BTreeSet::new(),
            completed: BTreeSet::new(),
        })
    }

    fn step(&mut self, bytes: &mut impl Iterator<Item = u8>) -> Option<()> {
        let (what, value) = (bytes.next()?, bytes.next()?);
        match what % 12 {
            0 => self.pass(Duration::from_secs(u64::from(value))),
            1 => self.pass(Duration::from_secs(u64::from(value) * 300)),
            2 => {
                if let Some(next) = self.schedule.next_timeout() {
                    self.pass(next - self.now);
                }
            }
            3 => self.schedule.want_peers(self.now),
            4 => self.schedule.announce_now(self.now),
            5 => {
                self.totals.left = 0;
                self.schedule.completed(self.now);
            }
            6 => self.stop_or_start(value),
            7 => {
                let families = [Families::Both, Families::Only(Family::V4), Families::Only(Family::V6)];
                let families = families[usize::from(value) % 3];
                self.schedule.set_families(TrackerId(u32::from(value / 3)), families);
            }
            8 => _ = self.schedule.add(u32::from(value % 5), &format!("http://a{value}.example/announce")),
            9 => self.fail(value),
            _ => self.reply(value, bytes.next()?),
        }
        Some(())
    }

    fn stop_or_start(&mut self, value: u8) {
        if value & 1 == 0 {
            self.schedule.stop();
        } else {
            self.schedule.start();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.schedule.handle_timeout(self.now, &mut self.rng);
    }

    fn take(&mut self, value: u8) -> Option<Announce> {
        let len = self.under_way.len();
        let sent = (len > 0).then(|| self.under_way.remove(usize::from(value) % len))?;
        self.schedule.handle_begun(self.now, sent.id);
        Some(sent)
    }

    fn reply(&mut self, value: u8, numbers: u8) {
        let Some(sent) = self.take(value) else { return };
        let seconds =
            [None, Some(0), Some(1), Some(30), Some(300), Some(1800), Some(100_000), Some(u32::MAX)];
        let reply = AnnounceReply {
            interval: seconds[usize::from(numbers & 7)],
            min_interval: seconds[usize::from(numbers >> 3 & 7)],
            tracker_id: (numbers & 64 != 0).then(|| vec![numbers]),
            ..AnnounceReply::default()
        };
        let used = self.schedule.handle_reply(self.now, sent.id, &reply, &mut self.rng);
        assert_eq!(used, sent.event != Event::Stopped);
        let endpoint = (sent.id.tracker, sent.id.family);
        self.answered.insert(endpoint, self.now);
        match sent.event {
            Event::Started => assert!(self.started.insert(endpoint), "started was taken before"),
            Event::Completed => assert!(self.completed.insert(endpoint), "completed was taken before"),
            _ => {}
        }
        assert!(
            !self.schedule.handle_reply(self.now, sent.id, &reply, &mut self.rng),
            "an answer counts once"
        );
    }

    fn fail(&mut self, value: u8) {
        let Some(sent) = self.take(value) else { return };
        let refuse = |retry_in| Failure::Refused(wire::tracker::Failure { reason: "no".into(), retry_in });
        let failure = match value / 16 {
            0 => refuse(Some(RetryIn::Never)),
            1..4 => refuse(Some(RetryIn::Minutes(u32::from(value) * 30_000_000))),
            4..7 => refuse(None),
            7..10 => Failure::NoAddress,
            _ => Failure::Unreachable("down".into()),
        };
        self.schedule.handle_failure(self.now, sent.id, failure, &mut self.rng);
    }

    /// Takes all outputs, and checks each.
    fn settle(&mut self) {
        for _ in 0..2000 {
            match self.schedule.poll(self.now, &self.totals) {
                Some(Output::Announce(announce)) => self.check(announce),
                Some(Output::Cancel(id)) => self.cancel(id),
                Some(Output::DropPeersOf(_)) => assert!(self.private, "a public torrent keeps its peers"),
                None => {
                    let next = self.schedule.next_timeout();
                    assert!(next.is_none_or(|next| next > self.now), "due, but nothing came");
                    assert!(!self.schedule.is_stopped() || self.under_way.is_empty());
                    return;
                }
            }
        }
        panic!("the schedule spins");
    }

    fn cancel(&mut self, id: AnnounceId) {
        let before = self.under_way.len();
        self.under_way.retain(|sent| sent.id != id);
        assert!(self.under_way.len() < before, "cancelled what was not under way");
    }

    fn check(&mut self, announce: Announce) {
        let endpoint = (announce.id.tracker, announce.id.family);
        let same = |sent: &Announce| (sent.id.tracker, sent.id.family) == endpoint;
        assert!(!self.under_way.iter().any(same), "two announces to one endpoint");
        match announce.event {
            Event::Started => {
                self.started.remove(&endpoint);
                self.completed.remove(&endpoint);
            }
            Event::Stopped => assert_eq!(announce.num_want, 0),
            Event::Completed => assert!(self.started.contains(&endpoint) && announce.left == 0),
            _ => {
                let gap = self.answered.get(&endpoint).map(|&at| self.now - at);
                assert!(gap.is_none_or(|gap| gap >= Duration::from_secs(5)), "too soon: {gap:?}");
                assert!(self.started.contains(&endpoint), "before started");
            }
        }
        let other = |sent: &Announce| sent.id.tracker != announce.id.tracker && sent.event != Event::Stopped;
        if announce.event != Event::Stopped && (self.begins || self.private) {
            assert!(!self.under_way.iter().any(other), "two trackers at a time");
        }
        if self.begins {
            self.schedule.handle_begun(self.now, announce.id);
        }
        self.under_way.push(announce);
    }
}
