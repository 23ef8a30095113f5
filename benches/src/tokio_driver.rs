//! The engine on a tokio current-thread runtime, to weigh against the reactor of `swarm`: the same engine, disk and
//! system calls, driven by futures instead of a poll loop. It downloads one torrent and ends.
//!
//! One task owns the engine, as the reactor's thread does. Two small tasks for each connection wait for its readiness
//! and tell that one; a task that were to move bytes itself would need a lock around the engine.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use metainfo::Torrent;
use storage::{Completion, Disk, DiskConfig, FileOptions, FileStorage, Job};
use swarm::engine::{Action, AddTorrent, Config, ConnId, Direction, Engine, Event, Time, Transfer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use wire::peer::{Bitfield, PeerId};

// The reactor's numbers, so that only the waiting differs.
const TURNS: usize = 64;
const TURNS_PER_SUBMIT: usize = 4;

/// Longest time without a look at the engine when it names no time-out.
const IDLE: Duration = Duration::from_secs(3600);

/// Downloads one torrent from whoever dials.
pub struct Driver {
    engine: Engine,
    disk: Disk,
    listener: TcpListener,
    /// By the slot of the connection's name.
    peers: Vec<Option<Peer>>,
    signals: Arc<Signals>,
    epoch: Instant,
    jobs: Vec<Job>,
    completions: Vec<Completion>,
    is_complete: bool,
}

struct Peer {
    conn: ConnId,
    /// None while it is being dialled.
    link: Option<Arc<Link>>,
    tasks: Vec<AbortHandle>,
}

/// What the tasks of a connection share with the driver.
struct Link {
    stream: TcpStream,
    /// Told when a direction is blocked, so that its task waits for readiness again.
    blocked: [Notify; 2],
}

/// What came from other tasks and from the disk's threads.
#[derive(Default)]
struct Signals {
    queue: Mutex<Vec<Signal>>,
    news: Notify,
}

enum Signal {
    Ready(ConnId, Direction),
    Dialled(ConnId, io::Result<TcpStream>),
}

impl Driver {
    /// Listens on `listen`, and runs `torrent` with files beneath `dir`. To be called in a runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the folder cannot be made.
    pub async fn new(torrent: Arc<Torrent>, dir: &Path, listen: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let signals = Arc::new(Signals::default());
        let wake = signals.clone();
        let disk = Disk::new(DiskConfig::default(), move || wake.news.notify_one());
        let storage = FileStorage::create(dir, torrent.clone(), FileOptions::default())?;
        let store = disk.attach(Arc::new(storage), torrent.clone());
        // The same randomness in every round.
        let mut engine = Engine::new(Config::new(PeerId::new(PeerId::PREFIX, [7; 12])), [7; 32]);
        engine.set_listen_port(listener.local_addr()?.port());
        let have = Bitfield::new(torrent.geometry().piece_count());
        let add = AddTorrent::new(torrent, store, have);
        engine.add_torrent(Time::ZERO, add).context("the torrent cannot be run")?;
        Ok(Self {
            engine,
            disk,
            listener,
            peers: Vec::new(),
            signals,
            epoch: Instant::now(),
            jobs: Vec::new(),
            completions: Vec::new(),
            is_complete: false,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Runs until every piece is there.
    pub async fn run(mut self) {
        let mut timer = pin!(tokio::time::sleep(IDLE));
        self.flush();
        while !self.is_complete {
            if self.engine.has_work() {
                // Runs the other tasks, and looks at the sockets once.
                tokio::task::yield_now().await;
            } else {
                self.wait(timer.as_mut()).await;
            }
            self.take_signals();
            self.complete();
            let now = self.now();
            if self.engine.next_timeout().is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now);
            }
            self.transfer();
            self.flush();
        }
    }

    /// Waits for a connection, for news, or for time to pass.
    async fn wait(&mut self, mut timer: Pin<&mut Sleep>) {
        let due = self.engine.next_timeout().map(|at| self.epoch + (at - Time::ZERO));
        let due = due.unwrap_or_else(|| Instant::now() + IDLE);
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        tokio::select! {
            () = self.signals.news.notified() => {}
            accepted = self.listener.accept() => {
                if let Ok((stream, addr)) = accepted
                    && let Some(conn) = self.engine.handle_accepted(self.now(), addr)
                {
                    self.open(conn, stream);
                }
            }
            () = timer => {}
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }

    /// Begins to watch a connection.
    fn open(&mut self, conn: ConnId, stream: TcpStream) {
        // Requests are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let link = Arc::new(Link { stream, blocked: Default::default() });
        let watch = |direction| {
            let task = tokio::spawn(watch(self.signals.clone(), link.clone(), conn, direction));
            task.abort_handle()
        };
        let tasks = vec![watch(Direction::Read), watch(Direction::Write)];
        self.insert(Peer { conn, link: Some(link), tasks });
    }

    fn dial(&mut self, conn: ConnId, addr: SocketAddr) {
        let signals = self.signals.clone();
        let task =
            tokio::spawn(async move { signals.send(Signal::Dialled(conn, TcpStream::connect(addr).await)) });
        self.insert(Peer { conn, link: None, tasks: vec![task.abort_handle()] });
    }

    fn insert(&mut self, peer: Peer) {
        let slot = peer.conn.slot();
        if self.peers.len() <= slot {
            self.peers.resize_with(slot + 1, || None);
        }
        self.peers[slot] = Some(peer);
    }

    fn close(&mut self, conn: ConnId) {
        if let Some(place) = self.peers.get_mut(conn.slot()) {
            place.take_if(|peer| peer.conn == conn);
        }
    }

    fn link(&self, conn: ConnId) -> Option<Arc<Link>> {
        self.peers.get(conn.slot())?.as_ref().filter(|peer| peer.conn == conn)?.link.clone()
    }

    fn take_signals(&mut self) {
        let mut signals = std::mem::take(&mut *self.signals.queue());
        for signal in signals.drain(..) {
            match signal {
                Signal::Ready(conn, Direction::Read) => self.engine.handle_readable(conn),
                Signal::Ready(conn, Direction::Write) => self.engine.handle_writable(conn),
                Signal::Dialled(conn, Ok(stream)) if self.engine.knows(conn) => {
                    self.open(conn, stream);
                    self.engine.handle_connected(self.now(), conn);
                }
                Signal::Dialled(_, Ok(_)) => {}
                Signal::Dialled(conn, Err(error)) => {
                    self.engine.handle_dial_failed(self.now(), conn, error.kind());
                }
            }
        }
        let mut queue = self.signals.queue();
        if queue.is_empty() {
            // Keeps its memory.
            *queue = signals;
        }
    }

    /// Takes what the disk has done.
    fn complete(&mut self) {
        self.disk.drain(&mut self.completions);
        let now = self.now();
        for completion in self.completions.drain(..) {
            self.engine.handle_completion(now, completion);
        }
    }

    /// Moves bytes.
    fn transfer(&mut self) {
        for turn in 1..=TURNS {
            let now = self.now();
            let Some(transfer) = self.engine.poll_transfer(now) else { return };
            match self.link(transfer.conn) {
                Some(link) => self.turn(now, transfer, &link),
                None => self.engine.handle_error(now, transfer.conn, io::ErrorKind::NotConnected),
            }
            if turn % TURNS_PER_SUBMIT == 0 {
                self.flush();
            }
        }
    }

    fn turn(&mut self, now: Time, transfer: Transfer, link: &Link) {
        let Transfer { conn, direction, .. } = transfer;
        let (moved, room): (_, usize) = match direction {
            Direction::Read => {
                let mut slices = self.engine.read_slices(transfer);
                let room = slices.as_mut_slices().iter().map(|slice| slice.len()).sum();
                (link.stream.try_read_vectored(slices.as_mut_slices()), room)
            }
            Direction::Write => {
                let slices = self.engine.write_slices(transfer);
                let room = slices.as_slices().iter().map(|slice| slice.len()).sum();
                (link.stream.try_write_vectored(slices.as_slices()), room)
            }
        };
        match moved {
            Ok(n) => {
                let exhausted = n < room;
                if exhausted {
                    link.exhausted(direction);
                }
                match direction {
                    Direction::Read => self.engine.handle_read(now, conn, n, exhausted),
                    Direction::Write => self.engine.handle_written(now, conn, n, exhausted),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                link.blocked[direction as usize].notify_one();
                self.engine.handle_blocked(conn, direction);
            }
            Err(error) => self.engine.handle_error(now, conn, error.kind()),
        }
    }

    /// Does what the engine asked for.
    fn flush(&mut self) {
        self.act();
        self.engine.take_jobs(&mut self.jobs);
        // Whoever leeches reads for others only what it has just written; the disk's threads do that too.
        self.disk.submit(&mut self.jobs);
    }

    fn act(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Dial { conn, addr } => self.dial(conn, addr),
                Action::Close { conn } => self.close(conn),
                Action::Event(Event::Complete { .. }) => self.is_complete = true,
                // No trackers, no web seeds, nobody who watches.
                _ => {}
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Link {
    /// The system moved less than it could have: it is known to be blocked without the call that would say so.
    fn exhausted(&self, direction: Direction) {
        let interest = match direction {
            Direction::Read => tokio::io::Interest::READABLE,
            Direction::Write => tokio::io::Interest::WRITABLE,
        };
        // Only this makes the stream forget its readiness.
        let blocked = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.stream.try_io(interest, blocked);
        self.blocked[direction as usize].notify_one();
    }
}

impl Signals {
    fn queue(&self) -> MutexGuard<'_, Vec<Signal>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, signal: Signal) {
        self.queue().push(signal);
        self.news.notify_one();
    }
}

/// Tells whenever a direction of a connection became ready.
async fn watch(signals: Arc<Signals>, link: Arc<Link>, conn: ConnId, direction: Direction) {
    loop {
        // What is broken is ready too, and the call that follows says how.
        let _ = match direction {
            Direction::Read => link.stream.readable().await,
            Direction::Write => link.stream.writable().await,
        };
        signals.send(Signal::Ready(conn, direction));
        link.blocked[direction as usize].notified().await;
    }
}
