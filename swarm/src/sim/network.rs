//! A network on virtual time: access links with rates and latency, and byte streams between nodes.
//!
//! A stream behaves as TCP does towards its ends: bytes arrive in order, a sender is held back by a window, and
//! loss shows as delay. Each node's uplink and downlink carry one chunk after the other.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::engine::Time;

/// How a node is connected. Rates are in bytes per second.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Towards the network.
    pub up: u64,
    /// From the network.
    pub down: u64,
    /// From the node to the middle of the network.
    pub latency: Duration,
    /// Part of the chunks that are lost and sent again.
    pub loss: f64,
}

impl Default for Access {
    /// 2 MB/s both ways, 10 ms.
    fn default() -> Self {
        Self { up: 2_000_000, down: 2_000_000, latency: Duration::from_millis(10), loss: 0.0 }
    }
}

/// What the network itself does.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Bytes of one stream under way or unread at most.
    pub window: usize,
    /// A lost chunk comes so much later.
    pub retransmit: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self { window: 256 * 1024, retransmit: Duration::from_millis(200) }
    }
}

/// When a node's access link is free again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wire {
    up_free: Time,
    down_free: Time,
}

/// Bytes in one direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Arrived and not read yet.
    pub(super) arrived: VecDeque<u8>,
    /// On the way: when, and what.
    pub(super) on_the_way: VecDeque<(Time, Vec<u8>)>,
    /// Bytes in both.
    pub(super) used: usize,
    last_arrival: Time,
    /// The sender closed; told after the last byte.
    pub(super) closed: bool,
}

impl Pipe {
    /// Room for more bytes.
    pub(super) fn room(&self, network: &Network) -> usize {
        network.window.saturating_sub(self.used)
    }

    /// Sends a chunk; says when it arrives.
    pub(super) fn send(
        &mut self,
        now: Time,
        chunk: Vec<u8>,
        from: (&Access, &mut Wire),
        to: (&Access, &mut Wire),
        network: &Network,
        rng: &mut ChaCha8Rng,
    ) -> Time {
        let time = |bytes: usize, rate: u64| Duration::from_micros(bytes as u64 * 1_000_000 / rate.max(1));
        let sent = now.max(from.1.up_free) + time(chunk.len(), from.0.up);
        from.1.up_free = sent;
        let free = (sent + from.0.latency + to.0.latency).max(to.1.down_free) + time(chunk.len(), to.0.down);
        to.1.down_free = free;
        let lost = rng.random_bool(from.0.loss.max(to.0.loss));
        // A stream never overtakes itself: what follows a lost chunk waits for it.
        let arrival = self.last_arrival.max(if lost { free + network.retransmit } else { free });
        self.last_arrival = arrival;
        self.used += chunk.len();
        self.on_the_way.push_back((arrival, chunk));
        arrival
    }

    /// Moves what has come by now to the reader's side; whether anything did.
    pub(super) fn arrive(&mut self, now: Time) -> bool {
        let mut any = false;
        while self.on_the_way.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, chunk)) = self.on_the_way.pop_front() {
                self.arrived.extend(chunk);
                any = true;
            }
        }
        any
    }

    /// Whether the reader has seen everything and the sender closed.
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.used == 0
    }
}
