//! Random inputs for the fuzz target of the same name.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

// Public for the fuzz target, which is another crate.
#[allow(unreachable_pub)]
#[path = "../../fuzz/drivers/upheaval.rs"]
mod driver;

#[test]
fn whatever_users_and_disks_do_it_ends_well() {
    let seeds = std::env::var("UNCHOKE_UPHEAVALS").map_or(60, |count| count.parse().expect("a number"));
    // The last ones found: a seed that fetched what it had lost, and pieces that nobody was told of after a recheck.
    for seed in (0..seeds).chain([95, 2113]) {
        println!("upheaval {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut data = vec![0; rng.random_range(1..400)];
        rng.fill_bytes(&mut data);
        driver::run(&data);
    }
}
