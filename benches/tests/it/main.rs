//! The parts of the benchmarks that others measure with, each against another one.

mod counterpart;
mod readme;
mod tokio_driver;
