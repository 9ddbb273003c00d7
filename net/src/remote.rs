//! The half of a link that other lanes touch: what waits to be said to the peer, and who waits for what it says.
//!
//! Owns: [`Link`], with the tables of open asks, monitors and lookups, and [`Route`], by which sends, monitors and exits
//! of local lanes reach it from any thread. Knows nothing of sockets; the lane that has one is `link/lane`. In
//! `remote/border` messages become bytes and bytes messages; `remote/export` says which lanes are open to a peer.
//!
//! # Invariants
//! 1. No code of the user's runs, and no waker is touched, while a lock of this module is held.
//! 2. Whoever is in a table of the [`Book`] is told: by the peer's answer, or by [`Link::close`]. After that the book
//!    takes nobody in.
//! 3. The namespace leads nowhere before anybody hears that the link is gone, and before the peer may link again.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use actors::Address;
use actors::remote::PendingReply;
use parking_lot::Mutex;
use runtime::peer::{self, PeerError as RouteError, PeerRoute, deliver_down};
use runtime::reply::{self, Answer, Answerer, NoAnswer};
use runtime::{ExitReason, Id, MonitorRef};

pub(crate) mod border;
pub(crate) mod export;

use crate::link::frame::{Asks, Frame, LookupError as Unfound, RefusedTell, WireAskError};
use crate::link::hello::Accepted;
use crate::link::lane::LinkMsg;
use crate::node::shared::Shared;
use crate::peer::{NodeIdentity, Peer};
use crate::wire_id::{WireId, WireSlot};
use export::Exports;

/// How many asks, and how many monitors and lookups, may be open on one link.
const MAX_OPEN: usize = 65_536;
/// What the fields of a frame with a message take at most, in bytes.
const FIELDS: usize = 64;
/// By how many times the bound on messages the queue may grow by what cannot be handed back, as answers and downs.
const OVER: usize = 4;

/// One link, as those see it who have something to say to the peer.
pub(crate) struct Link {
    pub(crate) node: Arc<Shared>,
    pub(crate) peer: Peer,
    pub(crate) identity: NodeIdentity,
    /// The lane that owns the connection.
    pub(crate) lane: Address<LinkMsg>,
    pub(crate) exports: Arc<Mutex<Exports>>,
    pub(crate) counters: Counters,
    max_body: usize,
    max_queued: usize,
    book: Mutex<Book>,
}

/// What a link has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) refused_here: AtomicU64,
    pub(crate) refused_there: AtomicU64,
}

/// ORDER: Relaxed throughout: these are counts and order nothing.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What waits, one way or the other.
#[derive(Default)]
struct Book {
    closed: bool,
    /// The peer makes this side say more than it reads.
    overrun: bool,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The link's lane, where it waits for frames.
    waker: Option<Waker>,
    asks: BTreeMap<u64, Box<dyn PendingReply>>,
    monitors: BTreeMap<u64, (Id, MonitorRef)>,
    /// The numbers of the monitors, by watcher and its own number.
    monitor_numbers: BTreeMap<(Id, u64), u64>,
    lookups: BTreeMap<u64, Answerer<Result<Id, Unfound>>>,
    last_ask: u64,
    last_monitor: u64,
    last_lookup: u64,
}

fn cost(frame: &Frame) -> usize {
    let body = match frame {
        Frame::Tell { body, .. } | Frame::ReplyOk { body, .. } => body.len(),
        _ => 0,
    };
    size_of::<Frame>() + body
}

impl Book {
    /// Queues a frame; whom to wake for it, once the lock is released.
    #[must_use]
    fn queue(&mut self, frame: Frame, max: usize) -> Option<Waker> {
        self.bytes += cost(&frame);
        if self.bytes > max * OVER * 2 {
            self.overrun = true;
            self.frames.clear();
        } else {
            self.frames.push_back(frame);
        }
        self.waker.take()
    }
}

/// The peer does not read what it makes this side say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overrun;

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link(to {})", self.identity)
    }
}

impl Link {
    pub(crate) fn new(
        node: Arc<Shared>,
        peer: Peer,
        terms: &Accepted,
        lane: Address<LinkMsg>,
        exports: Arc<Mutex<Exports>>,
    ) -> Link {
        let config = node.config.link;
        let frame = config.max_message.min(terms.max_frame) as usize;
        Link {
            node,
            peer,
            identity: terms.identity.clone(),
            lane,
            exports,
            counters: Counters::default(),
            max_body: frame.saturating_sub(FIELDS),
            max_queued: config.max_pending,
            book: Mutex::new(Book::default()),
        }
    }

    /// Lets ids of the peer lead here.
    pub(crate) fn open(self: &Arc<Link>) {
        peer::connect(self.peer.namespace(), Arc::new(Route(self.clone())));
    }

