//! A descriptor in somebody's hands: what `net` builds its sockets on.
//!
//! Owns: the handle on one id of a thing (`thing.rs`). Knows nothing of lanes, nor of who else is in the table.
//!
//! # Waiting
//!
//! One reader and one writer wait on a thing at a time, by whichever of its ids; a second gets [`Busy`](super::Busy)
//! instead of a wake-up that never comes. Each handle counts as one waiter a direction for its `poll_*` methods, however often its waker
//! changes, so these are for one future a direction, as with `AsyncRead` on `&mut`. (If two share them all the same, the
//! one that came first is woken, so that nobody sleeps for ever.) Each future of an `async` method counts as a waiter of
//! its own and leaves when dropped.
//!
//! # Invariants
//! 1. The source is taken out of the thing when the last of its ids closes, so the OS's handle closes at once, whatever
//!    handles are still about.
//! 2. After each `WouldBlock`, readiness is cleared by the tick under which the attempt was made: an edge that came
//!    between the attempt and the clearing leads to another attempt.
//! 3. A closed direction that gives `WouldBlock` is not closed (the OS's words are hints): then that hint is cleared as
//!    well, so that no attempt is repeated without a new edge.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;

use super::file::FileUse;
use super::process::ChildSource;
use super::readiness::{Direction, Ready, WaiterId, WaiterSlot};
use super::socket::{Source, StreamSource};
use super::table::Descriptors;
use super::thing::Entry;
use crate::{Id, StaleId};

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
    on_stale: Option<OnStale>,
}

/// Asked when a use of a descriptor finds it gone: `true` if whoever used it ends for that, and so must not go on. See
/// [`Descriptor::on_stale`].
pub type OnStale = fn(StaleId) -> bool;

impl Descriptor {
    pub(crate) fn new(table: Arc<Descriptors>, entry: Arc<Entry>, on_drop: OnDrop) -> Descriptor {
        let waiter = entry.new_waiter();
        Descriptor { table, entry, waiter, on_drop: Mutex::new(on_drop), on_stale: None }
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
        self.entry.is_open()
    }

    /// How many open descriptors lead to the same thing, this one included: see [`dup`](Descriptor::dup).
    pub fn shared_by(&self) -> usize {
        self.entry.thing.entries() as usize
    }

    /// The table that the descriptor is in.
    pub fn table(&self) -> &Arc<Descriptors> {
        &self.table
    }

    /// Asks `hook`, at each use of this handle that finds the descriptor gone, what is to become of whoever used it. An
    /// error, the default, or `None`: it gets the error. A future whose lane ends for it stays pending.
    pub fn on_stale(&mut self, hook: Option<OnStale>) {
        self.on_stale = hook;
    }

    /// A further descriptor of the same thing, owned by `owner`: the thing closes with the last of them. Dropping what
    /// this returns closes the new one. See [`Descriptors::insert`] for what the caller must check.
    ///
    /// What one reads the others do not get: they share the source and its one place for a reader and one for a writer.
    ///
    /// # Errors
    ///
    /// This one is closed, or all keys are in use.
    pub fn dup(&self, owner: Option<Id>) -> io::Result<Descriptor> {
        let entry = self.table.dup_entry(&self.entry, owner)?;
        Ok(Descriptor::new(Arc::clone(&self.table), entry, OnDrop::CloseFor(owner)))
    }

    /// Gives up the handle and leaves the descriptor to its owner, whose death closes it.
    pub fn into_id(mut self) -> Id {
        self.leave_open();
        self.id()
    }

    /// From now on dropping the handle leaves the descriptor to its owner.
    pub fn leave_open(&mut self) {
        *self.on_drop.get_mut() = OnDrop::Leave;
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
        self.close_now()
    }

    /// As [`close`](Descriptor::close), where the handle is still needed, if only to be told that it is stale.
    ///
    /// # Errors
    ///
    /// It was closed before.
    pub fn close_now(&self) -> Result<(), StaleId> {
        self.table.close_entry(&self.entry, None).map(drop).ok_or(StaleId(self.id()))
    }

