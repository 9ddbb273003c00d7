//! Frames: what two nodes say to each other, one at a time, each with its length in front.
//!
//! Owns: [`Frame`] and its bytes. `frame/writer.rs` puts frames behind each other, `frame/reader.rs` cuts a stream of
//! bytes into frames again. Knows nothing of when which frame is in place; that is [`proto`](super::proto).
//!
//! # Bytes
//!
//! | bytes | field | |
//! | --- | --- | --- |
//! | 0..4 | length | u32, little-endian: the bytes after the header |
//! | 4 | kind | which frame |
//! | 5 | flags | none yet: 0 |
//! | 6.. | | fields in postcard, then the message, if the frame carries one |

mod reader;
#[cfg(test)]
pub(in crate::link) mod tests;
mod writer;

use std::fmt;

pub use reader::FrameReader;
use runtime::ExitReason;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize as SerializeDerive};
pub use writer::FrameWriter;

use self::writer::Fields;
use super::hello::Refusal;
use crate::codec::{self, DecodeError, Limits};
use crate::wire_id::{WireId, WireSlot};

/// The bytes in front of every frame.
pub const HEADER: usize = 6;
/// The longest hello, and the longest frame of any kind before both sides have said theirs, in bytes.
pub const MAX_HELLO: u32 = 16 * 1024;
/// The longest frame that carries no message, in bytes.
pub const MAX_CONTROL: u32 = 64 * 1024;
/// The longest frame that carries a message, in bytes, unless configured.
pub const MAX_MESSAGE: u32 = 1024 * 1024;
/// The longest text within a frame, in bytes: what is longer is cut when it is sent.
const MAX_TEXT: usize = 8 * 1024;

/// The asks whose ports a message carries: the sender numbers the ports of one message one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SerializeDerive, Deserialize)]
pub struct Asks {
    /// The number of the first.
    pub first: u64,
    /// How many there are; 0 for a message that asks nothing.
    pub count: u16,
}

impl Asks {
    /// The numbers of the asks.
    pub fn numbers(self) -> impl Iterator<Item = u64> {
        (0..u64::from(self.count)).map(move |n| self.first.wrapping_add(n))
    }
}

/// Why a message did not reach its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SerializeDerive, Deserialize)]
#[non_exhaustive]
pub enum RefusedTell {
    /// The lane is gone, or never was.
    NoProc,
    /// The lane's mailbox was full.
    Full,
    /// The lane takes messages of another type.
    SchemaMismatch,
    /// The lane is not open to this peer.
    NotExported,
    /// The bytes did not decode to a message.
    Undecodable,
}

impl RefusedTell {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            RefusedTell::NoProc => "the lane is gone",
            RefusedTell::Full => "the lane's mailbox is full",
            RefusedTell::SchemaMismatch => "the lane takes messages of another type",
            RefusedTell::NotExported => "the lane is not open to this peer",
            RefusedTell::Undecodable => "the bytes did not decode to a message",
        }
    }
}

impl fmt::Display for RefusedTell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Why an ask that reached its lane has no answer.
#[derive(Clone, Debug, PartialEq, Eq, SerializeDerive, Deserialize)]
#[non_exhaustive]
pub enum WireAskError {
    /// The port was dropped by a lane that lives on.
    Dropped,
    /// The port went with a lane that ended.
    Ended(ExitReason),
    /// The port had gone on to a third node, and the link to that is gone.
    NodeDown,
    /// The answer was there, but could not be encoded or was too large for the link.
    Unsendable,
}

impl fmt::Display for WireAskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireAskError::Dropped => f.write_str("the ask was dropped without an answer"),
            WireAskError::Ended(reason) => write!(f, "the lane that had the ask ended: {reason}"),
            WireAskError::NodeDown => f.write_str("the link to the node that had the ask is gone"),
            WireAskError::Unsendable => f.write_str("the answer does not fit through the link"),
        }
    }
}

/// Why a name was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SerializeDerive, Deserialize)]
#[non_exhaustive]
pub enum LookupError {
    /// No lane has that name.
    NotFound,
    /// The lane of that name takes messages of another type.
    SchemaMismatch,
    /// The lane of that name is not open to this peer.
    NotExported,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LookupError::NotFound => "no lane has that name",
            LookupError::SchemaMismatch => "the lane of that name takes messages of another type",
            LookupError::NotExported => "the lane of that name is not open to this peer",
        })
    }
}

