//! What only reads and writes files starts nothing else: no event loop, no socket, and no thread that outlives its work.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use crate::env::{Env, listening};

/// So many files that what is printed about them does not fit into a pipe.
const FILES: usize = 1500;

/// What a program has open while it prints, by the names that the system gives to them. It cannot end: nobody reads all of it.
fn open_while_it_prints(env: &Env, words: &[&str]) -> Vec<String> {
    let mut child = env.command(words).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let found = open_files(child.id());
    assert_eq!(child.try_wait().unwrap(), None, "{words:?} prints more than a pipe holds");
    child.kill().unwrap();
    child.wait().unwrap();
    found
}

fn open_files(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    // One may be closed meanwhile.
    let names = entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

fn is_runtime(name: &str) -> bool {
    name.starts_with("socket:") || name.starts_with("anon_inode:")
}

#[test]
fn show_create_and_verify_start_no_event_loop_and_open_no_socket() {
    let env = Env::new();
    for at in 0..FILES {
        env.write(&format!("many/{}-{at:04}", "a long name ".repeat(6)), "x");
    }
    env.ok(&["create", "many"]);
    for words in [
        &["create", "many", "-o", "-"][..],
        &["show", "many.torrent", "--files"],
        &["show", "many.torrent", "--json"],
        &["verify", "many.torrent", "--files"],
    ] {
        let open = open_while_it_prints(&env, words);
        assert!(open.len() >= 3 && !open.iter().any(|name| is_runtime(name)), "{words:?}: {open:?}");
    }
    // What a program that does start them looks like.
    let mut seed =
        env.start(&["seed", "many.torrent", "-d", ".", "--json", "--listen", "127.0.0.1", "--port", "0"]);
    listening(&seed.until("started"));
    assert!(open_files(seed.pid()).iter().any(|name| is_runtime(name)));
}

/// The most memory that a download may have of its own.
const DOWNLOAD: u64 = 24 << 20;

#[test]
fn a_download_needs_little_memory() {
    let env = Env::new();
    env.content("one.bin", 48 << 20);
    env.ok(&["create", "one.bin"]);
    let local = ["--json", "--listen", "127.0.0.1", "--port", "0"];
    let mut seed = env.start(&[&["seed", "one.bin.torrent", "-d", "."][..], &local].concat());
    let peer = listening(&seed.until("started")).to_string();
    let get = ["download", "one.bin.torrent", "-o", "out", "--seed", "--peer", &peer];
    let mut leecher = env.start(&[&get[..], &local].concat());
    leecher.until("complete");
    for (who, pid) in [("the leecher", leecher.pid()), ("the seed", seed.pid())] {
        let most = most_memory(pid);
        eprintln!("{who}: {} KiB at most", most >> 10);
        assert!(most < DOWNLOAD, "{who}: {most} bytes");
    }
}

/// What a process had resident at most; its program and what it maps count too.
pub(crate) fn most_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
