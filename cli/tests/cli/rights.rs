//! A folder that may not be entered for a while: what is in it is waited for, and not fetched again.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;

use crate::env::{Env, Running, listening};

const LOCAL: [&str; 7] = ["--json", "--listen", "127.0.0.1", "--port", "0", "--no-dht", "--no-lsd"];
/// Runs a program without the superuser's leave to pass by rights.
const POWERLESS: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];

/// How a program is started to which rights apply: by these words. `None` where that cannot be had.
fn bound_by_rights(env: &Env) -> Option<&'static [&'static str]> {
    env.write("closed/file", "");
    allow(env, "closed", 0o000);
    let is_kept_out = |before: &[&str]| {
        let words = [before, &["sh", "-c", "echo there; exec ls closed"]].concat();
        let ran = Command::new(words[0]).args(&words[1..]).current_dir(env.path("")).output();
        ran.is_ok_and(|ran| ran.stdout == b"there\n" && !ran.status.success())
    };
    let found = [&[][..], &POWERLESS].into_iter().find(|before| is_kept_out(before));
    allow(env, "closed", 0o755);
    found
}

fn allow(env: &Env, path: &str, mode: u32) {
    set_permissions(env.path(path), Permissions::from_mode(mode)).unwrap();
}

fn start(env: &Env, before: &[&str], words: &[&str]) -> Running {
    let words = [before, &[env!("CARGO_BIN_EXE_unchoke")], words, &LOCAL].concat();
    env.start_by(words[0], &words[1..])
}

#[test]
fn what_may_not_be_looked_at_is_not_fetched_again() {
    let env = Env::new();
    let Some(before) = bound_by_rights(&env) else {
        return eprintln!("skipped: rights do not apply here, and setpriv does not make them");
    };
    env.album();
    env.ok(&["create", "album"]);
    let mut seed = env.start(&[&["seed", "album.torrent", "-d", ".", "--no-resume"][..], &LOCAL].concat());
    let peer = listening(&seed.until("started")).to_string();
    let words = ["download", "album.torrent", "-o", "out", "--peer", &peer];
    let mut first = start(&env, before, &words);
    assert_eq!(first.until("complete")["downloaded"], 470_001);
    assert_eq!(first.end(), Some(0));

    allow(&env, "out/album/more", 0o000);
    let mut second = start(&env, before, &words);
    let paused = second.until("paused");
    let message = paused["message"].as_str().unwrap();
    assert!(
        message.contains("out/album/more/cover.jpg") && message.contains("ermission denied"),
        "{message}"
    );
    second.signal(Signal::TERM);
    let stopped = second.until("stopped");
    assert_eq!((&stopped["downloaded"], &stopped["complete"]), (&0.into(), &false.into()), "{stopped}");
    assert_eq!(second.end(), Some(6));

    allow(&env, "out/album/more", 0o755);
    let mut third = start(&env, before, &words);
    assert_eq!(third.until("complete")["downloaded"], 0);
    assert_eq!(third.end(), Some(0));
    assert!(env.read("out/album/more/cover.jpg") == env.read("album/more/cover.jpg"));
}
