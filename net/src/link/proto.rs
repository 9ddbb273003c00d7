//! The link as a machine: bytes and time in, bytes and events out.
//!
//! Owns: the handshake, the heartbeat, the limits on what waits to be sent, and the end of a link. Has no socket and no
//! clock: `handle_*` brings in what happened, `poll_*` hands out what follows. Knows nothing of lanes; which asks and
//! monitors are open is for the owner to remember, who tells them of the end on [`Event::Closed`].
//!
//! # Handshake
//!
//! Both sides send their hello at once. Each checks the other's, lets the owner decide ([`Event::Introduced`], answered
//! by [`Machine::welcome`] or [`Machine::refuse`]), and sends `Welcome`. The link is up for a side that has both sent
//! and received `Welcome`, so that neither takes a link for up that the other refused.
//!
//! | state | takes | becomes up or closed by |
//! | --- | --- | --- |
//! | [`State::Handshaking`] | hello, then welcome or refusal; goodbye | both welcomes; a refusal; the handshake's time |
//! | [`State::Up`] | all frames that need no more than the agreed features | goodbye; silence; an error |
//! | [`State::Closed`] | nothing | final |
//!
//! # Invariants
//! 1. [`Event::Closed`] comes exactly once, last, and only [`Event::Up`] before it means that the link was up.
//! 2. Frames with messages are refused ([`SendError::Congested`]) while [`Config::max_pending`] bytes or more wait; no
//!    frame is ever taken and not sent, unless the link closes.
//! 3. No more waits to be sent than `max_pending`, one message, [`CONTROL_ROOM`] and one frame more: a peer that makes
//!    this side answer and does not read the answers loses its link.
//! 4. At most [`EVENT_ROOM`] events wait; more bytes are taken when they have been fetched.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::frame::{Frame, FrameError, FrameReader, FrameWriter, HEADER, MAX_MESSAGE, Parting};
use super::hello::{Accepted, Features, Hello, Refusal};
use crate::peer::NodeIdentity;

#[cfg(test)]
mod tests;

/// What frames without messages may wait beyond [`Config::max_pending`], in bytes.
pub const CONTROL_ROOM: usize = 1024 * 1024;
/// How many events may wait to be fetched.
pub const EVENT_ROOM: usize = 64;

/// How a link behaves. Times are reckoned from when bytes last came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The longest frame with a message that is sent or taken, in bytes. Default 1 MiB.
    pub max_message: u32,
    /// How many bytes may wait to be sent before messages are refused. Default 4 MiB.
    pub max_pending: usize,
    /// How long the handshake may take. Default 5 s.
    pub handshake: Duration,
    /// After how long a silence the other side is pinged. Default 5 s.
    pub ping_after: Duration,
    /// After how long a silence it counts as down. Default 20 s.
    pub down_after: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_message: MAX_MESSAGE,
            max_pending: 4 * 1024 * 1024,
            handshake: Duration::from_secs(5),
            ping_after: Duration::from_secs(5),
            down_after: Duration::from_secs(20),
        }
    }
}

impl Config {
    /// The hello of the node `identity`, which can do all that this crate can (no links yet) and insists on messages and
    /// monitors.
    pub fn hello(&self, identity: NodeIdentity) -> Hello {
        let required = Features::MESSAGES.with(Features::MONITORS);
        let offered = required.with(Features::SIGNALS).with(Features::NAMES);
        Hello { identity, offered, required, max_frame: self.max_message }
    }
}

/// How far a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The two sides are finding out about each other.
    Handshaking,
    /// Messages flow.
    Up,
    /// Nothing comes or goes any more, but for the last words in [`Machine::poll_transmit`].
    Closed(CloseReason),
}

