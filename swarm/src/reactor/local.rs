//! The sockets of the local network (BEP 14): one for each address family, in the group of each interface.
//!
//! They are bound to the groups' addresses, so that nothing else arrives: what does was sent to the group by somebody on the link, even
//! if its address is global, as those of IPv6 mostly are.
//!
//! Packets leave with a time to live of 1, so that no router passes them on. Who listens on loopback only has no neighbours
//! and no sockets here.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use wire::lsd::{Announce, GROUP_V4, GROUP_V6, MAX_PACKET};

use crate::engine::scope::Scope;
use crate::engine::tracker::Family;
use crate::engine::{Engine, Time};

/// Sockets at most.
pub(super) const MAX_SOCKETS: usize = 2;
/// Interfaces that are spoken to at most.
const MAX_INTERFACES: usize = 16;
/// Datagrams taken from one socket in a row. A local network has few to say.
const DATAGRAMS: usize = 16;

/// The sockets.
pub(super) struct Local {
    sockets: Vec<(Family, UdpSocket)>,
    /// Where we listen: only what can be reached there is spoken to.
    listening: Vec<IpAddr>,
    joined: BTreeSet<Place>,
    /// A socket had more datagrams than one turn takes.
    pub(super) unread: bool,
}

/// An interface in one address family: by its address for IPv4, by its index for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    V4(Ipv4Addr),
    V6(u32),
}

impl Local {
    /// None at all: for who does not want them.
    pub(super) fn none() -> Self {
        Self { sockets: Vec::new(), listening: Vec::new(), joined: BTreeSet::new(), unread: false }
    }

    /// Opens the sockets that go with the addresses that are listened on, registered from `first` on, and joins the groups.
    pub(super) fn open(registry: &Registry, first: Token, listening: &[SocketAddr]) -> Self {
        let listening: Vec<_> = listening.iter().map(SocketAddr::ip).filter(|ip| !ip.is_loopback()).collect();
        let mut local = Self { listening, ..Self::none() };
        for family in [Family::V4, Family::V6] {
            if !local.listening.iter().any(|ip| Family::of(*ip) == family) {
                continue;
            }
            match open(registry, Token(first.0 + local.sockets.len()), family) {
                Ok(socket) => local.sockets.push((family, socket)),
                Err(error) => tracing::info!(%error, "no local service discovery over {family}"),
            }
        }
        if !local.sockets.is_empty() {
            local.places();
        }
        local
    }

    /// Announces torrents on all interfaces.
    pub(super) fn announce(&mut self, port: u16, hashes: &[[u8; 20]], cookie: &str) {
        if self.sockets.is_empty() {
            return;
        }
        let announce = Announce { port, hashes: hashes.into(), cookie: Some(cookie.as_bytes()) };
        // Interfaces may have come since the last time, and a minute or more has gone by.
        for place in self.places() {
            if let Err(error) = self.send(place, &announce) {
                tracing::debug!(%error, ?place, "nothing announced to the local network");
            }
        }
    }

    /// Takes what others announce.
    pub(super) fn receive(&mut self, now: Time, engine: &mut Engine) {
        self.unread = false;
        let mut buffer = [0; MAX_PACKET + 1];
        for (_, socket) in &self.sockets {
            for turn in 0.. {
                if turn == DATAGRAMS {
                    self.unread = true;
                    break;
                }
                match socket.recv_from(&mut buffer) {
                    Ok((_, from)) if may_be_from_afar(from) => {}
                    Ok((len, from)) => {
                        if let Ok(announce) = Announce::parse(buffer.get(..len).unwrap_or_default()) {
                            engine.handle_lsd(now, from, &announce);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The report of an earlier datagram that did not arrive.
                    Err(_) => {}
                }
            }
        }
    }

    fn send(&self, place: Place, announce: &Announce<'_>) -> io::Result<()> {
        let mut packet = Vec::new();
        let (family, group) = match place {
            Place::V4(_) => (Family::V4, GROUP_V4),
            Place::V6(_) => (Family::V6, GROUP_V6),
        };
        announce.encode(group, &mut packet);
        let Some((_, socket)) = self.sockets.iter().find(|(own, _)| *own == family) else { return Ok(()) };
        let to = match (place, group) {
            (Place::V4(ip), _) => {
                SockRef::from(socket).set_multicast_if_v4(&ip)?;
                group
            }
            (Place::V6(index), SocketAddr::V6(group)) => {
                SockRef::from(socket).set_multicast_if_v6(index)?;
                SocketAddrV6::new(*group.ip(), group.port(), 0, index).into()
            }
            (Place::V6(_), group) => group,
        };
        socket.send_to(&packet, to).map(drop)
    }

    /// The interfaces that there are now; their groups are joined.
    fn places(&mut self) -> Vec<Place> {
        let found = match if_addrs::get_if_addrs() {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "the interfaces of this machine are not known");
                return Vec::new();
            }
        };
        let serves = |ip: IpAddr| {
            let any = |own: &IpAddr| own.is_unspecified() && Family::of(*own) == Family::of(ip);
            !ip.is_loopback() && self.listening.iter().any(|own| *own == ip || any(own))
        };
        let place = |interface: &if_addrs::Interface| match interface.ip() {
            IpAddr::V4(ip) => Some(Place::V4(ip)),
            IpAddr::V6(_) => interface.index.map(Place::V6),
        };
        let places = found.iter().filter(|interface| serves(interface.ip())).filter_map(place);
        let places: BTreeSet<Place> = places.take(MAX_INTERFACES).collect();
        self.joined.retain(|place| places.contains(place));
        for place in &places {
            if !self.joined.contains(place) && self.join(*place) {
                self.joined.insert(*place);
            }
        }
        places.into_iter().collect()
    }

