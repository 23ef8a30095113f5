use crate::env::Env;

#[test]
fn what_is_made_is_what_was_asked_for() {
    let env = Env::new();
    env.album();
    let words = ["create", "album", "-t", "http://a/announce", "-t", "udp://b:1", "-w", "https://c/d/"];
    let more = ["-p", "-s", "SRC", "-c", "a remark", "--piece-size", "32K", "--no-date", "--json"];
    let made = env.json(&[&words[..], &more].concat());
    let shown = env.json(&["show", "album.torrent", "--json"]);
    for key in ["name", "info_hash", "size", "piece_length", "pieces", "magnet"] {
        assert_eq!(made[key], shown[key], "{key}");
    }
    assert_eq!(made["file"], "album.torrent");
    assert_eq!(shown["trackers"].to_string(), "[[\"http://a/announce\"],[\"udp://b:1\"]]");
    assert_eq!(shown["web_seeds"][0], "https://c/d/");
    assert_eq!((&shown["private"], &shown["source"]), (&true.into(), &"SRC".into()));
    assert_eq!((&shown["comment"], &shown["piece_length"]), (&"a remark".into(), &32768.into()));
    assert!(shown["creation_date"].is_null());
    assert_eq!(shown["files"].as_array().unwrap().len(), 4);
}

#[test]
fn the_same_input_makes_the_same_file() {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album", "--no-date", "-o", "a", "--threads", "1"]);
    env.ok(&["create", "./album/", "--no-date", "-o", "b", "--threads", "4"]);
    assert_eq!(env.read("a"), env.read("b"));
    let piped = env.command(&["create", "album", "--no-date", "-o", "-"]).output().unwrap();
    assert_eq!(piped.stdout, env.read("a"));
}

#[test]
fn every_version_can_be_made_and_verified() {
    let env = Env::new();
    env.album();
    for (flag, version) in [("--v1", "v1"), ("--v2", "v2"), ("--hybrid", "hybrid")] {
        env.ok(&["create", "album", flag, "-o", version]);
        assert_eq!(env.json(&["show", version, "--json"])["version"], version);
        env.ok(&["verify", version]);
    }
}

#[test]
fn a_torrent_file_is_not_overwritten_by_accident() {
    let env = Env::new();
    env.content("one.bin", 1000);
    env.write("one.bin.torrent", "precious");
    env.fails(1, &["create", "one.bin"], "use --force");
    assert_eq!(env.read("one.bin.torrent"), b"precious");
    env.ok(&["create", "one.bin", "--force"]);
    assert_eq!(env.json(&["show", "one.bin.torrent", "--json"])["size"], 1000);
}

#[test]
fn a_torrent_that_is_named_is_made_again_and_nothing_else_is_overwritten() {
    let env = Env::new();
    env.content("one.bin", 1000);
    let words = ["create", "one.bin", "--no-date", "-o", "out"];
    env.ok(&words);
    let made = env.read("out");
    env.write("one.bin", "changed");
    env.ok(&words);
    assert_ne!(env.read("out"), made);
    env.fails(1, &["create", "one.bin", "-o", "one.bin"], "is no torrent; use --force");
    std::fs::create_dir(env.path("folder")).unwrap();
    env.fails(1, &["create", "one.bin", "-o", "folder"], "is a folder");
    assert_eq!(env.read("one.bin"), b"changed");
    env.fails(3, &["create", "one.bin", "-o", "nowhere/out"], "cannot write nowhere/out: No such file");
    let piped = env.command(&["create", "one.bin", "--no-date", "-o", "/dev/stdout"]).output().unwrap();
    assert!(piped.stdout.starts_with(&env.read("out")), "{piped:?}");
}

#[test]
fn a_length_of_pieces_that_cannot_be_is_wrong_usage() {
    let env = Env::new();
    env.content("one.bin", 1000);
    for size in ["0", "1", "17K", "512M", "1G"] {
        let says = "expected a power of two from 16K to 256M";
        env.fails(2, &["create", "one.bin", "--piece-size", size], says);
    }
    for version in ["--v1", "--v2", "--hybrid"] {
        env.ok(&["create", "one.bin", version, "--piece-size", "256M", "-o", "big"]);
    }
}

#[test]
fn what_was_made_is_told() {
    let env = Env::new();
    env.content("one.bin", 70_000);
    let out = env.ok(&["create", "one.bin"]);
    assert!(out.starts_with("wrote        one.bin.torrent\nname         one.bin\n"), "{out}");
    assert!(out.contains("\nsize         68.4 KiB (70000 bytes)\npieces       5 of 16 KiB\n"), "{out}");
}
