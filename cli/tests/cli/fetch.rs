//! Torrents by URL.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::env::Env;

/// Answers one request, and gives the URL to ask for.
fn serve(status: &'static str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.torrent", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 2048];
        let _ = stream.read(&mut request).unwrap();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    });
    url
}

#[test]
fn a_torrent_is_fetched() {
    let env = Env::new();
    env.content("one.bin", 1000);
    env.ok(&["create", "one.bin"]);
    let url = serve("200 OK", env.read("one.bin.torrent"));
    let out = env.ok(&["download", &url, "--listen", "127.0.0.1", "-q"]);
    assert!(out.starts_with("one.bin: complete"), "{out}");
}

#[test]
fn answers_that_are_no_torrent_are_failures() {
    let env = Env::new();
    env.fails(4, &["download", &serve("404 Not Found", Vec::new())], "HTTP status 404");
    env.fails(1, &["download", &serve("200 OK", b"<html>".to_vec())], "is not a torrent");
}
