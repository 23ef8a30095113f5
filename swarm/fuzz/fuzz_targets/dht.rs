#![no_main]

#[path = "../drivers/dht.rs"]
mod dht;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() <= 8192 {
        dht::run(data);
    }
});
