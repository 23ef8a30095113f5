//! The peer that a measured program talks to: plain blocking TCP that keeps ahead of it.
//!
//! It dials. So the programs under test need no address of it, none tries encryption first, and one that
//! does not connect to loopback addresses can be measured too.

mod leech;
mod magnet;
mod seed;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use wire::peer::{Handshake, Limits, Message, PeerId, Reserved};
use wire::{Decoded, peer};

pub use self::leech::{LeechOptions, leech};
pub use self::magnet::MagnetSeed;
pub use self::seed::seed;

/// How long a subject may take until it accepts us: some hash a gigabyte first.
const DIAL_LIMIT: Duration = Duration::from_secs(120);

/// A connection after the handshake.
struct Connection {
    stream: TcpStream,
    /// Both sides have the Fast extension (BEP 6).
    fast: bool,
    limits: Limits,
    input: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// Connects and shakes hands, again and again until the other side knows the torrent.
    fn dial(to: SocketAddr, info_hash: [u8; 20], pieces: u32) -> Result<Connection> {
        const PAUSE: Duration = Duration::from_millis(10);
        let end = Instant::now() + DIAL_LIMIT;
        loop {
            match shake_hands(to, info_hash) {
                Ok((stream, fast)) => {
                    stream.set_read_timeout(Some(DIAL_LIMIT))?;
                    let limits = Limits::for_pieces(pieces);
                    let input = vec![0; 256 * 1024 + limits.bitfield];
                    return Ok(Connection { stream, fast, limits, input, filled: 0 });
                }
                Err(error) if Instant::now() >= end => {
                    return Err(error).with_context(|| format!("dialling {to}"));
                }
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn send(&mut self, messages: &[Message<'_>]) -> Result<()> {
        let mut out = Vec::new();
        for message in messages {
            message.encode(&mut out);
        }
        Ok(self.stream.write_all(&out)?)
    }

    /// Reads once and hands every complete message to `with`, with the bytes that came after it.
    ///
    /// `with` answers how many of them belong to the message: the payload of a piece. They may be more
    /// than came; then they are read and dropped. Answers whether the other side is still there.
    fn receive(
        &mut self,
        skip: &mut usize,
        mut with: impl FnMut(Message<'_>) -> Result<usize>,
    ) -> Result<bool> {
        let count = match self.stream.read(&mut self.input[self.filled..]) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error.into()),
        };
        self.filled += count;
        let mut at = 0;
        loop {
            let skipped = (*skip).min(self.filled - at);
            at += skipped;
            *skip -= skipped;
            match Message::parse(&self.input[at..self.filled], &self.limits) {
                Ok(Decoded::Complete { value, consumed }) => {
                    at += consumed;
                    *skip = with(value)?;
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(error) => bail!("the subject sent {error:?}"),
            }
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(count > 0)
    }
}

fn shake_hands(to: SocketAddr, info_hash: [u8; 20]) -> Result<(TcpStream, bool)> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let ours = Handshake {
        reserved: Reserved::default().with_fast(),
        info_hash,
        peer_id: PeerId::new(*b"-UB0001-", rand_suffix()),
    };
    stream.write_all(&ours.encode())?;
    let mut theirs = [0; peer::Handshake::LEN];
    stream.read_exact(&mut theirs)?;
    let theirs = Handshake::parse(&theirs).ok().and_then(Decoded::complete);
    let theirs = theirs.context("no handshake came back")?;
    ensure!(theirs.info_hash == info_hash, "the subject answered for another torrent");
    Ok((stream, theirs.reserved.fast()))
}

/// Different for each connection, so that none is taken for a duplicate.
fn rand_suffix() -> [u8; 12] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let word = || RandomState::new().build_hasher().finish();
    let mut suffix = [0; 12];
    for (byte, random) in suffix.iter_mut().zip([word(), word()].iter().flat_map(|w| w.to_le_bytes())) {
        *byte = random;
    }
    suffix
}
