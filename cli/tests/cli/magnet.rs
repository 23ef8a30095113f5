//! Magnet links and info-hashes on the command line.

use std::net::UdpSocket;

use rustix::process::Signal;
use serde_json::Value;

use crate::env::{Env, LIMIT, listening};

const LOCAL: [&str; 5] = ["--json", "--listen", "127.0.0.1", "--port", "0"];
const HASH: &str = "c0fda1edafdbdbb96443424e0b3899af7159d10e";

fn words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &LOCAL].concat()
}

/// An album that is seeded: its magnet link, which names the seed.
fn seeded(env: &Env) -> (crate::env::Running, String) {
    env.album();
    env.ok(&["create", "album"]);
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    let started = seed.until("started");
    let link = env.ok(&["magnet", "album.torrent"]);
    (seed, format!("{}&x.pe={}", link.trim(), listening(&started)))
}

#[test]
fn the_magnet_of_a_torrent_is_printed() {
    let env = Env::new();
    env.content("one.bin", 1000);
    env.ok(&["create", "one.bin", "-t", "http://t.example/a"]);
    let shown = env.json(&["show", "one.bin.torrent", "--json"]);
    let printed = env.ok(&["magnet", "one.bin.torrent"]);
    assert_eq!(printed.trim(), shown["magnet"]);
    assert_eq!(env.json(&["magnet", "one.bin.torrent", "--json"])["magnet"], shown["magnet"]);
    assert_eq!(env.ok(&["magnet", HASH]), format!("magnet:?xt=urn:btih:{HASH}\n"));
    env.fails(2, &["magnet", "--fetch", "one.bin.torrent"], "needs a magnet link");
    env.fails(3, &["magnet", "nothing.torrent"], "nothing.torrent");
}

#[test]
fn a_magnet_is_downloaded() {
    let env = Env::new();
    let (_seed, link) = seeded(&env);
    let mut leecher = env.start(&words(&["download", &link, "-o", "out"]));
    let started = leecher.until("started");
    assert_eq!((&started["name"], started["total"].is_null()), (&"album".into(), true));
    let metadata = leecher.until("metadata");
    assert_eq!((&metadata["name"], &metadata["total"]), (&"album".into(), &470_001.into()));
    assert_eq!(metadata["files"][1]["path"], "album/more/cover.jpg");
    assert_eq!(leecher.until("complete")["downloaded"], 470_001);
    assert_eq!(leecher.end(), Some(0));
    assert_eq!(env.read("album/one.flac"), env.read("out/album/one.flac"));
}

#[test]
fn only_chosen_files_of_a_magnet_are_fetched() {
    let env = Env::new();
    let (_seed, link) = seeded(&env);
    let listed = env.ok(&["download", &link, "--list", "--listen", "127.0.0.1", "--port", "0"]);
    assert!(listed.contains("    1    19.5 KiB  album/more/cover.jpg\n"), "{listed}");
    let hinted = format!("{link}&so=1");
    for (dir, words_of) in [
        ("a", vec!["download", &link, "-o", "a", "--select", "*.jpg"]),
        ("b", vec!["download", &hinted, "-o", "b"]),
    ] {
        let mut leecher = env.start(&words(&words_of));
        let complete = leecher.until("complete");
        assert!(complete["total"].as_u64().unwrap() < 100_000, "{complete}");
        assert_eq!(leecher.end(), Some(0));
        assert_eq!(env.read("album/more/cover.jpg"), env.read(&format!("{dir}/album/more/cover.jpg")));
    }
    let mut leecher = env.start(&words(&["download", &link, "-o", "c", "--select", "*.mp3"]));
    assert!(leecher.until("error")["message"].as_str().unwrap().contains("matches no"));
    assert_eq!(leecher.end(), Some(2));
    assert!(!env.path("c").exists());
}

#[test]
fn a_link_that_names_two_torrents_is_told_so() {
    let env = Env::new();
    let (_seed, link) = seeded(&env);
    let two = format!("{link}&xt=urn:btmh:1220{}", "ab".repeat(32));
    let local = ["--listen", "127.0.0.1", "--port", "0", "--timeout", "50s"];
    for words in [&["download", &two, "-o", "out"][..], &["magnet", "--fetch", &two, "-o", "got.torrent"]] {
        env.fails(1, &[words, &local].concat(), "two torrents");
    }
    assert!(!env.path("out").exists() && !env.path("got.torrent").exists());
}

