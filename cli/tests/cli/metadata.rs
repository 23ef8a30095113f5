//! A peer that is written here: what the program says to it, and what it says of metadata that do not come.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;

use crate::env::{Env, LIMIT, Running, listening};

const LOCAL: [&str; 7] = ["--json", "--listen", "127.0.0.1", "--port", "0", "--no-dht", "--no-lsd"];

fn words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &LOCAL].concat()
}

/// A torrent whose info dictionary has two pieces: its link, and its seed.
fn seeded(env: &Env) -> (Running, String, SocketAddr) {
    env.content("big.bin", 14 << 20);
    env.ok(&["create", "big.bin", "--piece-size", "16K"]);
    let mut seed = env.start(&words(&["seed", "big.bin.torrent", "-d", "."]));
    let at = listening(&seed.until("started"));
    let link = env.ok(&["magnet", "big.bin.torrent"]).trim().to_owned();
    (seed, link, at)
}

/// The info dictionary in a torrent file, which comes last in it.
fn info(env: &Env) -> Vec<u8> {
    let file = env.read("big.bin.torrent");
    let start = file.windows(6).position(|bytes| bytes == b"4:info").unwrap() + 6;
    file[start..file.len() - 1].to_vec()
}

/// A connection that speaks the extension protocol.
struct Line(TcpStream);

impl Line {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    fn greet(&mut self, info_hash: &[u8]) {
        let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0".to_vec();
        hello.extend_from_slice(info_hash);
        hello.extend_from_slice(b"-XX0000-abcdefghijkl");
        self.0.write_all(&hello).unwrap();
    }

    /// The info-hash that the other side names.
    fn heard(&mut self) -> [u8; 20] {
        let mut hello = [0; 68];
        self.0.read_exact(&mut hello).unwrap();
        hello[28..48].try_into().unwrap()
    }

    fn say(&mut self, id: u8, payload: &[u8]) {
        let mut message = (payload.len() as u32 + 2).to_be_bytes().to_vec();
        message.extend([20, id]);
        message.extend_from_slice(payload);
        self.0.write_all(&message).unwrap();
    }

    /// The next extension message; `None` when the other side is gone.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut len = [0; 4];
            self.0.read_exact(&mut len).ok()?;
            let mut message = vec![0; u32::from_be_bytes(len) as usize];
            self.0.read_exact(&mut message).ok()?;
            if let [20, id, payload @ ..] = &message[..] {
                return Some((*id, payload.to_vec()));
            }
        }
    }
}

/// A peer that gives one piece of the metadata to each that asks, and no other one. Where it listens.
fn stingy(info: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut line, info) = (Line::new(stream.unwrap()), info.clone());
            std::thread::spawn(move || {
                let hash = line.heard();
                line.greet(&hash);
                line.say(0, format!("d1:md11:ut_metadatai7ee13:metadata_sizei{}ee", info.len()).as_bytes());
                let (mut theirs, mut is_given) = (0, false);
                while let Some((id, payload)) = line.next() {
                    let text = String::from_utf8_lossy(&payload);
                    let number = |key: &str| -> Option<usize> {
                        text.split_once(key)?.1.split_once('e')?.0.parse().ok()
                    };
                    if id == 0 {
                        theirs = number("ut_metadatai").unwrap() as u8;
                    } else if let (7, Some(piece), false) = (id, number("5:piecei"), is_given) {
                        is_given = true;
                        let end = (piece + 1) * 16_384;
                        let data = &info[piece * 16_384..end.min(info.len())];
                        let head = format!("d8:msg_typei1e5:piecei{piece}e10:total_sizei{}ee", info.len());
                        line.say(theirs, &[head.as_bytes(), data].concat());
                    }
                }
            });
        }
    });
    at
}

#[test]
fn a_fetch_of_metadata_that_is_killed_is_gone_on_with_by_the_same_command() {
    let env = Env::new();
    let (_seed, link, seed) = seeded(&env);
    let stingy = stingy(info(&env));
    let slow = format!("{link}&x.pe={stingy}");
    let state = ["-o", "out", "--state", "state"];
    let of = |link: &str| env.start(&[&["download", link][..], &state, &LOCAL].concat());
    for _ in 0..2 {
        let mut killed = of(&slow);
        let waiting = killed.until_one("a piece of two", |event| event["waiting"]["metadata_have"] == 1);
        let expected = serde_json::json!({"metadata_have": 1, "metadata_pieces": 2, "metadata_peers": 1});
        assert_eq!(waiting["waiting"], expected);
        assert_eq!((&waiting["sources"]["user"], &waiting["peers"]), (&1.into(), &1.into()));
        killed.signal(Signal::KILL);
        assert_eq!(killed.end(), None);
        assert!(!env.path("out").exists(), "nothing is known to be put there");
    }
    let mut whole = of(&format!("{slow}&x.pe={seed}"));
    assert_eq!(whole.until("metadata")["name"], "big.bin");
    assert_eq!(whole.until("complete")["done"], 14 << 20);
    assert_eq!(whole.end(), Some(0));
    assert!(env.read("big.bin") == env.read("out/big.bin"));
}

#[test]
fn peers_are_asked_for_their_peers_unless_that_is_switched_off() {
    let env = Env::new();
    env.content("one.bin", 1000);
    let made = env.json(&["create", "one.bin", "--json"]);
    let hash = made["info_hash"].as_str().unwrap();
    let hash: Vec<u8> =
        (0..20).map(|at| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).unwrap()).collect();
    for (more, expected) in [(&[][..], true), (&["--no-pex"], false)] {
        let mut seed = env.start(&[&words(&["seed", "one.bin.torrent", "-d", "."])[..], more].concat());
        let at = listening(&seed.until("started"));
        let mut line = Line::new(TcpStream::connect(at).unwrap());
        line.greet(&hash);
        assert_eq!(line.heard(), hash[..]);
        let (id, said) = line.next().unwrap();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!((id, said.contains("ut_pex")), (0, expected), "{more:?}: {said}");
        assert!(said.contains("ut_metadata"), "{said}");
    }
}

#[test]
fn a_peer_of_a_link_may_be_an_ipv6_address() {
    let env = Env::new();
    env.content("one.bin", 100_000);
    env.ok(&["create", "one.bin"]);
    let ipv6 = ["--json", "--listen", "::1", "--port", "0", "--no-dht", "--no-lsd"];
    let mut seed = env.start(&[&["seed", "one.bin.torrent", "-d", "."][..], &ipv6].concat());
    let at = listening(&seed.until("started"));
    assert!(at.is_ipv6());
    let link = format!("{}&x.pe={at}", env.ok(&["magnet", "one.bin.torrent"]).trim());
    let mut leech = env.start(&[&["download", &link, "-o", "out"][..], &ipv6].concat());
    assert_eq!(leech.until("complete")["downloaded"], 100_000);
    assert_eq!(leech.end(), Some(0));
    assert!(env.read("one.bin") == env.read("out/one.bin"));
}
