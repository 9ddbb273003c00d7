//! The Redis protocol on the wire: requests in, replies out.
//!
//! Owns: the cutting of a connection's bytes into commands, and the bytes of a reply in RESP2 and RESP3. Knows nothing
//! of what a command means, and does no I/O: the connection reads into a `BytesMut` and calls [`Decoder::decode`] until
//! it answers `None`.
//!
//! # Invariants
//! 1. Nothing is allocated on the word of a client: a length is checked against [`Limits`] and then waited for, and
//!    memory grows only with bytes that have arrived.
//! 2. No byte of a command is looked at twice while it is incomplete, except the one header line that is being read.
//! 3. After the first [`ProtocolError`] the decoder gives no command again; the connection answers it and closes.
//!
//! The grammar of a complete command is left to `redis-protocol`. What it does not do is done here, before it is
//! called: limits (it reads any length that fits in an `isize`), Redis's own wording of errors, resuming where a partial
//! command ended (it begins again at the first byte each time, which is quadratic for a large `MSET` that arrives in
//! pieces), and inline commands.

use std::borrow::Cow;
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::{BorrowedFrame, RangeFrame};
use redis_protocol::{resp2, resp3};

/// What a client may make the server hold for one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of one argument; also the longest value that can be stored. Redis calls it `proto-max-bulk-len`.
    pub(crate) bulk: usize,
    /// Arguments of one command, its name included.
    pub(crate) args: usize,
    /// Bytes of an inline command, or of a header line, without its end.
    pub(crate) line: usize,
    /// Bytes of one command as a whole.
    pub(crate) query: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bulk: 64 << 20, args: 1 << 20, line: 64 << 10, query: 128 << 20 }
    }
}

/// The client broke the protocol: it gets this as its last reply, then the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProtocolError(Cow<'static, str>);

impl ProtocolError {
    /// The reply that tells the client, worded as Redis words it.
    pub(crate) fn reply(&self) -> Reply {
        Reply::Error(format!("ERR {self}").into())
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol error: {}", self.0)
    }
}

impl std::error::Error for ProtocolError {}

const fn refuse(what: &'static str) -> ProtocolError {
    ProtocolError(Cow::Borrowed(what))
}

/// Cuts the bytes of one connection into commands.
#[derive(Debug)]
pub(crate) struct Decoder {
    limits: Limits,
    /// Bytes at the front of the buffer that belong to the command being read and have been checked.
    checked: usize,
    /// Arguments of it that are not complete yet; `None` before its first line is read.
    missing: Option<usize>,
    broken: Option<ProtocolError>,
}

impl Decoder {
    /// A decoder for the start of a connection.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, checked: 0, missing: None, broken: None }
    }

    /// Takes the next complete command off the front of `buffer`: its name and arguments, never empty. `None` means
    /// that the rest of it has not arrived, and what there is stays in the buffer. The arguments share the buffer's
    /// memory; whoever keeps one for long copies it.
    ///
    /// # Errors
    /// What Redis says of the same bytes. It is final: each later call gives the same error again.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let decoded = self.next_command(buffer);
        if let Err(error) = &decoded {
            self.broken = Some(error.clone());
        }
        decoded
    }

    fn next_command(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        // Empty lines and empty arrays are allowed and mean nothing, so look again behind them.
        loop {
            if self.missing.is_none() {
                match buffer.first() {
                    None => return Ok(None),
                    Some(b'*') => {}
                    Some(_) => match inline_line(buffer, self.limits.line)? {
                        None => return Ok(None),
                        Some(line) => {
                            let args = split_inline(&line)?;
                            if args.len() > self.limits.args {
                                return Err(refuse("invalid multibulk length"));
                            }
                            if !args.is_empty() {
                                return Ok(Some(args));
                            }
                            continue;
                        }
                    },
                }
                let Some((count, end)) = self.header(buffer, "multibulk length", "too big mbulk count string")? else {
                    return Ok(None);
                };
                if count > self.limits.args as i64 {
                    return Err(refuse("invalid multibulk length"));
                }
                if count <= 0 {
                    buffer.advance(end);
                    continue;
                }
                self.checked = end;
                self.missing = Some(count as usize);
            }
            return if self.all_arrived(buffer)? { self.take_array(buffer).map(Some) } else { Ok(None) };
        }
    }

    /// Walks over the arguments that have arrived since the last call.
    fn all_arrived(&mut self, buffer: &BytesMut) -> Result<bool, ProtocolError> {
        while let Some(missing @ 1..) = self.missing {
            match buffer.get(self.checked) {
                None => return Ok(false),
                Some(b'$') => {}
                Some(&other) => {
                    return Err(ProtocolError(format!("expected '$', got '{}'", printable(other)).into()));
                }
            }
            let Some((length, start)) = self.header(buffer, "bulk length", "too big bulk count string")? else {
                return Ok(false);
            };
            if length < 0 || length > self.limits.bulk as i64 {
                return Err(refuse("invalid bulk length"));
            }
            // As in Redis the two bytes that end the argument are counted and not looked at.
            let end = start + length as usize + 2;
            if end > self.limits.query {
                return Err(refuse("too big query"));
            }
            if buffer.len() < end {
                return Ok(false);
            }
            self.checked = end;
            self.missing = Some(missing - 1);
        }
        Ok(true)
    }

    /// The number of the header line at `checked`, and where that line ends; `None` if its end has not arrived.
    fn header(
        &self,
        buffer: &BytesMut,
        name: &'static str,
        too_big: &'static str,
    ) -> Result<Option<(i64, usize)>, ProtocolError> {
        let digits = &buffer[self.checked + 1..];
        let Some(length) = digits.iter().take(self.limits.line).position(|&byte| byte == b'\r') else {
            return if digits.len() >= self.limits.line { Err(refuse(too_big)) } else { Ok(None) };
        };
        let number = match digits.get(length + 1) {
            None => return Ok(None),
            Some(b'\n') => parse_integer(&digits[..length]),
            Some(_) => None,
        };
        match number {
            Some(number) => Ok(Some((number, self.checked + 1 + length + 2))),
            None => Err(ProtocolError(format!("invalid {name}").into())),
        }
    }

    fn take_array(&mut self, buffer: &mut BytesMut) -> Result<Vec<Bytes>, ProtocolError> {
        let length = std::mem::take(&mut self.checked);
        self.missing = None;
        let command = buffer.split_to(length).freeze();
        match decode_range(&command) {
            Ok(Some((RangeFrame::Array(items), used))) if used == length => items
                .into_iter()
                .map(|item| match item {
                    RangeFrame::BulkString((from, to)) => Ok(command.slice(from..to)),
                    _ => Err(refuse("expected a bulk string")),
                })
                .collect(),
            _ => Err(refuse("malformed multibulk")),
        }
    }
}

