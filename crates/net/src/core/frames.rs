//! Frame borders: where an answer starts and ends in the stream, and how much to read where.

use std::collections::VecDeque;

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Small frames share buffers of this size.
const SHARED: usize = 16 << 10;
/// Less free room than this is not worth a read.
const WORTH_READING: usize = 2 << 10;
/// The four bytes in front of each frame.
const SIZE: usize = 4;
/// Large buffers that are kept to be used again.
const SPARES: usize = 3;
/// A buffer more than so many times too large is not used.
const WASTE: usize = 4;
/// From this size on, buffers are made larger than their first frame, so that they serve others: what is not written to costs nothing.
const ROUNDED: usize = 1 << 20;

/// Cuts the stream into frames. A frame that does not fit a shared buffer gets one of its own, which the socket is then read
/// straight into: one that the frame's user is done with, or a new one. Fresh megabytes cost the kernel as
/// much as reading them does, so buffers are used again for as long as large frames keep coming.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    shared: BytesMut,
    /// The large frame being read, and the size that it will have.
    large: Option<(BytesMut, usize)>,
    /// The last large frames, and what their buffers hold. Those that nobody else holds any more are free.
    spares: VecDeque<(Bytes, usize)>,
    max: usize,
}

/// A size that no frame of ours can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadSize(pub(crate) i32);

