use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::env::{Env, LIMIT, Running, listening};

/// Seeds a file on a loopback address of its own; its node is at the same port.
fn seed(env: &Env, name: &str, ip: &str, more: &[&str]) -> (Running, String, String) {
    let words = ["seed", name, "--json", "--listen", ip, "--port", "0"];
    let mut seed = env.start(&[&words, more].concat());
    let started = seed.until("started");
    (seed, started["info_hash"].as_str().unwrap().to_owned(), listening(&started).to_string())
}

/// Asks until the answer fits: nodes need a moment to know each other.
fn until(env: &Env, words: &[&str], fits: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + LIMIT;
    loop {
        let ran = env.run(words);
        let answer: Value = serde_json::from_str(&ran.out).unwrap_or_default();
        if fits(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{words:?}: {} {}", ran.out, ran.err);
    }
}

#[test]
fn peers_are_announced_found_and_counted_and_a_download_needs_no_tracker() {
    let env = Env::new();
    env.content("one.bin", 100_000);
    env.content("two.bin", 200_000);
    let (_first, _, node) = seed(&env, "one.bin", "127.0.78.1", &["--bootstrap", "127.0.78.1:1"]);
    let (_second, hash, at) = seed(&env, "two.bin", "127.0.78.2", &["--bootstrap", &node]);
    let asked = ["--bootstrap", &node, "--listen", "127.0.78.3", "--json"];
    let words = [&["dht", "get-peers", &hash][..], &asked].concat();
    let answer = until(&env, &words, |answer| answer["peers"][0] == at.as_str());
    assert!(answer["nodes"].as_u64().unwrap() >= 1, "{answer}");
    let text = env.ok(&["dht", "get-peers", &hash, "--bootstrap", &node, "--listen", "127.0.78.3"]);
    assert_eq!(text, format!("{at}\n"));

    let announce = env.json(&[&["dht", "announce", &hash, "4711"][..], &asked].concat());
    assert!(announce["stored"].as_u64().unwrap() >= 1, "{announce}");
    let words = [&["dht", "get-peers", &hash][..], &asked].concat();
    let answer = env.json(&words);
    let peers = answer["peers"].as_array().unwrap();
    assert!(peers.contains(&"127.0.78.3:4711".into()) && peers.contains(&at.into()), "{answer}");
    let counts = env.json(&[&["dht", "scrape", &hash][..], &asked].concat());
    assert_eq!(counts["seeds"].as_u64().unwrap() + counts["peers"].as_u64().unwrap(), 2, "{counts}");
    // Another torrent, of which one is complete and nobody else is there.
    let other = "17".repeat(20);
    let announce = env.json(&[&["dht", "announce", &other, "4712", "--complete"][..], &asked].concat());
    assert_eq!(announce["complete"], true, "{announce}");
    let counts = env.json(&[&["dht", "scrape", &other][..], &asked].concat());
    assert_eq!((&counts["seeds"], &counts["peers"]), (&1.into(), &0.into()), "{counts}");

    env.ok(&["create", "two.bin", "-o", "two.torrent"]);
    let words =
        ["download", "two.torrent", "-o", "out", "--listen", "127.0.78.4", "-q", "--bootstrap", &node];
    env.ok(&words);
    assert_eq!(env.read("out/two.bin"), env.read("two.bin"));
}

#[test]
fn items_are_put_and_got() {
    let env = Env::new();
    env.content("one.bin", 100_000);
    let (_first, _, node) = seed(&env, "one.bin", "127.0.79.1", &["--bootstrap", "127.0.79.1:1"]);
    let asked = ["--bootstrap", &node, "--listen", "127.0.79.2"];
    let ask = |words: &[&str]| env.ok(&[words, &asked].concat());
    let target = ask(&["dht", "put", "hello there"]);
    assert_eq!(ask(&["dht", "get", target.trim()]), "hello there\n");
    let item: Value = serde_json::from_str(&ask(&["dht", "get", target.trim(), "--json"])).unwrap();
    assert_eq!((&item["text"], &item["target"]), (&"hello there".into(), &target.trim().into()));
    let put = |value: &str| ask(&["dht", "put", value, "--secret", "news.key", "--salt", "a"]);
    let first = put("one");
    let key = first.split_whitespace().next().unwrap();
    put("two");
    assert_eq!(ask(&["dht", "get", "--key", key, "--salt", "a"]), "two\n");
    let fails = |code, words: &[&str], says: &str| env.fails(code, &[words, &asked].concat(), says);
    fails(
        1,
        &["dht", "put", "x", "--secret", "news.key", "--salt", "a", "--cas", "99"],
        "is stored, not the one",
    );
    // With --json there is an object in every case.
    let conflict = ["dht", "put", "x", "--secret", "news.key", "--salt", "a", "--cas", "99", "--json"];
    let ran = env.run(&[&conflict[..], &asked].concat());
    let told: Value = serde_json::from_str(&ran.out).unwrap_or_default();
    assert_eq!(
        (ran.code, &told["conflict"], &told["stored"]),
        (Some(1), &2.into(), &0.into()),
        "{}",
        ran.out
    );
    // Read from standard input, and bencoded by somebody else.
    let piped = |words: &[&str], input: &str| {
        let mut put = env.command(&[words, &asked].concat());
        let mut put = put.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        put.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let put = put.wait_with_output().unwrap();
        assert!(put.status.success(), "{words:?}");
        String::from_utf8(put.stdout).unwrap()
    };
    let target = piped(&["dht", "put", "-"], "from a pipe");
    assert_eq!(ask(&["dht", "get", target.trim()]), "from a pipe\n");
    let target = piped(&["dht", "put", "-", "--bencoded"], "li1e4:spame");
    let item: Value = serde_json::from_str(&ask(&["dht", "get", target.trim(), "--json"])).unwrap();
    assert_eq!(item["bencoded"], "6c693165343a7370616d65");
    fails(1, &["dht", "get", &"00".repeat(20)], "no node has an item");
    fails(1, &["dht", "get-peers", &"00".repeat(20)], "knew no peer");
    fails(1, &["dht", "scrape", &"00".repeat(20)], "knows of peers");
    fails(2, &["dht", "put", "i05e", "--bencoded"], "canonical");
    fails(2, &["dht", "put", &"x".repeat(1000)], "1000");
}

#[test]
fn what_cannot_be_stored_or_asked_for_is_refused_before_anybody_is_waited_for() {
    let env = Env::new();
    // Nobody answers here: whoever waits for that ends by its time, with another exit status.
    let silent = ["--listen", "127.0.79.3", "--bootstrap", "127.0.79.9:9", "--timeout", "1s"];
    let fails = |code, words: &[&str], says: &str| env.fails(code, &[words, &silent].concat(), says);
    fails(2, &["dht", "put", "i05e", "--bencoded"], "canonical");
    fails(2, &["dht", "put", &"x".repeat(1000)], "1000");
    fails(2, &["dht", "put", "x", "--secret", "new.key", "--salt", &"s".repeat(65)], "64 is the most");
    assert!(!env.path("new.key").exists(), "no key is made for what is refused");
    fails(3, &["dht", "put", "x", "--secret", "no/such/folder.key"], "no/such/folder.key");
    fails(2, &["dht", "get", &"00".repeat(20), "--salt", "s"], "cannot be used with");
}

#[test]
fn a_node_is_pinged() {
    let env = Env::new();
    env.content("one.bin", 100_000);
    let (_first, _, node) = seed(&env, "one.bin", "127.0.80.1", &["--bootstrap", "127.0.80.1:1"]);
    let pong = env.json(&["dht", "ping", &node, "--listen", "127.0.80.2", "--json", "--bootstrap", &node]);
    assert_eq!((&pong["node"], pong["id"].as_str().unwrap().len()), (&node.as_str().into(), 40));
    let silent = ["dht", "ping", "127.0.80.9:9", "--listen", "127.0.80.2", "--bootstrap", "127.0.80.9:9"];
    Env::new().fails(4, &silent, "no answer");
    let ran = Env::new().run(&["dht", "ping", "nosuch.invalid:1", "--json", "--listen", "127.0.80.2"]);
    let told: Value = serde_json::from_str(&ran.out).unwrap_or_default();
    assert_eq!((ran.code, &told["node"]), (Some(4), &"nosuch.invalid:1".into()), "{}", ran.out);
}

#[test]
fn silence_is_told() {
    let (hash, key) = ("22".repeat(20), "11".repeat(32));
    let silent = ["--listen", "127.0.80.3", "--bootstrap", "127.0.80.9:9"];
    let commands: [&[&str]; 6] = [
        &["get-peers", &hash],
        &["announce", &hash, "4711"],
        &["scrape", &hash],
        &["get", &hash],
        &["get", "--key", &key],
        &["put", "hello"],
    ];
    // Hears what is asked, and says nothing.
    let listener = UdpSocket::bind("127.0.80.4:0").unwrap();
    let listening = listener.local_addr().unwrap().to_string();
    // Together: each of them waits ten seconds for nodes.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let words = ["dht", "get-peers", &hash, "--listen", "127.0.80.2", "--bootstrap", &listening];
            Env::new().fails(4, &words, "no node of the DHT answered");
        });
        for words in commands {
            let words = [&["dht"], words, &silent, &["--json"]].concat();
            scope.spawn(move || {
                let env = Env::new();
                let ran = env.run(&words);
                assert_eq!(ran.code, Some(4), "{words:?}: {}", ran.err);
                assert!(
                    ran.err.contains("no node of the DHT answered, 127.0.80.9:9 included"),
                    "{}",
                    ran.err
                );
                assert!(ran.err.contains("firewall"), "{}", ran.err);
                let object: Value = serde_json::from_str(&ran.out).unwrap_or_default();
                assert!(object.is_object(), "{words:?}: {}", ran.out);
            });
        }
        for (words, says) in [
            (["dht", "get-peers", &hash], "the time was over before"),
            (["dht", "scrape", &hash], "the time was over before the DHT answered"),
        ] {
            let words = [&words[..], &silent, &["--timeout", "1s"]].concat();
            scope.spawn(move || Env::new().fails(7, &words, says));
        }
        scope.spawn(|| {
            let words = ["dht", "get-peers", &hash, "--listen", "127.0.80.3"];
            Env::new().fails(4, &words, "--bootstrap HOST:PORT");
        });
    });
    Env::new().fails(2, &["dht", "get-peers", "xyz"], "expected 40 or 64");
    // Every question says that nobody answers here (BEP 43).
    listener.set_nonblocking(true).unwrap();
    let mut packet = [0; 2048];
    let mut questions = 0;
    while let Ok((len, _)) = listener.recv_from(&mut packet) {
        let asked = String::from_utf8_lossy(&packet[..len]).into_owned();
        assert!(asked.contains("2:roi1e"), "{asked}");
        questions += 1;
    }
    assert!(questions > 0);
}

#[test]
fn no_dht_means_none() {
    let env = Env::new();
    env.content("one.bin", 100_000);
    let (_first, _, node) = seed(&env, "one.bin", "127.0.81.1", &["--no-dht"]);
    let words = ["dht", "ping", &node, "--listen", "127.0.81.2", "--bootstrap", &node];
    env.fails(4, &words, "no answer");
}