/// Takes a line off the front of `buffer`, without its end (`\n`, with or without `\r`).
fn inline_line(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, ProtocolError> {
    let Some(length) = buffer.iter().take(limit + 1).position(|&byte| byte == b'\n') else {
        return if buffer.len() > limit { Err(refuse("too big inline request")) } else { Ok(None) };
    };
    let mut line = buffer.split_to(length + 1).freeze();
    line.truncate(length - usize::from(length > 0 && line[length - 1] == b'\r'));
    Ok(Some(line))
}

/// Splits an inline command into words: `"…"` knows backslash escapes, `'…'` knows `\'` alone, and a closing quote must
/// end its word.
fn split_inline(line: &[u8]) -> Result<Vec<Bytes>, ProtocolError> {
    const UNBALANCED: ProtocolError = refuse("unbalanced quotes in request");
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(words);
        }
        let mut word = Vec::new();
        loop {
            match *rest {
                [] => break,
                [space, ..] if space.is_ascii_whitespace() => break,
                [quote @ (b'"' | b'\''), ref quoted @ ..] => {
                    rest = unquote(quote, quoted, &mut word).ok_or(UNBALANCED)?;
                    if rest.first().is_some_and(|next| !next.is_ascii_whitespace()) {
                        return Err(UNBALANCED);
                    }
                }
                [byte, ref after @ ..] => {
                    word.push(byte);
                    rest = after;
                }
            }
        }
        words.push(Bytes::from(word));
    }
}

