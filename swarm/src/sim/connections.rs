//! Connections between the machines of a world: dialling, bytes under way, closing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;

use super::actor::{Act, Actor, Io, StreamId};
use super::network::Pipe;
use super::node::What;
use super::world::{Happening, World};
use crate::engine::ConnId;

/// A stream between two machines.
pub(super) struct Stream {
    pub(super) ends: [End; 2],
    /// `pipes[side]` is what side sends.
    pub(super) pipes: [Pipe; 2],
    /// What actors said and the window has no room for yet, and whether they close after it.
    unsent: [(VecDeque<u8>, bool); 2],
    /// It waits for its turn at the uplink.
    waits: [bool; 2],
}

#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) machine: usize,
    /// The engine's name of the connection while it has it; actors have none.
    conn: Option<ConnId>,
}

/// Who dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dialler {
    Engine(ConnId),
    Actor(Option<SocketAddr>),
}

impl World {
    pub(super) fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(id)?.as_mut()
    }

    pub(super) fn latency(&self, a: usize, b: usize) -> Duration {
        self.machines[a].access.latency + self.machines[b].access.latency
    }

    /// A dial reaches its target, or nobody.
    pub(super) fn dialled(&mut self, from: usize, dialler: Dialler, to: SocketAddr) {
        let Some(target) = self.by_addr.get(&to).copied() else {
            let back = self.now + self.latency(from, from);
            return self.schedule(back, Happening::Answered { from, dialler, to, stream: None });
        };
        if self.machines[target].access.nat {
            return;
        }
        let back = self.now + self.latency(from, target);
        let id = self.streams.len();
        let own = SocketAddr::new(self.machines[from].addr.ip(), 20_000 + (self.order % 40_000) as u16);
        let (conn, source) = match dialler {
            Dialler::Engine(conn) => (Some(conn), own),
            Dialler::Actor(source) => (None, source.unwrap_or(own)),
        };
        let accepted = match &mut self.machines[target].what {
            What::Engine(node) => node.engine.handle_accepted(self.now, source).map(|conn| {
                node.streams.insert(conn, (id, 1));
                Some(conn)
            }),
            What::Actor(_) => Some(None),
        };
        let stream = accepted.map(|theirs| {
            let ends = [End { machine: from, conn }, End { machine: target, conn: theirs }];
            self.streams.push(Some(Stream {
                ends,
                pipes: <_>::default(),
                unsent: <_>::default(),
                waits: [false; 2],
            }));
            id
        });
        self.schedule(back, Happening::Answered { from, dialler, to, stream });
        match accepted {
            Some(None) => self.with_actor(target, |actor, io| actor.opened(io, id)),
            // Letting it in, or not, may have ended another connection.
            _ => self.pump(target),
        }
    }

    /// The dialler learns what became of it.
    pub(super) fn answered(
        &mut self,
        from: usize,
        dialler: Dialler,
        to: SocketAddr,
        stream: Option<StreamId>,
    ) {
        let Dialler::Engine(conn) = dialler else {
            return self.with_actor(from, |actor, io| match stream {
                Some(stream) => actor.opened(io, stream),
                None => actor.refused(io, to),
            });
        };
        let What::Engine(node) = &mut self.machines[from].what else { return };
        match stream {
            Some(stream) if node.engine.knows(conn) && !node.gone => {
                node.streams.insert(conn, (stream, 0));
                node.engine.handle_connected(self.now, conn);
            }
            Some(stream) => self.close(stream, 0),
            None => node.engine.handle_dial_failed(self.now, conn, std::io::ErrorKind::ConnectionRefused),
        }
        self.pump(from);
    }

    pub(super) fn send(&mut self, id: StreamId, side: usize, chunk: Vec<u8>) {
        let Some(stream) = self.streams.get_mut(id).and_then(Option::as_mut) else { return };
        if stream.pipes[side].closed {
            return;
        }
        let (a, b) = (stream.ends[side].machine, stream.ends[1 - side].machine);
        let to = self.machines[b].access;
        let from = &mut self.machines[a];
        let from = (&from.access, &mut from.wire);
        let at = stream.pipes[side].send(self.now, chunk, from, &to, &self.network, &mut self.rng);
        self.schedule(at, Happening::Reach { stream: id, side });
    }

    /// A chunk reaches the receiver's link.
    pub(super) fn reached(&mut self, id: StreamId, side: usize) {
        let Some(stream) = self.streams.get_mut(id).and_then(Option::as_mut) else { return };
        let machine = &mut self.machines[stream.ends[1 - side].machine];
        if let Some(at) = stream.pipes[side].reach(self.now, &machine.access, &mut machine.wire) {
            self.schedule(at, Happening::Arrival { stream: id, side });
        }
    }

    /// A chunk is through.
    pub(super) fn arrived(&mut self, id: StreamId, side: usize) {
        if let Some(stream) = self.stream(id) {
            stream.pipes[side].arrive();
            self.readable(id, side);
        }
    }

    fn readable(&mut self, id: StreamId, side: usize) {
        let Some(end) = self.stream(id).map(|stream| stream.ends[1 - side]) else { return };
        match (&mut self.machines[end.machine].what, end.conn) {
            (What::Engine(node), Some(conn)) => {
                node.engine.handle_readable(conn);
                self.pump(end.machine);
            }
            (What::Actor(actor), _) if actor.reads(id) => {
                let Some(bytes) = self.stream(id).map(|stream| stream.pipes[side].read_all()) else { return };
                if !bytes.is_empty() {
                    self.schedule(self.now + Duration::from_millis(1), Happening::Room { stream: id, side });
                    self.with_actor(end.machine, |actor, io| actor.received(io, id, &bytes));
                }
            }
            _ => {}
        }
    }

    /// Tries again when the uplink's queue is shorter. Chance decides which stream is first.
    pub(super) fn wait_for_turn(&mut self, id: StreamId, side: usize) {
        let Some(stream) = self.stream(id) else { return };
        if !std::mem::replace(&mut stream.waits[side], true) {
            let machine = stream.ends[side].machine;
            let spread = self.rng.random_range(0..=self.network.buffer.as_micros() as u64 / 2);
            let excess = self.machines[machine].wire.up_free - (self.now + self.network.buffer);
            self.schedule(
                self.now + excess + Duration::from_micros(spread),
                Happening::Turn { stream: id, side },
            );
        }
    }

    pub(super) fn turn_came(&mut self, id: StreamId, side: usize) {
        if let Some(stream) = self.stream(id) {
            stream.waits[side] = false;
            self.room(id, side);
        }
    }

    /// The reader took bytes: the sender may send more.
    pub(super) fn room(&mut self, id: StreamId, side: usize) {
        let open = self.stream(id).filter(|stream| !stream.waits[side]);
        let Some(end) = open.map(|stream| stream.ends[side]) else { return };
        match (&mut self.machines[end.machine].what, end.conn) {
            (What::Engine(node), Some(conn)) => {
                node.engine.handle_writable(conn);
                self.pump(end.machine);
            }
            (What::Engine(_), None) => {}
            (What::Actor(_), _) => self.flush(id, side),
        }
    }

    /// Sends what an actor said, as far as the window goes.
    fn flush(&mut self, id: StreamId, side: usize) {
        let network = self.network;
        while let Some(stream) = self.stream(id) {
            let machine = stream.ends[side].machine;
            if self.machines[machine].wire.is_crowded(self.now, &network) {
                return self.wait_for_turn(id, side);
            }
            let most = self.machines[machine].access.chunk();
            let Some(stream) = self.stream(id) else { return };
            let (unsent, closes) = &mut stream.unsent[side];
            let n = unsent.len().min(stream.pipes[side].room(&network)).min(most);
            if n == 0 {
                if unsent.is_empty() && *closes {
                    self.close(id, side);
                }
                return;
            }
            let chunk = unsent.drain(..n).collect();
            self.send(id, side, chunk);
        }
    }

    /// One side closes: the other one learns it after the last byte.
    pub(super) fn close(&mut self, id: StreamId, side: usize) {
        let Some(stream) = self.stream(id) else { return };
        if std::mem::replace(&mut stream.pipes[side].closed, true) {
            return;
        }
        let conn = stream.ends[side].conn.take();
        let (a, b) = (stream.ends[side].machine, stream.ends[1 - side].machine);
        let last = stream.pipes[side].last_reach;
        if let (What::Engine(node), Some(conn)) = (&mut self.machines[a].what, conn) {
            node.streams.remove(&conn);
        }
        let at = last.max(self.now + self.latency(a, b));
        self.schedule(at, Happening::Closed { stream: id, side });
    }

    pub(super) fn told_closed(&mut self, id: StreamId, side: usize) {
        let now = self.now;
        let Some(stream) = self.stream(id) else { return };
        if stream.pipes[1 - side].closed {
            self.streams[id] = None;
            return;
        }
        let unread = !stream.pipes[side].is_over();
        let end = stream.ends[1 - side];
        match (&mut self.machines[end.machine].what, end.conn) {
            (What::Engine(_), Some(_)) => self.readable(id, side),
            (What::Actor(actor), _) if unread && actor.reads(id) => {
                self.schedule(now + Duration::from_millis(10), Happening::Closed { stream: id, side });
            }
            (What::Actor(_), _) => {
                self.with_actor(end.machine, |actor, io| actor.closed(io, id));
                self.close(id, 1 - side);
            }
            _ => {}
        }
    }

    /// Calls an actor, and does what it wants.
    pub(super) fn with_actor(&mut self, machine: usize, call: impl FnOnce(&mut dyn Actor, &mut Io)) {
        let What::Actor(actor) = &mut self.machines[machine].what else { return };
        let mut io = Io::new(self.now);
        call(&mut **actor, &mut io);
        for act in io.acts {
            let side = |world: &mut Self, id: StreamId| {
                world.stream(id).map(|stream| usize::from(stream.ends[0].machine != machine))
            };
            match act {
                Act::Wake(at) => self.wake_by(machine, at.max(self.now + Duration::from_micros(1))),
                Act::Dial { to, source } => {
                    let at = self.now + self.machines[machine].access.latency;
                    let dialler = Dialler::Actor(source);
                    self.schedule(at, Happening::Dialled { from: machine, dialler, to });
                }
                Act::Say(id, bytes) => {
                    let Some(side) = side(self, id) else { continue };
                    if let Some(stream) = self.stream(id).filter(|stream| !stream.pipes[side].closed) {
                        stream.unsent[side].0.extend(bytes);
                        self.flush(id, side);
                    }
                }
                Act::Close(id) => {
                    let Some(side) = side(self, id) else { continue };
                    if let Some(stream) = self.stream(id) {
                        stream.unsent[side].1 = true;
                        self.flush(id, side);
                    }
                }
                Act::Resume(id) => {
                    if let Some(side) = side(self, id) {
                        self.readable(id, 1 - side);
                    }
                }
            }
        }
    }
}
