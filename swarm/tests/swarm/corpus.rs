//! Replays the corpus of the fuzz target that drives a live session, and random sessions besides.

use std::path::Path;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

// Public for the fuzz target, which is another crate.
#[allow(unreachable_pub)]
#[path = "../../fuzz/drivers/peer_session.rs"]
mod peer_session;

#[test]
fn no_session_of_the_corpus_does_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/peer_session");
    let mut played = 0;
    for file in std::fs::read_dir(&folder).expect("a corpus of the target") {
        let path = file.expect("an entry of the corpus").path();
        println!("{}", path.display());
        peer_session::run(&std::fs::read(&path).expect("a readable file"));
        played += 1;
    }
    assert!(played > 0, "{} is empty", folder.display());
}

#[test]
fn no_random_session_does_harm() {
    for seed in 0..150 {
        println!("session {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut data = vec![0; rng.random_range(1..300)];
        rng.fill_bytes(&mut data);
        peer_session::run(&data);
    }
}
