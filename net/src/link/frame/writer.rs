//! Frames into bytes.
//!
//! Owns: the buffer of what waits to be sent, and the limit on what one frame may add to it.

use serde::Serialize;

use super::{Frame, FrameError, max_of};
use crate::codec;

/// What an empty writer keeps of its buffer at most, in bytes: one burst must not cost its memory for ever.
pub(super) const KEPT: usize = 256 * 1024;

/// Frames on their way out, as bytes in one buffer that is used again and again.
#[derive(Debug)]
pub struct FrameWriter {
    pub(super) buffer: Vec<u8>,
    sent: usize,
    max_message: u32,
}

impl FrameWriter {
    /// A writer of frames whose messages have at most `max_message` bytes, fields included.
    pub fn new(max_message: u32) -> FrameWriter {
        FrameWriter { buffer: Vec::new(), sent: 0, max_message }
    }

    /// Changes how long frames with messages may be.
    pub fn set_max_message(&mut self, max_message: u32) {
        self.max_message = max_message;
    }

    /// Adds a frame. Texts of over 8 KiB in exit reasons and partings are cut.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`]; nothing was added then.
    pub fn push<B: AsRef<[u8]>>(&mut self, frame: &Frame<B>) -> Result<(), FrameError> {
        let before = self.buffer.len();
        let kind = frame.kind();
        self.buffer.extend_from_slice(&[0, 0, 0, 0, kind, 0]);
        let start = self.buffer.len();
        let max = max_of(kind, self.max_message);
        if let Err(error) = frame.encode_fields(&mut Fields { out: &mut self.buffer, start, max }) {
            self.buffer.truncate(before);
            return Err(error);
        }
        let len = u32::try_from(self.buffer.len() - start).expect("the fields stay within a limit that is a u32");
        self.buffer[before..before + 4].copy_from_slice(&len.to_le_bytes());
        Ok(())
    }

    /// The bytes that wait to be sent.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    /// Notes that the first `count` of the pending bytes were sent.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.pending().len(), "{count} bytes sent, {} were pending", self.pending().len());
        self.sent += count;
        if self.sent == self.buffer.len() {
            self.sent = 0;
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            } else {
                self.buffer.clear();
            }
        } else if self.sent > self.buffer.len() / 2 {
            // Moves less than it frees, so the cost is at most a copy a byte.
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// The part of the writer's buffer that the fields of one frame may fill.
pub(super) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    max: u32,
}

impl Fields<'_> {
    fn used(&self) -> usize {
        self.out.len() - self.start
    }

    pub(super) fn put<T: Serialize>(&mut self, fields: &T) -> Result<(), FrameError> {
        let left = (self.max as usize).saturating_sub(self.used());
        // Frames are made of nothing that postcard lacks, so only the limit can be in the way.
        let too_large = FrameError::TooLarge { len: u64::from(self.max) + 1, max: self.max };
        codec::encode_into(fields, self.out, left).map_err(|_| too_large)
    }

    pub(super) fn raw(&mut self, body: &[u8]) -> Result<(), FrameError> {
        let len = (self.used() + body.len()) as u64;
        if len > u64::from(self.max) {
            return Err(FrameError::TooLarge { len, max: self.max });
        }
        self.out.extend_from_slice(body);
        Ok(())
    }
}
