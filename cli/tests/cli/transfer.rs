//! Downloading and seeding between two of our own, over loopback.

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

#[test]
fn a_torrent_goes_from_a_seed_to_a_leecher() {
    let env = env();
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    let started = seed.until("started");
    assert_eq!((&started["name"], &started["total"]), (&"album".into(), &470_001.into()));
    let complete = seed.until("complete");
    assert_eq!((&complete["done"], &complete["info_hash"]), (&470_001.into(), &started["info_hash"]));
    let peer = listening(&started).to_string();
    let mut leecher = env.start(&words(&["download", "album.torrent", "-o", "out", "--peer", &peer]));
    let complete = leecher.until("complete");
    assert_eq!((&complete["done"], &complete["downloaded"]), (&470_001.into(), &470_001.into()));
    assert_eq!(leecher.end(), Some(0));
    for file in ["one.flac", "two.flac", "more/cover.jpg", "empty.txt"] {
        let paths = [format!("album/{file}"), format!("out/album/{file}")];
        assert_eq!(env.read(&paths[0]), env.read(&paths[1]), "{file}");
    }
    seed.signal(Signal::INT);
    let stopped = seed.until("stopped");
    assert_eq!((&stopped["complete"], &stopped["reason"]), (&true.into(), &"signal".into()));
    assert_eq!(seed.end(), Some(0));
}

#[test]
fn a_v2_only_torrent_is_downloaded_seeded_and_verified() {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album", "--v2"]);
    let shown = env.json(&["show", "album.torrent", "--json"]);
    assert!(shown["info_hash_v1"].is_null(), "{shown}");
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    let started = seed.until("started");
    assert_eq!((&started["total"], &started["info_hash"]), (&470_001.into(), &shown["info_hash"]));
    let peer = listening(&started).to_string();
    let mut leecher = env.start(&words(&["download", "album.torrent", "-o", "out", "--peer", &peer]));
    let complete = leecher.until("complete");
    assert_eq!((&complete["done"], &complete["downloaded"]), (&470_001.into(), &470_001.into()));
    assert_eq!(leecher.end(), Some(0));
    for file in ["one.flac", "two.flac", "more/cover.jpg", "empty.txt"] {
        assert_eq!(env.read(&format!("album/{file}")), env.read(&format!("out/album/{file}")), "{file}");
    }
    env.ok(&["verify", "album.torrent", "out"]);
    let mut again = env.start(&words(&["download", "album.torrent", "-o", "again", "--reuse", "out"]));
    assert_eq!(again.until("complete")["downloaded"], 0);
    assert_eq!(again.end(), Some(0));
}

#[test]
fn a_path_is_seeded_without_a_torrent_file() {
    let env = Env::new();
    env.content("one.bin", 200_000);
    env.ok(&["create", "one.bin", "-o", "a"]);
    let mut seed = env.start(&words(&["seed", "one.bin"]));
    let started = seed.until("started");
    let shown = env.json(&["show", "a", "--json"]);
    assert_eq!((&started["info_hash"], &started["magnet"]), (&shown["info_hash"], &shown["magnet"]));
    let peer = listening(&started).to_string();
    let mut leecher = env.start(&words(&["download", "a", "-o", "out", "--peer", &peer]));
    leecher.until("complete");
    assert_eq!(leecher.end(), Some(0));
    assert_eq!(env.read("one.bin"), env.read("out/one.bin"));
}

#[test]
fn the_magnet_of_what_is_seeded_is_printed() {
    let env = Env::new();
    env.content("one.bin", 200_000);
    env.ok(&["create", "one.bin", "-o", "a", "-t", "http://127.0.0.1:9/announce"]);
    let words =
        ["seed", "one.bin", "-t", "http://127.0.0.1:9/announce", "--listen", "127.0.0.1", "--port", "0"];
    let ran = env.run_until(&words, "listening at port");
    assert_eq!((ran.code, ran.out.lines().next()), (Some(0), Some(env.ok(&["magnet", "a"]).trim())));
}

