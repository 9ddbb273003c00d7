//! Bytes into frames.
//!
//! Owns: what has arrived of the frame that is not whole yet.
//!
//! # Invariants
//! 1. A length is checked against the limit of its kind when the header is there, before anything is allocated for it.
//! 2. What the reader has allocated is at most twice what has arrived of the frame, and never more than its length.
//! 3. After an error the stream has no frame boundaries any more: the reader gives that error for ever.

use super::{Frame, FrameError, HEADER, MAX_HELLO, kind, max_of};

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct FrameReader {
    max_message: u32,
    /// Whether any kind may be longer than a hello.
    greeted: bool,
    header: [u8; HEADER],
    header_len: usize,
    /// What has arrived of the body, where it did not arrive in one piece.
    pub(super) body: Vec<u8>,
    failed: Option<FrameError>,
}

impl FrameReader {
    /// A reader that takes frames of at most [`MAX_HELLO`] bytes until [`greeted`](FrameReader::greeted), and then
    /// messages of at most `max_message` bytes, fields included.
    pub fn new(max_message: u32) -> FrameReader {
        let (header, body) = ([0; HEADER], Vec::new());
        FrameReader { max_message, greeted: false, header, header_len: 0, body, failed: None }
    }

    /// From now on frames may be as long as their kinds allow.
    pub fn greeted(&mut self) {
        self.greeted = true;
    }

    /// Takes bytes from the front of `input` until a frame is whole; `None` when all of them are taken and it is not.
    ///
    /// # Errors
    /// See [`FrameError`]. The first error is final.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let read = self.read_one(input);
        if let Err(error) = &read {
            self.failed = Some(error.clone());
            self.body = Vec::new();
        }
        read
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] in the middle of a frame; the error of [`read`](FrameReader::read) after one.
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.header_len == 0 => Ok(()),
            None if self.header_len < HEADER => Err(FrameError::Truncated { missing: HEADER - self.header_len }),
            None => Err(FrameError::Truncated { missing: self.body_len() - self.body.len() }),
        }
    }

    fn body_len(&self) -> usize {
        let [a, b, c, d, _kind, _flags] = self.header;
        u32::from_le_bytes([a, b, c, d]) as usize
    }

    fn read_one(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if self.header_len < HEADER {
            let part = take(input, HEADER - self.header_len);
            self.header[self.header_len..][..part.len()].copy_from_slice(part);
            self.header_len += part.len();
            if self.header_len < HEADER {
                return Ok(None);
            }
            self.check_header()?;
        }
        let kind = self.header[4];
        let len = self.body_len();
        let whole = if self.body.is_empty() && input.len() >= len {
            Frame::decode(kind, take(input, len))
        } else {
            let part = take(input, len - self.body.len());
            let need = self.body.len() + part.len();
            if need > self.body.capacity() {
                let target = need.max(self.body.capacity() * 2).min(len);
                self.body.reserve_exact(target - self.body.len());
            }
            self.body.extend_from_slice(part);
            if self.body.len() < len {
                return Ok(None);
            }
            // Not kept for the next frame: one long frame would hold its memory for as long as the link lives.
            Frame::decode(kind, &std::mem::take(&mut self.body))
        };
        self.header_len = 0;
        whole.map(Some).map_err(|error| FrameError::Malformed { kind, error })
    }

    fn check_header(&self) -> Result<(), FrameError> {
        let [.., kind, flags] = self.header;
        if !(kind::HELLO..=kind::LAST).contains(&kind) {
            return Err(FrameError::UnknownKind(kind));
        }
        if flags != 0 {
            return Err(FrameError::UnknownFlags(flags));
        }
        let max = max_of(kind, self.max_message);
        let max = if self.greeted { max } else { max.min(MAX_HELLO) };
        let len = self.body_len() as u64;
        if len > u64::from(max) { Err(FrameError::TooLarge { len, max }) } else { Ok(()) }
    }
}

/// Takes up to `count` bytes from the front of `input`.
pub(super) fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (part, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    part
}
