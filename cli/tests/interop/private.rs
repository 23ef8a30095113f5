//! Private torrents (BEP 27): every packet of a session is watched, and nothing tells of the torrent but to its tracker, and to
//! the peers that the tracker named.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::client::{Client, Job, State, finish, wait_state};
use crate::clients::Unchoke;
use crate::network::{host, inside};
use crate::payload::{MULTI, PRIVATE, Payload};
use crate::process::free_addr;
use crate::static_tracker::StaticTracker;
use crate::watch::{Packet, Watch};

/// How long a session goes on after the transfer: longer than it takes to announce to the local network or the DHT.
const AFTER: Duration = Duration::from_secs(8);

/// How long somebody who has the metadata waits before giving it: a magnet looks elsewhere meanwhile.
const HESITATION: Duration = Duration::from_secs(4);

/// The peer id of somebody who was told of the torrent by nobody.
const STRANGER: &[u8; 20] = b"-XX0000-a stranger!!";

/// How a handshake begins. Eight bytes of flags follow.
const PROTOCOL: &[u8] = b"\x13BitTorrent protocol";

/// How a message begins that tells the port of a node (BEP 5).
const PORT: &[u8] = b"\0\0\0\x03\x09";

#[test]
fn a_private_torrent_is_told_to_its_tracker_only() -> Result<()> {
    inside(concat!(module_path!(), "::a_private_torrent_is_told_to_its_tracker_only"), || {
        let seen = session(&PRIVATE)?;
        let strangers = seen.packets.iter().filter(|packet| packet.udp);
        ensure!(strangers.clone().count() == 0, "told by UDP: {:?}", strangers.collect::<Vec<_>>());
        let ours = seen.packets.iter().filter(|packet| !packet.has(STRANGER));
        ensure!(!ours.clone().any(|packet| packet.has(b"ut_pex")), "peers are exchanged");
        ensure!(ours.clone().any(|packet| packet.has(PROTOCOL)), "the watch sees no handshake");
        ensure!(!ours.clone().any(offers_dht), "a handshake offers the DHT");
        ensure!(!ours.clone().any(|packet| packet.has(PORT)), "a node is told of");
        ensure!(!seen.has(b"8:msg_typei1e"), "metadata is given to whoever asks");
        ensure!(seen.has(PRIVATE.info_hash_bytes().as_slice()), "the watch is blind");
        Ok(())
    })
}

#[test]
fn a_public_torrent_shows_that_the_watch_sees() -> Result<()> {
    inside(concat!(module_path!(), "::a_public_torrent_shows_that_the_watch_sees"), || {
        let seen = session(&MULTI)?;
        ensure!(seen.packets.iter().any(|packet| packet.udp && packet.from == host(2)), "no DHT and no LSD");
        ensure!(seen.packets.iter().any(offers_dht), "no handshake offers the DHT");
        ensure!(seen.has(PORT), "nobody tells of its node");
        ensure!(seen.has(b"8:msg_typei1e"), "no metadata for whoever asks");
        Ok(())
    })
}

#[test]
fn a_magnet_that_turns_out_private_is_told_to_nobody_from_then_on() -> Result<()> {
    let name = concat!(module_path!(), "::a_magnet_that_turns_out_private_is_told_to_nobody_from_then_on");
    inside(name, || {
        let seen = magnet_session()?;
        let hash = PRIVATE.info_hash_bytes();
        let ours: Vec<_> = seen.packets.iter().filter(|packet| packet.from == host(2)).collect();
        let known = seen.packets.iter().position(|packet| packet.has(b"8:msg_typei1e"));
        let known = known.context("nobody gave the metadata")?;
        let asks = |packet: &&Packet| packet.udp && packet.from == host(2) && packet.has(&hash);
        let (before, after) = seen.packets.split_at(known);
        ensure!(
            before.iter().any(|packet| asks(&packet)),
            "it does not look in the DHT before: the watch is blind"
        );
        // What is on its way when the metadata comes is out already.
        let late = after.iter().filter(asks).count();
        ensure!(late <= 8, "it looks in the DHT after it is known: {late} packets");
        ensure!(!ours.iter().any(|packet| packet.has(b"announce_peer")), "announced to the DHT");
        ensure!(!ours.iter().any(|packet| packet.has(PORT)), "a node is told of");
        ensure!(!ours.iter().any(|packet| packet.has(b"BT-SEARCH")), "told to the local network");
        ensure!(!ours.iter().any(|packet| packet.has(b"5:added")), "peers are exchanged");
        ensure!(
            ours.iter().any(|packet| packet.has(b"6:ut_pexi0e")),
            "it does not say that it takes no peers"
        );
        Ok(())
    })
}

