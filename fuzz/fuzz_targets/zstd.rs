#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kavka_wire::compress::fuzz_decompress(kavka_wire::compress::Codec::Zstd, data));
