//! Bodies of the fuzz targets. `fuzz/` calls them with what libFuzzer makes up, `cargo test` with the checked-in
//! corpus.

use bytes::Bytes;

use crate::codec::{Limits, RecodeError};
use crate::compress::{Codec, Decompressor};
use crate::messages::{all_messages, recode};
use crate::records::{Batches, Entry, HeaderScan, Records, control_record};

/// Reads and writes one message: two bytes choose which and in which version, the rest is its encoding. What was read once
/// must be written, and read again, the same.
pub fn messages(data: &[u8]) {
    let [which, version, ref bytes @ ..] = *data else { return };
    let known = all_messages();
    let (key, response, min, max) = known[usize::from(which) % known.len()];
    let version = min + i16::from(version) % (max - min + 1);
    let limits = Limits { elements: 10_000, memory: 16 << 20 };
    match recode(key, response, version, Bytes::copy_from_slice(bytes), &limits) {
        // Bytes may spell one value in several ways; ours is one of them and stays as it is.
        Ok(ours) => assert_eq!(recode(key, response, version, ours.clone(), &limits), Ok(ours)),
        Err(RecodeError::Decode(_)) => {}
        // Tags out of order, or a known tag of another version, can be read but not written.
        Err(RecodeError::Encode(_)) => {}
        Err(RecodeError::UnknownMessage) => unreachable!("the table of messages names its own messages"),
    }
}

const FUZZ_LIMIT: usize = 1 << 20;

/// Body of the fuzz target for batches: whatever the bytes, no panic, and no more memory than the limit.
pub fn batches(data: &[u8]) {
    for header in HeaderScan::new(data) {
        if header.is_err() {
            break;
        }
    }
    let mut decompressor = Decompressor::new();
    for entry in Batches::new(Bytes::copy_from_slice(data)) {
        let batch = match entry {
            Ok(Entry::Batch(batch)) => batch,
            Ok(Entry::Legacy(message)) => match message.into_batch(&mut decompressor, FUZZ_LIMIT) {
                Ok(batch) => batch,
                Err(_) => continue,
            },
            Err(_) => return,
        };
        // Also with a wrong checksum: the reader behind it must stand on its own.
        let _ = batch.verify_crc();
        let Ok(body) = batch.body(&mut decompressor, FUZZ_LIMIT) else { continue };
        assert!(body.len() <= FUZZ_LIMIT.max(data.len()));
        for record in Records::new(batch.header(), &body) {
            let Ok(record) = record else { break };
            if batch.header().is_control() {
                let _ = control_record(record.key(), record.value());
            }
            let _ = record.to_owned();
        }
    }
}

/// Body of the fuzz target for message sets v0 and v1: the bytes, made to look like one.
pub fn legacy(data: &[u8]) {
    let mut set = data.to_vec();
    if let Some(magic) = set.get_mut(16) {
        *magic &= 1;
    }
    // Checksums would keep the fuzzer out: put in the right one.
    if set.len() > 17 {
        let length = i32::try_from(set.len() - 12).unwrap_or(i32::MAX);
        set[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32fast::hash(&set[16..]);
        set[12..16].copy_from_slice(&crc.to_be_bytes());
    }
    batches(&set);
}

/// Body of the fuzz targets for one codec each: no input may panic or exceed the limit.
pub fn decompress(codec: Codec, data: &[u8]) {
    const LIMIT: usize = 1 << 20;
    let mut output = Vec::new();
    let _ = Decompressor::new().decompress(codec, data, &mut output, LIMIT);
    assert!(output.len() <= LIMIT, "{codec}: {} bytes", output.len());
    output.clear();
    let _ = Decompressor::new().decompress_legacy(codec, data, &mut output, LIMIT);
    assert!(output.len() <= LIMIT, "{codec}: {} bytes", output.len());
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_messages_is_read_without_a_panic() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/messages");
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            super::messages(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0);
    }
}
