//! The engine on tokio, against the seed of `loopback`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use metainfo::Torrent;
use unchoke_benches::counterpart::seed;
use unchoke_benches::payload::{NAME, Payload};
use unchoke_benches::tokio_driver::Driver;

#[test]
fn a_torrent_arrives_over_tokio() {
    let size = 12 * 1024 * 1024 + 5;
    let payload = Payload::new(size, 256 * 1024).unwrap();
    let (torrent, info_hash) = payload.torrent().unwrap();
    let torrent = Arc::new(Torrent::parse(&torrent).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (given, got) = (dir.path().join("given"), dir.path().join("got"));
    fs::create_dir(&given).unwrap();
    payload.write(&given).unwrap();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let driver = runtime.block_on(Driver::new(torrent, &got, listen)).unwrap();
    let to = driver.local_addr().unwrap();
    let seeding = thread::spawn(move || seed(to, info_hash, &payload, || Ok(())));
    runtime.block_on(driver.run());
    // Sockets close with their tasks.
    drop(runtime);
    seeding.join().unwrap().unwrap();
    assert!(fs::read(got.join(NAME)).unwrap() == fs::read(given.join(NAME)).unwrap());
}
