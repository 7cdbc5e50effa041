//! Bodies of the message fuzz targets. `fuzz/` calls them with what libFuzzer makes up, `cargo test` with the checked-in
//! corpus.

use bytes::Bytes;

use crate::codec::{Limits, RecodeError};
use crate::messages::{all_messages, recode};

/// Reads and writes one message: two bytes choose which and in which version, the rest is its encoding. What was read once
/// must be written, and read again, the same.
// Inline, so that the code of every message is made only where this is called.
#[inline]
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
