use crate::env::Env;

#[test]
fn good_data_are_complete() {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album"]);
    let all = "album: complete, 459.0 KiB of 459.0 KiB match (29 of 29 pieces)\n";
    assert_eq!(env.ok(&["verify", "album.torrent"]), all);
    assert_eq!(env.ok(&["verify", "album.torrent", "."]), all);
    let listed = env.ok(&["verify", "album.torrent", "--files"]);
    assert!(listed.starts_with("ok          100.0%         0 B  album/empty.txt\n"), "{listed}");
}

#[test]
fn links_are_not_said_to_be_there() {
    let env = Env::new();
    let hash = b"\xaa\xf4\xc6\x1d\xdc\xc5\xe8\xa2\xda\xbe\xde\x0f\x3b\x48\x2c\xd9\xae\xa9\x43\x4d";
    let files = "d4:attr1:l6:lengthi0e4:pathl4:linke12:symlink pathl4:fileeed6:lengthi5e4:pathl4:fileee";
    let info = format!("d4:infod5:filesl{files}e4:name3:set12:piece lengthi16384e6:pieces20:");
    env.write("set.torrent", [info.as_bytes(), hash, b"ee"].concat());
    env.write("set/file", "hello");
    let listed = env.ok(&["verify", "set.torrent", "--files"]);
    let links: Vec<_> = listed.lines().filter(|line| line.ends_with("set/link")).collect();
    assert!(links.len() == 1 && links[0].starts_with("link  ") && !links[0].contains('%'), "{listed}");
    let shown = env.json(&["verify", "set.torrent", "--json"]);
    assert_eq!((&shown["complete"], &shown["files"][0]["status"]), (&true.into(), &"link".into()));
}

#[test]
fn each_file_that_is_not_right_is_named() {
    let env = Env::new();
    env.album();
    env.ok(&["create", "album"]);
    let mut bytes = env.read("album/one.flac");
    bytes[200_000] ^= 1;
    env.write("album/one.flac", &bytes);
    std::fs::remove_file(env.path("album/empty.txt")).unwrap();
    std::fs::write(env.path("album/two.flac"), &env.read("album/two.flac")[..100_000]).unwrap();
    let ran = env.run(&["verify", "album.torrent"]);
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    for (status, file) in [("bad", "one.flac"), ("missing", "empty.txt"), ("incomplete", "two.flac")] {
        let has =
            ran.out.lines().any(|line| line.starts_with(status) && line.ends_with(&format!("album/{file}")));
        assert!(has, "{file}: {}", ran.out);
    }
    assert!(!ran.out.contains("cover.jpg"), "{}", ran.out);
    let shown: serde_json::Value =
        serde_json::from_str(&env.run(&["verify", "album.torrent", "--json"]).out).unwrap();
    assert_eq!(shown["complete"], false);
    assert_eq!(shown["pieces"]["bad"], 1);
    assert_eq!(shown["files"].as_array().unwrap().len(), 4);
}

#[test]
fn verifying_changes_nothing() {
    let env = Env::new();
    env.content("one.bin", 100_000);
    env.ok(&["create", "one.bin"]);
    std::fs::create_dir(env.path("empty")).unwrap();
    let ran = env.run(&["verify", "one.bin.torrent", "empty"]);
    assert_eq!(ran.code, Some(5));
    assert_eq!(std::fs::read_dir(env.path("empty")).unwrap().count(), 0);
}
