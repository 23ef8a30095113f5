#![no_main]

#[path = "../drivers/picker.rs"]
mod picker;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() <= 4096 {
        picker::run(data);
    }
});
