//! Peers that are no engine: whatever a test wants them to say.

use std::net::SocketAddr;

use crate::engine::Time;

/// Names a connection of an actor; never used twice in a world.
pub type StreamId = usize;

/// A peer that sees the raw bytes of each of its connections and says raw bytes.
pub trait Actor {
    /// Called once when it enters the world, and at each moment asked for by [`Io::wake_at`].
    fn woken(&mut self, _io: &mut Io) {}
    /// A connection is open: it was dialled, or it dialled.
    fn opened(&mut self, io: &mut Io, stream: StreamId);
    /// Bytes came.
    fn received(&mut self, io: &mut Io, stream: StreamId, bytes: &[u8]);
    /// The other side closed the connection.
    fn closed(&mut self, io: &mut Io, stream: StreamId);
    /// A dial was refused.
    fn refused(&mut self, _io: &mut Io, _to: SocketAddr) {}
    /// Whether it reads at all now; while it does not, the other side finds no room.
    fn reads(&self, _stream: StreamId) -> bool {
        true
    }
}

/// What an actor can do.
pub struct Io {
    /// The current moment.
    pub now: Time,
    pub(super) acts: Vec<Act>,
}

pub(super) enum Act {
    Say(StreamId, Vec<u8>),
    Close(StreamId),
    Dial { to: SocketAddr, source: Option<SocketAddr> },
    Resume(StreamId),
    Wake(Time),
}

impl Io {
    pub(super) fn new(now: Time) -> Self {
        Self { now, acts: Vec::new() }
    }

    /// Sends bytes, however many: what the window has no room for waits.
    pub fn say(&mut self, stream: StreamId, bytes: Vec<u8>) {
        self.acts.push(Act::Say(stream, bytes));
    }

    /// Closes a connection, after what was said.
    pub fn close(&mut self, stream: StreamId) {
        self.acts.push(Act::Close(stream));
    }

    /// Dials; [`Actor::opened`] or [`Actor::refused`] follows. The other side sees `source`, or the actor's own address
    /// with some port.
    pub fn dial(&mut self, to: SocketAddr, source: Option<SocketAddr>) {
        self.acts.push(Act::Dial { to, source });
    }

    /// Reads again after [`Actor::reads`] said no.
    pub fn resume(&mut self, stream: StreamId) {
        self.acts.push(Act::Resume(stream));
    }

    /// Asks for a call of [`Actor::woken`].
    pub fn wake_at(&mut self, at: Time) {
        self.acts.push(Act::Wake(at));
    }
}
