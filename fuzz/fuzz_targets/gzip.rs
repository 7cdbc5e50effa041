#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kavka_wire::fuzz::decompress(kavka_wire::compress::Codec::Gzip, data));
