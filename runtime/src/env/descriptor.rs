//! A descriptor in somebody's hands: what `net` builds its sockets on.
//!
//! Owns: the entry of one descriptor and the handle on it. Knows nothing of lanes, nor of who else is in the table.
//!
//! # Waiting
//!
//! One reader and one writer wait on a descriptor at a time; a second gets [`Busy`](super::Busy) instead of a wake-up
//! that never comes. Each handle counts as one waiter a direction for its `poll_*` methods, however often its waker
//! changes, so these are for one future a direction, as with `AsyncRead` on `&mut`. (If two share them all the same, the
//! one that came first is woken, so that nobody sleeps for ever.) Each future of an `async` method counts as a waiter of
//! its own and leaves when dropped.
//!
//! # Invariants
//! 1. The source is taken out of the entry when the descriptor closes, so the OS's handle closes at once, whatever
//!    handles are still about.
//! 2. After each `WouldBlock`, readiness is cleared by the tick under which the attempt was made: an edge that came
//!    between the attempt and the clearing leads to another attempt.
//! 3. A closed direction that gives `WouldBlock` is not closed (the OS's words are hints): then that hint is cleared as
//!    well, so that no attempt is repeated without a new edge.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};

use parking_lot::{Mutex, RwLock};

use super::readiness::{Direction, Readiness, Ready, Seen, WaiterId, WaiterSlot};
use super::socket::{Source, StreamSource};
use super::table::Descriptors;
use crate::{Id, StaleId};

/// What the table holds of one descriptor.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: Id,
    pub(crate) readiness: Readiness,
    pub(crate) bound: RwLock<Option<Bound>>,
    pub(crate) owner: Mutex<Option<Id>>,
    reader: WaiterSlot,
    writer: WaiterSlot,
    next_waiter: AtomicU64,
}

/// A source and the driver that it is registered with; they change together.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) source: Source,
    pub(crate) driver: usize,
}

