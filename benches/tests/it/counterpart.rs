//! The two counterparts, each talking to the other through a relay, because both dial.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use unchoke_benches::counterpart::{LeechOptions, leech, seed};
use unchoke_benches::payload::Payload;

const HASH: [u8; 20] = [7; 20];

/// Joins the first connection to each of two addresses.
fn relay() -> (SocketAddr, SocketAddr) {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (left, right) = (listen(), listen());
    let addresses = (left.local_addr().unwrap(), right.local_addr().unwrap());
    thread::spawn(move || {
        let (left, right) = (left.accept().unwrap().0, right.accept().unwrap().0);
        let back = (right.try_clone().unwrap(), left.try_clone().unwrap());
        thread::spawn(move || pump(&back.0, &back.1));
        pump(&left, &right);
    });
    addresses
}

fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    // Either side hanging up ends both directions.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn the_leecher_takes_every_byte_from_the_seed() {
    // More than the noise holds before it repeats, with a short last piece and a short last block.
    let size = 12 * 1024 * 1024 + 5;
    let payload = Payload::new(size, 256 * 1024).unwrap();
    let (for_seed, for_leech) = relay();
    let mut asked = false;
    let mut unchoked = false;
    thread::scope(|scope| {
        let seeding = scope.spawn(|| {
            seed(for_seed, HASH, &payload, || {
                asked = true;
                Ok(())
            })
        });
        let options = LeechOptions { connections: 1, depth: 50 };
        let seconds = leech(for_leech, HASH, &payload, &options, || {
            unchoked = true;
            Ok(())
        });
        assert!(seconds.unwrap() > 0.0);
        seeding.join().unwrap().unwrap();
    });
    assert!(asked && unchoked);
}