#[test]
fn who_is_dialled_gets_it_too_and_goes_on_to_seed() {
    let env = env();
    let mut first = env.start(&words(&["download", "album.torrent", "-o", "first", "--seed"]));
    let at = listening(&first.until("started")).to_string();
    let _seed = env.start(&words(&["seed", "album.torrent", "-d", ".", "--peer", &at]));
    first.until("complete");
    let mut second = env.start(&words(&["download", "album.torrent", "-o", "second", "--peer", &at]));
    second.until("complete");
    assert_eq!(second.end(), Some(0));
    first.signal(Signal::TERM);
    first.until("stopped");
    assert_eq!(first.end(), Some(0));
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let env = env();
    let mut all = env.start(&words(&["download", "album.torrent"]));
    assert_eq!(all.until("complete")["downloaded"], 0);
    assert_eq!(all.end(), Some(0));
    std::fs::create_dir_all(env.path("out/album")).unwrap();
    env.write("out/album/one.flac", env.read("album/one.flac"));
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    let peer = listening(&seed.until("started")).to_string();
    let mut part = env.start(&words(&["download", "album.torrent", "-o", "out", "--peer", &peer]));
    let complete = part.until("complete");
    assert!(complete["downloaded"].as_u64().unwrap() < 200_000, "{complete}");
    assert_eq!(part.end(), Some(0));
    env.ok(&["verify", "album.torrent", "out"]);
}

#[test]
fn only_chosen_files_are_fetched() {
    let env = env();
    let listed = env.ok(&["download", "album.torrent", "--list"]);
    assert!(listed.contains("    1    19.5 KiB  album/more/cover.jpg\n"), "{listed}");
    let listed = env.ok(&["download", "album.torrent", "--list", "--select", "*.jpg"]);
    assert!(
        listed.contains("album/more/cover.jpg\n") && listed.contains("one.flac  (skipped)\n"),
        "{listed}"
    );
    env.fails(2, &["download", "album.torrent", "--list", "--select", "nonsense"], "matches no");
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    let peer = listening(&seed.until("started")).to_string();
    let chosen = ["download", "album.torrent", "-o", "out", "--peer", &peer, "--select", "*.jpg"];
    let mut leecher = env.start(&words(&chosen));
    let complete = leecher.until("complete");
    assert!(complete["total"].as_u64().unwrap() < 100_000, "{complete}");
    assert_eq!(leecher.end(), Some(0));
    assert_eq!(env.read("album/more/cover.jpg"), env.read("out/album/more/cover.jpg"));
}

#[test]
fn files_are_fetched_as_much_as_they_are_wanted() {
    let env = env();
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    let peer = listening(&seed.until("started")).to_string();
    let ranked = ["--priority", "*.flac=skip", "--priority", "one.flac=high", "--order", "first-last"];
    let download = ["download", "album.torrent", "-o", "out", "--peer", &peer];
    let mut leecher = env.start(&words(&[&download[..], &ranked].concat()));
    leecher.until("complete");
    assert_eq!(leecher.end(), Some(0));
    for file in ["one.flac", "more/cover.jpg"] {
        assert_eq!(env.read(&format!("album/{file}")), env.read(&format!("out/album/{file}")), "{file}");
    }
    assert!(!env.path("out/album/two.flac").exists());
    env.fails(2, &["download", "album.torrent", "--priority", "*=skip"], "leave no file");
    env.fails(2, &["download", "album.torrent", "--priority", "*=soon"], "high, normal, low or skip");
    env.fails(2, &["download", "album.torrent", "--order", "last"], "'last' for '--order");
}

#[test]
fn the_first_signal_stops_and_says_so() {
    let env = env();
    let mut leecher = env.start(&words(&["download", "album.torrent", "-o", "out"]));
    leecher.until("progress");
    leecher.signal(Signal::INT);
    let stopped = leecher.until("stopped");
    assert_eq!((&stopped["complete"], &stopped["done"]), (&false.into(), &0.into()));
    assert_eq!(leecher.end(), Some(7));
}

