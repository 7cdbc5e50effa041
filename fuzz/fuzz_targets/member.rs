#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kavka_group::fuzz::member(data, std::time::Instant::now()));
