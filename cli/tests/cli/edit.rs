use crate::env::Env;

fn env() -> Env {
    let env = Env::new();
    env.content("one.bin", 1000);
    env.ok(&[
        "create",
        "one.bin",
        "-o",
        "a",
        "-t",
        "http://a/1",
        "-t",
        "http://b/2",
        "-w",
        "http://w/",
        "-c",
        "old",
    ]);
    env
}

#[test]
fn trackers_and_remarks_change_and_the_hash_stays() {
    let env = env();
    let before = env.json(&["show", "a", "--json"]);
    let words =
        ["edit", "a", "--remove-tracker", "http://a/1", "--add-tracker", "udp://c:3", "--comment", "new"];
    env.ok(&words);
    env.ok(&[
        "edit",
        "a",
        "--replace-tracker",
        "http://b/2",
        "https://d/4",
        "--clear-web-seeds",
        "--no-date",
    ]);
    let after = env.json(&["show", "a", "--json"]);
    assert_eq!(after["trackers"].to_string(), "[[\"https://d/4\"],[\"udp://c:3\"]]");
    assert_eq!((&after["comment"], after["web_seeds"].to_string()), (&"new".into(), "[]".into()));
    assert!(after["creation_date"].is_null());
    assert_eq!(before["info_hash"], after["info_hash"]);
}

#[test]
fn another_file_or_standard_output_can_be_written() {
    let env = env();
    let before = env.read("a");
    env.ok(&["edit", "a", "--comment", "", "-o", "b"]);
    let piped = env.command(&["edit", "a", "--comment", "", "-o", "-"]).output().unwrap().stdout;
    assert_eq!(env.read("b"), piped);
    assert_eq!(env.read("a"), before);
    assert!(env.json(&["show", "b", "--json"])["comment"].is_null());
}

#[cfg(unix)]
#[test]
fn a_file_that_is_replaced_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let env = env();
    let mode = || std::fs::metadata(env.path("a")).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(env.path("a"), std::fs::Permissions::from_mode(0o640)).unwrap();
    env.ok(&["edit", "a", "--comment", "x"]);
    assert_eq!(mode(), 0o640);
}

#[test]
fn mistakes_change_nothing() {
    let env = env();
    let before = env.read("a");
    env.fails(2, &["edit", "a"], "nothing to change");
    env.fails(1, &["edit", "a", "--remove-tracker", "http://x/"], "has no tracker http://x/");
    env.fails(1, &["edit", "a", "--remove-web-seed", "http://x/"], "has no web seed http://x/");
    env.fails(2, &["edit", "a", "--add-tracker", "nonsense"], "not a URL");
    assert_eq!(env.read("a"), before);
}

#[test]
fn a_link_is_edited_where_it_leads_to() {
    let env = Env::new();
    env.content("one.bin", 1000);
    env.ok(&["create", "one.bin", "-o", "real.torrent"]);
    std::os::unix::fs::symlink("real.torrent", env.path("link.torrent")).unwrap();
    env.ok(&["edit", "link.torrent", "--comment", "new"]);
    assert!(env.path("link.torrent").is_symlink());
    assert_eq!(env.json(&["show", "real.torrent", "--json"])["comment"], "new");
}
