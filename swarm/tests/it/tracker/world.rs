//! A schedule on virtual time against trackers made of closures.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use swarm::engine::time::Time;
use swarm::engine::tracker::{
    Announce, AnnounceReply, Config, Event, Failure, Families, Family, Output, Schedule, Totals, TrackerId,
};

/// What a tracker does with one announce.
pub(crate) enum Does {
    Reply(AnnounceReply),
    Fail(Failure),
    Silence,
}

/// One line of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) at: u64,
    pub(crate) url: String,
    pub(crate) event: Event,
    pub(crate) announce: Announce,
}

type Trackers<'t> = Box<dyn FnMut(&Announce, u64) -> Does + 't>;

pub(crate) struct World<'t> {
    pub(crate) schedule: Schedule,
    pub(crate) now: Time,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) totals: Totals,
    pub(crate) log: Vec<Sent>,
    pub(crate) dropped: Vec<(u64, TrackerId)>,
    pub(crate) cancelled: usize,
    /// Whether announces begin at once; else they wait for their turn at the driver.
    pub(crate) begins: bool,
    trackers: Trackers<'t>,
}

pub(crate) fn config() -> Config {
    Config { private: false, complete: false, key: 0xfeed, families: Families::Only(Family::V4) }
}

pub(crate) fn reply(interval: u32) -> AnnounceReply {
    AnnounceReply { interval: Some(interval), ..AnnounceReply::default() }
}

pub(crate) fn refused(reason: &str) -> Failure {
    Failure::Refused(wire::tracker::Failure { reason: reason.into(), retry_in: None })
}

impl<'t> World<'t> {
    pub(crate) fn new(
        config: Config,
        tiers: &[Vec<&str>],
        trackers: impl FnMut(&Announce, u64) -> Does + 't,
    ) -> Self {
        Self::seeded(7, config, tiers, trackers)
    }

    pub(crate) fn seeded(
        seed: u64,
        config: Config,
        tiers: &[Vec<&str>],
        trackers: impl FnMut(&Announce, u64) -> Does + 't,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut schedule = Schedule::new(config, tiers, &mut rng);
        schedule.start();
        Self {
            schedule,
            now: Time::from_secs(1000),
            rng,
            totals: Totals { left: 100, num_want: 50, ..Totals::default() },
            log: Vec::new(),
            dropped: Vec::new(),
            cancelled: 0,
            begins: true,
            trackers: Box::new(trackers),
        }
    }

    /// Seconds since the world began.
    pub(crate) fn clock(&self) -> u64 {
        (self.now - Time::from_secs(1000)).as_secs()
    }

    /// Does everything that is due now. Never more than a few steps: a schedule that spins fails here.
    pub(crate) fn settle(&mut self) {
        for _ in 0..200 {
            let Some(output) = self.schedule.poll(self.now, &self.totals) else { return };
            match output {
                Output::Announce(announce) => self.announce(announce),
                Output::Cancel(_) => self.cancelled += 1,
                Output::DropPeersOf(id) => self.dropped.push((self.clock(), id)),
            }
        }
        panic!("the schedule spins: {:?}", self.log.last());
    }

    fn announce(&mut self, announce: Announce) {
        let id = announce.id;
        let (at, url, event) = (self.clock(), announce.url.as_str().to_owned(), announce.event);
        if self.begins {
            self.schedule.handle_begun(self.now, id);
        }
        let does = (self.trackers)(&announce, at);
        self.log.push(Sent { at, url, event, announce });
        match does {
            Does::Reply(reply) => _ = self.schedule.handle_reply(self.now, id, &reply, &mut self.rng),
            Does::Fail(failure) => self.schedule.handle_failure(self.now, id, failure, &mut self.rng),
            Does::Silence => {}
        }
    }

    /// Lives on for so many seconds, from deadline to deadline.
    pub(crate) fn run(&mut self, secs: u64) {
        let end = self.now + Duration::from_secs(secs);
        self.settle();
        while let Some(next) = self.schedule.next_timeout().filter(|&next| next <= end) {
            assert!(next > self.now, "a deadline of the past: {next:?} at {:?}", self.now);
            self.now = next;
            self.schedule.handle_timeout(self.now, &mut self.rng);
            self.settle();
        }
        self.now = end;
    }

    /// The log since the last call, as `(seconds, url, event)`.
    pub(crate) fn lines(&mut self) -> Vec<(u64, String, Event)> {
        self.log.drain(..).map(|s| (s.at, s.url, s.event)).collect()
    }

    /// The log since the last call, as addresses only.
    pub(crate) fn urls(&mut self) -> Vec<String> {
        self.log.drain(..).map(|s| s.url).collect()
    }
}
