//! Behaviour of the crate as its users see it.

mod bad;
mod build;
mod edit;
mod fuzz_corpus;
mod good;
mod good_v2;
mod layers;
mod parse;
mod support;

use std::collections::BTreeSet;

/// The two tables hold one case for each file of libtorrent's collection of odd torrents, by its name.
#[test]
fn every_known_oddity_has_a_verdict() {
    let bad = bad::cases().into_iter().map(|case| case.0);
    let good = good::cases().into_iter().chain(good_v2::cases()).map(|case| case.0);
    let names: BTreeSet<&str> = bad.chain(good).collect();
    assert_eq!(names.len(), 108);
}
