use proptest::prelude::*;

use super::*;
use crate::fuzz;

fn samples() -> Vec<Vec<u8>> {
    let text: Vec<u8> =
        b"jackdaws love my big sphinx of quartz; ".iter().copied().cycle().take(300_000).collect();
    let mut noise = Vec::new();
    let mut state = 1u64;
    while noise.len() < 200_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.push((state >> 56) as u8);
    }
    vec![Vec::new(), b"k".to_vec(), text, noise]
}

#[test]
fn what_was_compressed_comes_back_with_contexts_used_again() {
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    for _ in 0..3 {
        for codec in Codec::ALL {
            for sample in samples() {
                let mut packed = b"before".to_vec();
                compressor.compress(codec, None, &sample, &mut packed).unwrap();
                let mut unpacked = b"kept".to_vec();
                decompressor.decompress(codec, &packed[6..], &mut unpacked, sample.len()).unwrap();
                assert_eq!(&unpacked[4..], sample, "{codec}");
            }
        }
    }
}

#[test]
fn every_level_is_read_back() {
    for (codec, levels) in [(Codec::Gzip, 1..=9), (Codec::Lz4, 1..=17), (Codec::Zstd, -7..=4)] {
        for level in levels.filter(|level| *level != 0 || codec == Codec::Zstd) {
            let sample = &samples()[2];
            let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
            Compressor::new().compress(codec, Some(level), sample, &mut packed).unwrap();
            Decompressor::new().decompress(codec, &packed, &mut unpacked, sample.len()).unwrap();
            assert!(&unpacked == sample, "{codec} {level}");
        }
    }
}

#[test]
fn a_level_outside_the_range_is_refused_by_name() {
    let mut sink = Vec::new();
    let error = Compressor::new().compress(Codec::Gzip, Some(10), b"x", &mut sink).unwrap_err();
    assert_eq!(error.to_string(), "gzip has no compression level 10: choose one from 1 to 9");
    assert!(Compressor::new().compress(Codec::Snappy, Some(1), b"x", &mut sink).is_err());
}

#[test]
fn output_over_the_limit_is_an_error_and_takes_no_more_memory() {
    for codec in Codec::ALL {
        let bomb = vec![0u8; 4 << 20];
        let mut packed = Vec::new();
        Compressor::new().compress(codec, None, &bomb, &mut packed).unwrap();
        for limit in [0, 1, 70_000, bomb.len() - 1] {
            let mut output = Vec::new();
            let result = Decompressor::new().decompress(codec, &packed, &mut output, limit);
            assert_eq!(result, Err(CompressError::TooLarge { codec, limit }));
            assert!(output.len() <= limit);
            assert!(output.capacity() <= 2 * limit + 256 * 1024, "{codec}: {}", output.capacity());
        }
    }
}

#[test]
fn a_tiny_lz4_block_takes_no_more_room_than_it_can_fill() {
    // Blocks may have 4 MiB; this one has a byte.
    let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x70];
    frame.push((twox_hash::XxHash32::oneshot(0, &frame[4..6]) >> 8) as u8);
    frame.extend_from_slice(&[2, 0, 0, 0, 0x10, b'k', 0, 0, 0, 0]);
    let mut output = Vec::new();
    Decompressor::new().decompress(Codec::Lz4, &frame, &mut output, 1 << 30).unwrap();
    assert_eq!(output, b"k");
    assert!(output.capacity() < 1024, "{}", output.capacity());
}

#[test]
fn streams_one_after_another_are_one_content() {
    for codec in Codec::ALL {
        let mut packed = Vec::new();
        for part in ["two ", "streams"] {
            Compressor::new().compress(codec, None, part.as_bytes(), &mut packed).unwrap();
        }
        let mut output = Vec::new();
        Decompressor::new().decompress(codec, &packed, &mut output, 100).unwrap();
        assert_eq!(output, b"two streams", "{codec}");
    }
}

#[test]
fn raw_snappy_is_read_too() {
    let packed = snap::raw::Encoder::new().compress_vec(b"no framing").unwrap();
    let mut output = Vec::new();
    Decompressor::new().decompress(Codec::Snappy, &packed, &mut output, 100).unwrap();
    assert_eq!(output, b"no framing");
}

#[test]
fn gzip_headers_may_carry_a_name_a_comment_and_more() {
    let mut plain = Vec::new();
    Compressor::new().compress(Codec::Gzip, None, b"content", &mut plain).unwrap();
    let mut dressed = plain[..10].to_vec();
    dressed[3] = 2 | 4 | 8 | 16;
    dressed.extend_from_slice(b"\x03\x00abcname\0comment\0cc");
    dressed.extend_from_slice(&plain[10..]);
    let mut output = Vec::new();
    Decompressor::new().decompress(Codec::Gzip, &dressed, &mut output, 100).unwrap();
    assert_eq!(output, b"content");
}

#[test]
fn the_wrong_lz4_header_checksum_of_old_message_sets_is_accepted_only_there() {
    let mut packed = Vec::new();
    Compressor::new().compress(Codec::Lz4, None, b"content", &mut packed).unwrap();
    packed[6] ^= 0xff;
    let mut output = Vec::new();
    assert!(Decompressor::new().decompress(Codec::Lz4, &packed, &mut output, 100).is_err());
    Decompressor::new().decompress_legacy(Codec::Lz4, &packed, &mut output, 100).unwrap();
    assert_eq!(output, b"content");
}

#[test]
fn the_corpus_of_each_codec_is_read_without_a_panic() {
    for codec in &Codec::ALL[1..] {
        let corpus = format!("{}/../../fuzz/corpus/{codec}", env!("CARGO_MANIFEST_DIR"));
        let inputs = std::fs::read_dir(&corpus).unwrap();
        assert!(
            inputs
                .map(|entry| fuzz::decompress(*codec, &std::fs::read(entry.unwrap().path()).unwrap()))
                .count()
                > 0
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_streams_are_errors_or_content_but_never_a_panic(
        codec in 1usize..5, content in prop::collection::vec(0u8..4, 0..3_000), at in any::<prop::sample::Index>(), flip in 1u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let codec = Codec::ALL[codec];
        let mut packed = Vec::new();
        Compressor::new().compress(codec, None, &content, &mut packed).unwrap();
        fuzz::decompress(codec, &packed[..cut.index(packed.len())]);
        let at = at.index(packed.len());
        packed[at] ^= flip;
        fuzz::decompress(codec, &packed);
    }
}
