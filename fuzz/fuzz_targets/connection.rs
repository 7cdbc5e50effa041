#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kavka_net::fuzz::connection(data));
