//! The lane of one link: owns the connection and drives [`proto`](super::proto).
//!
//! Owns: the order in which bytes, frames, deaths and time are looked at. What other lanes touch is
//! [`remote`](crate::remote).
//!
//! # Who takes whom
//!
//! Two nodes may dial each other at the same moment. So that they end up with one link and not with none, the node with
//! the lesser name decides: it takes the first hello that it sees, and the other takes only what was welcomed.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actors::{Lane, Reply, timeout};
use futures_io::{AsyncRead, AsyncWrite};
use runtime::env::Instant;
use runtime::time::{self, Sleep};
use runtime::{ExitReason, MonitorRef, lane};

use super::frame::{Frame, Parting, RefusedTell};
use super::hello::{Accepted, Refusal};
use super::proto::{CloseReason, Event, Machine, SendError, State};
use crate::node::shared::Shared;
use crate::node::{ConnectError, PeerHandle};
use crate::remote::{Link, border};
use crate::tcp::TcpStream;

/// What is read at a time, in bytes.
const READ: usize = 64 * 1024;
/// How long last words may take to leave.
const LINGER: Duration = Duration::from_secs(1);
/// How many monitors a peer may have on lanes of this node.
const MAX_WATCHED: usize = 65_536;

/// What a link's lane is told.
#[derive(Debug)]
pub(crate) enum LinkMsg {
    /// A lane that the peer watches, by its number, has ended.
    Down(u64, ExitReason),
    /// Say goodbye with these words, and close.
    Close(Parting),
}

/// How a link comes to be.
#[derive(Debug)]
pub(crate) enum Start {
    /// This side dials; whoever wanted it is told.
    Dial(SocketAddr, Reply<Result<PeerHandle, ConnectError>>),
    /// The other side did.
    Accepted(TcpStream),
}

impl Start {
    /// Does not begin.
    pub(crate) fn refuse(self, why: ConnectError) {
        if let Start::Dial(_, reply) = self {
            // Whoever dialled may have left.
            let _ = reply.send(Err(why));
        }
    }
}

/// The lane of one link, from the connection to its end.
pub(crate) async fn run(lane: Lane<LinkMsg>, node: Arc<Shared>, start: Start) -> ExitReason {
    let (stream, dialled) = match start {
        Start::Accepted(stream) => match stream.adopt() {
            Ok(()) => (stream, None),
            Err(_closed) => return ExitReason::Normal,
        },
        Start::Dial(address, reply) => match timeout(node.config.link.handshake, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => (stream, Some(reply)),
            Ok(Err(error)) => {
                Start::Dial(address, reply).refuse(ConnectError::Io(error.kind()));
                return ExitReason::Normal;
            }
            Err(_elapsed) => {
                Start::Dial(address, reply).refuse(ConnectError::Timeout);
                return ExitReason::Normal;
            }
        },
    };
    // Frames are written whole already; waiting for more would only be late.
    let _ = stream.set_nodelay(true);
    let mut driver = Driver::new(lane, node, stream, dialled);
    let reason = poll_fn(|cx| driver.poll(cx)).await;
    tracing::info!(node = %driver.node.identity, peer = ?driver.terms.as_ref().map(|t| &t.identity), %reason, "link closed");
    // Whoever waits for the peer hears of it now, and not after the last words.
    driver.link = None;
    if let Some(reply) = driver.dialled.take() {
        let _ = reply.send(Err(reason.into()));
    }
    let _late = timeout(LINGER, last_words(&mut driver.stream, &mut driver.machine)).await;
    ExitReason::Normal
}

/// Sends what the machine still has to say, and waits for the other side to have read it: closing a socket with unread
/// bytes would take the words back.
async fn last_words(stream: &mut TcpStream, machine: &mut Machine) {
    while let Some(pending) = machine.poll_transmit() {
        match stream.write(pending).await {
            Ok(count) if count > 0 => machine.transmitted(count),
            _ => return,
        }
    }
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut rest = [0; 1024];
    while let Ok(1..) = stream.read(&mut rest).await {}
}

