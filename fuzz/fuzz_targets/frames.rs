#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| external_scheduler_fuzz::frames::check(bytes));
