//! Disks that fill up, go away, turn read-only or refuse, under a download: what is said, what is served meanwhile, and that it goes
//! on by itself.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use crate::apart::{apart, sh};
use crate::env::{Env, Running, listening};

const LOCAL: [&str; 7] = ["--json", "--listen", "127.0.0.1", "--port", "0", "--no-dht", "--no-lsd"];
const PIECE: u64 = 65_536;
const LEN: u64 = 8 << 20;

/// A torrent of one file, and somebody who seeds it.
struct Scene {
    env: Env,
    seed: Running,
    peer: String,
}

impl Scene {
    /// The rate of the seed, such as `4M`.
    fn new(rate: &str) -> Self {
        let env = Env::new();
        env.content("big.bin", LEN as usize);
        env.ok(&["create", "big.bin", "--piece-size", "64K"]);
        let words = ["seed", "big.bin.torrent", "-d", ".", "--no-resume", "--up-limit", rate];
        let mut seed = env.start(&[&words[..], &LOCAL].concat());
        let peer = listening(&seed.until("started")).to_string();
        Self { env, seed, peer }
    }

    fn disk(&self) -> std::path::PathBuf {
        self.env.path("disk")
    }

    fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let download = ["download", "big.bin.torrent", "-o", "disk", "--seed", "--state", "state"];
        [&download[..], more, &LOCAL].concat()
    }

    /// A download to the disk from the seed.
    fn download(&self, more: &[&str]) -> Running {
        self.env.start(&self.words(&[&["--peer", &self.peer], more].concat()))
    }

    /// Somebody who has no other source gets what is there, as many bytes as this.
    fn is_served(&self, at: &Value, done: u64) {
        let peer = listening(at).to_string();
        let words = ["download", "big.bin.torrent", "-o", "taken", "--no-resume", "--peer", &peer];
        let mut taker = self.env.start(&[&words[..], &LOCAL].concat());
        taker.until_one("what is there", |event| event["done"].as_u64() >= Some(done));
    }

    /// It goes on by itself and gets the rest, and not much of it twice.
    fn goes_on(&self, victim: &mut Running) {
        victim.until("resumed");
        let complete = victim.until("complete");
        let downloaded = complete["downloaded"].as_u64().unwrap();
        assert!(downloaded <= LEN + 2 * PIECE, "{downloaded}");
        self.is_right();
    }

    fn is_right(&self) {
        assert!(self.env.read("big.bin") == self.env.read("disk/big.bin"));
    }

    /// A proper end, after which nothing is in doubt.
    fn ends(self, victim: Running) {
        victim.signal(Signal::TERM);
        assert_eq!(victim.end(), Some(0));
        drop(self.seed);
        let ran = self.env.run(&[
            "download",
            "big.bin.torrent",
            "-o",
            "disk",
            "--state",
            "state",
            "--listen",
            "127.0.0.1",
        ]);
        assert!(ran.code == Some(0) && !ran.err.contains("checking"), "{}{}", ran.out, ran.err);
    }
}

/// Mounts a disk in memory of this size, such as `16m`.
fn tmpfs(at: &Path, size: &str) {
    std::fs::create_dir_all(at).unwrap();
    assert!(sh(&format!("mount -t tmpfs -o size={size} none \"$1\""), &[at]));
}

/// The message of a pause names the file and what the system said.
fn says(paused: &Value, words: &[&str]) {
    let message = paused["message"].as_str().unwrap();
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    assert!(paused["retry_in"].as_f64().is_none_or(|seconds| seconds <= 60.0), "{paused}");
}

#[test]
fn a_full_disk_is_named_serves_what_it_has_and_is_gone_on_with() {
    apart("disks::a_full_disk_is_named_serves_what_it_has_and_is_gone_on_with", || {
        let scene = Scene::new("20M");
        tmpfs(&scene.disk(), "10m");
        fs::write(scene.disk().join("ballast"), vec![1; 5 << 20]).unwrap();
        let mut victim = scene.download(&["--min-free", "0"]);
        let started = victim.until("started");
        let paused = victim.until("paused");
        says(&paused, &["disk/big.bin", "No space left on device", "free some space"]);
        // What was under way is written or refused by now.
        victim.until("progress");
        let done = victim.until("progress")["done"].as_u64().unwrap();
        assert!(done > 0 && done < LEN, "{done}");
        scene.is_served(&started, done);
        fs::remove_file(scene.disk().join("ballast")).unwrap();
        scene.goes_on(&mut victim);
        scene.ends(victim);
    });
}

#[test]
fn the_floor_of_free_space_holds_while_it_runs() {
    apart("disks::the_floor_of_free_space_holds_while_it_runs", || {
        let scene = Scene::new("1M");
        tmpfs(&scene.disk(), "40m");
        let mut victim = scene.download(&["--min-free", "16M"]);
        victim.until_one("some pieces", |event| event["pieces_done"].as_u64() > Some(4));
        fs::write(scene.disk().join("ballast"), vec![1; 22 << 20]).unwrap();
        let paused = victim.until("paused");
        says(&paused, &["big.bin", "bytes are free, and 16777216 are to be left"]);
        let done = victim.until("progress")["done"].as_u64().unwrap();
        assert!(done < LEN, "{done}");
        fs::remove_file(scene.disk().join("ballast")).unwrap();
        scene.goes_on(&mut victim);
        scene.ends(victim);
    });
}

