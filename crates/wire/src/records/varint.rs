//! Zigzag LEB128 integers, as records use them.

/// Reads a zigzag integer of at most 32 bits at `*at`; `None` when it is cut short or too long.
#[inline]
pub(super) fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(i32::from(first >> 1) ^ -i32::from(first & 1));
    }
    let value = u32::try_from(long(bytes, at, 5)?).ok()?;
    Some((value >> 1) as i32 ^ -((value & 1) as i32))
}

/// Reads a zigzag integer of at most 64 bits at `*at`.
#[inline]
pub(super) fn read_i64(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(i64::from(first >> 1) ^ -i64::from(first & 1));
    }
    let value = long(bytes, at, 10)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[inline]
fn long(bytes: &[u8], at: &mut usize, most: usize) -> Option<u64> {
    let mut value = 0u64;
    for (index, &byte) in bytes.get(*at..)?.iter().take(most).enumerate() {
        let part = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if index == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * index);
        if byte < 0x80 {
            *at += index + 1;
            return Some(value);
        }
    }
    None
}

/// Writes a zigzag integer into `out` and returns its length.
#[inline]
pub(super) fn write_i64(value: i64, out: &mut [u8]) -> usize {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut length = 0;
    while rest >= 0x80 {
        out[length] = rest as u8 | 0x80;
        rest >>= 7;
        length += 1;
    }
    out[length] = rest as u8;
    length + 1
}

/// A zigzag integer of at most three bytes, from the lowest byte on, and how many they are.
#[inline]
pub(super) fn short_i64(value: i64) -> Option<(u32, usize)> {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    // The values are below 2^21.
    let bits = zigzag as u32;
    match zigzag {
        0..0x80 => Some((bits, 1)),
        0x80..0x4000 => Some((bits & 0x7f | 0x80 | (bits >> 7) << 8, 2)),
        0x4000..0x20_0000 => {
            Some((bits & 0x7f | 0x80 | (bits << 1 & 0x7f00 | 0x8000) | (bits >> 14) << 16, 3))
        }
        _ => None,
    }
}

/// The bytes that a zigzag integer takes.
#[inline]
pub(super) fn size_i64(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    // Seven bits a byte, at least one byte.
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_length_come_back() {
        for shift in 0..64 {
            for value in [1i64 << shift, (1i64 << shift).wrapping_sub(1), (1i64 << shift).wrapping_neg()] {
                let mut bytes = [0; 10];
                let length = write_i64(value, &mut bytes);
                assert_eq!(length, size_i64(value), "{value}");
                if let Some((bits, short)) = short_i64(value) {
                    assert_eq!(bits.to_le_bytes()[..short], bytes[..length], "{value}");
                } else {
                    assert!(length > 3, "{value}");
                }
                let mut at = 0;
                assert_eq!((read_i64(&bytes[..length], &mut at), at), (Some(value), length));
                for cut in 0..length {
                    assert_eq!(read_i64(&bytes[..cut], &mut 0), None);
                }
                let narrow = i32::try_from(value).ok();
                assert_eq!(read_i32(&bytes[..length], &mut 0), narrow, "{value}");
            }
        }
    }

    #[test]
    fn integers_longer_than_their_type_are_refused() {
        assert_eq!(read_i32(&[0xff; 6], &mut 0), None);
        assert_eq!(read_i64(&[0xff; 11], &mut 0), None);
        assert_eq!(read_i32(&[0xff, 0xff, 0xff, 0xff, 0x1f], &mut 0), None);
    }
}
