//! UDP: one socket for each address family, and the trackers that are asked over it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use socket2::{Domain, Protocol, Socket, Type};
use wire::tracker::AnnounceRequest;

use crate::engine::Time;
use crate::engine::tracker::Family;
use crate::engine::tracker::udp::{Answer, Client, Error, NotTaken, RequestId};

/// Datagrams taken from one socket in a row.
const DATAGRAMS: usize = 256;
/// A tracker's packet with 200 peers has 3.6 KB over IPv6; what is longer is no answer of one.
const MAX_DATAGRAM: usize = 8192;

/// Called with the outcome of a request, on the reactor's thread. Must not block.
pub type Answered = Box<dyn FnOnce(Result<Answer, UdpError>) + Send>;

/// Why a tracker was not asked over UDP, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UdpError {
    /// There is no socket of this family.
    NoSocket(Family),
    /// Too much is asked at the same time.
    NotTaken(NotTaken),
    /// The system cannot send there.
    Send(io::ErrorKind),
    /// No answer, or a refusal.
    Tracker(Error),
}

/// The sockets, and who waits for answers.
pub(super) struct Datagrams {
    sockets: Vec<(Family, UdpSocket)>,
    client: Client,
    waiting: HashMap<RequestId, (SocketAddr, Answered)>,
    /// A socket had more datagrams than one turn takes.
    unread: bool,
}

impl Datagrams {
    /// One socket for each family that `listening` has, at its port where that is free. They are registered from
    /// `first` on.
    pub(super) fn open(registry: &Registry, first: Token, listening: &[SocketAddr], seed: [u8; 32]) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        // The engine draws from the first stream of the same seed.
        rng.set_stream(1);
        let mut sockets = Vec::new();
        for family in [Family::V4, Family::V6] {
            let Some(own) = listening.iter().find(|addr| Family::of(addr.ip()) == family) else { continue };
            let token = Token(first.0 + sockets.len());
            match open(registry, token, local(*own, family)) {
                Ok(socket) => sockets.push((family, socket)),
                Err(error) => tracing::warn!(%error, "no UDP over {family}"),
            }
        }
        Self { sockets, client: Client::new(rng), waiting: HashMap::new(), unread: false }
    }

    pub(super) fn announce(
        &mut self,
        now: Time,
        to: SocketAddr,
        request: AnnounceRequest,
        url_data: &str,
        answered: Answered,
    ) -> Result<RequestId, UdpError> {
        let family = Family::of(to.ip());
        if !self.sockets.iter().any(|(own, _)| *own == family) {
            return Err(UdpError::NoSocket(family));
        }
        let id = self.client.announce(now, to, request, url_data).map_err(UdpError::NotTaken)?;
        self.waiting.insert(id, (to, answered));
        self.flush();
        Ok(id)
    }

    pub(super) fn cancel(&mut self, id: RequestId) {
        if self.waiting.remove(&id).is_some() {
            self.client.cancel(id);
        }
    }

    /// Takes what came, from whichever socket.
    pub(super) fn receive(&mut self, now: Time) {
        self.unread = false;
        let mut buffer = [0; MAX_DATAGRAM];
        for (_, socket) in &self.sockets {
            for turn in 0.. {
                if turn == DATAGRAMS {
                    self.unread = true;
                    break;
                }
                match socket.recv_from(&mut buffer) {
                    Ok((len, from)) => {
                        let packet = buffer.get(..len).unwrap_or_default();
                        self.client.handle_datagram(now, from, packet);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The report of an earlier datagram that did not arrive.
                    Err(_) => {}
                }
            }
        }
        self.flush();
    }

    /// When to call [`Datagrams::handle_timeout`].
    pub(super) fn next_timeout(&self) -> Option<Time> {
        if self.unread { Some(Time::ZERO) } else { self.client.next_timeout() }
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.unread {
            self.receive(now);
        }
        self.client.handle_timeout(now);
        self.flush();
    }

    /// Sends what is to be sent, and tells what came of requests.
    fn flush(&mut self) {
        while let Some((to, packet)) = self.client.poll_transmit() {
            let family = Family::of(to.ip());
            let Some((_, socket)) = self.sockets.iter().find(|(own, _)| *own == family) else { continue };
            match socket.send_to(&packet, to) {
                // A full queue is a lost packet, and the client sends those again.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.fail(to, error.kind()),
                _ => {}
            }
        }
        while let Some((id, result)) = self.client.poll_event() {
            if let Some((_, answered)) = self.waiting.remove(&id) {
                answered(result.map_err(UdpError::Tracker));
            }
        }
    }

    /// Ends all requests to an address that nothing can be sent to.
    fn fail(&mut self, to: SocketAddr, error: io::ErrorKind) {
        let there = self.waiting.iter().filter(|(_, (addr, _))| *addr == to).map(|(id, _)| *id);
        let mut there: Vec<_> = there.collect();
        there.sort_unstable();
        for id in there {
            self.client.cancel(id);
            if let Some((_, answered)) = self.waiting.remove(&id) {
                answered(Err(UdpError::Send(error)));
            }
        }
    }
}

/// Where to send from: the address that peers reach us at, except loopback, from which nothing leaves the machine.
fn local(own: SocketAddr, family: Family) -> SocketAddr {
    let ip = match (own.ip().is_loopback(), family) {
        (false, _) => own.ip(),
        (true, Family::V4) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (true, Family::V6) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, own.port())
}

fn open(registry: &Registry, token: Token, local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // Another program may have the port for UDP; trackers answer to any.
    let any = SocketAddr::new(local.ip(), 0);
    socket.bind(&local.into()).or_else(|_| socket.bind(&any.into()))?;
    let mut socket = UdpSocket::from_std(socket.into());
    registry.register(&mut socket, token, Interest::READABLE)?;
    Ok(socket)
}
