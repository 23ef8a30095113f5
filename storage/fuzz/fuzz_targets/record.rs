//! Sheets of records, with and without a checksum that fits.

#![no_main]

#[path = "../../tests/it/record_driver.rs"]
mod record_driver;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| record_driver::run(bytes));
