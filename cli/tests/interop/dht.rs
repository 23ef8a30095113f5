//! Nodes of three programs in one DHT, each on an address of its own: what one announces or stores, the others find.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tempfile::TempDir;

use crate::clients::{PROGRAM, python};
use crate::process::{JsonProcess, Process, command, find};
use crate::{network, present};

/// How long anything may take to be found. libtorrent refreshes what it knows of small networks slowly.
const LIMIT: Duration = Duration::from_secs(270);
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
/// What each program announces and stores.
const WORDS: [&str; 3] = ["unchoke", "libtorrent", "bittorrent-dht"];

#[test]
fn nodes_of_three_programs_find_what_each_announced_and_stored() -> Result<()> {
    let libtorrent = crate::installed(&crate::Libtorrent);
    let node = present("bittorrent-dht", modules().is_some());
    if !libtorrent && !node {
        return Ok(());
    }
    let dir = TempDir::new()?;
    let ours = ours(dir.path())?;
    let bootstrap = format!("127.0.61.1:{}", ours.port);
    let mut others = Vec::new();
    for (present, word) in [(libtorrent, WORDS[1]), (node, WORDS[2])] {
        if present {
            others.push((word, other(word, &bootstrap, &ours.hash, libtorrent, node, dir.path())?));
        }
    }
    // One after the other: what is to be found was announced by then, or soon will be.
    put(&bootstrap, WORDS[0], dir.path())?;
    for (word, process) in &mut others {
        let wanted = wanted(word, &ours, libtorrent, node);
        wait(word, process, wanted)?;
        eventually(|| found(&bootstrap, &hash_of(word), dir.path(), &format!(":{}", port_of(word))))
            .with_context(|| format!("looking for what {word} announced"))?;
        eventually(|| item(&bootstrap, word, dir.path()))
            .with_context(|| format!("reading what {word} stored"))?;
    }
    Ok(())
}

#[test]
fn a_node_of_every_address_answers_from_the_one_that_was_asked() -> Result<()> {
    network::inside("interop::dht::a_node_of_every_address_answers_from_the_one_that_was_asked", || {
        for host in ["fd00:77::1", "fd00:77::2", "fd00:77::3"] {
            let status = command(Path::new("ip")).args(["addr", "add", host, "dev", "lo"]).status()?;
            ensure!(status.success(), "{host}: {status}");
        }
        let cases = [
            ("0.0.0.0", "10.77.3.1", ["10.77.1.1", "10.77.2.1", "10.77.3.1"]),
            ("::", "fd00:77::3", ["fd00:77::1", "fd00:77::2", "fd00:77::3"]),
        ];
        for (listen, asker, hosts) in cases {
            let dir = TempDir::new()?;
            let (_process, started) = seed(dir.path(), "all", listen, "127.0.0.1:1")?;
            let listening: SocketAddr = started["listen"][0].as_str().context("an address")?.parse()?;
            for host in hosts {
                // Whose ping after the answer may come late has a socket of its own.
                let socket = UdpSocket::bind((asker.parse::<IpAddr>()?, 0))?;
                socket.set_read_timeout(Some(LIMIT))?;
                let asked = SocketAddr::new(host.parse()?, listening.port());
                socket.send_to(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", asked)?;
                let (_, from) = socket.recv_from(&mut [0; 1500])?;
                ensure!(from == asked, "{listen}: {asked} was asked, {from} answers");
            }
        }
        Ok(())
    })
}

/// Our nodes: the first is the one to begin with, the second seeds.
struct Ours {
    port: u16,
    hash: String,
    seed: String,
    _processes: [JsonProcess; 2],
}

fn ours(dir: &Path) -> Result<Ours> {
    let first = seed(dir, "first", "127.0.61.1", "127.0.61.1:1")?;
    let bootstrap = first.1["listen"][0].as_str().context("an address")?.to_owned();
    let second = seed(dir, "second", "127.0.61.2", &bootstrap)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    Ok(Ours {
        port: bootstrap.rsplit(':').next().context("a port")?.parse()?,
        hash: text(&second.1["info_hash"])?,
        seed: text(&second.1["listen"][0])?,
        _processes: [first.0, second.0],
    })
}

fn seed(dir: &Path, name: &'static str, host: &str, bootstrap: &str) -> Result<(JsonProcess, Value)> {
    let file = dir.join(format!("{name}.bin"));
    std::fs::write(&file, name.repeat(10_000))?;
    let mut seed = unchoke(dir);
    seed.arg("seed").arg(file).args(["--json", "--port", "0", "--listen", host, "--bootstrap", bootstrap]);
    let mut process = Process::start_json(name, seed, dir)?;
    loop {
        let line = process.next(LIMIT)?.context("it does not start")?;
        if line["event"] == "started" {
            return Ok((process, line));
        }
    }
}

/// Nodes of another program, which announce and store their own word and look for those of the others.
fn other(
    word: &'static str,
    bootstrap: &str,
    ours: &str,
    libtorrent: bool,
    node: bool,
    dir: &Path,
) -> Result<JsonProcess> {
    let (net, mut command) = if word == WORDS[1] {
        let mut command = command(&python().context("no Python")?);
        command.arg(format!("{SCRIPTS}/dht_libtorrent.py"));
        (62, command)
    } else {
        let mut command = command(&find("node").context("no node")?);
        let script = std::fs::read_to_string(format!("{SCRIPTS}/dht_node.mjs"))?;
        command.current_dir(modules().context("no modules")?);
        command.args(["--input-type=module", "-e", &script, "--"]);
        (63, command)
    };
    let listen: Vec<String> = (1..=3).map(|host| format!("127.0.{net}.{host}:7{net}{host}")).collect();
    let others: Vec<&str> =
        WORDS.into_iter().filter(|w| *w != word && present_word(w, libtorrent, node)).collect();
    let hashes = others.iter().map(|w| if *w == WORDS[0] { ours.to_owned() } else { hash_of(w) });
    let options = json!({
        "listen": listen,
        "bootstrap": [bootstrap],
        "announce": [[hash_of(word), port_of(word)]],
        "put": [word],
        "find": hashes.collect::<Vec<_>>(),
        "get": others.iter().map(|w| target_of(w)).collect::<Vec<_>>(),
    });
    command.arg(options.to_string());
    Process::start_json(word, command, dir)
}

/// What a program has to say that it found.
fn wanted(word: &str, ours: &Ours, libtorrent: bool, node: bool) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    for other in WORDS.into_iter().filter(|w| *w != word && present_word(w, libtorrent, node)) {
        wanted.insert(format!("item {} {other}", target_of(other)));
        wanted.insert(match other {
            "unchoke" => format!("peer {} {}", ours.hash, ours.seed.rsplit(':').next().unwrap_or_default()),
            other => format!("peer {} {}", hash_of(other), port_of(other)),
        });
    }
    wanted
}

