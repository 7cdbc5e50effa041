//! The demo's records: each value says which record it is.

/// Bytes of a value that say which record it is; the rest is filler.
pub const HEAD: usize = 12;

/// Fills `value` for record `number` of `partition`.
pub fn write(value: &mut [u8], partition: i32, number: u64) {
    value[..4].copy_from_slice(&partition.to_be_bytes());
    value[4..HEAD].copy_from_slice(&number.to_be_bytes());
}

/// Which record a value is, if it is one of the demo's.
pub fn read(value: Option<&[u8]>) -> Option<(i32, u64)> {
    let head: [u8; HEAD] = value?.get(..HEAD)?.try_into().ok()?;
    let (partition, number) = head.split_at(4);
    Some((i32::from_be_bytes(partition.try_into().ok()?), u64::from_be_bytes(number.try_into().ok()?)))
}