/// A link that is this lane's: closed with it, however the lane ends.
struct Hold(Arc<Link>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Driver {
    // Dropped before the rest: the table of links must not lead to a connection that is gone.
    link: Option<Hold>,
    lane: Lane<LinkMsg>,
    node: Arc<Shared>,
    stream: TcpStream,
    machine: Machine,
    dialled: Option<Reply<Result<PeerHandle, ConnectError>>>,
    /// What the other side said of itself.
    terms: Option<Accepted>,
    buffer: Vec<u8>,
    /// Where in `buffer` what was read and not taken yet begins, and where it ends.
    unread: (usize, usize),
    /// Frames that the machine has not taken yet.
    frames: VecDeque<Frame>,
    /// What the peer watches: its numbers, and the monitors of this lane.
    watched: BTreeMap<u64, MonitorRef>,
    sleep: Sleep,
    closed: Option<CloseReason>,
}

fn now() -> Duration {
    time::now() - Instant::ZERO
}

impl Driver {
    fn new(
        lane: Lane<LinkMsg>,
        node: Arc<Shared>,
        stream: TcpStream,
        dialled: Option<Reply<Result<PeerHandle, ConnectError>>>,
    ) -> Driver {
        let machine = Machine::new(node.hello(), node.config.link, now());
        Driver {
            link: None,
            lane,
            node,
            stream,
            machine,
            dialled,
            terms: None,
            buffer: vec![0; READ],
            unread: (0, 0),
            frames: VecDeque::new(),
            watched: BTreeMap::new(),
            sleep: time::sleep(Duration::ZERO),
            closed: None,
        }
    }

    /// Ready when the link is closed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            // What others queued before they asked the link to close still goes out.
            self.take_frames(cx);
            self.poll_mailbox(cx);
            self.take_unread();
            self.take_frames(cx);
            // Each of them polls until it is pending, or asks for another round.
            let wrote = self.poll_write(cx);
            let read = self.poll_read(cx);
            let due = self.poll_time(cx);
            self.take_events();
            if let Some(reason) = self.closed.take() {
                return Poll::Ready(reason);
            }
            if !(wrote || read || due) {
                return Poll::Pending;
            }
        }
    }

    fn poll_mailbox(&mut self, cx: &mut Context<'_>) {
        loop {
            match self.lane.poll_recv(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => return self.machine.close(Parting::Shutdown),
                Poll::Ready(Some(LinkMsg::Close(parting))) => self.machine.close(parting),
                Poll::Ready(Some(LinkMsg::Down(reference, reason))) => {
                    if self.watched.remove(&reference).is_some() {
                        self.say(Frame::Down { reference, reason });
                    }
                }
            }
        }
    }

    fn say(&self, frame: Frame) {
        if let Some(Hold(link)) = &self.link {
            link.say(frame);
        }
    }

    /// Gives the machine what was read, and takes what it makes of it.
    fn take_unread(&mut self) {
        while self.unread.0 < self.unread.1 {
            let mut input = &self.buffer[self.unread.0..self.unread.1];
            self.machine.handle_bytes(now(), &mut input);
            self.unread.0 = self.unread.1 - input.len();
            self.take_events();
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Introduced(terms) => self.terms = Some(terms),
                Event::Up(_) => self.up(),
                Event::Received(frame) => self.receive(frame),
                Event::Closed(reason) => self.closed = Some(reason),
            }
            self.admit();
        }
        // A welcome is no event of its own.
        self.admit();
    }

    /// Lets the other side in, if it is time to decide.
    fn admit(&mut self) {
        let (None, Some(terms), State::Handshaking) = (&self.link, &self.terms, self.machine.state()) else { return };
        let decides = self.node.identity.name() <= terms.identity.name();
        if !decides && !self.machine.is_welcomed() {
            return;
        }
        match self.node.admit(terms, self.lane.address()) {
            Ok((link, superseded)) => {
                self.link = Some(Hold(link));
                self.machine.welcome();
                if let Some(old) = superseded {
                    // Its ids are stale from this moment; its lane, if it is not gone, says goodbye.
                    old.close();
                    let _ = old.lane.try_send(LinkMsg::Close(Parting::Superseded));
                }
            }
            Err(error) => self.machine.refuse(Refusal::Peer(error)),
        }
    }

    fn up(&mut self) {
        let Some(Hold(link)) = &self.link else { return };
        link.open();
        tracing::info!(node = %self.node.identity, peer = %link.identity, "link up");
        if let Some(reply) = self.dialled.take() {
            // Whoever dialled may have left.
            let _ = reply.send(Ok(PeerHandle { identity: link.identity.clone(), peer: link.peer }));
        }
    }

    fn receive(&mut self, frame: Frame) {
        let Some(Hold(link)) = &self.link else { return };
        match frame {
            Frame::Tell { to, fingerprint, asks, body } => border::receive(link, to, fingerprint, asks, &body),
            Frame::Refused { to: _, asks, why } => link.receive_refused(asks, why),
            Frame::ReplyOk { ask, body } => border::receive_reply(link, ask, &body),
            Frame::ReplyErr { ask, error } => link.receive_reply_err(ask, error),
            Frame::Lookup { request, name, fingerprint } => link.receive_lookup(request, &name, fingerprint),
            Frame::LookupReply { request, result } => link.receive_found(request, result),
            Frame::Down { reference, reason } => link.receive_down(reference, reason),
            Frame::Exit { from, to, reason } => {
                if let Some(id) = link.exported(to) {
                    let from = from.map_or(id, |slot| slot.id(link.peer.namespace()));
                    lane::exit_from(id, from, reason);
                }
            }
            Frame::Stop { to, reason } => {
                if let Some(id) = link.exported(to) {
                    // It may be gone already, which a monitor tells.
                    let _ = lane::stop(id, reason);
                }
            }
            Frame::Monitor { reference, target } => {
                let id = link.exported(target);
                self.watch(reference, id);
            }
            Frame::Demonitor { reference } => {
                if let Some(monitor) = self.watched.remove(&reference) {
                    // It is this lane's own, and stood.
                    let _ = self.lane.demonitor(monitor);
                }
            }
            // The answer to an ask that was taken back is dropped where it arrives. The others the machine keeps out.
            _ => {}
        }
    }

    /// Watches a lane for the peer.
    fn watch(&mut self, reference: u64, id: Option<runtime::Id>) {
        let full = self.watched.len() >= MAX_WATCHED;
        match id {
            Some(id) if !full => {
                let monitor = self.lane.monitor(id, move |down| LinkMsg::Down(reference, down.reason));
                if let Some(before) = self.watched.insert(reference, monitor) {
                    // A number is used once; a peer that uses it again gets one notice for it.
                    let _ = self.lane.demonitor(before);
                }
            }
            Some(_) => {
                let reason = ExitReason::error("the lane's node watches as much as it may for this one");
                self.say(Frame::Down { reference, reason });
            }
            None => self.say(Frame::Down { reference, reason: ExitReason::NoProc }),
        }
    }

    /// Gives the machine what other lanes have to say, as far as it has room.
    fn take_frames(&mut self, cx: &mut Context<'_>) {
        let Some(Hold(link)) = &self.link else { return };
        if *self.machine.state() != State::Up {
            return;
        }
        loop {
            if self.frames.is_empty() && link.take_frames(&mut self.frames, cx.waker().clone()).is_err() {
                self.machine.close(Parting::Protocol("what you ask for is not read".to_owned()));
            }
            let Some(frame) = self.frames.pop_front() else { return };
            match self.machine.send(&frame) {
                Ok(()) => {}
                Err(SendError::Congested { .. }) => return self.frames.push_front(frame),
                Err(error) => {
                    tracing::warn!(peer = %link.identity, %error, "a frame was not sent");
                    if let Frame::Tell { asks, .. } = frame {
                        link.receive_refused(asks, RefusedTell::Undecodable);
                    }
                }
            }
        }
    }

    /// True if something was written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut wrote = false;
        while let Some(pending) = self.machine.poll_transmit() {
            match Pin::new(&mut self.stream).poll_write(cx, pending) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.machine.transmitted(count);
                    wrote = true;
                }
                Poll::Ready(_) => {
                    self.machine.handle_end();
                    break;
                }
            }
        }
        wrote
    }

    /// True if something was read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.unread.0 < self.unread.1 || matches!(self.machine.state(), State::Closed(_)) {
            return false;
        }
        match Pin::new(&mut self.stream).poll_read(cx, &mut self.buffer) {
            Poll::Pending => false,
            Poll::Ready(Ok(count)) if count > 0 => {
                self.unread = (0, count);
                true
            }
            Poll::Ready(_) => {
                self.machine.handle_end();
                false
            }
        }
    }

    /// True if something was due.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(wanted) = self.machine.poll_timeout().map(|at| Instant::ZERO + at) else { return false };
        // A deadline that moves later is left to be looked at when the earlier one comes.
        if wanted < self.sleep.deadline() {
            self.sleep.reset(wanted);
        }
        if Pin::new(&mut self.sleep).poll(cx).is_pending() {
            return false;
        }
        self.machine.handle_timeout(now());
        if let Some(next) = self.machine.poll_timeout() {
            self.sleep.reset(Instant::ZERO + next);
        }
        true
    }
}
