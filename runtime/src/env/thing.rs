//! A thing of the system and the ids that lead to it.
//!
//! Owns: [`Thing`], which is a source with its readiness and its waiters, and [`Entry`], which is one id of it. Knows
//! nothing of lanes, nor of who else is in the table.
//!
//! # Invariants
//! 1. A thing counts the entries that lead to it and are not closed. An entry is closed once, under its owner lock, and a
//!    further one is counted only under the owner lock of one that is open: so the count leaves 0 never again, and the
//!    one who takes it there closes the thing.
//! 2. A source is registered under the token of the thing's first id. That key has no other tenant before the thing is
//!    closed, though the entry may be closed long before.
//! 3. Each direction of a thing has one waiter, by whichever entry it came. Who closes an entry marks it before it looks
//!    for a waiter that came by it, and a waiter looks for the mark after it has parked: as with an edge, one of the
//!    two sees the other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};

use parking_lot::{Mutex, RwLock};

use super::readiness::{Direction, Readiness, Ready, Seen, WaiterId, WaiterSlot};
use super::socket::{Source, StreamSource};
use crate::wait_graph::note::parks_otherwise;
use crate::{Id, StaleId};

/// What one or more ids lead to.
#[derive(Debug)]
pub(crate) struct Thing {
    /// The id under whose token the source is registered.
    pub(crate) first: Id,
    pub(crate) readiness: Readiness,
    pub(crate) bound: RwLock<Option<Bound>>,
    entries: AtomicU32,
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

impl Thing {
    /// Counts one entry less: whether it was the last.
    #[must_use]
    pub(crate) fn forget_entry(&self) -> bool {
        // ORDER: AcqRel: the last sees what those before it did to the thing.
        self.entries.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// How many open entries lead here.
    pub(crate) fn entries(&self) -> u32 {
        // ORDER: Relaxed: for reports; it may change at once.
        self.entries.load(Ordering::Relaxed)
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

    /// Makes the thing useless for all who have it. No lock is held by the caller.
    pub(crate) fn end(&self) {
        let _first = self.readiness.kill();
        let mut wakers = Vec::new();
        self.take_waiters(Ready::READABLE | Ready::WRITABLE, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Makes `ready`, as an edge does, and wakes whoever waited for it. No lock is held by the caller.
    pub(crate) fn announce(&self, ready: Ready) {
        let mut wakers = Vec::new();
        if self.readiness.add(ready) {
            self.take_waiters(ready, &mut wakers);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn slot(&self, direction: Direction) -> &WaiterSlot {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }
}

/// What the table holds of one id.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: Id,
    pub(crate) thing: Arc<Thing>,
    pub(crate) owner: Mutex<Option<Id>>,
    closed: AtomicBool,
}

impl Entry {
    /// The first entry of a thing without a source yet. It begins as ready: the first attempt may well succeed, as with a
    /// request that came along with its connection, and if it does not, it costs one system call.
    pub(crate) fn new(id: Id) -> Entry {
        let thing = Thing {
            first: id,
            readiness: Readiness::new(Ready::READABLE | Ready::WRITABLE),
            bound: RwLock::new(None),
            entries: AtomicU32::new(1),
            reader: WaiterSlot::default(),
            writer: WaiterSlot::default(),
            next_waiter: AtomicU64::new(0),
        };
        Entry::of(id, Arc::new(thing))
    }

    /// An entry that leads to a thing by which it has been counted.
    pub(crate) fn of(id: Id, thing: Arc<Thing>) -> Entry {
        Entry { id, thing, owner: Mutex::new(None), closed: AtomicBool::new(false) }
    }

    /// Counts one entry more that leads where this does (invariant 1).
    ///
    /// # Errors
    ///
    /// This one is closed, or the thing cannot be used any more.
    pub(crate) fn count_another(&self) -> Result<(), StaleId> {
        let _open = self.owner.lock();
        if !self.is_open() {
            return Err(StaleId(self.id));
        }
        // ORDER: Relaxed: what the new entry leads to is published by the table's lock. The count cannot overflow, as
        // each entry has a key of 32 bits.
        self.thing.entries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Marks the entry as closed, under its owner lock: whether this call did.
    #[must_use]
    pub(crate) fn mark_closed(&self) -> bool {
        // ORDER: AcqRel, as of several who close the one that wins goes on to release; who waits is found by the slot's
        // mutex (invariant 3).
        !self.closed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_closed(&self) -> bool {
        // ORDER: Acquire pairs with the Release in `mark_closed`.
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.is_closed() && !self.thing.readiness.load().is_dead()
    }

    /// Moves to `wakers` those who wait by this id.
    pub(crate) fn take_own_waiters(&self, wakers: &mut Vec<Waker>) {
        for direction in [Direction::Read, Direction::Write] {
            wakers.extend(self.slot(direction).take_of(self.id));
        }
    }

    pub(crate) fn slot(&self, direction: Direction) -> &WaiterSlot {
        self.thing.slot(direction)
    }

    pub(crate) fn new_waiter(&self) -> WaiterId {
        // ORDER: Relaxed: only that no two get the same matters.
        WaiterId { by: self.id, number: self.thing.next_waiter.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) fn clear(&self, seen: Seen, gone: Ready) {
        self.thing.readiness.clear(seen, gone);
    }

    /// What `seen` says to one who wants to go in `direction`; `None` if it must wait.
    fn judge(&self, seen: Seen, direction: Direction) -> Option<io::Result<Seen>> {
        if seen.is_dead() || self.is_closed() {
            Some(Err(StaleId(self.id).into()))
        } else {
            seen.ready().intersects(direction.interest()).then_some(Ok(seen))
        }
    }

    pub(crate) fn poll_ready(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        waiter: WaiterId,
    ) -> Poll<io::Result<Seen>> {
        let readiness = &self.thing.readiness;
        if let Some(answer) = self.judge(readiness.load(), direction) {
            return Poll::Ready(answer);
        }
        let slot = self.slot(direction);
        match slot.park(waiter, cx.waker()) {
            Err(busy) => return Poll::Ready(Err(busy.into())),
            Ok(Some(displaced)) if !displaced.will_wake(cx.waker()) => displaced.wake(),
            Ok(_) => {}
        }
        // An edge, or a close, that came before we parked found nobody to wake.
        match self.judge(readiness.load(), direction) {
            Some(answer) => {
                slot.leave(waiter);
                Poll::Ready(answer)
            }
            None => {
                parks_otherwise();
                Poll::Pending
            }
        }
    }

    /// Tries `attempt` whenever it is worth while, until it gives something else than `WouldBlock`; with the look at the word
    /// under which that was.
    pub(crate) fn poll_io<T>(
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.clear(seen, direction.interest()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// As `poll_io` for a transfer of `wanted` bytes, of which a part may do: if less went through, the next attempt is
    /// put off until the next edge, where the source allows that.
    pub(crate) fn poll_transfer(
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
            self.clear(seen, direction.open());
        }
        Poll::Ready(Ok(count))
    }

    pub(crate) fn with_source<T>(&self, what: impl FnOnce(&Source) -> io::Result<T>) -> io::Result<T> {
        let bound = self.thing.bound.read();
        match &*bound {
            Some(bound) if !self.is_closed() => what(&bound.source),
            _ => Err(StaleId(self.id).into()),
        }
    }
}
