//! Looks for peers of a torrent in the DHT, over a plain UDP socket: the engine alone, without reactor or session.
//!
//! ```text
//! cargo run -p unchoke-swarm --no-default-features --example dht_lookup -- HASH --bootstrap HOST:PORT
//! ```

use std::error::Error;
use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use swarm::engine::Time;
use swarm::engine::dht::{Dht, DhtConfig, DhtEvent, Id, LookupStats};

const USAGE: &str = "usage: dht_lookup HASH --bootstrap HOST:PORT";

pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(found) => ExitCode::from(u8::from(!found)),
        Err(error) => {
            eprintln!("dht_lookup: {error}");
            ExitCode::from(2)
        }
    }
}

/// Prints the peers that are found, one a line. Returns whether there were any.
fn run() -> Result<bool, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [hash, option, node] = arguments.as_slice() else { return Err(USAGE.into()) };
    let hash = parse_hash(hash).filter(|_| option == "--bootstrap").ok_or(USAGE)?;
    let bootstrap: Vec<SocketAddr> = node.to_socket_addrs()?.filter(SocketAddr::is_ipv4).collect();
    let mut found = false;
    let stats = look_up(&UdpSocket::bind("0.0.0.0:0")?, hash, bootstrap, |peer| {
        found = true;
        println!("{peer}");
    })?;
    eprintln!("{} queries, {} answers, {} hops", stats.queries, stats.answers, stats.hops);
    Ok(found)
}

/// Tells each peer as it is found.
pub(crate) fn look_up(
    socket: &UdpSocket,
    hash: Id,
    bootstrap: Vec<SocketAddr>,
    mut found: impl FnMut(SocketAddr),
) -> Result<LookupStats, Box<dyn Error>> {
    // The engine knows no clock and no entropy of its own: both are given to it.
    let start = Instant::now();
    let now = || Time::ZERO + start.elapsed();
    // A short run that nobody can reach for long: ask, but do not answer (BEP 43).
    let config = DhtConfig { ipv6: false, read_only: true, bootstrap, ..DhtConfig::default() };
    let mut dht = Dht::new(config, ChaCha8Rng::from_seed(entropy()?), now());
    let lookup = dht.get_peers(now(), hash, None)?;

    let mut buffer = [0; 2048];
    loop {
        while let Some(packet) = dht.poll_transmit() {
            // What cannot be sent is lost, as on the way.
            let _ = socket.send_to(&packet.bytes, packet.to);
        }
        while let Some(event) = dht.poll_event() {
            match event {
                DhtEvent::Peers { peers, .. } => peers.into_iter().for_each(&mut found),
                DhtEvent::Done { lookup: done, stats } if done == lookup => return Ok(stats),
                _ => {}
            }
        }
        let wait = dht.next_timeout().since(now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => _ = dht.handle_packet(now(), from, &buffer[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // An earlier packet came to a closed port.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
        }
        dht.handle_timeout(now());
    }
}

fn parse_hash(text: &str) -> Option<Id> {
    let bytes: Option<Vec<u8>> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
    Some(Id(bytes?.try_into().ok()?))
}

fn entropy() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut seed)?;
    Ok(seed)
}
