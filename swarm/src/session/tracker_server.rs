//! A tracker on a socket: [`Server`] behind HTTP and UDP at one address.
//!
//! The HTTP is as little as trackers need: GET without a body, over connections that are kept. A client has
//! [`PATIENCE`] for each request and [`MAX_HEAD`] bytes for it, and there are [`MAX_CONNECTIONS`] of them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::engine::time::Time;
use crate::engine::tracker::server::{Config, HttpAnswer, Server};

/// Bytes of the longest request.
pub const MAX_HEAD: usize = 8 << 10;
/// Connections at a time; more are closed at once.
pub const MAX_CONNECTIONS: usize = 128;
/// Time for a request to come in, and for its answer to be taken.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Requests over one connection, then it is closed.
const MAX_REQUESTS: usize = 1000;
/// Tries to find a port that is free for both TCP and UDP.
const PORT_TRIES: usize = 32;

/// A running tracker. It stops when it is dropped.
#[derive(Debug)]
pub struct TrackerServer {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    epoch: Instant,
    server: Mutex<Server>,
}

impl TrackerServer {
    /// Listens at `address`, TCP and UDP; port 0 finds one that is free for both.
    pub async fn bind(address: SocketAddr, config: Config) -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        let (tcp, udp) = both(address).await?;
        let server = Mutex::new(Server::new(config, ChaCha8Rng::from_seed(seed)));
        let state = Arc::new(State { epoch: Instant::now(), server });
        let address = tcp.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(tcp, Arc::clone(&state)));
        tasks.spawn(answer_datagrams(udp, Arc::clone(&state)));
        Ok(Self { address, state, _tasks: tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to write into a torrent as its HTTP tracker.
    pub fn http_url(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    /// What to write into a torrent as its UDP tracker.
    pub fn udp_url(&self) -> String {
        format!("udp://{}/announce", self.address)
    }

    /// Serves a torrent besides those that its configuration allows.
    pub fn allow(&self, info_hash: [u8; 20]) {
        self.state.with(|server, _| server.allow(info_hash));
    }

    /// How many torrents and peers it knows.
    pub fn sizes(&self) -> (usize, usize) {
        self.state.with(|server, _| server.sizes())
    }
}

impl State {
    fn with<T>(&self, act: impl FnOnce(&mut Server, Time) -> T) -> T {
        let now = Time::ZERO + self.epoch.elapsed();
        act(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

async fn both(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        let tcp = TcpListener::bind(address).await?;
        tries -= 1;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse || tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(serve(stream, from, Arc::clone(&state)));
                }
                Ok(_) => {}
                // Out of descriptors, most likely: let some be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn answer_datagrams(socket: UdpSocket, state: Arc<State>) {
    let mut packet = [0; 2048];
    let mut answer = Vec::new();
    loop {
        let Ok((len, from)) = socket.recv_from(&mut packet).await else {
            // An ICMP error of an earlier answer.
            tokio::task::yield_now().await;
            continue;
        };
        answer.clear();
        let packet = packet.get(..len).unwrap_or_default();
        if state.with(|server, now| server.udp(now, from, packet, &mut answer)) {
            // Whoever is gone needs no answer.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// Serves one connection, until it is closed, idle, or not HTTP.
async fn serve(mut stream: TcpStream, from: SocketAddr, state: Arc<State>) {
    let mut buffer = Vec::new();
    for _ in 0..MAX_REQUESTS {
        let read = tokio::time::timeout(PATIENCE, read_head(&mut stream, &mut buffer)).await;
        let Ok(Ok(Some(head))) = read else { return };
        let request = parse(&head);
        let (answer, keep) = match &request {
            Ok(request) => (state.with(|s, now| s.http(now, from.ip(), &request.target)), request.keep),
            Err(status) => (HttpAnswer { status: *status, body: Vec::new() }, false),
        };
        let bytes = encode(&answer, keep);
        match tokio::time::timeout(PATIENCE, stream.write_all(&bytes)).await {
            Ok(Ok(())) if keep => {}
            _ => return,
        }
    }
}

/// Reads up to the empty line; what comes after it stays in the buffer. `None` at the end of the stream, or if it is
/// too long.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    const END: &[u8] = b"\r\n\r\n";
    loop {
        if let Some(at) = buffer.windows(END.len()).position(|window| window == END) {
            let rest = buffer.split_off(at + END.len());
            return Ok(Some(std::mem::replace(buffer, rest)));
        }
        if buffer.len() >= MAX_HEAD {
            return Ok(None);
        }
        let mut chunk = [0; 1024];
        let len = stream.read(&mut chunk).await?;
        if len == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(chunk.get(..len).unwrap_or_default());
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    target: String,
    keep: bool,
}

/// Takes a request apart, or gives the status that refuses it.
fn parse(head: &[u8]) -> Result<Request, u16> {
    let text = std::str::from_utf8(head).map_err(|_| 400u16)?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next()) else {
        return Err(400);
    };
    if method != "GET" {
        return Err(405);
    }
    let mut keep = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err(505),
    };
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(400u16)?;
        let value = value.trim().to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "connection" => keep = keep && value != "close",
            "content-length" if value == "0" => {}
            "content-length" | "transfer-encoding" => return Err(400),
            _ => {}
        }
    }
    // Behind a proxy the target is a whole URL.
    let target =
        target.strip_prefix("http://").map_or(Some(target), |rest| rest.find('/').map(|at| &rest[at..]));
    Ok(Request { target: target.unwrap_or("/").to_owned(), keep })
}

fn encode(answer: &HttpAnswer, keep: bool) -> Vec<u8> {
    let reason = match answer.status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Bad Request",
    };
    let connection = if keep { "keep-alive" } else { "close" };
    let mut out = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        answer.status,
        answer.body.len()
    )
    .into_bytes();
    out.extend_from_slice(&answer.body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_apart() {
        let get = |target: &str, keep| Ok(Request { target: target.into(), keep });
        for (head, expected) in [
            ("GET /announce?a=b HTTP/1.1\r\nHost: h\r\n\r\n", get("/announce?a=b", true)),
            ("GET / HTTP/1.1\r\nconnection: Close\r\n\r\n", get("/", false)),
            ("GET / HTTP/1.0\r\n\r\n", get("/", false)),
            ("GET http://h:1/scrape HTTP/1.1\r\n\r\n", get("/scrape", true)),
            ("POST / HTTP/1.1\r\n\r\n", Err(405)),
            ("GET /\r\n\r\n", Err(400)),
            ("GET / HTTP/2\r\n\r\n", Err(505)),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Err(400)),
            ("GET / HTTP/1.1\r\nnonsense\r\n\r\n", Err(400)),
            ("\u{1}\u{2}\r\n\r\n", Err(400)),
        ] {
            assert_eq!(parse(head.as_bytes()), expected, "{head:?}");
        }
    }
}