#[test]
fn the_torrent_file_of_a_magnet_is_fetched() {
    let env = Env::new();
    let (_seed, link) = seeded(&env);
    let link = format!("{link}&tr=http%3A%2F%2F127.0.0.1%3A9%2Fannounce&ws=http%3A%2F%2Fw.example%2F");
    let local = ["--listen", "127.0.0.1", "--port", "0", "--timeout", "300s"];
    let fetch = |more: &[&'static str]| [&["magnet", "--fetch", &link][..], &local, more].concat();
    let written = env.json(&fetch(&["-o", "got.torrent", "--json"]));
    assert_eq!((&written["file"], &written["size"]), (&"got.torrent".into(), &470_001.into()));
    let [got, made] = ["got.torrent", "album.torrent"].map(|file| env.json(&["show", file, "--json"]));
    for key in ["info_hash", "files", "pieces", "name", "private"] {
        assert_eq!(got[key], made[key], "{key}");
    }
    assert_eq!(got["trackers"][0][0], "http://127.0.0.1:9/announce");
    assert_eq!(got["web_seeds"][0], "http://w.example/");
    env.fails(1, &fetch(&["-o", "got.torrent"]), "exists");
    env.ok(&fetch(&["-o", "got.torrent", "--force"]));
    let bytes = env.command(&fetch(&["-o", "-"])).output().unwrap().stdout;
    assert_eq!(bytes, env.read("got.torrent"));
    env.fails(2, &fetch(&["-o", "-", "--json"]), "standard output");
}

#[test]
fn a_magnet_without_peers_ends_when_its_time_is_over() {
    let env = Env::new();
    let alone = ["--listen", "127.0.0.1", "--port", "0", "--no-dht", "--no-lsd"];
    // What cannot be written is refused before anything is waited for, which would end with another status.
    std::fs::create_dir(env.path("folder")).unwrap();
    for (code, output, says) in
        [(3, "no/such/got.torrent", "cannot write no/such/got.torrent"), (1, "folder", "is a folder")]
    {
        let words = ["magnet", "--fetch", HASH, "--stop-after", "100ms", "--force", "-o", output];
        env.fails(code, &[&words[..], &alone].concat(), says);
    }
    let over = [&["magnet", "--fetch", HASH, "--stop-after", "100ms"][..], &alone].concat();
    env.fails(7, &over, "no peers yet");
    let mut leecher = env.start(&[&["download", HASH, "--json"][..], &alone].concat());
    let progress = leecher.until("progress");
    let waiting = &progress["waiting"];
    assert!(waiting["metadata_pieces"].is_null(), "{progress}");
    assert_eq!((&waiting["metadata_have"], &waiting["metadata_peers"]), (&0.into(), &0.into()), "{progress}");
    leecher.signal(Signal::TERM);
    let stopped = leecher.until("stopped");
    assert_eq!((&stopped["complete"], &stopped["total"]), (&false.into(), &0.into()));
    assert_eq!(leecher.end(), Some(7));
}

#[test]
fn programs_are_told_who_told_of_peers() {
    let env = Env::new();
    env.content("one.bin", 4 << 20);
    env.ok(&["create", "one.bin"]);
    let start = |more: &[&str]| env.start(&[more, &LOCAL, &["--no-dht", "--no-lsd"]].concat());
    let mut seed = start(&["seed", "one.bin.torrent", "-d", ".", "--up-limit", "100k"]);
    let at = listening(&seed.until("started")).to_string();
    let mut leecher = start(&["download", "one.bin.torrent", "-o", "out", "--peer", &at]);
    for (side, by) in [(&mut leecher, "user"), (&mut seed, "incoming")] {
        // How many there are and whence is asked one after the other.
        let progress = side.until_one(by, |event| event["sources"][by] == 1 && event["peers"] == 1);
        assert_eq!(progress["waiting"], Value::Null, "{progress}");
        for other in ["tracker", "dht", "pex", "lsd", "resume"] {
            assert_eq!(progress["sources"][other], 0, "{progress}");
        }
    }
}

#[test]
fn who_only_asks_what_a_link_names_is_no_node() {
    let env = Env::new();
    // Hears what is asked, and says nothing.
    let node = UdpSocket::bind("127.0.0.1:0").unwrap();
    node.set_read_timeout(Some(LIMIT)).unwrap();
    let at = node.local_addr().unwrap().to_string();
    let local = ["--bootstrap", &at, "--listen", "127.0.0.1", "--port", "0"];
    for (words, is_node) in [
        (&["magnet", "--fetch", HASH, "-o", "got.torrent"][..], false),
        (&["download", HASH, "--list"], false),
        (&["download", HASH, "-o", "out"], true),
    ] {
        let running = env.start(&[words, &local].concat());
        let mut packet = [0; 2048];
        let len = node.recv(&mut packet).unwrap();
        drop(running);
        let asked = String::from_utf8_lossy(&packet[..len]).into_owned();
        assert_eq!(asked.contains("2:roi1e"), !is_node, "{words:?}: {asked}");
        // What is left of this one is none of the next one's.
        node.set_nonblocking(true).unwrap();
        while node.recv(&mut packet).is_ok() {}
        node.set_nonblocking(false).unwrap();
    }
}

#[test]
fn a_hybrid_is_got_by_its_v2_hash_alone() {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album", "--hybrid"]);
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    let at = listening(&seed.until("started")).to_string();
    let made = env.json(&["show", "album.torrent", "--json"]);
    let v2 = made["info_hash_v2"].as_str().unwrap();
    for (dir, named) in [("a", v2.to_owned()), ("b", format!("magnet:?xt=urn:btmh:1220{v2}"))] {
        let mut leecher = env.start(&words(&["download", &named, "-o", dir, "--peer", &at]));
        leecher.until("complete");
        assert_eq!(leecher.end(), Some(0));
        for file in ["one.flac", "two.flac", "more/cover.jpg"] {
            assert_eq!(env.read(&format!("album/{file}")), env.read(&format!("{dir}/album/{file}")));
        }
    }
    let local = ["--peer", &at, "--listen", "127.0.0.1", "--port", "0", "--timeout", "50s"];
    env.ok(&[&["magnet", "--fetch", v2, "-o", "got.torrent"][..], &local].concat());
    let got = env.json(&["show", "got.torrent", "--json"]);
    for key in ["info_hash", "info_hash_v2", "files", "pieces"] {
        assert_eq!(got[key], made[key], "{key}");
    }
}
