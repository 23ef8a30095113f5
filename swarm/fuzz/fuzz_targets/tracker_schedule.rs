#![no_main]

#[path = "../drivers/tracker_schedule.rs"]
mod tracker_schedule;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() <= 4096 {
        tracker_schedule::run(data);
    }
});
