//! The loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use storage::{Completion, Disk, DiskConfig, Job};
use wire::tracker::AnnounceRequest;

use super::clock::Clock;
use super::datagrams::{Answered, Datagrams, UdpError};
use super::handle::{Command, Handle, QUEUE, Wake};
use super::listen::{self, ListenError};
use super::local::{self, Local};
use super::log;
use super::sockets::{FIRST_PEER, Moved, Sockets};
use super::udp::MAX_SOCKETS;
use crate::engine::dht::DhtConfig;
use crate::engine::tracker::Family;
use crate::engine::tracker::udp::RequestId;
use crate::engine::{Action, Config, Direction, Engine, Time, Transfer};

/// Turns that are given before the system is asked again what became ready. With 16 to 128 the leech benchmark is flat;
/// beyond, other peers wait for milliseconds.
const TURNS: usize = 64;
/// Turns after which the disk gets what was received, so that it works while we read on.
const TURNS_PER_SUBMIT: usize = 4;
/// Connections accepted in a row.
const ACCEPTS: usize = 64;
/// After the system refused to accept (too many descriptors), pause before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const WAKE: Token = Token(0);
const FIRST_LISTENER: usize = 1;
/// Those of UDP, up to the first peer.
const FIRST_UDP: usize = FIRST_PEER - MAX_SOCKETS;
/// Those of the local network, before them.
const FIRST_LOCAL: usize = FIRST_UDP - local::MAX_SOCKETS;

/// What a reactor is made of.
pub struct ReactorConfig {
    /// Settings of the engine.
    pub engine: Config,
    /// Settings of the disk.
    pub disk: DiskConfig,
    /// Addresses to listen on; none listens on every address.
    pub listen: Vec<SocketAddr>,
    /// The port where `listen` is empty; 0 chooses a free one.
    pub port: u16,
    /// Settings of the DHT, in which the engine takes part over the families that have a socket; `None` leaves it alone.
    pub dht: Option<DhtConfig>,
}

/// Told what happens, on the reactor's thread. Must not block.
pub trait Observer: Send {
    /// The engine asks for something that is not the reactor's to do: an announce, or to be heard.
    fn action(&mut self, plane: &mut Plane, action: Action);
    /// A turn of the loop is over.
    fn turn(&mut self, _plane: &mut Plane, _now: Time) {}
}

/// What the reactor's thread owns; commands and the observer work on it.
pub struct Plane {
    poll: Poll,
    clock: Clock,
    engine: Engine,
    disk: Disk,
    sockets: Sockets,
    listeners: Vec<TcpListener>,
    datagrams: Datagrams,
    local: Local,
    /// Accepting goes on at this time though no readiness is told: more connections waited than one turn takes.
    accept_at: Option<Time>,
    commands: Receiver<Command>,
    jobs: Vec<Job>,
    completions: Vec<Completion>,
    outward: Vec<Action>,
    stopping: bool,
}

