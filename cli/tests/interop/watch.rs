//! Every packet of a network of a test's own.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketType, recv, socket};

/// `ETH_P_ALL`, in the order of the network.
const ALL: u32 = (3u16).to_be() as u32;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Hop by hop, routing, destination.
const OPTIONS: [u8; 3] = [0, 43, 60];
/// The kernel's buffer: a test moves a few megabytes.
const BUFFER: usize = 64 << 20;
/// Bytes of the link layer before a packet.
const LINK: usize = 14;

/// A packet over IPv4 or IPv6.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) udp: bool,
    /// What it carries.
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    /// Whether these bytes are in it.
    pub(crate) fn has(&self, bytes: &[u8]) -> bool {
        self.payload.windows(bytes.len()).any(|window| window == bytes)
    }
}

/// Collects packets from now on.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Packet>>,
}

impl Watch {
    pub(crate) fn start() -> Result<Watch> {
        let protocol = Protocol::from_raw(ALL.try_into()?);
        let socket =
            socket(AddressFamily::PACKET, SocketType::RAW, Some(protocol)).context("a packet socket")?;
        set_socket_recv_buffer_size(&socket, BUFFER)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || collect(&socket, &stopped));
        Ok(Watch { stop, thread })
    }

    /// What was seen.
    pub(crate) fn end(self) -> Vec<Packet> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn collect(socket: &OwnedFd, stop: &AtomicBool) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut buffer = vec![0; 70_000];
    loop {
        match recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((len, _)) => packets.extend(parse(&buffer[..len])),
            // What came before the stop is all there.
            Err(_) if stop.load(Ordering::Relaxed) => return packets,
            Err(_) => {}
        }
    }
}

fn parse(frame: &[u8]) -> Option<Packet> {
    let packet = frame.get(LINK..)?;
    let (from, protocol, inner) = match packet.first()? >> 4 {
        4 => (v4(packet.get(12..16)?), *packet.get(9)?, packet.get(usize::from(packet[0] & 0xf) * 4..)?),
        6 => {
            let (protocol, inner) = behind_options(*packet.get(6)?, packet.get(40..)?)?;
            (v6(packet.get(8..24)?), protocol, inner)
        }
        _ => return None,
    };
    let skip = match protocol {
        UDP => 8,
        TCP => usize::from(inner.get(12)? >> 4) * 4,
        _ => return None,
    };
    Some(Packet { from: from?, udp: protocol == UDP, payload: inner.get(skip..)?.to_vec() })
}

/// What is in a packet over IPv6 behind the options that may come first, and its protocol.
fn behind_options(mut protocol: u8, mut inner: &[u8]) -> Option<(u8, &[u8])> {
    while OPTIONS.contains(&protocol) {
        let len = (usize::from(*inner.get(1)?) + 1) * 8;
        (protocol, inner) = (inner[0], inner.get(len..)?);
    }
    Some((protocol, inner))
}

fn v4(octets: &[u8]) -> Option<IpAddr> {
    Some(<[u8; 4]>::try_from(octets).ok()?.into())
}

fn v6(octets: &[u8]) -> Option<IpAddr> {
    Some(<[u8; 16]>::try_from(octets).ok()?.into())
}

#[test]
fn packets_of_both_families_are_read() {
    let udp = [&[0; 8][..], b"told"].concat();
    let tcp = [&[0; 12][..], &[5 << 4], &[0; 7], b"told"].concat();
    let link = [0; LINK];
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let head_v4 = |protocol| [&[0x45; 9][..], &[protocol, 0, 0, 10, 77, 2, 1, 10, 77, 3, 1]].concat();
    let head_v6 = |next| {
        let mut from = [0_u8; 16];
        (from[0], from[15]) = (0xfd, 2);
        [&[0x60, 0, 0, 0, 0, 0, next, 1][..], &from, &[0; 16]].concat()
    };
    let hop_by_hop = |next| [&[next, 1][..], &[0; 14]].concat();
    for (packet, from, is_udp) in [
        (vec![head_v4(UDP), udp.clone()], "10.77.2.1", true),
        (vec![head_v4(TCP), tcp.clone()], "10.77.2.1", false),
        (vec![head_v6(UDP), udp.clone()], "fd00::2", true),
        (vec![head_v6(TCP), tcp], "fd00::2", false),
        (vec![head_v6(0), hop_by_hop(UDP), udp.clone()], "fd00::2", true),
    ] {
        let frame = [&link[..], &packet.concat()].concat();
        let read = parse(&frame).expect("a packet");
        assert_eq!((read.from, read.udp, &read.payload[..]), (ip(from), is_udp, &b"told"[..]));
    }
    assert!(parse(&[&link[..], &head_v6(58), &udp].concat()).is_none(), "neither TCP nor UDP");
}
