//! A seed, a victim, a taker, and files that are none of their business.

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metainfo::Torrent;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::judge::{Before, Kill, Snapshot, Tally, others, recorded};
use crate::power::Disk;
use crate::process::{LIMIT, Process};

/// Who takes from the victim.
pub(crate) enum Taker {
    Unchoke,
    Libtorrent(PathBuf),
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/libtorrent_taker.py");
/// Bytes of the files; pieces are of 256 KiB.
const FILES: [(&str, usize); 4] = [
    ("one.bin", 9_000_000),
    ("folder/two.bin", 14_000_001),
    ("folder/three.bin", 77),
    ("four.bin", 6_500_000),
];

impl Taker {
    /// A Python that has libtorrent.
    pub(crate) fn libtorrent() -> Option<Self> {
        let named = env::var_os("UNCHOKE_INTEROP_PYTHON").map(PathBuf::from);
        let python = named.unwrap_or_else(|| PathBuf::from("python3"));
        let has = Command::new(&python).args(["-c", "import libtorrent"]).output();
        has.is_ok_and(|output| output.status.success()).then_some(Self::Libtorrent(python))
    }
}

pub(crate) struct World {
    dir: TempDir,
    /// The victim's, if it is one of its own whose power is cut.
    disk: Option<Disk>,
    torrent: Arc<Torrent>,
    seed: SocketAddr,
    _seed: Process,
    taker: Process,
    taker_is_done: bool,
    at: SocketAddr,
    taker_at: SocketAddr,
    before: Option<Before>,
    others: Snapshot,
    victim_is_done: bool,
}

impl World {
    pub(crate) fn new(taker: &Taker, disk: Option<Disk>, seed: u64) -> Self {
        let dir = TempDir::new().expect("a folder");
        let root = dir.path();
        if let Some(disk) = &disk {
            disk.mount(root);
        }
        content(root, seed);
        let made = unchoke(root).args(["create", "data", "--piece-size", "256K"]).output().expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let bytes = fs::read(root.join("data.torrent")).expect("the torrent");
        let torrent = Arc::new(Torrent::parse(&bytes).expect("the torrent"));
        // Files that are nobody's, in the folders where the victim works.
        for folder in ["victim/data/folder", "victim/other", "taken"] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        for canary in
            ["victim/canary", "victim/data/canary", "victim/data/folder/canary", "victim/other/one.bin"]
        {
            fs::write(root.join(canary), canary).expect("a canary");
        }
        if let Some(disk) = &disk {
            disk.sync();
        }
        let mut seeding = unchoke(root);
        seeding.args(["seed", "data.torrent", "-d", ".", "--up-limit", "3M", "--no-resume"]).args(LOCAL);
        let mut seeding = Process::start(seeding, &root.join("log.seed"));
        let seed_at = listening(&seeding.until(|line| line["event"] == "started"));
        let [at, taker_at] = [free(), free()];
        let taker = Process::start(taker.command(root, at, taker_at), &root.join("log.taker"));
        let mut world = Self {
            disk,
            torrent,
            seed: seed_at,
            _seed: seeding,
            taker,
            taker_is_done: false,
            at,
            taker_at,
            before: None,
            others: Snapshot::new(),
            victim_is_done: false,
            dir,
        };
        world.others = world.look();
        world
    }

    /// Whether all is everywhere.
    pub(crate) fn is_over(&self) -> bool {
        self.victim_is_done && self.taker_is_done
    }

    /// Starts the victim, lets it be for a while, and kills it; a late one when something of what it got is recorded besides.
    pub(crate) fn live(&mut self, life: Duration, is_late: bool, tally: &mut Tally) {
        let mut victim = self.victim();
        let end = Instant::now() + life;
        let mut is_started = false;
        let mut keeping = Keeping::new(&self.dir.path().join("state"));
        while (Instant::now() < end || (is_late && !keeping.is_safe && !self.victim_is_done))
            && !self.is_over()
        {
            assert!(Instant::now() < end + LIMIT, "nothing is recorded");
            if is_late {
                keeping.look(&victim.seen);
            }
            match victim.next(Duration::from_millis(10)) {
                Ok(Some(line)) => {
                    if line["event"] == "complete" {
                        self.victim_is_done = true;
                    }
                    if !is_started && line["pieces_done"].is_u64() {
                        is_started = true;
                        if let Some(before) = self.before.take() {
                            tally.started(before, &line);
                        }
                    }
                }
                Ok(None) => {}
                Err(words) => panic!("the victim ended by itself: {words}"),
            }
            self.look_at_taker();
        }
        let (root, at) = (self.dir.path(), Instant::now());
        if let Some(disk) = &self.disk {
            disk.cut();
        }
        let printed = victim.kill();
        if let Some(disk) = &self.disk {
            disk.unmount(root);
            disk.mount(root);
        }
        let (dir, state) = (root.join("victim"), root.join("state"));
        let recorded = keeping.is_safe.then_some(keeping.pieces);
        let kill = Kill { at, is_cut: self.disk.is_some(), printed, recorded };
        let now = tally.killed(&kill, &self.torrent, &dir, &state);
        self.before = Some(self.before.map_or(now, |before| before.and(now)));
        assert_eq!(self.look(), self.others, "only the torrent's own files change");
    }