/// Why a link closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side refused the other.
    Refused(Refusal),
    /// The other side refused this one.
    RefusedByPeer(Refusal),
    /// The handshake took too long.
    HandshakeTimeout,
    /// Nothing was heard for [`Config::down_after`].
    Silent,
    /// The connection ended.
    Disconnected {
        /// Whether it ended within a frame.
        within_frame: bool,
    },
    /// What came were no frames.
    Frame(FrameError),
    /// A frame came that has no place in this state of the link, by kind.
    OutOfPlace(&'static str),
    /// The other side does not read what it makes this side say.
    Overrun,
    /// This side said goodbye.
    Closed(Parting),
    /// The other side said goodbye.
    ClosedByPeer(Parting),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Refused(refusal) => write!(f, "the other node was refused: {refusal}"),
            CloseReason::RefusedByPeer(refusal) => write!(f, "the other node refused: {refusal}"),
            CloseReason::HandshakeTimeout => f.write_str("the handshake took too long"),
            CloseReason::Silent => f.write_str("the other node fell silent"),
            CloseReason::Disconnected { within_frame: false } => f.write_str("the connection ended"),
            CloseReason::Disconnected { within_frame: true } => f.write_str("the connection ended within a frame"),
            CloseReason::Frame(error) => error.fmt(f),
            CloseReason::OutOfPlace(what) => write!(f, "{what} came where it has no place"),
            CloseReason::Overrun => f.write_str("the other node does not read what it is answered"),
            CloseReason::Closed(parting) => write!(f, "closed: {parting:?}"),
            CloseReason::ClosedByPeer(parting) => write!(f, "closed by the other node: {parting:?}"),
        }
    }
}

/// What the owner of the link must know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The other side said a hello that is in order. Answer with [`Machine::welcome`] or [`Machine::refuse`].
    Introduced(Accepted),
    /// The link is up, on these terms.
    Up(Accepted),
    /// The other side said this: one of the frames for which [`Machine::send`] is there.
    Received(Frame),
    /// The link is closed.
    Closed(CloseReason),
}

/// Why a frame was not sent; nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The link is not up (any more).
    NotUp,
    /// Too much waits to be sent already; until [`Machine::is_congested`] says no.
    Congested {
        /// How many bytes wait.
        pending: usize,
        /// How many may.
        max: usize,
    },
    /// The frame is longer than this side or the other takes.
    TooLarge {
        /// Its length in bytes.
        len: u64,
        /// The length that is allowed, in bytes.
        max: u32,
    },
    /// The other side cannot do this.
    Lacking(Features),
    /// The frame is one that the link says by itself.
    NotForUse,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::NotUp => f.write_str("the link is not up"),
            SendError::Congested { pending, max } => {
                write!(f, "the link is congested: {pending} bytes wait, where {max} may")
            }
            SendError::TooLarge { len, max } => write!(f, "a frame of {len} bytes, where the link takes {max}"),
            SendError::Lacking(features) => write!(f, "the other node cannot do this: {features}"),
            SendError::NotForUse => f.write_str("the frame is one that the link says by itself"),
        }
    }
}

impl std::error::Error for SendError {}

/// One end of a link. `now` is the time since any fixed moment, the same for all calls.
#[derive(Debug)]
pub struct Machine {
    own: Hello,
    config: Config,
    state: State,
    /// The terms, once the other side's hello is found in order.
    introduced: Option<Accepted>,
    welcome_sent: bool,
    welcome_received: bool,
    started: Duration,
    heard: Duration,
    pinged: bool,
    reader: FrameReader,
    writer: FrameWriter,
    events: VecDeque<Event>,
}

impl Machine {
    /// The end of the node that says `own`; its hello waits to be sent.
    pub fn new(own: Hello, config: Config, now: Duration) -> Machine {
        let mut machine = Machine {
            config,
            state: State::Handshaking,
            introduced: None,
            welcome_sent: false,
            welcome_received: false,
            started: now,
            heard: now,
            pinged: false,
            reader: FrameReader::new(own.max_frame),
            writer: FrameWriter::new(config.max_message),
            events: VecDeque::new(),
            own,
        };
        let hello = machine.own.encode();
        machine.say(&Frame::Hello(hello));
        machine
    }

    /// How far the link is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes bytes that came in from the front of `input`: all of them, unless so many events wait that the owner must
    /// fetch some before the rest is taken.
    pub fn handle_bytes(&mut self, now: Duration, input: &mut &[u8]) {
        if !input.is_empty() {
            self.heard = now;
            self.pinged = false;
        }
        while self.events.len() < EVENT_ROOM {
            if self.is_closed() {
                *input = &[];
                return;
            }
            match self.reader.read(input) {
                Ok(Some(frame)) => self.handle_frame(frame),
                Ok(None) => return,
                Err(error) => self.fail(CloseReason::Frame(error)),
            }
        }
    }

    /// Notes that the connection is gone, or that nothing more will come in.
    pub fn handle_end(&mut self) {
        let within_frame = self.reader.finish().is_err();
        self.end(CloseReason::Disconnected { within_frame });
    }