    /// Ends the link for all who use it: nothing more goes out, and whoever waits is told. Again, it does nothing.
    pub(crate) fn close(self: &Arc<Link>) {
        let book = {
            let mut book = self.book.lock();
            if book.closed {
                return;
            }
            let (last_ask, last_monitor) = (book.last_ask, book.last_monitor);
            mem::replace(&mut *book, Book { closed: true, last_ask, last_monitor, ..Book::default() })
        };
        peer::disconnect(self.peer.namespace());
        self.node.link_closed(self);
        for (_, port) in book.asks {
            port.fail(NoAnswer::NodeDown);
        }
        for (_, (target, reference)) in book.monitors {
            deliver_down(reference, target, ExitReason::NodeDown);
        }
        for (_, answerer) in book.lookups {
            answerer.refuse(NoAnswer::NodeDown);
        }
        wake(book.waker);
    }

    /// The frames that wait, into `frames`, which is empty; `waker` is woken when there are more.
    pub(crate) fn take_frames(&self, frames: &mut VecDeque<Frame>, waker: Waker) -> Result<(), Overrun> {
        let mut book = self.book.lock();
        let old = book.waker.replace(waker);
        mem::swap(&mut book.frames, frames);
        book.bytes = 0;
        let overrun = book.overrun;
        drop(book);
        drop(old);
        if overrun { Err(Overrun) } else { Ok(()) }
    }

    /// Queues what must be said though much waits already. Where the link is closed it is dropped, as nobody hears it.
    pub(crate) fn say(&self, frame: Frame) {
        let mut book = self.book.lock();
        let waker = if book.closed { None } else { book.queue(frame, self.max_queued) };
        drop(book);
        wake(waker);
    }

    /// Queues an answer, or where too much waits already, that there is none.
    fn say_reply(&self, ask: u64, body: Vec<u8>) {
        let full = self.book.lock().bytes > self.max_queued * OVER;
        self.say(match full {
            false => Frame::ReplyOk { ask, body },
            true => Frame::ReplyErr { ask, error: WireAskError::Unsendable },
        });
    }

    fn has_room(&self) -> Result<(), RouteError> {
        let book = self.book.lock();
        match book.closed {
            true => Err(RouteError::NodeDown),
            false if book.bytes >= self.max_queued => Err(RouteError::Congested),
            false => Ok(()),
        }
    }

    /// Whether `more` ports may be entered.
    fn has_room_for_asks(&self, more: usize) -> bool {
        self.book.lock().asks.len() + more <= MAX_OPEN
    }

    /// Queues a message and enters the ports that it carries; hands them back where the link is closed.
    fn post(
        &self,
        to: Id,
        fingerprint: u64,
        ports: Vec<Box<dyn PendingReply>>,
        body: Vec<u8>,
    ) -> Result<(), Vec<Box<dyn PendingReply>>> {
        let mut book = self.book.lock();
        if book.closed {
            drop(book);
            return Err(ports);
        }
        let count = u16::try_from(ports.len()).expect("the border counts them");
        let asks = Asks { first: if count == 0 { 0 } else { book.last_ask + 1 }, count };
        book.last_ask += u64::from(count);
        book.asks.extend(asks.numbers().zip(ports));
        let waker = book.queue(Frame::Tell { to: WireSlot::of(to), fingerprint, asks, body }, self.max_queued);
        drop(book);
        count_sent(self);
        wake(waker);
        Ok(())
    }

    fn take_ask(&self, ask: u64) -> Option<Box<dyn PendingReply>> {
        self.book.lock().asks.remove(&ask)
    }

    /// The peer says that an ask gets no answer.
    pub(crate) fn receive_reply_err(&self, ask: u64, error: WireAskError) {
        if let Some(port) = self.take_ask(ask) {
            port.fail(match error {
                WireAskError::Ended(reason) => NoAnswer::Ended(reason),
                WireAskError::NodeDown => NoAnswer::NodeDown,
                WireAskError::Unsendable => NoAnswer::Refused("the answer does not fit through the link"),
                WireAskError::Dropped => NoAnswer::Dropped,
            });
        }
    }

    /// The peer, or the link's lane, says that a message did not reach its lane.
    pub(crate) fn receive_refused(&self, asks: Asks, why: RefusedTell) {
        count(&self.counters.refused_there);
        let last = asks.first.saturating_add(u64::from(asks.count));
        let ports: Vec<_> = {
            let mut book = self.book.lock();
            // By what is in the table, not by what the peer says.
            let open: Vec<u64> = book.asks.range(asks.first..last).map(|(ask, _)| *ask).collect();
            open.iter().filter_map(|ask| book.asks.remove(ask)).collect()
        };
        for port in ports {
            port.fail(match why {
                RefusedTell::NoProc => NoAnswer::Ended(ExitReason::NoProc),
                other => NoAnswer::Refused(other.words()),
            });
        }
    }

