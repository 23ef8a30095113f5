#![no_main]

#[path = "../drivers/tracker_udp_client.rs"]
mod tracker_udp_client;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() <= 4096 {
        tracker_udp_client::run(data);
    }
});