/// Why a node closes a link.
#[derive(Clone, Debug, PartialEq, Eq, SerializeDerive, Deserialize)]
#[non_exhaustive]
pub enum Parting {
    /// The node is shutting down.
    Shutdown,
    /// Another incarnation of the other node took this one's place.
    Superseded,
    /// The other side broke the protocol, in words.
    Protocol(String),
}

/// One thing said on a link. `B` holds the bytes of messages: owned when received, borrowed when sent.
///
/// There is no frame of its own for an ask: it is a message that has ports inside, each with a number of the sender's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<B = Vec<u8>> {
    /// The first frame in each direction; [`Hello::decode`](super::hello::Hello::decode) reads it.
    Hello(B),
    /// The hello of the other side is accepted.
    Welcome,
    /// The hello of the other side is refused; the link closes.
    HelloRefused(Refusal),
    /// A message for a lane of the receiver's.
    Tell {
        /// Whom it is for.
        to: WireSlot,
        /// The fingerprint of its type.
        fingerprint: u64,
        /// The asks that it carries.
        asks: Asks,
        /// The message.
        body: B,
    },
    /// A message did not reach its lane; so the asks in it get no answer.
    Refused {
        /// Whom it was for.
        to: WireSlot,
        /// The asks that it carried.
        asks: Asks,
        /// Why.
        why: RefusedTell,
    },
    /// The answer to an ask of the receiver's.
    ReplyOk {
        /// The ask's number.
        ask: u64,
        /// The answer.
        body: B,
    },
    /// An ask of the receiver's gets no answer.
    ReplyErr {
        /// The ask's number.
        ask: u64,
        /// Why.
        error: WireAskError,
    },
    /// The sender does not want an answer to its ask any more.
    AskCancelled {
        /// The ask's number.
        ask: u64,
    },
    /// The sender wants to hear of a death.
    Monitor {
        /// The number of the monitor, chosen by the sender.
        reference: u64,
        /// Whose death.
        target: WireSlot,
    },
    /// The sender does not want to hear of it any more.
    Demonitor {
        /// The number of the monitor.
        reference: u64,
    },
    /// What the receiver monitors has ended.
    Down {
        /// The number of the monitor, chosen by the receiver.
        reference: u64,
        /// How it ended.
        reason: ExitReason,
    },
    /// A lane of the sender's ties its fate to one of the receiver's.
    Link {
        /// The sender's.
        from: WireSlot,
        /// The receiver's.
        to: WireSlot,
    },
    /// … and unties it.
    Unlink {
        /// The sender's.
        from: WireSlot,
        /// The receiver's.
        to: WireSlot,
    },
    /// An exit signal to a lane of the receiver's.
    Exit {
        /// The lane of the sender's that sends it; `None` where no lane of its own did.
        from: Option<WireSlot>,
        /// The receiver's.
        to: WireSlot,
        /// What it says.
        reason: ExitReason,
    },
    /// A lane of the receiver's is to end once it has handled what is queued.
    Stop {
        /// The lane.
        to: WireSlot,
        /// The reason with which it is to end.
        reason: ExitReason,
    },
    /// The sender asks for the lane of a name.
    Lookup {
        /// The number of the request, chosen by the sender.
        request: u64,
        /// The name.
        name: String,
        /// The fingerprint of the messages that the lane should take.
        fingerprint: u64,
    },
    /// What was found under the name.
    LookupReply {
        /// The number of the request, chosen by the receiver.
        request: u64,
        /// The lane, or why there is none.
        result: Result<WireId, LookupError>,
    },
    /// Are you there?
    Ping {
        /// Any number.
        nonce: u64,
    },
    /// I am.
    Pong {
        /// The number of the ping.
        nonce: u64,
    },
    /// The last frame: the sender closes the link.
    Goodbye(Parting),
}

/// Numbers of the kinds on the wire. A number is never given to another kind.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const HELLO_REFUSED: u8 = 3;
    pub(super) const TELL: u8 = 4;
    pub(super) const REFUSED: u8 = 5;
    pub(super) const REPLY_OK: u8 = 6;
    pub(super) const REPLY_ERR: u8 = 7;
    pub(super) const ASK_CANCELLED: u8 = 8;
    pub(super) const MONITOR: u8 = 9;
    pub(super) const DEMONITOR: u8 = 10;
    pub(super) const DOWN: u8 = 11;
    pub(super) const LINK: u8 = 12;
    pub(super) const UNLINK: u8 = 13;
    pub(super) const EXIT: u8 = 14;
    pub(super) const LOOKUP: u8 = 15;
    pub(super) const LOOKUP_REPLY: u8 = 16;
    pub(super) const PING: u8 = 17;
    pub(super) const PONG: u8 = 18;
    pub(super) const GOODBYE: u8 = 19;
    pub(super) const STOP: u8 = 20;
    pub(super) const LAST: u8 = STOP;
}

