//! The fuzz drivers on random bytes and on their corpora.

use std::fs;
use std::path::Path;

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[path = "../../../fuzz/drivers/tracker_schedule.rs"]
mod tracker_schedule;
#[path = "../../../fuzz/drivers/tracker_udp_client.rs"]
mod tracker_udp_client;

fn play(name: &str, run: fn(&[u8])) {
    for seed in 0..200 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut data = vec![0; rng.random_range(0..3000)];
        rng.fill_bytes(&mut data);
        run(&data);
    }
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&fs::read(path).unwrap());
    }
}

#[test]
fn the_schedule_keeps_its_rules_whatever_comes() {
    play("tracker_schedule", tracker_schedule::run);
}

#[test]
fn the_udp_client_keeps_its_rules_whatever_comes() {
    play("tracker_udp_client", tracker_udp_client::run);
}