/// Appends what stands before the closing `quote` to `word` and answers with what stands behind it; `None` if the
/// quote is not closed.
fn unquote<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match *rest {
            [] => return None,
            [end, ref after @ ..] if end == quote => return Some(after),
            [b'\\', b'\'', ref after @ ..] if quote == b'\'' => (b'\'', after),
            [b'\\', b'x', high, low, ref after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(high) << 4 | hex(low), after)
            }
            [b'\\', escaped, ref after @ ..] if quote == b'"' => (unescape(escaped), after),
            [byte, ref after @ ..] => (byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn unescape(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' }
}

/// Reads a signed integer as strictly as Redis does: no `+`, no leading zero, no space, nothing beyond 64 bits.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    match text {
        b"0" => return Some(0),
        [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..] => {}
        _ => return None,
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The version of the protocol a connection speaks; chosen by `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// What every client speaks until it says otherwise.
    #[default]
    Resp2,
    /// With maps, a null of its own and verbatim strings.
    Resp3,
}

/// What a client is answered, before a version of the protocol gives it its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A status such as `OK`.
    Simple(&'static str),
    /// An error, with its code (`ERR`, `NOPROTO`, …) in front.
    Error(Cow<'static, str>),
    /// A number.
    Integer(i64),
    /// A string of any bytes.
    Bulk(Bytes),
    /// A text for people: a bulk string in RESP2, a verbatim string in RESP3.
    Text(String),
    /// Nothing: no such key.
    Null,
    /// A list.
    Array(Vec<Reply>),
    /// Names and values in this order: flattened into a list in RESP2.
    Map(Vec<(Reply, Reply)>),
}

impl Reply {
    /// The usual answer to a command that did its work.
    pub(crate) const OK: Self = Self::Simple("OK");

    /// An error whose text is known beforehand.
    pub(crate) const fn error(text: &'static str) -> Self {
        Self::Error(Cow::Borrowed(text))
    }

    /// A bulk string with a copy of `text`.
    pub(crate) fn bulk(text: &str) -> Self {
        Self::Bulk(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// At most so many bytes does [`encode`] append: for a limit on what one command may make the server write, since
    /// one `MGET` can name a large value many times.
    pub(crate) fn encoded_bound(&self) -> usize {
        // The longest header or number is 1 + 20 + 2 bytes; a verbatim string has 4 bytes more, a bulk string 2.
        const FRAME: usize = 32;
        FRAME
            + match self {
                Self::Simple(text) => text.len(),
                Self::Error(text) => text.len(),
                Self::Bulk(bytes) => bytes.len(),
                Self::Text(text) => text.len(),
                Self::Integer(_) | Self::Null => 0,
                Self::Array(items) => items.iter().map(Self::encoded_bound).sum(),
                Self::Map(pairs) => pairs.iter().map(|(k, v)| k.encoded_bound() + v.encoded_bound()).sum(),
            }
    }
}

/// Appends `reply` to `out` as `protocol` writes it.
pub(crate) fn encode(reply: &Reply, protocol: Protocol, out: &mut BytesMut) {
    match (reply, protocol) {
        (Reply::Simple(text), _) => put(out, reply, &BorrowedFrame::SimpleString(text.as_bytes())),
        (Reply::Error(text), _) => put(out, reply, &BorrowedFrame::Error(&one_line(text))),
        (Reply::Integer(number), _) => put(out, reply, &BorrowedFrame::Integer(*number)),
        (Reply::Bulk(bytes), _) => put(out, reply, &BorrowedFrame::BulkString(bytes)),
        (Reply::Text(text), Protocol::Resp2) => put(out, reply, &BorrowedFrame::BulkString(text.as_bytes())),
        (Reply::Text(text), Protocol::Resp3) => put3(
            out,
            reply,
            &resp3::types::BorrowedFrame::VerbatimString {
                data: text.as_bytes(),
                format: resp3::types::VerbatimStringFormat::Text,
                attributes: None,
            },
        ),
        (Reply::Null, Protocol::Resp2) => put(out, reply, &BorrowedFrame::Null),
        (Reply::Null, Protocol::Resp3) => put3(out, reply, &resp3::types::BorrowedFrame::Null),
        // The crate would have a list as a slice of frames and a map as a `HashMap` of them: building either only to
        // write a header is not worth it, and a map would lose its order.
        (Reply::Array(items), _) => {
            out.extend_from_slice(format!("*{}\r\n", items.len()).as_bytes());
            items.iter().for_each(|item| encode(item, protocol, out));
        }
        (Reply::Map(pairs), _) => {
            let header = match protocol {
                Protocol::Resp2 => format!("*{}\r\n", 2 * pairs.len()),
                Protocol::Resp3 => format!("%{}\r\n", pairs.len()),
            };
            out.extend_from_slice(header.as_bytes());
            for (name, value) in pairs {
                encode(name, protocol, out);
                encode(value, protocol, out);
            }
        }
    }
}

fn put(out: &mut BytesMut, reply: &Reply, frame: &BorrowedFrame<'_>) {
    append(out, reply.encoded_bound(), |space| resp2::encode::encode_borrowed(space, frame, false).ok());
}

fn put3(out: &mut BytesMut, reply: &Reply, frame: &resp3::types::BorrowedFrame<'_>) {
    append(out, reply.encoded_bound(), |space| resp3::encode::complete::encode_borrowed(space, frame, false).ok());
}

/// Lets `write` fill `bound` bytes at the end of `out` and keeps as many as it says it wrote. The crate's
/// `extend_encode` is not used because its own count of digits is one too high from 999999999999999 on, which leaves a
/// zero byte behind the reply.
fn append(out: &mut BytesMut, bound: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
    let start = out.len();
    out.resize(start + bound, 0);
    let written = write(&mut out[start..]);
    assert!(written.is_some(), "a scalar reply fits in its bound, and nothing else can make the encoder fail");
    out.truncate(start + written.unwrap_or(0));
}

/// An error is one line on the wire, whatever a client put into the name of its command.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], " ").into() } else { text.into() }
}

#[cfg(test)]
mod tests;