/// Why a stream of bytes is no stream of frames, or a frame cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is longer than its kind may be. Nothing was allocated for it, or nothing sent.
    TooLarge {
        /// Its length in bytes, or that which it would have had at least.
        len: u64,
        /// What is allowed, in bytes.
        max: u32,
    },
    /// No frame has this number.
    UnknownKind(u8),
    /// No flag has a meaning yet.
    UnknownFlags(u8),
    /// The fields of the frame cannot be read.
    Malformed {
        /// The number of its kind.
        kind: u8,
        /// Why.
        error: DecodeError,
    },
    /// The stream ended within a frame.
    Truncated {
        /// How many bytes are missing, at least.
        missing: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLarge { len, max } => write!(f, "a frame of {len} bytes, where {max} are allowed"),
            FrameError::UnknownKind(kind) => write!(f, "there is no frame of kind {kind}"),
            FrameError::UnknownFlags(flags) => write!(f, "a frame with unknown flags {flags:#04x}"),
            FrameError::Malformed { kind, error } => write!(f, "a frame of kind {kind} cannot be read: {error}"),
            FrameError::Truncated { missing } => write!(f, "the stream ended {missing} bytes before the frame did"),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FrameError::Malformed { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// How long a frame of this kind may be, where messages may have `max_message` bytes.
fn max_of(kind: u8, max_message: u32) -> u32 {
    match kind {
        kind::HELLO | kind::WELCOME | kind::HELLO_REFUSED => MAX_HELLO,
        kind::TELL | kind::REPLY_OK => max_message,
        _ => MAX_CONTROL,
    }
}

impl<B: AsRef<[u8]>> Frame<B> {
    /// Whether the frame carries a message, and so counts towards congestion.
    pub fn is_message(&self) -> bool {
        matches!(self, Frame::Tell { .. } | Frame::ReplyOk { .. })
    }

    fn kind(&self) -> u8 {
        match self {
            Frame::Hello(_) => kind::HELLO,
            Frame::Welcome => kind::WELCOME,
            Frame::HelloRefused(_) => kind::HELLO_REFUSED,
            Frame::Tell { .. } => kind::TELL,
            Frame::Refused { .. } => kind::REFUSED,
            Frame::ReplyOk { .. } => kind::REPLY_OK,
            Frame::ReplyErr { .. } => kind::REPLY_ERR,
            Frame::AskCancelled { .. } => kind::ASK_CANCELLED,
            Frame::Monitor { .. } => kind::MONITOR,
            Frame::Demonitor { .. } => kind::DEMONITOR,
            Frame::Down { .. } => kind::DOWN,
            Frame::Link { .. } => kind::LINK,
            Frame::Unlink { .. } => kind::UNLINK,
            Frame::Exit { .. } => kind::EXIT,
            Frame::Stop { .. } => kind::STOP,
            Frame::Lookup { .. } => kind::LOOKUP,
            Frame::LookupReply { .. } => kind::LOOKUP_REPLY,
            Frame::Ping { .. } => kind::PING,
            Frame::Pong { .. } => kind::PONG,
            Frame::Goodbye(_) => kind::GOODBYE,
        }
    }

    fn encode_fields(&self, out: &mut Fields<'_>) -> Result<(), FrameError> {
        match self {
            Frame::Hello(body) => out.raw(body.as_ref()),
            Frame::Welcome => Ok(()),
            Frame::HelloRefused(refusal) => out.put(refusal),
            Frame::Tell { to, fingerprint, asks, body } => {
                out.put(&(to, fingerprint, asks))?;
                out.raw(body.as_ref())
            }
            Frame::Refused { to, asks, why } => out.put(&(to, asks, why)),
            Frame::ReplyOk { ask, body } => {
                out.put(ask)?;
                out.raw(body.as_ref())
            }
            Frame::ReplyErr { ask, error: WireAskError::Ended(reason) } => {
                out.put(&(ask, WireAskError::Ended(short_reason(reason))))
            }
            Frame::ReplyErr { ask, error } => out.put(&(ask, error)),
            Frame::AskCancelled { ask } => out.put(ask),
            Frame::Monitor { reference, target } => out.put(&(reference, target)),
            Frame::Demonitor { reference } => out.put(reference),
            Frame::Down { reference, reason } => out.put(&(reference, short_reason(reason))),
            Frame::Link { from, to } | Frame::Unlink { from, to } => out.put(&(from, to)),
            Frame::Exit { from, to, reason } => out.put(&(from, to, short_reason(reason))),
            Frame::Stop { to, reason } => out.put(&(to, short_reason(reason))),
            Frame::Lookup { request, name, fingerprint } => out.put(&(request, name, fingerprint)),
            Frame::LookupReply { request, result } => out.put(&(request, result)),
            Frame::Ping { nonce } | Frame::Pong { nonce } => out.put(nonce),
            Frame::Goodbye(Parting::Protocol(why)) => out.put(&Parting::Protocol(short(why).to_owned())),
            Frame::Goodbye(parting) => out.put(parting),
        }
    }
}

impl Frame {
    fn decode(kind: u8, bytes: &[u8]) -> Result<Frame, DecodeError> {
        fn all<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
            codec::decode(bytes, Limits::default())
        }
        fn prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Vec<u8>), DecodeError> {
            codec::decode_prefix(bytes, Limits::default()).map(|(fields, body)| (fields, body.to_vec()))
        }
        Ok(match kind {
            kind::HELLO => Frame::Hello(bytes.to_vec()),
            kind::WELCOME => all(bytes).map(|()| Frame::Welcome)?,
            kind::HELLO_REFUSED => Frame::HelloRefused(all(bytes)?),
            kind::TELL => {
                let ((to, fingerprint, asks), body) = prefix(bytes)?;
                Frame::Tell { to, fingerprint, asks, body }
            }
            kind::REFUSED => all(bytes).map(|(to, asks, why)| Frame::Refused { to, asks, why })?,
            kind::REPLY_OK => prefix(bytes).map(|(ask, body)| Frame::ReplyOk { ask, body })?,
            kind::REPLY_ERR => all(bytes).map(|(ask, error)| Frame::ReplyErr { ask, error })?,
            kind::ASK_CANCELLED => Frame::AskCancelled { ask: all(bytes)? },
            kind::MONITOR => all(bytes).map(|(reference, target)| Frame::Monitor { reference, target })?,
            kind::DEMONITOR => Frame::Demonitor { reference: all(bytes)? },
            kind::DOWN => all(bytes).map(|(reference, reason)| Frame::Down { reference, reason })?,
            kind::LINK => all(bytes).map(|(from, to)| Frame::Link { from, to })?,
            kind::UNLINK => all(bytes).map(|(from, to)| Frame::Unlink { from, to })?,
            kind::EXIT => all(bytes).map(|(from, to, reason)| Frame::Exit { from, to, reason })?,
            kind::STOP => all(bytes).map(|(to, reason)| Frame::Stop { to, reason })?,
            kind::LOOKUP => {
                all(bytes).map(|(request, name, fingerprint)| Frame::Lookup { request, name, fingerprint })?
            }
            kind::LOOKUP_REPLY => all(bytes).map(|(request, result)| Frame::LookupReply { request, result })?,
            kind::PING => Frame::Ping { nonce: all(bytes)? },
            kind::PONG => Frame::Pong { nonce: all(bytes)? },
            kind::GOODBYE => Frame::Goodbye(all(bytes)?),
            other => return Err(DecodeError::Malformed(format!("there is no frame of kind {other}"))),
        })
    }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

/// The reason with its texts cut to a length that always fits a control frame: a death must be told whatever it says.
fn short_reason(reason: &ExitReason) -> ExitReason {
    let cut = |text: &str| short(text).into();
    match reason {
        ExitReason::ShutdownWith(what) if what.len() > MAX_TEXT => ExitReason::ShutdownWith(cut(what)),
        ExitReason::Error(what) if what.len() > MAX_TEXT => ExitReason::Error(cut(what)),
        ExitReason::Panicked { message, location } if message.len().max(location.len()) > MAX_TEXT => {
            ExitReason::Panicked { message: cut(message), location: cut(location) }
        }
        other => other.clone(),
    }
}