impl Entry {
    /// An entry without a source yet. It begins as ready: the first attempt may well succeed, as with a request that came
    /// along with its connection, and if it does not, it costs one system call.
    pub(crate) fn new(id: Id) -> Entry {
        Entry {
            id,
            readiness: Readiness::new(Ready::READABLE | Ready::WRITABLE),
            bound: RwLock::new(None),
            owner: Mutex::new(None),
            reader: WaiterSlot::default(),
            writer: WaiterSlot::default(),
            next_waiter: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.reader.is_occupied() || self.writer.is_occupied()
    }

    /// Moves to `wakers` those who wait for any of `ready`.
    pub(crate) fn take_waiters(&self, ready: Ready, wakers: &mut Vec<Waker>) {
        for direction in [Direction::Read, Direction::Write] {
            if ready.intersects(direction.interest()) {
                wakers.extend(self.slot(direction).take());
            }
        }
    }

    fn slot(&self, direction: Direction) -> &WaiterSlot {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }

    fn new_waiter(&self) -> WaiterId {
        // ORDER: Relaxed: only that no two get the same matters.
        WaiterId(self.next_waiter.fetch_add(1, Ordering::Relaxed))
    }

    /// What `seen` says to one who wants to go in `direction`; `None` if it must wait.
    fn judge(&self, seen: Seen, direction: Direction) -> Option<io::Result<Seen>> {
        if seen.is_dead() {
            Some(Err(StaleId(self.id).into()))
        } else {
            seen.ready().intersects(direction.interest()).then_some(Ok(seen))
        }
    }

    fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction, waiter: WaiterId) -> Poll<io::Result<Seen>> {
        if let Some(answer) = self.judge(self.readiness.load(), direction) {
            return Poll::Ready(answer);
        }
        let slot = self.slot(direction);
        match slot.park(waiter, cx.waker()) {
            Err(busy) => return Poll::Ready(Err(busy.into())),
            Ok(Some(displaced)) if !displaced.will_wake(cx.waker()) => displaced.wake(),
            Ok(_) => {}
        }
        // An edge that came before we parked found nobody to wake.
        match self.judge(self.readiness.load(), direction) {
            Some(answer) => {
                slot.leave(waiter);
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }

    /// Tries `attempt` whenever it is worth while, until it gives something else than `WouldBlock`; with the look at the word
    /// under which that was.
    fn poll_io<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        waiter: WaiterId,
        mut attempt: impl FnMut(&Source) -> io::Result<T>,
    ) -> Poll<io::Result<(Seen, T)>> {
        loop {
            let seen = ready!(self.poll_ready(cx, direction, waiter))?;
            match self.with_source(&mut attempt) {
                Ok(value) => return Poll::Ready(Ok((seen, value))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readiness.clear(seen, direction.interest());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// As `poll_io` for a transfer of `wanted` bytes, of which a part may do: if less went through, the next attempt is
    /// put off until the next edge, where the source allows that.
    fn poll_transfer(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        waiter: WaiterId,
        wanted: usize,
        mut attempt: impl FnMut(&dyn StreamSource) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let (seen, (count, drains)) = ready!(self.poll_io(cx, direction, waiter, |source| {
            let stream = source.stream()?;
            Ok((attempt(stream)?, stream.short_means_drained()))
        }))?;
        // 0 is the end of a stream, which does not change any more. Where the peer has closed, the word still says so after
        // this, and the attempts go on to the end.
        if drains && 0 < count && count < wanted {
            self.readiness.clear(seen, direction.open());
        }
        Poll::Ready(Ok(count))
    }

    fn with_source<T>(&self, what: impl FnOnce(&Source) -> io::Result<T>) -> io::Result<T> {
        let bound = self.bound.read();
        match &*bound {
            Some(bound) => what(&bound.source),
            None => Err(StaleId(self.id).into()),
        }
    }
}

/// What the drop of a handle does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDrop {
    /// Close the descriptor, if this is still its owner.
    CloseFor(Option<Id>),
    /// Leave it to its owner.
    Leave,
}

/// A handle on a descriptor.
///
/// The handle that opened a descriptor, or adopted it, closes it when dropped, unless another lane has become its owner
/// by other means than this handle; one that was looked up leaves it open. Either way the descriptor is closed when its
/// owner dies, and then every use of it, through whatever handle, gives an error of kind `NotConnected` with a
/// [`StaleId`] inside.
pub struct Descriptor {
    table: Arc<Descriptors>,
    entry: Arc<Entry>,
    waiter: WaiterId,
    on_drop: Mutex<OnDrop>,
}

impl Descriptor {
    pub(crate) fn new(table: Arc<Descriptors>, entry: Arc<Entry>, on_drop: OnDrop) -> Descriptor {
        let waiter = entry.new_waiter();
        Descriptor { table, entry, waiter, on_drop: Mutex::new(on_drop) }
    }

    /// The descriptor's id, which any lane may look up while the owner lives.
    pub fn id(&self) -> Id {
        self.entry.id
    }

    /// The lane that owns the descriptor; `None` if it is closed, or none ever did.
    pub fn owner(&self) -> Option<Id> {
        *self.entry.owner.lock()
    }

    /// Whether the descriptor has not been closed yet.
    pub fn is_open(&self) -> bool {
        !self.entry.readiness.load().is_dead()
    }

    /// Gives up the handle and leaves the descriptor to its owner, whose death closes it.
    pub fn into_id(self) -> Id {
        *self.on_drop.lock() = OnDrop::Leave;
        self.id()
    }

    /// Makes `owner` the owner, for whom this handle closes it when dropped: for a handle that goes along to the new owner,
    /// as in a message. See [`Descriptors::transfer`] for what the caller must check.
    ///
    /// # Errors
    ///
    /// It is closed.
    pub fn transfer(&self, owner: Id) -> Result<(), StaleId> {
        self.table.transfer_entry(&self.entry, owner)?;
        let mut on_drop = self.on_drop.lock();
        if *on_drop != OnDrop::Leave {
            *on_drop = OnDrop::CloseFor(Some(owner));
        }
        Ok(())
    }

    /// Closes the descriptor, whoever owns it: see [`Descriptors::close`].
    ///
    /// # Errors
    ///
    /// It was closed before.
    pub fn close(self) -> Result<(), StaleId> {
        self.table.close_entry(&self.entry, None).map(drop).ok_or(StaleId(self.id()))
    }

    /// Ready when reading, or accepting, is worth a try.
    ///
    /// # Errors
    ///
    /// The descriptor is closed, or somebody else waits to read.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.entry.poll_ready(cx, Direction::Read, self.waiter).map_ok(drop)
    }

    /// Ready when writing is worth a try.
    ///
    /// # Errors
    ///
    /// The descriptor is closed, or somebody else waits to write.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.entry.poll_ready(cx, Direction::Write, self.waiter).map_ok(drop)
    }

    /// Reads some bytes; 0 is the end of the stream, or an empty `buffer`.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, somebody else waits to read, or as the OS gives them.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read_as(cx, self.waiter, buffer)
    }

    /// Reads into several buffers in order, as [`poll_read`](Descriptor::poll_read) does.
    ///
    /// # Errors
    ///
    /// As `poll_read`.
    pub fn poll_read_vectored(&self, cx: &mut Context<'_>, buffers: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        self.entry.poll_transfer(cx, Direction::Read, self.waiter, wanted, |stream| stream.read_vectored(buffers))
    }

    /// Writes some bytes and says how many.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, somebody else waits to write, or as the OS gives them.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_as(cx, self.waiter, bytes)
    }

