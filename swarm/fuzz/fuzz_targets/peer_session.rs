#![no_main]

#[path = "../drivers/peer_session.rs"]
mod peer_session;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() <= 2048 {
        peer_session::run(data);
    }
});
