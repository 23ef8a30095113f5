//! Private torrents (BEP 27): every packet of a session is watched, and nothing tells of the torrent but to its tracker, and to
//! the peers that the tracker named.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
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

/// The peer id of somebody who was told of the torrent by nobody.
const STRANGER: &[u8; 20] = b"-XX0000-a stranger!!";

#[test]
fn a_private_torrent_is_told_to_its_tracker_only() -> Result<()> {
    inside(concat!(module_path!(), "::a_private_torrent_is_told_to_its_tracker_only"), || {
        let seen = session(&PRIVATE)?;
        let strangers = seen.packets.iter().filter(|packet| packet.udp);
        ensure!(strangers.clone().count() == 0, "told by UDP: {:?}", strangers.collect::<Vec<_>>());
        let ours = seen.packets.iter().filter(|packet| !packet.has(STRANGER));
        ensure!(!ours.clone().any(|packet| packet.has(b"ut_pex")), "peers are exchanged");
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
        ensure!(seen.has(b"8:msg_typei1e"), "no metadata for whoever asks");
        Ok(())
    })
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
    let mut out = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0".to_vec();
    out.extend(payload.info_hash_bytes());
    out.extend(STRANGER);
    for (id, body) in [(0, "d1:md11:ut_metadatai1e6:ut_pexi2eee"), (2, "d8:msg_typei0e5:piecei0ee")] {
        out.extend((body.len() as u32 + 2).to_be_bytes());
        out.extend([20, id]);
        out.extend(body.bytes());
    }
    stream.write_all(&out)?;
    // Until it has nothing to say any more, or parts.
    let mut answer = [0; 4096];
    while matches!(stream.read(&mut answer), Ok(1..)) {}
    Ok(())
}
