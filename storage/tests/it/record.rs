//! Records as a fuzzer sees them.

use crate::record_driver;
use std::fs;
use std::path::Path;

#[test]
fn the_fuzzing_corpus_still_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/record");
    let Ok(entries) = fs::read_dir(&corpus) else {
        eprintln!("skipped: {} is not part of this package", corpus.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        record_driver::run(&fs::read(path).unwrap());
    }
}
