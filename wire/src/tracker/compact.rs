//! Peers as 6 or 18 bytes each (BEP 23, 7, 15).

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::MAX_PEERS;

/// Reads 6-byte peers. A rest that is no whole peer is dropped.
pub(super) fn read_v4(bytes: &[u8], peers: &mut Vec<SocketAddr>) {
    let entries = bytes.as_chunks().0.iter();
    keep(peers, entries.map(|[a, b, c, d, p, q]| (Ipv4Addr::new(*a, *b, *c, *d), port(*p, *q)).into()));
}

/// Reads 18-byte peers. A rest that is no whole peer is dropped.
pub(super) fn read_v6(bytes: &[u8], peers: &mut Vec<SocketAddr>) {
    let entries = bytes.as_chunks::<18>().0.iter();
    let peer = |entry: &[u8; 18]| {
        let (ip, [p, q]) =
            entry.split_first_chunk::<16>().and_then(|(ip, port)| Some((ip, port.first_chunk()?)))?;
        Some((Ipv6Addr::from(*ip), port(*p, *q)).into())
    };
    keep(peers, entries.filter_map(peer));
}

/// Adds the peers that can be dialled, up to the bound.
pub(super) fn keep(peers: &mut Vec<SocketAddr>, more: impl Iterator<Item = SocketAddr>) {
    let room = MAX_PEERS.saturating_sub(peers.len());
    peers.extend(more.filter(|peer| peer.port() != 0).take(room));
}

/// Writes the IPv4 peers among `peers`.
pub(super) fn write_v4(peers: &[SocketAddr], out: &mut Vec<u8>) {
    for peer in peers {
        if let SocketAddr::V4(peer) = peer {
            out.extend_from_slice(&peer.ip().octets());
            out.extend_from_slice(&peer.port().to_be_bytes());
        }
    }
}

/// Writes the IPv6 peers among `peers`.
pub(super) fn write_v6(peers: &[SocketAddr], out: &mut Vec<u8>) {
    for peer in peers {
        if let SocketAddr::V6(peer) = peer {
            out.extend_from_slice(&peer.ip().octets());
            out.extend_from_slice(&peer.port().to_be_bytes());
        }
    }
}

fn port(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}
