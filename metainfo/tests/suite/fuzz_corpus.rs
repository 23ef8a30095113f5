//! Replays the fuzz corpora on the stable toolchain.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub)] // For the fuzz targets it is a crate.
mod targets;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus in {}", folder.display());
    for file in files {
        println!("{}", file.display());
        check(&fs::read(file).unwrap());
    }
}

#[test]
fn the_corpus_of_torrent_passes() {
    replay("torrent", targets::torrent);
}

#[test]
fn the_corpus_of_magnet_passes() {
    replay("magnet", targets::magnet);
}

#[test]
fn the_corpus_of_path_passes() {
    replay("path", targets::path);
}
