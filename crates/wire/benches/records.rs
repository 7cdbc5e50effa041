//! What a record costs to read and to write, beside a floor in the same run: `cargo bench -p kavka-wire`.
//!
//! The floor for reading is one CRC-32C over the batch and a checked walk over its records that borrows everything; for
//! writing, the same fields appended to a vector that is used again, and one CRC-32C. Rounds alternate; medians are printed.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use kavka_wire::compress::{Compressor, Decompressor};
use kavka_wire::records::{BatchBuilder, Batches, Entry, Finish, Records};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 31;
/// Bytes of records in one round, so that small and large records run equally long.
const ROUND_BYTES: usize = 8 << 20;
const BATCH_BYTES: usize = 1 << 20;

struct Sample {
    timestamps: Vec<i64>,
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

fn sample(size: usize) -> Sample {
    let count = BATCH_BYTES / size;
    Sample {
        timestamps: (0..count as i64).map(|i| 1_700_000_000_000 + i / 7).collect(),
        keys: (0..count).map(|i| format!("key-{:05}", i % 10_000).into_bytes()).collect(),
        values: (0..count).map(|i| vec![b'a' + (i % 26) as u8; size]).collect(),
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

fn floor_field<'a>(bytes: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let length = varint(bytes, at)?;
    if length < 0 {
        return Some(None);
    }
    let value = bytes.get(*at..at.checked_add(length as usize)?)?;
    *at += length as usize;
    Some(Some(value))
}

fn read_floor(batch: &[u8]) -> Option<u64> {
    let stated = u32::from_be_bytes(batch[17..21].try_into().ok()?);
    assert_eq!(crc32c::crc32c(&batch[21..]), stated);
    let count = i32::from_be_bytes(batch[57..61].try_into().ok()?);
    let (mut at, mut sum) = (61, 0);
    for _ in 0..count {
        let end = varint(batch, &mut at)? as usize + at;
        at += 1;
        let (_time, offset) = (varint(batch, &mut at)?, varint(batch, &mut at)?);
        let (key, value) = (floor_field(batch, &mut at)?, floor_field(batch, &mut at)?);
        let headers = varint(batch, &mut at)?;
        if headers != 0 || at != end {
            return None;
        }
        sum += offset as u64 + key?.len() as u64 + value?.len() as u64;
    }
    Some(sum)
}

fn read_kavka(bytes: &Bytes, decompressor: &mut Decompressor) -> u64 {
    let mut sum = 0;
    for entry in Batches::new(bytes.clone()) {
        let Ok(Entry::Batch(batch)) = entry else { unreachable!("the batch was just written") };
        batch.verify_crc().unwrap();
        let body = batch.body(decompressor, usize::MAX).unwrap();
        for record in Records::new(batch.header(), &body) {
            let record = record.unwrap();
            sum += record.offset() as u64
                + record.key().unwrap().len() as u64
                + record.value().unwrap().len() as u64;
        }
    }
    sum
}

fn put(buffer: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        buffer.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    buffer.push(rest as u8);
}

fn size(value: i64) -> i64 {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    i64::from((64 - (zigzag | 1).leading_zeros()).div_ceil(7))
}

fn write_floor(sample: &Sample, buffer: &mut Vec<u8>) -> u32 {
    buffer.clear();
    buffer.resize(61, 0);
    let base = sample.timestamps[0];
    for (index, ((timestamp, key), value)) in
        sample.timestamps.iter().zip(&sample.keys).zip(&sample.values).enumerate()
    {
        let (time, offset, key_len, value_len) =
            (timestamp - base, index as i64, key.len() as i64, value.len() as i64);
        let length = 2 + size(time) + size(offset) + size(key_len) + key_len + size(value_len) + value_len;
        put(buffer, length);
        buffer.push(0);
        put(buffer, time);
        put(buffer, offset);
        put(buffer, key_len);
        buffer.extend_from_slice(key);
        put(buffer, value_len);
        buffer.extend_from_slice(value);
        buffer.push(0);
    }
    crc32c::crc32c(&buffer[21..])
}

fn write_kavka(sample: &Sample, builder: &mut BatchBuilder, compressor: &mut Compressor) -> Bytes {
    for ((timestamp, key), value) in sample.timestamps.iter().zip(&sample.keys).zip(&sample.values) {
        builder.append(*timestamp, Some(key), Some(value), std::iter::empty());
    }
    builder.finish(&Finish::default(), compressor).unwrap()
}

/// Nanoseconds per record of `work`, which handles `records` of them, repeated to fill a round.
fn round(records: usize, times: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        work();
    }
    start.elapsed().as_nanos() as f64 / (records * times) as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    println!("| value | | floor ns | kavka ns | ratio | allocations/record |\n|---|---|---|---|---|---|");
    for size in [100, 1024] {
        let sample = sample(size);
        let (count, times) = (sample.values.len(), ROUND_BYTES / BATCH_BYTES);
        let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
        let bytes = write_kavka(&sample, &mut BatchBuilder::new(), &mut compressor);
        let mut results = [const { Vec::new() }; 4];
        let mut allocations = [0u64; 2];
        let mut buffer = Vec::new();
        // The builder's buffer goes into the batch; a producer gets it back when the batch was acknowledged.
        let mut spare = Some(Vec::with_capacity(bytes.len() + 64));
        for _ in 0..ROUNDS {
            results[0].push(round(count, times, || {
                black_box(read_floor(black_box(&bytes)));
            }));
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            results[1].push(round(count, times, || {
                black_box(read_kavka(black_box(&bytes), &mut decompressor));
            }));
            allocations[0] += ALLOCATIONS.load(Ordering::Relaxed) - before;
            results[2].push(round(count, times, || {
                black_box(write_floor(black_box(&sample), &mut buffer));
            }));
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            results[3].push(round(count, times, || {
                let mut builder = BatchBuilder::with_buffer(spare.take().unwrap_or_default());
                let batch = write_kavka(black_box(&sample), &mut builder, &mut compressor);
                spare = batch.try_into_mut().ok().map(Vec::from);
            }));
            allocations[1] += ALLOCATIONS.load(Ordering::Relaxed) - before;
        }
        let [read_floor, read, write_floor, write] = results.map(median);
        let per_record = |count_of: u64| count_of as f64 / (ROUNDS * times * count) as f64;
        for (what, floor, kavka, allocations) in
            [("read", read_floor, read, allocations[0]), ("write", write_floor, write, allocations[1])]
        {
            let allocations = per_record(allocations);
            println!(
                "| {size} B | {what} | {floor:.1} | {kavka:.1} | {:.2} | {allocations:.5} |",
                kavka / floor
            );
        }
    }
}
