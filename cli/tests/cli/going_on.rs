//! Going on after what others did to the files, after a kill in the middle of a check, and beside others.

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::env::{Env, Running, listening};

const LOCAL: [&str; 7] = ["--json", "--listen", "127.0.0.1", "--port", "0", "--no-dht", "--no-lsd"];

fn words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &LOCAL].concat()
}

/// A seed of this torrent, with where it listens.
fn seed(env: &Env, torrent: &str) -> (Running, String) {
    let mut seed = env.start(&words(&["seed", torrent, "-d", ".", "--no-resume"]));
    let peer = listening(&seed.until("started")).to_string();
    (seed, peer)
}

/// What somebody does to a file.
type Harm = fn(&std::path::Path);

#[test]
fn after_changes_that_others_made_what_is_wrong_is_found_and_no_more_is_fetched() {
    const PIECE: u64 = 16_384;
    let spoil: Harm = |path| {
        let mut bytes = fs::read(path).unwrap();
        for at in [5, 200_000] {
            bytes[at] ^= 1;
        }
        fs::write(path, bytes).unwrap();
    };
    // As a copy of a file does that was restored from elsewhere.
    let restore: Harm = |path| {
        let other = path.with_extension("other");
        fs::copy(path, &other).and_then(|_| fs::rename(&other, path)).unwrap();
    };
    let cut: Harm = |path| fs::File::options().write(true).open(path).unwrap().set_len(PIECE).unwrap();
    let remove: Harm = |path| fs::remove_file(path).unwrap();
    let touch: Harm = |path| {
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(100)).unwrap();
    };
    let env = Env::new();
    env.album();
    env.ok(&["create", "album", "--piece-size", "16K"]);
    let (_seed, peer) = seed(&env, "album.torrent");
    let download = ["download", "album.torrent", "-o", "out", "--state", "state", "--peer", &peer];
    let harmed = env.path("out/album/one.flac");
    assert_eq!(env.run(&words(&download)).code, Some(0));
    // The bytes that are fetched: those of the pieces that are wrong.
    let table: [(&str, Harm, std::ops::RangeInclusive<u64>); 5] = [
        ("spoiled", spoil, 2 * PIECE..=2 * PIECE),
        ("restored", restore, 0..=0),
        ("cut", cut, 300_000 - 2 * PIECE..=300_000 + PIECE),
        ("removed", remove, 300_000 - PIECE..=300_000 + PIECE),
        ("touched", touch, 0..=0),
    ];
    for (what, harm, expected) in table {
        let plain = ["download", "album.torrent", "-o", "out", "--state", "state", "--listen", "127.0.0.1"];
        let ran = env.run(&plain);
        assert!(ran.code == Some(0) && !ran.err.contains("checking"), "before it was {what}: {}", ran.err);
        harm(&harmed);
        let mut again = env.start(&words(&download));
        let fetched = again.until("complete")["downloaded"].as_u64().unwrap();
        assert!(expected.contains(&fetched), "{what}: {fetched}");
        assert_eq!(again.end(), Some(0));
        assert_eq!(env.read("album/one.flac"), env.read("out/album/one.flac"), "{what}");
    }
}

#[test]
fn a_check_that_is_killed_again_and_again_finds_the_same_in_the_end() {
    let env = Env::new();
    env.content("big.bin", 96 << 20);
    env.ok(&["create", "big.bin", "--piece-size", "64K"]);
    let mut bytes = env.read("big.bin");
    for piece in [7, 700, 1400] {
        bytes[piece * 65_536] ^= 1;
    }
    env.write("big.bin", bytes);
    let before = fs::metadata(env.path("big.bin")).unwrap();
    let check = ["download", "big.bin.torrent", "-o", ".", "--state", "state"];
    for kill in 1..12 {
        let checking = env.start(&words(&check));
        std::thread::sleep(Duration::from_millis(kill * 15));
        checking.signal(Signal::KILL);
        checking.end();
    }
    let mut whole = env.start(&words(&check));
    assert_eq!(whole.until("progress")["pieces_done"], 1536 - 3);
    let after = fs::metadata(env.path("big.bin")).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
}

#[test]
fn ten_work_side_by_side_with_one_state_folder() {
    let env = Env::new();
    let torrents: Vec<String> = (0..10).map(|n| format!("file{n}")).collect();
    let mut seeds = Vec::new();
    for (n, name) in torrents.iter().enumerate() {
        env.content(name, 400_000 + n);
        env.ok(&["create", name, "--piece-size", "16K"]);
        let torrent = format!("{name}.torrent");
        let mut seed = env.start(&words(&["seed", &torrent, "-d", ".", "--state", "state"]));
        let peer = listening(&seed.until("started")).to_string();
        seeds.push((seed, torrent, peer));
    }
    let begin = |(_, torrent, peer): &(Running, String, String)| {
        env.start(&words(&["download", torrent, "-o", "out", "--state", "state", "--seed", "--peer", peer]))
    };
    let mut ten: Vec<Running> = seeds.iter().map(begin).collect();
    for one in &mut ten {
        assert_eq!(one.until("complete")["done"].as_u64().unwrap() / 1000, 400);
    }
    for (_, torrent, _) in &seeds {
        let again = ["download", torrent, "-o", "out/../out", "--state", "state", "--listen", "127.0.0.1"];
        env.fails(1, &again, "downloads or seeds it in out/../out already");
    }
    for one in ten {
        one.signal(Signal::TERM);
        assert_eq!(one.end(), Some(0));
    }
    for (_, torrent, _) in &seeds {
        let ran = env.run(&["download", torrent, "-o", "out", "--state", "state", "--listen", "127.0.0.1"]);
        assert!(ran.code == Some(0) && !ran.err.contains("checking"), "{}{}", ran.out, ran.err);
    }
    for name in &torrents {
        assert!(env.read(name) == env.read(&format!("out/{name}")), "{name}");
    }
}
