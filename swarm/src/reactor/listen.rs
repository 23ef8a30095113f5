//! Sockets that listen for peers.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the system holds before they are accepted.
const BACKLOG: i32 = 512;
/// Tries to find a port that is free for both address families.
const PORT_TRIES: usize = 16;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    /// Which address.
    pub addr: SocketAddr,
    /// Why.
    pub cause: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.addr, self.cause)
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Listens on one address.
pub(super) fn listen(addr: SocketAddr) -> Result<TcpListener, ListenError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from_std(socket.into()))
    };
    open().map_err(|cause| ListenError { addr, cause })
}

/// Listens on a port of every address, IPv4 and IPv6 alike where the machine has both. Port 0 chooses a free one, the
/// same for both. A port that another program has, be it for one of them only, is an error.
pub(super) fn listen_all(port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let tries = if port == 0 { PORT_TRIES } else { 1 };
    let mut outcome = listen_both(port);
    for _ in 1..tries {
        match &outcome {
            Err(error) if error.cause.kind() == io::ErrorKind::AddrInUse => outcome = listen_both(port),
            _ => break,
        }
    }
    outcome
}

fn listen_both(port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let v4 = listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    let port = match &v4 {
        Ok(listener) => listener.local_addr().map_or(port, |addr| addr.port()),
        Err(_) => port,
    };
    let v6 = listen(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => Ok(vec![v4, v6]),
        (Err(error), _) | (_, Err(error)) if !lacks_family(&error.cause) => Err(error),
        // One family is enough: a machine may lack the other.
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(vec![one]),
        (Err(error), Err(_)) => Err(error),
    }
}

/// Whether the machine knows no addresses of this kind, as opposed to refusing this one.
fn lacks_family(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}
