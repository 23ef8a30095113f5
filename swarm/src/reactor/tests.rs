//! The loop over real sockets on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use metainfo::Builder;
use storage::{DiskConfig, MemoryStorage};
use wire::peer::{Bitfield, Handshake, PeerId, Reserved};

use super::{Handle, Observer, Plane, ReactorConfig};
use crate::engine::{Action, AddTorrent, Config};

/// What hangs ends after this.
const PATIENCE: Duration = Duration::from_secs(300);

struct Quiet;

impl Observer for Quiet {
    fn action(&mut self, _plane: &mut Plane, _action: Action) {}
}

fn plane() -> (Plane, Handle) {
    let config = ReactorConfig {
        dht: None,
        engine: Config::new(PeerId::new(PeerId::PREFIX, [1; 12])),
        disk: DiskConfig::default(),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        port: 0,
    };
    Plane::new(config, [7; 32]).unwrap()
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
