//! A node's turn: what a driver of the engine does, on virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use wire::lsd::Announce;

use super::connections::Dialler;
use super::network::Pipe;
use super::node::{NodeId, What};
use super::world::{Happening, World};
use crate::engine::scope::Scope;
use crate::engine::{Action, Direction, Engine, Event, Transfer};

/// How long a tracker takes.
const TRACKER_DELAY: Duration = Duration::from_millis(50);

impl World {
    /// Lets a node do all that it can do now.
    pub(super) fn pump(&mut self, index: usize) {
        loop {
            let now = self.now;
            let What::Engine(node) = &mut self.machines[index].what else { return };
            if node.gone {
                return;
            }
            node.audit.disk |= node.disk.next_event().is_some_and(|at| at <= now);
            let mut completions = std::mem::take(&mut node.completions);
            node.disk.advance(now, &mut completions);
            for completion in completions.drain(..) {
                node.engine.handle_completion(now, completion);
            }
            node.completions = completions;
            if node.engine.next_timeout().is_some_and(|at| at <= now) {
                node.engine.handle_timeout(now);
            }
            self.send_datagrams(index);
            let mut busy = self.act(index);
            while let Some(transfer) = self.engine_of(index).and_then(|engine| engine.poll_transfer(now)) {
                busy = true;
                self.transfer(index, transfer);
                self.act(index);
            }
            if !busy {
                break;
            }
        }
        self.touch_machine(index);
        let What::Engine(node) = &mut self.machines[index].what else { return };
        node.most_held = node.most_held.max(node.engine.held_bytes());
        let next = node.engine.next_timeout().into_iter().chain(node.disk.next_event()).min();
        if let Some(at) = next {
            self.wake_by(index, at.max(self.now));
        }
    }

    pub(super) fn engine_of(&mut self, index: usize) -> Option<&mut Engine> {
        match &mut self.machines[index].what {
            What::Engine(node) => Some(&mut node.engine),
            What::Actor(_) => None,
        }
    }

    fn transfer(&mut self, index: usize, transfer: Transfer) {
        let now = self.now;
        let most = self.machines[index].access.chunk();
        let crowded = self.machines[index].wire.is_crowded(now, &self.network);
        let What::Engine(node) = &mut self.machines[index].what else { return };
        let place = node.streams.get(&transfer.conn).copied();
        let entry = place.and_then(|(id, side)| Some((id, side, self.streams[id].as_mut()?)));
        let Some((id, side, stream)) = entry else {
            return node.engine.handle_blocked(transfer.conn, transfer.direction);
        };
        if node.audit.moved.last() != Some(&transfer.conn) {
            node.audit.moved.push(transfer.conn);
        }
        match transfer.direction {
            Direction::Read => {
                let pipe = &mut stream.pipes[1 - side];
                let Some(n) = fill(pipe, &mut node.engine, transfer) else {
                    return node.engine.handle_blocked(transfer.conn, Direction::Read);
                };
                let drained = pipe.arrived.is_empty() && !pipe.is_over();
                let (a, b) = (stream.ends[0].machine, stream.ends[1].machine);
                node.engine.handle_read(now, transfer.conn, n, drained);
                if n > 0 {
                    let at = now + self.latency(a, b);
                    self.schedule(at, Happening::Room { stream: id, side: 1 - side });
                }
            }
            Direction::Write => {
                if crowded {
                    node.engine.handle_blocked(transfer.conn, Direction::Write);
                    return self.wait_for_turn(id, side);
                }
                let room = stream.pipes[side].room(&self.network);
                if room == 0 {
                    return node.engine.handle_blocked(transfer.conn, Direction::Write);
                }
                let budget = transfer.budget.min(room).min(most);
                let slices = node.engine.write_slices(Transfer { budget, ..transfer });
                let chunk: Vec<u8> = slices.as_slices().iter().flat_map(|s| s.iter().copied()).collect();
                let n = chunk.len();
                node.engine.handle_written(now, transfer.conn, n, n == room);
                self.send(id, side, chunk);
            }
        }
    }

