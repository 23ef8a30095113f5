//! Every packet of a network of a test's own.

use std::net::{IpAddr, Ipv4Addr};
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
/// The kernel's buffer: a test moves a few megabytes.
const BUFFER: usize = 64 << 20;
/// Bytes of the link layer before a packet.
const LINK: usize = 14;

/// A packet over IPv4.
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
    let head = usize::from(packet.first()? & 0xf) * 4;
    if packet[0] >> 4 != 4 || !matches!(packet.get(9)?, &TCP | &UDP) {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    };
    let udp = packet[9] == UDP;
    let inner = packet.get(head..)?;
    let skip = if udp { 8 } else { usize::from(inner.get(12)? >> 4) * 4 };
    let payload = inner.get(skip..)?.to_vec();
    Some(Packet { from: address(12)?, udp, payload })
}