impl Plane {
    /// Opens the listening sockets and makes a plane, to be run on a thread of its own, and the handle to reach it.
    ///
    /// # Errors
    /// When an address cannot be listened on, or the system gives no poll.
    pub fn new(config: ReactorConfig, seed: [u8; 32]) -> Result<(Self, Handle), ListenError> {
        let any = SocketAddr::from(([0, 0, 0, 0], config.port));
        let system = |cause| ListenError { addr: any, cause };
        let poll = Poll::new().map_err(system)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(system)?);
        let mut listeners = match &config.listen[..] {
            [] => listen::listen_all(config.port)?,
            addrs => addrs.iter().map(|addr| listen::listen(*addr)).collect::<Result<_, _>>()?,
        };
        if listeners.len() > FIRST_LOCAL - FIRST_LISTENER {
            return Err(system(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many addresses to listen on",
            )));
        }
        for (i, listener) in listeners.iter_mut().enumerate() {
            let token = Token(FIRST_LISTENER + i);
            poll.registry().register(listener, token, Interest::READABLE).map_err(system)?;
        }
        let own: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let datagrams = Datagrams::open(poll.registry(), Token(FIRST_UDP), &own, seed);
        let local = match config.engine.lsd {
            true => Local::open(poll.registry(), Token(FIRST_LOCAL), &own),
            false => Local::none(),
        };
        let (sender, commands) = sync_channel(QUEUE);
        let disk_waker = waker.clone();
        let disk = Disk::new(config.disk, move || {
            // Fails only when the poll is gone, and then nobody waits for completions.
            let _ = disk_waker.wake();
        });
        let mut engine = Engine::new(config.engine, seed);
        if let Some(addr) = own.first() {
            engine.set_listen_port(addr.port());
        }
        let clock = Clock::start();
        if let Some(dht) = config.dht {
            join_dht(&mut engine, clock.now(), dht, &datagrams);
        }
        let plane = Self {
            poll,
            clock,
            engine,
            disk,
            sockets: Sockets::new(&own),
            listeners,
            datagrams,
            local,
            accept_at: None,
            commands,
            jobs: Vec::new(),
            completions: Vec::new(),
            outward: Vec::new(),
            stopping: false,
        };
        Ok((plane, Handle { commands: sender, wake: Wake(waker) }))
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The current time of the engine.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The addresses that are listened on.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Where other nodes of the DHT reach us, over IPv4 and over IPv6.
    pub fn listening_udp(&self) -> [Option<SocketAddr>; 2] {
        [Family::V4, Family::V6].map(|family| self.datagrams.home(family))
    }

    /// Announces to a tracker over UDP (BEP 15, 41). `url_data` is the path and query of the tracker's URL.
    ///
    /// # Errors
    /// When it cannot be asked at all; `answered` is not called then.
    pub fn announce_udp(
        &mut self,
        to: SocketAddr,
        request: AnnounceRequest,
        url_data: &str,
        answered: Answered,
    ) -> Result<RequestId, UdpError> {
        self.datagrams.announce(self.clock.now(), to, request, url_data, answered)
    }

    /// Asks a tracker over UDP for the counts of torrents (BEP 15, 48).
    ///
    /// # Errors
    /// When it cannot be asked at all; `answered` is not called then.
    pub fn scrape_udp(
        &mut self,
        to: SocketAddr,
        hashes: &[[u8; 20]],
        answered: Answered,
    ) -> Result<RequestId, UdpError> {
        self.datagrams.scrape(self.clock.now(), to, hashes, answered)
    }

    /// Gives up a request over UDP; what waits for it is dropped.
    pub fn cancel_udp(&mut self, id: RequestId) {
        self.datagrams.cancel(id);
    }

    /// Ends the loop after this turn.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Runs until [`Plane::stop`], or until every [`Handle`] is gone.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub fn run(mut self, observer: &mut dyn Observer) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        // What was asked of the engine before it ran.
        self.flush();
        while !self.stopping {
            let timeout = if self.has_work() { Some(Duration::ZERO) } else { self.timeout() };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.readiness(&events);
            self.run_commands();
            self.complete();
            let now = self.clock.now();
            if self.engine.next_timeout().is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now);
            }
            if self.datagrams.next_timeout().is_some_and(|at| at <= now) {
                self.datagrams.handle_timeout(now, &mut self.engine);
            }
            if self.local.unread {
                self.local.receive(now, &mut self.engine);
            }
            if self.accept_at.is_some_and(|at| at <= now) {
                self.accept_all();
            }
            self.transfer();
            self.flush();
            for action in std::mem::take(&mut self.outward) {
                observer.action(&mut self, action);
            }
            let now = self.clock.now();
            observer.turn(&mut self, now);
            self.flush();
        }
        Ok(())
    }

    fn timeout(&mut self) -> Option<Duration> {
        let unheard = self.local.unread.then_some(Time::ZERO);
        let others = [self.accept_at, unheard, self.datagrams.next_timeout()];
        let next = others.into_iter().chain([self.engine.next_timeout()]).flatten().min()?;
        Some(next.since(self.clock.now()))
    }

    fn readiness(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                WAKE => {}
                Token(t) if t < FIRST_LOCAL => self.accept_all(),
                Token(t) if t < FIRST_UDP => self.local.receive(self.clock.now(), &mut self.engine),
                Token(t) if t < FIRST_PEER => self.datagrams.receive(self.clock.now(), &mut self.engine),
                token => {
                    let Some(conn) = self.sockets.by_token(token) else { continue };
                    if self.sockets.is_connecting(conn) {
                        self.dial_progress(conn);
                    }
                    if event.is_read_closed() || event.is_error() {
                        self.sockets.ends(conn);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.engine.handle_readable(conn);
                    }
                    if event.is_writable() {
                        self.engine.handle_writable(conn);
                    }
                }
            }
        }
    }

    fn dial_progress(&mut self, conn: crate::engine::ConnId) {
        let now = self.clock.now();
        match self.sockets.finish_dial(conn) {
            Some(Ok(())) => self.engine.handle_connected(now, conn),
            Some(Err(error)) => self.engine.handle_dial_failed(now, conn, error.kind()),
            None => {}
        }
        self.act();
    }

    fn accept_all(&mut self) {
        self.accept_at = None;
        let now = self.clock.now();
        for at in 0..self.listeners.len() {
            for turn in 0.. {
                if turn == ACCEPTS {
                    self.accept_at = Some(now);
                    break;
                }
                match self.listeners[at].accept() {
                    Ok((stream, addr)) => {
                        tracing::debug!(%addr, "somebody connects");
                        let Some(conn) = self.engine.handle_accepted(now, addr) else { continue };
                        if let Err(error) = self.sockets.accept(self.poll.registry(), conn, stream) {
                            self.engine.handle_error(now, conn, error.kind());
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The peer gave up before it was accepted.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections; trying again in a second");
                        self.accept_at = Some(now + ACCEPT_PAUSE);
                        break;
                    }
                }
            }
        }
    }

    fn run_commands(&mut self) {
        // Bounded by the queue: a command may send another one.
        for _ in 0..QUEUE {
            match self.commands.try_recv() {
                Ok(command) => command(self),
                Err(std::sync::mpsc::TryRecvError::Empty) => return,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    self.stopping = true;
                    return;
                }
            }
        }
    }

    /// Takes what the disk has done.
    fn complete(&mut self) {
        self.disk.drain(&mut self.completions);
        let now = self.clock.now();
        for completion in self.completions.drain(..) {
            log::done(&completion);
            self.engine.handle_completion(now, completion);
        }
    }

    /// Whether anything is left for the next round: turns beyond those of this one, what a read from the page cache made
    /// possible, or what observers have not been told.
    fn has_work(&self) -> bool {
        self.engine.has_work() || !self.outward.is_empty()
    }

    /// Moves bytes.
    fn transfer(&mut self) {
        for turn in 1..=TURNS {
            let now = self.clock.now();
            let Some(transfer) = self.engine.poll_transfer(now) else { return };
            match transfer.direction {
                Direction::Read => self.read(now, transfer),
                Direction::Write => self.write(now, transfer),
            }
            if turn % TURNS_PER_SUBMIT == 0 {
                self.flush();
            }
        }
    }

    fn read(&mut self, now: Time, transfer: Transfer) {
        let conn = transfer.conn;
        let mut slices = self.engine.read_slices(transfer);
        match self.sockets.read(conn, &mut slices) {
            Moved::Bytes { n, exhausted } => self.engine.handle_read(now, conn, n, exhausted),
            Moved::Blocked => self.engine.handle_blocked(conn, Direction::Read),
            Moved::Failed(error) => self.engine.handle_error(now, conn, error),
        }
    }

    fn write(&mut self, now: Time, transfer: Transfer) {
        let conn = transfer.conn;
        let slices = self.engine.write_slices(transfer);
        match self.sockets.write(conn, &slices) {
            Moved::Bytes { n, exhausted } => self.engine.handle_written(now, conn, n, exhausted),
            Moved::Blocked => self.engine.handle_blocked(conn, Direction::Write),
            Moved::Failed(error) => self.engine.handle_error(now, conn, error),
        }
    }

    /// Does what the engine asked for: disk jobs, dials, closes.
    fn flush(&mut self) {
        self.datagrams.flush(self.clock.now(), &mut self.engine);
        self.act();
        self.engine.take_jobs(&mut self.jobs);
        if self.jobs.is_empty() {
            return;
        }
        let now = self.clock.now();
        let mut rest = Vec::new();
        for job in self.jobs.drain(..) {
            tracing::trace!(?job, "for the disk");
            match job {
                // What is in the page cache is served without a detour over the disk threads.
                Job::Read { store, token, range, mut data } => {
                    match self.disk.read_cached(store, range, &mut data) {
                        Some(result) => {
                            let done = Completion::Read { store, token, range, data, result };
                            self.engine.handle_completion(now, done);
                        }
                        None => rest.push(Job::Read { store, token, range, data }),
                    }
                }
                job => rest.push(job),
            }
        }
        self.disk.submit(&mut rest);
        self.jobs = rest;
        self.jobs.clear();
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Dial { conn, addr } => {
                    tracing::debug!(%addr, "connecting");
                    if let Err(error) = self.sockets.dial(self.poll.registry(), conn, addr) {
                        let now = self.clock.now();
                        self.engine.handle_dial_failed(now, conn, error.kind());
                    }
                }
                Action::Close { conn } => self.sockets.close(self.poll.registry(), conn),
                Action::Lsd { port, hashes, cookie } => self.local.announce(port, &hashes, &cookie),
                action => {
                    self.outward.push(action);
                }
            }
        }
    }
}

/// Takes part in the DHT where there are sockets for it.
fn join_dht(engine: &mut Engine, now: Time, config: DhtConfig, datagrams: &Datagrams) {
    let homes = [Family::V4, Family::V6].map(|family| datagrams.home(family));
    let [v4, v6] = homes.map(|home| home.is_some());
    let own = homes.into_iter().flatten().filter(|home| !home.ip().is_unspecified());
    let own = config.own.iter().copied().chain(own).collect();
    let config = DhtConfig { ipv4: config.ipv4 && v4, ipv6: config.ipv6 && v6, own, ..config };
    engine.start_dht(now, config, homes.map(|home| home.map(|home| home.port())));
}
