//! Which addresses count as one: who has one of a network often has all of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::engine::scope::{Scope, subscriber};

/// What there is one node of in a table: a global IP address; at local ones, many may share it.
pub(super) fn is_same(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip() == b.ip() && (a.port() == b.port() || Scope::of(a.ip()) == Some(Scope::Global))
}

/// What there is one node of in a bucket, if the address is global: a /24 of IPv4, a /64 of IPv6.
pub(super) fn subnet(addr: SocketAddr) -> Option<IpAddr> {
    if Scope::of(addr.ip()) != Some(Scope::Global) {
        return None;
    }
    match subscriber(addr.ip()) {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some(Ipv4Addr::new(a, b, c, 0).into())
        }
        v6 => Some(v6),
    }
}

/// What anybody can have of IPv6: a /48.
pub(super) fn site(addr: SocketAddr) -> Option<IpAddr> {
    match subnet(addr)? {
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Some(IpAddr::from([a, b, c, 0, 0, 0, 0, 0]))
        }
        IpAddr::V4(_) => None,
    }
}
