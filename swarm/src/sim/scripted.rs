//! A peer that speaks the peer protocol as a closure tells it to, honest or not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wire::peer::{Decoder, Event, Handshake, Limits, Message, PeerId, Request, Reserved};

use super::actor::{Actor, Io, StreamId};
use super::content::Content;
use super::network::Access;
use super::node::NodeId;
use super::world::World;
use crate::engine::Time;

/// What a scripted peer answers to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Heard<'a> {
    /// The connection is open. Our handshake is on its way, unless [`Scripted::mute`].
    Open,
    /// The other side's handshake.
    Handshake(Handshake),
    /// A message; the payload behind a piece header is only counted.
    Message(Message<'a>),
    /// A moment that [`Line::wake_in`] asked for; told on every open connection.
    Wake,
}

/// What happened to a scripted peer, for the test to look at.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Dials that were refused.
    pub refused: usize,
    /// When connections opened.
    pub opened: Vec<Time>,
    /// When the other side closed them.
    pub closed: Vec<Time>,
    /// Handshakes that came.
    pub handshakes: usize,
    /// All bytes that came.
    pub bytes: usize,
    /// Payload bytes that came.
    pub payload: usize,
    /// Requests that came.
    pub requests: Vec<(Time, Request)>,
    counts: BTreeMap<&'static str, usize>,
}

impl Log {
    /// How many messages of a kind came; kinds are called as BEP 3, 6 and 10 do (`"unchoke"`, `"have_all"`).
    pub fn count(&self, kind: &str) -> usize {
        self.counts.get(kind).copied().unwrap_or(0)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.opened.len() - self.closed.len()
    }
}

/// A scripted peer that is being made up.
pub struct Scripted {
    content: Content,
    reserved: Reserved,
    hash: [u8; 20],
    id: Option<PeerId>,
    dials: Vec<(SocketAddr, Option<SocketAddr>)>,
    mute: bool,
    deaf: bool,
}

impl Scripted {
    /// A peer of this torrent that speaks BEP 6 and 10 and waits to be dialled.
    pub fn new(content: &Content) -> Self {
        let reserved = Reserved::NONE.with_fast().with_extended();
        let hash = content.torrent.id().0;
        Self {
            content: content.clone(),
            reserved,
            hash,
            id: None,
            dials: Vec::new(),
            mute: false,
            deaf: false,
        }
    }

    /// It dials this address at once.
    #[must_use]
    pub fn dials(self, to: SocketAddr) -> Self {
        self.dials_from(to, None)
    }

    /// It dials this address at once, from an address of its choice.
    #[must_use]
    pub fn dials_from(mut self, to: SocketAddr, source: Option<SocketAddr>) -> Self {
        self.dials.push((to, source));
        self
    }

    /// What it says to speak.
    #[must_use]
    pub fn reserved(self, reserved: Reserved) -> Self {
        Self { reserved, ..self }
    }

    /// Its id in every handshake; else each connection has one of its own.
    #[must_use]
    pub fn id(self, id: PeerId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// The info-hash in its handshakes; else the torrent's first.
    #[must_use]
    pub fn named(self, hash: [u8; 20]) -> Self {
        Self { hash, ..self }
    }

    /// It sends no handshake by itself.
    #[must_use]
    pub fn mute(self) -> Self {
        Self { mute: true, ..self }
    }

    /// It never reads.
    #[must_use]
    pub fn deaf(self) -> Self {
        Self { deaf: true, ..self }
    }

    /// Puts it into a world.
    pub fn enter(
        self,
        world: &mut World,
        access: Access,
        script: impl FnMut(&mut Line<'_>, Heard<'_>) + 'static,
    ) -> (NodeId, Rc<RefCell<Log>>) {
        let log = Rc::new(RefCell::new(Log::default()));
        let rng = ChaCha8Rng::seed_from_u64(world.seed ^ world.machine_count() as u64);
        let player = Player { peer: self, log: log.clone(), rng, lines: BTreeMap::new(), script };
        (world.add_actor(access, Box::new(player)), log)
    }
}

/// One connection of a scripted peer.
pub struct Line<'a> {
    /// The current moment.
    pub now: Time,
    /// The connection.
    pub stream: StreamId,
    /// The torrent.
    pub content: &'a Content,
    io: &'a mut Io,
    out: Vec<u8>,
}

