//! The sockets of peers, by the engine's names.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::engine::{ConnId, ReadSlices, WriteSlices};

/// Tokens below this are not peers.
pub(super) const FIRST_PEER: usize = 64;

/// The system's number for a connection that is being opened (EINPROGRESS), for which std has no stable name.
const IN_PROGRESS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 115 } else { 36 };

/// One socket and the name that the engine has for it.
struct Entry {
    conn: ConnId,
    stream: TcpStream,
    connecting: bool,
    /// The end of the stream is behind what can be read, or an error: no readiness is told for it again.
    ends: bool,
}

/// All sockets of peers, indexed by the slot of their name.
pub(super) struct Sockets {
    entries: Vec<Option<Entry>>,
    /// Where connections come from.
    homes: Vec<SocketAddr>,
}

/// What came of one system call.
pub(super) enum Moved {
    /// So many bytes; whether the system has no more to give or room to take.
    Bytes { n: usize, exhausted: bool },
    /// Not now.
    Blocked,
    /// Broken.
    Failed(io::ErrorKind),
}

impl Sockets {
    /// None yet. Who listens on certain addresses dials from them as well: peers tell each other of one address for one peer, and
    /// some connect to an address once only.
    pub(super) fn new(listening: &[SocketAddr]) -> Self {
        let mut homes = listening.to_vec();
        homes.iter_mut().for_each(|home| home.set_port(0));
        Self { entries: Vec::new(), homes }
    }

    /// Starts to open a connection.
    pub(super) fn dial(&mut self, registry: &Registry, conn: ConnId, addr: SocketAddr) -> io::Result<()> {
        let stream = match self.home(addr) {
            Some(home) => connect(home, addr)?,
            None => TcpStream::connect(addr)?,
        };
        self.insert(registry, conn, stream, true)
    }

    /// Where to dial an address from, if the system is not to choose.
    fn home(&self, to: SocketAddr) -> Option<SocketAddr> {
        let fits = |home: &&SocketAddr| {
            home.is_ipv4() == to.is_ipv4() && home.ip().is_loopback() == to.ip().is_loopback()
        };
        self.homes.iter().find(fits).filter(|home| !home.ip().is_unspecified()).copied()
    }

    /// Takes over a connection that came in.
    pub(super) fn accept(&mut self, registry: &Registry, conn: ConnId, stream: TcpStream) -> io::Result<()> {
        self.insert(registry, conn, stream, false)
    }

    fn insert(
        &mut self,
        registry: &Registry,
        conn: ConnId,
        mut stream: TcpStream,
        connecting: bool,
    ) -> io::Result<()> {
        // Requests are small and wanted at once; blocks are written in one call anyway.
        let _ = stream.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(FIRST_PEER + conn.slot()), interest)?;
        if self.entries.len() <= conn.slot() {
            self.entries.resize_with(conn.slot() + 1, || None);
        }
        self.entries[conn.slot()] = Some(Entry { conn, stream, connecting, ends: false });
        Ok(())
    }

    pub(super) fn close(&mut self, registry: &Registry, conn: ConnId) {
        if let Some(place) = self.entries.get_mut(conn.slot())
            && place.as_ref().is_some_and(|entry| entry.conn == conn)
            && let Some(mut entry) = place.take()
        {
            // Closing the descriptor deregisters it too.
            let _ = registry.deregister(&mut entry.stream);
        }
    }

    pub(super) fn by_token(&self, token: Token) -> Option<ConnId> {
        let slot = token.0.checked_sub(FIRST_PEER)?;
        self.entries.get(slot)?.as_ref().map(|entry| entry.conn)
    }

    /// After the first readiness of a dialled socket: whether it is open. `None` while it is still opening, or when it was
    /// open before.
    pub(super) fn finish_dial(&mut self, conn: ConnId) -> Option<io::Result<()>> {
        let entry = self.entries.get_mut(conn.slot())?.as_mut().filter(|e| e.conn == conn && e.connecting)?;
        match entry.stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Some(Err(error)),
        }
        match entry.stream.peer_addr() {
            Ok(_) => {
                entry.connecting = false;
                Some(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Readiness told that nothing more comes: reads go on until they find the end.
    pub(super) fn ends(&mut self, conn: ConnId) {
        if let Some(Some(entry)) = self.entries.get_mut(conn.slot()) {
            entry.ends |= entry.conn == conn;
        }
    }

    pub(super) fn is_connecting(&self, conn: ConnId) -> bool {
        self.entry(conn).is_some_and(|entry| entry.connecting)
    }

    pub(super) fn read(&self, conn: ConnId, into: &mut ReadSlices<'_>) -> Moved {
        let Some(entry) = self.entry(conn) else { return Moved::Failed(io::ErrorKind::NotConnected) };
        let room = into.as_mut_slices().iter().map(|slice| slice.len()).sum();
        match moved(|| (&entry.stream).read_vectored(into.as_mut_slices()), room) {
            Moved::Bytes { n, exhausted } => Moved::Bytes { n, exhausted: exhausted && !entry.ends },
            other => other,
        }
    }

    pub(super) fn write(&self, conn: ConnId, from: &WriteSlices<'_>) -> Moved {
        let Some(entry) = self.entry(conn) else { return Moved::Failed(io::ErrorKind::NotConnected) };
        let room = from.as_slices().iter().map(|slice| slice.len()).sum();
        moved(|| (&entry.stream).write_vectored(from.as_slices()), room)
    }

    fn entry(&self, conn: ConnId) -> Option<&Entry> {
        self.entries.get(conn.slot())?.as_ref().filter(|entry| entry.conn == conn)
    }
}

/// Starts to open a connection that comes from one of our addresses.
fn connect(home: SocketAddr, addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&home.into())?;
    match socket.connect(&addr.into()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// A stream socket that moves fewer bytes than it could has none left: epoll tells when that changes (see epoll(7)), so the
/// call that would only say so is saved.
fn moved(mut call: impl FnMut() -> io::Result<usize>, room: usize) -> Moved {
    loop {
        return match call() {
            Ok(n) => Moved::Bytes { n, exhausted: n < room },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Moved::Blocked,
            Err(error) => Moved::Failed(error.kind()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::Poll;

    #[test]
    fn connections_come_from_where_we_listen() {
        let poll = Poll::new().unwrap();
        let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let conn = ConnId { slot: 0, generation: 0 };
        // Nobody but Linux has more of these addresses than one.
        let second = if cfg!(target_os = "linux") { "127.0.0.2" } else { "127.0.0.1" };
        let at_second = format!("{second}:7000");
        let cases = [
            (vec!["0.0.0.0:7000"], "127.0.0.1"),
            (vec!["9.9.9.9:7000"], "127.0.0.1"),
            (vec!["[::1]:7000", &at_second], second),
        ];
        for (listening, from) in cases {
            let listening: Vec<_> = listening.iter().map(|addr| addr.parse().unwrap()).collect();
            let mut sockets = Sockets::new(&listening);
            sockets.dial(poll.registry(), conn, there.local_addr().unwrap()).unwrap();
            let (_stream, seen) = there.accept().unwrap();
            assert_eq!(seen.ip().to_string(), from, "{listening:?}");
            assert_ne!(seen.port(), 7000);
        }
    }
}
