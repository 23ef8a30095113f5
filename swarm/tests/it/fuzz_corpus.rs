//! Replays the fuzz corpora, and random input besides, on the stable toolchain.

#[path = "../../fuzz/drivers/metadata.rs"]
mod metadata;
#[path = "../../fuzz/drivers/picker.rs"]
mod picker;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).expect("a corpus of the target");
    let mut played = 0;
    for file in files {
        let path = file.expect("an entry of the corpus").path();
        println!("{}", path.display());
        run(&std::fs::read(&path).expect("a readable file"));
        played += 1;
    }
    assert!(played > 0, "{} is empty", folder.display());
}

#[test]
fn the_picker_agrees_with_its_model_on_the_corpus() {
    replay("picker", picker::run);
}

#[test]
fn the_picker_agrees_with_its_model_on_random_operations() {
    for seed in 0..400 {
        println!("seed {seed}");
        let mut data = vec![0; 1500];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut data);
        picker::run(&data);
    }
}

#[test]
fn metadata_come_from_one_honest_peer_whatever_the_corpus_says() {
    replay("metadata", metadata::run);
}

#[test]
fn metadata_come_from_one_honest_peer_whatever_is_said_at_random() {
    for seed in 0..400 {
        println!("seed {seed}");
        let mut data = vec![0; 600];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut data);
        metadata::run(&data);
    }
}
