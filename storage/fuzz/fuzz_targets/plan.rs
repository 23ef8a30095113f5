//! Operations on the plan, with memory beneath and a model beside it.

#![no_main]

#[path = "../../tests/it/driver.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driver::run(bytes));
