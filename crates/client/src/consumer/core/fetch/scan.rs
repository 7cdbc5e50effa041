//! Reads how far the batches of an answer go, by their headers alone.

use kavka_wire::records::{BatchHeader, RecordError, RecordErrorKind};

/// How far the whole batches of a partition's answer go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scan {
    /// The bytes of whole, plausible batches.
    pub(super) len: usize,
    /// The offset after the last of them, not below the offset that was asked for.
    pub(super) next_offset: i64,
    /// The leader epoch of the last of them, -1 when it has none.
    pub(super) leader_epoch: i32,
    /// Why reading stopped before the end.
    pub(super) stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The last batch was cut off, as brokers do at the size limit.
    Partial,
    /// A header that cannot be.
    Corrupt(RecordError),
}

/// What the scan needs to know of a batch, or of a message of the formats before batches.
struct Head {
    len: usize,
    next_offset: i64,
    leader_epoch: i32,
}

/// Where the format version stands, in all of them.
const MAGIC_AT: usize = 16;
/// Offset and size.
const PREFIX_LEN: usize = 12;

pub(super) fn scan(bytes: &[u8], fetch_offset: i64) -> Scan {
    let mut scan = Scan { len: 0, next_offset: fetch_offset, leader_epoch: -1, stop: None };
    while scan.len < bytes.len() {
        match head(&bytes[scan.len..]) {
            Ok(head) => {
                scan.len += head.len;
                scan.next_offset = scan.next_offset.max(head.next_offset);
                scan.leader_epoch = head.leader_epoch;
            }
            Err(stop) => {
                scan.stop = Some(stop);
                break;
            }
        }
    }
    scan
}

fn head(bytes: &[u8]) -> Result<Head, Stop> {
    match bytes.get(MAGIC_AT) {
        None => Err(Stop::Partial),
        Some(0 | 1) => legacy(bytes),
        Some(_) => {
            let header = BatchHeader::read(bytes).map_err(Stop::Corrupt)?.ok_or(Stop::Partial)?;
            Ok(Head {
                len: header.size,
                next_offset: header.next_offset(),
                leader_epoch: header.partition_leader_epoch.max(-1),
            })
        }
    }
}

/// A message v0 or v1; a compressed one carries the offset of the last message in it.
fn legacy(bytes: &[u8]) -> Result<Head, Stop> {
    let (offset, rest) = bytes.split_first_chunk::<8>().ok_or(Stop::Partial)?;
    let (offset, length) = (i64::from_be_bytes(*offset), rest.first_chunk::<4>().ok_or(Stop::Partial)?);
    let length = i32::from_be_bytes(*length);
    let corrupt = |at, kind| Stop::Corrupt(RecordError { base_offset: offset, at, kind });
    let len = usize::try_from(length).map_or(0, |length| length.saturating_add(PREFIX_LEN));
    if len <= MAGIC_AT {
        return Err(corrupt(8, RecordErrorKind::Length(length)));
    }
    if len > bytes.len() {
        return Err(Stop::Partial);
    }
    match offset.checked_add(1).filter(|next| *next > 0) {
        Some(next_offset) => Ok(Head { len, next_offset, leader_epoch: -1 }),
        None => Err(corrupt(0, RecordErrorKind::Header("an offset that no record can have"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::rig::plain_batch;
    use super::*;

    fn message(offset: i64, size: usize, magic: u8) -> Vec<u8> {
        let mut bytes = offset.to_be_bytes().to_vec();
        bytes.extend((size as i32).to_be_bytes());
        bytes.resize(PREFIX_LEN + size, 0);
        bytes[MAGIC_AT] = magic;
        bytes
    }

    #[test]
    fn old_messages_move_the_position_one_by_one() {
        let mut bytes = message(7, 30, 0);
        bytes.extend(message(9, 30, 1));
        bytes.extend(&message(10, 30, 1)[..30]);
        let expected = Scan { len: 84, next_offset: 10, leader_epoch: -1, stop: Some(Stop::Partial) };
        assert_eq!(scan(&bytes, 5), expected);
    }

    #[test]
    fn an_offset_after_which_there_is_none_is_corrupt() {
        for offset in [i64::MAX, -1] {
            assert!(matches!(scan(&message(offset, 30, 1), 0).stop, Some(Stop::Corrupt(_))));
        }
        let mut bytes = plain_batch(0, 3, 5).to_vec();
        bytes[..8].copy_from_slice(&(i64::MAX - 1).to_be_bytes());
        assert!(matches!(scan(&bytes, 0).stop, Some(Stop::Corrupt(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_without_a_panic_and_never_move_backwards(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in 0u8..4, from in 0i64..i64::MAX
        ) {
            if let Some(byte) = bytes.get_mut(MAGIC_AT) {
                *byte = magic;
            }
            if let Some(high) = bytes.get_mut(8..11) {
                high.fill(0);
            }
            let scan = scan(&bytes, from);
            prop_assert!(scan.len <= bytes.len() && scan.next_offset >= from);
            prop_assert_eq!(scan.len == bytes.len(), scan.stop.is_none());
        }

        #[test]
        fn a_cut_at_any_byte_keeps_the_whole_batches(cut in 0usize..1000) {
            let bytes = [&plain_batch(0, 3, 5)[..], &plain_batch(3, 4, 6)[..]].concat();
            let first = plain_batch(0, 3, 5).len();
            let cut = cut % (bytes.len() + 1);
            let scan = scan(&bytes[..cut], 0);
            let expected = if cut == bytes.len() { (cut, 7) } else if cut >= first { (first, 3) } else { (0, 0) };
            prop_assert_eq!((scan.len, scan.next_offset), expected);
        }
    }
}
