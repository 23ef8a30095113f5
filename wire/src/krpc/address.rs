//! One address as 6 or 18 bytes.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reads an address that can be sent to.
pub(super) fn read(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    let address = match ip.len() {
        4 => (Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?), port).into(),
        16 => (Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?), port).into(),
        _ => return None,
    };
    (port != 0).then_some(address)
}

/// Appends an address.
pub(super) fn write(address: &SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(address) => out.extend_from_slice(&address.ip().octets()),
        SocketAddr::V6(address) => out.extend_from_slice(&address.ip().octets()),
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

/// An address as bytes of its own.
pub(super) fn compact(address: &SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(18);
    write(address, &mut out);
    out
}