impl Line<'_> {
    /// Says a message.
    pub fn say(&mut self, message: Message<'_>) {
        message.encode(&mut self.out);
    }

    /// Says these bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Says a handshake.
    pub fn handshake(&mut self, reserved: Reserved, info_hash: [u8; 20], peer_id: PeerId) {
        self.raw(&Handshake { reserved, info_hash, peer_id }.encode());
    }

    /// Sends what was asked for, as an honest peer does. What the torrent does not have is not answered.
    pub fn serve(&mut self, request: Request) {
        self.piece(request, |_| {});
    }

    /// Sends what was asked for, after `spoil` had its way with the payload.
    pub fn piece(&mut self, request: Request, spoil: impl FnOnce(&mut [u8])) {
        let Request { index, begin, len } = request;
        let geometry = self.content.torrent.geometry();
        let Ok(range) = geometry.range_at(index, begin, len, u32::MAX) else { return };
        self.say(Message::Piece { index, begin, len });
        let start = self.out.len();
        self.out.extend_from_slice(self.content.range(range));
        spoil(&mut self.out[start..]);
    }

    /// Closes the connection, after what was said.
    pub fn close(&mut self) {
        self.flush();
        self.io.close(self.stream);
    }

    /// Has [`Heard::Wake`] told after some time.
    pub fn wake_in(&mut self, time: Duration) {
        self.io.wake_at(self.now + time);
    }

    fn flush(&mut self) {
        if !self.out.is_empty() {
            self.io.say(self.stream, std::mem::take(&mut self.out));
        }
    }
}

/// A scripted peer that plays.
struct Player<F> {
    peer: Scripted,
    log: Rc<RefCell<Log>>,
    rng: ChaCha8Rng,
    lines: BTreeMap<StreamId, Decoder>,
    script: F,
}

impl<F: FnMut(&mut Line<'_>, Heard<'_>)> Player<F> {
    fn tell(&mut self, io: &mut Io, stream: StreamId, heard: Heard<'_>) {
        let content = &self.peer.content;
        let mut line = Line { now: io.now, stream, content, io, out: Vec::new() };
        (self.script)(&mut line, heard);
        line.flush();
    }
}

impl<F: FnMut(&mut Line<'_>, Heard<'_>)> Actor for Player<F> {
    fn woken(&mut self, io: &mut Io) {
        for (to, source) in std::mem::take(&mut self.peer.dials) {
            io.dial(to, source);
        }
        for stream in self.lines.keys().copied().collect::<Vec<_>>() {
            self.tell(io, stream, Heard::Wake);
        }
    }

    fn opened(&mut self, io: &mut Io, stream: StreamId) {
        self.log.borrow_mut().opened.push(io.now);
        let mut limits = Limits::DEFAULT;
        limits.bitfield = 1 << 20;
        self.lines.insert(stream, Decoder::new(limits));
        if !self.peer.mute {
            let info_hash = self.peer.hash;
            let peer_id = self.peer.id.unwrap_or_else(|| PeerId::new(*b"-SC0001-", self.rng.random()));
            let handshake = Handshake { reserved: self.peer.reserved, info_hash, peer_id };
            io.say(stream, handshake.encode().to_vec());
        }
        self.tell(io, stream, Heard::Open);
    }

    fn received(&mut self, io: &mut Io, stream: StreamId, mut bytes: &[u8]) {
        self.log.borrow_mut().bytes += bytes.len();
        let Some(mut decoder) = self.lines.remove(&stream) else { return };
        while let Ok(Some(event)) = decoder.next(&mut bytes) {
            let mut log = self.log.borrow_mut();
            let heard = match event {
                Event::Handshake(handshake) => {
                    log.handshakes += 1;
                    Heard::Handshake(handshake)
                }
                Event::Message(message) => {
                    *log.counts.entry(kind(&message)).or_default() += 1;
                    if let Message::Request(request) = message {
                        log.requests.push((io.now, request));
                    }
                    Heard::Message(message)
                }
                Event::Payload { data, .. } => {
                    log.payload += data.len();
                    continue;
                }
            };
            drop(log);
            self.tell(io, stream, heard);
        }
        self.lines.insert(stream, decoder);
    }

    fn closed(&mut self, io: &mut Io, stream: StreamId) {
        self.lines.remove(&stream);
        self.log.borrow_mut().closed.push(io.now);
    }

    fn refused(&mut self, _io: &mut Io, _to: SocketAddr) {
        self.log.borrow_mut().refused += 1;
    }

    fn reads(&self, _stream: StreamId) -> bool {
        !self.peer.deaf
    }
}

fn kind(message: &Message<'_>) -> &'static str {
    match message {
        Message::KeepAlive => "keep_alive",
        Message::Choke => "choke",
        Message::Unchoke => "unchoke",
        Message::Interested => "interested",
        Message::NotInterested => "not_interested",
        Message::Have(_) => "have",
        Message::Bitfield(_) => "bitfield",
        Message::Request(_) => "request",
        Message::Piece { .. } => "piece",
        Message::Cancel(_) => "cancel",
        Message::Port(_) => "port",
        Message::Suggest(_) => "suggest",
        Message::HaveAll => "have_all",
        Message::HaveNone => "have_none",
        Message::Reject(_) => "reject",
        Message::AllowedFast(_) => "allowed_fast",
        Message::Extended { .. } => "extended",
        Message::HashRequest(_) => "hash_request",
        Message::Hashes(_) => "hashes",
        Message::HashReject(_) => "hash_reject",
        Message::Unknown { .. } => "unknown",
    }
}
