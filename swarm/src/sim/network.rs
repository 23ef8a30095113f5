//! A network on virtual time: access links with rates and latency, and byte streams between nodes.
//!
//! A stream behaves as TCP does towards its ends: bytes arrive in order, a sender is held back by a window, and
//! loss shows as delay. A chunk goes through the sender's uplink, the latency, and the receiver's downlink; each link
//! carries one chunk after the other, in the order in which they reach it.

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
    /// Nobody can dial it: a dial gets no answer.
    pub nat: bool,
}

impl Access {
    /// The same rate both ways, 10 ms.
    pub fn symmetric(rate: u64) -> Self {
        Self { up: rate, down: rate, ..Self::default() }
    }

    /// Bytes that go through the uplink at a time: few on a slow one, so that small messages do not wait long.
    pub(super) fn chunk(&self) -> usize {
        (self.up / 20).clamp(1448, 16 * 1024) as usize
    }

    /// The same, with this latency.
    #[must_use]
    pub fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// The same, where this part of the chunks is lost.
    #[must_use]
    pub fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same, behind a NAT.
    #[must_use]
    pub fn nat(self) -> Self {
        Self { nat: true, ..self }
    }
}

impl Default for Access {
    /// 2 MB/s both ways, 10 ms.
    fn default() -> Self {
        Self { up: 2_000_000, down: 2_000_000, latency: Duration::from_millis(10), loss: 0.0, nat: false }
    }
}

/// What the network itself does.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Bytes of one stream under way or unread at most.
    pub window: usize,
    /// A lost chunk comes so much later.
    pub retransmit: Duration,
    /// What waits in an uplink: a sender finds no room while it is longer. Streams take turns in it, as they do where each backs
    /// off when the line's buffer is full.
    pub buffer: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            window: 256 * 1024,
            retransmit: Duration::from_millis(200),
            buffer: Duration::from_millis(100),
        }
    }
}

/// When a node's access link is free again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wire {
    pub(super) up_free: Time,
    pub(super) down_free: Time,
}

impl Wire {
    /// Whether the uplink's queue is too long now.
    pub(super) fn is_crowded(&self, now: Time, network: &Network) -> bool {
        self.up_free > now + network.buffer
    }
}

/// Bytes in one direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Arrived and not read yet.
    pub(super) arrived: VecDeque<u8>,
    /// On the way to the receiver's link.
    on_the_way: VecDeque<Vec<u8>>,
    /// In the receiver's link.
    landing: VecDeque<Vec<u8>>,
    /// Bytes in all of them.
    pub(super) used: usize,
    /// When the last chunk reaches the receiver's link.
    pub(super) last_reach: Time,
    /// The sender closed; told after the last byte.
    pub(super) closed: bool,
}

impl Pipe {
    /// Room for more bytes.
    pub(super) fn room(&self, network: &Network) -> usize {
        network.window.saturating_sub(self.used)
    }

    /// Sends a chunk; says when it reaches the receiver's link.
    pub(super) fn send(
        &mut self,
        now: Time,
        chunk: Vec<u8>,
        from: (&Access, &mut Wire),
        to: &Access,
        network: &Network,
        rng: &mut ChaCha8Rng,
    ) -> Time {
        let (access, wire) = from;
        wire.up_free = now.max(wire.up_free) + transfer_time(chunk.len(), access.up);
        let lost = rng.random_bool(access.loss.max(to.loss));
        let reach = wire.up_free + access.latency + to.latency;
        // A stream never overtakes itself: what follows a lost chunk waits for it.
        self.last_reach = self.last_reach.max(if lost { reach + network.retransmit } else { reach });
        self.used += chunk.len();
        self.on_the_way.push_back(chunk);
        self.last_reach
    }

    /// The oldest chunk on the way reaches the receiver's link; says when it is through.
    pub(super) fn reach(&mut self, now: Time, access: &Access, wire: &mut Wire) -> Option<Time> {
        let chunk = self.on_the_way.pop_front()?;
        wire.down_free = now.max(wire.down_free) + transfer_time(chunk.len(), access.down);
        self.landing.push_back(chunk);
        Some(wire.down_free)
    }

    /// The oldest chunk in the receiver's link is through.
    pub(super) fn arrive(&mut self) {
        if let Some(chunk) = self.landing.pop_front() {
            self.arrived.extend(chunk);
        }
    }

    /// Takes what has arrived, as much as fits.
    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        let n = into.len().min(self.arrived.len());
        let (front, back) = self.arrived.as_slices();
        let first = n.min(front.len());
        into[..first].copy_from_slice(&front[..first]);
        into[first..n].copy_from_slice(&back[..n - first]);
        self.arrived.drain(..n);
        self.used -= n;
        n
    }

    /// Takes all that has arrived.
    pub(super) fn read_all(&mut self) -> Vec<u8> {
        let bytes = Vec::from(std::mem::take(&mut self.arrived));
        self.used -= bytes.len();
        bytes
    }

    /// Whether the reader has seen everything and the sender closed.
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.used == 0
    }
}

fn transfer_time(bytes: usize, rate: u64) -> Duration {
    Duration::from_micros(bytes as u64 * 1_000_000 / rate.max(1))
}
