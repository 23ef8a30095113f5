//! Going on after an end, in time and not.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::env::{Env, listening};

const LOCAL: [&str; 5] = ["--json", "--listen", "127.0.0.1", "--port", "0"];

fn env() -> Env {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album"]);
    env
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &LOCAL].concat()
}

/// Hashing is told on standard error, unless it is told as JSON.
fn was_checked(env: &Env, words: &[&str]) -> bool {
    let ran =
        env.run_until(&[words, &["--listen", "127.0.0.1", "--port", "0"]].concat(), "listening at port");
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    ran.err.contains("checking")
}

#[test]
fn what_was_hashed_once_is_not_hashed_again() {
    let env = env();
    let seed = ["seed", "album.torrent", "-d", "."];
    assert!(was_checked(&env, &seed));
    assert!(!was_checked(&env, &seed));
    assert!(!was_checked(&env, &["download", "album.torrent"]), "the record is that of the folder");
    assert!(was_checked(&env, &[&seed[..], &["--check", "always"]].concat()));
    assert!(was_checked(&env, &[&seed[..], &["--no-resume"]].concat()));
    assert!(was_checked(&env, &[&seed[..], &["--state", "other"]].concat()));
    assert!(env.path("other/transfers").is_dir());
    assert!(env.path(".local/state/unchoke/transfers").is_dir());
    env.write("album/one.flac", env.read("album/one.flac"));
    assert!(was_checked(&env, &seed), "somebody wrote to it");
}

#[test]
fn a_download_that_is_complete_says_so_at_once() {
    let env = env();
    for _ in 0..2 {
        let mut all = env.start(&words(&["download", "album.torrent"]));
        assert_eq!(all.until("complete")["done"], 470_001);
        assert_eq!(all.end(), Some(0));
    }
}

#[test]
fn two_on_the_same_torrent_and_folder_are_told_apart() {
    let env = env();
    let mut first = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    first.until("started");
    let pid = first.pid().to_string();
    let again = ["download", "album.torrent", "-o", "album/..", "--listen", "127.0.0.1"];
    env.fails(1, &again, &format!("process {pid} downloads or seeds it in album/.. already"));
    let mut ten: Vec<_> = (0..10)
        .map(|n| env.start(&words(&["download", "album.torrent", "-o", &format!("out{n}")])))
        .collect();
    ten.iter_mut().for_each(|one| drop(one.until("started")));
    first.signal(Signal::KILL);
    first.end();
    assert_eq!(env.run(&words(&["download", "album.torrent"])).code, Some(0), "a lock ends with its process");
}

#[test]
fn a_folder_that_was_deleted_is_downloaded_to_anew() {
    let env = env();
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    let peer = listening(&seed.until("started")).to_string();
    let words = ["download", "album.torrent", "-o", "out", "--listen", "127.0.0.1", "--peer", &peer];
    for is_made_again in [false, true, false] {
        let ran = env.run(&words);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(fs::read(env.path("out/album/one.flac")).unwrap(), env.read("album/one.flac"));
        fs::remove_dir_all(env.path("out")).unwrap();
        if is_made_again {
            fs::create_dir(env.path("out")).unwrap();
        }
    }
    let ran = env.run(&words);
    assert!(ran.err.contains("was deleted since"), "{}", ran.err);
    // Without anybody to get it from, it waits, and is not complete.
    seed.signal(Signal::TERM);
    seed.end();
    fs::remove_dir_all(env.path("out")).unwrap();
    let alone = ["download", "album.torrent", "-o", "out", "--listen", "127.0.0.1", "--stop-after", "200ms"];
    assert_eq!(env.run(&alone).code, Some(7));
}