fn present_word(word: &str, libtorrent: bool, node: bool) -> bool {
    word == WORDS[0] || word == WORDS[1] && libtorrent || word == WORDS[2] && node
}

fn wait(word: &str, process: &mut JsonProcess, mut wanted: BTreeSet<String>) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while !wanted.is_empty() {
        if Instant::now() > end {
            bail!("{word} did not find {wanted:?}: {}", process.process.log_tail());
        }
        let Some(line) = process.next(Duration::from_millis(100))? else { continue };
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let said = match text("event").as_str() {
            "item" => format!("item {} {}", text("target"), text("value")),
            "peer" => {
                format!("peer {} {}", text("hash"), text("addr").rsplit(':').next().unwrap_or_default())
            }
            _ => continue,
        };
        wanted.remove(&said);
    }
    Ok(())
}

/// Whether we find a peer of a torrent.
fn found(bootstrap: &str, hash: &str, dir: &Path, end: &str) -> Result<Option<()>> {
    let output = ask(bootstrap, &["get-peers", hash], dir)?;
    Ok(output.lines().any(|line| line.ends_with(end)).then_some(()))
}

/// Whether we read an item.
fn item(bootstrap: &str, word: &str, dir: &Path) -> Result<Option<()>> {
    let output = ask(bootstrap, &["get", &target_of(word)], dir)?;
    Ok((output.trim_end() == word).then_some(()))
}

fn put(bootstrap: &str, word: &str, dir: &Path) -> Result<()> {
    let stored = || Ok((ask(bootstrap, &["put", word], dir)?.trim() == target_of(word)).then_some(()));
    eventually(stored).context("storing an item")
}

fn ask(bootstrap: &str, words: &[&str], dir: &Path) -> Result<String> {
    let mut command = unchoke(dir);
    command.arg("dht").args(words).args(["--listen", "127.0.61.9", "--bootstrap", bootstrap]);
    Ok(String::from_utf8(command.output()?.stdout)?)
}

fn eventually(mut test: impl FnMut() -> Result<Option<()>>) -> Result<()> {
    crate::process::wait_for("the DHT", LIMIT, &mut test)
}

fn unchoke(dir: &Path) -> std::process::Command {
    let mut command = command(Path::new(PROGRAM));
    // The settings of whoever runs the tests do not count here.
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HOME"] {
        command.env(name, dir);
    }
    command
}

/// An info-hash for a word.
fn hash_of(word: &str) -> String {
    hex(format!("torrent of {word}").as_bytes())
}

/// Where a text is stored.
fn target_of(word: &str) -> String {
    hex(format!("{}:{word}", word.len()).as_bytes())
}

fn port_of(word: &str) -> u16 {
    if word == WORDS[1] { 4001 } else { 4002 }
}

fn hex(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The folder in which the npm package is installed: named by UNCHOKE_INTEROP_NODE, or made by `.ci/install`.
fn modules() -> Option<PathBuf> {
    find("node")?;
    let named = env::var_os("UNCHOKE_INTEROP_NODE").map(PathBuf::from);
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let folder = named.or_else(|| cache.map(|cache| cache.join("unchoke-interop/node")))?;
    folder.join("node_modules/bittorrent-dht").is_dir().then_some(folder)
}
