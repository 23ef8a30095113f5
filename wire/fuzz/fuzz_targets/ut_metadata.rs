#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| unchoke_wire_fuzz::ut_metadata(data));
