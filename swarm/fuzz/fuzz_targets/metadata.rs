#![no_main]

#[path = "../drivers/metadata.rs"]
mod metadata;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() <= 4096 {
        metadata::run(data);
    }
});
