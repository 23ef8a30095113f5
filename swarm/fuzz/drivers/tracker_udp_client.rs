//! Plays requests, answers true and false, and the passing of time, read from bytes, to a UDP tracker client.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use swarm::engine::time::Time;
use swarm::engine::tracker::Family;
use swarm::engine::tracker::udp::{Client, RequestId};
use wire::peer::PeerId;
use wire::tracker::udp::{Reply, Request};
use wire::tracker::{AnnounceReply, AnnounceRequest, ScrapeCounts};

/// Plays `data`.
///
/// # Panics
/// When the client breaks a rule.
pub(crate) fn run(data: &[u8]) {
    let mut game = Game {
        client: Client::new(ChaCha8Rng::seed_from_u64(1)),
        now: Time::ZERO,
        asked: BTreeSet::new(),
        packets: Vec::new(),
    };
    let mut rest = data;
    while let [what, value, after @ ..] = rest {
        rest = after;
        game.step(*what, *value, &mut rest);
        game.settle();
    }
    game.end();
}

struct Game {
    client: Client,
    now: Time,
    /// Requests that have no outcome yet.
    asked: BTreeSet<RequestId>,
    /// Packets on the way to a tracker.
    packets: Vec<(SocketAddr, Vec<u8>)>,
}

fn address(value: u8) -> SocketAddr {
    match value % 4 {
        0 => "10.0.0.1:80".parse().unwrap(),
        1 => "10.0.0.1:81".parse().unwrap(),
        2 => "10.0.0.2:80".parse().unwrap(),
        _ => "[2001:db8::1]:80".parse().unwrap(),
    }
}

impl Game {
    fn step(&mut self, what: u8, value: u8, rest: &mut &[u8]) {
        match what % 8 {
            0 => {
                let request = AnnounceRequest::new([value; 20], PeerId([1; 20]), 1);
                self.asked.extend(self.client.announce(self.now, address(value), request, "/announce"));
            }
            1 => {
                let hashes = vec![[value; 20]; usize::from(value)];
                self.asked.extend(self.client.scrape(self.now, address(value), &hashes));
            }
            2 => {
                let id = self.asked.iter().nth(usize::from(value) % self.asked.len().max(1)).copied();
                if let Some(id) = id {
                    self.asked.remove(&id);
                    self.client.cancel(id);
                }
            }
            3 => self.pass(Duration::from_secs(u64::from(value) * 3)),
            4 => {
                let at = usize::from(value).min(rest.len());
                let (packet, after) = rest.split_at(at);
                *rest = after;
                self.client.handle_datagram(self.now, address(value), packet);
            }
            _ => self.answer(what, value),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
        assert!(self.client.next_timeout().is_none_or(|next| next > self.now));
    }

    /// Answers one of the packets on the way: rightly, with an error, with the wrong kind, or from elsewhere.
    fn answer(&mut self, what: u8, value: u8) {
        if self.packets.is_empty() {
            return;
        }
        let (to, packet) = self.packets.swap_remove(usize::from(value) % self.packets.len());
        let right = match Request::parse(&packet).expect("the client sends what a tracker can read") {
            Request::Connect { transaction } => Reply::Connect { transaction, connection: 7 },
            Request::Announce { transaction, connection, .. } => {
                assert_eq!(connection, 7);
                Reply::Announce { transaction, reply: AnnounceReply::default() }
            }
            Request::Scrape { transaction, hashes, .. } => {
                Reply::Scrape { transaction, counts: vec![ScrapeCounts::default(); hashes.len()] }
            }
        };
        let transaction = right.transaction();
        let (reply, from) = match (what / 8) % 8 {
            0 => (Reply::Error { transaction, message: "Connection ID missmatch.".into() }, to),
            1 => (Reply::Error { transaction, message: "no".into() }, to),
            2 => (Reply::Connect { transaction, connection: 7 }, to),
            3 => (Reply::Scrape { transaction, counts: Vec::new() }, to),
            4 => (right, address(value)),
            _ => (right, to),
        };
        let mut bytes = Vec::new();
        reply.encode(Family::of(from.ip()).into(), &mut bytes);
        let used = self.client.handle_datagram(self.now, from, &bytes);
        assert!(from == to || !used, "an answer from elsewhere was taken");
    }

    fn settle(&mut self) {
        self.packets.extend(std::iter::from_fn(|| self.client.poll_transmit()));
        let excess = self.packets.len().saturating_sub(64);
        self.packets.drain(..excess);
        while let Some((id, _)) = self.client.poll_event() {
            assert!(self.asked.remove(&id), "an outcome of what was not asked");
        }
        assert_eq!(self.client.len(), self.asked.len());
    }

    /// After all waits are over, everything has its outcome and nothing is left.
    fn end(&mut self) {
        for _ in 0..10_000 {
            let Some(next) = self.client.next_timeout() else {
                assert!(self.asked.is_empty() && self.client.is_empty());
                return;
            };
            self.pass(next - self.now);
            self.settle();
        }
        panic!("the client never comes to rest");
    }
}
