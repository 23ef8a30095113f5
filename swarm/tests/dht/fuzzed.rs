//! The fuzz driver on random bytes and on its corpus.

use std::fs;
use std::path::Path;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[path = "../../fuzz/drivers/dht.rs"]
mod dht;

#[test]
fn a_node_keeps_its_rules_whatever_comes() {
    for seed in 0..300 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut data = vec![0; rng.random_range(0..2000)];
        rng.fill_bytes(&mut data);
        dht::run(&data);
    }
}

#[test]
fn a_node_keeps_its_rules_on_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/dht");
    let mut played = 0;
    for entry in fs::read_dir(corpus).expect("a corpus") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        dht::run(&fs::read(path).expect("a readable file"));
        played += 1;
    }
    assert!(played > 0);
}
