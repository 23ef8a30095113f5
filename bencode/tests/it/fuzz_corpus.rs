//! Replays the fuzz corpora on the stable toolchain.

use std::fs;
use std::path::Path;

use crate::targets;

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
fn the_corpus_of_decode_passes() {
    replay("decode", targets::decode);
}

#[test]
fn the_corpus_of_encode_roundtrip_passes() {
    replay("encode_roundtrip", targets::encode_roundtrip);
}
