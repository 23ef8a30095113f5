//! Files that are not a torrent's own, in the place of its files: they are left as they are.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::Signal;

use crate::apart::{apart, sh};
use crate::env::{Env, Running, listening};

const LOCAL: [&str; 6] = ["--listen", "127.0.0.1", "--port", "0", "--stop-after", "60s"];
const PIECE: usize = 65_536;
const LEN: usize = 8 * PIECE;

/// Two torrents of one file with the same name, and seeds of them.
struct Scene {
    env: Env,
    seeds: Vec<Running>,
    peers: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let env = Env::new();
        let (mut seeds, mut peers) = (Vec::new(), Vec::new());
        for (at, torrent) in ["a", "b"].into_iter().enumerate() {
            let mut bytes = vec![0; LEN];
            bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i / 7 + i * (at + 3)) as u8);
            env.write(&format!("{torrent}/x.iso"), &bytes);
            let (path, file) = (format!("{torrent}/x.iso"), format!("{torrent}.torrent"));
            env.ok(&["create", &path, "--piece-size", "64K", "-o", &file]);
            let words = ["seed", &file, "-d", torrent, "--no-resume", "--json"];
            let mut seed = env.start(&[&words[..], &LOCAL[..4]].concat());
            peers.push(listening(&seed.until("started")).to_string());
            seeds.push(seed);
        }
        Self { env, seeds, peers }
    }

    fn words<'a>(&'a self, torrent: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let file = if torrent == "a" { "a.torrent" } else { "b.torrent" };
        let peer = &self.peers[usize::from(torrent == "b")];
        let words = ["download", file, "-o", "dst", "--peer", peer, "--state", "state"];
        [&words[..], &LOCAL, more].concat()
    }

    fn is(&self, torrent: &str) {
        assert!(self.env.read("dst/x.iso") == self.env.read(&format!("{torrent}/x.iso")), "{torrent}");
    }
}

/// All that changes when somebody writes to a file.
fn looks(env: &Env, path: &str) -> (u64, u64, i64, i64, Vec<u8>) {
    let meta = fs::metadata(env.path(path)).unwrap();
    (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), env.read(path))
}

#[test]
fn a_file_of_the_user_is_not_downloaded_over_unless_that_is_asked_for() {
    let scene = Scene::new();
    let env = &scene.env;
    let mine = |byte: u8, len: usize| vec![byte; len];
    for (bytes, why) in [
        (mine(7, LEN), "none of its 8 pieces is in it"),
        (mine(7, 5), "none of its 8 pieces is in it"),
        ([&env.read("b/x.iso")[..LEN - 1], &mine(7, 2)].concat(), "expected 524288 bytes, got 524289"),
    ] {
        env.write("dst/x.iso", &bytes);
        let before = looks(env, "dst/x.iso");
        for more in [&[][..], &["--no-resume"], &["--check", "always"]] {
            let ran = env.run(&scene.words("b", more));
            assert_eq!(ran.code, Some(6), "{}", ran.err);
            assert!(ran.err.contains("dst/x.iso") && ran.err.contains(why), "{why}: {}", ran.err);
            assert!(ran.err.contains("--overwrite") && ran.err.contains("-o"), "{}", ran.err);
            assert!(looks(env, "dst/x.iso") == before);
        }
    }
    env.write("dst/x.iso", mine(7, LEN));
    env.ok(&scene.words("b", &["--overwrite"]));
    scene.is("b");
}

#[test]
fn what_holds_nothing_or_a_part_of_the_torrent_is_taken() {
    let scene = Scene::new();
    let env = &scene.env;
    let whole = env.read("b/x.iso");
    let part = [&whole[..PIECE], &vec![9; LEN - 2 * PIECE][..]].concat();
    for bytes in [Vec::new(), vec![0; LEN], part] {
        let _ = fs::remove_dir_all(env.path("state"));
        env.write("dst/x.iso", &bytes);
        env.ok(&scene.words("b", &[]));
        scene.is("b");
    }
}

#[test]
fn a_torrent_does_not_take_the_file_of_another_one() {
    let scene = Scene::new();
    let env = &scene.env;
    env.ok(&scene.words("a", &[]));
    let before = looks(env, "dst/x.iso");
    let ran = env.run(&scene.words("b", &[]));
    assert_eq!(ran.code, Some(6), "{}", ran.err);
    assert!(ran.err.contains("belongs to another torrent, \"x.iso\""), "{}", ran.err);
    assert!(looks(env, "dst/x.iso") == before);
    scene.is("a");
    // Who insists gets it; then the other one does not take it back unasked.
    env.ok(&scene.words("b", &["--overwrite"]));
    scene.is("b");
    env.fails(6, &scene.words("a", &[]), "dst/x.iso");
    scene.is("b");
}

#[test]
fn two_torrents_of_one_name_are_not_downloaded_to_one_folder_at_the_same_time() {
    let mut scene = Scene::new();
    // Without its seed it waits, and has written nothing yet.
    drop(scene.seeds.remove(0));
    let mut first = scene.env.start(&scene.words("a", &["--json"]));
    let id = first.until("started")["info_hash"].as_str().unwrap().to_owned();
    let ran = scene.env.run(&scene.words("b", &["--overwrite"]));
    assert_eq!(ran.code, Some(6), "{}", ran.err);
    assert!(ran.err.contains("dst/x.iso is written to by process") && ran.err.contains(&id), "{}", ran.err);
    assert!(!scene.env.path("dst/x.iso").exists());
    first.signal(Signal::TERM);
    first.end();
    scene.env.ok(&scene.words("b", &[]));
    scene.is("b");
}

