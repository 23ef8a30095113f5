#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| unchoke_metainfo_fuzz::torrent(data));