    /// Does what is due at `now`. Harmless at any other time.
    pub fn handle_timeout(&mut self, now: Duration) {
        match self.state {
            State::Handshaking if now >= self.started.saturating_add(self.config.handshake) => {
                self.end(CloseReason::HandshakeTimeout);
            }
            State::Up if now >= self.heard.saturating_add(self.config.down_after) => self.end(CloseReason::Silent),
            State::Up if !self.pinged && now >= self.heard.saturating_add(self.config.ping_after) => {
                self.pinged = true;
                self.say(&Frame::Ping { nonce: 0 });
            }
            _ => {}
        }
    }

    /// When [`handle_timeout`](Machine::handle_timeout) is to be called next; `None` once the link is closed.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.state {
            State::Handshaking => Some(self.started.saturating_add(self.config.handshake)),
            State::Up if self.pinged => Some(self.heard.saturating_add(self.config.down_after)),
            State::Up => Some(self.heard.saturating_add(self.config.ping_after.min(self.config.down_after))),
            State::Closed(_) => None,
        }
    }

    /// The bytes that wait to be sent, if there are any.
    pub fn poll_transmit(&self) -> Option<&[u8]> {
        Some(self.writer.pending()).filter(|pending| !pending.is_empty())
    }

    /// Notes that the first `count` of the waiting bytes were sent.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn transmitted(&mut self, count: usize) {
        self.writer.consume(count);
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the other side has accepted this one.
    pub fn is_welcomed(&self) -> bool {
        self.welcome_received
    }

    /// Accepts the other side after [`Event::Introduced`]. Does nothing before it, and after the link has closed.
    pub fn welcome(&mut self) {
        let Some(terms) = self.introduced.as_ref().filter(|_| self.state == State::Handshaking && !self.welcome_sent)
        else {
            return;
        };
        self.writer.set_max_message(self.config.max_message.min(terms.max_frame));
        self.welcome_sent = true;
        self.reader.greeted();
        self.say(&Frame::Welcome);
        self.rise();
    }

    /// Refuses the other side after [`Event::Introduced`], and closes. Does nothing if the link is up or closed.
    pub fn refuse(&mut self, refusal: Refusal) {
        if self.state == State::Handshaking {
            self.say(&Frame::HelloRefused(refusal.clone()));
            self.close_with(CloseReason::Refused(refusal));
        }
    }

    /// Says goodbye and closes. Does nothing if the link is closed.
    pub fn close(&mut self, parting: Parting) {
        self.say(&Frame::Goodbye(parting.clone()));
        self.close_with(CloseReason::Closed(parting));
    }

    /// Whether messages are refused as [`SendError::Congested`], because so much waits to be sent.
    pub fn is_congested(&self) -> bool {
        self.writer.pending().len() >= self.config.max_pending
    }

    /// Sends one frame: a message, an answer, or what concerns asks, monitors, links and names.
    ///
    /// # Errors
    /// See [`SendError`]. Only messages and answers that carry one meet [`SendError::Congested`].
    pub fn send<B: AsRef<[u8]>>(&mut self, frame: &Frame<B>) -> Result<(), SendError> {
        let needed = features_of(frame).ok_or(SendError::NotForUse)?;
        let State::Up = self.state else { return Err(SendError::NotUp) };
        let lacking = needed.without(self.features());
        if !lacking.is_empty() {
            return Err(SendError::Lacking(lacking));
        }
        if frame.is_message() && self.is_congested() {
            return Err(SendError::Congested { pending: self.writer.pending().len(), max: self.config.max_pending });
        }
        match self.writer.push(frame) {
            Err(FrameError::TooLarge { len, max }) => return Err(SendError::TooLarge { len, max }),
            other => debug_assert_eq!(other, Ok(()), "a frame fails to be written only by its length"),
        }
        self.limit();
        Ok(())
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    fn features(&self) -> Features {
        self.introduced.as_ref().map_or(Features::default(), |terms| terms.features)
    }

    fn handle_frame(&mut self, frame: Frame) {
        let up = self.state == State::Up;
        match frame {
            Frame::Hello(bytes) if !up && self.introduced.is_none() => {
                match Hello::decode(&bytes).and_then(|hello| hello.check(&self.own)) {
                    Ok(terms) => {
                        self.introduced = Some(terms.clone());
                        self.events.push_back(Event::Introduced(terms));
                    }
                    Err(refusal) => self.refuse(refusal),
                }
            }
            Frame::Welcome if self.introduced.is_some() && !self.welcome_received => {
                self.welcome_received = true;
                self.rise();
            }
            Frame::HelloRefused(refusal) if !up => self.close_with(CloseReason::RefusedByPeer(refusal)),
            Frame::Goodbye(parting) => self.close_with(CloseReason::ClosedByPeer(parting)),
            // Where so much waits that a pong would only add to it, the other side hears enough from us without.
            Frame::Ping { nonce } if up => {
                if !self.is_congested() {
                    self.say(&Frame::Pong { nonce });
                }
            }
            Frame::Pong { .. } if up => {}
            frame => match features_of(&frame) {
                Some(needed) if up && needed.without(self.features()).is_empty() => {
                    self.events.push_back(Event::Received(frame));
                }
                _ => self.fail(CloseReason::OutOfPlace(name_of(&frame))),
            },
        }
    }

    /// Up, if both sides have welcomed each other.
    fn rise(&mut self) {
        if let (State::Handshaking, true, true, Some(terms)) =
            (&self.state, self.welcome_sent, self.welcome_received, &self.introduced)
        {
            self.state = State::Up;
            self.events.push_back(Event::Up(terms.clone()));
        }
    }

    /// Writes one of the link's own frames.
    fn say(&mut self, frame: &Frame) {
        if !self.is_closed() {
            let pushed = self.writer.push(frame);
            debug_assert_eq!(pushed, Ok(()), "the link's own frames are short");
        }
    }

    /// Keeps invariant 3.
    fn limit(&mut self) {
        let frame = HEADER + self.config.max_message as usize;
        let room = self.config.max_pending.saturating_add(frame).saturating_add(CONTROL_ROOM);
        if self.writer.pending().len() > room {
            self.end(CloseReason::Overrun);
        }
    }

    /// Closes because of what the other side did, and tells it so.
    fn fail(&mut self, reason: CloseReason) {
        self.say(&Frame::Goodbye(Parting::Protocol(reason.to_string())));
        self.close_with(reason);
    }

    /// Closes where nobody reads any more what still waits.
    fn end(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            self.writer = FrameWriter::new(self.config.max_message);
        }
        self.close_with(reason);
    }

    fn close_with(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            self.state = State::Closed(reason.clone());
            self.events.push_back(Event::Closed(reason));
        }
    }
}

