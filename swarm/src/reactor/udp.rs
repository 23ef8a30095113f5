//! The UDP sockets: one for each address family, at the port that peers know.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::sys_pktinfo;
use crate::engine::tracker::Family;

/// Datagrams taken from one socket in a row. Whatever floods us costs about a third of a millisecond before peers have their
/// turn.
const DATAGRAMS: usize = 64;
/// A tracker's packet with 200 peers has 3.6 KB over IPv6; what is longer is of no use to anybody here.
const MAX_DATAGRAM: usize = 8192;
/// Sockets at most.
pub(super) const MAX_SOCKETS: usize = 4;

/// The sockets.
pub(super) struct Udp {
    entries: Vec<Entry>,
    buffer: Box<[u8; MAX_DATAGRAM]>,
    /// A socket had more datagrams than one turn takes.
    pub(super) unread: bool,
}

struct Entry {
    family: Family,
    reach: Reach,
    socket: UdpSocket,
    /// It may have several addresses, and tells to which of them a datagram came.
    tells: bool,
}

/// How a datagram came.
pub(super) struct Came {
    /// It came to where we are [at home](Udp::home).
    pub(super) home: bool,
    /// To which of our addresses, if there may be several.
    pub(super) at: Option<IpAddr>,
    pub(super) from: SocketAddr,
}

/// Which addresses a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Every address: it is where we listen.
    All,
    /// Where we listen is this machine only, and so is what can be reached from there.
    Loopback,
    /// Trackers elsewhere, when we listen on loopback. Nobody is to reach us here.
    Beyond,
}

impl Udp {
    /// Opens them for the families that `listening` has, at its ports where those are free. They are registered from
    /// `first` on.
    pub(super) fn open(registry: &Registry, first: Token, listening: &[SocketAddr]) -> Self {
        let mut entries = Vec::new();
        for family in [Family::V4, Family::V6] {
            let Some(own) = listening.iter().find(|addr| Family::of(addr.ip()) == family) else { continue };
            let wanted: &[_] = if own.ip().is_loopback() {
                &[(*own, Reach::Loopback), (any(family), Reach::Beyond)]
            } else {
                &[(*own, Reach::All)]
            };
            for (local, reach) in wanted {
                match open(registry, Token(first.0 + entries.len()), *local) {
                    Ok(socket) => {
                        let tells =
                            local.ip().is_unspecified() && sys_pktinfo::enable(&socket, family).is_ok();
                        entries.push(Entry { family, reach: *reach, socket, tells });
                    }
                    Err(error) => tracing::warn!(%error, "no UDP over {family}"),
                }
            }
        }
        Self { entries, buffer: Box::new([0; MAX_DATAGRAM]), unread: false }
    }

    /// Where other nodes and peers reach us over UDP.
    pub(super) fn home(&self, family: Family) -> Option<SocketAddr> {
        let entry = self.entries.iter().find(|e| e.family == family && e.reach != Reach::Beyond)?;
        entry.socket.local_addr().ok()
    }

    /// Whether anything can be sent to addresses of this family.
    pub(super) fn has(&self, family: Family) -> bool {
        self.entries.iter().any(|entry| entry.family == family)
    }

    /// Takes what came, from all sockets, a bounded number.
    pub(super) fn receive(&mut self, mut take: impl FnMut(Came, &[u8])) {
        self.unread = false;
        for entry in &self.entries {
            for turn in 0.. {
                if turn == DATAGRAMS {
                    self.unread = true;
                    break;
                }
                match entry.receive(&mut self.buffer[..]) {
                    Ok((len, came)) => take(came, self.buffer.get(..len).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The report of an earlier datagram that did not arrive.
                    Err(_) => {}
                }
            }
        }
    }

    /// Sends a datagram, from this address of ours if one is named that is still ours. A full queue is a lost datagram.
    pub(super) fn send(
        &self,
        from: Option<IpAddr>,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), io::ErrorKind> {
        let family = Family::of(to.ip());
        let serves = |entry: &&Entry| {
            entry.family == family
                && match entry.reach {
                    Reach::All => true,
                    Reach::Loopback => to.ip().is_loopback(),
                    Reach::Beyond => !to.ip().is_loopback(),
                }
        };
        let entry = self.entries.iter().find(serves).ok_or(io::ErrorKind::NetworkUnreachable)?;
        match entry.send(from, to, datagram) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.kind()),
            _ => Ok(()),
        }
    }
}

impl Entry {
    fn receive(&self, into: &mut [u8]) -> io::Result<(usize, Came)> {
        let home = self.reach != Reach::Beyond;
        if self.tells {
            let (len, from, at) = self.socket.try_io(|| sys_pktinfo::receive(&self.socket, into))?;
            return Ok((len, Came { home, at, from }));
        }
        let (len, from) = self.socket.recv_from(into)?;
        Ok((len, Came { home, at: None, from }))
    }

    fn send(&self, from: Option<IpAddr>, to: SocketAddr, datagram: &[u8]) -> io::Result<usize> {
        if let Some(from) = from.filter(|from| self.tells && Family::of(*from) == self.family) {
            match self.socket.try_io(|| sys_pktinfo::send(&self.socket, from, to, datagram)) {
                // The address may be gone meanwhile.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
        self.socket.send_to(datagram, to)
    }
}

/// A free port of every address.
fn any(family: Family) -> SocketAddr {
    let ip = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}

fn open(registry: &Registry, token: Token, local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // Another program may have the port for UDP; trackers and nodes answer to any.
    let other_port = SocketAddr::new(local.ip(), 0);
    socket.bind(&local.into()).or_else(|_| socket.bind(&other_port.into()))?;
    let mut socket = UdpSocket::from_std(socket.into());
    registry.register(&mut socket, token, Interest::READABLE)?;
    Ok(socket)
}
