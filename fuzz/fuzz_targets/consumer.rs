#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kavka_group::fuzz::consumer(data, std::time::Instant::now()));
