//! The program in the README of the workspace does what it says.

use std::fs;
use std::process::Command;

const README: &str = include_str!("../../../README.md");
const SOURCE: &str = include_str!("readme_program.rs");
/// Says to a test that it is the program.
const INSIDE: &str = "UNCHOKE_TEST_README";
const NAME: &str = "readme::the_program_lists_the_files_of_a_torrent";

mod program {
    include!("readme_program.rs");

    pub(super) fn run() {
        main().unwrap();
    }
}

#[test]
fn the_program_lists_the_files_of_a_torrent() {
    if std::env::var_os(INSIDE).is_some() {
        return program::run();
    }
    let shown: Vec<_> = README.split("```").filter_map(|block| block.strip_prefix("rust\n")).collect();
    assert_eq!(shown, [SOURCE], "readme_program.rs is what README.md shows");
    // It reads a torrent in the folder where it is.
    let dir = tempfile::tempdir().unwrap();
    let mut feed = metainfo::Builder::single("cat.jpg", 5).prepare().unwrap().feed();
    feed.update(b"hello");
    fs::write(dir.path().join("photos.torrent"), feed.finish().unwrap()).unwrap();
    let mut inside = Command::new(std::env::current_exe().unwrap());
    inside.args(["--exact", NAME, "--nocapture"]).env(INSIDE, "1").current_dir(dir.path());
    let output = inside.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("           5 cat.jpg\n"), "{output:?}");
}
