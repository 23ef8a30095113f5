//! To which address of ours a datagram came, and from which one it goes out (ip(7) `IP_PKTINFO`, RFC 3542), where the system
//! can tell. The rest of a datagram is what std does with it.

pub(super) use system::{enable, receive, send};

#[allow(unsafe_code)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io::{self, IoSlice};
    use std::mem::size_of_val;
    use std::net::{IpAddr, Ipv6Addr, SocketAddr};
    use std::os::fd::AsRawFd;

    use mio::net::UdpSocket;
    use socket2::{MsgHdr, SockAddr, SockRef};

    use crate::engine::tracker::Family;

    /// A control message begins with its length, this header counted, its level and its type.
    const HEADER: usize = size_of::<usize>() + 2 * size_of::<i32>();
    /// Bytes of the message: for IPv4 an interface, an address of ours and where the datagram was sent to; for IPv6 an address
    /// and an interface.
    const INFO: usize = 12;
    const INFO6: usize = 20;
    /// Room for more than one message, as nothing else was asked for.
    const CONTROL: usize = 64;

    /// Lets a socket tell from now on.
    pub(in super::super) fn enable(socket: &UdpSocket, family: Family) -> io::Result<()> {
        let (level, name) = match family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        let on: libc::c_int = 1;
        let (socket, value) = (socket.as_raw_fd(), (&raw const on).cast());
        let len = size_of_val(&on) as libc::socklen_t;
        // SAFETY: the socket is open as long as it is borrowed, and the value is an integer of the length that is told.
        let result = unsafe { libc::setsockopt(socket, level, name, value, len) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Takes a datagram: its length, whom it is from, and the address of ours that can answer it.
    pub(in super::super) fn receive(
        socket: &UdpSocket,
        into: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        let mut control = [0; CONTROL];
        let mut data = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        // SAFETY: the call writes to `into`, `control` and `storage` no more than the lengths that it is given, and they live
        // until it returns. The address is as long as the call says. Of the message, what is zero is not there.
        let result = unsafe {
            SockAddr::try_init(|storage, len| {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_name = storage.cast();
                message.msg_namelen = *len;
                message.msg_iov = &raw mut data;
                message.msg_iovlen = 1;
                message.msg_control = control.as_mut_ptr().cast();
                message.msg_controllen = control.len() as _;
                let received = libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0);
                let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
                *len = message.msg_namelen;
                Ok((received, message.msg_controllen as usize))
            })
        };
        let ((received, told), from) = result?;
        let from = from.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok((received, from, address(control.get(..told).unwrap_or_default())))
    }

    /// Sends a datagram from this address of ours.
    pub(in super::super) fn send(
        socket: &UdpSocket,
        from: IpAddr,
        to: SocketAddr,
        datagram: &[u8],
    ) -> io::Result<usize> {
        let (level, name, len) = match from {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, INFO),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, INFO6),
        };
        let mut control = Vec::with_capacity(CONTROL);
        control.extend((HEADER + len).to_ne_bytes());
        control.extend(level.to_ne_bytes());
        control.extend(name.to_ne_bytes());
        // No interface: the system finds the way by itself.
        match from {
            IpAddr::V4(ip) => [[0; 4], ip.octets(), [0; 4]].iter().for_each(|part| control.extend(part)),
            IpAddr::V6(ip) => {
                control.extend(ip.octets());
                control.extend([0; 4]);
            }
        }
        control.resize(control.len().next_multiple_of(size_of::<usize>()), 0);
        let (to, data) = (SockAddr::from(to), [IoSlice::new(datagram)]);
        let message = MsgHdr::new().with_addr(&to).with_buffers(&data).with_control(&control);
        SockRef::from(socket).sendmsg(&message, 0)
    }

    /// The address that control messages tell of, if something can be sent from there.
    fn address(mut control: &[u8]) -> Option<IpAddr> {
        while let Some((header, rest)) = control.split_at_checked(HEADER) {
            let (len, kind) = header.split_first_chunk()?;
            let kind = kind.first_chunk::<8>()?;
            let len = usize::from_ne_bytes(*len).checked_sub(HEADER)?;
            let body = rest.get(..len)?;
            if *kind == kind_of(libc::IPPROTO_IP, libc::IP_PKTINFO) {
                return Some(IpAddr::from(*body.get(4..)?.first_chunk::<4>()?));
            }
            if *kind == kind_of(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
                let ip = Ipv6Addr::from(*body.first_chunk::<16>()?);
                return Some(ip.into()).filter(|_| !ip.is_multicast());
            }
            control = rest.get(len.next_multiple_of(size_of::<usize>())..)?;
        }
        None
    }

    fn kind_of(level: i32, name: i32) -> [u8; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (level.to_ne_bytes(), name.to_ne_bytes());
        [a, b, c, d, e, f, g, h]
    }
}

