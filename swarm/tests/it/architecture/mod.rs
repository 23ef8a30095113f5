//! The rules of ARCHITECTURE.md that a compiler does not check: what the pure parts may name, what crates may depend on, and
//! where unsafe code may be.

mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{code, lines_with, outside_tests, sources};
use toml::{Table, Value};

/// What pure code may not name: sockets, threads, files, clocks, entropy, other people's event loops, and what is built on top
/// of it. A name with colons is a path from its start; one without is a word anywhere.
const IMPURE: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::thread",
    "std::fs",
    "std::env",
    "std::process",
    "std::os",
    "Instant",
    "SystemTime",
    "Mutex",
    "RwLock",
    "Condvar",
    "mpsc",
    "thread_rng",
    "rand::rng",
    "SysRng",
    "getrandom",
    "mio",
    "quinn_udp",
    "reqwest",
    "rustix",
    "rustls",
    "socket2",
    "tokio",
    "println",
    "eprintln",
    "crate::reactor",
    "crate::session",
    "crate::sim",
];

/// A simulation has locks and panics of its own, but nothing real either.
const REAL: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::fs",
    "Instant",
    "SystemTime",
    "rand::rng",
    "getrandom",
    "mio",
    "tokio",
    "crate::reactor",
    "crate::session",
];

/// Crates whose dependencies are fixed, and what they need without default features.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("bencode", &["nom"]),
    ("metainfo", &["bencode", "nom", "sha1", "sha2"]),
    ("wire", &["bencode", "bytes", "nom", "sha1"]),
    ("storage", &["bytes", "crc32c", "metainfo", "sha1", "sha2"]),
    (
        "swarm",
        &[
            "bencode",
            "bytes",
            "crc32c",
            "ed25519-dalek",
            "metainfo",
            "rand",
            "rand_chacha",
            "sha1",
            "sha2",
            "slab",
            "storage",
            "tracing",
            "url",
            "wire",
        ],
    ),
];

/// The roots of crates, and the attribute that bounds unsafe code in them.
const UNSAFE: &[(&str, &str)] = &[
    ("bencode/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("metainfo/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("wire/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("cli/src/main.rs", "#![forbid(unsafe_code)]"),
    ("storage/src/lib.rs", "#![deny(unsafe_code)]"),
    ("swarm/src/lib.rs", "#![deny(unsafe_code)]"),
];

#[test]
fn the_engine_and_the_disk_plan_are_pure() {
    let mut found = Vec::new();
    for folder in ["swarm/src/engine", "storage/src/plan"] {
        found.extend(uses(folder, IMPURE));
    }
    assert!(found.is_empty(), "not for pure code:\n{}", found.join("\n"));
}

#[test]
fn a_simulation_touches_nothing_real() {
    let found = uses("swarm/src/sim", REAL);
    assert!(found.is_empty(), "not for a simulation:\n{}", found.join("\n"));
}

#[test]
fn the_reactor_knows_nothing_of_the_session() {
    let found = uses("swarm/src/reactor", &["tokio", "reqwest", "crate::session", "crate::sim"]);
    assert!(found.is_empty(), "not for the reactor:\n{}", found.join("\n"));
}

#[test]
fn crates_depend_on_what_is_below_them_only() {
    for (name, allowed) in DEPENDENCIES {
        let manifest = table(&format!("{name}/Cargo.toml"));
        let needed = |value: &&Value| value.get("optional").and_then(Value::as_bool) != Some(true);
        let dependencies = manifest["dependencies"].as_table().expect("a table");
        for (dependency, _) in dependencies.iter().filter(|(_, value)| needed(value)) {
            assert!(allowed.contains(&dependency.as_str()), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn defaults_of_dependencies_do_not_bring_impurity_back() {
    let workspace = table("Cargo.toml");
    for name in ["rand", "rand_chacha", "storage", "swarm"] {
        let defaults = &workspace["workspace"]["dependencies"][name]["default-features"];
        assert_eq!(defaults.as_bool(), Some(false), "{name}");
    }
    let features = &table("swarm/Cargo.toml")["features"];
    assert_eq!(features["sim"].as_array().map(Vec::len), Some(0), "a simulation needs nothing more");
}

#[test]
fn unsafe_code_is_in_its_files_and_says_why() {
    for (path, attribute) in UNSAFE {
        let crate_root = fs::read_to_string(root().join(path)).expect(path);
        assert!(crate_root.contains(attribute), "{path} lacks {attribute}");
    }
    for name in members() {
        for file in sources(&root().join(&name)) {
            let text = fs::read_to_string(&file).expect("a source");
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            for line in lines_with(&code(&text), "unsafe") {
                let at = format!("{}:{line}", file.display());
                assert!(
                    stem.starts_with("sys") || stem.starts_with("lanes"),
                    "{at}: unsafe code is not for here"
                );
                let above = lines[..line - 1].iter().rev();
                let comment = above.take_while(|above| above.trim_start().starts_with("//"));
                assert!(comment.into_iter().any(|above| above.contains("SAFETY:")), "{at}: no SAFETY line");
            }
        }
    }
}

/// Places in the sources of a folder, tests left out, that name one of `words`.
fn uses(folder: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let files = sources(&root().join(folder));
    assert!(files.len() > 5, "{folder} is elsewhere");
    for file in files {
        let is_test = file.iter().any(|part| part == "tests" || part == "tests.rs");
        let text = fs::read_to_string(&file).expect("a source");
        let bare = code(&text);
        for word in words.iter().filter(|_| !is_test) {
            let lines = lines_with(outside_tests(&bare), word);
            found.extend(lines.into_iter().map(|line| format!("{}:{line}: {word}", file.display())));
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

fn table(path: &str) -> Table {
    fs::read_to_string(root().join(path)).expect(path).parse().expect(path)
}

fn members() -> Vec<String> {
    let workspace = table("Cargo.toml");
    let members = workspace["workspace"]["members"].as_array().expect("a list");
    members.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}