    /// The peer says that what a local lane watches has ended.
    pub(crate) fn receive_down(&self, number: u64, reason: ExitReason) {
        let mut book = self.book.lock();
        let watched = book.monitors.remove(&number);
        if let Some((_, MonitorRef { watcher, number })) = watched {
            book.monitor_numbers.remove(&(watcher, number));
        }
        drop(book);
        if let Some((target, reference)) = watched {
            deliver_down(reference, target, reason);
        }
    }

    /// Asks the peer for a lane by name.
    pub(crate) fn look_up(&self, name: &str, fingerprint: u64) -> Answer<Result<Id, Unfound>> {
        let (answerer, answer) = reply::port();
        let mut book = self.book.lock();
        if book.closed || book.lookups.len() >= MAX_OPEN {
            let why = if book.closed { NoAnswer::NodeDown } else { NoAnswer::Refused("too many lookups are open") };
            drop(book);
            answerer.refuse(why);
            return answer;
        }
        book.last_lookup += 1;
        let request = book.last_lookup;
        book.lookups.insert(request, answerer);
        let waker = book.queue(Frame::Lookup { request, name: name.to_owned(), fingerprint }, self.max_queued);
        drop(book);
        wake(waker);
        answer
    }

    /// The peer says what it found.
    pub(crate) fn receive_found(&self, request: u64, found: Result<WireId, Unfound>) {
        let Some(answerer) = self.book.lock().lookups.remove(&request) else { return };
        let found = found.and_then(|wire| self.import(&wire).map_err(|_| Unfound::NotFound));
        // Whoever asked may have left.
        let _ = answerer.answer(found);
    }

    /// The peer asks for a lane by name.
    pub(crate) fn receive_lookup(&self, request: u64, name: &str, fingerprint: u64) {
        let result = self.node.published(name, fingerprint).and_then(|(id, schema)| {
            self.exports.lock().enter(id, schema).map_err(|_full| Unfound::NotExported)?;
            self.node.wire(id, self.peer).map_err(|_| Unfound::NotExported)
        });
        self.say(Frame::LookupReply { request, result });
    }

    /// The local lane that the peer means, where it is open to it.
    pub(crate) fn exported(&self, slot: WireSlot) -> Option<Id> {
        let id = slot.id(self.node.lanes);
        self.exports.lock().find(id).map(|_| id)
    }
}

fn count_sent(link: &Link) {
    count(&link.counters.sent);
}

/// The way of local lanes to a link.
pub(crate) struct Route(Arc<Link>);

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PeerRoute for Route {
    fn tell(
        &self,
        to: Id,
        message: Box<dyn std::any::Any + Send>,
    ) -> Result<(), (RouteError, Box<dyn std::any::Any + Send>)> {
        // Before the message is encoded, which uses up the ports in it.
        if let Err(why) = self.0.has_room() {
            return Err((why, message));
        }
        border::send(&self.0, to, &*message).map_err(|why| (why, message))
    }

    fn monitor(&self, target: Id, reference: MonitorRef) {
        let mut book = self.0.book.lock();
        if book.closed || book.monitors.len() >= MAX_OPEN {
            let closed = book.closed;
            drop(book);
            let full = || ExitReason::error("too many monitors stand on the link to this lane's node");
            deliver_down(reference, target, if closed { ExitReason::NodeDown } else { full() });
            return;
        }
        book.last_monitor += 1;
        let number = book.last_monitor;
        book.monitors.insert(number, (target, reference));
        book.monitor_numbers.insert((reference.watcher, reference.number), number);
        let monitor = Frame::Monitor { reference: number, target: WireSlot::of(target) };
        let waker = book.queue(monitor, self.0.max_queued);
        drop(book);
        wake(waker);
    }

    fn demonitor(&self, _target: Id, reference: MonitorRef) {
        let mut book = self.0.book.lock();
        let Some(number) = book.monitor_numbers.remove(&(reference.watcher, reference.number)) else { return };
        book.monitors.remove(&number);
        let waker = book.queue(Frame::Demonitor { reference: number }, self.0.max_queued);
        drop(book);
        wake(waker);
    }

    fn exit(&self, to: Id, from: Id, reason: ExitReason) {
        let own = (from.namespace() == self.0.node.lanes).then(|| WireSlot::of(from));
        self.0.say(Frame::Exit { from: own, to: WireSlot::of(to), reason });
    }

    fn stop(&self, to: Id, reason: ExitReason) {
        self.0.say(Frame::Stop { to: WireSlot::of(to), reason });
    }
}