    /// Does what the engine asks for; whether there was anything.
    fn act(&mut self, index: usize) -> bool {
        let now = self.now;
        let mut any = false;
        loop {
            let What::Engine(node) = &mut self.machines[index].what else { return any };
            node.engine.take_jobs(&mut node.jobs);
            if !node.jobs.is_empty() {
                node.audit.disk = true;
                node.disk.submit(now, &mut node.jobs);
            }
            let Some(action) = node.engine.poll_action() else { return any };
            any = true;
            match action {
                Action::Dial { conn, addr } => {
                    node.dials.push((now, addr));
                    let at = now + self.machines[index].access.latency;
                    let dialler = Dialler::Engine(conn);
                    self.schedule(at, Happening::Dialled { from: index, dialler, to: addr });
                }
                Action::Close { conn } => {
                    if let Some((stream, side)) = node.streams.remove(&conn) {
                        self.close(stream, side);
                    }
                }
                Action::Announce { torrent, id, announce } => {
                    node.engine.handle_announce_begun(now, torrent, announce.id);
                    let from = self.machines[index].addr;
                    let tracker = self.trackers.entry(announce.url.as_str().into()).or_default();
                    if let Some(reply) = tracker.answer(now, from, id, &announce, &mut self.rng) {
                        self.order += 1;
                        self.replies.insert(self.order, (torrent, announce.id, reply));
                        let happening = Happening::Reply { to: index, at: self.order };
                        self.schedule(now + TRACKER_DELAY, happening);
                    }
                }
                Action::CancelAnnounce { .. } => {}
                Action::Dht(_) => {}
                Action::Lsd { port, hashes, cookie } => self.announce_locally(index, port, hashes, &cookie),
                Action::SourceReady { source } => node.ready_sources.push(source),
                Action::SourceBanned { source } => node.banned_sources.push(source),
                Action::Event(event) => {
                    if matches!(event, Event::Synced { .. }) {
                        node.saved = node.engine.resume_state(now, node.torrent);
                    }
                    if matches!(event, Event::Complete { .. }) {
                        node.completed.get_or_insert(now);
                    }
                    if let Event::Metadata { torrent, info } = &event
                        && *torrent == node.torrent
                    {
                        node.furnish(now, &info.to_bytes());
                    }
                    if let Event::Layers { layers, .. } = &event {
                        node.found_layers(now, layers);
                    }
                    if matches!(event, Event::Wanted { .. }) && node.opens {
                        node.open_wanted(now);
                    }
                    node.events.push((now, event));
                }
            }
        }
    }

    /// A packet to the local network reaches all machines that are in it, the sender too.
    fn announce_locally(&mut self, from: usize, port: u16, hashes: Vec<[u8; 20]>, cookie: &str) {
        let (now, addr) = (self.now, self.machines[from].addr);
        let announce = Announce { port, hashes: hashes.into(), cookie: Some(cookie.as_bytes()) };
        let heard: Vec<usize> = if self.is_local(from) { self.locals().collect() } else { Vec::new() };
        for to in heard {
            if let Some(engine) = self.engine_of(to) {
                engine.handle_lsd(now, addr, &announce);
                self.touch_machine(to);
                self.schedule(now, Happening::Wake(to));
            }
        }
        if let What::Engine(node) = &mut self.machines[from].what {
            node.local.push((now, announce.hashes.into_owned()));
        }
    }

    /// A packet of the local network reaches a node.
    pub fn overhear(&mut self, node: NodeId, from: SocketAddr, announce: &Announce<'_>) {
        let now = self.now;
        self.node_mut(node).engine.handle_lsd(now, from, announce);
        self.pump(node.0);
    }

    /// A tracker's answer arrives.
    pub(super) fn replied(&mut self, to: usize, at: u64) {
        let Some((torrent, announce, reply)) = self.replies.remove(&at) else { return };
        let now = self.now;
        if let Some(engine) = self.engine_of(to) {
            engine.handle_announced(now, torrent, announce, Scope::Global, reply);
            self.pump(to);
        }
    }
}

/// Moves what has arrived into the engine's slices. `None` when there is nothing, `Some(0)` at the end.
fn fill(pipe: &mut Pipe, engine: &mut Engine, transfer: Transfer) -> Option<usize> {
    if pipe.arrived.is_empty() {
        return pipe.is_over().then_some(0);
    }
    let mut slices = engine.read_slices(transfer);
    Some(slices.as_mut_slices().iter_mut().map(|slice| pipe.read(slice)).sum())
}
