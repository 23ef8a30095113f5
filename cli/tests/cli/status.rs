//! Exit statuses and the line that explains them.

use crate::env::{Env, taken};

#[test]
fn help_and_version_succeed() {
    let env = Env::new();
    assert!(env.ok(&["--version"]).starts_with("unchoke "));
    let help = env.ok(&["--help"]);
    for command in ["download", "seed", "create", "show", "verify", "edit", "demo", "completions", "man"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        assert!(env.ok(&[command, "--help"]).contains("Usage: unchoke"), "{command}");
    }
}

#[test]
fn wrong_usage_is_2() {
    let env = Env::new();
    env.content("one.bin", 1000);
    env.ok(&["create", "one.bin"]);
    assert_eq!(env.run(&[]).code, Some(2));
    env.fails(2, &["nonsense"], "unrecognized subcommand");
    env.fails(2, &["show", "--nonsense", "a"], "unexpected argument");
    env.fails(2, &["show", "magnet:?dn=x"], "not a magnet link");
    env.fails(2, &["show", "https://example.invalid/a.torrent"], "show reads files only");
    env.fails(2, &["seed", "one.bin.torrent"], "-d DIR");
    env.fails(2, &["seed", "one.bin.torrent", "-d", ".", "-t", "udp://a:1"], "edit --add-tracker");
    env.fails(2, &["create", "one.bin", "--json", "-o", "-"], "--json");
    env.fails(2, &["download", "one.bin.torrent", "--select", "7"], "below 1");
    env.fails(2, &["download", "one.bin.torrent", "--peer", "nowhere"], "HOST:PORT");
}

#[test]
fn a_path_that_does_not_exist_is_3() {
    let env = Env::new();
    env.content("one.bin", 1000);
    env.ok(&["create", "one.bin"]);
    for words in [
        &["show", "nothing"][..],
        &["verify", "nothing"],
        &["verify", "one.bin.torrent", "nothing"],
        &["edit", "nothing", "--comment", "x"],
        &["create", "nothing"],
        &["create", "one.bin", "-o", "nothing/a.torrent"],
        &["download", "nothing"],
        &["seed", "nothing"],
        &["seed", "nothing", "-d", "."],
        &["seed", "one.bin.torrent", "-d", "nothing"],
    ] {
        env.fails(3, words, "nothing");
    }
}

#[test]
fn what_cannot_be_used_is_1() {
    let env = Env::new();
    env.write("text", "no torrent");
    env.write("empty/file", "");
    env.content("one.bin", 100_000);
    env.ok(&["create", "one.bin", "--v2"]);
    env.fails(1, &["show", "text"], "text is not a torrent");
    env.fails(1, &["create", "empty"], "cannot make a torrent of empty");
    let meta = metainfo::Torrent::parse(&env.read("one.bin.torrent")).unwrap();
    let bare = metainfo::Edit::from_info(meta.info_bytes()).unwrap().finish().unwrap();
    env.write("bare.torrent", bare);
    for words in [&["download", "bare.torrent"][..], &["seed", "bare.torrent", "-d", "."]] {
        env.fails(1, words, "v2-only torrent without its piece layers");
    }
}

#[test]
fn what_cannot_be_reached_is_4() {
    let env = Env::new();
    env.content("one.bin", 1000);
    env.ok(&["create", "one.bin"]);
    let port = taken();
    let number = port.local_addr().unwrap().port().to_string();
    let words = ["seed", "one.bin", "--listen", "127.0.0.1", "--port", &number];
    env.fails(4, &words, &format!("cannot listen on 127.0.0.1:{number}"));
    drop(port);
    let url = format!("http://127.0.0.1:{number}/a.torrent");
    env.fails(4, &["download", &url], "connection refused");
    env.fails(4, &["seed", "one.bin", "--peer", "no-such-host.invalid:1"], "no-such-host.invalid");
}

#[test]
fn data_that_do_not_match_are_5() {
    let env = Env::new();
    env.content("one.bin", 100_000);
    env.ok(&["create", "one.bin"]);
    env.write("one.bin", vec![0; 100_000]);
    assert_eq!(env.run(&["verify", "one.bin.torrent"]).code, Some(5));
    env.fails(5, &["seed", "one.bin.torrent", "-d", "."], "unchoke verify");
}

#[test]
fn a_disk_that_refuses_is_6() {
    let env = Env::new();
    env.content("one.bin", 100_000);
    env.ok(&["create", "one.bin"]);
    // A folder lies where the file belongs.
    std::fs::create_dir_all(env.path("out/one.bin")).unwrap();
    env.fails(2, &["show", "out"], "out is a folder; name a torrent file");
    let ran = env.run(&["verify", "one.bin.torrent", "out"]);
    assert_eq!(ran.code, Some(6), "{}{}", ran.out, ran.err);
}

#[test]
fn stopping_before_the_end_is_7() {
    let env = Env::new();
    env.content("one.bin", 1000);
    env.ok(&["create", "one.bin"]);
    let ran = env.run(&[
        "download",
        "one.bin.torrent",
        "-o",
        "out",
        "--listen",
        "127.0.0.1",
        "--stop-after",
        "100ms",
    ]);
    assert_eq!(ran.code, Some(7), "{}", ran.err);
    // On a machine that is busy enough it did not come so far as to look for the files.
    let says = ran.out.contains("stopped with 0 B of 1000 B") || ran.err.contains("the time was over before");
    assert!(says, "{}{}", ran.out, ran.err);
}