#[test]
fn what_is_not_as_it_was_left_is_not_removed_with_the_torrent() {
    let scene = Scene::new();
    let env = &scene.env;
    env.write("b/t/one", vec![1; 3 * PIECE]);
    env.write("b/t/sub/two", vec![2; 3 * PIECE]);
    env.write("b/t/sub/three", vec![3; 3 * PIECE]);
    env.ok(&["create", "b/t", "-o", "t.torrent"]);
    let mut seed =
        env.start(&[&["seed", "t.torrent", "-d", "b", "--no-resume", "--json"], &LOCAL[..4]].concat());
    let peer = listening(&seed.until("started")).to_string();
    let words = ["download", "t.torrent", "-o", "dst", "--peer", &peer, "--state", "state"];
    env.ok(&[&words[..], &LOCAL].concat());
    // One is another file now, and one was written to.
    fs::remove_file(env.path("dst/t/sub/two")).unwrap();
    env.write("dst/t/sub/two", "notes");
    env.write("dst/t/sub/three", vec![4; 3 * PIECE]);
    let text = env.ok(&["remove", "t.torrent", "-d", "dst", "--with-files", "--yes", "--state", "state"]);
    assert!(text.contains("left  t/sub/two (") && text.contains("left  t/sub/three ("), "{text}");
    assert!(text.contains("removed  t/one"), "{text}");
    assert_eq!(env.read("dst/t/sub/two"), b"notes");
    assert_eq!(env.read("dst/t/sub/three"), vec![4; 3 * PIECE]);
    assert!(!env.path("dst/t/one").exists());
}

#[test]
fn a_link_in_the_place_of_a_file_is_named_before_anything_is_fetched() {
    let scene = Scene::new();
    let env = &scene.env;
    fs::create_dir(env.path("dst")).unwrap();
    std::os::unix::fs::symlink(env.path("a/x.iso"), env.path("dst/x.iso")).unwrap();
    let before = looks(env, "a/x.iso");
    env.fails(6, &scene.words("a", &[]), "dst/x.iso: a link is in the place of the file");
    assert!(looks(env, "a/x.iso") == before);
    let words = ["seed", "a.torrent", "-d", "dst", "--no-resume"];
    env.fails(6, &[&words[..], &LOCAL].concat(), "dst/x.iso: a link is in the place of the file");
}

#[test]
fn a_link_among_the_files_of_a_seed_is_named() {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album"]);
    fs::rename(env.path("album/two.flac"), env.path("two.flac")).unwrap();
    std::os::unix::fs::symlink(env.path("two.flac"), env.path("album/two.flac")).unwrap();
    for more in [&["--no-resume"][..], &["--check", "never"]] {
        let words = [&["seed", "album.torrent", "-d", "."][..], more, &LOCAL].concat();
        env.fails(5, &words, "album/two.flac: a link is in the place of the file");
    }
}

#[test]
fn a_file_that_another_program_uses_by_another_path_is_named_and_not_written() {
    let scene = Scene::new();
    let env = &scene.env;
    std::os::unix::fs::symlink(env.path("a"), env.path("link")).unwrap();
    let before = looks(env, "a/x.iso");
    // A seed of it runs, which keeps no record.
    for more in [&["--state", "other"][..], &["--no-resume"]] {
        let words = [&["download", "a.torrent", "-o", "link"], more, &LOCAL].concat();
        env.fails(1, &words, "link/x.iso: another program uses it, perhaps by another path");
    }
    assert!(looks(env, "a/x.iso") == before);
    // Others may read it.
    let words = [&["seed", "a.torrent", "-d", "link", "--no-resume", "--json"], &LOCAL[..4]].concat();
    env.start(&words).until("started");
    env.ok(&["verify", "a.torrent", "link"]);
}

#[test]
fn two_programs_with_the_same_files_by_a_bind_mount_refuse_each_other() {
    apart("foreign::two_programs_with_the_same_files_by_a_bind_mount_refuse_each_other", || {
        let env = Env::new();
        env.album();
        env.ok(&["create", "album"]);
        fs::remove_file(env.path("album/two.flac")).unwrap();
        for dir in ["here", "there"] {
            fs::create_dir(env.path(dir)).unwrap();
        }
        fs::rename(env.path("album"), env.path("here/album")).unwrap();
        assert!(sh("mount --bind \"$1\" \"$2\"", &[&env.path("here"), &env.path("there")]));
        // Each with its own records, from which nothing is learnt of the other.
        let words =
            |dir, state| [&["download", "album.torrent", "-o", dir, "--state", state][..], &LOCAL].concat();
        for (first, second) in [("here", "there"), ("there", "here")] {
            let mut running = env.start(&[&words(first, "one")[..], &["--json"]].concat());
            running.until("started");
            let why = format!("{second}/album: another program uses it, perhaps by another path");
            env.fails(1, &words(second, "two"), &why);
            running.signal(Signal::TERM);
            assert_eq!(running.end(), Some(7));
        }
        // When neither runs, either may.
        let ran = env.run_until(&words("there", "two"), "listening at port");
        assert_eq!(ran.code, Some(7), "{}", ran.err);
    });
}