#[test]
fn the_second_signal_ends_at_once() {
    let env = env();
    // Somebody accepts and never speaks: telling this tracker of the end takes its time.
    let silent = crate::env::taken();
    let url = format!("http://{}/announce", silent.local_addr().unwrap());
    env.ok(&["edit", "album.torrent", "--add-tracker", &url]);
    let mut leecher = env.start(&words(&["download", "album.torrent", "-o", "out"]));
    leecher.until("progress");
    // Of two equal signals that wait the system delivers one.
    leecher.signal(Signal::INT);
    leecher.signal(Signal::TERM);
    assert_eq!(leecher.end(), Some(130));
}

#[test]
fn seeding_ends_when_its_goal_is_reached() {
    let env = env();
    for goal in ["--seed=200ms", "--seed=0.0"] {
        let mut seed = env.start(&words(&["download", "album.torrent", goal]));
        seed.until("complete");
        assert_eq!(seed.until("stopped")["reason"], "goal");
        assert_eq!(seed.end(), Some(0));
    }
}

#[test]
fn a_ratio_is_seeded_before_the_end() {
    let env = env();
    let mut first = env.start(&words(&["download", "album.torrent", "--seed=2.0"]));
    let peer = listening(&first.until("started")).to_string();
    first.until("complete");
    for out in ["one", "two"] {
        let mut leecher = env.start(&words(&["download", "album.torrent", "-o", out, "--peer", &peer]));
        leecher.until("complete");
        assert_eq!(leecher.end(), Some(0));
    }
    let stopped = first.until("stopped");
    assert_eq!(stopped["reason"], "goal");
    assert!(stopped["uploaded"].as_u64().unwrap() >= 2 * 470_001, "{stopped}");
    assert_eq!(first.end(), Some(0));
    let mut again = env.start(&words(&["download", "album.torrent", "--seed=2.0"]));
    let stopped = again.until("stopped");
    assert_eq!((&stopped["reason"], &stopped["uploaded"]), (&"goal".into(), &0.into()));
    assert_eq!(again.end(), Some(0));
}

#[test]
fn a_folder_that_cannot_be_is_followed_by_what_can_be_done() {
    let env = env();
    let mut command = vec!["seed", "album.torrent", "--listen", "127.0.0.1", "-d", "nowhere"];
    env.fails(
        3,
        &command,
        "No such file or directory (os error 2); name the folder that holds the data by -d",
    );
    command.splice(.., ["download", "album.torrent", "--listen", "127.0.0.1", "-o", "/proc/nowhere"]);
    env.fails(3, &command, "; choose another folder by -o");
}

#[test]
fn a_limit_of_either_side_is_kept() {
    let env = env();
    let rates: [(&[&str], &[&str]); 2] = [(&["--up-limit", "400K"], &[]), (&[], &["--down-limit", "400K"])];
    for (at, (up, down)) in rates.into_iter().enumerate() {
        let mut seed =
            env.start(&words(&[&["seed", "album.torrent", "-d", ".", "--no-resume"], up].concat()));
        let peer = listening(&seed.until("started")).to_string();
        let out = format!("out{at}");
        let get = ["download", "album.torrent", "-o", &out, "--peer", &peer];
        let mut leecher = env.start(&words(&[&get, down].concat()));
        // A second and more at that rate, less what a limit lets through at once at the start.
        let seconds = leecher.until("complete")["seconds"].as_f64().unwrap();
        assert!(seconds > 0.5, "{up:?} {down:?}: {seconds} s");
        assert_eq!(leecher.end(), Some(0));
    }
}

#[test]
fn who_is_told_that_all_is_there_does_not_look() {
    let env = env();
    let one = "album/one.flac";
    let wrong = vec![0; env.read(one).len()];
    env.write(one, &wrong);
    let mut trusting = env.start(&words(&["seed", "album.torrent", "-d", ".", "--check=never"]));
    trusting.until("complete");
    drop(trusting);
    let mut careful = env.start(&words(&["seed", "album.torrent", "-d", ".", "--check=always"]));
    careful.until("error");
    assert_eq!(careful.end(), Some(5));
}

#[test]
fn a_download_whose_reader_is_gone_is_not_done() {
    let env = env();
    let mut leecher = env.start(&words(&["download", "album.torrent", "-o", "out"]));
    leecher.until("started");
    assert_eq!(leecher.unread(), Some(7));
}

