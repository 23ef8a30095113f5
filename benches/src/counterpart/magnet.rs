//! A seed that is found by a tracker and known by its info-hash alone: it gives metadata (BEP 9), then one block.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wire::peer::{ExtendedHandshake, MetadataMessage};

use crate::process::monotonic;

/// A connection that says nothing for this long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Our id for `ut_metadata`.
const METADATA: u8 = 1;
/// The longest message that is read.
const MAX_MESSAGE: usize = 128 << 10;

/// What is given, to whoever comes.
pub struct MagnetSeed {
    tracker: SocketAddr,
    first: Receiver<f64>,
}

struct Given {
    info_hash: [u8; 20],
    info: Vec<u8>,
    content: Vec<u8>,
}

impl MagnetSeed {
    /// Starts the seed, and a tracker that names it. `content` is one piece of one block.
    pub fn start(info_hash: [u8; 20], info: Vec<u8>, content: Vec<u8>) -> Result<Self> {
        let (seed, tracker) =
            (TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
        let (tell, first) = channel();
        let given = Arc::new(Given { info_hash, info, content });
        let SocketAddr::V4(at) = seed.local_addr()? else { bail!("a listener on IPv4") };
        let address = tracker.local_addr()?;
        thread::spawn(move || each(&seed, move |stream| serve(stream, &given, &tell)));
        thread::spawn(move || each(&tracker, move |stream| name(stream, at)));
        Ok(Self { tracker: address, first })
    }

    /// The magnet link that leads here.
    pub fn link(&self, info_hash: [u8; 20]) -> String {
        let hash: String = info_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("magnet:?xt=urn:btih:{hash}&tr=http%3A%2F%2F{}%2Fannounce", self.tracker)
    }

    /// When the first block was given, by [`monotonic`]; `None` if that was not yet.
    pub fn first_byte(&self) -> Option<f64> {
        self.first.try_recv().ok()
    }
}

/// Serves each connection on a thread of its own, for as long as the program runs.
fn each(listener: &TcpListener, serve: impl Fn(TcpStream) -> Result<()> + Clone + Send + 'static) {
    for stream in listener.incoming().flatten() {
        let serve = serve.clone();
        // Clients that try encryption first, or part, come again or do not.
        thread::spawn(move || serve(stream));
    }
}

/// Answers one announce.
fn name(mut stream: TcpStream, peer: SocketAddrV4) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut body = b"d8:intervali1800e5:peers6:".to_vec();
    body.extend(peer.ip().octets());
    body.extend(peer.port().to_be_bytes());
    body.push(b'e');
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Ok(stream.write_all(&[head.as_bytes(), &body].concat())?)
}

/// Speaks with one peer until it parts.
fn serve(mut stream: TcpStream, given: &Given, first: &Sender<f64>) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    let mut start = [0];
    stream.read_exact(&mut start)?;
    ensure!(start == [19], "no plain handshake");
    let mut handshake = [0; 67];
    stream.read_exact(&mut handshake)?;
    ensure!(handshake[27..47] == given.info_hash, "another torrent");
    let mut out = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0".to_vec();
    out.extend(given.info_hash);
    out.extend(b"-XX0000-loopback.mag");
    let said = format!("d1:md11:ut_metadatai{METADATA}ee13:metadata_sizei{}ee", given.info.len());
    message(&mut out, 20, &[&[0], said.as_bytes()].concat());
    message(&mut out, 5, &[0x80]);
    message(&mut out, 1, &[]);
    stream.write_all(&out)?;
    let mut theirs = None;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length <= MAX_MESSAGE, "a message of {length} bytes");
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let mut out = Vec::new();
        match body.as_slice() {
            [20, 0, said @ ..] => {
                let said = ExtendedHandshake::parse(said).ok().context("an extension handshake")?;
                theirs = said.extensions.id("ut_metadata").or(theirs);
            }
            [20, METADATA, asked @ ..] => {
                let Ok(Some(MetadataMessage::Request { piece })) = MetadataMessage::parse(asked) else {
                    continue;
                };
                let from = piece as usize * MetadataMessage::PIECE;
                let data = given.info.get(from..).context("a piece of the metadata")?;
                let data = &data[..data.len().min(MetadataMessage::PIECE)];
                let mut reply = vec![theirs.context("no id for metadata")?];
                let total_size = Some(given.info.len() as u64);
                MetadataMessage::Data { piece, total_size, data }.encode(&mut reply);
                message(&mut out, 20, &reply);
            }
            [6, request @ ..] if request.len() == 12 => {
                let begin = u32::from_be_bytes([request[4], request[5], request[6], request[7]]) as usize;
                let len = u32::from_be_bytes([request[8], request[9], request[10], request[11]]) as usize;
                let block = given.content.get(begin..begin + len).context("a block")?;
                message(&mut out, 7, &[&request[..8], block].concat());
                stream.write_all(&out)?;
                // Nobody listens when the round is over.
                let _ = first.send(monotonic());
                continue;
            }
            _ => {}
        }
        stream.write_all(&out)?;
    }
}

fn message(out: &mut Vec<u8>, id: u8, payload: &[u8]) {
    out.extend((payload.len() as u32 + 1).to_be_bytes());
    out.push(id);
    out.extend(payload);
}
