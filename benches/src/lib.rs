//! Whole-process benchmarks.
