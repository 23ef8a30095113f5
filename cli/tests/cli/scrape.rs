use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::env::Env;

/// A tracker that answers one question about any torrent, and says what it was asked for.
fn tracker(env: &Env, name: &str) -> (String, thread::JoinHandle<String>) {
    env.content(name, 50_000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 2048];
        let len = stream.read(&mut head).unwrap();
        let asked = String::from_utf8_lossy(&head[..len]).lines().next().unwrap_or_default().to_owned();
        let counts = "d8:completei3e10:downloadedi7e10:incompletei1ee";
        let hash = [0xab; 20];
        let mut body = b"d5:filesd20:".to_vec();
        body.extend_from_slice(&hash);
        body.extend_from_slice(format!("{counts}ee").as_bytes());
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
        stream.write_all(&body).unwrap();
        asked
    });
    (url, served)
}

#[test]
fn trackers_tell_their_counts() {
    let env = Env::new();
    let (url, served) = tracker(&env, "one.bin");
    let magnet = format!("magnet:?xt=urn:btih:{}&tr={url}", "ab".repeat(20));
    let answer = env.json(&["scrape", &magnet, "--listen", "127.0.0.1", "--json"]);
    assert_eq!(
        (&answer["seeders"], &answer["leechers"], &answer["downloaded"]),
        (&3.into(), &1.into(), &7.into())
    );
    assert_eq!(answer["tracker"], url);
    assert!(served.join().unwrap().starts_with("GET /scrape?info_hash=%AB"));
    let (url, served) = tracker(&env, "one.bin");
    let out = env.ok(&["scrape", &"ab".repeat(20), "-t", &url, "--listen", "127.0.0.1"]);
    assert_eq!(out, format!("{url}: 3 seeds, 1 other peer, 7 downloads\n"));
    served.join().unwrap();
}

#[test]
fn who_cannot_be_asked_is_named() {
    let env = Env::new();
    let hash = "ab".repeat(20);
    env.fails(2, &["scrape", &hash], "names no tracker");
    env.fails(
        4,
        &["scrape", &hash, "-t", "http://127.0.0.1:9/x", "--listen", "127.0.0.1"],
        "no tracker answered",
    );
    let ran = env.run(&["scrape", &hash, "-t", "http://127.0.0.1:9/x", "--listen", "127.0.0.1"]);
    assert!(ran.err.contains("no scrape address"), "{}", ran.err);
}