#[test]
fn the_end_of_the_terminal_stops_it_cleanly() {
    let env = env();
    let mut leecher = env.start(&words(&["download", "album.torrent", "-o", "out"]));
    leecher.until("progress");
    leecher.signal(Signal::HUP);
    assert_eq!(leecher.until("stopped")["reason"], "signal");
    assert_eq!(leecher.end(), Some(7));
}

#[test]
fn errors_before_the_start_are_events_too() {
    let env = env();
    for (words, exit) in [
        (&["download", "nowhere.torrent", "--json"][..], 3),
        (&["download", "ftp://host/a", "--json"], 2),
        (&["download", "album", "--json"], 2),
        (&["download", "album.torrent", "--select", "*.nothing", "--json"], 2),
        (&["seed", "album.torrent", "--json"], 2),
    ] {
        let ran = env.run(words);
        assert_eq!(ran.code, Some(exit), "{words:?}: {}", ran.err);
        let event: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&event["event"], &event["exit"]), (&"error".into(), &exit.into()), "{words:?}");
        assert!(event["info_hash"].is_null(), "{event}");
    }
}

#[test]
fn errors_are_events_too() {
    let env = env();
    env.write("album/one.flac", "wrong");
    let mut seed = env.start(&words(&["seed", "album.torrent", "-d", "."]));
    let error = seed.until("error");
    assert_eq!(error["exit"], 5);
    assert!(error["message"].as_str().unwrap().contains("missing in . or differ"), "{error}");
    assert_eq!(seed.end(), Some(5));
}

#[test]
fn flags_of_later_versions_are_accepted() {
    let env = env();
    let later = ["--no-dht", "--no-pex", "--no-lsd", "--no-nat", "--transport", "tcp", "--encryption", "off"];
    let mut leecher = env.start(&[&words(&["download", "album.torrent"])[..], &later].concat());
    leecher.until("complete");
    assert_eq!(leecher.end(), Some(0));
}

#[test]
fn encryption_that_is_required_and_not_there_is_refused() {
    let env = env();
    for words in [
        &["download", "album.torrent", "--listen", "127.0.0.1", "--encryption", "require"][..],
        &["seed", "album.torrent", "-d", ".", "--listen", "127.0.0.1", "--encryption", "require"],
    ] {
        env.fails(2, words, "does not encrypt connections");
    }
    for when in ["off", "allow", "prefer"] {
        env.ok(&["download", "album.torrent", "--listen", "127.0.0.1", "--encryption", when]);
    }
}

#[test]
fn a_file_that_was_cut_short_is_named_and_the_rest_is_served() {
    let env = env();
    env.content("data/good.bin", 3_000_000);
    env.content("data/bad.bin", 2_000_000);
    env.ok(&["create", "data", "--piece-size", "64K"]);
    let mut seed = env.start(&words(&["seed", "data.torrent", "-d", "."]));
    let peer = listening(&seed.until("started")).to_string();
    let bad = std::fs::OpenOptions::new().write(true).open(env.path("data/bad.bin")).unwrap();
    bad.set_len(100_000).unwrap();
    let get = ["download", "data.torrent", "-o", "out", "--peer", &peer];
    let mut leecher = env.start(&words(&get));
    let error = seed.until("unreadable");
    let message = error["message"].as_str().unwrap();
    let says =
        "data/bad.bin is shorter than the torrent says: 100000 of 2000000 bytes; 30 pieces are not served";
    assert!(message.ends_with(says), "{error}");
    assert!(error["file"].as_str().unwrap().ends_with("data/bad.bin") && error["pieces"] == 30);
    leecher.until_one("what is good", |event| event["done"].as_u64() > Some(3_000_000));
    leecher.signal(Signal::TERM);
    assert_eq!(leecher.end(), Some(7));
    seed.signal(Signal::TERM);
    let stopped = seed.until("stopped");
    assert_eq!(stopped["complete"], false);
    assert!(
        stopped["done"].as_u64() < Some(3_300_000) && stopped["pieces_done"].as_u64() < Some(52),
        "{stopped}"
    );
    assert_eq!(seed.end(), Some(5));
}
