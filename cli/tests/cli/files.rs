//! Where files lie, what they are called, and what of them is removed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::env::{Env, Running, listening};

const LOCAL: [&str; 5] = ["--json", "--listen", "127.0.0.1", "--port", "0"];
const ALL: [&str; 4] = ["empty.txt", "more/cover.jpg", "one.flac", "two.flac"];

/// An album, its torrent, and a seed of it elsewhere.
fn seeded() -> (Env, Running, String) {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album"]);
    fs::create_dir(env.path("seed")).unwrap();
    fs::rename(env.path("album"), env.path("seed/album")).unwrap();
    let mut seed = env.start(&[&["seed", "album.torrent", "-d", "seed"][..], &LOCAL].concat());
    let peer = listening(&seed.until("started")).to_string();
    (env, seed, peer)
}

/// Runs a download to its end; what it told.
fn download(env: &Env, peer: &str, words: &[&str]) -> Vec<Value> {
    let all =
        [&["download", "album.torrent", "--peer", peer, "--stop-after", "300s"], words, &LOCAL].concat();
    env.ok(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn told<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    events.iter().find(|event| event["event"] == kind).unwrap_or_else(|| panic!("no {kind}: {events:?}"))
}

fn listed(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(listed(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

fn assert_album(env: &Env, dir: &str) {
    assert_eq!(listed(&env.path(dir)), ALL, "{dir}");
    for name in ALL {
        assert!(
            env.read(&format!("{dir}/{name}")) == env.read(&format!("seed/album/{name}")),
            "{dir}/{name}"
        );
    }
}

#[test]
fn files_lie_in_another_folder_under_other_names_until_they_are_complete() {
    let (env, _seed, peer) = seeded();
    let words = ["-o", "out", "--incomplete-dir", "tmp/un", "--incomplete-suffix", ".part"];
    // Without a peer nothing comes.
    let mut none = env.start(&[&["download", "album.torrent"][..], &words, &LOCAL].concat());
    none.until("progress");
    none.signal(Signal::TERM);
    assert_eq!(none.end(), Some(7));
    assert!(!env.path("out").exists() || listed(&env.path("out")).is_empty());
    // The record knows where it is to lie.
    let events = download(&env, &peer, &["-o", "out"]);
    let moved = fs::canonicalize(env.path("out")).unwrap();
    assert_eq!(told(&events, "moved")["dir"], moved.to_str().unwrap());
    assert_album(&env, "out/album");
    assert_eq!(listed(&env.path("tmp")), Vec::<String>::new());
    env.ok(&["verify", "album.torrent", "out"]);
    env.fails(
        2,
        &["download", "album.torrent", "--incomplete-suffix", "a/b"],
        "expected the end of a file name",
    );
}

#[test]
fn a_download_is_read_back_before_it_is_complete_where_that_is_asked_for() {
    let (env, _seed, peer) = seeded();
    let events = download(&env, &peer, &["-o", "out", "--verify"]);
    let at = |name: &str| events.iter().position(|event| event["event"] == name);
    assert!(at("verified").is_some() && at("verified") < at("complete"), "{events:?}");
    assert_eq!(told(&events, "verified")["lost"], 0);
    // What is there already is not read again.
    let again = download(&env, &peer, &["-o", "out", "--verify"]);
    assert!(again.iter().all(|event| event["event"] != "verified"), "{again:?}");
    let words = ["download", "album.torrent", "-o", "other", "--verify", "--peer", &peer];
    let words = [&words[..], &["--listen", "127.0.0.1", "--port", "0", "--stop-after", "60s"]].concat();
    let ran = env.run(&words);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("album: read back from the disk, and right"), "{}", ran.err);
    assert_album(&env, "other/album");
}

#[test]
fn a_file_in_the_way_is_named_and_the_same_command_goes_on() {
    let (env, _seed, peer) = seeded();
    let words = ["download", "album.torrent", "-o", "out", "--incomplete-dir", "un"];
    let words = [&words[..], &["--listen", "127.0.0.1", "--port", "0"]].concat();
    assert_eq!(env.run_until(&words, "listening at port").code, Some(7));
    env.write("out/album/two.flac", "mine");
    let words = [&words[..], &["--peer", &peer]].concat();
    env.fails(6, &words, "out/album/two.flac: File exists");
    assert_eq!(env.read("out/album/two.flac"), b"mine");
    assert_album(&env, "un/album");
    fs::remove_file(env.path("out/album/two.flac")).unwrap();
    env.ok(&words);
    assert_album(&env, "out/album");
}

#[test]
fn complete_files_are_linked_and_what_lies_elsewhere_is_taken() {
    let (env, _seed, peer) = seeded();
    let words = ["-o", "out", "--link-to", "library", "--link", "hard", "--preallocate", "full"];
    let events = download(&env, &peer, &words);
    assert_eq!(told(&events, "linked")["linked"], 4);
    assert_album(&env, "library/album");
    assert_eq!(fs::metadata(env.path("library/album/one.flac")).unwrap().nlink(), 2);
    // All of it, but the empty file, is found by its content; nobody else is asked.
    let none = "127.0.0.1:1";
    for (dir, place) in [("again", "library"), ("file", "out/album/one.flac")] {
        let words =
            [&["download", "album.torrent", "-o", dir, "--reuse", place, "--link", "copy"][..], &LOCAL]
                .concat();
        let mut running = env.start(&[&words[..], &["--peer", none]].concat());
        let taken = running.until("reused");
        if place == "library" {
            assert_eq!((&taken["files"], &taken["bytes"]), (&json!(3), &json!(470_001)));
            assert_eq!(running.end(), Some(0));
            assert_album(&env, "again/album");
        } else {
            assert_eq!(&taken["files"], &json!(1));
            running.signal(Signal::TERM);
            assert_eq!(running.end(), Some(7));
        }
    }
    assert_eq!(fs::metadata(env.path("library/album/one.flac")).unwrap().nlink(), 2);
}

#[test]
fn a_torrent_at_rest_is_moved_renamed_and_removed() {
    let (env, _seed, peer) = seeded();
    env.write("out/album/mine.txt", "mine");
    download(&env, &peer, &["-o", "out"]);
    let hash = env.json(&["show", "album.torrent", "--json"])["info_hash_v1"].as_str().unwrap().to_owned();

    let renamed = env.json(&[
        "rename",
        "album.torrent",
        "-d",
        "out",
        "album/one.flac",
        "album/01/first.flac",
        "--json",
    ]);
    assert_eq!((&renamed["old"], &renamed["new"]), (&json!("album/one.flac"), &json!("album/01/first.flac")));
    assert!(env.path("out/album/01/first.flac").is_file() && !env.path("out/album/one.flac").exists());
    env.ok(&["rename", &hash, "-d", "out", "album/01/first.flac", "album/01/1.flac"]);

    let moved = env.json(&["move", &hash, "-d", "out", "--to", "new/place", "--json"]);
    assert_eq!((&moved["files"], &moved["left_behind"]), (&json!(4), &json!([])));
    assert_eq!(listed(&env.path("out")), ["album/mine.txt"]);
    assert_eq!(env.read("new/place/album/01/1.flac"), env.read("seed/album/one.flac"));
    // The record went along: nothing is hashed, and the name is known.
    let again =
        env.run(&["download", "album.torrent", "-o", "new/place", "--listen", "127.0.0.1", "--port", "0"]);
    assert_eq!(again.code, Some(0));
    assert!(!again.err.contains("checking"), "{}", again.err);
    env.fails(1, &["move", "album.torrent", "-d", "out", "--to", "x"], "no record tells of it in out");

    let words = ["remove", "album.torrent", "-d", "new/place", "--with-files"];
    env.write("new/place/album/more/own.txt", "mine");
    let plan = env.json(&[&words[..], &["--dry-run", "--json"]].concat());
    assert_eq!((&plan["dry_run"], plan["removed"].as_array().unwrap().len()), (&json!(true), 7), "{plan}");
    env.fails(2, &words, "add --yes");
    assert!(env.path("new/place/album/two.flac").exists());
    let gone = env.json(&[&words[..], &["--yes", "--json"]].concat());
    assert_eq!(
        (&gone["forgotten"], &gone["left"][0]["path"]),
        (&json!(true), &json!("album/more")),
        "{gone}"
    );
    assert_eq!(listed(&env.path("new/place")), ["album/more/own.txt"]);
    env.fails(1, &words, "no record tells of it in new/place");
}

#[test]
fn removing_a_torrent_leaves_what_was_there_before() {
    let (env, _seed, peer) = seeded();
    fs::create_dir_all(env.path("out/album")).unwrap();
    fs::copy(env.path("seed/album/two.flac"), env.path("out/album/two.flac")).unwrap();
    download(&env, &peer, &["-o", "out"]);
    let text = env.ok(&["remove", "album.torrent", "-d", "out", "--with-files", "-y"]);
    assert!(text.contains("left  album/two.flac (it was there before"), "{text}");
    assert_eq!(listed(&env.path("out")), ["album/two.flac"]);

    download(&env, &peer, &["-o", "out"]);
    let text = env.ok(&["remove", "album.torrent", "-d", "out"]);
    assert!(text.contains("forgot  album") && text.contains("only the record is removed"), "{text}");
    assert_album(&env, "out/album");
}

#[test]
fn a_torrent_that_runs_is_left_alone() {
    let (env, seed, _) = seeded();
    let pid = format!("process {} runs it in seed; stop that first", seed.pid());
    for words in [
        &["move", "album.torrent", "-d", "seed", "--to", "x"][..],
        &["rename", "album.torrent", "-d", "seed", "0", "x"],
        &["remove", "album.torrent", "-d", "seed", "--with-files", "--yes"],
    ] {
        env.fails(1, words, &pid);
    }
    seed.signal(Signal::TERM);
    assert_eq!(seed.end(), Some(0));
    env.ok(&["move", "album.torrent", "-d", "seed", "--to", "x"]);
}

#[test]
fn wrong_use_is_told_and_changes_nothing() {
    let (env, _seed, peer) = seeded();
    download(&env, &peer, &["-o", "out"]);
    let rename = |old, new| ["rename", "album.torrent", "-d", "out", old, new];
    env.fails(2, &rename("album/none", "x"), "is no file of \"album\"");
    env.fails(2, &rename("9", "x"), "is no file of \"album\"");
    for outside in ["../x", "/x", "a/../../x", "../.."] {
        env.fails(2, &rename("0", outside), "stays in its torrent's folder");
    }
    env.fails(2, &rename("0", "."), "nothing usable is left of the name");
    env.fails(6, &rename("album/one.flac", "album/TWO.flac"), "another file of the torrent has that name");
    env.write("out/album/mine", "mine");
    env.fails(6, &rename("album/one.flac", "album/mine"), "File exists");
    env.fails(3, &["move", "album.torrent", "-d", "nowhere", "--to", "x"], "no folder nowhere");
    env.fails(3, &["move", "none.torrent", "--to", "x"], "none.torrent");
    env.fails(
        2,
        &["move", "http://127.0.0.1/x.torrent", "--to", "x"],
        "expected a torrent file or an info-hash",
    );
    env.fails(2, &["move", "album.torrent"], "required arguments");
    let reuse = ["download", "album.torrent", "-o", "reusing", "--reuse", "out", "--reuse", "misspelt"];
    env.fails(3, &[&reuse[..], &LOCAL].concat(), "cannot look at misspelt for --reuse");
    assert!(!env.path("reusing").exists());
    fs::write(env.path("file"), "").unwrap();
    env.fails(6, &["move", "album.torrent", "-d", "out", "--to", "file"], "file");
    env.write("x/album/two.flac", "theirs");
    env.fails(6, &["move", "album.torrent", "-d", "out", "--to", "x"], "x/album/two.flac");
    assert_eq!(env.read("x/album/two.flac"), b"theirs");
    fs::remove_file(env.path("out/album/mine")).unwrap();
    assert_album(&env, "out/album");
}
