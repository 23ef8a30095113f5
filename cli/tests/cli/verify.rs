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
