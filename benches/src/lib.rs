#![doc = include_str!("../README.md")]
//!
//! # The library
//!
//! Whole-process transfer benchmarks: what a client costs in time, CPU and memory for a transfer over
//! loopback. The program is `loopback`; docs/benchmarks.md says how to run it and how to read it.
//!
//! A measured program (a *subject*) talks to a *counterpart*, a peer that hashes and stores nothing, so
//! that all subjects meet the same one and none waits for it.

pub mod counterpart;
pub mod magnet;
pub mod payload;
pub mod process;
pub mod report;
pub mod round;
pub mod subject;
pub mod tokio_driver;
