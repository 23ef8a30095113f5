//! Colours, terminals and pipes.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::env::{Env, listening};

fn env() -> Env {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album"]);
    env
}

/// Runs it on a terminal of its own, and gives what the terminal got and the status. It gets a SIGINT when it has said this.
fn on_terminal(
    env: &Env,
    words: &[&str],
    variables: &[(&str, &str)],
    until: Option<&str>,
) -> (String, Option<i32>) {
    until_seen(env, words, variables, |text| until.is_some_and(|says| text.contains(says)))
}

/// The same, until this holds of what it has said.
fn until_seen(
    env: &Env,
    words: &[&str],
    variables: &[(&str, &str)],
    seen: impl Fn(&str) -> bool,
) -> (String, Option<i32>) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = || Stdio::from(File::options().read(true).write(true).open(&name).unwrap());
    let mut command = env.command(words);
    command.env("TERM", "xterm-256color").envs(variables.iter().copied());
    let mut child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
    // The other end is open in the child only, so that reading fails when it has ended.
    drop(command);
    let (mut text, mut chunk, mut is_stopped) = (Vec::new(), [0; 4096], false);
    let mut master = File::from(master);
    while let Ok(n) = master.read(&mut chunk)
        && n > 0
    {
        text.extend_from_slice(&chunk[..n]);
        if !is_stopped && seen(&String::from_utf8_lossy(&text)) {
            is_stopped = true;
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        }
    }
    let code = child.wait().unwrap().code();
    (String::from_utf8_lossy(&text).into_owned(), code)
}

#[test]
fn a_terminal_gets_colours_unless_it_shall_not() {
    let env = env();
    let words = ["show", "album.torrent", "--files"];
    let (text, code) = on_terminal(&env, &words, &[], None);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("\u{1b}[1mname"), "{text:?}");
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (text, _) = on_terminal(&env, &words, &[variable], None);
        assert!(text.starts_with("name") && !text.contains('\u{1b}'), "{variable:?}: {text:?}");
    }
}

#[test]
fn a_pipe_gets_plain_text() {
    let env = env();
    let text =
        env.ok(&["show", "album.torrent", "--files"]) + &env.ok(&["verify", "album.torrent", "--files"]);
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn a_download_on_a_terminal_shows_a_line_that_lives() {
    let env = env();
    let words = ["download", "album.torrent", "-o", "out", "--listen", "127.0.0.1"];
    let (text, code) = on_terminal(&env, &words, &[], Some("looking for peers"));
    assert_eq!(code, Some(7), "{text}");
    assert!(text.contains("0.0%  ") && text.contains("0/29 pieces  looking for peers"), "{text:?}");
    assert!(text.contains("album: stopped with 0 B of 459.0 KiB"), "{text:?}");
}

#[test]
fn the_line_has_rate_time_pieces_and_peers() {
    let env = env();
    let mut seed = env.start(&["seed", "album.torrent", "-d", ".", "--json", "--listen", "127.0.0.1"]);
    let peer = listening(&seed.until("started")).to_string();
    let get = ["download", "album.torrent", "-o", "out", "--listen", "127.0.0.1", "--peer", &peer];
    // So slow that it is not done before it was seen.
    let words = [&get[..], &["--down-limit", "16K", "--stop-after", "60s"]].concat();
    let is_whole = |line: &str| {
        ["% ", " B/s  ", "s left  ", "/29 pieces  1 peer"].iter().all(|part| line.contains(part))
            || ["% ", " KiB/s  ", "s left  ", "/29 pieces  1 peer"].iter().all(|part| line.contains(part))
    };
    let (text, code) = until_seen(&env, &words, &[], |text| text.split('\r').any(is_whole));
    assert_eq!(code, Some(7), "{text}");
    assert!(text.split('\r').any(is_whole), "{text:?}");
}

#[test]
fn programs_hear_of_progress_once_a_second_at_most_and_files_get_a_line_now_and_then() {
    let env = env();
    let started = Instant::now();
    let words = ["download", "album.torrent", "-o", "out", "--listen", "127.0.0.1"];
    let mut leecher = env.start(&[&words[..], &["--json"]].concat());
    (0..2).for_each(|_| drop(leecher.until("progress")));
    // It may be a little early.
    assert!(started.elapsed() >= Duration::from_millis(950), "{:?}", started.elapsed());
    drop(leecher);
    let started = Instant::now();
    let told = env.run(&[&words[..], &["--stop-after", "600ms"]].concat()).err;
    let told = told.lines().filter(|line| line.starts_with("0.0%")).count();
    let most = 1 + started.elapsed().as_secs() as usize / 10;
    assert!(told <= most, "{told} times, at most {most}");
}

#[test]
fn quiet_means_results_only() {
    let env = env();
    let ran = env.run(&["download", "album.torrent", "-q", "--listen", "127.0.0.1"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(ran.out.contains("album: complete"), "{}", ran.out);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let env = env();
    for words in [&["show", "album.torrent"][..], &["completions", "bash"], &["--help"], &["man"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = env.command(words).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert_eq!(output.stderr, b"", "{words:?}");
    }
}

#[test]
fn completions_and_pages_are_there() {
    let env = Env::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(env.ok(&["completions", shell]).contains("unchoke"), "{shell}");
    }
    assert!(env.ok(&["man"]).contains(".TH unchoke 1"));
    env.ok(&["man", "-o", "pages"]);
    for page in ["unchoke.1", "unchoke-download.1", "unchoke-verify.1"] {
        assert!(env.path("pages").join(page).is_file(), "{page}");
    }
}
