//! Tests of the crate from outside.

#[path = "../../fuzz/driver.rs"]
mod driver;
mod plan;
