#![no_main]

#[path = "../drivers/upheaval.rs"]
mod upheaval;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() <= 2048 {
        upheaval::run(data);
    }
});