/// Not known here: the system chooses.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::io;
    use std::net::{IpAddr, SocketAddr};

    use mio::net::UdpSocket;

    use crate::engine::tracker::Family;

    pub(in super::super) fn enable(_: &UdpSocket, _: Family) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in super::super) fn receive(
        socket: &UdpSocket,
        into: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        socket.recv_from(into).map(|(len, from)| (len, from, None))
    }

    pub(in super::super) fn send(
        socket: &UdpSocket,
        _: IpAddr,
        to: SocketAddr,
        datagram: &[u8],
    ) -> io::Result<usize> {
        socket.send_to(datagram, to)
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::io;
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use mio::net::UdpSocket;
    use mio::{Events, Interest, Poll, Token};

    use crate::engine::tracker::Family;

    /// The first datagram that comes.
    fn wait(socket: &mut UdpSocket, into: &mut [u8]) -> (usize, SocketAddr, Option<IpAddr>) {
        let mut poll = Poll::new().unwrap();
        poll.registry().register(socket, Token(0), Interest::READABLE).unwrap();
        let mut events = Events::with_capacity(1);
        let got = loop {
            match super::receive(socket, into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll.poll(&mut events, Some(Duration::from_secs(300))).unwrap();
                }
                got => break got.unwrap(),
            }
        };
        poll.registry().deregister(socket).unwrap();
        got
    }

    #[test]
    fn datagrams_tell_where_they_came_to_and_go_out_from_there() {
        // Loopback is all of 127/8, and one address of IPv6.
        let cases = [
            (Family::V4, "0.0.0.0", "127.0.0.1", ["127.0.0.1", "127.0.0.2"], "203.0.113.1"),
            (Family::V6, "::", "::1", ["::1", "::1"], "2001:db8::1"),
        ];
        for (family, all, asker, asked, not_ours) in cases {
            let here = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
            let Ok(mut socket) = UdpSocket::bind(here(all)) else {
                assert_eq!(family, Family::V6, "a machine without IPv4");
                continue;
            };
            super::enable(&socket, family).unwrap();
            let Ok(mut other) = UdpSocket::bind(here(asker)) else {
                assert_eq!(family, Family::V6, "a machine without IPv4");
                continue;
            };
            let (mut buffer, from) = ([0; 100], other.local_addr().unwrap());
            for (ip, len) in asked.into_iter().zip([0, 77]) {
                let to = SocketAddr::new(ip.parse().unwrap(), socket.local_addr().unwrap().port());
                other.send_to(&[7; 77][..len], to).unwrap();
                assert_eq!(wait(&mut socket, &mut buffer), (len, from, Some(to.ip())));
                assert_eq!(buffer[..len], [7; 77][..len]);
                super::send(&socket, to.ip(), from, &[8; 50]).unwrap();
                assert_eq!(wait(&mut other, &mut buffer), (50, to, None), "nobody asked it to tell");
                assert_eq!(buffer[..50], [8; 50]);
            }
            let sent = super::send(&socket, not_ours.parse().unwrap(), from, &[9]);
            assert!(sent.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock));
        }
    }
}