/// A magnet link of a private torrent, with everything switched on: somebody who should not gives its metadata, and what its
/// tracker names gives the rest.
fn magnet_session() -> Result<Seen> {
    let dir = TempDir::new()?;
    let mut node = Job::seed(&MULTI, &dir.path().join("node"), host(4))?;
    node.dht = Some(Vec::new());
    let mut seed = Job::seed(&PRIVATE, dir.path(), host(1))?;
    let mut leech = Job::leech(&PRIVATE, &dir.path().join("leech"), host(2))?;
    let tracker = StaticTracker::start(host(3), &[seed.listen])?;
    seed.trackers.push(tracker.url());
    (leech.magnet, leech.pex, leech.lsd, leech.dht) = (true, true, true, Some(vec![node.listen]));
    leech.trackers.push(tracker.url());
    leech.peers.push(give(&PRIVATE)?);
    let mut other = Unchoke.start(&node)?;
    wait_state(&mut *other, "the node", &[State::Complete])?;
    let watch = Watch::start()?;
    let mut seeding = Unchoke.start(&seed)?;
    wait_state(&mut *seeding, Unchoke.name(), &[State::Complete])?;
    let mut leeching = Unchoke.start(&leech)?;
    finish(&mut *leeching, &Unchoke, &mut *seeding, &Unchoke, &leech)?;
    std::thread::sleep(AFTER);
    drop((leeching, seeding, tracker, other));
    Ok(Seen { packets: watch.end() })
}

/// Somebody who gives the metadata of a torrent to whoever asks, some seconds later, and nothing else.
fn give(payload: &Payload) -> Result<SocketAddr> {
    let listener = TcpListener::bind((host(6), 0))?;
    let addr = listener.local_addr()?;
    let (info, hash) = (payload.info(), payload.info_hash_bytes());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Who hangs up comes again.
            let _ = stream.and_then(|stream| give_to(stream, &info, &hash));
        }
    });
    Ok(addr)
}

fn give_to(mut stream: TcpStream, info: &[u8], hash: &[u8]) -> std::io::Result<()> {
    let mut head = [0; 68];
    stream.read_exact(&mut head)?;
    let mut out = handshake(hash);
    let said = format!("d1:md11:ut_metadatai1ee13:metadata_sizei{}ee", info.len());
    out.extend(extended(0, said.as_bytes()));
    stream.write_all(&out)?;
    loop {
        let mut len = [0; 4];
        stream.read_exact(&mut len)?;
        let mut message = vec![0; u32::from_be_bytes(len) as usize];
        stream.read_exact(&mut message)?;
        if message.starts_with(&[20, 1]) {
            std::thread::sleep(HESITATION);
            let mut data = format!("d8:msg_typei1e5:piecei0e10:total_sizei{}ee", info.len()).into_bytes();
            data.extend(info);
            stream.write_all(&extended(2, &data))?;
        }
    }
}

fn handshake(hash: &[u8]) -> Vec<u8> {
    let mut out = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0".to_vec();
    out.extend(hash);
    out.extend(STRANGER);
    out
}

fn extended(id: u8, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 2).to_be_bytes().to_vec();
    out.extend([20, id]);
    out.extend(body);
    out
}

/// Whether a handshake is in it whose flags say that there is a node of the DHT (BEP 5).
fn offers_dht(packet: &Packet) -> bool {
    let mut beginnings = packet.payload.windows(PROTOCOL.len() + 8);
    beginnings.any(|bytes| bytes.starts_with(PROTOCOL) && bytes.last().is_some_and(|flags| flags & 1 != 0))
}

struct Seen {
    packets: Vec<Packet>,
}

impl Seen {
    /// Whether these bytes are in any packet.
    fn has(&self, bytes: &[u8]) -> bool {
        self.packets.iter().any(|packet| packet.has(bytes))
    }
}

/// A transfer with everything switched on that finds peers, in which a stranger asks both for the metadata.
fn session(payload: &Payload) -> Result<Seen> {
    let dir = TempDir::new()?;
    // A port at which a node of the DHT could be.
    let node = free_addr(host(5));
    let mut seed = Job::seed(payload, dir.path(), host(1))?;
    let mut leech = Job::leech(payload, &dir.path().join("leech"), host(2))?;
    let tracker = StaticTracker::start(host(3), &[seed.listen])?;
    for job in [&mut seed, &mut leech] {
        (job.pex, job.lsd, job.dht) = (true, true, Some(vec![node]));
        job.trackers.push(tracker.url());
    }
    let watch = Watch::start()?;
    let mut seeding = Unchoke.start(&seed)?;
    wait_state(&mut *seeding, Unchoke.name(), &[State::Complete])?;
    let mut leeching = Unchoke.start(&leech)?;
    finish(&mut *leeching, &Unchoke, &mut *seeding, &Unchoke, &leech)?;
    ask(seed.listen, payload)?;
    ask(leech.listen, payload)?;
    std::thread::sleep(AFTER);
    drop((leeching, seeding, tracker));
    Ok(Seen { packets: watch.end() })
}

/// Asks a peer for the metadata, as somebody who knows the hash only.
fn ask(peer: SocketAddr, payload: &Payload) -> Result<()> {
    let mut stream = TcpStream::connect(peer)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut out = handshake(&payload.info_hash_bytes());
    out.extend(extended(0, b"d1:md11:ut_metadatai1e6:ut_pexi2eee"));
    out.extend(extended(2, b"d8:msg_typei0e5:piecei0ee"));
    stream.write_all(&out)?;
    // Until it has nothing to say any more, or parts.
    let mut answer = [0; 4096];
    while matches!(stream.read(&mut answer), Ok(1..)) {}
    Ok(())
}
