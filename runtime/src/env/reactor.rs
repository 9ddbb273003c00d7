//! From the OS's events to the readiness of descriptors.
//!
//! Owns: one `mio::Poll` and its one waker. Knows nothing of what the tokens name: it hands them to [`Descriptors`].
//!
//! # Invariants
//! 1. A source is registered once, for edges in both directions, and deregistered explicitly when it closes: closing
//!    alone would leave the interest behind if a child process holds the socket too.
//! 2. A token carries the generation, so what was harvested before a descriptor closed cannot reach the next tenant.
//! 3. While `pending` is set, an event for `WAKE` is on its way that no poll has taken yet, or the poll that took it
//!    has not looked at what was posted yet.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;

use super::readiness::Ready;
use super::table::Descriptors;
use crate::Id;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a reactor's token needs 48 bits");

/// What an event is reported under: key and generation of a descriptor's id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(u64);

impl Token {
    /// The token of the descriptor with this id.
    pub const fn of(id: Id) -> Token {
        Token((id.generation().get() as u64) << 32 | id.key() as u64)
    }

    /// The slot's place in the table of descriptors.
    pub const fn key(self) -> u32 {
        self.0 as u32
    }

    /// Which tenant of the slot is meant.
    pub const fn generation(self) -> u16 {
        (self.0 >> 32) as u16
    }

    pub(crate) fn to_mio(self) -> mio::Token {
        mio::Token(self.0 as usize)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.{})", self.key(), self.generation())
    }
}

/// The token of the waker: no descriptor's, whose upper 16 bits are 0.
const WAKE: mio::Token = mio::Token(usize::MAX);

/// How many events one poll takes at most; more stay with the OS, so that a busy reactor cannot keep its worker from
/// the lanes that it has just woken.
const EVENTS_MAX: usize = 256;

/// A place to wait for events of many descriptors. One thread at a time polls it.
pub struct Reactor {
    poll: mio::Poll,
    events: mio::Events,
    shared: Arc<Shared>,
}

/// What a reactor shares with those who register and unpark.
struct Shared {
    registry: mio::Registry,
    waker: mio::Waker,
    pending: AtomicBool,
    posted: Mutex<Vec<(Token, Ready)>>,
}

impl Reactor {
    /// A reactor to which nothing is registered.
    ///
    /// # Errors
    ///
    /// The OS is out of file descriptors or of memory.
    pub fn new() -> io::Result<Reactor> {
        let poll = mio::Poll::new()?;
        let shared = Shared {
            registry: poll.registry().try_clone()?,
            waker: mio::Waker::new(poll.registry(), WAKE)?,
            pending: AtomicBool::new(false),
            posted: Mutex::new(Vec::new()),
        };
        Ok(Reactor { poll, events: mio::Events::with_capacity(EVENTS_MAX), shared: Arc::new(shared) })
    }

    /// Through which sources are registered here.
    pub fn registrar(&self) -> Registrar {
        Registrar(Arc::clone(&self.shared))
    }

    /// Through which a poll here is ended.
    pub fn unparker(&self) -> Unparker {
        Unparker(Arc::clone(&self.shared))
    }

    /// Waits for events until `timeout` (for ever if there is none), makes `descriptors` ready as they say, adds to
    /// `wakers` those who waited for that, and gives the number of events that reached a descriptor.
    ///
    /// Wakes nobody itself: the caller does, when it holds no lock. May return early, with nothing: after an unpark, a
    /// signal, or events of descriptors that are gone. The OS rounds `timeout` up to milliseconds.
    ///
    /// # Errors
    ///
    /// The OS cannot poll; that it was interrupted by a signal is none.
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        descriptors: &Descriptors,
        wakers: &mut Vec<Waker>,
    ) -> io::Result<usize> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        if self.events.iter().any(|event| event.token() == WAKE) {
            // ORDER: Acquire, and a read-modify-write: whoever found the flag set and so did not wake must be seen with
            // all it did before, by the look at `posted` below and by what our caller looks at next. A plain store
            // would synchronize with nobody. Pairs with the swap in `unpark`.
            self.shared.pending.swap(false, Ordering::AcqRel);
        }
        let posted = std::mem::take(&mut *self.shared.posted.lock());
        if self.events.is_empty() && posted.is_empty() {
            return Ok(0);
        }
        let events = self.events.iter().filter(|event| event.token() != WAKE).map(decode);
        Ok(descriptors.deliver(events.chain(posted), wakers))
    }

    #[cfg(test)]
    pub(crate) fn is_unparked(&self) -> bool {
        self.shared.pending.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("poll", &self.poll).finish_non_exhaustive()
    }
}

fn decode(event: &mio::event::Event) -> (Token, Ready) {
    let says = |holds: bool, ready: Ready| if holds { ready } else { Ready::NONE };
    // An error is fetched by trying, and either direction may be the one that tries.
    let error = event.is_error();
    let ready = says(event.is_readable() || error, Ready::READABLE)
        | says(event.is_writable() || error, Ready::WRITABLE)
        | says(event.is_read_closed(), Ready::READ_CLOSED)
        | says(event.is_write_closed(), Ready::WRITE_CLOSED)
        | says(error, Ready::ERROR);
    (Token(event.token().0 as u64), ready)
}

/// The way to register sources with one reactor; cheap to clone.
#[derive(Clone)]
pub struct Registrar(Arc<Shared>);

impl Registrar {
    /// Reports that `ready` holds for `token`, as an event of the OS would, and ends the poll under way.
    ///
    /// This is where an env without a poller of the OS (simulated sockets, completions of a ring) comes in. It counts as
    /// an edge. A stale token is ignored.
    pub fn post(&self, token: Token, ready: Ready) {
        self.0.posted.lock().push((token, ready));
        self.0.unpark();
    }

    pub(crate) fn mio(&self) -> &mio::Registry {
        &self.0.registry
    }
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("registry", &self.0.registry).finish()
    }
}

/// The way to end a reactor's poll from elsewhere; cheap to clone.
#[derive(Clone)]
pub struct Unparker(Arc<Shared>);

impl Unparker {
    /// Ends the poll that is under way, or else the next one.
    ///
    /// What the caller did before is seen by whoever polled, once that poll has returned. Any number of calls before
    /// that cost one system call.
    pub fn unpark(&self) {
        self.0.unpark();
    }
}

impl fmt::Debug for Unparker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unparker").field("pending", &self.0.pending).finish_non_exhaustive()
    }
}

impl Shared {
    fn unpark(&self) {
        // ORDER: Release publishes what was done before, also when the flag was set already; pairs with the swap in
        // `Reactor::poll`.
        if !self.pending.swap(true, Ordering::AcqRel) && self.waker.wake().is_err() {
            // Only if the OS is out of memory for the event: the flag must not promise what is not on its way.
            self.pending.store(false, Ordering::Release);
        }
    }
}