    /// Writes from several buffers in order, as [`poll_write`](Descriptor::poll_write) does.
    ///
    /// # Errors
    ///
    /// As `poll_write`.
    pub fn poll_write_vectored(&self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        self.entry.poll_transfer(cx, Direction::Write, self.waiter, wanted, |stream| stream.write_vectored(buffers))
    }

    /// Takes the next connection, which is to be put in the table by [`Descriptors::insert`], and where it came from.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no listener, somebody else waits on it, or as the OS gives them. Those of the OS
    /// concern one connection only; but where it is out of file descriptors the next call gives the same at once.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn StreamSource>, SocketAddr)>> {
        self.poll_accept_as(cx, self.waiter)
    }

    /// Ready when a stream from [`Env::tcp_connect`](super::Env::tcp_connect) is connected.
    ///
    /// # Errors
    ///
    /// The connection could not be made; or as [`poll_write`](Descriptor::poll_write).
    pub fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_connected_as(cx, self.waiter)
    }

    /// Waits until reading, or accepting, is worth a try.
    ///
    /// *Cancellation*: nothing is lost.
    ///
    /// # Errors
    ///
    /// As [`poll_read_ready`](Descriptor::poll_read_ready).
    pub async fn readable(&self) -> io::Result<()> {
        self.wait(Direction::Read, |cx, waiter| self.entry.poll_ready(cx, Direction::Read, waiter)).await.map(drop)
    }

    /// Waits until writing is worth a try.
    ///
    /// *Cancellation*: nothing is lost.
    ///
    /// # Errors
    ///
    /// As [`poll_write_ready`](Descriptor::poll_write_ready).
    pub async fn writable(&self) -> io::Result<()> {
        self.wait(Direction::Write, |cx, waiter| self.entry.poll_ready(cx, Direction::Write, waiter)).await.map(drop)
    }

    /// Reads some bytes; 0 is the end of the stream, or an empty `buffer`.
    ///
    /// *Cancellation*: nothing was read.
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Descriptor::poll_read).
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(Direction::Read, |cx, waiter| self.poll_read_as(cx, waiter, buffer)).await
    }

    /// Writes some bytes and says how many.
    ///
    /// *Cancellation*: nothing was written.
    ///
    /// # Errors
    ///
    /// As [`poll_write`](Descriptor::poll_write).
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(Direction::Write, |cx, waiter| self.poll_write_as(cx, waiter, bytes)).await
    }

    /// Takes the next connection and where it came from.
    ///
    /// *Cancellation*: no connection was taken.
    ///
    /// # Errors
    ///
    /// As [`poll_accept`](Descriptor::poll_accept).
    pub async fn accept(&self) -> io::Result<(Box<dyn StreamSource>, SocketAddr)> {
        self.wait(Direction::Read, |cx, waiter| self.poll_accept_as(cx, waiter)).await
    }

    /// Waits until a stream is connected.
    ///
    /// *Cancellation*: the connection goes on being made until the descriptor closes.
    ///
    /// # Errors
    ///
    /// As [`poll_connected`](Descriptor::poll_connected).
    pub async fn connected(&self) -> io::Result<()> {
        self.wait(Direction::Write, |cx, waiter| self.poll_connected_as(cx, waiter)).await
    }

    /// Ends one direction of the stream or both. What was written before still goes out; this does not wait for it.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, or as the OS gives them; `NotConnected` if the peer has gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.entry.with_source(|source| source.stream()?.shutdown(how))
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// The descriptor is closed, or as the OS gives them.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.entry.with_source(|source| source.events().local_addr())
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, or is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.entry.with_source(|source| source.stream()?.peer_addr())
    }

    /// Whether small writes go out at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, or as the OS gives them.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.entry.with_source(|source| source.stream()?.nodelay())
    }

    /// Sets whether small writes go out at once.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, or as the OS gives them.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.entry.with_source(|source| source.stream()?.set_nodelay(nodelay))
    }

    /// The OS's number for the descriptor, where it has one: only to be compared with what the OS lists.
    pub fn raw_fd(&self) -> Option<i32> {
        self.entry.bound.read().as_ref().and_then(|bound| bound.source.events().raw_fd())
    }

    fn poll_read_as(&self, cx: &mut Context<'_>, waiter: WaiterId, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.entry.poll_transfer(cx, Direction::Read, waiter, buffer.len(), |stream| stream.read(buffer))
    }

    fn poll_write_as(&self, cx: &mut Context<'_>, waiter: WaiterId, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.entry.poll_transfer(cx, Direction::Write, waiter, bytes.len(), |stream| stream.write(bytes))
    }

    fn poll_accept_as(
        &self,
        cx: &mut Context<'_>,
        waiter: WaiterId,
    ) -> Poll<io::Result<(Box<dyn StreamSource>, SocketAddr)>> {
        let accepted = ready!(self.entry.poll_io(cx, Direction::Read, waiter, |source| source.listener()?.accept()));
        Poll::Ready(accepted.map(|(_, connection)| connection))
    }

    fn poll_connected_as(&self, cx: &mut Context<'_>, waiter: WaiterId) -> Poll<io::Result<()>> {
        loop {
            let seen = ready!(self.entry.poll_ready(cx, Direction::Write, waiter))?;
            // The order that `mio` asks for: an error first, then whether there is a peer.
            let peer = self.entry.with_source(|source| {
                let stream = source.stream()?;
                match stream.take_error()? {
                    Some(error) => Err(error),
                    None => stream.peer_addr(),
                }
            });
            match peer {
                Ok(_) => return Poll::Ready(Ok(())),
                // Not yet; but if the socket is closed or had an error (which another call took), never.
                Err(error)
                    if self.is_open()
                        && error.kind() == io::ErrorKind::NotConnected
                        && !seen.ready().intersects(Ready::WRITE_CLOSED | Ready::ERROR) =>
                {
                    self.entry.readiness.clear(seen, Direction::Write.interest());
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Polls as a waiter of its own, which leaves its slot when this is dropped.
    async fn wait<T>(
        &self,
        direction: Direction,
        mut poll: impl FnMut(&mut Context<'_>, WaiterId) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let mut guest =
            Guest { slot: self.entry.slot(direction), waiter: self.entry.new_waiter(), may_be_parked: false };
        poll_fn(|cx| {
            let answer = poll(cx, guest.waiter);
            guest.may_be_parked |= answer.is_pending();
            answer
        })
        .await
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        for direction in [Direction::Read, Direction::Write] {
            self.entry.slot(direction).leave(self.waiter);
        }
        if let OnDrop::CloseFor(owner) = *self.on_drop.get_mut() {
            self.table.close_entry(&self.entry, Some(owner));
        }
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptor")
            .field("id", &self.id())
            .field("owner", &self.owner())
            .field("readiness", &self.entry.readiness)
            .finish_non_exhaustive()
    }
}

impl From<StaleId> for io::Error {
    fn from(stale: StaleId) -> io::Error {
        io::Error::new(io::ErrorKind::NotConnected, stale)
    }
}

/// A waiter that leaves its slot when dropped.
struct Guest<'a> {
    slot: &'a WaiterSlot,
    waiter: WaiterId,
    may_be_parked: bool,
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if self.may_be_parked {
            self.slot.leave(self.waiter);
        }
    }
}

#[cfg(test)]
mod tests;
