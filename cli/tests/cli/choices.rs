//! What was chosen for a torrent holds for the next run of it.

use serde_json::Value;

use crate::env::{Env, Ran, Running, listening};

const LOCAL: [&str; 6] = ["--listen", "127.0.0.1", "--port", "0", "--stop-after", "60s"];

/// An album, and a seed of it.
struct Scene {
    env: Env,
    _seed: Running,
    peer: String,
}

impl Scene {
    fn new() -> Self {
        let env = Env::new();
        env.album();
        env.ok(&["create", "album"]);
        let words = ["seed", "album.torrent", "-d", ".", "--no-resume", "--json"];
        let mut seed = env.start(&[&words[..], &LOCAL[..4]].concat());
        let peer = listening(&seed.until("started")).to_string();
        Self { env, _seed: seed, peer }
    }

    fn download(&self, torrent: &str, more: &[&str]) -> Ran {
        let words = ["download", torrent, "-o", "out", "--peer", &self.peer];
        let ran = self.env.run(&[&words[..], &LOCAL, more].concat());
        assert_eq!(ran.code, Some(0), "{more:?}: {}{}", ran.out, ran.err);
        ran
    }

    fn has(&self, file: &str) -> bool {
        self.env.path(format!("out/album/{file}")).exists()
    }
}

/// What the next run says of earlier ones.
fn recalled(ran: &Ran) -> Option<&str> {
    ran.err.lines().find(|line| line.contains("as before"))
}

#[test]
fn files_that_were_chosen_are_chosen_until_others_are() {
    let scene = Scene::new();
    let ran = scene.download("album.torrent", &["--select", "one.flac"]);
    assert_eq!(recalled(&ran), None);
    let ran = scene.download("album.torrent", &[]);
    let said = recalled(&ran).unwrap_or_else(|| panic!("{}", ran.err));
    assert!(said.contains("1 of 4 files") && said.contains("--select '*'"), "{said}");
    assert!(scene.has("one.flac") && !scene.has("two.flac"));
    let ran = scene.download("album.torrent", &["--select", "*"]);
    assert_eq!(recalled(&ran), None);
    assert!(scene.env.read("out/album/two.flac") == scene.env.read("album/two.flac"));
    assert_eq!(recalled(&scene.download("album.torrent", &[])), None, "that is as usual");
}

#[test]
fn each_choice_is_left_by_itself() {
    let scene = Scene::new();
    let first = ["--priority", "*.flac=high", "--priority", "*.jpg=skip", "--order", "sequential"];
    scene.download("album.torrent", &[&first[..], &["--up-limit", "3M", "--preallocate", "full"]].concat());
    let ran = scene.download("album.torrent", &["--json", "--up-limit", "0"]);
    let events: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let at = |name: &str| events.iter().position(|event| event["event"] == name);
    let recalled_at = at("recalled").unwrap_or_else(|| panic!("{}", ran.out));
    assert!(recalled_at < at("started").unwrap());
    let said = &events[recalled_at];
    assert_eq!((&said["wanted"], &said["files"]), (&3.into(), &4.into()), "{said}");
    assert_eq!((&said["order"], &said["preallocate"]), (&"sequential".into(), &"full".into()), "{said}");
    assert_eq!((&said["up_limit"], &said["down_limit"]), (&Value::Null, &Value::Null), "{said}");
    let ran = scene.download("album.torrent", &["--order", "rarest", "--preallocate", "none"]);
    let said = recalled(&ran).unwrap();
    assert!(said.contains("3 of 4 files") && !said.contains("sequential") && !said.contains("/s"), "{said}");
    let ran = scene.download("album.torrent", &[]);
    let said = recalled(&ran).unwrap();
    assert!(
        said.contains("--preallocate none, as before") && said.contains("--preallocate sparse for"),
        "{said}"
    );
}

#[test]
fn a_limit_of_the_command_line_is_the_torrents_and_one_of_the_environment_is_not() {
    let scene = Scene::new();
    scene.env.write(".config/unchoke/config.toml", "down-limit = \"4M\"\nup-limit = \"2M\"\n");
    scene.download("album.torrent", &["--up-limit", "3M"]);
    std::fs::remove_file(scene.env.path(".config/unchoke/config.toml")).unwrap();
    let ran = scene.download("album.torrent", &[]);
    let said = recalled(&ran).unwrap();
    assert!(said.contains("up to 3.0 MiB/s sent") && !said.contains("received"), "{said}");
}

#[test]
fn seeding_chooses_nothing() {
    let scene = Scene::new();
    scene.download("album.torrent", &["--priority", "one.flac=high", "--order", "sequential"]);
    let words = ["seed", "album.torrent", "-d", "out", "--up-limit", "1M"];
    let ran = scene.env.run_until(&[&words[..], &LOCAL].concat(), "listening at port");
    assert_eq!((ran.code, recalled(&ran)), (Some(0), None), "{}", ran.err);
    let ran = scene.download("album.torrent", &[]);
    let said = recalled(&ran).unwrap_or_else(|| panic!("{}", ran.err));
    assert!(said.contains("sequential") && said.contains("priorities") && !said.contains("/s"), "{said}");
}

#[test]
fn a_magnet_link_of_what_is_recorded_leaves_it_so() {
    let scene = Scene::new();
    scene.download("album.torrent", &["--select", "two.flac"]);
    let link = scene.env.json(&["show", "album.torrent", "--json"])["magnet"].as_str().unwrap().to_owned();
    let ran = scene.download(&link, &[]);
    assert!(recalled(&ran).is_some_and(|said| said.contains("1 of 4 files")), "{}", ran.err);
    assert!(!scene.has("one.flac"));
    scene.download(&link, &["--select", "one.flac"]);
    assert!(scene.has("one.flac"));
}