    /// Lets the download end, and compares all bytes.
    pub(crate) fn finish(mut self, tally: &mut Tally) {
        let mut victim = self.victim();
        let first = victim.until(|line| line["pieces_done"].is_u64());
        if let Some(before) = self.before.take() {
            tally.started(before, &first);
        }
        if first["event"] != "complete" {
            victim.until(|line| line["event"] == "complete");
        }
        let end = Instant::now() + LIMIT;
        while !self.taker_is_done && Instant::now() < end {
            self.look_at_taker();
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(self.taker_is_done, "the taker does not get all: {:?}", self.taker.seen.last());
        let errors = self.taker.errors();
        assert!(!errors.contains("did not match its hash"), "the taker got a bad piece: {errors}");
        let root = self.dir.path();
        for (name, _) in FILES {
            let right = fs::read(root.join("data").join(name)).expect("the original");
            for copy in ["victim/data", "taken/data"] {
                let copy = root.join(copy).join(name);
                assert!(fs::read(&copy).expect("the copy") == right, "{} differs", copy.display());
            }
        }
        assert_eq!(self.look(), self.others, "only the torrent's own files change");
    }

    fn victim(&self) -> Process {
        let mut command = unchoke(self.dir.path());
        command.args(["download", "data.torrent", "-o", "victim", "--state", "state", "--seed", "--json"]);
        command.args(["--listen", "127.0.0.1", "--port", &self.at.port().to_string()]);
        command.args(["--peer", &self.seed.to_string(), "--peer", &self.taker_at.to_string()]);
        Process::start(command, &self.dir.path().join("log.victim"))
    }

    fn look_at_taker(&mut self) {
        loop {
            match self.taker.next(Duration::ZERO) {
                Ok(Some(line)) => {
                    assert_eq!(line["failed"].as_u64().unwrap_or(0), 0, "the taker got a bad piece: {line}");
                    self.taker_is_done |= line["event"] == "complete";
                }
                Ok(None) => return,
                Err(words) => panic!("the taker ended: {words}"),
            }
        }
    }

    /// All files that the victim has no business with.
    fn look(&self) -> Snapshot {
        let root = self.dir.path();
        let own: Vec<PathBuf> = FILES.iter().map(|(name, _)| root.join("victim/data").join(name)).collect();
        // The seed and the taker keep what they know of the DHT in their home.
        let (taken, state, home) = (root.join("taken"), root.join("state"), root.join(".local"));
        let is_log = |path: &Path| path.parent() == Some(root) && path.to_string_lossy().contains("/log.");
        others(root, |path| {
            is_log(path)
                || own.iter().any(|own| own == path)
                || path.starts_with(&taken)
                || path.starts_with(&state)
                || path.starts_with(&home)
        })
    }
}

/// Whether what a victim got came into its record.
struct Keeping {
    state: PathBuf,
    /// Pieces that were recorded when it began.
    before: u64,
    /// The first record that had all that it told of in a progress line, and how many pieces that were.
    generation: Option<u64>,
    pieces: u64,
    /// There is a record after that one: so that one is durable.
    is_safe: bool,
}

impl Keeping {
    fn new(state: &Path) -> Self {
        let (_, before) = recorded(state);
        Self { state: state.to_owned(), before, generation: None, pieces: 0, is_safe: false }
    }

    fn look(&mut self, seen: &[(Instant, Value)]) {
        let done = seen.iter().filter_map(|(_, line)| line["pieces_done"].as_u64());
        let Some(target) = done.into_iter().find(|done| *done > self.before).filter(|_| !self.is_safe) else {
            return;
        };
        let (generation, pieces) = recorded(&self.state);
        match self.generation {
            None if pieces >= target => (self.generation, self.pieces) = (Some(generation), target),
            Some(first) => self.is_safe = generation > first,
            None => {}
        }
    }
}

impl Taker {
    fn command(&self, root: &Path, from: SocketAddr, at: SocketAddr) -> Command {
        match self {
            Self::Unchoke => {
                let mut command = unchoke(root);
                command.args([
                    "download",
                    "data.torrent",
                    "-o",
                    "taken",
                    "--no-resume",
                    "--seed",
                    "--json",
                    "-v",
                ]);
                command.args(["--listen", "127.0.0.1", "--port", &at.port().to_string()]);
                command.args(["--peer", &from.to_string()]);
                command
            }
            Self::Libtorrent(python) => {
                let job = json!({
                    "torrent": root.join("data.torrent"), "data": root.join("taken"),
                    "listen": at.to_string(), "peer": from.to_string(),
                });
                let mut command = Command::new(python);
                command.arg(SCRIPT).arg(job.to_string()).current_dir(root);
                command
            }
        }
    }
}

const LOCAL: [&str; 5] = ["--json", "--listen", "127.0.0.1", "--port", "0"];

fn unchoke(root: &Path) -> Command {
    let named = env::var_os("UNCHOKE_CRASH_PROGRAM");
    let mut command = Command::new(named.unwrap_or_else(|| env!("CARGO_BIN_EXE_unchoke").into()));
    command.current_dir(root).env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
    command.env("HOME", root).env("TMPDIR", root);
    command
}

fn content(root: &Path, seed: u64) {
    let mut state = seed | 1;
    for (name, len) in FILES {
        let path = root.join("data").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let bytes = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        fs::write(path, bytes.flatten().take(len).collect::<Vec<u8>>()).expect("a file");
    }
}

fn listening(started: &serde_json::Value) -> SocketAddr {
    started["listen"][0].as_str().expect("an address").parse().expect("an address")
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address")
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            disk.unmount(self.dir.path());
        }
    }
}
