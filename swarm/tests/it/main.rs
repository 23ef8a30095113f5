//! What needs no simulation: the rules of the architecture, trackers, and the corpora of the fuzz targets.

mod architecture;
mod fuzz_corpus;
mod tracker;