impl Frames {
    /// Accepts frames of at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Frames { max, ..Frames::default() }
    }

    /// Where the next bytes are to be read to; there is always room.
    pub(crate) fn target(&mut self) -> Limit<&mut BytesMut> {
        match &mut self.large {
            Some((buffer, size)) => {
                let missing = *size - buffer.len();
                buffer.limit(missing)
            }
            None => {
                if self.shared.capacity() - self.shared.len() < WORTH_READING {
                    self.shared.reserve(SHARED);
                }
                let room = self.shared.capacity() - self.shared.len();
                (&mut self.shared).limit(room)
            }
        }
    }

    /// The next complete frame without its size, if its last byte has been read.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, BadSize> {
        if let Some((buffer, size)) = &mut self.large {
            if buffer.len() < *size {
                return Ok(None);
            }
            let capacity = buffer.capacity();
            let frame = std::mem::take(buffer).freeze();
            self.large = None;
            self.spares.truncate(SPARES - 1);
            self.spares.push_front((frame.clone(), capacity));
            return Ok(Some(frame));
        }
        let Some(announced) = self.shared.first_chunk::<SIZE>().map(|size| i32::from_be_bytes(*size)) else {
            return Ok(None);
        };
        let size =
            usize::try_from(announced).ok().filter(|size| *size <= self.max).ok_or(BadSize(announced))?;
        if self.shared.len() >= SIZE + size {
            self.shared.advance(SIZE);
            // The flood is over: what it took is given back.
            self.spares.clear();
            return Ok(Some(self.shared.split_to(size).freeze()));
        }
        if SIZE + size > SHARED {
            self.shared.advance(SIZE);
            let fresh =
                || BytesMut::with_capacity(if size < ROUNDED { size } else { size.next_power_of_two() });
            let mut buffer = self.spare(size).unwrap_or_else(fresh);
            buffer.extend_from_slice(&self.shared);
            self.shared.clear();
            self.large = Some((buffer, size));
        } else {
            // The rest of it must fit behind what is here already.
            self.shared.reserve(SIZE + size - self.shared.len());
        }
        Ok(None)
    }

    /// An empty buffer for a frame of `size` bytes, if one is free.
    fn spare(&mut self, size: usize) -> Option<BytesMut> {
        let fits = |(frame, capacity): &(Bytes, usize)| {
            frame.is_unique() && (size..=size.saturating_mul(WASTE)).contains(capacity)
        };
        let at = self.spares.iter().position(fits)?;
        let mut buffer = self.spares.remove(at)?.0.try_into_mut().ok()?;
        buffer.clear();
        Some(buffer)
    }

    /// Accepts frames of at most `max` bytes from now on.
    pub(crate) fn allow(&mut self, max: usize) {
        self.max = max;
    }

    /// What was read of the frame that is not complete yet, its size included unless it is a large one.
    pub(crate) fn unfinished(&self) -> &[u8] {
        self.large.as_ref().map_or(&self.shared, |(buffer, _)| buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(frames: &mut Frames, mut bytes: &[u8], step: usize) -> Vec<Bytes> {
        let mut complete = Vec::new();
        while !bytes.is_empty() {
            let mut target = frames.target();
            let n = step.min(bytes.len()).min(target.remaining_mut());
            assert!(n > 0, "no room to read to");
            target.put_slice(&bytes[..n]);
            bytes = &bytes[n..];
            while let Some(frame) = frames.next().unwrap() {
                complete.push(frame);
            }
        }
        complete
    }

    fn stream(sizes: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let contents: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(i, size)| (0..*size).map(|b| (b * 7 + i) as u8).collect())
            .collect();
        let mut bytes = Vec::new();
        for content in &contents {
            bytes.extend_from_slice(&(content.len() as i32).to_be_bytes());
            bytes.extend_from_slice(content);
        }
        (bytes, contents)
    }

    #[test]
    fn finds_the_same_frames_however_the_stream_is_cut() {
        let sizes = [0, 1, 4, 100, SHARED - 5, SHARED - 4, SHARED - 3, SHARED, 70_000, 3, 16_000, 9_000, 12];
        let (bytes, contents) = stream(&sizes);
        for step in [1, 3, 4, 5, 1000, 4096, 16_384, 65_536, usize::MAX] {
            assert_eq!(feed(&mut Frames::new(1 << 20), &bytes, step), contents, "step {step}");
        }
    }

    #[test]
    fn a_large_frame_is_read_into_one_buffer_of_its_size() {
        let (bytes, _) = stream(&[100_000]);
        let mut frames = Frames::new(1 << 20);
        assert!(feed(&mut frames, &bytes[..5000], usize::MAX).is_empty());
        let (buffer, size) = frames.large.as_ref().unwrap();
        let (at, capacity) = (buffer.as_ptr(), buffer.capacity());
        assert_eq!((*size, capacity), (100_000, 100_000));
        let frame = feed(&mut frames, &bytes[5000..], usize::MAX).pop().unwrap();
        assert_eq!(frame.as_ptr(), at, "it was moved");
    }

    #[test]
    fn a_large_buffer_is_used_again_when_its_frame_is_gone_and_given_back_when_frames_are_small_again() {
        let (bytes, contents) = stream(&[100_000]);
        let mut frames = Frames::new(1 << 20);
        let held = feed(&mut frames, &bytes, usize::MAX).pop().unwrap();
        let gone = feed(&mut frames, &bytes, usize::MAX).pop().unwrap();
        let at = gone.as_ptr();
        assert_ne!(held.as_ptr(), at, "a frame that is held is not written over");
        drop(gone);
        let again = feed(&mut frames, &bytes, 7_000).pop().unwrap();
        assert_eq!((again.as_ptr(), &again[..]), (at, &contents[0][..]));
        assert_eq!(held, contents[0]);
        drop(again);
        let (small, _) = stream(&[10]);
        feed(&mut frames, &small, usize::MAX);
        assert!(frames.spares.is_empty());
    }

    #[test]
    fn a_very_large_buffer_serves_a_frame_that_is_somewhat_larger() {
        let (bytes, _) = stream(&[3 << 20, (3 << 20) + 100_000]);
        let mut frames = Frames::new(8 << 20);
        let (one, other) = bytes.split_at((3 << 20) + SIZE);
        let at = feed(&mut frames, one, usize::MAX).pop().unwrap().as_ptr();
        assert_eq!(feed(&mut frames, other, usize::MAX).pop().unwrap().as_ptr(), at);
    }

    #[test]
    fn a_size_out_of_bounds_is_refused_before_anything_is_allocated() {
        for size in [-1, i32::MIN, i32::MAX, 1025] {
            let mut frames = Frames::new(1024);
            frames.target().put_i32(size);
            assert_eq!(frames.next(), Err(BadSize(size)));
            assert!(frames.large.is_none());
        }
    }
}
