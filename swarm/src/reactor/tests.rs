//! The loop over real sockets on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use metainfo::Builder;
use storage::{DiskConfig, MemoryStorage};
use wire::peer::{Bitfield, Handshake, PeerId, Reserved};

use super::{Handle, Observer, Plane, ReactorConfig};
use crate::engine::dht::DhtConfig;
use crate::engine::{Action, AddTorrent, Config};

/// What hangs ends after this.
const PATIENCE: Duration = Duration::from_secs(300);

struct Quiet;

impl Observer for Quiet {
    fn action(&mut self, _plane: &mut Plane, _action: Action) {}
}

fn plane() -> (Plane, Handle) {
    plane_at("127.0.0.1:0", None)
}

fn plane_at(listen: &str, dht: Option<DhtConfig>) -> (Plane, Handle) {
    let config = ReactorConfig {
        dht,
        engine: Config::new(PeerId::new(PeerId::PREFIX, [1; 12])),
        disk: DiskConfig::default(),
        listen: vec![listen.parse().unwrap()],
        port: 0,
    };
    Plane::new(config, [7; 32]).unwrap()
}

/// Loopback is all of 127/8 with Linux only, and other systems do not tell.
#[cfg(target_os = "linux")]
#[test]
fn a_node_of_every_address_answers_from_the_one_that_was_asked() {
    let (plane, handle) = plane_at("0.0.0.0:0", Some(DhtConfig::default()));
    let port = plane.listening_udp()[0].unwrap().port();
    let thread = std::thread::spawn(move || plane.run(&mut Quiet));
    for asked in ["127.0.0.2", "127.0.0.1"] {
        let asked = SocketAddr::new(asked.parse().unwrap(), port);
        let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
        asker.set_read_timeout(Some(PATIENCE)).unwrap();
        asker.send_to(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", asked).unwrap();
        // The answer, and a ping that looks whether the asker is there.
        for _ in 0..2 {
            let (_, from) = asker.recv_from(&mut [0; 1500]).unwrap();
            assert_eq!(from, asked);
        }
    }
    handle.run(Plane::stop).unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn the_loop_ends_when_nobody_can_reach_it() {
    let (plane, handle) = plane();
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(plane.run(&mut Quiet).is_ok()));
    drop(handle.clone());
    handle.ask(|_| ()).expect("one handle is left");
    drop(handle);
    assert_eq!(end.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_seen() {
    let len = 64 * 1024;
    let mut feed = Builder::single("a", len).piece_length(16 * 1024).prepare().unwrap().feed();
    feed.update(&vec![0; len as usize]);
    let torrent = Arc::new(metainfo::Torrent::parse(&feed.finish().unwrap()).unwrap());
    let (mut plane, handle) = plane();
    let store =
        plane.disk().attach(Arc::new(MemoryStorage::new(torrent.geometry().clone())), torrent.clone());
    let have = Bitfield::new(torrent.geometry().piece_count());
    let now = plane.now();
    let (id, meta) = (torrent.id(), torrent);
    plane.engine().add_torrent(now, AddTorrent::new(meta, store, have)).unwrap();
    // Handshake and end are there before the loop looks for the first time.
    let mut client = TcpStream::connect(plane.listening()[0]).unwrap();
    let hello = Handshake {
        reserved: Reserved::NONE,
        info_hash: id.0,
        peer_id: PeerId::new(PeerId::PREFIX, [2; 12]),
    };
    client.write_all(&hello.encode()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let thread = std::thread::spawn(move || plane.run(&mut Quiet));
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let end = client.read_to_end(&mut answer);
    handle.run(Plane::stop).unwrap();
    thread.join().unwrap().unwrap();
    assert!(end.is_ok(), "{end:?} after {} bytes", answer.len());
    assert!(answer.len() >= Handshake::LEN);
}
