//! Memory is bounded whatever a torrent asks for: pieces of 256 MiB, many peers, and a limit by the system that counts the page
//! cache too.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::env::{Env, Running, listening};
use crate::light::most_memory;

const LOCAL: [&str; 7] = ["--json", "--listen", "127.0.0.1", "--port", "0", "--no-dht", "--no-lsd"];
const MIB: u64 = 1 << 20;
/// A piece and a bit.
const LEN: u64 = 300 * MIB;
/// What the process may have of its own, and what the system lets it have with its page cache.
const OWN: u64 = 64 * MIB;
const ALLOWED: u64 = 96 * MIB;
const SEEDS: usize = 6;

#[test]
fn pieces_of_256_mib_come_and_go_in_little_memory() {
    let env = Env::new();
    // Mostly holes, so that it costs the test no disk.
    let path = env.path("huge.bin");
    let file = fs::File::create(&path).unwrap();
    file.set_len(LEN).unwrap();
    (0..LEN / MIB).for_each(|at| file.write_all_at(&at.to_le_bytes(), at * MIB).unwrap());
    env.ok(&["create", "huge.bin", "--piece-size", "256M"]);
    let words = ["seed", "huge.bin.torrent", "-d", ".", "--no-resume", "--check", "never"];
    let mut seeds = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..SEEDS {
        let mut seed = env.start(&[&words[..], &LOCAL].concat());
        peers.extend(["--peer".to_owned(), listening(&seed.until("started")).to_string()]);
        seeds.push(seed);
    }
    let limit = Limit::new();
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    let download =
        ["download", "huge.bin.torrent", "-o", "first", "--no-resume", "--seed", "--memory", "64M"];
    let mut first = limited(&env, &limit, &[&download[..], &peers, &LOCAL].concat());
    let at = listening(&first.until("started")).to_string();
    first.until("complete");
    is_modest(&first, "taking");
    drop(seeds);
    let reuse = ["download", "huge.bin.torrent", "-o", "third", "--no-resume", "--seed", "--reuse", "first"];
    let mut third = limited(&env, &limit, &[&reuse[..], &LOCAL].concat());
    third.until("complete");
    is_modest(&third, "taking what is there");
    drop(third);
    // The least that is taken.
    let download =
        ["download", "huge.bin.torrent", "-o", "second", "--no-resume", "--seed", "--memory", "16M"];
    let mut second = env.start(&[&download[..], &["--peer", &at], &LOCAL].concat());
    second.until("complete");
    is_modest(&first, "giving");
    is_modest(&second, "taking beside it");
    assert!(limit.as_ref().is_none_or(|limit| limit.kills() == 0));
    for copy in ["first/huge.bin", "second/huge.bin"] {
        let copy = fs::File::open(env.path(copy)).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), LEN);
        let mut bytes = [0; 8];
        for at in 0..LEN / MIB {
            copy.read_exact_at(&mut bytes, at * MIB).unwrap();
            assert_eq!(u64::from_le_bytes(bytes), at);
        }
    }
}

#[test]
fn what_a_skipped_file_has_already_is_folded_in_in_little_memory() {
    let env = Env::new();
    fs::create_dir(env.path("two")).unwrap();
    for (name, mib) in [("a", 1), ("b", 160)] {
        let file = fs::File::create(env.path("two").join(name)).unwrap();
        file.set_len(mib * MIB).unwrap();
        (0..mib).for_each(|at| file.write_all_at(&(at + 7).to_le_bytes(), at * MIB).unwrap());
    }
    env.ok(&["create", "two", "--piece-size", "256M"]);
    let seed = ["seed", "two.torrent", "-d", ".", "--no-resume", "--check", "never"];
    let mut seed = env.start(&[&seed[..], &LOCAL].concat());
    let peer = listening(&seed.until("started")).to_string();
    let download = ["download", "two.torrent", "-o", "here", "--peer", &peer];
    env.ok(&[&download[..], &LOCAL, &["--select", "0"]].concat());
    assert!(!env.path("here/two/b").exists());
    let mut all = env.start(&[&download[..], &LOCAL, &["--select", "0-1", "--seed"]].concat());
    all.until("complete");
    is_modest(&all, "folding in");
    drop(seed);
    let file = fs::File::open(env.path("here/two/b")).unwrap();
    let mut bytes = [0; 8];
    for at in 0..160 {
        file.read_exact_at(&mut bytes, at * MIB).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), at + 7);
    }
}

/// What it had of its own at most. Its program and what it maps count too.
fn is_modest(running: &Running, what: &str) {
    let most = most_memory(running.pid());
    eprintln!("{what}: {} MiB at most", most / MIB);
    assert!(most < OWN, "{what}: {most} bytes");
}

/// Runs it under the limit, if there is one.
fn limited(env: &Env, limit: &Option<Limit>, words: &[&str]) -> Running {
    let Some(Limit(folder)) = limit else {
        eprintln!(
            "skipped: no memory limit can be set here, only what the process has of its own is looked at"
        );
        return env.start(words);
    };
    let procs = folder.join("cgroup.procs").into_os_string().into_string().unwrap();
    let enter = ["-c", "echo $$ > \"$0\" && exec \"$@\"", &procs, env!("CARGO_BIN_EXE_unchoke")];
    env.start_by("sh", &[&enter[..], words].concat())
}

/// A control group of either version.
struct Limit(PathBuf);

impl Limit {
    fn new() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own =
            |marker: &str| groups.lines().find_map(|line| line.split_once(marker)).map(|(_, path)| path);
        let name = format!("unchoke-test-{}", std::process::id());
        let places = [
            (own(":memory:"), "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            (own("0::"), "/sys/fs/cgroup", "memory.max"),
        ];
        places.into_iter().find_map(|(own, mount, file)| {
            let folder = Path::new(mount).join(own?.trim_start_matches('/')).join(&name);
            fs::create_dir(&folder).ok()?;
            let limit = Self(folder);
            // Swapping is no way out.
            let _ = fs::write(limit.0.join("memory.swap.max"), "0");
            fs::write(limit.0.join(file), ALLOWED.to_string()).ok()?;
            Some(limit)
        })
    }

    /// How often the system killed somebody for want of memory.
    fn kills(&self) -> u64 {
        let files = ["memory.oom_control", "memory.events"];
        let told = files.iter().find_map(|file| fs::read_to_string(self.0.join(file)).ok()).unwrap();
        let line = told.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // Whoever was in it may not be gone yet: then an empty group stays.
        let _ = fs::remove_dir(&self.0);
    }
}
