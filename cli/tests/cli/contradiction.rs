//! A hybrid torrent whose v1 side and v2 side are of different bytes.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::env::Env;

const PIECE: usize = 64 << 10;

/// A peer that has all of `bytes` and gives what it is asked for.
fn peer(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever has what it wants goes.
            _ = stream.and_then(|stream| serve(stream, &bytes));
        }
    });
    addr
}

fn serve(mut stream: TcpStream, bytes: &[u8]) -> Result<()> {
    let mut hello = [0; 68];
    stream.read_exact(&mut hello)?;
    // No extensions, and another peer.
    hello[20..28].fill(0);
    hello[67] ^= 1;
    stream.write_all(&hello)?;
    let pieces = bytes.len().div_ceil(PIECE);
    let bits: Vec<u8> =
        (0..pieces.div_ceil(8)).map(|at| !(0xff_u32 >> (pieces - at * 8).min(8)) as u8).collect();
    say(&mut stream, 5, &bits)?;
    say(&mut stream, 1, &[])?;
    loop {
        let mut len = [0; 4];
        stream.read_exact(&mut len)?;
        let mut message = vec![0; u32::from_be_bytes(len) as usize];
        stream.read_exact(&mut message)?;
        if message.first() == Some(&6) {
            let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap()) as usize;
            let start = number(1) * PIECE + number(5);
            say(&mut stream, 7, &[&message[1..9], &bytes[start..start + number(9)]].concat())?;
        }
    }
}

fn say(stream: &mut TcpStream, id: u8, payload: &[u8]) -> Result<()> {
    let len = 1 + payload.len() as u32;
    stream.write_all(&[&len.to_be_bytes()[..], &[id], payload].concat())
}

#[test]
fn it_is_given_up_with_the_piece_named_and_its_peer_is_not_to_blame() {
    let env = Env::new();
    env.content("one.bin", 8 * PIECE);
    env.ok(&["create", "one.bin", "--hybrid", "--piece-size", "64K"]);
    let mut file = env.read("one.bin.torrent");
    let key = b"6:pieces160:";
    let hashes = file.windows(key.len()).position(|found| found == key).unwrap() + key.len();
    file[hashes + 3 * 20] ^= 1;
    env.write("one.bin.torrent", &file);
    let peer = peer(env.read("one.bin")).to_string();
    let words =
        ["download", "one.bin.torrent", "-o", "out", "--peer", &peer, "--listen", "127.0.0.1", "--port", "0"];
    let ran = env.run(&words);
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    assert!(ran.err.contains("what it is by v1 and what it is by v2 differ in piece 3"), "{}", ran.err);
    assert!(!ran.err.contains("wrong data"), "{}", ran.err);
}