    /// Ready when reading, or accepting, is worth a try.
    ///
    /// # Errors
    ///
    /// The descriptor is closed, or somebody else waits to read.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.settle(self.entry.poll_ready(cx, Direction::Read, self.waiter).map_ok(drop))
    }

    /// Ready when writing is worth a try.
    ///
    /// # Errors
    ///
    /// The descriptor is closed, or somebody else waits to write.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.settle(self.entry.poll_ready(cx, Direction::Write, self.waiter).map_ok(drop))
    }

    /// Reads some bytes; 0 is the end of the stream, or an empty `buffer`.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, somebody else waits to read, or as the OS gives them.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.settle(self.poll_read_as(cx, self.waiter, buffer))
    }

    /// Reads into several buffers in order, as [`poll_read`](Descriptor::poll_read) does.
    ///
    /// # Errors
    ///
    /// As `poll_read`.
    pub fn poll_read_vectored(&self, cx: &mut Context<'_>, buffers: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        let read = |stream: &dyn StreamSource| stream.read_vectored(buffers);
        self.settle(self.entry.poll_transfer(cx, Direction::Read, self.waiter, wanted, read))
    }

    /// Writes some bytes and says how many.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, somebody else waits to write, or as the OS gives them.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.settle(self.poll_write_as(cx, self.waiter, bytes))
    }

    /// Writes from several buffers in order, as [`poll_write`](Descriptor::poll_write) does.
    ///
    /// # Errors
    ///
    /// As `poll_write`.
    pub fn poll_write_vectored(&self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        let write = |stream: &dyn StreamSource| stream.write_vectored(buffers);
        self.settle(self.entry.poll_transfer(cx, Direction::Write, self.waiter, wanted, write))
    }

    /// Takes the next connection, which is to be put in the table by [`Descriptors::insert`], and where it came from.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no listener, somebody else waits on it, or as the OS gives them. Those of the OS
    /// concern one connection only; but where it is out of file descriptors the next call gives the same at once.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn StreamSource>, SocketAddr)>> {
        self.settle(self.poll_accept_as(cx, self.waiter))
    }

    /// Ready when a stream from [`Env::tcp_connect`](super::Env::tcp_connect) is connected.
    ///
    /// # Errors
    ///
    /// The connection could not be made; or as [`poll_write`](Descriptor::poll_write).
    pub fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.settle(self.poll_connected_as(cx, self.waiter))
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

    /// The right to do the next operation on a file, once those before it are over.
    ///
    /// *Cancellation*: nothing is lost.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no file, or somebody else waits for the same.
    pub async fn begin(&self) -> io::Result<FileUse> {
        self.wait(Direction::Read, |cx, waiter| self.poll_begin_as(cx, waiter)).await
    }

    /// As [`begin`](Descriptor::begin), for hand-written futures.
    ///
    /// # Errors
    ///
    /// As `begin`.
    pub fn poll_begin(&self, cx: &mut Context<'_>) -> Poll<io::Result<FileUse>> {
        self.settle(self.poll_begin_as(cx, self.waiter))
    }

    /// Waits until a child process has ended, and says how.
    ///
    /// *Cancellation*: nothing is lost.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no child, somebody else waits for the same, or as the OS gives them.
    pub async fn ended(&self) -> io::Result<ExitStatus> {
        self.wait(Direction::Read, |cx, waiter| {
            let ended = ready!(self.entry.poll_io(cx, Direction::Read, waiter, |source| source.child()?.try_wait()));
            Poll::Ready(ended.map(|(_, status)| status))
        })
        .await
    }

    /// Does something with a child process that needs no waiting.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no child; or those of `what`, which is called under the descriptor's lock.
    pub fn with_child<T>(&self, what: impl FnOnce(&dyn ChildSource) -> io::Result<T>) -> io::Result<T> {
        self.settle_now(self.entry.with_source(|source| what(source.child()?)))
    }

    /// Ends one direction of the stream or both. What was written before still goes out; this does not wait for it.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, or as the OS gives them; `NotConnected` if the peer has gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.settle_now(self.entry.with_source(|source| source.stream()?.shutdown(how)))
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// The descriptor is closed, or as the OS gives them.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.settle_now(self.entry.with_source(|source| source.local_addr()))
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, or is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.settle_now(self.entry.with_source(|source| source.stream()?.peer_addr()))
    }

    /// Whether small writes go out at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, or as the OS gives them.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.settle_now(self.entry.with_source(|source| source.stream()?.nodelay()))
    }

    /// Sets whether small writes go out at once.
    ///
    /// # Errors
    ///
    /// The descriptor is closed or no stream, or as the OS gives them.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.settle_now(self.entry.with_source(|source| source.stream()?.set_nodelay(nodelay)))
    }

    /// The OS's number for the descriptor, where it has one: only to be compared with what the OS lists.
    pub fn raw_fd(&self) -> Option<i32> {
        self.entry.with_source(|source| Ok(source.raw_fd())).ok().flatten()
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

    fn poll_begin_as(&self, cx: &mut Context<'_>, waiter: WaiterId) -> Poll<io::Result<FileUse>> {
        let begin = |source: &Source| source.file()?.begin(&self.entry);
        let begun = ready!(self.entry.poll_io(cx, Direction::Read, waiter, begin));
        Poll::Ready(begun.map(|(_, file)| file))
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
                    self.entry.clear(seen, Direction::Write.interest());
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Lets whoever used a descriptor that is gone end for it, if it is to.
    fn settle<T>(&self, answer: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match answer {
            Poll::Ready(Err(error)) if self.ends_for(&error) => Poll::Pending,
            answer => answer,
        }
    }

    /// As `settle`, where there is no waiting: the error comes back all the same.
    fn settle_now<T>(&self, answer: io::Result<T>) -> io::Result<T> {
        answer.inspect_err(|error| _ = self.ends_for(error))
    }

    fn ends_for(&self, error: &io::Error) -> bool {
        let Some(hook) = self.on_stale else { return false };
        error.get_ref().and_then(|inner| inner.downcast_ref()).is_some_and(|stale: &StaleId| hook(*stale))
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
            let answer = self.settle(poll(cx, guest.waiter));
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
            .field("readiness", &self.entry.thing.readiness)
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