#[test]
fn a_disk_that_went_away_is_waited_for_and_its_place_is_left_alone() {
    apart("disks::a_disk_that_went_away_is_waited_for_and_its_place_is_left_alone", || {
        let scene = Scene::new("1M");
        let (real, disk) = (scene.env.path("real"), scene.disk());
        fs::create_dir(&real).and_then(|()| fs::create_dir(&disk)).unwrap();
        let mount = || assert!(sh("mount --bind \"$1\" \"$2\"", &[&real, &disk]));
        mount();
        let mut victim = scene.download(&[]);
        victim.until_one("some pieces", |event| event["pieces_done"].as_u64() > Some(4));
        assert!(sh("umount -l \"$1\"", &[&disk]));
        says(&victim.until("paused"), &["disk", "connect or mount the disk"]);
        victim.until("progress");
        assert!(is_empty(&disk));
        mount();
        scene.goes_on(&mut victim);
        scene.ends(victim);
        assert!(sh("umount -l \"$1\"", &[&disk]) && is_empty(&disk));
    });
}

#[test]
fn a_folder_that_was_renamed_away_is_not_made_anew() {
    let scene = Scene::new("1M");
    let away = scene.env.path("away");
    let mut victim = scene.download(&[]);
    victim.until_one("some pieces", |event| event["pieces_done"].as_u64() > Some(4));
    fs::rename(scene.disk(), &away).unwrap();
    says(&victim.until("paused"), &["disk", "bring the folder back"]);
    victim.until("progress");
    assert!(!scene.disk().exists());
    fs::rename(&away, scene.disk()).unwrap();
    scene.goes_on(&mut victim);
    scene.ends(victim);
}

#[test]
fn a_read_only_disk_serves_what_it_has_and_is_gone_on_with() {
    apart("disks::a_read_only_disk_serves_what_it_has_and_is_gone_on_with", || {
        let turn = |disk: &Path, how: &str| sh(&format!("mount -o remount,{how} \"$1\""), &[disk]);
        refused("rw", "ro", turn, &["Read-only file system", "mount the disk for writing"]);
    });
}

#[test]
fn a_right_that_was_taken_away_is_waited_for() {
    apart("disks::a_right_that_was_taken_away_is_waited_for", || {
        let turn = |disk: &Path, how: &str| sh(&format!("chattr {how} \"$1/big.bin\" 2> /dev/null"), &[disk]);
        refused("-i", "+i", turn, &["disk/big.bin", "Operation not permitted", "give this user the right"]);
    });
}

/// A download is stopped midway, and goes on where nothing can be written any more until that is `well` again.
fn refused(well: &str, ill: &str, turn: impl Fn(&Path, &str) -> bool, words: &[&str]) {
    let scene = Scene::new("2M");
    tmpfs(&scene.disk(), "32m");
    let mut victim = scene.download(&[]);
    victim.until_one("some pieces", |event| event["pieces_done"].as_u64() > Some(8));
    victim.signal(Signal::TERM);
    let done = victim.until("stopped")["done"].as_u64().unwrap();
    assert_eq!(victim.end(), Some(7));
    if !turn(&scene.disk(), ill) {
        return eprintln!("skipped: {ill} is not possible here");
    }
    let mut victim = scene.download(&[]);
    let started = victim.until("started");
    says(&victim.until("paused"), words);
    scene.is_served(&started, done);
    assert!(turn(&scene.disk(), well));
    victim.until("resumed");
    let complete = victim.until("complete");
    assert!(complete["downloaded"].as_u64().unwrap() <= LEN - done + 2 * PIECE, "{done} {complete}");
    scene.is_right();
    scene.ends(victim);
}

#[test]
fn a_file_that_may_not_grow_is_named_and_gone_on_with() {
    let scene = Scene::new("2M");
    let mut victim = scene.download(&[]);
    let started = victim.until("started");
    let pid = Pid::from_raw(victim.pid().cast_signed());
    let limit = |size| prlimit(pid, Resource::Fsize, Rlimit { current: size, maximum: None }).unwrap();
    // With nothing there yet it would be an error.
    victim.until_one("a piece", |event| event["done"].as_u64() >= Some(PIECE));
    limit(Some(LEN / 2));
    says(&victim.until("paused"), &["disk/big.bin", "File too large", "cannot hold a file that big"]);
    let done = victim.until("progress")["done"].as_u64().unwrap();
    scene.is_served(&started, done);
    limit(None);
    scene.goes_on(&mut victim);
    scene.ends(victim);
}

#[test]
fn a_folder_that_refuses_from_the_start_is_an_error() {
    let scene = Scene::new("20M");
    // A folder lies where the file belongs.
    fs::create_dir_all(scene.disk().join("big.bin")).unwrap();
    let mut victim = scene.download(&[]);
    let error = victim.until("error");
    assert_eq!(error["exit"], 6);
    assert!(error["message"].as_str().unwrap().contains("disk/big.bin"), "{error}");
    assert_eq!(victim.end(), Some(6));
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
