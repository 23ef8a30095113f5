use crate::env::Env;
use std::io::Write;
use std::process::Stdio;

/// Made by hand: a private torrent of two files.
const TORRENT: &[u8] =
    b"d8:announce17:http://t.invalid/7:comment5:h\x1bllo10:created by4:test13:creation datei1700000000e\
4:infod5:filesld6:lengthi3e4:pathl1:aeed6:lengthi16384e4:pathl3:dir1:beee4:name5:thing12:piece lengthi16384e\
6:pieces40:aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb7:privatei1eee";

#[test]
fn a_torrent_is_shown_in_full() {
    let env = Env::new();
    env.write("a.torrent", TORRENT);
    let expected = "\
name         thing
info-hash    HASH
size         16.0 KiB (16387 bytes) in 2 files
pieces       2 of 16 KiB
private      yes, peers come from its trackers only
comment      h\u{fffd}llo
created by   test
created      2023-11-14 22:13:20 UTC
trackers     http://t.invalid/
magnet       magnet:?xt=urn:btih:HASH&dn=thing&xl=16387&tr=http%3A%2F%2Ft.invalid%2F

    0         3 B  thing/a
    1    16.0 KiB  thing/dir/b
";
    let hash = env.json(&["show", "a.torrent", "--json"])["info_hash"].as_str().unwrap().to_owned();
    assert_eq!(env.ok(&["show", "a.torrent", "--files"]), expected.replace("HASH", &hash));
}

#[test]
fn json_has_everything() {
    let env = Env::new();
    env.write("a.torrent", TORRENT);
    let shown = env.json(&["show", "a.torrent", "--json"]);
    for (key, expected) in [
        ("kind", "\"torrent\""),
        ("name", "\"thing\""),
        ("version", "\"v1\""),
        ("size", "16387"),
        ("piece_length", "16384"),
        ("pieces", "2"),
        ("private", "true"),
        ("creation_date", "1700000000"),
        ("info_hash_v2", "null"),
        ("trackers", "[[\"http://t.invalid/\"]]"),
    ] {
        assert_eq!(shown[key].to_string(), expected, "{key}");
    }
    assert_eq!(shown["files"][1]["path"], "thing/dir/b");
    assert_eq!(shown["files"][1]["size"], 16384);
}

#[test]
fn standard_input_is_read() {
    let env = Env::new();
    let mut child = env.command(&["show", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(TORRENT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("name         thing\n"));
}

#[test]
fn a_magnet_is_shown() {
    let env = Env::new();
    let magnet = "magnet:?xt=urn:btih:c0fda1edafdbdbb96443424e0b3899af7159d10e&dn=a+b&tr=udp%3A%2F%2Ft%3A1&x.pe=[::1]:5";
    let expected = "\
name         a b
info-hash    c0fda1edafdbdbb96443424e0b3899af7159d10e
trackers     udp://t:1
peers        [::1]:5
";
    assert_eq!(env.ok(&["show", magnet]), expected);
    let shown = env.json(&["show", magnet, "--json"]);
    assert_eq!((&shown["kind"], &shown["peers"][0]), (&"magnet".into(), &"[::1]:5".into()));
}
