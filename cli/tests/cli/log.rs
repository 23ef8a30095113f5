//! What `-v`, `-vv` and `-vvv` write to standard error.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::env::{Env, listening};

/// Nobody listens there.
const TRACKER: &str = "http://127.0.0.1:1/announce";

/// What is written from one `-v`, from two and from three on.
const WRITTEN: [&[&str]; 3] = [
    &["a session starts", "added", "a tracker failed", "complete"],
    &["connecting", "a peer is connected", "a peer left", "reason=", "a record was written"],
    &[
        "a tracker is asked",
        "for the disk job=Write",
        "written store",
        "hashed store",
        "a piece is there",
        "synced store",
    ],
];

/// What a download of all there is writes, from its start to a Ctrl-C.
fn written(env: &Env, flags: &[&str], peer: &str, out: &str) -> String {
    let words = ["download", "album.torrent", "-o", out, "--listen", "127.0.0.1", "--peer", peer];
    let words = [&words[..], &["--seed", "--json", "--stop-after", "60s"], flags].concat();
    let mut command = env.command(&words);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    if flags.is_empty() {
        let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(events.any(|event| event.unwrap().contains(r#""event":"complete""#)));
    }
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let seen = |text: &str| WRITTEN[0].iter().all(|what| text.contains(what));
    while !flags.is_empty() && !seen(&text) {
        assert!(lines.read_line(&mut text).unwrap() > 0, "not all of {:?}: {text}", WRITTEN[0]);
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    lines.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
    text
}

#[test]
fn each_v_says_more() {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album"]);
    let mut seed = env.start(&["seed", "album.torrent", "-d", ".", "--json", "--listen", "127.0.0.1"]);
    let peer = listening(&seed.until("started")).to_string();
    env.ok(&["edit", "album.torrent", "--add-tracker", TRACKER]);
    for (level, flags) in [&[][..], &["-v"], &["-vv"], &["-vvv"]].into_iter().enumerate() {
        let text = written(&env, flags, &peer, &format!("out{level}"));
        for (least, whats) in (1..).zip(WRITTEN) {
            for what in whats {
                assert_eq!(text.contains(what), level >= least, "{flags:?}: {what}\n{text}");
            }
        }
    }
}
