#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| unchoke_bencode_fuzz::decode(data));