#[test]
fn nothing_is_made_where_a_disk_is_not_mounted() {
    let env = env();
    fs::create_dir(env.path("disk")).unwrap();
    let words = ["download", "album.torrent", "-o", "disk", "--listen", "127.0.0.1"];
    // A disk that is there for this one command.
    let inner = env.command(&words);
    let script = "mount -t tmpfs none disk && cp -r album disk && exec \"$@\"";
    let mut mounted = std::process::Command::new("unshare");
    mounted.args(["-m", "sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    mounted.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = mounted.current_dir(env.path("")).output().unwrap();
    if !ran.status.success() {
        return eprintln!("skipped: no mount namespace: {}", String::from_utf8_lossy(&ran.stderr));
    }
    env.fails(3, &words, "in the place of the one recorded");
    env.fails(3, &words, "Nothing was written");
    assert_eq!(fs::read_dir(env.path("disk")).unwrap().count(), 0);
    fs::remove_dir(env.path("disk")).unwrap();
    env.fails(3, &words, "the folder is not there");
    assert!(!env.path("disk").exists());
}

#[test]
fn a_folder_in_the_place_of_a_file_is_named_at_the_start() {
    let env = env();
    fs::create_dir_all(env.path("out/album/one.flac")).unwrap();
    let words = ["download", "album.torrent", "-o", "out", "--listen", "127.0.0.1"];
    env.fails(6, &words, "out/album/one.flac: a folder is in the place of the file");
    fs::remove_dir_all(env.path("out/album")).unwrap();
    env.write("out/album", "a file");
    env.fails(6, &words, "a file is in the place of its folder");
}

#[test]
fn records_lie_where_states_do() {
    for (xdg, folder) in [
        (None, ".local/state/unchoke"),
        (Some("states"), "states/unchoke"),
        (Some(""), ".local/state/unchoke"),
        (Some("./relative"), ".local/state/unchoke"),
    ] {
        let env = env();
        let mut command = env.command(&["download", "album.torrent", "--listen", "127.0.0.1", "--port", "0"]);
        if let Some(xdg) = xdg {
            let is_absolute = xdg == "states";
            command.env("XDG_STATE_HOME", if is_absolute { env.path(xdg) } else { xdg.into() });
        }
        assert!(command.output().unwrap().status.success());
        let records = fs::read_dir(env.path(folder).join("transfers")).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let id = env.json(&["show", "album.torrent", "--json"])["info_hash"].as_str().unwrap().to_owned();
        assert!(records.map(name).any(|name| name.contains(&id)), "{xdg:?}");
        assert!(!env.path("relative").exists());
    }
}

#[test]
fn a_damaged_record_is_named_and_set_aside() {
    let env = env();
    let seed = ["seed", "album.torrent", "-d", "."];
    was_checked(&env, &seed);
    let folder = env.path(".local/state/unchoke/transfers");
    let record = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    fs::write(&record, [0; 100]).unwrap();
    let ran = env.run_until(&[&seed[..], &["--listen", "127.0.0.1"]].concat(), "listening at port");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("is damaged") && ran.err.contains("it was set aside as"), "{}", ran.err);
    assert!(!was_checked(&env, &seed));
}

#[test]
fn a_place_for_records_that_cannot_be_used_is_said_so() {
    let env = env();
    env.write("file", "");
    let words = ["download", "album.torrent", "--listen", "127.0.0.1"];
    env.fails(3, &[&words[..], &["--state", "file/x"]].concat(), "--state: cannot make");
    let ran = env.command(&words).env("XDG_STATE_HOME", env.path("file")).output().unwrap();
    assert_eq!(ran.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("no record is kept"));
}

#[test]
fn a_disk_without_room_is_refused_before_anything_is_written() {
    let env = env();
    let words = ["download", "album.torrent", "-o", "out", "--listen", "127.0.0.1", "--min-free", "1000000T"];
    env.fails(6, &words, "459.0 KiB are needed in out and ");
    assert!(!env.path("out/album").exists());
    let there = ["download", "album.torrent", "-o", ".", "--listen", "127.0.0.1", "--min-free", "1000000T"];
    env.ok(&there);
}

#[test]
fn the_end_does_not_wait_for_a_tracker_that_is_silent() {
    let env = env();
    // Somebody accepts and never speaks.
    let silent = crate::env::taken();
    let url = format!("http://{}/announce", silent.local_addr().unwrap());
    env.ok(&["edit", "album.torrent", "--add-tracker", &url]);
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    seed.until("complete");
    let begun = Instant::now();
    seed.signal(Signal::TERM);
    seed.until("stopped");
    assert_eq!(seed.end(), Some(0));
    // An announce may take a minute.
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn a_busy_one_ends_and_goes_on_without_hashing() {
    let env = Env::new();
    env.content("big.bin", 48 << 20);
    env.ok(&["create", "big.bin"]);
    let mut seed = env.start(&words(&["seed", "big.bin.torrent", "-d", ".", "--up-limit", "12M"]));
    let peer = listening(&seed.until("started")).to_string();
    let download = ["download", "big.bin.torrent", "-o", "out", "--peer", &peer];
    let mut leecher = env.start(&words(&download));
    while leecher.until("progress")["pieces_done"].as_u64() < Some(20) {}
    leecher.signal(Signal::TERM);
    let stopped = leecher.until("stopped");
    assert_eq!(leecher.end(), Some(7));
    let done = stopped["done"].as_u64().unwrap();
    let mut again = env.start(&words(&download));
    let first = again.until("progress")["done"].as_u64().unwrap();
    assert!(first >= done, "{first} of {done}");
    let complete = again.until("complete");
    assert!(complete["downloaded"].as_u64().unwrap() <= (48 << 20) - done, "{stopped} {complete}");
    assert_eq!(again.end(), Some(0));
    assert!(env.read("big.bin") == env.read("out/big.bin"));
}