/// What both sides must be able to do for this frame; `None` for those that the link says by itself.
fn features_of<B>(frame: &Frame<B>) -> Option<Features> {
    match frame {
        Frame::Tell { .. }
        | Frame::Refused { .. }
        | Frame::ReplyOk { .. }
        | Frame::ReplyErr { .. }
        | Frame::AskCancelled { .. } => Some(Features::MESSAGES),
        Frame::Monitor { .. } | Frame::Demonitor { .. } | Frame::Down { .. } => Some(Features::MONITORS),
        Frame::Link { .. } | Frame::Unlink { .. } => Some(Features::LINKS),
        Frame::Exit { .. } | Frame::Stop { .. } => Some(Features::SIGNALS),
        Frame::Lookup { .. } | Frame::LookupReply { .. } => Some(Features::NAMES),
        Frame::Hello(_)
        | Frame::Welcome
        | Frame::HelloRefused(_)
        | Frame::Ping { .. }
        | Frame::Pong { .. }
        | Frame::Goodbye(_) => None,
    }
}

/// What a frame is called where it should not have come.
fn name_of<B>(frame: &Frame<B>) -> &'static str {
    match frame {
        Frame::Hello(_) => "a hello",
        Frame::Welcome => "a welcome",
        Frame::HelloRefused(_) => "a refusal",
        Frame::Ping { .. } | Frame::Pong { .. } => "a heartbeat",
        Frame::Goodbye(_) => "a goodbye",
        Frame::Monitor { .. } | Frame::Demonitor { .. } | Frame::Down { .. } => "a frame of monitors",
        Frame::Link { .. } | Frame::Unlink { .. } => "a frame of links",
        Frame::Exit { .. } | Frame::Stop { .. } => "an exit signal",
        Frame::Lookup { .. } | Frame::LookupReply { .. } => "a frame of names",
        Frame::Tell { .. }
        | Frame::Refused { .. }
        | Frame::ReplyOk { .. }
        | Frame::ReplyErr { .. }
        | Frame::AskCancelled { .. } => "a frame of messages",
    }
}