    /// Whether the group was joined.
    fn join(&self, place: Place) -> bool {
        let family = if matches!(place, Place::V4(_)) { Family::V4 } else { Family::V6 };
        let Some((_, socket)) = self.sockets.iter().find(|(own, _)| *own == family) else { return false };
        let socket = SockRef::from(socket);
        let joined = match (place, GROUP_V4.ip(), GROUP_V6.ip()) {
            (Place::V4(ip), IpAddr::V4(group), _) => socket.join_multicast_v4(&group, &ip),
            (Place::V6(index), _, IpAddr::V6(group)) => socket.join_multicast_v6(&group, index),
            _ => return false,
        };
        match joined {
            // Two addresses of one interface.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => true,
            Err(error) => {
                tracing::debug!(%error, ?place, "the local network is not heard");
                false
            }
            Ok(()) => true,
        }
    }
}

/// Where the socket of a group is bound.
#[cfg(unix)]
fn bound_to(group: SocketAddr) -> SocketAddr {
    group
}

/// Where the socket of a group is bound: other systems bind to none.
#[cfg(not(unix))]
fn bound_to(group: SocketAddr) -> SocketAddr {
    let any = if group.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    SocketAddr::new(any, group.port())
}

/// Whether a packet may have been sent to us alone, by somebody far away.
fn may_be_from_afar(from: SocketAddr) -> bool {
    cfg!(not(unix)) && !Scope::of(from.ip()).is_some_and(Scope::is_local)
}

/// A socket at the group's port, which others on this machine may have too.
fn open(registry: &Registry, token: Token, family: Family) -> io::Result<UdpSocket> {
    let local = match family {
        Family::V4 => bound_to(GROUP_V4),
        Family::V6 => bound_to(GROUP_V6),
    };
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    match family {
        Family::V4 => {
            socket.set_multicast_ttl_v4(1)?;
            // Groups that other programs joined are not for us.
            #[cfg(target_os = "linux")]
            socket.set_multicast_all_v4(false)?;
        }
        Family::V6 => {
            socket.set_only_v6(true)?;
            socket.set_multicast_hops_v6(1)?;
            #[cfg(target_os = "linux")]
            socket.set_multicast_all_v6(false)?;
        }
    }
    socket.bind(&local.into())?;
    let mut socket = UdpSocket::from_std(socket.into());
    registry.register(&mut socket, token, Interest::READABLE)?;
    Ok(socket)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::net::UdpSocket as StdSocket;
    use std::time::Duration;

    /// The next packet that a socket gets within a second.
    fn next(poll: &mut Poll, socket: &UdpSocket) -> Option<Vec<u8>> {
        let mut buffer = [0; 100];
        loop {
            if let Ok((len, _)) = socket.recv_from(&mut buffer) {
                return Some(buffer[..len].to_vec());
            }
            let mut events = Events::with_capacity(4);
            poll.poll(&mut events, Some(Duration::from_secs(1))).unwrap();
            if events.is_empty() {
                return None;
            }
        }
    }

    #[test]
    fn what_is_sent_to_us_alone_does_not_arrive() {
        for (family, group) in [(Family::V4, GROUP_V4), (Family::V6, GROUP_V6)] {
            let mut poll = Poll::new().unwrap();
            let Ok(socket) = open(poll.registry(), Token(1), family) else {
                assert_eq!(family, Family::V6, "every machine has IPv4");
                continue;
            };
            assert_eq!(socket.local_addr().unwrap().ip(), group.ip());
            let loopback: SocketAddr =
                if group.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }.parse().unwrap();
            let Ok(sender) = StdSocket::bind(loopback) else { continue };
            let mut to = loopback;
            to.set_port(group.port());
            sender.send_to(b"to you", to).unwrap();
            if let IpAddr::V4(group_ip) = group.ip() {
                // Packets between two sockets of one machine keep their order.
                SockRef::from(&socket).join_multicast_v4(&group_ip, &Ipv4Addr::LOCALHOST).unwrap();
                SockRef::from(&sender).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
                sender.send_to(b"to all", group).unwrap();
                assert_eq!(next(&mut poll, &socket).as_deref(), Some(&b"to all"[..]));
            } else {
                // Multicast over IPv6 needs a route, which loopback rarely has.
                assert_eq!(next(&mut poll, &socket), None);
            }
        }
    }

    #[test]
    fn packets_stay_on_the_link() {
        let poll = Poll::new().unwrap();
        let socket = open(poll.registry(), Token(1), Family::V4).unwrap();
        assert_eq!(SockRef::from(&socket).multicast_ttl_v4().unwrap(), 1);
        if let Ok(socket) = open(poll.registry(), Token(2), Family::V6) {
            assert_eq!(SockRef::from(&socket).multicast_hops_v6().unwrap(), 1);
        }
    }
}
