//! The plan against a model with memory beneath.

use crate::driver;
use proptest::prelude::*;
use std::fs;
use std::path::Path;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_job_is_answered_once_and_rightly(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        driver::run(&bytes);
    }
}

#[test]
fn the_fuzzing_corpus_still_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/plan");
    let Ok(entries) = fs::read_dir(&corpus) else {
        eprintln!("skipped: {} is not part of this package", corpus.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        driver::run(&fs::read(path).unwrap());
    }
}
